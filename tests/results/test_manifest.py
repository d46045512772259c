from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from couplet.project.errors import UserError
from couplet.project.project import HERE
from couplet.results.folds import read_folds
from couplet.results.manifest import read_manifest, write_manifest
from couplet.results.predictions import read_predictions, write_predictions
from couplet.results.tables import numbers, read_table
from tests.support.errors import refused

HEADER = "image_id,part,patient_id,study_id,view,sex,age,width,height,shard,row,picture,Edema,Nodule\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    HERE.prepared.mkdir(parents=True)
    HERE.folds.parent.mkdir(parents=True)
    HERE.labels.write_text('{"labels": ["Edema", "Nodule"]}')
    HERE.manifest.write_text(
        HEADER
        + "001,train,07,s1,PA,F,41,10,10,0,0,0000000000000e01,1,\n"
        + "002,train,NA,s2,AP,,,10,10,1,3,,0,1\n"
    )
    HERE.folds.write_text("image_id,fold\n001,0\n002,test\n")
    return tmp_path


def test_ids_stay_text_and_blank_labels_are_unknown(project: Path) -> None:
    manifest = read_manifest()
    assert list(manifest.ids) == ["001", "002"]
    assert list(manifest.table["patient_id"]) == ["07", "NA"]
    assert manifest.truth.dtype == np.float32
    np.testing.assert_array_equal(manifest.truth, [[1, np.nan], [0, 1]])
    assert list(manifest.positions) == [0, 4096 + 3]
    assert list(manifest.pictures) == ["0000000000000e01", ""]
    assert list(read_folds(manifest)) == ["0", "test"]


def test_labels_that_are_not_scored_are_unknown_to_means(project: Path) -> None:
    manifest = read_manifest()
    first, second = manifest.labels
    assert manifest.scored([]).all() and manifest.scored([first]).tolist() == [False, True]
    np.testing.assert_array_equal(manifest.scored_truth([]), manifest.truth)
    np.testing.assert_array_equal(manifest.scored_truth([second]), [[1, np.nan], [0, np.nan]])
    assert manifest.scored_truth([second]).dtype == np.float32
    assert np.isfinite(manifest.truth[1]).all(), "the labels themselves stay"
    assert refused(manifest.scored, [first[:-1]]) == (
        f"params.yaml: inference.unscored names {first[:-1]!r}, which is no label: did you mean {first!r}?"
    )
    assert refused(manifest.scored, ["?"]) == (
        f"params.yaml: inference.unscored names '?', which is no label: the labels are {first}, {second}"
    )
    assert refused(manifest.scored, [first, second]) == (
        "params.yaml: inference.unscored names every label: leave one to score"
    )


def test_folds_of_other_images_are_refused(project: Path) -> None:
    HERE.folds.write_text("image_id,fold\n001,0\n003,1\n")
    with pytest.raises(
        UserError, match="lists other images than data/prepared/manifest.csv: run `dvc repro split_mis`"
    ):
        read_folds(read_manifest())


