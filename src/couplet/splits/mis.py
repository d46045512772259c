"""Multilabel stratified folds: our grouped second-order stratification, and the paper's by image.

Grouped second-order stratification keeps all images of a patient in one fold and still balances labels AND
label pairs as well as iterative stratification balances single images. It is a greedy descent on Pearson's
chi-square of the table (folds x counts), where the counts of a patient are: images, positives per label,
positives per label pair (Szymanski and Kajdanowicz 2017), and unknowns per label that has any:

    chi-square = sum over folds j, counts f of  w_f (c_jf - s_j C_f)^2 / (s_j C_f)

Patients are dealt heaviest first, each to the fold where the chi-square grows least, so the many small ones
come last and even out the differences that the large ones left. Many small patients are identical in every
count: most of them are dealt in bulk, in exact proportion. A descent by moves and swaps afterwards was tried and
gained nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import pandas as pd

from couplet.splits.group_counts import GroupCounts, group_counts

# Identical patients are dealt in bulk, in exact proportion. Of every group of identical patients with few counts (at
# most LIGHT that are not 0: an image with one label pair, say) so many are dealt one by one at the end, where they
# even out the differences that patients with many counts have left.
SMALL_CHANGE = 8
LIGHT = 4


def stratified_group_folds(truth: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Folds balanced in size, labels and label pairs, with every group (patient) in one fold only.

    The result does not depend on the order of the rows, nor on whether groups are text or numbers.

    Args:
        truth: (N, L) of 1, 0 or NaN for unknown. An unknown is no positive; the number of unknowns per label
            is balanced too, because a fold's AUC rests on its known rows.
        groups: (N,) patient of each row, text or numbers.
        n_folds: K, at least 2.
        seed: another seed gives another, equally balanced split.

    Returns:
        (N,) int64, the fold 0 .. K-1 of each row; no fold is empty.

    Raises:
        ValueError: truth or groups of another shape or content, or fewer groups than folds.

    >>> truth = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [1, 1]])
    >>> folds = stratified_group_folds(truth, np.array(["a", "b", "c", "d", "e", "f"]), 2, seed=42)
    >>> [truth[folds == fold].sum(axis=0).tolist() for fold in (0, 1)]
    [[2, 2], [2, 2]]
    """
    if n_folds < 2:
        raise ValueError(f"n_folds must be at least 2, not {n_folds}")
    folds = stratified_group_parts(truth, groups, [1 / n_folds] * n_folds, seed)
    if len(np.unique(folds)) < n_folds:
        raise ValueError(f"{n_folds} folds need at least {n_folds} groups, not {len(pd.unique(groups))}")
    return folds


def stratified_group_parts(
    truth: np.ndarray, groups: np.ndarray, shares: Sequence[float], seed: int
) -> np.ndarray:
    """Parts of given shares, balanced as in `stratified_group_folds`: for a test part or a hold-out.

    Args:
        truth: (N, L) of 1, 0 or NaN.
        groups: (N,) patient of each row.
        shares: K positive shares of the rows that sum to 1. A share smaller than one group may stay empty.
        seed: of the ties.

    Returns:
        (N,) int64, the part 0 .. K-1 of each row.

    >>> truth = np.ones((10, 1))
    >>> np.bincount(stratified_group_parts(truth, np.arange(10), [0.2, 0.8], seed=1)).tolist()
    [2, 8]
    """
    truth, groups, share_K = np.asarray(truth), np.asarray(groups), np.asarray(shares, dtype=float)
    if truth.ndim != 2 or groups.shape != truth.shape[:1]:
        raise ValueError(
            f"truth must be (N, L) and groups (N,), not {truth.shape} and {groups.shape}: nothing to deal"
        )
    if not ((truth == 0) | (truth == 1) | (truth != truth)).all():
        raise ValueError("truth must be 0, 1 or NaN (unknown)")
    if not (share_K > 0).all() or abs(share_K.sum() - 1) > 1e-9:
        raise ValueError(f"shares must be positive and sum to 1, not {list(shares)}")
    if len(truth) == 0:
        return np.empty(0, dtype=np.int64)
    group_of_row, turn_G = _shuffled_groups(groups, seed)
    counts = group_counts(truth, group_of_row)
    part_G = _deal_identical(counts, share_K)
    _deal_heaviest_first(counts, share_K, turn_G, part_G)
    return part_G[group_of_row]


