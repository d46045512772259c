"""Support devices: tubes, lines, a pacemaker, electrodes. All of them denser and sharper than anything grown."""

from __future__ import annotations

from couplet.phantom.anatomy import LEFT, RIGHT, Scene
from couplet.phantom.canvas import ease
from couplet.phantom.findings import Sign


def support_devices(scene: Scene, sign: Sign) -> None:
    """One to three kinds of device; a patient on a portable film has more of them."""
    u = sign.u
    kinds = [_tube_and_line, _pacemaker, _electrodes, _port_or_drain]
    first = int(len(kinds) * u[0])
    count = 1 + int(u[1] * (2.2 if scene.portable else 1.6))
    for k in range(count):
        kinds[(first + k) % len(kinds)](scene, sign)


def _wire(scene: Scene, points: list[tuple[float, float]], weight: float) -> None:
    """Frontal path; from the side, left-right becomes a narrow front-back spread."""
    if not scene.frontal:
        points = [(-0.05 + 0.25 * x, y) for x, y in points]
    scene.canvas.polyline("dense", points, weight)


def _tube_and_line(scene: Scene, sign: Sign) -> None:
    """Tracheal tube above the carina, and a central line from the neck into the superior vena cava."""
    u, drag = sign.u, scene.shape.drag
    tip = -0.36 - 0.10 * u[2]
    for shift in (-0.012, 0.012):
        _wire(scene, [(shift, -1.05), (shift + 0.4 * drag, -0.75), (shift + drag, tip)], 0.36)
    side = LEFT if u[3] < 0.3 else RIGHT
    top = (
        [(0.17 * side, -1.0), (0.16 * side, -0.72)]
        if u[4] < 0.6
        else [(0.62 * side, -0.42), (0.42 * side, -0.62)]
    )
    _wire(scene, [*top, (0.10 * side, -0.52), (-0.10, -0.32), (-0.11, -0.08 + 0.15 * u[5])], 0.42)
    if u[6] < 0.5:  # a feeding tube passes the diaphragm
        _wire(scene, [(0.02, -1.05), (0.03, -0.2), (0.06, 0.4), (0.22, 0.68), (0.38, 0.66)], 0.34)


def _pacemaker(scene: Scene, sign: Sign) -> None:
    """Generator below the clavicle, leads along the vein into the right atrium and ventricle."""
    u, c = sign.u, scene.canvas
    side = LEFT if u[2] < 0.8 else RIGHT
    x, y = (side * 0.52, -0.45 + 0.08 * u[3]) if scene.frontal else (-0.42, -0.42 + 0.08 * u[3])
    window, r = c.disc(x, y, 0.125 if scene.frontal else 0.05, 0.115, 0.3 * side)
    scene.extra[window] += 0.95 * ease(5.0 * r)
    base = scene.build.dome
    start = [(side * 0.52, -0.52), (side * 0.36, -0.60), (side * 0.12, -0.48), (-0.10, -0.30)]
    _wire(scene, [*start, (-0.17, 0.0), (-0.20, base - 0.22), (-0.12, base - 0.18)], 0.42)
    _wire(scene, [*start, (-0.13, 0.05), (-0.04, base - 0.10), (0.20, base - 0.03)], 0.42)


def _electrodes(scene: Scene, sign: Sign) -> None:
    """Adhesive electrodes on the skin and their wires, crossing everything."""
    u, c = sign.u, scene.canvas
    spots = [
        (-0.46, -0.48 + 0.2 * u[2]),
        (0.48, -0.44 + 0.2 * u[3]),
        (-0.40 - 0.1 * u[4], 0.40),
        (0.42, 0.30),
    ]
    for k, (x, y) in enumerate(spots):
        if not scene.frontal:
            x = -0.30 + 0.5 * x
        window, r = c.disc(x, y, 0.042, 0.042)
        scene.extra[window] += 0.60 * ease(3.0 * r)
        end = (0.15 * (k - 1.5), 1.1)
        bow = (0.7 * x + 0.20 * (u[5 + k] - 0.5), 0.5 * (y + 1.1))
        c.polyline("dense", [(x, y), bow, end], 0.36)


def _port_or_drain(scene: Scene, sign: Sign) -> None:
    """A chest drain through the side wall, or sternal wire loops after surgery, or a port with its catheter."""
    u, c = sign.u, scene.canvas
    if u[2] < 0.4:
        side = sign.side
        _wire(
            scene, [(side * 0.95, 0.32), (side * 0.62, 0.18), (side * 0.40, -0.15), (side * 0.30, -0.5)], 0.50
        )
    elif u[2] < 0.75:
        for k in range(5):
            y = -0.42 + 0.15 * k
            if scene.frontal:
                ring = [(-0.035, y), (0.0, y - 0.022), (0.035, y), (0.0, y + 0.022), (-0.035, y)]
            else:
                x = -0.16 - 0.05 * k
                ring = [(x - 0.02, y), (x, y - 0.02), (x + 0.02, y), (x, y + 0.02)]
            c.polyline("dense", ring, 0.55)
    else:
        x, y = (-0.44, -0.38) if scene.frontal else (-0.38, -0.34)
        window, r = c.disc(x, y, 0.060, 0.052)
        scene.extra[window] += 0.85 * ease(4.0 * r) * (1.0 - 0.5 * ease(4.0 * r - 2.4))
        _wire(scene, [(-0.44, -0.42), (-0.30, -0.62), (-0.14, -0.50), (-0.11, -0.15)], 0.42)