@pytest.mark.parametrize("fold", ["one", "", "1.0", "-1", "Test"])
def test_a_fold_is_a_number_or_test_or_train(project: Path, fold: str) -> None:
    HERE.folds.write_text(f"image_id,fold\n001,0\n002,{fold}\n")
    with pytest.raises(UserError, match=rf"folds.csv, row 3: fold '{fold}' is no number, test or train"):
        read_folds(read_manifest())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("e01,1,", "e01,yes,", "row 2: a label is not 0, 1 or empty"),
        ("e01,1,", "e01,2,", "row 2: a label is not 0, 1 or empty"),
        ("e01,1,", "e01,nan,", "row 2: a label is not 0, 1 or empty"),
        ("e01,1,", "e01,NA,", "row 2: a label is not 0, 1 or empty"),
        ("e01,1,", "e01,inf,", "row 2: a label is not 0, 1 or empty"),
        ("e01,1,", "e01,True,", "row 2: a label is not 0, 1 or empty"),
        ("10,10,1,3,", "10,10,1,4096,", "row 3: shard or row is no place in the store"),
        ("10,10,1,3,", "10,10,1000000,3,", "row 3: shard or row is no place in the store"),
        ("10,10,1,3,", "10,10,-1,3,", "row 3: shard or row is no place in the store"),
        ("10,10,1,3,", "10,10,1,,", "row 3: shard or row is no place in the store"),
        ("10,10,1,3,", "10,10,1,2.5,", "row 3: shard or row is no place in the store"),
    ],
)
def test_cells_that_are_not_ours_are_refused(project: Path, old: str, new: str, message: str) -> None:
    assert old in HERE.manifest.read_text()
    HERE.manifest.write_text(HERE.manifest.read_text().replace(old, new))
    with pytest.raises(UserError, match=f"manifest.csv, {message}: restore it"):
        read_manifest()


def test_missing_and_damaged_files_name_the_remedy(project: Path) -> None:
    manifest = read_manifest()
    HERE.manifest.write_text("image_id,part,patient_id,shard,row,Edema\n")
    with pytest.raises(
        UserError, match="has no column 'Nodule': restore it with `dvc checkout data/prepared`"
    ):
        read_manifest()
    HERE.manifest.write_text("image_id,part,patient_id,shard,row,Edema,Nodule\n")
    with pytest.raises(UserError) as error:
        read_manifest()
    assert str(error.value) == (
        "data/prepared/manifest.csv has no column 'picture', as those of earlier versions of couplet: make it again "
        "with `dvc repro`"
    )
    HERE.manifest.unlink()
    with pytest.raises(UserError, match="manifest.csv is not there: run `dvc repro`"):
        read_manifest()
    HERE.folds.write_text("")
    with pytest.raises(UserError, match=r"folds.csv is damaged \(.*\): restore it with `dvc checkout`"):
        read_folds(manifest)


def test_predictions_round_trip(project: Path) -> None:
    path, ids = Path("p.csv"), np.array(["001", "002"])
    write_predictions(path, ids, ["Edema", "Nodule"], np.array([[0.1234564, 1], [3.5e-11, 0.5]]))
    assert path.read_text() == "image_id,Edema,Nodule\n001,0.1234564,1\n002,3.5e-11,0.5\n"
    np.testing.assert_array_equal(
        read_predictions(path, ["Edema", "Nodule"], ids), [[0.1234564, 1], [3.5e-11, 0.5]]
    )
    with pytest.raises(UserError, match="has other labels"):
        read_predictions(path, ["Nodule", "Edema"], ids)
    with pytest.raises(UserError, match="has other images"):
        read_predictions(path, ["Edema", "Nodule"], ids[::-1])
    path.write_text("image_id,Edema,Nodule\n001,x,1\n002,0,0.5\n")
    with pytest.raises(UserError, match="cells that are not numbers"):
        read_predictions(path, ["Edema", "Nodule"], ids)
    path.write_text("image_id,Edema,Nodule\n001,1.5,1\n002,0,0.5\n")
    with pytest.raises(UserError, match="cells that are no probabilities"):
        read_predictions(path, ["Edema", "Nodule"], ids)


def test_no_two_probabilities_of_a_float32_model_become_one(project: Path) -> None:
    """At 6 decimals all but the last would be 0 or 1, and a label's AUC and AP with them."""
    bits = np.array([1e-30, 1e-9, 1.0, 0.3], dtype=np.float32)
    pairs = np.stack([bits, np.nextafter(bits, np.float32(0))], axis=1)
    ids = np.array(["1", "2", "3", "4"])
    write_predictions(Path("p.csv"), ids, ["Edema", "Nodule"], pairs.astype(np.float64))
    read = read_predictions(Path("p.csv"), ["Edema", "Nodule"], ids)
    np.testing.assert_array_equal(read.astype(np.float32), pairs)
    assert (read[:, 0] > read[:, 1]).all()


