"""`couplet predict` on a small run: the pipeline's own numbers, a row per input, and nothing half-written."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from couplet.inference.engine import TorchEngine
from couplet.predicting import parts, rows
from couplet.results.predictions import read_predictions
from tests.support.in_process import InProcessProject

ENSEMBLE = "data/predictions/ensemble"
VIEWLESS = (
    "files that do not say their view get no decision (2, both, for each label); --view names it: AP, PA"
)


def test_images(project: InProcessProject, view: str = "") -> list[str]:
    """Ids of the test part, or of one view of it."""
    manifest = pd.read_csv(project.folder / "data/prepared/manifest.csv", dtype=str)
    ids = project.column(f"{ENSEMBLE}/test.csv", "image_id")
    views = dict(zip(manifest["image_id"], manifest["view"], strict=True))
    return [name for name in ids if view in ("", views[name])]


test_images.__test__ = False  # type: ignore[attr-defined]


def new_folder(project: InProcessProject, names: list[str]) -> Path:
    folder = project.folder / "new"
    folder.mkdir()
    for name in names:
        shutil.copy(project.raw / "images" / name, folder)
    return folder


def table(project: InProcessProject, path: str = "predictions.csv") -> pd.DataFrame:
    return pd.read_csv(project.folder / path, dtype=str, keep_default_na=False)


def as_bytes(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def test_the_test_part_gets_the_pipelines_own_numbers_byte_for_byte(project: InProcessProject) -> None:
    names = test_images(project)
    assert len(names) == 6  # two batches, the second short
    new_folder(project, names)
    done = project.run("predict", "new")
    assert (done.code, done.err) == (0, [])
    assert done.out[0] == "6 files to predict by 2 folds of data/models"
    assert done.out.count(VIEWLESS) == 1
    assert done.out[-1] == "predictions.csv: 6 rows, 6 ok"
    found = table(project)
    assert found["status"].tolist() == ["ok"] * 6
    calibrated = (project.folder / ENSEMBLE / "calibrated.csv").read_bytes()
    assert as_bytes(found.drop(columns=["status", "reason"])) == calibrated

    assert project.run("predict", "new", "--out", "all.json").code == 0
    content = json.loads((project.folder / "all.json").read_text())
    assert content["calibrated"] is True and content["folds"] == [0, 1]
    ids = np.array([image["image_id"] for image in content["images"]])
    labels = content["labels"]

    def of(key: str) -> np.ndarray:
        return np.array([[image["labels"][name][key] for name in labels] for image in content["images"]])

    for key, name in (("raw", "test.csv"), ("calibrated", "calibrated.csv")):
        expected = read_predictions(project.folder / ENSEMBLE / name, labels, ids)
        np.testing.assert_array_equal(of(key), expected)
    for fold in (0, 1):
        expected = read_predictions(project.folder / f"data/predictions/test/fold_{fold}.csv", labels, ids)
        np.testing.assert_array_equal(of("by_fold")[:, :, fold], expected)
    thresholds = [
        entry["thresholds"]["youden"] for entry in project.entry(f"{ENSEMBLE}/calibration.json", "labels")
    ]
    assert of("threshold").tolist() == [thresholds] * 6


def test_without_calibration_the_raw_mean_is_written_and_one_line_says_so(project: InProcessProject) -> None:
    (project.folder / ENSEMBLE / "calibration.json").unlink()
    new_folder(project, test_images(project))
    done = project.run("predict", "new")
    assert (done.code, done.err) == (0, [])
    said = (
        f"{ENSEMBLE}/calibration.json is not there: values are the mean of the folds' outputs, not calibrated, and "
        "nothing is decided"
    )
    assert said in done.out
    raw = (project.folder / ENSEMBLE / "test.csv").read_bytes()
    assert as_bytes(table(project).drop(columns=["status", "reason"])) == raw
    assert not (project.folder / "decisions.csv").exists()


@pytest.mark.parametrize("view", ["AP", "PA"])
def test_decisions_are_the_pipelines_where_the_view_is_said(project: InProcessProject, view: str) -> None:
    names = test_images(project, view)
    new_folder(project, names)
    done = project.run("predict", "new", "--view", view.lower())
    assert done.code == 0 and VIEWLESS not in done.out
    expected = table(project, f"{ENSEMBLE}/decisions.csv").set_index("image_id").loc[names].reset_index()
    pd.testing.assert_frame_equal(table(project, "decisions.csv"), expected)


def test_an_image_of_unknown_view_keeps_both_answers(project: InProcessProject) -> None:
    names = test_images(project)
    new_folder(project, names)
    assert project.run("predict", "new").code == 0
    assert set(table(project, "decisions.csv").drop(columns="image_id").to_numpy().ravel()) == {"2"}


def test_a_batch_of_one_changes_the_last_digits_only(project: InProcessProject) -> None:
    names = test_images(project)
    folder = new_folder(project, names)
    labels = project.entry("data/prepared/labels.json", "labels")
    together = read_predictions(project.folder / ENSEMBLE / "calibrated.csv", labels, np.array(names))
    for i, name in enumerate(names):
        assert project.run("predict", str(folder / name)).code == 0
        np.testing.assert_allclose(table(project)[labels].to_numpy(float)[0], together[i], rtol=0, atol=1e-6)


def test_settings_are_the_models_own_and_not_those_of_params_yaml(project: InProcessProject) -> None:
    new_folder(project, test_images(project))
    project.set({"image.size": 35, "refiner.enabled": False, "loss.name": "bce", "decision.rule": "f1"})
    project.set({"loss.args": {}})
    assert project.run("predict", "new").code == 0
    calibrated = (project.folder / ENSEMBLE / "calibrated.csv").read_bytes()
    assert as_bytes(table(project).drop(columns=["status", "reason"])) == calibrated


def test_batches_and_tta_are_those_of_the_predictions_that_dvc_recorded(project: InProcessProject) -> None:
    new_folder(project, test_images(project))
    project.set({"inference.tta": False, "inference.batch_size": 3})
    entry = {"params": {"params.yaml": {"inference": {"tta": True, "batch_size": 4}}}}
    (project.folder / "dvc.lock").write_text(json.dumps({"stages": {"evaluate_fold@0": entry}}))
    assert project.run("predict", "new").code == 0
    calibrated = (project.folder / ENSEMBLE / "calibrated.csv").read_bytes()
    assert as_bytes(table(project).drop(columns=["status", "reason"])) == calibrated


# --- one row per input --------------------------------------------------------------------------------------


def mixed_folder(project: InProcessProject) -> Path:
    folder = new_folder(project, ["00.png", "01.png"])
    (folder / "deep/er").mkdir(parents=True)
    good = (folder / "00.png").read_bytes()
    (folder / "deep/er/b.png").write_bytes((folder / "01.png").read_bytes())
    (folder / "deep/cut.png").write_bytes(good[: len(good) // 2])
    (folder / "deep/without_ending").write_bytes(good)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("Words, such as BM and P5, which begin pictures of two formats")
    (folder / "notes.png").write_text("no picture")
    (folder / "lfs").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (folder / "doc.pdf").write_bytes(b"%PDF-1.7")
    (folder / ".hidden.png").write_bytes(good)
    return folder


def test_a_folder_gives_a_row_per_picture_and_counts_the_rest(project: InProcessProject) -> None:
    mixed_folder(project)
    done = project.run("predict", "new", "new/notes.txt", "new/00.png")
    assert (done.code, done.err) == (3, [])
    assert done.out[0] == "10 files to predict by 2 folds of data/models; 2 other files are passed over"
    assert done.out[-1] == "predictions.csv: 10 rows, 5 ok, 5 unreadable"
    found = table(project)
    assert found["image_id"].tolist() == [
        *("00.png", "01.png", "deep/cut.png", "deep/er/b.png", "deep/without_ending"),
        *("empty.jpg", "lfs", "notes.png", "notes.txt", "00.png"),
    ]
    reasons = dict(zip(found["image_id"], found["reason"], strict=True))
    assert reasons["empty.jpg"] == "the file is empty"
    assert reasons["lfs"].startswith("the file is a pointer of Git LFS")
    assert reasons["notes.png"].startswith("the file is no image of a known format")
    assert reasons["notes.txt"].startswith("the file is no image of a known format")
    assert reasons["deep/cut.png"]
    values = found.set_index("image_id").drop(columns=["status", "reason"])
    assert (values.loc[["deep/cut.png", "empty.jpg", "lfs", "notes.png", "notes.txt"]] == "").all(axis=None)
    # The same picture under other names, in the same batch and in another one.
    np.testing.assert_allclose(
        values.loc["deep/er/b.png"].to_numpy(float), values.loc["01.png"].to_numpy(float), rtol=0, atol=1e-6
    )
    decisions = table(project, "decisions.csv")
    assert decisions["image_id"].tolist() == found["image_id"].tolist()


def test_the_same_file_twice_gives_two_rows(project: InProcessProject) -> None:
    new_folder(project, ["00.png"])
    done = project.run("predict", "new/00.png", "new/00.png")
    assert done.code == 0
    assert any(line.startswith("1 names stand for several files") for line in done.out)
    found = table(project)
    assert len(found) == 2
    assert found.iloc[0].tolist() == found.iloc[1].tolist()


def test_ids_can_be_digests_of_the_content(project: InProcessProject) -> None:
    folder = mixed_folder(project)
    (folder / "=1+1.png").write_bytes((folder / "00.png").read_bytes())
    refused = project.run("predict", "new")
    assert refused.code == 1
    assert refused.err == [
        "error: the name '=1+1.png' would be a formula in a table, or holds control characters: use --id digest"
    ]
    assert project.run("predict", "new", "--id", "digest").code == 3
    digest = hashlib.sha256((folder / "00.png").read_bytes()).hexdigest()[:16]
    assert Counter(table(project)["image_id"])[digest] == 3
    assert "notes" not in (project.folder / "predictions.csv").read_text()


def test_a_file_that_cannot_be_opened_has_a_row(
    project: InProcessProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_folder(project, ["00.png", "01.png"])
    read = Path.read_bytes

    def no_access(path: Path) -> bytes:
        if path.name == "00.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", no_access)
    assert project.run("predict", "new", "--id", "digest").code == 3
    first = table(project).iloc[0]
    assert (first["image_id"], first["status"]) == ("input-000000", "unreadable")
    assert first["reason"] == "the file cannot be read (Permission denied)"


def test_only_a_batch_and_what_is_read_ahead_is_in_memory(
    project: InProcessProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUPLET_WORKERS", "2")
    taken: list[int] = []
    most: list[int] = []
    read_input = rows.read_input

    def counted(*arguments: Any) -> rows.Row:
        taken.append(1)
        return read_input(*arguments)

    monkeypatch.setattr(rows, "read_input", counted)
    filled = rows._filled

    def watched(ensemble: Any, some: list[rows.Row], options: Any) -> Any:
        most.append(len(taken) - 4 * len(most))
        return filled(ensemble, some, options)

    monkeypatch.setattr(rows, "_filled", watched)
    folder = new_folder(project, [])
    for i in range(80):
        shutil.copy(project.raw / "images/00.png", folder / f"{i:03d}.png")
    assert project.run("predict", "new").code == 0
    assert len(taken) == 80
    assert max(most) <= 4 + 8 * 2 + 1


# --- files --------------------------------------------------------------------------------------------------


def test_json_lines_have_an_image_each_and_their_head_beside_them(project: InProcessProject) -> None:
    mixed_folder(project)
    assert project.run("predict", "new", "--out", "all.json").code == 3
    assert project.run("predict", "new", "--out", "lines.jsonl").code == 3
    whole = json.loads((project.folder / "all.json").read_text())
    lines = [json.loads(line) for line in (project.folder / "lines.jsonl").read_text().splitlines()]
    assert lines == whole.pop("images")
    assert json.loads((project.folder / "lines.head.json").read_text()) == whole
    assert [line["labels"] is None for line in lines].count(True) == 4
    assert lines[0]["facts"]["width"] == 40


def test_a_run_that_fails_leaves_the_files_of_the_one_before(
    project: InProcessProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_folder(project, ["00.png", "01.png", "02.png", "03.png", "04.png"])
    files = ("predictions.csv", "decisions.csv", "page.html")
    for name in files:
        (project.folder / name).write_text("before")
    by_fold, calls = TorchEngine.by_fold, []

    def second_batch_is_not_finite(engine: TorchEngine, images: np.ndarray) -> np.ndarray:
        calls.append(1)
        return by_fold(engine, images) * (1 if len(calls) == 1 else np.nan)

    monkeypatch.setattr(TorchEngine, "by_fold", second_batch_is_not_finite)
    done = project.run("predict", "new", "--html", "page.html")
    assert done.code == 1
    assert done.err[0].startswith(
        "error: the model: 3 of 3 probabilities are not finite (first: image 04.png, "
    )
    assert [(project.folder / name).read_text() for name in files] == ["before"] * 3
    assert not [path for path in project.folder.iterdir() if path.name.endswith(".tmp")]


def test_a_folder_of_parts_goes_on_where_it_was(
    project: InProcessProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed_folder(project)
    assert project.run("predict", "new", "--out", "whole.csv").code == 3
    monkeypatch.setattr(parts.write_parts, "__defaults__", (4,))
    first = project.run("predict", "new", "--out", "parts")
    assert (first.code, first.out[-1]) == (3, "parts: 8 rows, 4 ok, 4 unreadable")
    assert first.out.count(VIEWLESS) == 1  # not of each part
    folder = project.folder / "parts"
    kinds = (".csv", ".decisions.csv", ".json")
    made = sorted(path.name for path in folder.iterdir())
    assert made == sorted(
        ["decisions.csv", "predictions.csv", *(f"part-0000{i}{kind}" for i in (0, 1) for kind in kinds)]
    )
    pd.testing.assert_frame_equal(
        table(project, "parts/predictions.csv").iloc[:, :3], table(project, "whole.csv").iloc[:, :3]
    )
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    (folder / "part-00001.csv").write_text("damaged")
    again = project.run("predict", "new", "--out", "parts")
    assert "parts/part-00000.csv is there already" in again.out
    assert "parts/part-00001.csv is there already" not in again.out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    shorter = project.run("predict", "new/00.png", "--out", "parts")
    assert (shorter.code, shorter.out[-1]) == (0, "parts: 1 rows, 1 ok")
    assert not (folder / "part-00001.csv").exists()


def test_nothing_of_a_files_metadata_is_in_any_output(project: InProcessProject) -> None:
    folder = new_folder(project, [])
    exif, text = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x010E], exif[0x013B] = "MARKexif", "MARKartist"
    text.add_text("Comment", "MARKcomment")
    with Image.open(project.raw / "images/00.png") as image:
        image.save(folder / "MARKname.png", exif=exif, pnginfo=text)
    assert b"MARK" in (folder / "MARKname.png").read_bytes()
    options = ("--id", "digest", "--maps", "maps", "--overlay", "--html", "page.html")
    for out in ("p.csv", "p.json", "p.jsonl"):
        assert project.run("predict", "new", "--out", out, *options).code == 0
    written = [path for name in ("p.*", "page.html", "maps/*") for path in project.folder.glob(name)]
    assert len(written) == 8
    assert [path.name for path in written if b"MARK" in path.read_bytes()] == []
    with Image.open(next((project.folder / "maps").glob("*.png"))) as image:
        assert not image.info.keys() - {"transparency"}
