"""One picture, from a patient's build, a study's signs and the accidents of one exposure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from couplet.datasets.grand_xray_slam import LABELS
from couplet.phantom import frontal, lateral
from couplet.phantom.anatomy import LEFT, RIGHT, Build, Shape
from couplet.phantom.canvas import Canvas, cloud
from couplet.phantom.devices import support_devices
from couplet.phantom.film import density, expose
from couplet.phantom.findings import BENDS, PAINTS, Sign
from couplet.phantom.streams import Stream

VIEWS = ("PA", "AP", "Lateral")
_DRAWS = 12  # per finding


def draw_signs(stream: Stream) -> dict[str, Sign]:
    """How every finding would look in a study, present or not: adding one never changes another.

    Findings keep to one side of the patient more often than chance: fluid, collapse and infection go together.
    """
    table = stream.uniforms(len(LABELS) + 1, _DRAWS + 2)
    home = RIGHT if table[-1, 0] < 0.55 else LEFT
    signs = {}
    for label, row in zip(LABELS, table[:-1].tolist(), strict=True):
        signs[label] = Sign(severity=row[0], side=home if row[1] < 0.75 else -home, u=row[2:])
    return signs


def draw_picture(
    build: Build, present: Mapping[str, Sign], view: str, stream: Stream, size: int, film: float = 1.0
) -> NDArray[np.uint8]:
    """Grey levels (size, size) of one view.

    `present`: the findings to draw; `stream`: this exposure's own; `film`: as `film.expose` takes it.
    """
    portable, is_lateral = view == "AP", view == "Lateral"
    u = stream.uniforms(8).tolist()
    canvas = Canvas(
        size,
        degrees=(9.0 if portable else 5.0) * (u[0] - 0.5),
        zoom=(1.02 if is_lateral else 1.12) + 0.14 * (u[1] - 0.5),
        shift_x=0.10 * (u[2] - 0.5),
        shift_y=0.06 + 0.12 * (u[3] - 0.5),
    )
    clouds = (cloud(stream, size, 9), cloud(stream, size, 24))
    # An AP film magnifies the heart and is taken lying, with less breath.
    shape = Shape(heart_ratio=build.heart + 0.025 * portable, congestion=0.8 + 0.4 * u[4])
    breath = 0.05 * (u[5] - 0.5) + 0.05 * portable
    for side in (RIGHT, LEFT):
        shape.lift[side] += breath
    for label, sign in present.items():
        if label in BENDS:
            BENDS[label](shape, sign, build)
    anatomy = lateral if is_lateral else frontal
    scene = anatomy.lungs(canvas, build, shape, portable, clouds)
    if not is_lateral:
        for x, y, ink in build.vessels:
            canvas.stroke("soft", x, y, ink * shape.congestion)
    body = anatomy.bones_and_body(scene)
    for label, paint in PAINTS.items():
        if label in present:
            paint(scene, present[label])
    if "Support Devices" in present:
        support_devices(scene, present["Support Devices"])
    return expose(density(scene, body), stream, portable, film)
