from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from couplet.project.errors import UserError
from couplet.project.project import HERE
from couplet.results.manifest import write_manifest
from couplet.stages.split_mis import split_mis

LABELS = ["Edema", "Fracture", "Nodule"]


def write_prepared(table: pd.DataFrame, labels: list[str], **split: Any) -> None:
    """What prepare leaves behind, in the current folder, and a params.yaml with these split settings."""
    table = table.sort_values("image_id")
    rows = np.arange(len(table))
    meta = {
        **{name: table[name] for name in ("image_id", "part", "patient_id")},
        **dict.fromkeys(("study_id", "view", "sex", "age"), ""),
        **{"width": 64, "height": 64, "shard": rows // 4096, "row": rows % 4096},
    }
    HERE.prepared.mkdir(parents=True, exist_ok=True)
    write_manifest(HERE.prepared, pd.DataFrame(meta).join(table[labels]), labels)
    HERE.labels.write_text(json.dumps({"source": "csv", "labels": labels}))
    HERE.params.write_text(yaml.safe_dump({"seed": 42, "split": split}))


def example(n_patients: int = 120, seed: int = 0) -> pd.DataFrame:
    """1 to 4 images per patient; ids that look like numbers with leading zeros."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), rng.integers(1, 5, n_patients))
    table = pd.DataFrame(rng.random((len(patient), 3)) < [0.4, 0.2, 0.1], columns=LABELS).astype(float)
    table["image_id"] = [f"{row:06d}" for row in rng.permutation(len(patient))]
    table["patient_id"] = [f"{number:04d}" for number in patient]
    table["part"] = "train"
    return table


def run() -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame]:
    split_mis()
    folds = pd.read_csv(HERE.folds, dtype=str)
    return (
        folds,
        json.loads(HERE.split_metrics.read_text()),
        pd.read_csv(HERE.split_plot, dtype={"fold": str}),
    )


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_three_folds_and_a_test_part_by_patient() -> None:
    table = example()
    write_prepared(table, LABELS)
    folds, metrics, plot = run()
    assert folds["image_id"].tolist() == sorted(table["image_id"])
    assert set(folds["fold"]) == {"0", "1", "2", "test"}
    assert abs((folds["fold"] == "test").mean() - 0.2) < 0.01
    merged = folds.merge(table, on="image_id")
    assert merged.groupby("patient_id")["fold"].nunique().max() == 1
    assert list(metrics) == [
        *("n_images", "n_test_images", "n_patients", "patients_in_two_folds", "patients_in_train_and_test"),
        *("label_distribution_deviation", "label_pair_distribution_deviation", "splitter"),
    ]
    assert metrics["n_images"] == len(table)
    assert metrics["n_test_images"] == (folds["fold"] == "test").sum()
    assert metrics["n_patients"] == 120
    assert metrics["patients_in_two_folds"] == metrics["patients_in_train_and_test"] == 0
    assert metrics["splitter"] == "grouped second-order stratification"
    assert 0 < metrics["label_distribution_deviation"] < 0.02
    # The plot: label, fold, positives and share of each part.
    assert plot.columns.tolist() == ["label", "fold", "positives", "share"]
    assert plot[["label", "fold"]].to_numpy().tolist() == [
        [label, fold] for label in LABELS for fold in ("0", "1", "2", "test")
    ]
    for label, fold, positives, share in plot.itertuples(index=False):
        values = merged.loc[merged["fold"] == fold, label]
        assert positives == values.sum()
        assert share == pytest.approx(values.mean(), abs=1e-6)


def test_same_bytes_again_and_whatever_the_row_order_was() -> None:
    table = example()
    write_prepared(table, LABELS)
    run()
    first = [path.read_bytes() for path in (HERE.folds, HERE.split_metrics, HERE.split_plot)]
    write_prepared(table.sample(frac=1, random_state=1), LABELS)
    run()
    assert [path.read_bytes() for path in (HERE.folds, HERE.split_metrics, HERE.split_plot)] == first


def test_the_data_sets_own_test_part_wins() -> None:
    table = example()
    table.loc[table["patient_id"] >= "0090", "part"] = "test"
    table.loc[table["patient_id"] >= "0090", LABELS] = np.nan  # hidden labels
    write_prepared(table, LABELS, test_fraction=0.2)
    folds, metrics, plot = run()
    own = set(table.loc[table["part"] == "test", "image_id"])
    assert set(folds.loc[folds["fold"] == "test", "image_id"]) == own
    assert plot.loc[plot["fold"] == "test", ["positives", "share"]].isna().all(axis=None)
    assert plot.loc[plot["fold"] != "test", "share"].notna().all()
    assert metrics["patients_in_train_and_test"] == 0


def test_patients_in_the_own_test_part_and_in_train_are_counted() -> None:
    table = example()
    several = table["patient_id"].duplicated()
    table.loc[several & (table["patient_id"] < "0010"), "part"] = "test"
    write_prepared(table, LABELS)
    metrics = run()[1]
    assert (
        metrics["patients_in_train_and_test"]
        == table.loc[table["part"] == "test", "patient_id"].nunique()
        > 0
    )
    assert metrics["patients_in_two_folds"] == 0


def test_no_test_part() -> None:
    write_prepared(example(), LABELS, test_fraction=0.0, folds=[0, 1])
    folds, metrics, _ = run()
    assert set(folds["fold"]) == {"0", "1"}
    assert metrics["n_test_images"] == 0
    assert abs((folds["fold"] == "0").sum() - len(folds) / 2) <= 1


def test_by_image_as_in_the_paper() -> None:
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    table = example().sort_values("image_id")
    write_prepared(table, LABELS, group_by="none", test_fraction=0.0)
    folds, metrics, _ = run()
    reference = MultilabelStratifiedKFold(n_splits=3, shuffle=True, random_state=42)
    labels = table[LABELS].to_numpy()
    for fold, (_, rows) in enumerate(reference.split(labels, labels)):
        assert np.flatnonzero(folds["fold"] == str(fold)).tolist() == rows.tolist()
    assert metrics["splitter"] == "MultilabelStratifiedKFold"
    assert metrics["patients_in_two_folds"] > 50


def test_single_label_by_image_falls_back_and_says_so() -> None:
    write_prepared(example(), ["Edema"], group_by="none")
    metrics = run()[1]
    assert metrics["splitter"] == "StratifiedKFold over label combinations"
    assert metrics["label_pair_distribution_deviation"] is None


def test_hold_out_for_selection() -> None:
    table = example(n_patients=400)
    write_prepared(table, LABELS, folds=[0], holdout=0.05, test_fraction=0.1)
    folds, metrics, _ = run()
    assert set(folds["fold"]) == {"0", "train", "test"}
    rest = (folds["fold"] != "test").sum()
    assert abs((folds["fold"] == "0").sum() - 0.05 * rest) <= 1
    assert metrics["patients_in_two_folds"] == 0
    assert metrics["splitter"] == "grouped second-order stratification"


def test_data_sets_without_patients() -> None:
    table = example().assign(patient_id="")
    write_prepared(table, LABELS, group_by="none")
    metrics = run()[1]
    assert metrics["n_patients"] is None
    assert metrics["patients_in_two_folds"] is None
    write_prepared(table, LABELS)
    with pytest.raises(
        UserError, match=r"manifest.csv: \d+ of \d+ images have no patient_id .*split.group_by: none"
    ):
        run()


@pytest.mark.parametrize(
    ("n_patients", "split", "message"),
    [
        (3, {"test_fraction": 0.0, "folds": [0, 1, 2, 3]}, "at least 4 patients, and 3 can be dealt"),
        (1, {"test_fraction": 0.2}, "split.test_fraction = 0.2 of 1 patient leaves the test part empty"),
        (
            2,
            {"test_fraction": 0.99},
            "split.test_fraction = 0.99 of 2 patients leaves no image for the folds",
        ),
        (
            3,
            {"test_fraction": 0.0, "folds": [0], "holdout": 0.01},
            "split.holdout = 0.01 leaves part '0' empty",
        ),
    ],
)
def test_too_little_data(n_patients: int, split: dict[str, Any], message: str) -> None:
    write_prepared(example(n_patients, seed=1), LABELS, **split)
    with pytest.raises(UserError, match=message) as error:
        run()
    assert "\n" not in str(error.value)
    assert not HERE.folds.exists()
    assert not HERE.split_metrics.exists()


def test_no_labelled_rows() -> None:
    table = example()
    table[LABELS] = np.nan
    write_prepared(table, LABELS)
    with pytest.raises(UserError, match="train images has a label: check the label table"):
        run()


def test_unknown_labels_are_left_out_of_shares() -> None:
    table = example()
    table.loc[table.index[::3], "Edema"] = np.nan
    write_prepared(table, LABELS, test_fraction=0.0)
    folds, _, plot = run()
    merged = folds.merge(table, on="image_id")
    row = plot[(plot["label"] == "Edema") & (plot["fold"] == "0")].iloc[0]
    assert row["share"] == pytest.approx(merged.loc[merged["fold"] == "0", "Edema"].mean(), abs=1e-6)


def test_the_real_table(shared_data: Path) -> None:
    raw = pd.read_csv(shared_data / "nih_cxr14_labels/Data_Entry_2017_v2020.csv", dtype=str)
    own_test = set((shared_data / "nih_cxr14_labels/test_list.txt").read_text().split())
    labels = raw["Finding Labels"].str.get_dummies("|").drop(columns="No Finding")
    table = labels.assign(image_id=raw["Image Index"], patient_id=raw["Patient ID"])
    table["part"] = np.where(table["image_id"].isin(own_test), "test", "train")
    write_prepared(table, list(labels.columns))
    folds, metrics, _ = run()
    assert folds["fold"].value_counts()["test"] == 25_596
    assert (metrics["n_images"], metrics["n_patients"]) == (112_120, 30_805)
    assert metrics["patients_in_two_folds"] == metrics["patients_in_train_and_test"] == 0
    assert metrics["label_distribution_deviation"] < 2e-5
    assert metrics["label_pair_distribution_deviation"] < 3e-5


def test_neither_torch_nor_scikit_learn_is_imported() -> None:
    write_prepared(example(), LABELS)
    code = (
        "import sys; from couplet.stages.split_mis import split_mis; split_mis(); "
        "print([name for name in ('torch', 'timm', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stdout.startswith("split by grouped second-order stratification: 0 ")
