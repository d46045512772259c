from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import splitting, splitting_1m
from benchmarks.harness import Section
from benchmarks.splitting import IMAGES, OURS, PATIENTS, SETS, Cohort
from couplet.splits.mis import multilabel_stratified_folds
from couplet.splits.quality import patients_in_two_folds


@pytest.fixture(scope="module")
def section() -> Section:
    return splitting.run("tiny")


@pytest.fixture(scope="module")
def million() -> Section:
    return splitting_1m.run("tiny")


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return splitting.nih_like(300)


def plain_deviation(columns: list[np.ndarray], folds: np.ndarray) -> float:
    """The papers' formula, fold by fold and column by column."""
    terms = []
    for column in columns:
        for fold in range(3):
            part = column[folds == fold]
            terms.append(abs(part.sum() / (1 - part).sum() - column.sum() / (1 - column).sum()))
    return float(np.mean(terms))


def test_who_was_measured_at_which_size(section: Section, million: Section) -> None:
    assert [table.caption.split(":")[0] for table in section.tables] == [
        "499 x 14",
        "2,076 x 14",
        "1,000 x 80",
    ]
    assert [[row[0] for row in table.rows] for table in section.tables] == [
        [IMAGES, PATIENTS, SETS, OURS],
        [IMAGES, PATIENTS, SETS, OURS],
        [IMAGES, OURS],
    ]
    assert all(len(row) == len(table.columns) for table in section.tables for row in table.rows)
    (uneven_copies,) = million.tables
    assert uneven_copies.caption == "18,730 x 14: ten copies of 2,076 x 14, less one row in ten"
    assert [row[0] for row in uneven_copies.rows] == [IMAGES, PATIENTS, OURS]
    assert all(len(row) == len(uneven_copies.columns) for row in uneven_copies.rows)


def test_only_the_split_on_images_leaks(section: Section, million: Section) -> None:
    for table in [*section.tables[:2], *million.tables]:
        leak = {row[0]: float(row[5]) for row in table.rows}
        assert leak.pop(IMAGES) > 100
        assert set(leak.values()) == {0}


def test_balance_is_as_promised(section: Section) -> None:
    claims = {claim.what: claim for claim in section.claims}
    for what in ("label deviation, of its", "pair deviation, of its", "patients in two folds"):
        assert claims[f"splitting 2,076 x 14 by patient: {what}"].holds


def test_what_is_promised(section: Section, million: Section) -> None:
    assert [claim.promised for claim in section.claims] == [
        "at least 2x",
        "at most 1.05x",
        "at most 1x",
        "at most 0",
    ]
    assert [claim.promised for claim in million.claims] == ["at most 10x", "at most 10x"]


def test_deviations_are_the_medians_over_the_seeds(cohort: Cohort) -> None:
    outcomes = splitting.compare(cohort, (PATIENTS, OURS), rounds=2)
    labels = list(cohort.labels.T)
    pairs = [a * b for a, b in combinations(labels, 2) if (a * b).any()]
    for name, split in ((PATIENTS, splitting.iterative_on_patients), (OURS, splitting.ours)):
        folds = [split(cohort, seed) for seed in range(3)]
        for columns, measured in (
            (labels, outcomes[name].label_deviation),
            (pairs, outcomes[name].pair_deviation),
        ):
            assert measured == pytest.approx(np.median([plain_deviation(columns, fold) for fold in folds]))


def test_opponents_run_as_their_authors_mean_them(cohort: Cohort) -> None:
    by_image = splitting.iterative_on_images(cohort, seed=5)
    np.testing.assert_array_equal(by_image, multilabel_stratified_folds(cohort.labels, 3, seed=5))
    for split in (splitting.iterative_on_patients, splitting.on_label_sets):
        folds = split(cohort, 5)
        assert set(folds) == {0, 1, 2}
        assert patients_in_two_folds(cohort.patients, folds) == 0
    # Patient by patient, iterative-stratification balances who has a label: within two patients.
    ever = pd.DataFrame(cohort.labels).groupby(cohort.patients).max()
    fold = pd.Series(splitting.iterative_on_patients(cohort, 5)).groupby(cohort.patients).first()
    assert (ever.groupby(fold).sum() - ever.sum() / 3).abs().to_numpy().max() < 3


def test_label_sets_are_classes() -> None:
    # Two label sets of six patients each: two of each go to each fold.
    labels = np.repeat([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]], 6, axis=0)
    folds = splitting.on_label_sets(Cohort(labels, np.arange(12).astype(str)), seed=0)
    assert [sorted(np.bincount(part, minlength=3)) for part in (folds[:6], folds[6:])] == [[2, 2, 2]] * 2


def test_a_sample_has_whole_patients(cohort: Cohort) -> None:
    part = splitting.sample(cohort, 500)
    assert 494 <= len(part.labels) <= 500
    # All images of its patients, and nothing else.
    rows = np.isin(cohort.patients, part.patients)
    np.testing.assert_array_equal(part.labels, cohort.labels[rows])
    np.testing.assert_array_equal(part.patients, cohort.patients[rows])


def test_copies_have_new_patients(cohort: Cohort) -> None:
    copies = splitting_1m.tiled(cohort, 3)
    np.testing.assert_array_equal(copies.labels[len(cohort.labels) :][: len(cohort.labels)], cohort.labels)
    assert len(np.unique(copies.patients)) == 900
    third = [f"{patient}-2" for patient in cohort.patients]
    np.testing.assert_array_equal(copies.patients[-len(third) :], third)
    assert len(splitting_1m.tiled(cohort, 10, share=0.9).labels) == pytest.approx(
        9 * len(cohort.labels), rel=0.02
    )


def test_coco_likeness() -> None:
    coco = splitting.coco_like(20_000)
    assert coco.labels.shape == (20_000, 80)
    assert coco.labels.any(axis=1).all()
    prevalence = coco.labels.mean(axis=0)
    # Leaving out the one image in twenty without labels makes the rest more common by 1 / 0.95.
    assert prevalence[:2] == pytest.approx([0.54 / 0.95, 0.11 / 0.95], rel=0.03)
    assert prevalence[60:].sum() == pytest.approx(np.geomspace(0.11, 0.0016, 79)[59:].sum() / 0.95, rel=0.06)
    together, apart = (coco.labels[:, 1] * coco.labels[:, other] for other in (9, 10))
    assert together.sum() > 2 * apart.sum()
    assert len(np.unique(coco.patients)) == 20_000


def test_without_the_real_table_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(splitting, "NIH", tmp_path / "nowhere")
    monkeypatch.setitem(splitting.COCO_ROWS, "full", 500)
    section = splitting.run("full")
    monkeypatch.setattr(splitting_1m, "NIH", tmp_path / "nowhere")
    million = splitting_1m.run("full")
    assert [claim.holds for claim in (*section.claims, *million.claims)] == [None, None]
    assert [len(table.rows) for table in section.tables] == [2] and million.tables == []


def test_the_real_tables_labels(shared_data: Path) -> None:
    table = splitting.nih_table()
    assert table.labels.shape == (112_120, 14)
    assert len(np.unique(table.patients)) == 30_805
    names = pd.read_csv(shared_data / "nih_cxr14_labels/Data_Entry_2017_v2020.csv")["Finding Labels"]
    assert table.labels.sum() == names[names != "No Finding"].str.count(r"\|").add(1).sum()
