"""What is made of predictions: calibrated probabilities, thresholds and prediction sets, in data/predictions/ensemble/.

n images out of fold, m test images, L labels, P parts that the calibrators were cross-fitted over.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from couplet.evaluation.calibration.fitting import cross_fitting_parts
from couplet.evaluation.calibration.inverse import LossPosterior
from couplet.evaluation.calibration.record import LabelCalibrator
from couplet.evaluation.decisions import RULES, Point, values
from couplet.evaluation.sets import ConformalRecord
from couplet.project.errors import UserError
from couplet.project.files import read_record, write_csv, write_json
from couplet.project.project import Project
from couplet.results.calibration_record import parsed_calibration, posterior_behind
from couplet.results.manifest import Manifest
from couplet.results.predictions import PROBABILITY, read_predictions, write_predictions
from couplet.results.sets import read_conformal, read_decisions, write_conformal, write_decisions
from couplet.results.tables import read_table
from couplet.settings.params import Params
from couplet.settings.schema.calibration import CalibrationParams
from couplet.settings.schema.decision import DecisionParams
from couplet.settings.schema.loss import LossParams
from couplet.settings.schema.refiner import RefinerParams

ALL_IMAGES = "all images"  # the one category where sets are not made within views
UNKNOWN = "unknown"  # the category of images whose view is not known, where others' is
KAPPA_IS_OF = "the folds' predictions of the test images, not their labels; a later image gets the same kappa"
SUSPICIOUS = ("label", "rank", "image_id", "given", "q", "evidence", "other_in_study")


@dataclass(frozen=True)
class Calibrated:
    """Calibrated probabilities and what is decided with them. All numbers are as they are written: nine digits.

    Attributes:
        loss, calibration, decision: the settings that it was made with.
        calibrators: of L labels, fitted on all rows out of fold.
        parts: (n,) codes of the parts that calibrators and thresholds were cross-fitted over: the folds, or five
            parts of one fold.
        oof_q: (n, L) cross-fitted: each part by calibrators of the other parts' rows.
        test_q: (m, L) of the mean over the folds' models.
        points: of each rule in `decisions.RULES` L thresholds on q, for the ensemble.
        part_thresholds: of each rule (P, L) thresholds on q from the other parts' rows; NaN where there is none.
        conformal: sorted scores and weights out of fold, for the sets of later images.
        test_categories: (m,) the category of each test image (`set_categories`).
        decisions: (m, L) int8, 0 absent, 1 present, 2 both, 3 neither.
        suspicious: label, rank, image_id, given, q, evidence, other_in_study (`evaluation.suspicious`).
        refiner: the settings of couplings that were fitted after training; what is calibrated is then refined
            probabilities and no outputs. None without them.
    """

    loss: LossParams
    calibration: CalibrationParams
    decision: DecisionParams
    calibrators: list[LabelCalibrator]
    parts: np.ndarray
    oof_q: np.ndarray
    test_q: np.ndarray
    points: dict[str, list[Point]]
    part_thresholds: dict[str, np.ndarray]
    conformal: ConformalRecord
    test_categories: np.ndarray
    decisions: np.ndarray
    suspicious: pd.DataFrame
    refiner: RefinerParams | None = None

    @cached_property
    def posterior(self) -> LossPosterior:
        """The inverse of the loss, which the calibrators of the method `inverse` need."""
        return posterior_behind(self.loss, self.refiner)

    @property
    def categories(self) -> list[str]:
        """Names of the categories within which the sets keep their promise."""
        return [str(name) for name in self.conformal.categories]

    @property
    def by_view(self) -> bool:
        """Whether these are views."""
        return self.categories != [ALL_IMAGES]

    @property
    def thresholds(self) -> dict[str, np.ndarray]:
        """Of each rule (L,) thresholds on the ensemble's q; NaN where there is none."""
        return {rule: values(points) for rule, points in self.points.items()}

    @property
    def oof_thresholds(self) -> dict[str, np.ndarray]:
        """Of each rule (n, L) the threshold by which each image out of fold is judged: that of the other parts."""
        return {rule: table[self.parts] for rule, table in self.part_thresholds.items()}


# --- what follows from the manifest and the folds -----------------------------------------------------------------


def oof_parts(manifest: Manifest, fold_of: np.ndarray, oof_rows: np.ndarray) -> np.ndarray:
    """(n,) codes of the parts over which the images out of fold are cross-fitted, in the order of `oof_rows`."""
    return cross_fitting_parts(fold_of[oof_rows].astype(np.int64), manifest.patients[oof_rows])


def set_categories(manifest: Manifest, within: str) -> np.ndarray:
    """(N,) the category of each image: its view, or one for all (`decision.within: none`, or no view is known)."""
    views = manifest.table["view"].to_numpy(dtype=str)
    if within == "none" or (views == "").all():
        return np.full(len(views), ALL_IMAGES)
    return np.where(views == "", UNKNOWN, views)


# --- writing ------------------------------------------------------------------------------------------------------


