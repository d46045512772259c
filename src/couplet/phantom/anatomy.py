"""A patient's build, which all of their pictures share, and the scene that one picture is composed in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from couplet.phantom.canvas import EVERYWHERE, Canvas, Window
from couplet.phantom.streams import Array, Stream

RIGHT, LEFT = -1, 1  # the patient's right side is on the left of a frontal picture (x < 0)


@dataclass(frozen=True)
class Build:
    """What makes one thorax look unlike another. Lengths in patient coordinates."""

    female: bool
    width: float  # half the inner thorax
    apex: float  # y of the lung apices
    dome: float  # y of the right diaphragm dome
    heart: float  # cardiothoracic ratio of the healthy heart, PA
    knob: float  # how far the aortic knob stands out
    mediastinum: float  # half-width of the upper mediastinum
    bulk: float  # thickness of the soft tissue
    breast: float
    rib_spacing: float
    rib_phase: float
    rib_slope: float
    rib_contrast: float
    spine_bend: float
    clavicle: float
    vessels: list[tuple[Array, Array, Array]]  # x, y, ink: pen points of both lungs, frontal

    @classmethod
    def draw(cls, stream: Stream, female: bool, age: float) -> Build:
        """A person's build, which all of their pictures share; age in years."""
        u = stream.uniforms(16).tolist()
        old = min(max((age - 20.0) / 65.0, 0.0), 1.0)
        return cls(
            female=female,
            width=0.68 + 0.07 * u[0] - 0.02 * female,
            apex=-0.76 + 0.07 * u[1],
            dome=0.36 + 0.11 * u[2],
            heart=0.40 + 0.06 * u[3],
            knob=0.02 + 0.03 * u[4] + 0.04 * old,
            mediastinum=0.115 + 0.025 * u[5],
            bulk=0.92 + 0.22 * u[6],
            breast=(0.35 + 0.65 * u[7]) if female else 0.0,
            rib_spacing=0.145 + 0.02 * u[8],
            rib_phase=u[9],
            rib_slope=0.16 + 0.10 * u[10],
            rib_contrast=0.75 + 0.5 * u[11] - 0.2 * old,
            spine_bend=0.05 * (u[12] - 0.5) * (1.0 + old),
            clavicle=0.05 * (u[13] - 0.5),
            vessels=[_vessel_tree(stream, side) for side in (RIGHT, LEFT)],
        )


def _vessel_tree(stream: Stream, side: int) -> tuple[Array, Array, Array]:
    """Arteries and veins of one lung: branches fan out of the hilum, bend, and split into two finer ones each."""
    trunks, steps = 9, 12
    u = stream.uniforms(trunks, 6)
    t = np.arange(steps + 1) / steps
    angle = math.pi * (-0.42 + 0.86 * (np.arange(trunks) + u[:, 0]) / trunks)  # upwards ... downwards
    length = 0.42 + 0.22 * u[:, 1]
    bend = 0.9 * (u[:, 2] - 0.5)

    def grow(x: Array, y: Array, angle: Array, bend: Array, length: Array) -> tuple[Array, Array]:
        heading = angle[:, None] + bend[:, None] * t
        return (
            x[:, None] + np.cos(heading) * length[:, None] * t,
            y[:, None] + np.sin(heading) * length[:, None] * t,
        )

    zero = np.zeros(trunks)
    x, y = grow(zero + 0.13, zero + 0.03 * u[:, 3], angle, bend, length)
    ink = np.broadcast_to(0.22 * (1.0 - t[:-1]) + 0.06, (trunks, steps))
    fork = [4, 7]
    twigs_x, twigs_y = zip(
        *(
            grow(x[:, f], y[:, f], angle + bend + turn * (0.45 + 0.5 * u[:, 4]), -bend, 0.55 * length)
            for f, turn in zip(fork, (1.0, -1.0), strict=True)
        ),
        strict=True,
    )
    twig_ink = np.broadcast_to(0.14 * (1.0 - t[:-1]) + 0.02, (2 * trunks, steps))
    lower = 0.03 if side == RIGHT else 0.0  # the left hilum stands higher
    return (
        side * np.concatenate([x, *twigs_x]),
        np.concatenate([y, *twigs_y]) + lower,
        np.concatenate([ink, twig_ink]),
    )


@dataclass
class Shape:
    """How findings bend the anatomy of one study before it is drawn."""

    heart_ratio: float  # cardiothoracic ratio on this picture
    widen: float = 0.0  # added to the mediastinum's half-width
    lift: dict[int, float] = field(default_factory=lambda: {RIGHT: 0.0, LEFT: 0.0})  # domes raised
    drag: float = 0.0  # heart and trachea moved towards x > 0
    congestion: float = 1.0  # gain of the vessels
    breaks: list[tuple[int, int, float, float]] = field(default_factory=list)  # side, rib, where (0-1), step


@dataclass
class Scene:
    """One picture being composed. `air` is 1 where the beam meets lung, 0 where water; findings fill it."""

    canvas: Canvas
    build: Build
    shape: Shape
    frontal: bool
    portable: bool
    air: Array
    lung: Array  # air before heart and findings took their part
    across: Array  # |x| / wall in frontal views: 0 midline, 1 chest wall
    extra: Array  # density added after the air was filled (bone, metal)
    clouds: tuple[Array, Array]  # coarse and fine random fields
    healthy_air: Array = field(init=False)  # air behind heart and vessels, before any finding
    gas: Array | None = None  # where the pleural space holds air and no vessels

    def fill(self, amount: Array, window: Window = EVERYWHERE) -> None:
        """Water in the place of air, `amount` in 0-1: hides vessels and, next to the heart, its border."""
        self.air[window] *= 1.0 - amount

    def place(self, side: int, depth: float, height: float) -> tuple[float, float]:
        """A spot inside the lung. depth: 0 hilum ... 1 periphery; height: 0 apex ... 1 base."""
        b = self.build
        y = b.apex + 0.16 + height * (b.dome - b.apex - 0.22)
        if not self.frontal:
            front = -0.30 - 0.12 * height
            return front + (0.42 - front) * (0.15 + 0.7 * depth), y
        wall = self.wall(y)
        return side * (0.20 + (0.78 * wall - 0.20) * depth), y

    def wall(self, y: float) -> float:
        """Half-width of the inner thorax at a height (frontal)."""
        return float(thorax(self.build, np.array([y]))[0])


def thorax(build: Build, y: Array) -> Array:
    """Half-width of the inner thorax, frontal: narrow at the apex, widest above the diaphragm."""
    widest = 0.30
    t = (y - widest) / np.where(y < widest, widest - build.apex + 0.01, 1.35)
    return build.width * np.sqrt(np.maximum(1.0 - t * t, 0.0))
