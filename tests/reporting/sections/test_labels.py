"""Label by label: where an AUC stands on its scale."""

from __future__ import annotations

from couplet.reporting.sections.labels import LabelRow, axis_start, forest


def row(
    auc: float | None, low: float | None, high: float | None, auc_per_fold: list[float | None]
) -> LabelRow:
    return LabelRow("Edema", 3, 9, auc_per_fold, None, auc, low, high, None, None, "")


def test_the_scale_starts_at_chance_or_at_the_tenth_below_the_lowest_number() -> None:
    assert axis_start([]) == 0.5
    assert axis_start([row(0.8, 0.7, 0.9, [0.75, None])]) == 0.5
    assert axis_start([row(0.6, 0.42, 0.8, [0.55]), row(None, None, None, [None, 0.31])]) == 0.3


def test_marks_stand_where_the_numbers_are() -> None:
    """132 pixels with 6 free on either side: 0.5 at 6, 1 at 126, 0.75 in the middle."""
    marks = forest(row(0.75, 0.5, 1.0, [0.625, None]), 0.5)
    assert marks == {"auc": "66.0", "interval": ("6.0", "126.0"), "folds": ["36.0"], "chance": "6.0"}
    assert forest(row(0.75, None, None, []), 0.0)["chance"] == "66.0"
    assert forest(row(0.75, None, None, []), 0.0)["interval"] is None
