"""The chest from the side: the patient faces left, the spine is on the right."""

from __future__ import annotations

import numpy as np

from couplet.phantom.anatomy import LEFT, RIGHT, Build, Scene, Shape
from couplet.phantom.canvas import TABLE, Canvas, arch, ease, edge, hump
from couplet.phantom.frontal import RIB_STEPS, rib_profile
from couplet.phantom.streams import Array


def front_wall(build: Build, y: Array) -> Array:
    """x of the inner chest wall behind the sternum: slopes forward from the manubrium, then straight."""
    return -0.06 - 0.62 * build.width * ease((y - build.apex + 0.12) / 0.75) - 0.05 * hump((y - 0.1) / 0.8)


def spine_line(build: Build, y: Array) -> Array:
    """x of the vertebral bodies: the thoracic kyphosis bulges backwards."""
    return 0.34 + (0.10 + abs(build.spine_bend)) * hump((y + 0.05) / 1.3)


def dome_height(build: Build, shape: Shape, x: Array, side: int) -> Array:
    """y of one dome over x: highest in the front third, falling to the deep posterior sulcus."""
    t = x + 0.14
    base = build.dome + (0.0 if side == RIGHT else 0.05) - shape.lift[side]
    return base + np.where(t > 0, 0.55 * t * t + 0.25 * t * t * t, 1.1 * t * t)


def lungs(canvas: Canvas, build: Build, shape: Shape, portable: bool, clouds: tuple[Array, Array]) -> Scene:
    """The air of both lungs on top of each other, with heart and great vessels in it."""
    x, y, t = canvas.x, canvas.y, TABLE
    front, back = front_wall(build, t), spine_line(build, t) + 0.14
    apex = arch(np.minimum((t - build.apex - 0.24) / 0.24, 0.0)) * (t > build.apex)
    centre = 0.20
    front, back = centre + (front - centre) * apex, centre + (back - centre) * apex
    span = back - front
    lung = edge(np.minimum(x - canvas.by_y(front), canvas.by_y(back) - x), 0.045)
    right = edge(canvas.by_x(dome_height(build, shape, t, RIGHT)) - y, 0.03)
    left = edge(canvas.by_x(dome_height(build, shape, t, LEFT)) - y, 0.03)
    lung *= 0.5 * (right + left)
    middle, half = canvas.by_y(0.5 * (front + back)), canvas.by_y(0.5 * np.maximum(span, 0.1))
    scene = Scene(
        canvas=canvas, build=build, shape=shape, frontal=False, portable=portable, air=lung, lung=lung,
        across=(x - middle) / half, extra=np.zeros_like(x), clouds=clouds,
    )  # fmt: skip
    scene.air = lung * 1.0
    _heart(scene)
    window = canvas.window(0.06, -0.55, 0.12, 0.45)
    column = hump((canvas.x[window] - 0.03 - 0.12 * (canvas.y[window] + 0.55)) * (1 / 0.05))
    scene.extra[window] -= 0.14 * column * edge(-0.24 - canvas.y[window], 0.06)
    scene.healthy_air = scene.air.copy()
    return scene


def _heart(scene: Scene) -> None:
    """Heart on the dome behind the sternum, aortic arch above it, hilum in the middle."""
    c, b, s = scene.canvas, scene.build, scene.shape
    size = s.heart_ratio * 2.0 * b.width
    window, r = c.disc(-0.42 + 0.40 * size, b.dome - 0.13, 0.20 + 0.33 * size, 0.09 + 0.28 * size, 0.62)
    scene.fill(0.60 * ease(1.7 * r), window)
    widen = s.widen
    window, r = c.disc(0.06, -0.27, 0.15 + widen, 0.13 + 0.9 * widen)
    scene.fill((0.22 + 1.2 * widen) * ease(2.0 * r), window)
    window, r = c.disc(-0.10, -0.36, 0.20, 0.26, -0.3)  # great vessels in front of the trachea
    scene.fill((0.20 + 1.8 * widen) * ease(1.5 * r), window)
    window, r = c.disc(0.05, -0.06, 0.13, 0.12)
    scene.fill(0.25 * ease(1.5 * r), window)
    aorta = [(0.0, -0.18), (0.06, -0.32), (0.18, -0.36), (0.27, -0.26), (0.31, 0.0), (0.31, 0.3)]
    c.polyline("soft", aorta, 0.10 + 1.5 * b.knob, rake=(-0.02, 0.0, 0.02))
    tree_x, tree_y, ink = b.vessels[1]
    c.stroke("soft", 0.05 + 0.8 * (tree_x - 0.13), tree_y, ink * (0.8 * s.congestion))
    tree_x, tree_y, ink = b.vessels[0]
    c.stroke("soft", 0.05 + 0.8 * (tree_x + 0.13), tree_y, ink * (0.8 * s.congestion))


