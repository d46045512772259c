from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from couplet.evaluation.estimate import Estimate
from couplet.project.files import write_csv
from couplet.project.project import HERE, Project
from couplet.results.leaks import Leaks, read_leaks
from couplet.results.model_record import trained_on, write_model_record
from couplet.results.scores import SplitMetrics, read_split_metrics, write_split_metrics
from couplet.results.shard_list import StoredFile, write_shard_list
from couplet.settings.params import parse_params
from tests.support.errors import refused
from tests.support.records import model_record

SPLIT = SplitMetrics(
    n_images=100,
    n_test_images=20,
    n_patients=50,
    patients_in_two_folds=0,
    patients_in_train_and_test=0,
    pictures_in_two_folds=0,
    pictures_in_train_and_test=0,
    patients_sharing_a_picture=0,
    label_distribution_deviation=0.1,
    label_pair_distribution_deviation=None,
    splitter="grouped second-order stratification",
)
CLEAN = Leaks(SPLIT, by_patient=True, other_data={}, chosen={0: 0.0, 1: 0.0}, sharpened=True)
PARAMS = parse_params({"split": {"folds": [0, 1]}}, "params.yaml")


def with_counts(**counts: int | None) -> Leaks:
    return replace(CLEAN, split=replace(SPLIT, **counts))


def texts(leaks: Leaks, attention: bool) -> list[str]:
    return [line.text for line in leaks.lines() if line.attention == attention]


def test_a_clean_run_says_all_of_it_and_flags_the_choice_alone() -> None:
    assert CLEAN.clean and CLEAN.patients_known
    assert CLEAN.flags_of("oof") == ("selected",) and CLEAN.flags_of("test") == ()
    assert CLEAN.summary == "no patient and no picture is in two parts, and every model is of this split"
    assert texts(CLEAN, attention=True) == []
    assert texts(CLEAN, attention=False) == [
        "No patient has images in two folds.",
        "No patient has images in the folds and in the test part.",
        "No picture of different patients is in two folds.",
        "No picture of different patients is in the folds and in the test part.",
        "Only pictures that are stored as the same bytes count as one: near-duplicates are not searched.",
        "Every model was trained on the split and the store that are here.",
        "Each model's epoch was chosen on the images that it is scored on out of fold; the choice adds nothing, since "
        "the last epoch is as good in every fold.",
        "Nothing is fitted on labels of the test part.",
        "How far the folds' models disagree is measured on the predictions of the test part, without its labels; a "
        "later image is corrected by the same factor.",
    ]


@pytest.mark.parametrize(
    ("count", "flagged", "line", "summary"),
    [
        ("patients_in_two_folds", "oof", "1 patient has images in two folds.", "1 patient in two folds"),
        (
            "patients_in_train_and_test",
            "test",
            "1 patient has images in the folds and in the test part.",
            "1 patient in folds and test part",
        ),
        (
            "pictures_in_two_folds",
            "oof",
            "1 picture of different patients is in two folds.",
            "1 picture in two folds",
        ),
        (
            "pictures_in_train_and_test",
            "test",
            "1 picture of different patients is in the folds and in the test part.",
            "1 picture in folds and test part",
        ),
    ],
)
def test_a_single_one_flags_every_estimate_of_its_part(
    count: str, flagged: str, line: str, summary: str
) -> None:
    leaks = with_counts(**{count: 1})
    assert not leaks.clean
    assert texts(leaks, attention=True) == [line] and leaks.summary == summary
    for part, own in (("oof", ("selected",)), ("test", ())):
        flags = leaks.flags_of(part)
        assert flags == ((*own, "leak") if part == flagged else own)
        assert Estimate(0.5, reason="x").flagged(*flags).flags == flags  # the order of the flags


def test_several_and_why() -> None:
    leaks = replace(
        with_counts(patients_in_two_folds=1200, pictures_in_two_folds=3, patients_sharing_a_picture=7),
        by_patient=False,
    )
    assert texts(leaks, attention=True) == [
        "1,200 patients have images in two folds, because split.group_by is none.",
        "3 pictures of different patients are in two folds.",
    ]
    assert "7 patients share a picture with another." in texts(leaks, attention=False)
    assert leaks.summary == "1,200 patients in two folds; 3 pictures in two folds"
    together = with_counts(patients_sharing_a_picture=2)
    assert together.clean
    assert "2 patients share a picture with another and are dealt together." in texts(
        together, attention=False
    )


