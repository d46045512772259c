"""calibration.json: how a run's outputs become probabilities, and the thresholds on them.

L labels, P parts that the calibrators were cross-fitted over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from couplet.evaluation.calibration.inverse import LossPosterior, posterior_of, proper
from couplet.evaluation.calibration.record import LabelCalibrator
from couplet.evaluation.decisions import RULES, Point
from couplet.project.errors import UserError
from couplet.project.files import RESTORE, read_record
from couplet.project.project import HERE
from couplet.settings.schema.calibration import CalibrationParams
from couplet.settings.schema.decision import DecisionParams
from couplet.settings.schema.loss import LossParams
from couplet.settings.schema.refiner import RefinerParams


@dataclass(frozen=True)
class CalibrationRecord:
    """What calibration.json holds: how outputs become probabilities, and thresholds on them.

    Attributes:
        loss, calibration, decision: the settings that it was made with.
        calibrators: of L labels, fitted on all rows out of fold.
        points: of each rule in `decisions.RULES` L thresholds on q, for the ensemble.
        part_thresholds: of each rule (P, L) thresholds on q from the other parts' rows; NaN where there is none.
        refiner: of couplings that were fitted after training, as of `Calibrated`; what it calibrates is then refined
            probabilities and no outputs of networks. None without them.
    """

    loss: LossParams
    calibration: CalibrationParams
    decision: DecisionParams
    calibrators: list[LabelCalibrator]
    points: dict[str, list[Point]]
    part_thresholds: dict[str, np.ndarray]
    refiner: RefinerParams | None = None

    @cached_property
    def posterior(self) -> LossPosterior:
        """The inverse of the loss, which the calibrators of the method `inverse` need."""
        return posterior_behind(self.loss, self.refiner)


def posterior_behind(loss: LossParams, refiner: RefinerParams | None) -> LossPosterior:
    """The inverse of the loss; the identity where couplings have made probabilities of its outputs already."""
    return posterior_of(loss) if refiner is None else proper


def read_calibration(path: Path, labels: list[str]) -> CalibrationRecord:
    """Read calibration.json for images that are not of the run, with whatever settings it was made.

    Raises:
        UserError: the file is missing, damaged or of other labels.
    """
    content = read_record(path, loss=dict, calibration=dict, decision=dict, labels=list)
    return parsed_calibration(content, path, labels)


def parsed_calibration(content: dict[str, Any], path: Path, labels: list[str]) -> CalibrationRecord:
    """What calibration.json holds, wherever its content stands.

    Raises:
        UserError: it is not ours, or of other labels; `path` is named.
    """
    try:
        calibrators = [LabelCalibrator.from_dict(entry, str(path)) for entry in content["labels"]]
        points, part_thresholds = _thresholds(content["labels"])
        refiner = content.get("refiner")
        record = CalibrationRecord(
            loss=LossParams.model_validate(content["loss"]),
            calibration=CalibrationParams.model_validate(content["calibration"]),
            decision=DecisionParams.model_validate(content["decision"]),
            calibrators=calibrators,
            points=points,
            part_thresholds=part_thresholds,
            refiner=None if refiner is None else RefinerParams.model_validate(refiner),
        )
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError) as error:
        wrong = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{path} is not ours ({wrong}): {RESTORE}") from None
    if [calibrator.label for calibrator in calibrators] != labels:
        raise UserError(f"{path} has other labels than {HERE.labels}: run `dvc repro`")
    return record


def _thresholds(
    entries: list[Mapping[str, Any]],
) -> tuple[dict[str, list[Point]], dict[str, np.ndarray]]:
    """Of each rule the points of the labels, and (P, L) those of the other parts."""
    points = {
        rule: [
            Point(_number(entry["thresholds"][rule]), entry["no_threshold"].get(rule)) for entry in entries
        ]
        for rule in RULES
    }
    tables = {
        rule: np.array([entry["thresholds_of_other_parts"][rule] for entry in entries], dtype=np.float64).T
        for rule in RULES
    }
    return points, tables


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
