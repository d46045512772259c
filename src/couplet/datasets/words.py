"""One word for one thing where data sets meet: the sexes and views of combined sets, and of an external test.

A set by itself keeps its own words. Which words say the same is in `couplet.results.spellings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pandas import DataFrame, Series

from couplet.project.console import say
from couplet.results.spellings import COLUMNS, Column, common_word


def in_common_words(table: DataFrame, whose: str) -> DataFrame:
    """A table with `sex` and `view` in the words that all combined sets have; what changes is said."""
    words = {
        column: {word: common_word(column, word) for word in table[column].unique()} for column in COLUMNS
    }
    return _rewritten(table, words, whose)


def in_words_of(run: DataFrame, table: DataFrame, whose: str) -> DataFrame:
    """The table of an external test with `sex` and `view` in the words of the run's; what changes is said.

    A word that the run has as well stays, and so does an empty cell. Another one becomes the run's most frequent word
    for the same, or the common one where the run has none.
    """
    words = {column: _words_of(column, run[column], table[column].unique()) for column in COLUMNS}
    return _rewritten(table, words, whose)


def _words_of(column: Column, run: Series, words: Iterable[str]) -> dict[str, str]:
    counts = {str(word): int(n) for word, n in run.value_counts().items() if word}
    own: dict[str, str] = {}
    for word in sorted(counts, key=lambda word: (-counts[word], word)):
        own.setdefault(common_word(column, word), word)
    found = {}
    for word in words:
        common = common_word(column, word)
        found[word] = word if word in counts or not word else own.get(common, common)
    return found


def _rewritten(table: DataFrame, words: Mapping[Column, Mapping[str, str]], whose: str) -> DataFrame:
    for column, of_column in words.items():
        changed = {word: of_column[word] for word in sorted(of_column) if of_column[word] != word}
        if changed:
            table = table.assign(**{column: table[column].replace(changed)})
            said = ", ".join(f"{word} is {one or 'not known'}" for word, one in changed.items())
            say(f"{whose}: {column}: {said}")
    return table