def test_predictions_that_are_not_finite_are_never_written(project: Path) -> None:
    with pytest.raises(
        UserError, match=r"1 of 2 probabilities are not finite \(first: image 002, label Edema\)"
    ):
        write_predictions(Path("p.csv"), np.array(["001", "002"]), ["Edema"], np.array([[0.1], [np.nan]]))
    assert not Path("p.csv").exists()


@pytest.mark.filterwarnings("error")
def test_rare_unknown_cells_in_a_long_table_are_read_right_and_without_a_warning(project: Path) -> None:
    """pandas infers types piece by piece: one blank label in the second piece makes a column of two types."""
    n, rare = 90_000, [4_321, 70_007]
    labels = [f"L{i:02d}" for i in range(14)]
    HERE.labels.write_text(json.dumps({"labels": labels}))
    truth = np.random.default_rng(0).integers(0, 2, (n, len(labels))).astype(float)
    truth[rare] = np.nan
    cells = pd.DataFrame(truth, columns=labels)
    cells = cells.astype("Int8")
    meta = dict.fromkeys(("part", "patient_id", "study_id", "view", "sex", "age"), "")
    place = {
        "picture": "",
        "width": 9,
        "height": 9,
        "shard": np.arange(n) // 4096,
        "row": np.arange(n) % 4096,
    }
    table = cells.assign(image_id=[f"{i:06d}" for i in range(n)], **meta, **place)
    write_manifest(HERE.prepared, table, labels)
    assert table.size > 2_000_000
    manifest = read_manifest()
    np.testing.assert_array_equal(manifest.truth, truth)
    assert (
        manifest.ids[-1] == f"{n - 1:06d}"
        and manifest.positions[-1] == (n - 1) // 4096 * 4096 + (n - 1) % 4096
    )
    assert manifest.table["width"].dtype == np.int64


@pytest.mark.filterwarnings("error")
def test_every_reader_of_a_long_table_is_free_of_warnings(project: Path) -> None:
    """A cell in the last piece that is no number is named; the columns before it keep their kind."""
    path, n = Path("long.csv"), 600_000
    rows = ["image_id,A,B", *(f"{i},0.5,{i % 2}" for i in range(n)), f"{n},,x"]
    path.write_text("\n".join(rows) + "\n")
    table = read_table(path)
    assert table["image_id"].tolist()[-1] == str(n)
    assert {type(cell) for cell in table["B"]} == {str}
    assert table["A"].tolist()[-2:] == ["0.5", ""]
    with pytest.raises(UserError, match=r"long\.csv has cells that are not numbers"):
        numbers(table[["A", "B"]], path)


def test_columns_of_groups_are_text_and_named(project: Path) -> None:
    manifest = read_manifest()
    assert manifest.group_columns == ()
    assert not set(manifest.labels) & set(manifest.table)  # they are `truth`
    table = manifest.table.assign(
        device=["07", "7"], **dict(zip(manifest.labels, manifest.truth.T, strict=True))
    )
    write_manifest(HERE.prepared, table, manifest.labels, ["device"])
    assert HERE.manifest.read_text().splitlines()[0] == HEADER.strip().replace(
        "picture,Edema", "picture,device,Edema"
    )
    HERE.labels.write_text('{"labels": ["Edema", "Nodule"], "group_columns": ["device"]}')
    again = read_manifest()
    assert again.group_columns == ("device",) and list(again.table["device"]) == ["07", "7"]
    np.testing.assert_array_equal(again.truth, manifest.truth)
    HERE.labels.write_text('{"labels": ["Edema", "Nodule"], "group_columns": ["site"]}')
    with pytest.raises(UserError, match=r"manifest\.csv has no column 'site'"):
        read_manifest()
