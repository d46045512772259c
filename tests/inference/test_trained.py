"""Which category of the sets a new image is of, by whatever word its view has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from couplet.inference.trained import Ensemble, lateral_seen
from couplet.results.calibrated import ALL_IMAGES, UNKNOWN


def category(known: list[str], position: str, view: str) -> str:
    matters = known != [ALL_IMAGES]
    ensemble = SimpleNamespace(
        conformal=SimpleNamespace(categories=np.array(sorted(known))), views_matter=matters
    )
    return Ensemble.category(cast(Any, ensemble), position, view)


@pytest.mark.parametrize(
    ("known", "position", "view", "expected"),
    [
        (["AP", "Lateral", "PA"], "AP", "frontal", "AP"),
        (["AP", "Lateral", "PA"], "LL", "lateral", "Lateral"),
        (["AP", "Lateral", "PA"], "LLO", "lateral", "Lateral"),  # by its kind, as before
        (["AP", "L", "PA"], "LL", "lateral", "L"),  # PadChest's
        (["AP", "L", "PA"], "L", "", "L"),
        (["AP", "LATERAL", "LL"], "LL", "lateral", "LL"),  # the same word first
        (["AP", "LATERAL", "LL"], "RL", "lateral", "LATERAL"),
        (["Frontal", "Lateral"], "PA", "frontal", "Frontal"),
        (["AP", "PA"], "AP Supine", "", "AP"),
        (["AP", "PA"], "LL", "lateral", UNKNOWN),
        (["AP", "PA"], "", "frontal", UNKNOWN),
        (["AP", "PA"], "", "", UNKNOWN),
        ([ALL_IMAGES], "AP", "frontal", ALL_IMAGES),
    ],
)
def test_the_category_is_that_of_the_same_view(
    known: list[str], position: str, view: str, expected: str
) -> None:
    assert category(known, position, view) == expected


@pytest.mark.parametrize("view", ["L", "LL", "RLO", "lateral", "Lateral (left)", "XTABLE LATERAL"])
def test_a_lateral_view_is_seen_by_any_of_its_words(view: str) -> None:
    assert lateral_seen(["PA", view]) and not lateral_seen(["PA", "AP LLD"])