def _shuffled_groups(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Number the groups in the order of a seeded hash of their names, which no row order can change.

    Returns the (N,) group number of each row and (G,) further hash bits per group.
    """
    code, values = pd.factorize(groups)
    if (code < 0).any():
        raise ValueError(f"{(code < 0).sum()} of {len(code)} rows have no group")
    # The number 7 and the text "7" are the same patient.
    same, names = pd.factorize(np.array([str(value) for value in values], dtype=object))
    digests = b"".join([blake2b(f"{seed}:{name}".encode(), digest_size=16).digest() for name in names])
    digest = np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    order = np.lexsort(digest.T)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[same[code]], digest[order, 0]


def _deal_identical(counts: GroupCounts, share_K: np.ndarray) -> np.ndarray:
    """Deal groups that are equal in every count, in exact proportion.

    Returns the (G,) part of each group, K for those that are not dealt yet.
    """
    # Equal counts have equal sums of random numbers modulo 2^64; unequal ones collide once in 10^19 pairs,
    # and even that costs a little balance only.
    mark = np.random.default_rng(0).integers(0, 2**64, len(counts.weight), dtype=np.uint64)
    marks = np.add.reduceat(mark[counts.feature] * counts.count.view(np.uint32), counts.start[:-1])
    _, example, kind_G, size = np.unique(marks, return_index=True, return_inverse=True, return_counts=True)
    place_G = np.empty(len(marks), dtype=np.int64)
    place_G[np.argsort(kind_G, kind="stable")] = np.arange(len(marks)) - np.repeat(
        np.cumsum(size) - size, size
    )
    light = np.diff(counts.start)[example] <= LIGHT
    bulk = np.maximum(size - SMALL_CHANGE * light, 0)[:, None] * share_K
    ends = np.cumsum(np.floor(bulk + 1e-9).astype(np.int64), axis=1)
    return (place_G[:, None] >= ends[kind_G]).sum(axis=1)


def _deal_heaviest_first(
    counts: GroupCounts, share_K: np.ndarray, turn_G: np.ndarray, part_G: np.ndarray
) -> None:
    """Deal the rest one by one, in place, each to the part where the chi-square grows least.

    Adding counts x to part j changes the chi-square by  sum_f w_f (2 c_jf x_f + x_f^2) / s_j  plus a term
    that is the same for every j.
    """
    n_parts = len(share_K)
    weighted = counts.weight[counts.feature] * counts.count
    square_G = np.add.reduceat(weighted * counts.count, counts.start[:-1])
    # Patients are ordered by the two leading bits of their weight, and ties by hash: another seed then deals the
    # large patients in another order.
    mantissa, exponent = np.frexp(square_G.astype(float))
    magnitude = 2 * exponent + (mantissa >= 0.75)
    rest = np.flatnonzero(part_G == n_parts)
    rest = rest[np.argsort(-magnitude[rest], kind="stable")]

    dealt = np.repeat(part_G.astype(np.int32), np.diff(counts.start))
    done = dealt < n_parts
    cell = counts.feature[done] * n_parts + dealt[done]
    shape = (len(counts.weight), n_parts)
    sums = np.bincount(cell, weights=counts.count[done], minlength=shape[0] * n_parts)
    sums_FK = sums.astype(np.int64).reshape(shape)
    # Ties go to the first part in a turn that the group's hash decides.
    turns = (np.arange(n_parts)[:, None] + np.arange(n_parts)) % n_parts
    turn_G = (turn_G % np.uint64(n_parts)).astype(np.int64)
    inverse_share_K = 1 / share_K
    for g in rest.tolist():
        cells = slice(counts.start[g], counts.start[g + 1])
        feature, count = counts.feature[cells], counts.count[cells]
        growth_K = (2 * (weighted[cells] @ sums_FK[feature]) + square_G[g]) * inverse_share_K
        turn = turns[turn_G[g]]
        part = turn[growth_K[turn].argmin()]
        part_G[g] = part
        sums_FK[feature, part] += count


def multilabel_stratified_folds(truth: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """The first paper's folds: MultilabelStratifiedKFold by image, shuffled (Sechidis et al. 2011).

    Patients are in several folds, and the folds depend on the row order: sort the rows by image id first.

    Args:
        truth: (N, L) of 1, 0 or NaN, with L at least 2; an unknown counts as no positive.
        n_folds: K, at least 2.
        seed: random_state.

    Returns:
        (N,) int64, the fold 0 .. K-1 of each row.

    Raises:
        ModuleNotFoundError: iterative-stratification is not installed.
        ValueError: a single label, which it cannot stratify.
    """
    # scikit-learn comes with it and takes a second to import: grouped folds need neither.
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    positive = np.asarray(truth) == 1
    splitter = MultilabelStratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    folds = np.empty(len(positive), dtype=np.int64)
    for fold, (_, rows) in enumerate(splitter.split(positive, positive)):
        folds[rows] = fold
    return folds
