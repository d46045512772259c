"""Labels that are known before anybody looks at a picture, for `couplet predict --known`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from couplet.inference.trained import Ensemble
from couplet.project.errors import UserError
from couplet.settings.schema.messages import suggest

VALUES = {"0": 0.0, "1": 1.0}


def told(ensemble: Ensemble, given: Sequence[str], model: Path) -> Ensemble:
    """The ensemble that knows some labels of every image.

    In its couplings a known label is a source as it is known, in the place of its probability, and it is written so.
    It makes no prediction sets: their promise is for images of which nothing is told.

    Args:
        ensemble: with couplings that were fitted after training.
        given: "label=1" (present) or "label=0" (absent), each label once.
        model: where the ensemble was read from.

    Raises:
        UserError: it has no such couplings, or a text is not understood.
    """
    if ensemble.couplings is None:
        raise UserError(
            f"--known needs couplings that were fitted after training, and {model} has none: set refiner.fit: "
            "out_of_fold and run `dvc repro`, or leave --known out"
        )
    known = np.full(len(ensemble.labels), np.nan)
    for text in given:
        label, equals, value = text.rpartition("=")
        label, value = label.strip(), value.strip()
        if not equals or value not in VALUES:
            raise UserError(f"--known {text!r}: write it as 'LABEL=1' (present) or 'LABEL=0' (absent)")
        if label not in ensemble.labels:
            raise UserError(
                f"--known {text!r}: no label is called {label!r}: {suggest(label, ensemble.labels)}"
            )
        place = ensemble.labels.index(label)
        if not np.isnan(known[place]):
            raise UserError(f"--known names {label!r} twice: give each label once")
        known[place] = VALUES[value]
    return replace(ensemble, known=known, conformal=None)
