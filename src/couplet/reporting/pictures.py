"""Pictures of the report: samples per finding (paper 1, Fig. 3) and the second paper's explanations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from couplet.reporting import style

GAP = 6  # pixels between tiles
STRIP = 23  # height of a line of text under a tile


def montage(tiles: Sequence[np.ndarray], captions: Sequence[str], columns: int, side: int) -> bytes:
    """Tiles (each (C, S, S) uint8) in rows of `columns`, a caption of one or more lines under each, as PNG.

    A tile is enlarged or reduced to `side` pixels. The picture is grey if every tile is.
    """
    grey = all(len(tile) == 1 for tile in tiles)
    lines = -(-len(tiles) // columns)
    strip = STRIP * max(caption.count("\n") + 1 for caption in captions)
    size = (columns * (side + GAP) - GAP, lines * (side + strip + GAP) - GAP)
    page = Image.new("L" if grey else "RGB", size, "white")
    pen, font = ImageDraw.Draw(page), _font(15)
    for i, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        x, y = (i % columns) * (side + GAP), (i // columns) * (side + strip + GAP)
        page.paste(to_image(tile).resize((side, side), Image.Resampling.BICUBIC), (x, y))
        for number, line in enumerate(caption.split("\n")):
            fill = style.INK if number == 0 else style.MUTED
            pen.text((x + 2, y + side + 2 + number * STRIP), line, font=font, fill=fill)
    return to_png(page)


def to_image(tile: np.ndarray) -> Image.Image:
    """A (C, S, S) uint8 array as a picture; C is 1 or 3."""
    return (
        Image.fromarray(tile[0])
        if len(tile) == 1
        else Image.fromarray(np.ascontiguousarray(tile.transpose(1, 2, 0)))
    )


def overlay(tile: np.ndarray, activation: np.ndarray, side: int) -> np.ndarray:
    """A class activation map (h, w) laid over its image (C, S, S): (3, side, side) uint8.

    The image turns grey and dark, so that every colour is the map's: nothing at its smallest value, then
    purple and orange to yellow at its largest. Colours compare places and not labels.
    """
    low, high = float(activation.min()), float(activation.max())
    scaled = (activation.astype(np.float32) - low) / ((high - low) or 1.0)
    heat = np.asarray(Image.fromarray(scaled).resize((side, side), Image.Resampling.BICUBIC)).clip(0, 1)
    colours = matplotlib.colormaps["inferno"](0.25 + 0.75 * heat)[..., :3]
    grey = np.asarray(to_image(tile).convert("L").resize((side, side), Image.Resampling.BICUBIC)) / 255
    opacity = 0.8 * heat[..., None] ** 1.5
    mixed = (1 - opacity) * 0.7 * grey[..., None] + opacity * colours
    return (mixed * 255).round().astype(np.uint8).transpose(2, 0, 1)


def to_png(page: Image.Image) -> bytes:
    """PNG bytes of a picture; colours are reduced to 256, or a page of photographs would be ten megabytes."""
    buffer = io.BytesIO()
    if page.mode != "L":
        palette = page.quantize(255, method=Image.Quantize.MAXCOVERAGE)
        # Captions stay on white.
        palette.putpalette([*(palette.getpalette() or [])[: 3 * 255], 255, 255, 255])
        page = page.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)  # without, maps show steps
    page.save(buffer, format="PNG")
    return buffer.getvalue()


def _font(size: int) -> ImageFont.FreeTypeFont:
    # The font that matplotlib brings: the same letters on every machine.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
