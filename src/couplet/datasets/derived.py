"""Public data sets that are made of another's images, as their makers say."""

from __future__ import annotations

# Shih et al., Radiology: Artificial Intelligence 2019 (RSNA); Tang et al., Scientific Data 2021 (RANZCR CLiP).
MADE_OF = {"rsna_pneumonia": "nih", "ranzcr_clip": "nih"}
PEOPLE = "people are in both under other names, and converted copies of a picture are not recognised"


def what_is_shared(source: str, other: str, name: str = "", other_name: str = "") -> str:
    """Why people are in two data sets under other names, in words; empty where nothing is known of it.

    Args:
        source, other: their adapters.
        name, other_name: what they are called; default: as their adapters.

    >>> what_is_shared("rsna_pneumonia", "chexpert")
    ''
    >>> what_is_shared("nih", "ranzcr_clip").partition(":")[0]
    'ranzcr_clip is made of images of nih'
    """
    one, two = (_called(name, source), source), (_called(other_name, other), other)
    for part, whole in ((one, two), (two, one)):
        if MADE_OF.get(part[1]) == whole[1]:
            return f"{part[0]} is made of images of {whole[0]}: {PEOPLE}"
    if source != other and MADE_OF.get(source, source) == MADE_OF.get(other, other):
        return f"{one[0]} and {two[0]} are both made of images of {MADE_OF[source]}: {PEOPLE}"
    return ""


def _called(name: str, source: str) -> str:
    return f"{name} ({source})" if name else source
