"""The sheet that is drawn on: patient coordinates for every pixel, soft edges, blobs, lines and clouds.

Patient coordinates run from about -1 to 1: x to the right of the picture, y downwards. Arithmetic is float64 and
nearly all of it exact in IEEE terms (+ - * / sqrt), so the last bit of a picture does not depend on the processor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np

from couplet.phantom.streams import Array, Stream

# Outlines are functions of one coordinate, tabulated finely once per picture and gathered per pixel.
TABLE_REACH, TABLE_STEPS = 1.75, 1000
TABLE: Array = (np.arange(TABLE_STEPS) + 0.5) / TABLE_STEPS * 2 * TABLE_REACH - TABLE_REACH

Number = TypeVar("Number", Array, float)
Window = tuple[slice, slice]
EVERYWHERE: Window = (slice(None), slice(None))


def ease(t: Array) -> Array:
    """Smooth step: 0 below 0, 1 above 1, 3t^2 - 2t^3 between."""
    t = np.minimum(t, 1.0)
    np.maximum(t, 0.0, out=t)
    result = t * -2.0
    result += 3.0
    result *= t
    result *= t
    return result


def edge(distance: Array, softness: float) -> Array:
    """1 well inside (distance > 0), 0 well outside, with a transition `softness` wide around 0."""
    t = distance * (1.0 / softness)
    t += 0.5
    return ease(t)


def hump(t: Array) -> Array:
    """A bell from -1 to 1: (1 - t^2)^2, 0 outside."""
    t = t * t
    np.subtract(1.0, t, out=t)
    np.maximum(t, 0.0, out=t)
    t *= t
    return t


def arch(t: Array) -> Array:
    """Half a circle over -1..1: sqrt(1 - t^2), 0 outside."""
    return np.sqrt(np.maximum(1.0 - t * t, 0.0))


@lru_cache(maxsize=4)
def _pixel_centres(size: int) -> Array:
    return (np.arange(size) + 0.5) / size * 2.0 - 1.0


@lru_cache(maxsize=16)
def _cloud_weights(size: int, cells: int) -> tuple[np.ndarray, Array]:
    position = np.arange(size) / size * (cells - 1)
    index = np.floor(position).astype(np.intp)
    return index, ease(position - index)


def cloud(stream: Stream, size: int, cells: int) -> Array:
    """Smooth random field in [0, 1), about `cells` features across."""
    index, weight = _cloud_weights(size, cells)
    knots = stream.uniforms(cells, cells)
    rows = knots[index] + (knots[index + 1] - knots[index]) * weight[:, None]
    steps = rows[:, 1:] - rows[:, :-1]
    return rows.take(index, axis=1) + steps.take(index, axis=1) * weight


class Canvas:
    """`size` x `size` pixels under a film transform: film = zoom * rotation(patient) + shift."""

    def __init__(self, size: int, degrees: float, zoom: float, shift_x: float, shift_y: float) -> None:
        centres = _pixel_centres(size)
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        across, down = (centres - shift_x) / zoom, (centres - shift_y) / zoom
        self.size, self.zoom = size, zoom
        self.x: Array = (c * across)[None, :] + (s * down)[:, None]
        self.y: Array = (-s * across)[None, :] + (c * down)[:, None]
        self._film = (c * zoom, s * zoom, shift_x, shift_y)
        scale = TABLE_STEPS / (2 * TABLE_REACH)
        self._x_cell = ((self.x + TABLE_REACH) * scale).astype(np.intp)
        self._y_cell = ((self.y + TABLE_REACH) * scale).astype(np.intp)
        self._strokes: dict[str, list[tuple[Array, Array, Array]]] = {}

    def by_y(self, table: Array, window: Window = EVERYWHERE) -> Array:
        """A function of y, given on TABLE, at every pixel."""
        return table.take(self._y_cell[window])

    def by_x(self, table: Array, window: Window = EVERYWHERE) -> Array:
        """A function of x, given on TABLE, at every pixel."""
        return table.take(self._x_cell[window])

    def to_film(self, x: Number, y: Number) -> tuple[Number, Number]:
        """Patient coordinates -> pixel column and row (fractional)."""
        c, s, shift_x, shift_y = self._film
        half = self.size / 2
        return (c * x - s * y + shift_x + 1.0) * half - 0.5, (s * x + c * y + shift_y + 1.0) * half - 0.5

    def window(self, x: float, y: float, reach_x: float, reach_y: float | None = None) -> Window:
        """The pixels within reach of a point, as slices (possibly empty at the border)."""
        column, row = self.to_film(x, y)
        slack = 0.12 * max(reach_x, reach_y or 0.0)  # room for the rotation
        half = self.size / 2 * self.zoom
        wide, high = (reach_x + slack) * half, ((reach_y or reach_x) + slack) * half

        def clip(value: float) -> int:
            return min(max(int(value), 0), self.size)

        return slice(clip(row - high), clip(row + high + 2)), slice(
            clip(column - wide), clip(column + wide + 2)
        )

    def disc(
        self, x: float, y: float, radius_x: float, radius_y: float, tilt: float = 0.0
    ) -> tuple[Window, Array]:
        """The window around an ellipse and 1 - r^2 in it: 1 at the centre, 0 on the outline, negative outside.

        `tilt` in radians turns the ellipse; `radius_x` then lies along the turned axis.
        """
        reach = max(radius_x, radius_y) if tilt else None
        window = self.window(x, y, reach or radius_x, reach or radius_y)
        dx, dy = self.x[window] - x, self.y[window] - y
        if tilt:
            c, s = math.cos(tilt), math.sin(tilt)
            dx, dy = c * dx + s * dy, c * dy - s * dx
        dx *= 1.0 / radius_x
        dy *= 1.0 / radius_y
        return window, 1.0 - dx * dx - dy * dy

    def stroke(self, layer: str, x: Array, y: Array, weight: Array | float) -> None:
        """Pen points in patient coordinates, along the last axis; `weight` is ink per unit of length."""
        dx, dy = x[..., 1:] - x[..., :-1], y[..., 1:] - y[..., :-1]
        middle_x, middle_y = x[..., :-1] + 0.5 * dx, y[..., :-1] + 0.5 * dy
        ink = np.sqrt(dx * dx + dy * dy) * weight
        self._strokes.setdefault(layer, []).append((middle_x.ravel(), middle_y.ravel(), ink.ravel()))

    def polyline(
        self, layer: str, points: Sequence[tuple[float, float]], weight: float, rake: Sequence[float] = (0.0,)
    ) -> None:
        """A smooth curve through the points (Catmull-Rom), drawn with a pen; again for each offset in y of `rake`."""
        x, y = smooth_path(points)
        for offset in rake:
            self.stroke(layer, x, y + offset if offset else y, weight)

    def inked(self, layer: str, blurs: int = 1) -> Array | None:
        """All strokes of a layer as a picture: pen points spread over four pixels, then softened. None if empty."""
        strokes = self._strokes.get(layer)
        if not strokes:
            return None
        x, y, ink = (np.concatenate(parts) for parts in zip(*strokes, strict=True))
        column, row = self.to_film(x, y)
        keep = (column > 1) & (column < self.size - 2) & (row > 1) & (row < self.size - 2)
        column, row, ink = column[keep], row[keep], ink[keep] * (self.size / 2 * self.zoom)
        left, top = column.astype(np.intp), row.astype(np.intp)
        column -= left
        row -= top
        cell = top * self.size + left
        cells = np.concatenate([cell, cell + 1, cell + self.size, cell + self.size + 1])
        low, high = ink * (1.0 - row), ink * row
        inks = np.concatenate([low * (1.0 - column), low * column, high * (1.0 - column), high * column])
        flat = np.asarray(np.bincount(cells, weights=inks, minlength=self.size * self.size), dtype=np.float64)
        picture = flat.reshape(self.size, self.size)
        for _ in range(blurs):
            picture = _soften(picture)
        return picture


@lru_cache(maxsize=1)
def _catmull_rom(steps: int = 16) -> Array:
    """Weights (4, steps, 1) of four neighbouring points along the stretch between the middle two."""
    t = (np.arange(steps) / steps)[:, None]
    return 0.5 * np.stack(
        [t * (t * (2 - t) - 1), t * t * (3 * t - 5) + 2, t * (t * (4 - 3 * t) + 1), t * t * (t - 1)],
    )


def smooth_path(points: Sequence[tuple[float, float]]) -> tuple[Array, Array]:
    """Catmull-Rom curve through the points, as pen points."""
    p = np.array([points[0], *points, points[-1]], dtype=np.float64)[:, None]
    a, b, c, d = _catmull_rom()
    curve = a * p[:-3] + b * p[1:-2] + c * p[2:-1] + d * p[3:]
    path = np.concatenate([curve.reshape(-1, 2), p[-1]])
    return path[:, 0], path[:, 1]


def _soften(picture: Array) -> Array:
    """[1 2 1] / 4 in both directions; the border row and column are left out."""
    across, quarter = picture * 0.5, picture * 0.25
    across[:, 1:] += quarter[:, :-1]
    across[:, :-1] += quarter[:, 1:]
    down, quarter = across * 0.5, across * 0.25
    down[1:] += quarter[:-1]
    down[:-1] += quarter[1:]
    return down
