"""The thirteen findings besides `No Finding`: where each one sits and how it looks.

Some bend the anatomy before it is drawn (BENDS), most put something into the drawn lungs (PAINTS), some do both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from couplet.phantom import lateral
from couplet.phantom.anatomy import LEFT, RIGHT, Build, Scene, Shape, thorax
from couplet.phantom.canvas import TABLE, ease, edge, hump


@dataclass(frozen=True)
class Sign:
    """One finding of one study, the same on all of its views. `u`: its own uniform draws."""

    severity: float  # 0 barely visible ... 1 cannot be missed
    side: int
    u: list[float]


Bend = Callable[[Shape, Sign, Build], None]
Paint = Callable[[Scene, Sign], None]


def _between(low: float, high: float, t: float) -> float:
    return low + (high - low) * t


# --- what bends the anatomy ------------------------------------------------------------------------------------


def _enlarge_heart(shape: Shape, sign: Sign, build: Build) -> None:
    """Cardiothoracic ratio above one half."""
    shape.heart_ratio = max(shape.heart_ratio + 0.05, _between(0.52, 0.68, sign.severity))


def _widen_mediastinum(shape: Shape, sign: Sign, build: Build) -> None:
    shape.widen += _between(0.045, 0.13, sign.severity)


def _lose_volume(shape: Shape, sign: Sign, build: Build) -> None:
    """Atelectasis raises the dome and pulls heart and trachea to its side."""
    shape.lift[sign.side] += _between(0.03, 0.14, sign.severity)
    shape.drag += sign.side * 0.05 * sign.severity


def _push(shape: Shape, sign: Sign, build: Build) -> None:
    """A large effusion or pneumothorax pushes the mediastinum away."""
    shape.drag -= sign.side * 0.05 * max(sign.severity - 0.5, 0.0)


def _congest(shape: Shape, sign: Sign, build: Build) -> None:
    shape.congestion += _between(0.3, 0.9, sign.severity)


def _break_ribs(shape: Shape, sign: Sign, build: Build) -> None:
    """One to three neighbouring ribs, broken at about the same place."""
    first = 3 + int(3 * sign.u[0])
    for k in range(1 + int(1.2 * sign.u[1] + 1.5 * sign.severity)):
        where = _between(0.58, 0.80, sign.u[2]) + 0.05 * (sign.u[3 + k] - 0.5)
        shape.breaks.append((sign.side, first + k, where, _between(0.035, 0.060, sign.severity)))


BENDS: dict[str, Bend] = {
    "Atelectasis": _lose_volume,
    "Cardiomegaly": _enlarge_heart,
    "Edema": _congest,
    "Enlarged Cardiomediastinum": _widen_mediastinum,
    "Fracture": _break_ribs,
    "Pleural Effusion": _push,
    "Pneumothorax": _push,
}


# --- what is put into the lungs --------------------------------------------------------------------------------


def _patch(
    scene: Scene,
    x: float,
    y: float,
    size: tuple[float, float],
    amount: float,
    rough: float,
    tilt: float = 0.0,
) -> None:
    """An opacity with cloudy borders; `rough` is how much the clouds eat into it."""
    window, r = scene.canvas.disc(x, y, *size, tilt)
    coarse, fine = scene.clouds
    texture = coarse[window] + 0.5 * fine[window] - 0.75
    scene.fill(amount * ease(1.5 * r + 3.0 * rough * texture * ease(4.0 * r)), window)


def _atelectasis(scene: Scene, sign: Sign) -> None:
    """Plates: bands a few degrees off level above the raised dome, haze below them, the minor fissure pulled down."""
    c, u = scene.canvas, sign.u
    for k in range(1 + int(2 * u[0] + sign.severity)):
        x, y = scene.place(sign.side, 0.32 + 0.3 * u[1 + k], 0.78 - 0.13 * k + 0.06 * u[4])
        y -= scene.shape.lift[sign.side]
        window, r = c.disc(
            x, y, 0.22 + 0.08 * u[5], 0.030 + 0.008 * u[6], sign.side * (0.35 * u[7 + k] - 0.08)
        )
        scene.fill(_between(0.40, 0.75, sign.severity) * ease(1.5 * r), window)
    x, y = scene.place(sign.side, 0.35, 1.0)
    _patch(scene, x, y - scene.shape.lift[sign.side], (0.30, 0.14), _between(0.25, 0.5, sign.severity), 0.3)
    if scene.frontal and sign.side == RIGHT:
        x, y = scene.place(RIGHT, 0.1, 0.52 + 0.15 * sign.severity)
        c.polyline("dense", [(x, y), (x - 0.2, y + 0.01), (x - 0.38, y + 0.05)], 0.10)


def _consolidation(scene: Scene, sign: Sign) -> None:
    """A lobe's air replaced: dense, fluffy borders, bronchi still dark in it."""
    u = sign.u
    lobe = int(3 * u[0])
    x, y = scene.place(sign.side, 0.30 + 0.25 * u[1], (0.22, 0.52, 0.82)[lobe])
    size = _between(0.17, 0.27, sign.severity)
    _patch(scene, x, y, (1.1 * size, size), _between(0.72, 0.95, sign.severity), 0.45, 0.6 * (u[2] - 0.5))
    out = sign.side if scene.frontal else 1
    start = (x - out * 0.8 * size, y - 0.25 * size)
    for turn in (-0.55, 0.0, 0.5):
        end = (x + out * 0.55 * size, y + turn * size + 0.1 * size)
        middle = (0.5 * (start[0] + end[0]), 0.5 * (start[1] + end[1]) + 0.1 * turn * size)
        scene.canvas.polyline("dense", [start, middle, end], -_between(0.10, 0.17, sign.severity))