def write_calibrated(
    manifest: Manifest, oof_rows: np.ndarray, test_rows: np.ndarray, calibrated: Calibrated
) -> None:
    """Write calibrated.csv, oof_calibrated.csv, decisions.csv, calibration.json, conformal.npz and suspicious.csv.

    Args:
        manifest: of the project they are written to.
        oof_rows, test_rows: (n,) and (m,) positions in the manifest, ascending.
        calibrated: of these rows.

    Raises:
        UserError: a probability is not finite.
    """
    folder, labels = manifest.project.ensemble, manifest.labels
    for name, rows, q in (
        ("oof_calibrated.csv", oof_rows, calibrated.oof_q),
        ("calibrated.csv", test_rows, calibrated.test_q),
    ):
        write_predictions(folder / name, manifest.ids[rows], labels, q)
    write_decisions(folder / "decisions.csv", manifest.ids[test_rows], labels, calibrated.decisions)
    write_conformal(manifest.project, calibrated.conformal)
    write_csv(folder / "suspicious.csv", calibrated.suspicious[list(SUSPICIOUS)], PROBABILITY)
    write_json(folder / "calibration.json", _record(calibrated))


def _record(calibrated: Calibrated) -> dict[str, Any]:
    parts = {rule: np.atleast_2d(table) for rule, table in calibrated.part_thresholds.items()}
    entries = []
    for label, calibrator in enumerate(calibrated.calibrators):
        points = {rule: calibrated.points[rule][label] for rule in RULES}
        entries.append(
            calibrator.as_dict()
            | {
                "thresholds": {rule: point.value for rule, point in points.items()},
                "no_threshold": {rule: point.reason for rule, point in points.items() if point.reason},
                "thresholds_of_other_parts": {
                    rule: [_null(value) for value in parts[rule][:, label].tolist()] for rule in RULES
                },
            }
        )
    return {
        "loss": calibrated.loss.model_dump(by_alias=True),
        "calibration": calibrated.calibration.model_dump(by_alias=True),
        "decision": calibrated.decision.model_dump(by_alias=True),
        **({"refiner": _fitted_with(calibrated.refiner)} if calibrated.refiner else {}),
        "kappa_is_of": KAPPA_IS_OF,
        "labels": entries,
    }


def _fitted_with(refiner: RefinerParams) -> dict[str, Any]:
    return {"fit": refiner.fit, "strictness": refiner.strictness}


def _null(value: float) -> float | None:
    return None if np.isnan(value) else value


# --- reading ------------------------------------------------------------------------------------------------------


def read_calibrated(
    manifest: Manifest, fold_of: np.ndarray, oof_rows: np.ndarray, test_rows: np.ndarray, params: Params
) -> Calibrated:
    """Read what `write_calibrated` wrote.

    Args:
        manifest: of the project that is read.
        fold_of: (N,) of `read_folds`.
        oof_rows, test_rows: (n,) and (m,) positions in the manifest, ascending.
        params: the settings now.

    Raises:
        UserError: a file is missing, damaged or of other images or labels, or was made with other settings.
    """
    project, labels = manifest.project, manifest.labels
    path = project.ensemble / "calibration.json"
    content = read_record(path, loss=dict, calibration=dict, decision=dict, labels=list)
    _refuse_other_settings(content, params, project)
    refiner = params.refiner if params.refiner.fitted_afterwards else None
    if content.get("refiner") != (_fitted_with(refiner) if refiner else None):
        raise UserError(
            f"{project.params}: {project.ensemble} was made with another section refiner: run `dvc repro`, or restore "
            "params.yaml"
        )
    record = parsed_calibration(content, path, labels)
    parts = oof_parts(manifest, fold_of, oof_rows)
    if any(len(table) <= parts.max(initial=-1) for table in record.part_thresholds.values()):
        raise UserError(f"{path} has thresholds of other folds than {project.folds}: run `dvc repro`")
    return Calibrated(
        loss=record.loss,
        calibration=record.calibration,
        decision=record.decision,
        calibrators=record.calibrators,
        parts=parts,
        oof_q=read_predictions(project.ensemble / "oof_calibrated.csv", labels, manifest.ids[oof_rows]),
        test_q=read_predictions(project.ensemble / "calibrated.csv", labels, manifest.ids[test_rows]),
        points=record.points,
        part_thresholds=record.part_thresholds,
        conformal=read_conformal(project, len(labels)),
        test_categories=set_categories(manifest, record.decision.within)[test_rows],
        decisions=read_decisions(project.ensemble / "decisions.csv", labels, manifest.ids[test_rows]),
        suspicious=read_table(
            project.ensemble / "suspicious.csv", ("label", "image_id"), required=SUSPICIOUS
        ),
        refiner=refiner,
    )


def _refuse_other_settings(content: dict[str, Any], params: Params, project: Project) -> None:
    now = params.as_dict()
    for section in ("loss", "calibration", "decision"):
        for key, value in content[section].items():
            if key in now[section] and now[section][key] != value:
                raise UserError(
                    f"{project.params}: {section}.{key} is {now[section][key]!r}, but {project.ensemble} was made with "
                    f"{value!r}: run `dvc repro`, or restore params.yaml"
                )
