"""How figures look, and how they become the same bytes twice."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

P = ParamSpec("P")

INK, MUTED, RULE = "#1b2530", "#5d6975", "#d9dee4"
NOTHING = "#b7bfc7"  # a cell without a number
BLUE, ORANGE = "#0072b2", "#d55e00"
# Okabe and Ito's colours: told apart by colour-blind readers; markers carry the fold a second time.
FOLD_COLOURS = (BLUE, "#e69f00", "#009e73", ORANGE, "#cc79a7", "#56b4e9")
FOLD_MARKERS = ("o", "s", "^", "D", "v", "P")
DIVERGING = "RdBu_r"

PX = 100  # a figure's inch is 100 CSS pixels on the page ...
SCALE = 2  # ... drawn with twice as many pixels, for dense screens and print
FULL_WIDTH = 1040  # CSS pixels of the page's column

_BACKGROUND = ThreadPoolExecutor(1, "pictures")  # one keeps up with the drawing

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 8.6,
    "text.color": INK,
    "text.parse_math": False,  # a label may hold a dollar sign
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.2,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's own defaults and ours, whatever the user's matplotlibrc says; restored afterwards."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in CSS pixels."""
    return Figure(figsize=(width / PX, height / PX), dpi=PX * SCALE)


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place given in CSS pixels from the figure's top left corner."""
    w, h = figure.get_size_inches() * PX
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


def to_png(figure: Figure) -> Future[bytes]:
    """The figure as PNG of 256 colours: a third of the bytes, and no eye tells it from the original.

    It is drawn when this returns; its bytes are made while the next figure is drawn, and are the `result()`.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return in_background(_compressed, Image.fromarray(np.asarray(canvas.buffer_rgba())))


def in_background(make: Callable[P, bytes], *args: P.args, **options: P.kwargs) -> Future[bytes]:
    """What `make` gives, from one thread beside the drawing: for what Pillow does without Python's lock.

    Choosing the 256 colours of a figure and compressing it take half as long as Matplotlib's drawing of it.
    """
    return _BACKGROUND.submit(make, *args, **options)


def _compressed(picture: Image.Image) -> bytes:
    """PNG bytes of an RGBA picture, whose opacity is left out."""
    buffer = io.BytesIO()
    picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE).save(buffer, format="PNG")
    return buffer.getvalue()


def short(text: str, length: int = 28) -> str:
    """At most `length` characters on one line.

    >>> short("Enlarged Cardiomediastinum", 12)
    'Enlarged Ca…'
    """
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def margin(labels: Sequence[str], size: float = 8.6) -> float:
    """CSS pixels that these labels need beside an axis."""
    return 16 + 0.85 * size * max((len(short(label)) for label in labels), default=1)


def label_ticks(
    axes: Axes, labels: Sequence[str], size: float = 8.6, x: bool = False, y: bool = True
) -> None:
    """Write the labels beside the rows (y) and under the columns (x) of an axes, without tick marks."""
    names, at = [short(label) for label in labels], np.arange(len(labels))
    if y:
        axes.set_yticks(at, names, fontsize=size, color=INK)
    else:
        axes.set_yticks([])
    if x:
        axes.set_xticks(at, names, fontsize=size, color=INK, rotation=90)
    axes.tick_params(length=0)
