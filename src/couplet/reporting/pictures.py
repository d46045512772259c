"""Pictures of the report: samples per finding (paper 1, Fig. 3) and the second paper's explanations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 6  # pixels between tiles
STRIP = 26  # height of the line of text under a tile


def montage(tiles: Sequence[np.ndarray], captions: Sequence[str], columns: int, side: int) -> bytes:
    """Tiles (each (C, S, S) uint8) in rows of `columns`, a caption under each, as PNG.

    A tile is enlarged or reduced to `side` pixels. The picture is grey if every tile is.
    """
    grey = all(len(tile) == 1 for tile in tiles)
    lines = -(-len(tiles) // columns)
    size = (columns * (side + GAP) - GAP, lines * (side + STRIP + GAP) - GAP)
    page = Image.new("L" if grey else "RGB", size, "white")
    pen, font = ImageDraw.Draw(page), _font(17)
    for i, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        x, y = (i % columns) * (side + GAP), (i // columns) * (side + STRIP + GAP)
        page.paste(to_image(tile).resize((side, side), Image.Resampling.BICUBIC), (x, y))
        pen.text((x + 2, y + side + 2), caption, font=font, fill="#444444")
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

    The map is scaled to its own smallest and largest value, so colours compare places and not labels.
    """
    low, high = float(activation.min()), float(activation.max())
    scaled = (activation.astype(np.float32) - low) / ((high - low) or 1.0)
    heat = np.asarray(Image.fromarray(scaled).resize((side, side), Image.Resampling.BICUBIC)).clip(0, 1)
    colours = matplotlib.colormaps["inferno"](heat)[..., :3]
    picture = np.asarray(to_image(tile).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)) / 255
    opacity = 0.65 * heat[..., None]
    mixed = (1 - opacity) * picture + opacity * colours
    return (mixed * 255).round().astype(np.uint8).transpose(2, 0, 1)


def graph(matrix: np.ndarray, side: int) -> np.ndarray:
    """An adjacency matrix (L, L) as (3, side, side) uint8, from 0 (light) to its largest value (dark)."""
    scaled = np.clip(matrix.astype(np.float64) / (float(matrix.max()) or 1.0), 0, 1)
    colours = (matplotlib.colormaps["Blues"](scaled)[..., :3] * 255).round().astype(np.uint8)
    return np.asarray(Image.fromarray(colours).resize((side, side), Image.Resampling.NEAREST)).transpose(
        2, 0, 1
    )


def to_png(page: Image.Image) -> bytes:
    """PNG bytes of a picture; colours are reduced to 256, or a page of photographs would be ten megabytes."""
    buffer = io.BytesIO()
    few = page if page.mode == "L" else page.quantize(256, method=Image.Quantize.MEDIANCUT)
    few.save(buffer, format="PNG")
    return buffer.getvalue()


def _font(size: int) -> ImageFont.FreeTypeFont:
    # The font that matplotlib brings: the same letters on every machine.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
