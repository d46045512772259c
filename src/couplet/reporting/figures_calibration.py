"""Pictures of calibration and of decisions that are left out: reliability curves, risk against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.special import logit

from couplet.evaluation.calibration.error import ReliabilityBin
from couplet.evaluation.risk import RiskRow
from couplet.reporting import style

TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99)
BEFORE = "#eba57a"  # of outputs before calibration
STEP_X, STEP_Y = 1.3, 1.42
HEAD = 24  # CSS pixels of the key above all panels  # from panel to panel, of panels one wide and one high


class Curve(NamedTuple):
    """One label's reliability curves."""

    label: str
    after: list[ReliabilityBin]
    before: list[ReliabilityBin]
    too_few: bool


def reliability(curves: Sequence[Curve]) -> Future[bytes]:
    """A panel per label: mean probability of each bin (across) against the observed share (up), with its interval.

    Both scales are log odds, which stretches them near 0 and 1; what lies beyond their ends is drawn there. Blue is
    after calibration, orange before; grey where there are too few to judge. All panels share one axes, which is four
    times as fast as one for each.
    """
    columns = min(5, len(curves))
    lines, lowest = -(-len(curves) // columns), _lowest(curves)
    panel = (style.FULL_WIDTH - 60) / (5 * STEP_X)
    height = panel * STEP_Y * lines
    figure = style.new_figure(style.FULL_WIDTH, round(height + HEAD + 6))
    axes = style.place(figure, 40, HEAD, panel * STEP_X * columns, height)
    _key(figure)
    axes.set_axis_off()
    axes.set_xlim(0, columns * STEP_X)
    axes.set_ylim(lines * STEP_Y, 0)
    ticks = [tick for tick in TICKS if lowest <= tick <= 1 - lowest]
    for i, curve in enumerate(curves):
        x0, base = (i % columns) * STEP_X, (i // columns) * STEP_Y + 1.24
        at = [_stretched(tick, lowest) for tick in ticks]
        grid = [[(x0 + t, base), (x0 + t, base - 1)] for t in at] + [
            [(x0, base - t), (x0 + 1, base - t)] for t in at
        ]
        axes.add_collection(LineCollection(grid, colors=style.RULE, linewidths=0.5))
        frame = [[(x0, base), (x0 + 1, base)], [(x0, base), (x0, base - 1)]]
        axes.add_collection(LineCollection(frame, colors=style.MUTED, linewidths=0.7))
        axes.plot([x0, x0 + 1], [base, base - 1], color=style.MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
        axes.text(x0, base - 1.06, style.short(curve.label, 24), fontweight="bold", va="bottom")
        for tick, t in zip(ticks, at, strict=True):
            about: dict[str, Any] = {"fontsize": 6.6, "color": style.MUTED}
            axes.text(x0 + t, base + 0.04, f"{100 * tick:g}", ha="center", va="top", **about)
            axes.text(x0 - 0.03, base - t, f"{100 * tick:g}", ha="right", va="center", **about)
        blue, orange = (style.NOTHING, "#dfe4e8") if curve.too_few else (style.BLUE, BEFORE)
        for bins, colour, whole in ((curve.before, orange, False), (curve.after, blue, True)):
            x = np.array([x0 + _stretched(one.predicted, lowest) for one in bins])
            y = np.array([base - _stretched(one.observed.value or 0.0, lowest) for one in bins])
            axes.plot(x, y, color=colour, linewidth=1.0, zorder=2 + whole)
            axes.scatter(x, y, 11 if whole else 5, color=colour, zorder=3 + whole, linewidths=0)
            if whole:
                axes.add_collection(
                    LineCollection(
                        [
                            [
                                (a, base - _stretched(end, lowest))
                                for end in (one.observed.low, one.observed.high)
                            ]
                            for a, one in zip(x, bins, strict=True)
                            if one.observed.low is not None and one.observed.high is not None
                        ],
                        colors=colour,
                        linewidths=0.9,
                        zorder=2,
                    )
                )
        if curve.too_few:
            axes.text(
                x0 + 0.05, base - 0.93, "too few to judge", fontsize=7.4, color=style.MUTED, va="center"
            )
    return style.to_png(figure)


def _key(figure: Figure) -> None:
    key = style.place(figure, 20, 2, style.FULL_WIDTH - 20, HEAD - 4)
    key.set_axis_off()
    key.set_xlim(0, style.FULL_WIDTH - 20)
    key.set_ylim(0, 1)
    words = {
        8: ("calibrated", style.BLUE),
        110: ("the network’s own output", BEFORE),
        290: ("too few", style.NOTHING),
    }
    for x, (text, colour) in words.items():
        key.plot([x], [0.5], "o", color=colour, markersize=5)
        key.text(x + 10, 0.5, text, va="center", fontsize=8.2)
    key.text(
        style.FULL_WIDTH - 30,
        0.5,
        "across: probability, %   up: share with the finding, %",
        ha="right",
        va="center",
        fontsize=8.2,
        color=style.MUTED,
    )


def risk_coverage(rows: Sequence[RiskRow]) -> Future[bytes]:
    """Share of wrong calls among the cells that are kept, against the share kept, surest first."""
    figure = style.new_figure(style.FULL_WIDTH * 0.62, 300)
    axes = style.place(figure, 62, 22, style.FULL_WIDTH * 0.62 - 90, 222)
    coverage = np.array([row.coverage for row in rows])
    risk = np.array([row.risk for row in rows])
    everything = risk[-1]
    axes.axhline(everything, color=style.MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.annotate(
        f"nothing left aside, or in random order: {everything:.1%}",
        (0.0, everything),
        (4, 5),
        textcoords="offset points",
        color=style.MUTED,
        fontsize=8,
    )
    axes.plot(coverage, risk, color=style.BLUE, marker="o", markersize=3.4)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(0, max(everything * 1.22, float(np.nanmax(risk)) * 1.1, 0.01))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}".replace(".0%", "%"))
    axes.set_xlabel("image × label cells that are decided, the surest first")
    axes.set_title("Wrong calls among them", pad=8)
    axes.grid(axis="y")
    return style.to_png(figure)


def _lowest(curves: Sequence[Curve]) -> float:
    """Low end of the scales: half of 1 %, or of 1 per mille if a bin is below 1 %."""
    seen = [one.predicted for curve in curves for one in curve.after]
    return float(np.clip(10 ** np.floor(np.log10(max(min(seen, default=0.01), 1e-9))), 1e-3, 1e-2)) / 2


def _stretched(share: float, lowest: float) -> float:
    """Where a share stands between the ends `lowest` and 1 - `lowest`, in log odds, from 0 to 1.

    >>> [round(_stretched(share, 0.01), 3) for share in (0.0, 0.01, 0.1, 0.5, 1.0)]
    [0.0, 0.0, 0.261, 0.5, 1.0]
    """
    return float(np.clip((1 + logit(np.clip(share, lowest, 1 - lowest)) / logit(1 - lowest)) / 2, 0, 1))
