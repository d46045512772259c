"""Which labels cannot be told from chance: 0.5 lies in the interval of their AUC, or there is no interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from couplet.evaluation.estimate import Estimate
from couplet.reporting.estimates import RunScores

CHANCE = 0.5  # AUC of scores that know nothing
NAMED = 20  # labels of a kind; the rest are counted


class AgainstChance(NamedTuple):
    """The labels of one part that cannot be told from chance.

    Attributes:
        part: in a sentence.
        n_labels: of the part, these and the others.
        within: with 0.5 in their interval, its ends too.
        no_interval: reason -> labels without one.
    """

    part: str
    n_labels: int
    within: list[str]
    no_interval: dict[str, list[str]]

    @property
    def n_named(self) -> int:
        """How many labels that is."""
        return len(self.within) + sum(map(len, self.no_interval.values()))

    @property
    def share(self) -> str:
        """The count and of how many.

        >>> AgainstChance("out of fold", 14, ["Edema"], {}).share
        '1 of 14 labels'
        """
        return f"{self.n_named:,} of {self.n_labels:,} label{'' if self.n_labels == 1 else 's'}"

    @property
    def sentence(self) -> str:
        """All of it, with the labels' names.

        >>> AgainstChance("out of fold", 14, ["Edema"], {"no positive image": ["Fracture", "Mass"]}).sentence
        '3 of 14 labels out of fold: Edema (0.5 is in the interval); Fracture, Mass (no interval: no positive image).'
        """
        if not self.n_named:
            return f"{self.share} {self.part}."
        named = [f"{_few(self.within)} ({CHANCE} is in the interval)"] if self.within else []
        named += [f"{_few(labels)} (no interval: {why})" for why, labels in self.no_interval.items()]
        return f"{self.share} {self.part}: {'; '.join(named)}."


def against_chance(scores: RunScores, labels: Sequence[str]) -> list[AgainstChance]:
    """Of the images out of fold, and of the test part where its labels are known."""
    found = [told(scores.oof.auc, labels, "out of fold")]
    return [*found, told(scores.test.auc, labels, "on the test part")] if scores.test else found


def told(auc: Sequence[Estimate], labels: Sequence[str], part: str) -> AgainstChance:
    """Of one part.

    Args:
        auc: of each label, with its interval by patient or the reason why there is none.
        labels: their L names.
        part: as it stands in a sentence.
    """
    within: list[str] = []
    no_interval: dict[str, list[str]] = {}
    for one, label in zip(auc, labels, strict=True):
        if one.low is None or one.high is None:
            no_interval.setdefault(one.reason, []).append(label)
        elif one.low <= CHANCE <= one.high:
            within.append(label)
    return AgainstChance(part, len(labels), within, no_interval)


def _few(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
