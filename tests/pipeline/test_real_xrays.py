"""Real X-rays through the graph: NIH's own layout, and the same pictures in Grand X-Ray SLAM's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.support.projects import TINY, new_project, rows

N_IMAGES, N_TEST = 852, 118
SMALL = TINY | {
    "model.backbone": "seresnext101_32x4d",
    "model.pretrained": False,
    "schedule.epochs": 2,
    "train.batch_size": 24,
    "optimizer.lr": 0.002,
}
ONE_CLASS = ["Enlarged Cardiomediastinum", "Fracture", "Support Devices"]  # without a positive in this sample


@pytest.fixture(scope="module")
def real_raw(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw folders in both layouts. NIH's official test images are in the test part: nothing may train on them."""
    raw, sample = tmp_path_factory.mktemp("real"), shared_data / "nih_cxr14"
    lists = shared_data / "nih_cxr14_labels"
    (raw / "nih").mkdir()
    shutil.copytree(sample / "images", raw / "nih/images")
    shutil.copy(sample / "labels.csv", raw / "nih/labels.csv")
    for name in ("train_val_list.txt", "test_list.txt"):
        shutil.copy(lists / name, raw / "nih" / name)

    official = {Path(line).stem for line in (lists / "test_list.txt").read_text().split()}
    table = pd.read_csv(sample / "slam_shaped.csv", dtype=str, keep_default_na=False)
    test = table["Image_name"].map(lambda name: Path(name).stem in official)
    slam = raw / "grand_xray_slam"
    for part, listed in (("train2", table[~test]), ("test2", table[test])):
        (slam / part).mkdir(parents=True)
        listed.to_csv(slam / f"{part}.csv", index=False)
        for name in listed["Image_name"]:
            shutil.copy(sample / "images" / name, slam / part / name)
    columns = ["Image_name", *table.columns[7:]]
    table.loc[test, columns].iloc[::-1].to_csv(slam / "sample_submission_2.csv", index=False)
    return raw


def test_nih(real_raw: Path, tmp_path: Path) -> None:
    project = new_project(tmp_path / "nih", "nih", real_raw, SMALL)
    project.run("dvc", "repro", "evaluate_fold@0")
    split, scores = project.json("metrics/split.json"), project.json("metrics/fold_0.json")
    assert (split["n_images"], split["n_test_images"], split["patients_in_two_folds"]) == (
        N_IMAGES,
        N_TEST,
        0,
    )
    assert split["patients_in_train_and_test"] == 0
    assert project.json("data/prepared/labels.json")["n_quarantined"] == 0
    assert 0.4 < scores["auc_macro"] < 0.9
    folds = {
        Path(row["image_id"]).stem: row["fold"] for row in rows(project.folder / "data/splits/folds.csv")
    }
    official = {Path(line).stem for line in (real_raw / "nih/test_list.txt").read_text().split()}
    assert {name for name, fold in folds.items() if fold == "test"} == official & folds.keys()


def test_grand_xray_slam_with_labels_that_nobody_has(real_raw: Path, tmp_path: Path) -> None:
    project = new_project(tmp_path / "slam", "paper", real_raw, SMALL | {"split.folds": [0, 1]})
    project.run("dvc", "repro")
    for part in ("oof", "test"):
        assert project.json("metrics/ensemble.json")[part]["labels_skipped"] == ONE_CLASS
    assert project.json("metrics/ensemble.json")["oof"]["n_images"] == N_IMAGES - N_TEST
    page = (project.folder / "plots/report.html").read_text()
    assert "11 of 14 scored" in page and all(label in page for label in ONE_CLASS)
    submission = rows(project.folder / "data/predictions/ensemble/submission.csv")
    sample = rows(real_raw / "grand_xray_slam/sample_submission_2.csv")
    assert [row["Image_name"] for row in submission] == [row["Image_name"] for row in sample]
