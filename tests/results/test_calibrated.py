"""Calibrated probabilities, thresholds and sets: what is written is what is read, and what else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from couplet.evaluation.decisions import RULES
from couplet.inference.calibrate import calibrate
from couplet.inference.ensemble import read_predicted
from couplet.project.errors import UserError
from couplet.project.project import Project
from couplet.results.calibrated import Calibrated, read_calibrated, set_categories, write_calibrated
from couplet.results.predicted import Predicted
from couplet.results.predictions import as_read_back
from couplet.settings.params import load_params
from tests.support.errors import refused
from tests.support.predicted import write_predicted


def made(folder: Path, **options: Any) -> tuple[Project, Predicted, Calibrated]:
    """A small project with what is made of its predictions."""
    project = write_predicted(folder, n_patients=80, **options)
    params = load_params(project.params)
    predicted = read_predicted(project, params.split.folds)
    calibrated = calibrate(predicted, params)
    write_calibrated(predicted.manifest, predicted.oof_rows, predicted.test_rows, calibrated)
    return project, predicted, calibrated


def read(project: Project, predicted: Predicted) -> Calibrated:
    rows = predicted.oof_rows, predicted.test_rows
    return read_calibrated(predicted.manifest, predicted.fold_of, *rows, load_params(project.params))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"test": False},
        {"one_class": ("Rare",)},
        {"changes": {"calibration.method": "none"}},
        {"changes": {"calibration.method": "inverse", "decision.within": "none"}},
        {"changes": {"split.folds": [0], "split.holdout": 0.3}},
    ],
)
def test_what_is_written_is_what_is_read(tmp_path: Path, options: dict[str, Any]) -> None:
    project, predicted, calibrated = made(tmp_path, **options)
    found = read(project, predicted)
    for field in fields(Calibrated):
        ours, theirs = getattr(calibrated, field.name), getattr(found, field.name)
        if field.name == "conformal":
            for name, array in ours.arrays().items():
                np.testing.assert_array_equal(array, theirs.arrays()[name])
        elif field.name == "part_thresholds":
            for rule in RULES:
                np.testing.assert_array_equal(ours[rule], theirs[rule])
        elif isinstance(ours, np.ndarray):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype.kind == theirs.dtype.kind
        elif isinstance(ours, pd.DataFrame):
            pd.testing.assert_frame_equal(ours, theirs)
        else:
            assert ours == theirs, field.name
    for rule in RULES:
        np.testing.assert_array_equal(calibrated.thresholds[rule], found.thresholds[rule])
        np.testing.assert_array_equal(calibrated.oof_thresholds[rule], found.oof_thresholds[rule])


def test_a_reader_needs_nothing_else_to_calibrate_a_later_image(tmp_path: Path) -> None:
    """From the record alone: the mean over the models, to the digit as the stage calibrated it."""
    project, predicted, calibrated = made(tmp_path)
    found = read(project, predicted)
    for label, one in enumerate(found.calibrators):
        q = one.ensemble_probability(predicted.test[:, label], found.posterior)
        assert as_read_back(q).tolist() == calibrated.test_q[:, label].tolist()
    record = json.loads((project.ensemble / "calibration.json").read_text())
    assert record["loss"]["args"] == {"gamma_pos": 0.0, "gamma_neg": 4.0, "clip": 0.05}
    assert "not their labels" in record["kappa_is_of"]


def test_the_row_of_each_image_has_the_thresholds_of_the_other_parts(tmp_path: Path) -> None:
    _, predicted, calibrated = made(tmp_path)
    for row in (0, 17, 100):
        part = int(predicted.fold_of[predicted.oof_rows[row]])
        assert calibrated.parts[row] == part
        expected = calibrated.part_thresholds["f1"][part]
        assert calibrated.oof_thresholds["f1"][row].tolist() == expected.tolist()


def test_suspicious_cells_are_listed_with_their_image(tmp_path: Path) -> None:
    """The first of a label has the strongest evidence against what is given; studies are their patients' own."""
    _, predicted, calibrated = made(tmp_path)
    table = calibrated.suspicious
    rows = table[table["label"] == "Common"]
    assert rows["rank"].tolist() == list(range(1, 51))
    assert (np.diff(rows["evidence"]) <= 0).all()
    at = {image: row for row, image in enumerate(predicted.manifest.ids[predicted.oof_rows])}
    truth, patients = predicted.oof_truth[:, 0], predicted.oof_patients
    for row in rows.itertuples():
        image = at[row.image_id]
        assert truth[image] == row.given and calibrated.oof_q[image, 0] == row.q
        same_study = patients == patients[image]  # every patient has one study, all of them named "1"
        assert row.other_in_study == (truth[same_study] == 1 - row.given).any()


def test_categories() -> None:
    class Views:
        def __init__(self, *views: str) -> None:
            self.table = pd.DataFrame({"view": list(views)})

    def categories(within: str, *views: str) -> list[str]:
        return set_categories(Views(*views), within).tolist()  # type: ignore[arg-type]

    assert categories("view", "AP", "", "PA") == ["AP", "unknown", "PA"]
    assert categories("view", "", "") == ["all images", "all images"]
    assert categories("none", "AP", "PA") == ["all images", "all images"]


def spoilt_json(change: Callable[[dict[str, Any]], object]) -> Callable[[Project], None]:
    def spoil(project: Project) -> None:
        path = project.ensemble / "calibration.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return spoil


def spoilt_text(name: str, old: str, new: str) -> Callable[[Project], None]:
    def spoil(project: Project) -> None:
        path = project.ensemble / name
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new, 1))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            spoilt_json(lambda c: c["labels"].reverse()),
            "calibration.json has other labels than .*labels.json: run `dvc repro`",
        ),
        (
            spoilt_json(lambda c: c.pop("decision")),
            "calibration.json: 'decision' is missing or of another kind",
        ),
        (
            spoilt_json(lambda c: c["labels"][1]["thresholds"].pop("cost")),
            "calibration.json is not ours .KeyError: 'cost'.: restore it",
        ),
        (
            spoilt_json(lambda c: c["loss"].update(name="focal")),
            "params.yaml: loss.name is 'asl', but .*ensemble was made with 'focal': run `dvc repro`",
        ),
        (
            spoilt_json(lambda c: [one["thresholds_of_other_parts"]["f1"].pop() for one in c["labels"]]),
            "calibration.json has thresholds of other folds than .*folds.csv: run `dvc repro`",
        ),
        (
            spoilt_text("decisions.csv", "Rare", "Rarest"),
            "decisions.csv has other images or labels than .*calibrated.csv: run `dvc repro`",
        ),
        (spoilt_text("calibrated.csv", "Rare", "Rarest"), "calibrated.csv has other labels than"),
        (spoilt_text("oof_calibrated.csv", "00000.png", "x.png"), "oof_calibrated.csv has other images than"),
        (spoilt_text("suspicious.csv", "evidence", "proof"), "suspicious.csv has no column 'evidence'"),
        (
            lambda project: (project.ensemble / "conformal.npz").unlink(),
            "conformal.npz is not there: run `dvc repro`",
        ),
        (
            lambda project: (project.ensemble / "conformal.npz").write_bytes(b"PK"),
            "conformal.npz is damaged: restore it with `dvc checkout`",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, spoil: Callable[[Project], object], message: str
) -> None:
    project, predicted, _ = made(tmp_path)
    spoil(project)
    with pytest.raises(UserError, match=message):
        read(project, predicted)
    assert "\n" not in refused(read, project, predicted)
