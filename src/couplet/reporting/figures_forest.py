"""Intervals side by side: a row per label, a column per number, so that what is unsure is seen to be wide."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from couplet.evaluation.estimate import Estimate
from couplet.reporting import style

ROW, SERIES_ROW = 21, 11  # CSS pixels of a label's row: with one series, and for each of several
HEAD, FOOT = 46, 30


@dataclass(frozen=True)
class Series:
    """One mark per label: (L, 3) value, low and high; NaN where there is none."""

    values: np.ndarray
    name: str = ""
    colour: str = style.BLUE
    marker: str = "o"


@dataclass(frozen=True)
class Column:
    """One number of every label.

    Attributes:
        title: above it.
        series: one, or one per group.
        bands: (L, 2) grey range behind each row, for example what is promised; NaN for none.
        marks: (L,) a thin black line in each row, for example the prevalence; NaN for none.
        line: a dashed line through all rows; None for none.
        log: whether the scale is logarithmic; otherwise it runs from 0 to 1.
    """

    title: str
    series: Sequence[Series]
    bands: np.ndarray | None = None
    marks: np.ndarray | None = None
    line: float | None = None
    log: bool = False
    limits: tuple[float, float] = field(default=(0.0, 1.0))


def ends(estimates: Sequence[Estimate | None]) -> np.ndarray:
    """(L, 3) value, low and high of each estimate; NaN where it has none.

    >>> ends([Estimate(0.5, 0.4, 0.6), Estimate(1.0, reason="one patient"), None]).tolist()
    [[0.5, 0.4, 0.6], [1.0, nan, nan], [nan, nan, nan]]
    """
    rows = [
        (np.nan,) * 3
        if one is None
        else tuple(np.nan if v is None else v for v in (one.value, one.low, one.high))
        for one in estimates
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def forest(labels: Sequence[str], columns: Sequence[Column]) -> Future[bytes]:
    """The columns beside each other; series of a column stand below each other within a label's row."""
    n_series = max(len(column.series) for column in columns)
    row = max(ROW, SERIES_ROW * n_series + 6)
    named = [one for column in columns for one in column.series if one.name]
    foot = FOOT + (18 if named else 0)
    figure = style.new_figure(style.FULL_WIDTH, row * len(labels) + HEAD + foot)
    left, gap = style.margin(labels), 22
    width = (style.FULL_WIDTH - left - 14 - gap * (len(columns) - 1)) / len(columns)
    for number, column in enumerate(columns):
        axes = style.place(figure, left + number * (width + gap), HEAD, width, row * len(labels))
        _column(axes, column, len(labels), width > 150)
        style.label_ticks(axes, labels, y=number == 0)
        axes.tick_params(axis="x", length=3)
        if any(one.name for one in column.series):
            axes.legend(
                loc="upper left",
                bbox_to_anchor=(-0.02, -22 / (row * len(labels))),
                ncols=len(column.series),
                fontsize=7.6,
                handlelength=0.8,
                handletextpad=0.4,
                columnspacing=0.9,
                borderpad=0,
                borderaxespad=0,
            )
    return style.to_png(figure)


def _column(axes: Axes, column: Column, n_labels: int, wide: bool) -> None:
    at, low, high = np.arange(n_labels), *column.limits
    # With y given Matplotlib does not look for ticks above the axes, which the title would have to make room for.
    axes.set_title(column.title, y=1, pad=9, fontsize=8.8)
    axes.set_ylim(n_labels - 0.5, -0.5)
    if column.log:
        axes.set_xscale("log")
        ticks = [tick for tick in (0.1, 0.25, 0.5, 1, 2, 4, 10) if low <= tick <= high]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
    else:
        ticks = [0, 0.25, 0.5, 0.75, 1] if wide else [0, 0.5, 1]
        axes.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axes.set_xlim(low, high) if column.log else axes.set_xlim(-0.02, 1.02)
    axes.tick_params(axis="x", labelsize=7.4)
    axes.hlines(at[:-1] + 0.5, low, high, color=style.RULE, linewidth=0.6)
    axes.spines["left"].set_visible(False)
    if column.line is not None:
        axes.axvline(column.line, color=style.MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    if column.bands is not None:
        there = np.isfinite(column.bands).all(axis=1)
        widths = np.maximum(column.bands[there, 1] - column.bands[there, 0], 0.004)
        axes.barh(at[there], widths, left=column.bands[there, 0], height=0.74, color="#dde3e8", zorder=1)
    if column.marks is not None:
        there = np.isfinite(column.marks)
        axes.vlines(column.marks[there], at[there] - 0.34, at[there] + 0.34, color=style.INK, linewidth=1.1)
    n = len(column.series)
    for number, one in enumerate(column.series):
        y = at + (number - (n - 1) / 2) * 0.74 / n
        value, start, end = np.clip(one.values.T, low, high)
        whole = np.isfinite(start)
        segments = [[(a, b), (c, b)] for a, b, c in zip(start[whole], y[whole], end[whole], strict=True)]
        axes.add_collection(LineCollection(segments, colors=one.colour, linewidths=1.5, alpha=0.75, zorder=3))
        # Without an interval the mark is hollow: it does not say how sure it is.
        there, size = np.isfinite(value), 22 if n == 1 else 15
        for rows, face in ((there & whole, one.colour), (there & ~whole, "white")):
            axes.scatter(
                value[rows],
                y[rows],
                size,
                c=face,
                marker=one.marker,
                edgecolors=one.colour,
                linewidths=0.9,
                zorder=4,
                clip_on=False,
            )
        if one.name:
            axes.plot(
                [], [], linestyle="none", marker=one.marker, color=one.colour, markersize=4.5, label=one.name
            )
