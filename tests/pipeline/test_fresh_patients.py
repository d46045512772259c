"""A finished run's models, calibrators and sets on patients that were drawn afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import fresh_patients
from couplet.project.project import Project as Paths
from tests.support.projects import Project


def test_new_patients_are_predicted_and_judged_by_what_the_run_fitted(
    finished: Project, tmp_path: Path
) -> None:
    before = finished.bytes_of("data", "metrics")
    section = fresh_patients.study(Paths(finished.folder), tmp_path, n_patients=30, side=48)
    means, labels, coverage = section.tables
    assert "of 30 new patients" in section.title
    first = {str(row[0]): [float(str(cell).split()[0]) for cell in row[1:]] for row in means.rows}
    raw, calibrated = first["log loss"]
    assert 0 < calibrated < raw  # even a hardly trained network is calibrated to the prevalences
    assert first["macro-AUC"][0] == first["macro-AUC"][1]
    assert len(labels.rows) == 14
    assert [row[:2] for row in coverage.rows] == [
        [name, view] for name in ("present", "absent") for view in ("AP", "Lateral", "PA")
    ]
    assert finished.bytes_of("data", "metrics") == before


def test_its_patients_are_not_the_runs(finished: Project, tmp_path: Path) -> None:
    fresh_patients.study(Paths(finished.folder), tmp_path, n_patients=30, side=48)
    runs = (finished.folder / "data/prepared/manifest.csv").read_text().splitlines()[1:]
    drawn = (tmp_path / "project/data/prepared/manifest.csv").read_text().splitlines()[1:]
    pictures = [{line.split(",")[11] for line in lines} for lines in (runs, drawn)]
    assert all(len(one) > 30 for one in pictures)
    assert not pictures[0] & pictures[1]
    by_model = [
        np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 15))
        for path in sorted((tmp_path / "project/data/predictions/test").glob("fold_*.csv"))
    ]
    assert [len(one) for one in by_model] == [len(drawn)] * 3
    assert not np.array_equal(by_model[0], by_model[1])
