"""What the report must say before anyone quotes a number, on whole runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.bad_inputs.healthy import csv_project, finished, slam_project
from tests.support.in_process import InProcessProject
from tests.support.projects import ROOT


@pytest.fixture(scope="module")
def half_blind(tmp_path_factory: pytest.TempPathFactory) -> InProcessProject:
    """A run in which one of three test images and one training image cannot be read."""
    project = slam_project(tmp_path_factory.mktemp("half_blind") / "project")
    for path in ("test2/00000051_001_001.jpg", "train2/00000002_001_001.jpg"):
        (project.raw / path).write_bytes(b"")
    return finished(project)


def test_a_quarantined_test_image_has_its_row_and_is_counted(half_blind: InProcessProject) -> None:
    folder = half_blind.folder / "data/predictions"
    submission = pd.read_csv(folder / "ensemble/submission.csv", index_col="Image_name")
    assert list(submission.index) == [f"000000{i}_001_001.jpg" for i in (53, 51, 52)]  # the sample's order
    out_of_fold = pd.concat(pd.read_csv(folder / f"folds/fold_{k}.csv", index_col="image_id") for k in (0, 1))
    test = pd.read_csv(folder / "ensemble/test.csv", index_col="image_id")
    assert len(out_of_fold) == 11 and len(test) == 2
    np.testing.assert_allclose(submission.loc["00000051_001_001.jpg"], out_of_fold.mean(), rtol=1e-6)
    np.testing.assert_allclose(submission.loc[test.index], test)
    assert half_blind.report_says(
        "Quarantined images 2 the file is empty: 2 (1 of them in the test part: the submission gives them the mean"
    )


def test_quarantined_and_skipped_are_on_the_first_screen(half_blind: InProcessProject) -> None:
    assert half_blind.report_says("Images 13 11 predicted out of fold · 2 test, labels hidden")
    assert half_blind.report_says("Macro-AUC, test part labels hidden")
    assert half_blind.report_says("Non-finite batches 0 none was skipped in training")


def test_folds_trained_with_different_code_or_settings_are_not_mixed(tmp_path: Path) -> None:
    """The records that real runs write are what the report compares."""
    project = finished(csv_project(tmp_path / "project"))
    before = project.outputs()
    project.set({"refiner.alpha": 0.5})
    assert project.run("train-fold", "1").code == 0
    project.set({"refiner.alpha": 0.3})
    outcome = project.run("report")
    assert (outcome.code, outcome.err) == (
        1,
        [
            "error: data/models/fold_1/config.json has other settings than fold 0: params.refiner.alpha is 0.5, "
            "there 0.3; folds of different runs cannot be mixed: run `dvc repro`"
        ],
    )

    (project.folder / "stages").unlink()
    shutil.copytree(ROOT / "stages", project.folder / "stages")
    (project.folder / "stages/train_fold.py").write_text("# other code\n")
    assert project.run("train-fold", "1").code == 0
    assert "has other code than fold 0" in project.run("report").err[0]
    assert project.outputs()["plots/report.html"] == before["plots/report.html"]


def test_without_a_refiner_there_is_no_coupling_to_report(tmp_path: Path) -> None:
    project = csv_project(tmp_path / "project")
    project.set({"refiner.enabled": False})
    finished(project)
    assert project.column("plots/history/fold_0.csv", "mean_abs_coupling") == ["", ""]  # and not 0
    assert project.report_says("Refiner off")


def test_patients_that_nobody_named_are_not_known(tmp_path: Path) -> None:
    project = csv_project(tmp_path / "project")
    table = project.raw / "labels.csv"
    table.write_text(table.read_text().replace("patient,", "who,"))
    finished(project)
    assert project.report_says("Leaks not known patients are not named: the numbers may be too good")
    assert project.report_says("Patients not known every image counts as a patient of its own")
    assert project.report_says("images without patient: 24")
