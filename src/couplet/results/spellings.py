"""Words that say the same of a sex or a view, as M and Male or LL and Lateral: the only list of them.

A data set by itself keeps its own words; where several meet, `couplet.datasets.words` makes them one. A word that is
not listed stays as it is.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

Column = Literal["sex", "view"]
COLUMNS: tuple[Column, ...] = get_args(Column)

UNKNOWN = ("unknown", "unk")
# The word, and how else it is written, without case, spaces, hyphens and underscores. M, F, AP and PA are DICOM's.
SPELLINGS: dict[Column, dict[str, tuple[str, ...]]] = {
    "sex": {"M": ("male",), "F": ("female",), "": UNKNOWN},
    "view": {
        # Lying down is still from front to back.
        "AP": ("anteroposterior", "aphorizontal", "apsupine", "aperect"),
        "PA": ("posteroanterior",),
        "Frontal": (),  # AP or PA, nobody knows which
        "Lateral": ("l", "ll", "rl", "lat", "leftlateral", "rightlateral"),
        "": UNKNOWN,
    },
}
# Seen from the side, though not as a lateral view is taken: obliques, and the beam across the table.
LATERAL_TOO = ("llo", "rlo", "xtablelateral")


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]", "", word.casefold())


_COMMON = {
    column: {
        **{_plain(word): word for word in words if word},
        **{spelling: word for word, spellings in words.items() for spelling in spellings},
    }
    for column, words in SPELLINGS.items()
}


def common_word(column: Column, word: str) -> str:
    """The word that stands for all spellings of the same; one that is not known as it is, empty for unknown.

    >>> [common_word("sex", word) for word in ("Male", "f", "O", "Unknown")]
    ['M', 'F', 'O', '']
    >>> [common_word("view", word) for word in ("LATERAL", "AP_horizontal", "AP LLD", "")]
    ['Lateral', 'AP', 'AP LLD', '']
    """
    return _COMMON[column].get(_plain(word), word)


def view_kind(view: str) -> Literal["frontal", "lateral", ""]:
    """From where a view is taken; empty where its word is not known.

    >>> [view_kind(view) for view in ("pa", "Frontal", "LL", "RLO", "COSTAL", "")]
    ['frontal', 'frontal', 'lateral', 'lateral', '', '']
    """
    word = common_word("view", view)
    if word == "Lateral" or _plain(view) in LATERAL_TOO:
        return "lateral"
    return "frontal" if word in ("AP", "PA", "Frontal") else ""