def bones_and_body(scene: Scene) -> Array:
    """Density of everything that is not lung: trunk, arms, ribs, sternum, vertebrae, stomach bubble."""
    c, b = scene.canvas, scene.build
    t = TABLE
    chest = -0.20 - 0.62 * b.width * ease((t - b.apex + 0.15) / 0.7) - 0.05 * b.bulk
    chest -= 0.22 * b.breast * hump((t - 0.18) / 0.42)
    back = spine_line(b, t) + 0.24 + 0.08 * b.bulk - 0.06 * ease((-0.5 - t) / 0.4)
    front, rear = c.by_y(chest), c.by_y(back)
    body = edge(np.minimum(c.x - front, rear - c.x), 0.03)
    middle = (c.x - 0.5 * (front + rear)) / (rear - front)
    body *= (1.10 - 1.2 * middle * middle) * b.bulk
    # Shoulders and arms are thick at the top; downwards more lung lies over the spine, so it grows darker.
    body *= c.by_y(0.86 + 0.40 * ease((-0.42 - t) / 0.35) + 0.14 * ease((t - 0.4) / 0.4))
    _ribs(scene)
    _spine_and_sternum(scene)
    window, r = c.disc(-0.08, b.dome + 0.18 - scene.shape.lift[LEFT], 0.15, 0.08)
    scene.extra[window] -= 0.28 * ease(3.0 * r)
    return body


def _ribs(scene: Scene) -> None:
    """Both sides' ribs run forward and down; they are seen nearly side by side."""
    c, b = scene.canvas, scene.build
    u = scene.across
    height = (c.y - b.apex) * (1.0 / b.rib_spacing) + b.rib_phase
    height += (0.30 * u + 0.16 * u * u) * (1.0 / b.rib_spacing)
    inside = edge(1.02 - np.abs(u), 0.10)
    inside *= c.by_y(ease((TABLE - b.apex - 0.05) / 0.2) * (1.0 - 0.8 * ease((TABLE - 0.5) / 0.3)))
    other = height + 0.34
    gap = None
    for _, rib, where, step in scene.shape.breaks:
        at = 1.2 * where - 0.55
        band = hump((height - (rib + 0.5)) / 0.95)
        beyond = edge(at - u, 0.05) * (1.0 - 0.8 * ease((at - u) * (1.0 / 0.6)))
        crack = 1.0 - 0.95 * band * hump((u - at) * (1.0 / 0.09))
        gap = crack if gap is None else gap * crack
        height -= (step / b.rib_spacing) * band * beyond
    height -= np.floor(height)
    pattern = rib_profile((height * RIB_STEPS).astype(np.intp)) * 0.11
    if gap is not None:
        pattern *= gap
    other -= np.floor(other)
    pattern += 0.05 * rib_profile((other * RIB_STEPS).astype(np.intp))
    pattern *= inside
    pattern *= b.rib_contrast
    scene.extra += pattern


def _spine_and_sternum(scene: Scene) -> None:
    c, b, t = scene.canvas, scene.build, TABLE
    centre = spine_line(b, t)
    height = (t + 2.0) / 0.145
    phase = np.abs(height - np.floor(height) - 0.5)
    blocks = 0.35 + 0.65 * ease((0.39 - phase) / 0.08)
    window = c.window(0.42, 0.0, 0.28, 1.4)
    offset = c.x[window] - c.by_y(centre, window)
    strength = c.by_y(blocks * (0.30 - 0.12 * ease((t + 0.3) / 0.8)), window)
    scene.extra[window] += strength * edge(0.085 - np.abs(offset), 0.035)
    scene.extra[window] += 0.10 * edge(0.06 - np.abs(offset - 0.17), 0.06)
    steps = np.linspace(b.apex + 0.14, 0.22, 24)
    line = front_wall(b, steps)
    for shift in (-0.015, 0.005):
        c.stroke("bone", line + shift, steps, 0.30)
    window, r = c.disc(0.10, b.apex + 0.02, 0.34, 0.22)  # shoulders
    scene.extra[window] += 0.16 * ease(1.6 * r)
    scene.extra[window] += 0.10 * arch(np.minimum(1.0 - r, 1.0))
