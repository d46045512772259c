"""From density to the grey picture: exposure, contrast, side marker, collimation, grain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from couplet.phantom.anatomy import Scene
from couplet.phantom.streams import Array, Stream

_L = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]], dtype=np.float64)


def density(scene: Scene, body: Array) -> Array:
    """All layers added up: soft tissue where there is no air, vessels where there is, bones and metal on top."""
    c = scene.canvas
    air = scene.air
    soft = c.inked("soft")
    total = body * (1.0 - 0.80 * air)
    if soft is not None:
        np.minimum(soft, 0.35, out=soft)
        soft *= air
        if scene.gas is not None:
            soft *= 1.0 - scene.gas
        total += soft
    coarse, fine = scene.clouds
    total += (0.05 * coarse + 0.07 * fine - 0.06) * air * (1.0 if scene.gas is None else 1.0 - scene.gas)
    total += scene.extra
    for layer in ("bone", "dense"):
        ink = c.inked(layer)
        if ink is not None:
            total += ink
    return np.maximum(total, 0.0)


def expose(dense: Array, stream: Stream, portable: bool, film: float = 1.0) -> NDArray[np.uint8]:
    """The film's S-shaped response to density, then the scanner: (size, size) grey levels.

    `film`: the squared density at half of the response, as a multiple of the usual film's; above 1 pictures are darker.
    """
    u = stream.uniforms(16).tolist()
    size = dense.shape[0]
    speed = 0.22 + 0.20 * u[0] + 0.05 * portable
    speed *= film
    squared = dense * dense
    picture = squared / (squared + speed)
    contrast = (0.80 if portable else 0.92) + 0.22 * (u[1] - 0.5)
    picture *= 255.0 * contrast
    picture += 255.0 * (0.5 - 0.5 * contrast + 0.14 * (u[2] - 0.5) + 0.02)
    _marker(picture, u[3], u[4])
    _collimate(picture, u[5:10])
    noise = stream.grain(size, size)
    noise *= 1.2 + 1.6 * u[10] * u[10] + 1.0 * portable
    picture += noise
    np.minimum(picture, 255.0, out=picture)
    np.maximum(picture, 0.0, out=picture)
    return np.rint(picture).astype(np.uint8)


def _marker(picture: Array, where: float, there: float) -> None:
    """The lead letter L beside the patient's left shoulder, on most films."""
    if there > 0.75:
        return
    size = picture.shape[0]
    scale = max(size // 90, 1)
    letter = np.repeat(np.repeat(_L, scale, axis=0), scale, axis=1)
    top, left = int((0.06 + 0.12 * where) * size), int((0.93 - 0.05 * where) * size) - letter.shape[1]
    spot = picture[top : top + letter.shape[0], left : left + letter.shape[1]]
    spot += (238.0 - spot) * letter[: spot.shape[0], : spot.shape[1]]


def _collimate(picture: Array, u: list[float]) -> None:
    """Black margins where the beam was shut; none on about half of the sides."""
    size = picture.shape[0]
    margins = [int(max(2.2 * t - 1.2, 0.0) * 0.07 * size) for t in u[:4]]
    shade = 6.0 + 14.0 * u[4]
    top, bottom, left, right = margins
    picture[:top] = shade
    picture[size - bottom :] = shade
    picture[:, :left] = shade
    picture[:, size - right :] = shade
