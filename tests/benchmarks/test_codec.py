from __future__ import annotations

import io
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks import codec, codec_auc
from benchmarks.harness import Section
from couplet.images.loading.store import ImageStore
from couplet.project.files import write_json
from tests.support.stores import write_store

LABELS = ["Edema", "Nodule"]


@pytest.fixture(scope="module")
def section() -> Section:
    return codec.run("tiny")


def test_what_is_measured(section: Section) -> None:
    assert [table.caption for table in section.tables] == [
        "Space of an image, and error in grey levels",
        "The store, GB",
        "Reading X-rays of 160 px",
        "Reading by place, against the memory map",
        "prepare, PNGs of 1024 px, one process",
    ]
    _, _, reading, by_place, prepare = section.tables
    assert [row[0] for row in reading.rows] == ["raw", "JPEG, 1 thread", "JPEG, 2 threads"]
    states = ("from disk", "in memory, first pass", "in memory, later")
    assert [tuple(row[:2]) for row in by_place.rows] == [(f"32 px, {state}", 24) for state in states]
    assert [row[0] for row in prepare.rows] == ["raw", "jpeg"]
    assert len(section.claims) == 3
    for table in section.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_space_and_error_are_what_pillow_gives(section: Section) -> None:
    images = codec.pictures("tiny")[codec.GREY]
    sizes, errors = [], []
    for pixels in images:
        file = io.BytesIO()
        Image.fromarray(pixels[0]).save(file, "JPEG", quality=95)
        sizes.append(len(file.getvalue()))
        errors.append(np.abs(np.asarray(Image.open(file), int) - pixels[0]))
    kind, n, raw, jpeg, share, largest, mean = section.tables[0].rows[0]
    assert (kind, n, raw) == ("X-rays", 4, 160 * 160 / 1000)
    assert jpeg == pytest.approx(np.mean(sizes) / 1000) and share == pytest.approx(np.mean(sizes) / 160**2)
    assert largest == np.max(errors) <= 10 and mean == pytest.approx(np.mean(errors)) and mean < 1

    division_b = section.tables[1].rows[1]
    assert division_b[0] == "Grand X-Ray SLAM, division B: with the test images (156,421)"
    assert division_b[1:] == pytest.approx([156_421 * 160**2 / 1e9, 156_421 * np.mean(sizes) / 1e9])


def test_opponent_and_store_read_the_same(tmp_path: Path) -> None:
    images = [np.full((1, 8, 8), value, np.uint8) for value in (3, 5, 7)]
    store = write_store(tmp_path / "raw", islice(cycle(images), 7))
    assert store.n_images == 7
    positions = np.array([6, 0, 4, 4, 2])
    expected = np.array([3, 3, 5, 5, 7])
    for reader in (store, codec.MemoryMap(tmp_path / "raw")):
        read = reader.read(positions)
        assert read.shape == (5, 1, 8, 8)
        np.testing.assert_array_equal(read, np.broadcast_to(expected[:, None, None, None], read.shape))
    codec.forget(tmp_path / "raw/images-00000.npy")
    np.testing.assert_array_equal(ImageStore(tmp_path / "raw").read(positions)[:, 0, 0, 0], expected)

    jpeg = write_store(tmp_path / "jpeg", islice(cycle(images), 7), "jpeg")
    assert np.abs(jpeg.read(positions)[:, 0, 0, 0].astype(int) - expected).max() <= 1


def test_scores_of_a_run_are_read_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    """Nine images of five patients; the last three are the test part."""
    random = np.random.default_rng(0)
    truth, scores = random.integers(0, 2, (9, 2)), random.random((9, 2)).round(6)
    ids, folds = [f"{i:03d}" for i in range(9)], ["0", "1", "2", "2", "1", "0", *["test"] * 3]
    people = [f"p{i // 2}" for i in range(9)]
    manifest = pd.DataFrame(
        {"image_id": ids, "part": "train", "patient_id": people, "shard": 0, "row": range(9), "picture": ids}
    )
    for part in ("prepared", "splits", "predictions/folds"):
        (tmp_path / "data" / part).mkdir(parents=True)
    manifest.assign(Edema=truth[:, 0], Nodule=truth[:, 1]).to_csv(
        tmp_path / "data/prepared/manifest.csv", index=False
    )
    write_json(tmp_path / "data/prepared/labels.json", {"labels": LABELS})
    pd.DataFrame({"image_id": ids, "fold": folds}).to_csv(tmp_path / "data/splits/folds.csv", index=False)
    predictions = pd.DataFrame({"image_id": ids, "Edema": scores[:, 0], "Nodule": scores[:, 1]})
    for fold in "012":
        rows = predictions[np.array(folds) == fold]
        rows.to_csv(tmp_path / f"data/predictions/folds/fold_{fold}.csv", index=False)

    run = codec_auc.out_of_fold(tmp_path)
    np.testing.assert_array_equal(run.truth, truth[:6])
    np.testing.assert_array_equal(run.scores, scores[:6])
    assert run.patients.tolist() == people[:6] and run.folds.tolist() == folds[:6]


def test_the_table_of_scores_and_their_differences() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, (60, 2))
    scores, patients, folds = (truth + random.random((60, 2))) / 3, np.arange(60) // 2, np.arange(60) % 3
    good, bad = (codec_auc.Scored(truth, s, patients, folds) for s in (scores, 1 - scores))
    table, change = codec_auc.auc_table(
        {("raw", "raw", 1): good, ("raw", "jpeg", 1): good, ("jpeg", "jpeg", 1): bad}
    )

    by_fold = [roc_auc_score(truth[folds == k], scores[folds == k]) for k in range(3)]
    whole = roc_auc_score(truth, scores)
    raw, same, other = table.rows
    assert raw[:7] == ["raw", "raw", "1", *(f"{auc:.4f}" for auc in (*by_fold, whole))] and raw[8] == ""
    assert same[3:8] == raw[3:8] and same[8] == "+0.0000 (+0.0000 to +0.0000)" and change == 0
    assert str(other[8]).startswith(f"{1 - 2 * whole:+.4f} (-")


def test_an_interval_of_a_difference_is_that_of_resampled_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_auc, "RESAMPLES", 100)
    random = np.random.default_rng(1)
    truth, patients = random.integers(0, 2, (40, 1)), np.repeat(np.arange(20), 2)
    first, second = (
        codec_auc.Scored(truth, truth + 2 * random.random((40, 1)), patients, patients) for _ in range(2)
    )
    difference, low, high = codec_auc.paired_difference(first, second)
    drawn = []
    for draw in np.random.default_rng(0).integers(0, 20, (100, 20)):
        rows = np.concatenate([np.flatnonzero(patients == patient) for patient in draw])
        ours, theirs = (roc_auc_score(truth[rows, 0], run.scores[rows, 0]) for run in (first, second))
        drawn.append(ours - theirs)
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    assert difference == pytest.approx(
        roc_auc_score(truth, first.scores) - roc_auc_score(truth, second.scores)
    )