def _edema(scene: Scene, sign: Sign) -> None:
    """Perihilar bat wings on both sides, a haze over everything, and Kerley B lines at the lateral bases."""
    c, s = scene.canvas, sign.severity
    wings = [(RIGHT, 0.30), (LEFT, 0.30)] if scene.frontal else [(RIGHT, 0.05)]
    for side, x in wings:
        centre = side * x if scene.frontal else x
        _patch(scene, centre, 0.02, (0.27, 0.38), _between(0.32, 0.68, s), 0.35)
    scene.fill(_between(0.06, 0.20, s) * (0.6 + 0.8 * scene.clouds[0]))
    if not scene.frontal:
        return
    for side in (RIGHT, LEFT):
        for k in range(5):
            y = scene.build.dome - 0.02 - 0.055 * k
            wall = scene.wall(y) - 0.02
            c.polyline(
                "dense", [(side * wall, y), (side * (wall - 0.11), y + 0.012)], _between(0.12, 0.22, s)
            )


def _callus(scene: Scene, sign: Sign) -> None:
    """A little bone overlap at each break, and the haematoma under it."""
    b = scene.build
    for side, rib, where, step in scene.shape.breaks:
        rise = b.rib_slope * where**2 + 0.30 * where**6
        y = b.apex + (rib + 0.5 - b.rib_phase) * b.rib_spacing + rise
        x = side * where * scene.wall(y)
        if not scene.frontal:
            at = 1.2 * where - 0.55
            front, back = lateral.front_wall(b, np.array([y])), lateral.spine_line(b, np.array([y])) + 0.14
            x = float(0.5 * (front + back)[0] + at * 0.5 * (back - front)[0])
            y = b.apex + (rib + 0.5 - b.rib_phase) * b.rib_spacing - 0.30 * at - 0.16 * at * at
        window, r = scene.canvas.disc(x + side * 0.02, y + 0.4 * step, 0.035, 0.050)
        scene.extra[window] += _between(0.12, 0.26, sign.severity) * ease(1.6 * r)
        window, r = scene.canvas.disc(x + side * 0.05, y, 0.11, 0.09)
        scene.fill(_between(0.10, 0.24, sign.severity) * ease(r), window)


def _lesion(scene: Scene, sign: Sign) -> None:
    """A round nodule or mass with a sharp border, sometimes a second, smaller one."""
    u = sign.u
    radius = _between(0.060, 0.115, sign.severity)
    for k in range(1 + int(u[0] + 0.4)):
        x, y = scene.place(sign.side if k == 0 else -sign.side, 0.25 + 0.6 * u[1 + k], 0.12 + 0.65 * u[3 + k])
        window, r = scene.canvas.disc(x, y, radius, radius * (0.85 + 0.3 * u[5]))
        scene.fill(_between(0.45, 0.80, sign.severity) * ease(2.6 * r), window)
        radius *= 0.75


def _opacity(scene: Scene, sign: Sign) -> None:
    """Ill-defined ground-glass haze over part of a lung."""
    u = sign.u
    x, y = scene.place(sign.side, 0.25 + 0.4 * u[0], 0.25 + 0.6 * u[1])
    size = (0.24 + 0.10 * u[2], 0.26 + 0.12 * u[3])
    _patch(scene, x, y, size, _between(0.26, 0.50, sign.severity), 0.30)
    if u[4] < 0.35:
        x, y = scene.place(-sign.side, 0.3 + 0.3 * u[5], 0.4 + 0.5 * u[6])
        _patch(scene, x, y, (0.20, 0.22), _between(0.22, 0.45, sign.severity), 0.30)


