"""Which words say the same of a sex or a view."""

from __future__ import annotations

import pytest

from couplet.images.decoding.dicom_header import VIEWS
from couplet.results.spellings import COLUMNS, LATERAL_TOO, SPELLINGS, Column, common_word, view_kind


@pytest.mark.parametrize(
    ("column", "word", "words"),
    [
        ("sex", "M", ("M", "m", "Male", "MALE", " male ")),
        ("sex", "F", ("F", "f", "Female", "female")),
        ("view", "AP", ("AP", "ap", "AP_horizontal", "AP Supine", "Antero-Posterior")),
        ("view", "PA", ("PA", " pa", "posteroanterior")),
        ("view", "Frontal", ("Frontal", "FRONTAL")),
        ("view", "Lateral", ("Lateral", "LATERAL", "L", "LL", "RL", "Lat", "left lateral")),
    ],
)
def test_words_that_say_the_same(column: Column, word: str, words: tuple[str, ...]) -> None:
    assert {common_word(column, one) for one in words} == {word}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("word", ["", "Unknown", "UNK"])
def test_a_word_for_unknown_is_no_word(column: Column, word: str) -> None:
    assert common_word(column, word) == ""


@pytest.mark.parametrize(
    ("column", "word"),
    [("sex", "O"), ("sex", "L"), ("view", "M"), ("view", "COSTAL"), ("view", "AP LLD"), ("view", "LLO")],
)
def test_another_word_stays(column: Column, word: str) -> None:
    assert common_word(column, word) == word


@pytest.mark.parametrize("column", COLUMNS)
def test_no_spelling_stands_for_two(column: Column) -> None:
    words = SPELLINGS[column]
    spelled = [spelling for word, others in words.items() for spelling in (word.casefold(), *others)]
    assert len(spelled) == len(set(spelled))
    assert all(common_word(column, word) == word for word in words)
    assert not set(spelled) & set(LATERAL_TOO)  # seen from the side, and not the same view


def test_kinds_of_views() -> None:
    assert VIEWS == {
        "AP": "frontal",
        "PA": "frontal",
        "LL": "lateral",
        "RL": "lateral",
        "LATERAL": "lateral",
        "LLO": "lateral",
    }
    assert [view_kind(view) for view in ("L", "XTABLE LATERAL", "RLO", "Frontal", "AP LLD", "UNK")] == [
        "lateral",
        "lateral",
        "lateral",
        "frontal",
        "",
        "",
    ]