def test_patients_that_are_not_named_need_attention_but_flag_nothing() -> None:
    unknown = dict.fromkeys(
        ("n_patients", "patients_in_two_folds", "patients_in_train_and_test", "patients_sharing_a_picture")
    )
    leaks = with_counts(**unknown)
    assert not leaks.clean and not leaks.patients_known
    assert leaks.summary == "patients are not named"
    assert texts(leaks, attention=True) == [
        "No patients are named: nobody can say who is in two folds, or in folds and test part."
    ]
    assert leaks.flags_of("oof") == ("selected",) and leaks.flags_of("test") == ()


def test_without_a_test_part_nothing_is_said_of_it() -> None:
    said = " ".join(texts(with_counts(n_test_images=0), attention=False))
    assert "test part" not in said
    with pytest.raises(ValueError, match="part must be oof or test, not 'train'"):
        CLEAN.flags_of("train")


def test_models_of_other_data_leak_everywhere() -> None:
    leaks = replace(CLEAN, other_data={1: ["manifest.csv", "folds.csv"]})
    assert texts(leaks, attention=True) == [
        "The model of fold 1 was trained on another manifest.csv, folds.csv than is here."
    ]
    assert leaks.summary == "fold 1 trained on another manifest.csv, folds.csv"
    assert leaks.flags_of("oof") == ("selected", "leak") and leaks.flags_of("test") == ("leak",)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (
            {0: 0.0, 1: 0.01234},
            "that adds at most 0.0123 to its macro-AUC (fold 1, against its last epoch).",
        ),
        (
            {0: None, 1: 0.0},
            "that adds at most 0.0000 to its macro-AUC (fold 1, against its last epoch).",
        ),
        ({0: None, 1: None}, "what that adds to its macro-AUC is not known."),
    ],
)
def test_the_upper_bound_of_what_the_choice_of_an_epoch_adds(
    chosen: dict[int, float | None], said: str
) -> None:
    line = replace(CLEAN, chosen=chosen)._chosen_line()
    assert line.text.endswith(f"; {said}") and not line.attention


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models, of which the first kept epoch 2 of 3."""
    monkeypatch.chdir(tmp_path)
    for path in (HERE.manifest, HERE.labels, HERE.folds):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path.name}\n")
    write_shard_list(HERE.prepared, [StoredFile("images-00000.npy", 0, "0" * 64)])
    (HERE.prepared / "images-00000.npy").touch()
    for fold, best in ((0, 2), (1, 3)):
        HERE.model(fold).mkdir(parents=True)
        record = model_record(["A"], {}, fold=fold, best_epoch=best, epochs_run=3, data=trained_on())
        write_model_record(HERE.model(fold), record)
        history = pd.DataFrame({"epoch": [1, 2, 3], "val_auc_macro": [0.6, 0.75, 0.7 + 0.1 * fold]})
        write_csv(HERE.model(fold) / "history.csv", history)
    write_split_metrics(HERE, replace(SPLIT, pictures_in_two_folds=2))
    return tmp_path


def test_the_record_is_read_from_the_files_of_a_run(project: Path) -> None:
    leaks = read_leaks(HERE, PARAMS)
    assert leaks.split.pictures_in_two_folds == 2 and leaks.other_data == {} and leaks.sharpened
    assert leaks.chosen == {0: pytest.approx(0.05), 1: 0.0}
    assert leaks.flags_of("oof") == ("selected", "leak") and leaks.flags_of("test") == ()


@pytest.mark.parametrize("path", [HERE.manifest, HERE.labels, HERE.shards, HERE.folds])
def test_a_table_that_is_not_the_models_own_is_named(project: Path, path: Path) -> None:
    path.write_text(path.read_text() + "\n")
    leaks = read_leaks(HERE, PARAMS)
    assert leaks.other_data == {0: [path.name], 1: [path.name]} and "leak" in leaks.flags_of("test")
    path.unlink()  # of a revision, not all are fetched
    assert read_leaks(HERE, PARAMS).other_data == {}


@pytest.mark.parametrize("lost", ["epoch 2", "an AUC"])
def test_a_choice_that_cannot_be_judged_is_not_known(project: Path, lost: str) -> None:
    path = HERE.model(0) / "history.csv"
    history = pd.read_csv(path)
    if lost == "an AUC":
        history.loc[2, "val_auc_macro"] = float("nan")
    write_csv(path, history if lost == "an AUC" else history.drop(index=1))
    assert read_leaks(HERE, PARAMS).chosen == {0: None, 1: 0.0}


def test_settings_decide_what_is_said_of_the_test_parts_predictions(project: Path) -> None:
    raw = {"split": {"folds": [0, 1], "group_by": "none"}, "calibration": {"method": "none"}}
    leaks = read_leaks(HERE, parse_params(raw, "params.yaml"))
    assert not leaks.by_patient and not leaks.sharpened
    unsharpened: dict[str, Any] = {"split": {"folds": [0, 1]}, "calibration": {"sharpen": False}}
    assert not read_leaks(HERE, parse_params(unsharpened, "params.yaml")).sharpened


@pytest.mark.parametrize("key", ["pictures_in_two_folds", "pictures_in_train_and_test"])
def test_counts_of_an_earlier_version_are_refused(project: Path, key: str) -> None:
    HERE.split_metrics.write_text(HERE.split_metrics.read_text().replace(key, "other"))
    said = refused(read_leaks, HERE, PARAMS)
    assert (
        said.startswith(f"metrics/split.json: {key!r} is missing or of another kind") and "dvc repro" in said
    )


def test_a_set_that_is_made_of_another_members_films_may_have_its_people_in_two_parts(project: Path) -> None:
    members = {"films": "nih", "chest": "rsna_pneumonia", "padchest": "padchest"}
    write_split_metrics(
        HERE, replace(SPLIT, shared_between={"chest and films": {"pictures": 0, "patients": 0}})
    )
    found = read_leaks(HERE, PARAMS, members)
    (why,) = found.made_of
    assert why.startswith(
        "chest (rsna_pneumonia) is made of images of films (nih): people are in both under other"
    )
    assert found.flags_of("oof") == ("selected", "leak") and found.flags_of("test") == ("leak",)
    assert not found.clean and texts(found, attention=True) == [f"{why}."] and why in found.summary
    for others in ({"nih": "nih", "padchest": "padchest"}, {}, None):
        assert read_leaks(HERE, PARAMS, others).clean


def test_pairs_of_combined_sets_are_told_apart(tmp_path: Path) -> None:
    between = {
        "a and b": {"pictures": 1, "patients": 2},
        "a and c": {"pictures": 0, "patients": 0},
        "b and c": {"pictures": 3, "patients": 5},
    }
    found = replace(CLEAN, split=replace(SPLIT, shared_between=between))
    assert found.clean  # who shares a picture is dealt together; what is torn apart has its own counts
    said = [line for line in texts(found, attention=False) if "in both" in line]
    assert said == [
        "1 picture of 2 patients is in both a and b.",
        "3 pictures of 5 patients are in both b and c.",
    ]
    nothing = replace(CLEAN, split=replace(SPLIT, shared_between={"a and b": {"pictures": 0, "patients": 0}}))
    assert "No two of the combined data sets share a picture." in texts(nothing, attention=False)
    project = Project(tmp_path)
    for split in (SPLIT, found.split):
        write_split_metrics(project, split)
        assert read_split_metrics(project) == split
    write_split_metrics(project, SPLIT)
    assert "shared_between" not in project.split_metrics.read_text()  # a single set's file keeps its bytes
    text = project.split_metrics.read_text().replace("{", '{"shared_between": {"a and b": 1},', 1)
    project.split_metrics.write_text(text)
    assert "shared_between is not ours" in refused(read_split_metrics, project)