def _effusion(scene: Scene, sign: Sign) -> None:
    """Fluid with a meniscus that climbs the wall and blunts the costophrenic angle; supine, it layers as a veil."""
    c, b, s = scene.canvas, scene.build, sign.severity
    level = b.dome + _between(0.12, -0.34, s)
    if scene.frontal:
        for side in (sign.side, -sign.side) if sign.u[0] < 0.4 else (sign.side,):
            height = level if side == sign.side else b.dome + _between(0.13, 0.0, s)
            distance = np.abs(TABLE) / b.width
            climb = _between(0.22, 0.34, s) * ease((distance - 0.35) / 0.6) ** 2
            surface = np.where(side * TABLE > 0, height - climb, 3.0)
            soft = 0.16 if scene.portable else 0.07
            scene.fill(0.95 * edge(c.y - c.by_x(surface), soft))
            if scene.portable:
                veil = _between(0.10, 0.30, s) * ease((c.y + 0.35) * 1.2)
                scene.fill(veil * (c.x * side > 0))
        return
    distance = ease((TABLE - 0.05) / 0.50)
    surface = level + 0.22 - _between(0.30, 0.42, s) * distance * distance
    scene.fill(_between(0.75, 0.92, s) * edge(c.y - c.by_x(surface), 0.07))


def _pleural_other(scene: Scene, sign: Sign) -> None:
    """Thickened pleura along the wall and over the apex, with or without calcified plaques."""
    c, b, u, s = scene.canvas, scene.build, sign.u, sign.severity
    thick = _between(0.035, 0.075, s)
    if scene.frontal:
        wall = c.by_y(thorax(b, TABLE))
        depth = wall - c.x * sign.side
        extent = c.by_y(hump((TABLE - _between(-0.35, 0.15, u[0])) / 0.55))
        rind = edge(extent * thick * 1.6 - depth, 0.03) * (c.x * sign.side > 0)
        rind *= 0.7 + 0.6 * scene.clouds[1]
        scene.fill(_between(0.45, 0.75, s) * np.minimum(rind, 1.0))
    else:
        window, r = c.disc(0.10, b.apex + 0.12, 0.28, 0.05 + thick)
        scene.fill(_between(0.3, 0.6, s) * ease(1.5 * r), window)
    if u[1] < 0.65:
        for k in range(3):
            x, y = scene.place(sign.side, 0.70 + 0.3 * u[2 + k], 0.35 + 0.2 * k + 0.12 * u[5])
            window, r = c.disc(x, y, 0.060, 0.022, 0.9 * (u[6 + k] - 0.5))
            flake = ease(2.0 * r) * (0.6 + 0.8 * scene.clouds[1][window])
            scene.extra[window] += _between(0.14, 0.28, s) * flake


def _pneumonia(scene: Scene, sign: Sign) -> None:
    """Patches close together, mostly in a lower lobe."""
    u = sign.u
    height = 0.62 + 0.25 * u[0] if u[1] < 0.75 else 0.2 + 0.3 * u[0]
    for k in range(3):
        x, y = scene.place(sign.side, 0.25 + 0.35 * u[2] + 0.13 * k, height + 0.16 * (u[3 + k] - 0.5))
        _patch(scene, x, y, (0.115, 0.105), _between(0.30, 0.60, sign.severity), 0.6)


def _pneumothorax(scene: Scene, sign: Sign) -> None:
    """Air in the pleural space: black and without vessels beyond a thin white line, the lung behind it shrunk."""
    c, b, s = scene.canvas, scene.build, sign.severity
    drop, inset = _between(0.18, 0.55, s), _between(0.07, 0.24, s)
    if scene.frontal:
        widest = 0.30
        t = (TABLE - widest) / np.where(widest > TABLE, widest - b.apex - drop, 1.35)
        line = (b.width - inset * ease((0.75 - TABLE) / 0.7)) * np.sqrt(np.maximum(1.0 - t * t, 0.0))
        beyond = c.x * sign.side - c.by_y(line)
        gas = edge(beyond, 0.03) * (c.x * sign.side > 0.02)
        visceral = hump(beyond * (1.0 / 0.035))
    else:
        beyond = c.by_x(b.apex + drop + 0.5 * (TABLE - 0.2) * (TABLE - 0.2)) - c.y
        gas = 0.6 * edge(beyond, 0.03)
        visceral = 0.7 * hump(beyond * (1.0 / 0.035))
    gas *= scene.healthy_air  # in front of it lie the heart and the great vessels, whose border stays
    scene.air += 0.9 * gas * (scene.healthy_air - scene.air)
    scene.extra -= _between(0.05, 0.10, s) * gas
    scene.extra += _between(0.10, 0.20, s) * visceral * scene.lung
    scene.fill(_between(0.04, 0.22, s) * (1.0 - gas) * (c.x * sign.side > 0.1 if scene.frontal else 1.0))
    scene.gas = gas


PAINTS: dict[str, Paint] = {
    "Edema": _edema,
    "Lung Opacity": _opacity,
    "Pneumonia": _pneumonia,
    "Consolidation": _consolidation,
    "Atelectasis": _atelectasis,
    "Lung Lesion": _lesion,
    "Pleural Other": _pleural_other,
    "Pneumothorax": _pneumothorax,  # before the fluid, which fills what it opened
    "Pleural Effusion": _effusion,
    "Fracture": _callus,
}
