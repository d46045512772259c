"""Two data sets in their published shapes, as one: scan, prepare, split_mis and what they hand on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from couplet.commands.scan import scan
from couplet.datasets.grand_xray_slam import LABELS, PEOPLE
from couplet.datasets.inventory import scan_source
from couplet.project.errors import UserError
from couplet.project.files import write_text
from couplet.project.project import HERE
from couplet.results.group_columns import refuse_unknown_groups
from couplet.results.manifest import read_manifest
from couplet.settings.params import load_params
from couplet.settings.presets import params_yaml
from couplet.stages.prepare import prepare
from couplet.stages.split_mis import split_mis
from tests.support.params import params_with

N = 24  # images of each set, two of each patient
SHARED = ("nih/005.png", "slam/00000004_001_001.png")  # one picture, two patients


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.random.default_rng(seed).integers(0, 256, (5, 6)).astype(np.uint8)
    Image.fromarray(rows).resize((40, 40), Image.Resampling.BICUBIC).save(path)


def write_settings(slam: dict[str, Any], **changes: Any) -> None:
    members = {"slam": {"source": "grand_xray_slam", **slam}, "nih": {}}
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    small = {
        "data.source": "combined",
        "data.source_args": {"members": members},
        "image.size": 32,
        "image.store_size": 36,
        "model.pretrained": False,
        "split.folds": [0, 1],
        "split.test_fraction": 0.0,
        "train.batch_size": 4,
        "report.groups": ["source"],
    }
    write_text(HERE.params, params_yaml(params_with(small | dotted)))


@pytest.fixture(autouse=True)
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/raw/combined with a folder in the shape of Grand X-Ray SLAM and a link to one in the shape of NIH's."""
    root, nih = tmp_path / "project", tmp_path / "nih_elsewhere"
    raw = root / "data/raw/combined"
    raw.mkdir(parents=True)
    monkeypatch.chdir(root)
    monkeypatch.delenv("COUPLET_DATA_ROOT", raising=False)
    train = [[*PEOPLE, *LABELS]]
    entry = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"]
    for i in range(N):
        patient = i // 2 + 1
        name = f"{patient:08d}_001_{i % 2 + 1:03d}.png"
        draw(raw / "slam/train2" / name, i)
        people = [name, str(patient), "1", "Male", "41.0", "Frontal", "AP"]
        train.append([*people, *(str((patient + j) // 2 % 2) for j in range(14))])
        draw(nih / f"images/{i:03d}.png", 100 + i)
        entry.append(
            f"{i:03d}.png,{('Effusion', 'No Finding', 'Edema|Mass')[patient % 3]},0,{patient},50,F,PA"
        )
    write_text(raw / "slam/train2.csv", "".join(",".join(row) + "\n" for row in train))
    write_text(nih / "Data_Entry_2017_v2020.csv", "\n".join(entry) + "\n")
    (raw / "nih").symlink_to(nih)
    return raw


def share_a_picture(raw: Path) -> None:
    shutil.copyfile(raw / "slam/train2" / SHARED[1].removeprefix("slam/"), raw / "nih/images/005.png")


def fold_of() -> dict[str, str]:
    return pd.read_csv(HERE.folds, dtype=str).set_index("image_id")["fold"].to_dict()


def test_from_the_raw_folders_to_the_folds(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_settings({})
    scan_source("combined")
    prepare()
    manifest = read_manifest()
    assert len(manifest.ids) == 2 * N and manifest.ids[0] == "nih/000.png"
    assert manifest.group_columns == ("source",)
    assert manifest.table["source"].tolist() == ["nih"] * N + ["slam"] * N
    refuse_unknown_groups(manifest, ["source"])
    about = json.loads(HERE.labels.read_text())
    assert about["members"] == {"slam": "grand_xray_slam", "nih": "nih"} and about["source"] == "combined"
    assert manifest.labels[:14] == list(LABELS) and manifest.labels[14] == "Infiltration"
    truth = pd.DataFrame(manifest.truth, columns=manifest.labels, index=manifest.ids)
    nih, slam = truth[:N], truth[N:]
    assert nih["Fracture"].isna().all() and slam["Mass"].isna().all()
    assert nih["Lung Lesion"].tolist() == nih["Mass"].tolist() == [float(i // 2 % 3 == 1) for i in range(N)]
    assert slam.notna().sum().sum() == 14 * N and nih.notna().sum().sum() == 15 * N
    capsys.readouterr()
    split_mis()
    assert "patients in two folds: 0, in train and test: 0" in capsys.readouterr().out
    assert len(set(fold_of().values())) == 2
    metrics = json.loads(HERE.split_metrics.read_text())
    # Patient 1 is not patient 1.
    assert metrics["n_patients"] == N and metrics["patients_sharing_a_picture"] == 0
    assert metrics["shared_between"] == {"nih and slam": {"pictures": 0, "patients": 0}}


def test_a_picture_in_both_sets_links_its_patients(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    share_a_picture(sets)
    write_settings({})
    scan_source("combined")
    prepare()
    assert (
        "warning: 2 images are only 1 picture: the files are identical (first: nih/images/005.png and "
        "slam/train2/00000004_001_001.png); of different patients: 1 picture, in train and in test: 0 pictures"
    ) in capsys.readouterr().out
    for seed in range(6):  # by chance they would be apart in half of the deals
        write_settings({}, seed=seed)
        split_mis()
        fold = fold_of()
        images = ["nih/004.png", SHARED[0], SHARED[1], "slam/00000004_001_002.png"]
        assert len({fold[name] for name in images}) == 1
        metrics = json.loads(HERE.split_metrics.read_text())
        assert metrics["patients_sharing_a_picture"] == 2 and metrics["pictures_in_two_folds"] == 0
        assert metrics["shared_between"] == {"nih and slam": {"pictures": 1, "patients": 2}}


def test_a_picture_in_a_set_that_is_the_test_part_is_counted(sets: Path) -> None:
    share_a_picture(sets)
    write_settings({"part": "test"})
    scan_source("combined")
    prepare()
    split_mis()
    assert {name.split("/")[0]: fold == "test" for name, fold in fold_of().items()} == {
        "slam": True,
        "nih": False,
    }
    metrics = json.loads(HERE.split_metrics.read_text())
    assert metrics["n_test_images"] == N and metrics["pictures_in_train_and_test"] == 1


def test_the_overview_of_scan(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_settings({"part": "test"})
    scan(load_params().data)
    said = capsys.readouterr().out
    assert (
        f"train: {N} images, 12 patients, 24 studies" not in said
        and f"train: {N} images, 12 patients" in said
    )
    assert f"test: {N} images, 12 patients" in said


def test_policies_of_the_whole_set_are_refused(sets: Path) -> None:
    write_settings({}, data__unmentioned="zeros")
    scan_source("combined")
    with pytest.raises(
        UserError, match=r"data.unmentioned must be ignore .* data.source_args.members.slam.unment"
    ):
        prepare()
    assert not HERE.prepared.exists()
