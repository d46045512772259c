"""The submission: the sample's columns in the sample's order, its rows in its order, from prepare to the last file."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from couplet.datasets.grand_xray_slam import LABELS
from couplet.project.errors import UserError
from couplet.project.project import HERE
from couplet.results.manifest import read_manifest
from couplet.stages.ensemble_predict import submission
from tests.bad_inputs.healthy import slam_project
from tests.support.in_process import InProcessProject

TEST = ["00000051_001_001.jpg", "00000052_001_001.jpg", "00000053_001_001.jpg"]  # as the manifest sorts them
SAMPLE_ROWS = ["00000053_001_001.jpg", "00000051_001_001.jpg", "00000052_001_001.jpg"]
PROBABILITIES = np.arange(3 * 14).reshape(3, 14) / 100  # of TEST and LABELS


def prepared(folder: Path, header: list[str] | None = None) -> InProcessProject:
    """The data set in miniature after prepare, its sample submission with this header."""
    project = slam_project(folder)
    if header is not None:
        path = project.raw / "sample_submission_2.csv"
        pd.read_csv(path)[header].to_csv(path, index=False)
    for command in ("scan", "prepare"):
        outcome = project.run(command)
        assert outcome.code == 0, outcome
    return project


def submitted(project: InProcessProject) -> pd.DataFrame:
    with contextlib.chdir(project.folder):
        return submission(read_manifest(), np.array(TEST), PROBABILITIES, oof=np.full((4, 14), 0.5))


@pytest.mark.parametrize(
    "header",
    [
        ["Image_name", *reversed(LABELS)],
        ["Image_name", *sorted(LABELS, key=lambda name: name[::-1])],
        [LABELS[3], "Image_name", *(name for name in LABELS if name != LABELS[3])],
    ],
)
def test_the_submission_has_the_samples_columns_in_its_order(tmp_path: Path, header: list[str]) -> None:
    table = submitted(prepared(tmp_path / "project", header))
    assert list(table.columns) == header
    assert table["Image_name"].tolist() == SAMPLE_ROWS
    by_id = table.set_index("Image_name")
    for i, name in enumerate(TEST):
        assert by_id.loc[name, list(LABELS)].tolist() == PROBABILITIES[i].tolist()


def test_a_sample_in_the_labels_order_leaves_nothing_behind(tmp_path: Path) -> None:
    project = prepared(tmp_path / "project")
    assert "submission_columns" not in json.loads((project.folder / HERE.labels).read_text())
    assert list(submitted(project).columns) == ["Image_name", *LABELS]


def test_columns_that_are_not_the_labels_are_refused(tmp_path: Path) -> None:
    project = prepared(tmp_path / "project", ["Image_name", *reversed(LABELS)])
    path = project.folder / HERE.labels
    content = json.loads(path.read_text())
    content["submission_columns"][2] = "Hernia"
    path.write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"labels.json: submission_columns are not 'Image_name' and the labels"
    ):
        submitted(project)
