"""Couplings that were fitted after training, and the probabilities that they refined: in data/predictions/ensemble/.

couplings.csv is A, a row per source, exact zeros as 0; couplings.json has each label's other numbers and the evidence.
Both are there with `refiner.fit: out_of_fold` only. A later image is refined with what they hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from couplet.evaluation.calibration.beta import BetaMap
from couplet.evaluation.couplings.evidence import Gain
from couplet.evaluation.couplings.fit import Fitted, LabelCouplings, Line
from couplet.evaluation.estimate import Estimate
from couplet.project.errors import UserError
from couplet.project.files import RESTORE, read_record, write_csv, write_json
from couplet.project.project import HERE, Project
from couplet.results.predicted import Predicted
from couplet.results.predictions import PROBABILITY, write_predictions
from couplet.results.tables import numbers, read_table

MATRIX, RECORD = "couplings.csv", "couplings.json"
PARTS = ("oof", "test")
GAINED = ("auc", "log_loss", "coverage")  # of a gain


def write_fitted(
    project: Project,
    labels: list[str],
    couplings: LabelCouplings,
    strictness: float,
    gains: dict[str, Gain],
) -> None:
    """Write couplings.csv and couplings.json.

    Args:
        project: where.
        labels: L names.
        couplings: fitted on all rows out of fold, in the digits that are written.
        strictness: they were fitted with.
        gains: what they gain, by part.
    """
    fitted = couplings.fitted
    table = pd.DataFrame(fitted.A, columns=labels)
    table.insert(0, "source", labels)
    write_csv(project.ensemble / MATRIX, table, PROBABILITY)
    entries = [
        {
            "label": label,
            "link": [link.a, link.b, link.c],
            "kappa": float(fitted.kappa[j]),
            **{
                name: [float(line.intercept[j]), float(line.scale[j])]
                for name, line in (
                    ("line", fitted.line),
                    ("on_truth", fitted.on_truth),
                    ("alone", fitted.alone),
                )
            },
        }
        for j, (label, link) in enumerate(zip(labels, couplings.links, strict=True))
    ]
    evidence = {
        part: {name: getattr(found, name).as_dict() for name in GAINED} for part, found in gains.items()
    }
    write_json(project.ensemble / RECORD, {"strictness": strictness, "labels": entries, "gains": evidence})


def read_fitted(project: Project, labels: list[str]) -> tuple[LabelCouplings, dict[str, Gain]]:
    """Read what `write_fitted` wrote: the couplings, and what they gain by part.

    Raises:
        UserError: a file is missing, damaged or of other labels.
    """
    return read_fitted_files(project.ensemble, labels)


def read_fitted_files(folder: Path, labels: list[str]) -> tuple[LabelCouplings, dict[str, Gain]]:
    """`read_fitted` of couplings.csv and couplings.json in any folder."""
    path = folder / MATRIX
    table = read_table(path, ("source",))
    if list(table.columns) != ["source", *labels] or list(table["source"]) != labels:
        raise UserError(f"{path} has other labels than {HERE.labels}: run `dvc repro`")
    A = numbers(table[labels], path)
    path = folder / RECORD
    content = read_record(path, labels=list, gains=dict)
    try:
        entries = content["labels"]
        if [entry["label"] for entry in entries] != labels:
            raise UserError(f"{path} has other labels than {HERE.labels}: run `dvc repro`")
        lines = {
            name: Line(*np.array([entry[name] for entry in entries], dtype=np.float64).reshape(-1, 2).T)
            for name in ("line", "on_truth", "alone")
        }
        fitted = Fitted(
            A=A,
            kappa=np.array([float(entry["kappa"]) for entry in entries]),
            residual=np.zeros(len(labels)),
            **lines,
        )
        links = [BetaMap(*(float(value) for value in entry["link"])) for entry in entries]
        gains = {
            part: Gain(*(_estimate(found[name]) for name in GAINED))
            for part, found in content["gains"].items()
            if part in PARTS
        }
    except (KeyError, TypeError, ValueError) as error:
        wrong = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is not ours ({wrong}): {RESTORE}") from None
    return LabelCouplings(links, fitted), gains


def write_refined(project: Project, folds: list[int], refined: Predicted) -> None:
    """Write the refined probabilities out of fold, and each fold's of the test part."""
    ids = refined.manifest.ids
    write_predictions(project.refined_oof, ids[refined.oof_rows], refined.labels, refined.oof)
    for fold, p in zip(folds, refined.test_by_fold, strict=True):
        write_predictions(project.refined_test(fold), ids[refined.test_rows], refined.labels, p)


def _estimate(content: dict[str, Any]) -> Estimate:
    return Estimate(**{**content, "source": (), "flags": tuple(content["flags"])})
