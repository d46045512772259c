"""The chest from the front: lungs, heart, mediastinum, diaphragm, bones, soft tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from couplet.phantom.anatomy import LEFT, RIGHT, Build, Scene, Shape, thorax
from couplet.phantom.canvas import TABLE, Canvas, arch, ease, edge, hump
from couplet.phantom.streams import Array

RIB_STEPS = 128
_PHASE = np.abs((np.arange(RIB_STEPS) + 0.5) / RIB_STEPS - 0.5)
# A rib is brighter along its two borders (cortex seen edge-on) than in the middle.
_RIB: Array = ease((0.27 - _PHASE) / 0.08) * (0.72 + 0.55 * hump((_PHASE - 0.20) / 0.10))


def rib_profile(phase: NDArray[np.intp]) -> Array:
    """Density across a rib and the gap to the next; `phase` in 0 .. RIB_STEPS - 1."""
    return _RIB.take(phase)


def dome_height(build: Build, shape: Shape, x: Array) -> Array:
    """y of the diaphragm over x: the right dome stands higher; both fall to the costophrenic angles."""
    side = np.where(x < 0, 0.0, 0.035)
    lift = np.where(x < 0, shape.lift[RIGHT], shape.lift[LEFT])
    t = (np.abs(x) - 0.52 * build.width) / (0.48 * build.width)
    fall = np.where(t > 0, 0.21 * t * t * t + 0.06 * t * t, 0.07 * t * t)
    return build.dome + side - lift + fall


def lungs(canvas: Canvas, build: Build, shape: Shape, portable: bool, clouds: tuple[Array, Array]) -> Scene:
    """The air of both lungs, with heart and mediastinum already in front of it."""
    x, y = canvas.x, canvas.y
    distance = np.abs(x)
    wall = canvas.by_y(thorax(build, TABLE))
    inner = canvas.by_y(0.07 + 0.03 * ease((build.apex + 0.20 - TABLE) / 0.2))
    inside = np.minimum(wall - distance, distance - inner)
    np.minimum(inside, canvas.by_x(dome_height(build, shape, TABLE)) - y, out=inside)
    lung = edge(inside, 0.04)
    scene = Scene(
        canvas=canvas, build=build, shape=shape, frontal=True, portable=portable, air=lung, lung=lung,
        across=distance / np.maximum(wall, 0.05), extra=np.zeros_like(x), clouds=clouds,
    )  # fmt: skip
    right, left = _silhouette(build, shape)
    water = edge(np.minimum(canvas.by_y(left) - x, x - canvas.by_y(right)), 0.03)
    scene.air = lung * (1.0 - 0.93 * water)
    for side, height in ((RIGHT, 0.02), (LEFT, -0.03)):
        window, r = canvas.disc(side * 0.16 + shape.drag, height, 0.13, 0.17)
        scene.fill(0.30 * ease(r) * (0.5 + clouds[1][window]), window)
    _trachea(scene)
    scene.healthy_air = scene.air.copy()
    return scene


def _silhouette(build: Build, shape: Shape) -> tuple[Array, Array]:
    """x of the right and left border of heart and great vessels over y."""
    y, b = TABLE, build
    heart = 2.0 * b.width * shape.heart_ratio
    band = b.mediastinum + shape.widen * hump((y + 0.30) / 0.42)
    base = b.dome + 0.06
    atrium = 0.34 * heart * arch((y - (base - 0.26)) / 0.36)
    ventricle = 0.66 * heart * arch((y - (base - 0.16)) / (0.36 + 0.25 * heart))
    knob = band + (b.knob + 0.4 * shape.widen) * hump((y + 0.30) / 0.13)
    trunk = band + 0.035 * hump((y + 0.10) / 0.14)
    lean = shape.drag * ease((y + 0.5) / 0.6)
    right = -np.maximum(np.maximum(band - 0.015, 0.0), atrium) + lean
    left = np.maximum(np.maximum(knob, trunk), ventricle) + lean
    return right, left


def _trachea(scene: Scene) -> None:
    """A dark air column down to the carina, and the main bronchi."""
    c, drag = scene.canvas, scene.shape.drag
    window = c.window(drag, -0.62, 0.12, 0.42)
    x, y = c.x[window], c.y[window]
    column = hump((x - drag * ease(y + 1.2)) / 0.055) * edge(-0.26 - y, 0.06)
    scene.extra[window] -= 0.20 * column
    for side, end in ((RIGHT, (0.15, -0.10)), (LEFT, (0.19, -0.12))):
        c.polyline(
            "dense", [(drag, -0.28), (side * 0.07 + drag, -0.20), (side * end[0] + drag, end[1])], -0.16
        )


def bones_and_body(scene: Scene) -> Array:
    """Density of everything that is not lung: soft tissue, ribs, spine, clavicles, stomach bubble."""
    c, b = scene.canvas, scene.build
    body = _soft_tissue(scene)
    _ribs(scene)
    _spine(scene)
    for side in (RIGHT, LEFT):
        _shoulder(scene, side)
    _stomach(scene)
    for side in (RIGHT, LEFT) if b.breast else ():
        window, r = c.disc(side * 0.40, 0.30, 0.30, 0.25 + 0.05 * b.breast)
        lower = edge(c.y[window] - 0.12, 0.5)
        scene.extra[window] += 0.17 * b.breast * ease(3.5 * r) * lower
    return body


def _soft_tissue(scene: Scene) -> Array:
    """Thickness of the trunk: neck, sloping shoulders, flanks; thicker in the middle and below the diaphragm."""
    c, b = scene.canvas, scene.build
    y = TABLE
    arms = 0.10 if scene.portable else 0.0
    flank = b.width + 0.10 + 0.07 * b.bulk + arms
    outline = 0.21 + (flank + 0.14 - 0.21) * ease((y + 0.93) / 0.30) - (0.14 - arms) * ease((y + 0.55) / 0.5)
    half = c.by_y(outline)
    depth = np.abs(c.x) / half
    body = edge((1.0 - depth) * half, 0.03)
    body *= (1.05 - 0.55 * depth * depth) * b.bulk
    body *= c.by_y(0.82 + 0.18 * ease((y + 0.75) / 0.4) + 0.12 * ease((y - 0.35) / 0.4))
    return body


def _ribs(scene: Scene) -> None:
    c, b = scene.canvas, scene.build
    u = scene.across
    u2 = u * u
    inside = edge(1.06 - u, 0.08)
    inside *= c.by_y(ease((TABLE - b.apex + 0.02) / 0.08) * (1.0 - 0.75 * ease((TABLE - 0.45) / 0.4)))
    # Posterior ribs leave the spine nearly level and drop towards the wall; anterior ones rise from the midline out.
    height = (c.y - b.apex) * (1.0 / b.rib_spacing) + b.rib_phase
    rear = height - (b.rib_slope * u2 + 0.30 * u2 * u2 * u2) * (1.0 / b.rib_spacing)
    front = height - (0.62 - 0.52 * u2) * (1.0 / b.rib_spacing)
    gap = _broken(scene, rear)
    rear -= np.floor(rear)
    front -= np.floor(front)
    pattern = rib_profile((rear * RIB_STEPS).astype(np.intp))
    pattern *= 0.125 * edge(u - 0.1, 0.1)
    if gap is not None:
        pattern *= gap
    other = rib_profile((front * RIB_STEPS).astype(np.intp))
    other *= 0.055 * edge(u - 0.5, 0.3)
    pattern += other
    pattern *= inside
    pattern *= b.rib_contrast
    scene.extra += pattern


def _broken(scene: Scene, rear: Array) -> Array | None:
    """Fractures: beyond the break a rib is stepped down (in place, in `rear`) and a gap opens. None without."""
    if not scene.shape.breaks:
        return None
    gap = np.ones_like(rear)
    b = scene.build
    for side, rib, where, step in scene.shape.breaks:
        u = scene.across
        band = hump((rear - (rib + 0.5)) / 0.95) * (scene.canvas.x * side > 0)
        beyond = edge(u - where, 0.03) * (1.0 - 0.8 * ease((u - where) * (1.0 / 0.45)))
        gap -= 0.95 * band * hump((u - where) * (1.0 / 0.055))
        rear -= (step / b.rib_spacing) * band * beyond
    return gap


def _spine(scene: Scene) -> None:
    c, b = scene.canvas, scene.build
    window = c.window(0.0, 0.0, 0.17, 1.4)
    x, y = c.x[window], c.y[window]
    vertebra = (TABLE + 2.0) / 0.135
    phase = np.abs(vertebra - np.floor(vertebra) - 0.5)
    bodies = 0.62 + 0.38 * ease((0.40 - phase) / 0.10)
    depth = c.by_y((0.17 + 0.10 * ease((TABLE + 0.2) / 0.9)) * bodies, window)
    offset = x - b.spine_bend * (1.0 - y * y)
    column = edge(0.085 + 0.02 * y - np.abs(offset), 0.03)
    process = hump(offset * (1.0 / 0.022)) * 0.30  # spinous processes
    scene.extra[window] += depth * (column + process)


def _shoulder(scene: Scene, side: int) -> None:
    """Clavicle, scapula border, humeral head and the muscle over the upper outer chest."""
    c, b = scene.canvas, scene.build
    rise = 0.03 if scene.portable else 0.0
    inner, outer = b.apex + 0.15 + b.clavicle - rise, b.apex - 0.02 + 2 * b.clavicle - 2 * rise
    path = [
        (side * 0.07, inner + 0.02), (side * 0.22, inner - 0.01), (side * 0.42, 0.35 * inner + 0.65 * outer),
        (side * 0.60, outer), (side * 0.74, outer + 0.02),
    ]  # fmt: skip
    c.polyline("bone", path, 0.30, rake=(-0.030, -0.009, 0.012, 0.030))
    spread = 0.0 if scene.portable else 0.07  # rolled forward for PA, the scapulae leave the lungs
    blade = [
        (side * (0.47 + spread), b.apex + 0.18),
        (side * (0.50 + spread), -0.30),
        (side * (0.58 + spread), -0.02),
    ]
    c.polyline("bone", blade, 0.14)
    window, r = c.disc(side * 0.90, b.apex + 0.08, 0.11, 0.11)
    scene.extra[window] += 0.28 * ease(2.5 * r)
    window, r = c.disc(side * 0.62, b.apex + 0.30, 0.26, 0.36)
    scene.extra[window] += 0.16 * ease(1.6 * r)


def _stomach(scene: Scene) -> None:
    """Gas under the left dome; upright pictures show a fluid level."""
    c, b = scene.canvas, scene.build
    top = b.dome + 0.06 - scene.shape.lift[LEFT]
    window, r = c.disc(0.36, top + 0.13, 0.17, 0.10)
    bubble = ease(3.0 * r)
    if not scene.portable:
        bubble *= edge(top + 0.15 - c.y[window], 0.02)
    scene.extra[window] -= 0.33 * bubble
