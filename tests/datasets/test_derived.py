"""Which public sets are made of another's images."""

from __future__ import annotations

import pytest

from couplet.datasets.derived import PEOPLE, what_is_shared
from couplet.settings.schema.plugins import SOURCES


@pytest.mark.parametrize("derived", ["rsna_pneumonia", "ranzcr_clip"])
def test_both_ways_round(derived: str) -> None:
    said = f"{derived} is made of images of nih: {PEOPLE}"
    assert what_is_shared(derived, "nih") == what_is_shared("nih", derived) == said


def test_two_that_are_made_of_one() -> None:
    said = what_is_shared("ranzcr_clip", "rsna_pneumonia", "lines", "boxes")
    assert said == f"lines (ranzcr_clip) and boxes (rsna_pneumonia) are both made of images of nih: {PEOPLE}"


def test_all_others_share_nothing() -> None:
    related = {"nih", "rsna_pneumonia", "ranzcr_clip"}
    for one in SOURCES.names():
        for other in SOURCES.names():
            if one == other or not {one, other} <= related:
                assert what_is_shared(one, other) == ""
