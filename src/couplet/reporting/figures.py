"""The report's charts: each function takes arrays and gives a PNG to come (paper 1, Figs. 2, 4, 6, 8)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection

from couplet.evaluation.estimate import Estimate
from couplet.reporting import style
from couplet.reporting.agreement import Pair
from couplet.reporting.analysis import Agreement
from couplet.results.run import FoldRun

CURVES = {
    "train_loss": "Training loss",
    "val_auc_macro": "Validation macro-AUC",
    "lr": "Learning rate",
    "mean_abs_coupling": "Mean |A|",
}

INTERVALS = (
    5  # folds: of more there is no room for intervals beside each other, and the page's table has them
)


def training_curves(folds: Sequence[FoldRun]) -> Future[bytes]:
    """Loss, validation macro-AUC (the kept epoch ringed), learning rate and mean coupling over the epochs."""
    refined = any(fold.couplings is not None for fold in folds)
    columns = [name for name in CURVES if refined or name != "mean_abs_coupling"]
    width = style.FULL_WIDTH / len(columns)
    figure = style.new_figure(style.FULL_WIDTH, 290)
    for number, column in enumerate(columns):
        axes = style.place(figure, number * width + 50, 34, width - 66, 206)
        for i, fold in enumerate(folds):
            colour = style.FOLD_COLOURS[i % len(style.FOLD_COLOURS)]
            marker = style.FOLD_MARKERS[i % len(style.FOLD_MARKERS)]
            epochs, values = fold.history["epoch"], fold.history[column]
            axes.plot(epochs, values, color=colour, marker=marker, markersize=4, label=f"fold {fold.fold}")
            kept = epochs == fold.record.best_epoch
            if column == "val_auc_macro" and kept.any():
                axes.plot(
                    epochs[kept],
                    values[kept],
                    "o",
                    markersize=11,
                    markerfacecolor="none",
                    color=style.INK,
                    mew=0.9,
                )
        # Patience may end one fold before another.
        last = max(fold.history["epoch"].max() for fold in folds)
        first = min(fold.history["epoch"].min() for fold in folds)
        if last - first < 8:
            axes.set_xticks(np.arange(first, last + 1))
        axes.set_xlim(first - 0.3, last + 0.3)
        axes.set_title(CURVES[column], pad=9)
        axes.set_xlabel("epoch")
        axes.grid(axis="y")
        axes.margins(y=0.12)
        axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=False)
        axes.yaxis.get_offset_text().set_fontsize(7)
    figure.axes[0].legend(loc="best", fontsize=8, handlelength=1.6)
    return style.to_png(figure)


def positives_per_label(
    labels: Sequence[str], train: np.ndarray, test: np.ndarray | None, n: np.ndarray
) -> Future[bytes]:
    """Fig 2: positives per label, most frequent first.

    Args:
        labels: L names.
        train: (L,) positives of the folds.
        test: (L,) positives of the test part, None where its labels are hidden or it does not exist.
        n: (L,) images whose label is known, in both.
    """
    total = train if test is None else train + test
    order = np.argsort(-total, kind="stable")
    names, left, row = [labels[i] for i in order], style.margin(labels), 22
    figure = style.new_figure(style.FULL_WIDTH, row * len(labels) + 52)
    axes = style.place(figure, left, 26, style.FULL_WIDTH - left - 120, row * len(labels))
    at = np.arange(len(labels))
    axes.barh(at, train[order], height=0.66, color=style.BLUE, label="cross-validation folds")
    if test is not None:
        axes.barh(at, test[order], left=train[order], height=0.66, color="#9cc9e3", label="test part")
        axes.legend(loc="lower right", fontsize=8.6)
    for y, i in enumerate(order):
        share = f"{total[i] / n[i]:.1%}" if n[i] else "none known"
        axes.annotate(
            f"{total[i]:,.0f}  ({share})", (total[i], y), (5, 0), textcoords="offset points", va="center"
        )
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0, max(total.max(), 1) * 1.02)
    axes.xaxis.tick_top()
    axes.spines["bottom"].set_visible(False)
    axes.spines["top"].set_visible(True)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_yticks(at, [style.short(name) for name in names], color=style.INK)
    axes.tick_params(axis="y", length=0)
    return style.to_png(figure)


def fold_agreement(
    labels: Sequence[str], result: Agreement, folds: Sequence[int], estimates: Sequence[Pair] = ()
) -> Future[bytes]:
    """Fig 4: per label the shares of images on which the folds agree, beside it every pair of folds.

    Above the diagonal is the agreement of two folds, below it kappa; of up to INTERVALS folds with the intervals
    that `estimates` has.
    """
    left, row = style.margin(labels), 20
    bars = max(row * len(labels), 150)
    figure = style.new_figure(style.FULL_WIDTH, bars + 72)
    width = style.FULL_WIDTH - left - 450
    axes = style.place(figure, left, 30, width, bars)
    at, no, yes = np.arange(len(labels)), result.per_label[:, 0], result.per_label[:, -1]
    split = result.split_per_label
    axes.barh(at, yes, height=0.7, color=style.BLUE, label="all say yes")
    axes.barh(at, split, left=yes, height=0.7, color="#e69f00", label="split")
    axes.barh(at, no, left=yes + split, height=0.7, color=style.RULE, label="all say no")
    for y, value in enumerate(split):
        axes.annotate(
            f"{value:.1%} split", (1, y), (5, 0), textcoords="offset points", va="center", color=style.MUTED
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
    style.label_ticks(axes, labels)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=3, fontsize=8.6, borderpad=0.2, handlelength=1
    )
    side = 250
    pairs = (
        style.place(figure, style.FULL_WIDTH - side - 50, 30, side, side)
        if bars >= side
        else style.place(figure, style.FULL_WIDTH - bars - 50, 30, bars, bars)
    )
    pairs.imshow(result.agreement, cmap="Blues", vmin=0.5, vmax=1.7)
    size = 9.5 if len(folds) <= 3 else 34 / len(folds)
    ends = {(pair.one, pair.other): _interval(pair.agreement, 100, 1) for pair in estimates}
    ends |= {(pair.other, pair.one): _interval(pair.kappa, 1, 2) for pair in estimates}
    for i in range(len(folds)):
        for j in range(len(folds)):
            kappa = result.kappa[i, j]
            text = (
                f"κ {'–' if np.isnan(kappa) else f'{kappa:.2f}'}"
                if i > j
                else f"{result.agreement[i, j]:.1%}"
            )
            text += "" if len(folds) > INTERVALS else ends.get((folds[i], folds[j]), "")
            pairs.text(
                j, i, text if i != j else "·", ha="center", va="center", fontsize=size, linespacing=1.35
            )
    names = [f"fold {fold}" for fold in folds]
    pairs.set_xticks(range(len(folds)), names, rotation=0 if len(folds) <= 4 else 90)
    pairs.set_yticks(range(len(folds)), names)
    pairs.tick_params(length=0)
    pairs.spines[:].set_visible(False)
    return style.to_png(figure)


def _interval(estimate: Estimate, times: float, decimals: int) -> str:
    """The second line of a cell: the interval, or that there is none."""
    if estimate.low is None or estimate.high is None:
        return "\nno interval"
    low, high = (f"{times * end:.{decimals}f}".replace("-", "−") for end in (estimate.low, estimate.high))
    return f"\n[{low}, {high}]"


def fold_spread(labels: Sequence[str], spread: np.ndarray) -> Future[bytes]:
    """Fig 6: mean across-fold standard deviation of the probability per label, largest first."""
    order = np.argsort(-spread, kind="stable")
    left, row = style.margin(labels), 20
    figure = style.new_figure(style.FULL_WIDTH, row * len(labels) + 52)
    axes = style.place(figure, left, 12, style.FULL_WIDTH - left - 80, row * len(labels))
    at = np.arange(len(labels))
    axes.hlines(at, 0, spread[order], color=style.RULE, linewidth=2.2)
    axes.plot(spread[order], at, "o", color=style.BLUE, markersize=5)
    for y, i in enumerate(order):
        axes.annotate(f"{spread[i]:.3f}", (spread[i], y), (8, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, max(float(spread.max()), 1e-3) * 1.05)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    style.label_ticks(axes, [labels[i] for i in order])
    return style.to_png(figure)


def probability_histograms(
    labels: Sequence[str],
    probabilities: np.ndarray,
    truth: np.ndarray,
    prevalence: np.ndarray,
    no_information: np.ndarray | None,
    bins: int = 40,
) -> Future[bytes]:
    """Fig 8: histogram of the predicted probabilities per label.

    All panels share one axes: fourteen of matplotlib's own would cost more time than the rest of the page.

    Args:
        labels: L names.
        probabilities: (n, L).
        truth: (n, L) 0, 1 or NaN; where nothing is known all images count as one group.
        prevalence: (L,), marked below each panel.
        no_information: (L,), marked too; None where the loss has no such number.
        bins: of the interval [0, 1].
    """
    columns = min(5, len(labels))
    lines = -(-len(labels) // columns)
    figure = style.new_figure(style.FULL_WIDTH, 138 * lines + 40)
    axes = style.place(figure, 10, 8, style.FULL_WIDTH - 20, 138 * lines + 24)
    axes.set_axis_off()
    axes.set_xlim(0, columns * 1.16 - 0.16)
    axes.set_ylim(lines * 1.6 + 0.12, 0)
    edges = np.linspace(0, 1, bins + 1)
    polygons: dict[str, list[np.ndarray]] = {"rest": [], "positive": []}
    baselines = []
    for i, label in enumerate(labels):
        x0, base = (i % columns) * 1.16, (i // columns) * 1.6 + 1.3
        rest = {"rest": truth[:, i] != 1, "positive": truth[:, i] == 1}
        shares = {
            name: np.histogram(probabilities[rows, i], edges)[0] / max(int(rows.sum()), 1)
            for name, rows in rest.items()
        }
        top = max(float(share.max()) for share in shares.values()) or 1.0
        for name, share in shares.items():
            x, height = np.repeat(edges, 2) + x0, np.concatenate([[0], np.repeat(share / top, 2), [0]])
            polygons[name].append(np.column_stack([x, base - height]))
        baselines.append([(x0, base), (x0 + 1, base)])
        axes.text(x0, base - 1.1, style.short(label, 24), fontweight="bold", va="bottom")
        for tick, align in ((0, "left"), (0.5, "center"), (1, "right")):
            axes.text(x0 + tick, base + 0.13, f"{tick:g}", fontsize=7, ha=align, va="top", color=style.MUTED)
        for value, colour in (
            (prevalence[i], style.INK),
            (np.nan if no_information is None else no_information[i], style.ORANGE),
        ):
            if np.isfinite(value):
                axes.plot(x0 + value, base + 0.07, marker="^", markersize=4.5, color=colour, clip_on=False)
    axes.add_collection(PolyCollection(polygons["rest"], facecolor="#aab4be", edgecolor="none"))
    axes.add_collection(
        PolyCollection(
            polygons["positive"], facecolor=(0, 0.447, 0.698, 0.28), edgecolor=style.BLUE, linewidth=0.9
        )
    )
    axes.add_collection(LineCollection(baselines, colors=style.MUTED, linewidths=0.7))
    return style.to_png(figure)
