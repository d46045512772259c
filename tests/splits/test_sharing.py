from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from couplet.project.errors import UserError
from couplet.splits.sharing import (
    linked_patients,
    pictures_in_two_parts,
    refuse_too_many_linked,
    shared_between,
    shared_pictures,
)


def drawn(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    patients = np.array([f"p{i}" for i in random.integers(0, 30, n)], dtype=object)
    pictures = np.array([f"{i:016x}" if i else "" for i in random.integers(0, 45, n)], dtype=object)
    return patients, pictures, random.integers(0, 3, n)


def persons(patients: np.ndarray, pictures: np.ndarray) -> dict[str, set[str]]:
    """Each patient's own set of linked patients, by merging sets until nothing changes."""
    linked = {patient: {patient} for patient in patients}
    changed = True
    while changed:
        changed = False
        for i, j in combinations(range(len(patients)), 2):
            one, other = linked[patients[i]], linked[patients[j]]
            if pictures[i] and pictures[i] == pictures[j] and one is not other:
                one |= other
                for patient in one:
                    linked[patient] = one
                changed = True
    return linked


@pytest.mark.parametrize("seed", range(5))
def test_links_are_those_of_merging_sets_one_by_one(seed: int) -> None:
    patients, pictures, parts = drawn(seed)
    expected = persons(patients, pictures)
    assert max(map(len, expected.values())) > 2
    assert linked_patients(patients, pictures).tolist() == [min(expected[patient]) for patient in patients]

    shared = [
        any(a == pictures[i] and p != patients[i] for p, a in zip(patients, pictures, strict=True))
        and pictures[i] != ""
        for i in range(len(patients))
    ]
    assert shared_pictures(patients, pictures).tolist() == shared
    torn = 0
    for picture in set(pictures) - {""}:
        rows = pictures == picture
        torn += len(set(patients[rows])) > 1 and len(set(parts[rows])) > 1
    assert pictures_in_two_parts(patients, pictures, parts) == torn > 0


def test_links_do_not_depend_on_the_order_of_rows() -> None:
    patients, pictures, _ = drawn(9)
    order = np.random.default_rng(1).permutation(len(patients))
    expected = dict(zip(patients, linked_patients(patients, pictures), strict=True))
    again = dict(zip(patients[order], linked_patients(patients[order], pictures[order]), strict=True))
    assert again == expected


def test_a_chain_of_a_thousand_patients_is_one() -> None:
    """Patient i has pictures i and i + 1."""
    patients = np.repeat([f"{i:04d}" for i in range(1000)], 2)
    pictures = np.array([f"{i + k:016x}" for i in range(1000) for k in (0, 1)])
    assert set(linked_patients(patients, pictures)) == {"0000"}
    pictures[1000] = "other"  # patient 0500 has lost the picture of 0499
    assert set(linked_patients(patients, pictures)) == {"0000", "0500"}


def test_a_patients_own_copies_and_blank_pictures_link_nobody() -> None:
    patients, pictures = np.array(["a", "a", "b", "c"]), np.array(["x", "x", "", ""])
    assert linked_patients(patients, pictures) is patients  # the names, and so the folds, stay as they are
    assert not shared_pictures(patients, pictures).any()
    assert pictures_in_two_parts(patients, pictures, np.array([0, 1, 0, 1])) == 0
    nothing = np.array([], dtype=object)
    assert linked_patients(nothing, nothing).tolist() == []
    assert pictures_in_two_parts(nothing, nothing, nothing) == 0


def test_a_single_patient_may_have_more_images_than_a_part_but_linked_ones_may_not() -> None:
    ids = np.array([f"i{k}" for k in range(6)])
    patients, pictures = np.array(list("aaaabc")), np.array(list("uvwxyz"))
    refuse_too_many_linked(ids, patients, pictures, linked_patients(patients, pictures), 1 / 3)
    patients, pictures = np.array(list("aabbcd")), np.array(list("uvuxyz"))
    linked = linked_patients(patients, pictures)
    # 4 images of a and b in a part for ceil(3.6).
    refuse_too_many_linked(ids, patients, pictures, linked, 0.6)
    with pytest.raises(UserError, match=r"^2 patients .* 4 of 6 images, .* in 2 images \(first: i0 and i2\)"):
        refuse_too_many_linked(ids, patients, pictures, linked, 0.5)
    refuse_too_many_linked(ids[:0], patients[:0], pictures[:0], linked[:0], 0.5)


def test_every_pair_of_sets_against_loops() -> None:
    random = np.random.default_rng(5)
    patients, pictures, _ = drawn(3, 90)
    sets = random.choice(["nih", "own", "chexpert"], 90).astype(str)
    patients = np.array([f"{name}/{one}" for name, one in zip(sets, patients, strict=True)], dtype=object)
    found = shared_between(sets, patients, pictures)
    assert list(found) == ["chexpert and nih", "chexpert and own", "nih and own"]
    for pair, counts in found.items():
        one, other = pair.split(" and ")
        both = {p for p, a in zip(pictures, sets, strict=True) if a == one and p} & {
            p for p, a in zip(pictures, sets, strict=True) if a == other
        }
        who = {w for w, p, a in zip(patients, pictures, sets, strict=True) if p in both and a in (one, other)}
        assert counts == {"pictures": len(both), "patients": len(who)}
    assert any(counts["pictures"] for counts in found.values())
    assert shared_between(sets, patients, np.full(90, "", dtype=object))["nih and own"] == {
        "pictures": 0,
        "patients": 0,
    }
