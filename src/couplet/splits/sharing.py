"""Patients who share a picture: one person under two names, or a copy. They are dealt together.

Pictures are told apart by the digest of what is stored (`Manifest.pictures`); an image without one is blank, and a
blank picture says nothing about who is shown. Copies that were cropped, scaled or compressed again are not searched.
"""

from __future__ import annotations

from itertools import combinations
from math import ceil

import numpy as np
import pandas as pd

from couplet.project.errors import UserError


def shared_pictures(patients: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """(N,) bool: whether an image's picture is also one of another patient's.

    Args:
        patients: (N,) patient of each image.
        pictures: (N,) text, the same for the same picture; empty for none.

    >>> shared_pictures(np.array(["a", "b", "b"]), np.array(["x", "x", "y"])).tolist()
    [True, True, False]
    """
    shared = (pictures != "") & pd.Series(pictures, dtype=object).duplicated(keep=False).to_numpy()
    shared[shared] = _has_several(pictures[shared], patients[shared])  # few pictures come twice
    return shared


def linked_patients(patients: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """(N,) who must stay together: the first name, in alphabetical order, of all patients linked by shared pictures.

    Links form chains: if a and b share a picture, and b and c another one, all three are one. A patient who shares
    none keeps the name.

    Args:
        patients: (N,) patient of each image, text.
        pictures: (N,) text, as in `shared_pictures`.

    >>> linked_patients(np.array(["c", "b", "b", "a", "d"]), np.array(["x", "x", "y", "y", "z"])).tolist()
    ['a', 'a', 'a', 'a', 'd']
    """
    shared = shared_pictures(patients, pictures)
    if not shared.any():
        return patients
    # Late: most data sets have none, and scipy's graphs take 0.1 s to import.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, patient = np.unique(patients.astype(str), return_inverse=True)
    picture = pd.factorize(pictures[shared])[0]
    n_nodes = len(names) + int(picture.max()) + 1
    edges = (patient[shared], len(names) + picture)
    links = coo_array((np.ones(len(picture), dtype=np.int8), edges), shape=(n_nodes, n_nodes))
    _, person = connected_components(links, directed=False)
    # `names` is sorted, so that the first patient of each person is the first in the alphabet.
    _, first, same = np.unique(person[: len(names)], return_index=True, return_inverse=True)
    return names[first[same]][patient]


def pictures_in_two_parts(patients: np.ndarray, pictures: np.ndarray, parts: np.ndarray) -> int:
    """Number of pictures of different patients whose images are in more than one fold (or part).

    A patient's own copies do not count: where they are in two parts, the patient is.

    Args:
        patients: (N,) patient of each image.
        pictures: (N,) text, as in `shared_pictures`.
        parts: (N,) the part of each image.

    >>> pictures_in_two_parts(np.array(["a", "b", "c", "c"]), np.array(["x", "x", "y", "y"]), np.array([0, 1, 0, 1]))
    1
    """
    shared = shared_pictures(patients, pictures)
    torn = _has_several(pictures[shared], parts[shared])
    return len(pd.unique(pictures[shared][torn]))


def shared_between(sets: np.ndarray, patients: np.ndarray, pictures: np.ndarray) -> dict[str, dict[str, int]]:
    """Of each pair of data sets the pictures that are in both, and the patients, of either, who have one of them.

    Args:
        sets: (N,) the data set of each image, text.
        patients, pictures: (N,) as in `shared_pictures`.

    Returns:
        "one and other" -> `pictures` and `patients`, the names in alphabetical order.

    >>> shared_between(np.array(["a", "a", "b"]), np.array(["a/1", "a/2", "b/1"]), np.array(["x", "y", "x"]))
    {'a and b': {'pictures': 1, 'patients': 2}}
    """
    of_set = {name: set(pictures[sets == name]) - {""} for name in sorted(set(sets))}
    found = {}
    for one, other in combinations(of_set, 2):
        both = of_set[one] & of_set[other]
        who = patients[np.isin(sets, (one, other)) & np.isin(pictures, list(both))] if both else patients[:0]
        found[f"{one} and {other}"] = {"pictures": len(both), "patients": len(pd.unique(who))}
    return found


def refuse_too_many_linked(
    ids: np.ndarray, patients: np.ndarray, pictures: np.ndarray, linked: np.ndarray, share: float
) -> None:
    """Raise a UserError if patients who are linked by pictures have more images than the largest part holds.

    So many are no person: a placeholder ("no image") stands under their names, which is to be taken out.

    Args:
        ids, patients, pictures: (N,) of the images to deal.
        linked: (N,) what `linked_patients` gives for them.
        share: of the images that the largest part holds, in (0, 1].

    Raises:
        UserError: names the picture that most of these images show.
    """
    code = pd.factorize(linked)[0]
    size = np.bincount(code, weights=_has_several(linked, patients)).astype(np.int64)
    if len(size) == 0 or size.max() <= ceil(share * len(ids)):
        return
    glued = code == size.argmax()
    shown = pictures[glued & shared_pictures(patients, pictures)]
    names, counts = np.unique(shown.astype(str), return_counts=True)
    first = ids[pictures == names[counts.argmax()]]
    raise UserError(
        f"{len(pd.unique(patients[glued])):,} patients share pictures with one another and would be dealt together: "
        f"{size.max():,} of {len(ids):,} images, more than a part holds. The commonest picture is in {len(first):,} "
        f"images (first: {first[0]} and {first[1]}): take its images out of the label table, or set split.group_by: "
        "none"
    )


def _has_several(keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(N,) bool: whether the rows of the same key have different values."""
    key, names = pd.factorize(keys)
    value, kinds = pd.factorize(values)
    pairs = np.unique(key * len(kinds) + value)
    return np.bincount(pairs // max(len(kinds), 1), minlength=len(names))[key] > 1
