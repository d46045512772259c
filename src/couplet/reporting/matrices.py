"""The report's label by label matrices, each a PNG to come: correlations, couplings, the second paper's graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from couplet.reporting import style
from couplet.reporting.analysis import SMALL, off_diagonal

WITH_VALUES = 24  # up to this many labels side by side, and values in the cells
SCALE_AT_LEAST = 0.01  # the couplings' colours end here or later: next to nothing must not look like much


def correlations(labels: Sequence[str], predicted: np.ndarray, observed: np.ndarray) -> Future[bytes]:
    """Fig 5: L x L Pearson correlation of the probabilities and, beside (or below) it, of the labels."""
    n, side_by_side = len(labels), len(labels) <= WITH_VALUES
    size = label_size(n)
    gutter = style.margin(labels, size)
    side = (style.FULL_WIDTH - gutter - 112) / 2 if side_by_side else style.FULL_WIDTH - gutter - 96
    height = side + 34 + gutter
    figure = style.new_figure(style.FULL_WIDTH, height if side_by_side else 2 * height)
    limit = correlation_limit(predicted, observed)
    for number, (title, matrix) in enumerate((("Predicted probabilities", predicted), ("Labels", observed))):
        x = gutter + number * (side + 20) if side_by_side else gutter
        axes = style.place(figure, x, 30 + (0 if side_by_side else number * height), side, side)
        image = _heat(axes, matrix, limit)
        # The diagonal is 1 by definition: white, so that the scale serves the pairs.
        axes.imshow(np.where(np.eye(n), 1.0, np.nan), cmap="binary_r", vmin=0, vmax=1)
        style.label_ticks(axes, labels, size, x=True, y=number == 0 or not side_by_side)
        axes.set_title(title, pad=8)
    bar = style.place(figure, style.FULL_WIDTH - 72, 30, 12, min(side, 320))
    figure.colorbar(image, cax=bar, ticks=np.linspace(-limit, limit, 5)).outline.set_visible(False)
    return style.to_png(figure)


def label_size(n: int) -> float:
    """Points of a label's name beside a matrix of n labels: never higher than its row of at most 560 points.

    >>> [label_size(n) for n in (14, 40, 80, 1000)]
    [8.6, 8.6, 7.0, 4.2]
    """
    return min(8.6, max(4.2, 560 / n))


def correlation_limit(*matrices: np.ndarray) -> float:
    """End of a symmetric scale that holds every pair's correlation, in tenths, at least 0.2.

    >>> correlation_limit(np.array([[1.0, -0.31], [-0.31, 1.0]]))
    0.4
    """
    values = np.abs(np.concatenate([off_diagonal(matrix) for matrix in matrices]))
    largest = float(np.max(values[np.isfinite(values)], initial=0.2))
    return min(math.ceil(largest * 10 - 1e-9), 10) / 10


def coupling_matrix(labels: Sequence[str], couplings: np.ndarray) -> Future[bytes]:
    """Fig 7: mean coupling matrix; rows are sources, columns targets, the colour scale is symmetric.

    Up to 24 labels the values are written into the cells, "·" where |A| < SMALL.
    """
    n = len(labels)
    size = label_size(n)
    gutter = style.margin(labels, size) + 16
    side = min(style.FULL_WIDTH - gutter - 112, max(46 * n, 300))
    figure = style.new_figure(gutter + side + 112, side + gutter + 20)
    axes = style.place(figure, gutter, 12, side, side)
    limit = max(float(np.abs(couplings).max()), SCALE_AT_LEAST)
    shown = couplings.copy()
    np.fill_diagonal(shown, np.nan)
    image = _heat(axes, shown, limit, nothing="white")
    style.label_ticks(axes, labels, size, x=True)
    axes.set_ylabel("source", labelpad=4)
    axes.set_xlabel("target", labelpad=4)
    digits = 2 if limit >= 0.05 else 3
    if n <= WITH_VALUES:
        for i, j in np.argwhere(~np.eye(n, dtype=bool)):
            value = couplings[i, j]
            text = (
                "·" if abs(value) < SMALL else f"{value:+.{digits}f}".replace("0.", ".", 1).replace("-", "−")
            )
            colour = "white" if abs(value) > 0.6 * limit else style.INK
            axes.text(
                j, i, text, ha="center", va="center", fontsize=7.4 if digits == 2 else 6.4, color=colour
            )
    bar = style.place(figure, gutter + side + 22, 12, 12, min(side, 320))
    figure.colorbar(image, cax=bar, ticks=np.linspace(-limit, limit, 5), format="%+.3f").outline.set_visible(
        False
    )
    return style.to_png(figure)


def label_graphs(labels: Sequence[str], graphs: Mapping[str, np.ndarray]) -> Future[bytes]:
    """The second paper's graphs side by side over the same labels; rows are targets, columns sources.

    Each graph has its own symmetric colour scale, which ends at its largest weight between two labels: a label's
    weight for itself, about 1 in the static graph, would leave nothing to see of the links. So the diagonal is
    grey, with its values.

    Args:
        labels: L names.
        graphs: (L, L) by title.
    """
    n = len(labels)
    left, below = style.margin(labels), style.margin(labels)
    side = min((style.FULL_WIDTH - left - 24 * len(graphs)) / len(graphs), 30 * n)
    figure = style.new_figure(style.FULL_WIDTH, side + below + 26)
    for number, (title, matrix) in enumerate(graphs.items()):
        axes = style.place(figure, left + number * (side + 24), 26, side, side)
        links = np.where(np.eye(n, dtype=bool), np.nan, matrix)
        limit = float(np.nanmax(np.abs(links), initial=0.0)) or 1.0
        _heat(axes, links, limit, nothing=style.RULE)
        _write_weights(axes, matrix, limit, size=min(7.4, 0.3 * side / n))
        style.label_ticks(axes, labels, x=True, y=number == 0)
        axes.set_title(title, pad=7)
    return style.to_png(figure)


def _write_weights(axes: Axes, matrix: np.ndarray, limit: float, size: float) -> None:
    """Hundredths in every cell, which fit where decimals would not, "·" for 0; the diagonal in the muted colour."""
    for (i, j), value in np.ndenumerate(matrix):
        text = f"{100 * value:.0f}".replace("-", "−")
        strong, own = abs(value) > 0.6 * limit, i == j
        axes.text(
            j,
            i,
            text if abs(value) >= 0.005 else "·",
            ha="center",
            va="center",
            fontsize=size,
            color=style.MUTED if own else "white" if strong else style.INK,
        )


def _heat(
    axes: Axes, matrix: np.ndarray, limit: float, nothing: str = style.NOTHING
) -> matplotlib.image.AxesImage:
    colours = matplotlib.colormaps[style.DIVERGING].with_extremes(bad=nothing)
    image = axes.imshow(
        np.ma.masked_invalid(matrix), cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest"
    )
    axes.spines[:].set_visible(False)
    return image
