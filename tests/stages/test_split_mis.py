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
from tests.support.errors import refused

LABELS = ["Edema", "Fracture", "Nodule"]


def write_prepared(table: pd.DataFrame, labels: list[str], **split: Any) -> None:
    """What prepare leaves behind, in the current folder, and a params.yaml with these split settings."""
    table = table.sort_values("image_id")
    rows = np.arange(len(table))
    meta = {
        **{name: table[name] for name in ("image_id", "part", "patient_id")},
        **dict.fromkeys(("study_id", "view", "sex", "age"), ""),
        **{"width": 64, "height": 64, "shard": rows // 4096, "row": rows % 4096},
        "picture": table["picture"] if "picture" in table else [f"{row:016x}" for row in rows],
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
        *("pictures_in_two_folds", "pictures_in_train_and_test", "patients_sharing_a_picture"),
        *("label_distribution_deviation", "label_pair_distribution_deviation", "splitter"),
    ]
    assert metrics["pictures_in_two_folds"] == metrics["pictures_in_train_and_test"] == 0
    assert metrics["patients_sharing_a_picture"] == 0
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


def test_an_own_test_part_that_is_not_kept_is_dealt_anew_by_patient(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = example(60)
    own = table["patient_id"] < "0020"
    table.loc[own, "part"] = "test"
    write_prepared(table, LABELS, own_test=False, test_fraction=0.25, folds=[0], holdout=0.125)
    folds, metrics, _ = run()
    found = folds.set_index("image_id")["fold"].reindex(table["image_id"]).to_numpy()
    assert set(found[own]) == set(found[~own]) == {"0", "train", "test"}
    assert metrics["patients_in_two_folds"] == metrics["patients_in_train_and_test"] == 0
    assert pd.Series(found).groupby(table["patient_id"].to_numpy()).nunique().max() == 1
    assert metrics["n_test_images"] == pytest.approx(0.25 * len(table), abs=0.02 * len(table))
    # The same deal as of the same images without a test part of their own.
    table["part"] = "train"
    write_prepared(table, LABELS, own_test=False, test_fraction=0.25, folds=[0], holdout=0.125)
    assert run()[0].equals(folds)
    out = capsys.readouterr().out
    assert out.count("split.own_test = false changes nothing: the data set has no test part of its own") == 1


def test_an_own_test_part_of_hidden_labels_cannot_be_dealt() -> None:
    table = example(60)
    own = table["patient_id"] < "0020"
    table.loc[own, "part"] = "test"
    table.loc[own, LABELS] = np.nan
    write_prepared(table, LABELS, own_test=False)
    assert refused(split_mis) == (
        "params.yaml: split.own_test is false, but no label of the data set's own test part is known in "
        "data/prepared/manifest.csv: set it to true"
    )
    assert not HERE.folds.exists()


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


def share(table: pd.DataFrame, *groups: list[str]) -> pd.DataFrame:
    """The table with a picture for each image of its own, but one for the first images of each group of patients."""
    table["picture"] = [f"{row:016x}" for row in range(len(table))]
    first = table.index[~table["patient_id"].duplicated()]
    for number, patients in enumerate(groups):
        rows = first[table.loc[first, "patient_id"].isin(patients)]
        assert len(rows) == len(patients)
        table.loc[rows, "picture"] = f"f{number:015x}"
    return table


def parts_of(table: pd.DataFrame, folds: pd.DataFrame, *patients: str) -> set[str]:
    merged = folds.merge(table, on="image_id")
    return set(merged.loc[merged["patient_id"].isin(patients), "fold"])


def test_patients_who_share_a_picture_are_dealt_together(capsys: pytest.CaptureFixture[str]) -> None:
    table = share(example(), ["0000", "0001"], ["0050", "0060", "0070"])
    # A chain: 0002 and 0003 share a picture, 0003 and 0004 another one.
    chain = table.groupby("patient_id").head(2).groupby("patient_id").filter(lambda rows: len(rows) == 2)
    a, b, c = chain["patient_id"].unique()[5:8]
    rows = [chain.index[chain["patient_id"] == patient].tolist() for patient in (a, b, c)]
    table.loc[[rows[0][0], rows[1][0]], "picture"] = "a" * 16
    table.loc[[rows[1][1], rows[2][1]], "picture"] = "b" * 16
    table["picture"] = table["picture"].where(table["patient_id"] != "0090", "")  # blank, and so is 0091
    table["picture"] = table["picture"].where(table["patient_id"] != "0091", "")
    before = run_with(table.drop(columns="picture"))[0]
    together = [("0000", "0001"), ("0050", "0060", "0070"), (a, b, c)]
    assert not all(len(parts_of(table, before, *patients)) == 1 for patients in together)
    capsys.readouterr()
    folds, metrics, _ = run_with(table)
    for patients in together:
        assert len(parts_of(table, folds, *patients)) == 1
    assert folds.merge(table, on="image_id").groupby("patient_id")["fold"].nunique().max() == 1
    assert (metrics["pictures_in_two_folds"], metrics["pictures_in_train_and_test"]) == (0, 0)
    assert metrics["patients_sharing_a_picture"] == 8
    assert (
        "warning: 4 pictures of 8 patients, who are dealt together; in two folds: 0, in train and test: 0\n"
    ) in capsys.readouterr().out


def run_with(table: pd.DataFrame, **split: Any) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame]:
    write_prepared(table, LABELS, **split)
    return run()


def test_a_picture_of_the_data_sets_own_test_part_cannot_be_moved_and_is_counted() -> None:
    # 0005 and 0006 share nothing with each other, but both with test patient 0100: they are the same person.
    table = share(example(), ["0001", "0110"], ["0002", "0003"], ["0005", "0100"], ["0111", "0112"])
    six, hundred = (table.index[table["patient_id"] == patient][-1] for patient in ("0006", "0100"))
    assert table.loc[hundred, "picture"] != f"f{2:015x}"
    table.loc[[six, hundred], "picture"] = "c" * 16
    table.loc[table["patient_id"] >= "0090", "part"] = "test"
    folds, metrics, _ = run_with(table)
    assert len(parts_of(table, folds, "0002", "0003")) == len(parts_of(table, folds, "0005", "0006")) == 1
    assert metrics["pictures_in_two_folds"] == 0
    assert metrics["pictures_in_train_and_test"] == 3
    assert metrics["patients_sharing_a_picture"] == 9


def test_by_image_shared_pictures_are_only_counted_but_the_test_part_is_free_of_them() -> None:
    groups = [[f"{i:04d}", f"{i + 1:04d}"] for i in range(0, 60, 2)]
    table = share(example(), *groups)
    folds, metrics, _ = run_with(table, group_by="none")
    merged = folds.merge(table, on="image_id")
    rest = merged[merged["fold"] != "test"].groupby("picture")["fold"].nunique()
    assert metrics["pictures_in_two_folds"] == (rest > 1).sum() > 5
    assert metrics["pictures_in_train_and_test"] == 0
    assert metrics["patients_sharing_a_picture"] == 60


def test_images_without_patients_that_share_a_picture_are_counted() -> None:
    table = example().assign(patient_id="", picture="d" * 16)
    metrics = run_with(table, group_by="none", test_fraction=0.0)[1]
    assert (metrics["pictures_in_two_folds"], metrics["pictures_in_train_and_test"]) == (1, 0)
    assert metrics["patients_sharing_a_picture"] is None


def test_a_picture_of_so_many_patients_that_no_fold_holds_them_is_refused_in_one_line() -> None:
    table = share(example(), [f"{i:04d}" for i in range(60)])
    n = table["patient_id"].lt("0060").sum()
    with pytest.raises(UserError) as error:
        run_with(table, test_fraction=0.0)
    first = sorted(table.loc[table["picture"] == f"f{0:015x}", "image_id"])[:2]
    assert str(error.value) == (
        f"60 patients share pictures with one another and would be dealt together: {n} of {len(table)} images, more "
        f"than a part holds. The commonest picture is in 60 images (first: {first[0]} and {first[1]}): take its "
        "images out of the label table, or set split.group_by: none"
    )
    assert not HERE.folds.exists()
    # Blank pictures link nobody, however many there are; a hold-out leaves room for all of them.
    table["picture"] = table["picture"].where(table["picture"] != f"f{0:015x}", "")
    assert run_with(table, test_fraction=0.0)[1]["patients_sharing_a_picture"] == 0
    table = share(example(), [f"{i:04d}" for i in range(60)])
    folds, metrics, _ = run_with(table, test_fraction=0.0, folds=[0], holdout=0.2)
    assert parts_of(table, folds, *(f"{i:04d}" for i in range(60))) == {"train"}
    assert metrics["pictures_in_two_folds"] == 0


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


def test_subgroups_of_no_column_are_refused_before_anything_is_trained() -> None:
    write_prepared(example(), LABELS)
    settings = yaml.safe_load(HERE.params.read_text())
    HERE.params.write_text(yaml.safe_dump(settings | {"report": {"groups": ["height", "scanner"]}}))
    with pytest.raises(
        UserError, match=r"^params\.yaml: report\.groups names 'scanner', which is no column of groups in"
    ):
        split_mis()
    assert not HERE.folds.exists() and not HERE.split_metrics.exists()
    HERE.params.write_text(yaml.safe_dump(settings | {"report": {"groups": ["height"]}}))
    split_mis()
    assert HERE.folds.exists()


def test_labels_that_are_not_scored_choose_no_epoch_and_a_fold_needs_another() -> None:
    """Else training would only find out after its first epoch that the validation macro-AUC is of no label."""
    table = example()
    table[["Fracture", "Nodule"]] = 0.0
    write_prepared(table, LABELS)
    split_mis()
    assert HERE.folds.exists()
    HERE.folds.unlink()
    settings = yaml.safe_load(HERE.params.read_text())
    HERE.params.write_text(yaml.safe_dump(settings | {"inference": {"unscored": ["Edema"]}}))
    with pytest.raises(UserError, match="^fold 0: no label has both positives and negatives among its"):
        split_mis()
    assert not HERE.folds.exists()
