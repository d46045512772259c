"""Labels whose couplings are known, with the best prediction that anybody could make of them: is anything learned?

Three worlds. `known_couplings`: labels that a picture shows and labels that show only through others, so that there
is something to win and the winner is known. `independent_labels`: nothing to find. `nih_labels`: real label sets of a
data set's table, each label with evidence of its own, which is closer to life and harder. Images are vectors x, on
which a linear head would be right if labels were visible one by one. Our own reading; nothing here is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, log_expit, logit, logsumexp

N_LABELS, FEATURES, N_SEEN = 14, 64, 8
STRENGTH = 3.0  # of a coupling, in log odds
DISTANCE = 3.0  # between the means of x with and without a seen label, in standard deviations
PARENTS = (2, 2, 3, 3, 6, 6)  # how many seen labels each hidden label depends on


@dataclass(frozen=True)
class Sample:
    """n images: features x (n, F), labels (n, L) of 0 and 1, and the best prediction P(y_j | x) (n, L), exact."""

    x: np.ndarray
    truth: np.ndarray
    best: np.ndarray

    def rows(self, chosen: np.ndarray | slice) -> Sample:
        """These images only."""
        return Sample(self.x[chosen], self.truth[chosen], self.best[chosen])


@dataclass(frozen=True)
class KnownCouplings:
    """Seen labels, independent of each other, and hidden ones that depend on them and on nothing else in the picture.

    x = N(0, 1) + 3 mu_i for each seen label i that is present, mu orthonormal: its log odds given x are exactly linear.
    P(y_j = 1 | seen labels) = sigmoid(b_j + sum_i y_i C_ij) for a hidden label j.

    Attributes:
        prevalence: (S,) of the seen labels 0 to S - 1.
        directions: (S + 1, F) orthonormal: mu of each seen label, and of the context.
        couplings: (L, L) C, rows sources, columns targets; other than 0 only from a seen label to a hidden one.
        intercepts: (L,) b of the hidden labels, 0 of the seen ones.
        context: whether half of the images carry a mark, 3 along the last direction, without which C is 0 (for
            couplings that depend on the image).
    """

    prevalence: np.ndarray
    directions: np.ndarray
    couplings: np.ndarray
    intercepts: np.ndarray
    context: bool = False

    @property
    def hidden(self) -> np.ndarray:
        """Places of the labels that only show through others."""
        return np.arange(len(self.prevalence), len(self.couplings))

    def draw(self, n: int, seed: int) -> Sample:
        """n images; the same seed gives the same ones."""
        random, n_seen = np.random.default_rng([2, seed]), len(self.prevalence)
        seen = random.random((n, n_seen)) < self.prevalence
        mark = random.random(n) < 0.5 if self.context else np.ones(n, dtype=bool)
        x = random.normal(size=(n, self.directions.shape[1])) + DISTANCE * seen @ self.directions[:n_seen]
        if self.context:
            x += DISTANCE * mark[:, None] * self.directions[n_seen]
        logits = self.intercepts + mark[:, None] * (seen @ self.couplings[:n_seen])
        truth = (random.random(logits.shape) < expit(logits)).astype(np.float64)
        truth[:, :n_seen] = seen
        return Sample(x, truth, self.best(x))

    def best(self, x: np.ndarray) -> np.ndarray:
        """(n, L) P(y = 1 | x): of a hidden label the sum over the states of its parents, and of the mark."""
        n_seen = len(self.prevalence)
        along = DISTANCE * x @ self.directions.T - DISTANCE**2 / 2
        log_odds = logit(self.prevalence) + along[:, :n_seen]
        marked = expit(along[:, n_seen]) if self.context else np.ones(len(x))
        found = np.full((len(x), len(self.couplings)), np.nan)
        found[:, :n_seen] = expit(log_odds)
        for j in self.hidden:
            parents = np.flatnonzero(self.couplings[:, j])
            coupled = np.zeros(len(x))
            for state in product((0, 1), repeat=len(parents)):
                on = np.array(state, dtype=bool)
                chance = log_expit(np.where(on, 1, -1) * log_odds[:, parents]).sum(axis=1)
                coupled += np.exp(chance) * expit(self.intercepts[j] + self.couplings[parents[on], j].sum())
            found[:, j] = marked * coupled + (1 - marked) * expit(self.intercepts[j])
        return found


def known_couplings(seed: int, context: bool = False) -> KnownCouplings:
    """Eight seen labels of prevalences 0.04 to 0.25 and six hidden ones with 2, 2, 3, 3, 6 and 6 random parents.

    A coupling is +3; of the first, third and fifth hidden label each is -3 with probability 0.2. b is -3, or -2 with
    a negative parent, or -1 with negative ones only.
    """
    random = np.random.default_rng([1, seed])
    prevalence = random.permutation(np.geomspace(0.04, 0.25, N_SEEN))
    directions = np.linalg.qr(random.normal(size=(FEATURES, N_SEEN + 1)))[0].T
    couplings, intercepts = np.zeros((N_LABELS, N_LABELS)), np.zeros(N_LABELS)
    for place, n_parents in enumerate(PARENTS):
        j, parents = N_SEEN + place, random.permutation(N_SEEN)[:n_parents]
        negative = (random.random(n_parents) < 0.2) & (place % 2 == 0)
        couplings[parents, j] = np.where(negative, -STRENGTH, STRENGTH)
        intercepts[j] = -1.0 if negative.all() else -2.0 if negative.any() else -3.0
    return KnownCouplings(prevalence, directions, couplings, intercepts, context)


def independent_labels(seed: int) -> KnownCouplings:
    """Fourteen seen labels and no hidden one: given x they are independent, and there is nothing to find."""
    random = np.random.default_rng([3, seed])
    prevalence = random.permutation(np.geomspace(0.04, 0.25, N_LABELS))
    directions = np.linalg.qr(random.normal(size=(FEATURES, N_LABELS + 1)))[0].T
    return KnownCouplings(
        prevalence, directions, np.zeros((N_LABELS, N_LABELS)), np.zeros(N_LABELS), context=False
    )


@dataclass(frozen=True)
class LabelSets:
    """Labels as they come together in a real table, each with its own evidence: x_i = snr_i y_i + N(0, 1).

    Attributes:
        sets: (R, L) the table's distinct label sets.
        share: (R,) how often each occurs.
        snr: (L,) how clearly a label shows.
    """

    sets: np.ndarray
    share: np.ndarray
    snr: np.ndarray

    def draw(self, n: int, seed: int) -> Sample:
        """n images whose labels are rows of the table, drawn with replacement."""
        random = np.random.default_rng([5, seed])
        truth = self.sets[random.choice(len(self.sets), size=n, p=self.share)]
        x = self.snr * truth + random.normal(size=truth.shape)
        return Sample(x, truth, self.best(x))

    def best(self, x: np.ndarray) -> np.ndarray:
        """(n, L) P(y = 1 | x), by Bayes' rule over all label sets."""
        log_joint = np.log(self.share) + (x * self.snr) @ self.sets.T - (self.sets @ self.snr**2) / 2
        return np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True)) @ self.sets


def label_sets(truth: np.ndarray, seed: int) -> LabelSets:
    """The label sets of a table (n, L) of 0 and 1, with snr spaced evenly from 0.3 to 2.5 in random order."""
    sets, count = np.unique(truth, axis=0, return_counts=True)
    snr = np.random.default_rng([4, seed]).permutation(np.linspace(0.3, 2.5, truth.shape[1]))
    return LabelSets(sets.astype(np.float64), count / count.sum(), snr)


def nih_truth(table: Path, without: Sequence[str] = ()) -> tuple[list[str], np.ndarray]:
    """Names of the findings and (n, L) of 0 and 1 from NIH's Data_Entry table.

    Args:
        table: Data_Entry_2017_v2020.csv.
        without: findings that are left out, for example Hernia, which has 227 images.
    """
    findings = pd.read_csv(table, usecols=["Finding Labels"])["Finding Labels"].str.get_dummies(sep="|")
    labels = [name for name in findings.columns if name != "No Finding" and name not in without]
    return labels, findings[labels].to_numpy(dtype=np.float64)
