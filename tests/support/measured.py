"""A row of metrics/systems.csv, made up."""

from __future__ import annotations

from typing import Any

from couplet.evaluation.estimate import Estimate
from couplet.results.measured import METHOD, Measured


def row(**changes: Any) -> Measured:
    """A row out of fold on drawn pictures, with changes."""
    about: dict[str, Any] = {
        "system": "csra_coco",
        "experiments": ("sys-csra",),
        "source": "phantom",
        "data": "0123abcd",
        "part": "oof",
        "own_test": False,
        "images": 100,
        "patients": 50,
        "backbone": "seresnext101_32x4d, changed layers, untrained",
        "size": 64,
        "epochs": 3,
        "head": "csra",
        "levels": 1,
        "levels_kind": "single",
        "loss": "bce",
        "refiner": "off",
        "changed": ("image.size", "model.pretrained"),
    } | changes
    counts: dict[str, Any] = {
        "method": METHOD,
        "n_images": about["images"],
        "n_patients": about["patients"],
        "flags": ("selected",) if about["part"] == "oof" else (),
    }
    scores = {
        "auc_macro": Estimate(0.8, 0.75, 0.85, **counts),
        "map": Estimate(0.5, 0.45, 0.5512, **counts),
    }
    return Measured(**(scores | about))
