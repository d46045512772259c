"""Subgroups and shortcuts: wording, size rules, tables in git, columns that the user names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from couplet.project.errors import UserError
from couplet.reporting.judge_groups import attributes
from couplet.reporting.plots_groups import shortcuts_table, subgroups_table
from couplet.reporting.rows_differences import Difference
from couplet.reporting.sections.groups import summary
from couplet.reporting.sections.suspicious import listed
from couplet.reporting.style import house_style
from couplet.reporting.trust import judge
from couplet.results.run import read_run
from tests.reporting.sections.conftest import section
from tests.support.pages import text_of

LABELS = ["Edema", "Pneumonia"]
# Of three images of a patient two are AP; sex and age change from patient to patient.
COLUMNS = {
    "view": ["AP", "AP", "PA"],
    "sex": ["F"] * 3 + ["M"] * 3,
    "age": ["30"] * 3 + ["55"] * 3 + ["70"] * 3 + [""] * 3,
}


def test_groups_are_counted_scored_and_compared(rendered: Callable) -> None:
    run, page = rendered(labels=LABELS, n_images=600, columns=COLUMNS)
    text = text_of(section(page, "groups"))
    oof = run.manifest.table.iloc[run.oof_rows]
    for value in ("F", "M"):
        own = oof[oof["sex"] == value]
        assert f"sex {value} {len(own)} {own['patient_id'].nunique()} 2 of 2" in text
    assert "fewer than 50 patients: not scored" in text, "each age band has about 43 patients"
    assert "bias" not in text.lower(), "a difference is not a bias"
    assert "Observed / expected in each group" in text and "By view: every label" in text
    assert "comparisons of a group with the rest" in text

    with house_style():
        trust = judge(run).groups
    table = subgroups_table(trust, run.labels)
    assert len(table) == (2 + 4 + 2) * 2 and not table.duplicated(["attribute", "group", "label"]).any()
    row = table[(table["group"] == "AP") & (table["label"] == "Pneumonia")].iloc[0]
    own = (oof["view"] == "AP").to_numpy()
    y, q = run.truth[run.oof_rows][own, 1], run.calibrated.oof_q[own, 1]
    assert row["observed_over_expected"] == pytest.approx(y.sum() / q.sum())
    assert (
        row["observed_over_expected_low"] < row["observed_over_expected"] < row["observed_over_expected_high"]
    )
    assert row["images"] == own.sum() and row["prevalence"] == pytest.approx(y.mean())
    assert (
        0 <= row["p_auc"] <= 1
        and np.isnan(table[table["group"] == "55"].get("auc", pd.Series([np.nan]))).all()
    )
    shortcut = shortcuts_table(trust, run.labels)
    assert shortcut["attribute"].tolist() == ["sex"] * 3 + ["age"] * 3 + ["view"] * 3
    assert shortcut["label"].tolist() == [*LABELS, "macro"] * 3
    assert shortcut["difference"].to_numpy() == pytest.approx(
        (shortcut["pooled"] - shortcut["within"]).to_numpy()
    )


def test_nothing_known_of_the_images(rendered: Callable) -> None:
    run, page = rendered(labels=LABELS, n_images=90, columns={name: [""] for name in ("view", "sex", "age")})
    text = text_of(section(page, "groups"))
    assert "Not known in this data set: sex, age, view." in text
    assert "so there are no subgroups to look at" in text and "Shortcuts" not in text
    with house_style():
        trust = judge(run).groups
    assert len(subgroups_table(trust, run.labels)) == len(shortcuts_table(trust, run.labels)) == 0
    assert list(subgroups_table(trust, run.labels))[:3] == ["attribute", "group", "label"]


def test_one_value_has_no_shortcut_and_no_rest(rendered: Callable) -> None:
    _, page = rendered(labels=LABELS, n_images=240)
    text = text_of(section(page, "groups"))
    assert "No attribute has two values here." in text and "0 comparisons of a group with the rest" in text


def test_an_age_band_has_all_that_write_the_age(rendered: Callable) -> None:
    ages = ["058Y", "58", "58.0", "007M", "85 or more", "old"]
    run, _ = rendered(labels=LABELS, n_images=90, columns={"age": ages})
    bands = ["40-59", "40-59", "40-59", "< 40", ">= 80", "unknown"]
    assert attributes(run)["age"].tolist() == bands * 15


def test_a_named_column_is_a_group_and_a_wrong_name_is_refused(project: Callable[..., Path]) -> None:
    project(labels=LABELS, n_images=90, changes={"report.groups": ["width"]})
    assert set(attributes(read_run())["width"]) == {"100"}
    project(labels=LABELS, n_images=90, changes={"report.groups": ["scanner"]})
    with pytest.raises(UserError) as error:
        attributes(read_run())
    assert str(error.value) == (
        "params.yaml: report.groups names 'scanner', which is no column of groups in data/prepared/manifest.csv: name "
        "some of width, height, keep more columns of a csv table by data.source_args.group_columns, or leave it empty"
    )
    assert "Edema" not in str(error.value) and "\n" not in str(error.value)


def test_what_differs_is_put_together_by_group_and_measure() -> None:
    def one(value: str, label: int, measure: str, difference: float) -> Difference:
        return Difference("view", value, label, measure, 0.0, 0.0, difference, 0.1, 0.01, None)  # type: ignore[arg-type]

    rows = summary(
        [
            one("PA", 1, "sensitivity", 0.2),
            one("AP", 1, "specificity", -0.2),
            one("AP", 0, "specificity", -0.1),
            one("AP", 1, "AUC", 0.1),
        ],
        LABELS,
    )
    assert [(row.group.replace("\u00a0", " "), row.measure, row.lower, row.higher) for row in rows] == [
        ("view AP", "AUC", [], ["Pneumonia"]),
        ("view AP", "specificity", LABELS, []),
        ("view PA", "sensitivity", [], ["Pneumonia"]),
    ]


def test_suspicious_cells_are_counted_and_never_named(rendered: Callable) -> None:
    run, page = rendered(labels=LABELS)
    html = section(page, "suspicious")
    found = run.calibrated.suspicious
    assert len(found) == 100 and not any(name in html for name in found["image_id"])
    text = text_of(html)
    assert "The model and the label disagree most here" in text and "wrong label" not in text
    assert "data/predictions/ensemble/suspicious.csv" in text and "100 cells" in text
    given = pd.to_numeric(found["given"])
    for row in listed(found, LABELS):
        own = found["label"] == row.label
        assert (row.n, row.present) == (50, int((given[own] == 1).sum()))
        assert f"{row.label} 50 {row.present} {row.absent} {row.other_in_study}" in text
