"""Two arms of runs: which may be compared, and what they differ in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from couplet.commands.revisions import REPEAT, SEED, FinishedRun
from couplet.project.errors import UserError
from couplet.results.model_record import ModelRecord


@dataclass(frozen=True)
class Arms:
    """Two arms of runs on the same data: repeats of one method each.

    Attributes:
        a, b: each arm's runs, in the order of (seed, repeat).
        paired: the repeats at the same place of both share seed and repeat.
        settings: what differs in params.yaml: (key, A's value, B's value).
        made: what else the models differ in, between or within arms: (what, A's values, B's values).
    """

    a: list[FinishedRun]
    b: list[FinishedRun]
    paired: bool
    settings: list[tuple[str, Any, Any]]
    made: list[tuple[str, list[str], list[str]]]

    @property
    def sections(self) -> list[str]:
        """Sections of params.yaml that differ. The preset is a name for the others."""
        return list(dict.fromkeys(key.split(".")[0] for key, _, _ in self.settings if key != "preset"))

    @property
    def runs(self) -> list[FinishedRun]:
        """All of both."""
        return [*self.a, *self.b]


def as_arms(a: list[FinishedRun], b: list[FinishedRun], unpaired: bool) -> Arms:
    """Put runs together as two arms.

    Raises:
        UserError: runs of one arm have other settings, or the same repeat twice; the arms have other images, labels,
            patients or folds, or (unless `unpaired`) other repeats.
    """
    a, b = (sorted(arm, key=lambda run: run.repeat) for arm in (a, b))
    for arm in (a, b):
        _refuse_mixed_arm(arm)
    for run in (*a[1:], *b):
        _refuse_other_data(a[0], run)
    repeats = [[run.repeat for run in arm] for arm in (a, b)]
    if repeats[0] != repeats[1] and not unpaired:
        lists = [", ".join(f"({seed}, {repeat})" for seed, repeat in arm) for arm in repeats]
        raise UserError(
            f"the arms have other repeats, by ({SEED}, {REPEAT}) A: {lists[0]}; B: {lists[1]}: run those that are "
            "missing, or allow it with `--unpaired`"
        )
    return Arms(a, b, not unpaired, _settings_that_differ(a[0], b[0]), _made_differently(a, b))


def _refuse_mixed_arm(runs: Sequence[FinishedRun]) -> None:
    """Raise UserError unless the runs are repeats of one another."""
    first = runs[0]
    for before, run in pairwise(runs):
        if run.repeat == before.repeat:
            raise UserError(
                f"{before.name} and {run.name} are the same repeat, {SEED} {run.repeat[0]} and {REPEAT} "
                f"{run.repeat[1]}: name one of them, or repeat with `-S {REPEAT}={run.repeat[1] + 1}`"
            )
        if differs := _settings_that_differ(first, run):
            key, ours, theirs = differs[0]
            raise UserError(
                f"{first.name} and {run.name} are in one arm, but {key} is {ours!r} and {theirs!r}: an arm's runs may "
                f"differ in {SEED} and {REPEAT} only"
            )


def _refuse_other_data(first: FinishedRun, run: FinishedRun) -> None:
    """Raise UserError if two runs are not of the same images, labels, patients and folds."""
    same = {
        "other images": np.array_equal(first.manifest.ids, run.manifest.ids),
        "other label names": first.manifest.labels == run.manifest.labels,
    }
    if all(same.values()):
        people = [one.manifest.table["patient_id"].to_numpy() for one in (first, run)]
        same["other labels of its images"] = np.array_equal(
            first.manifest.truth, run.manifest.truth, equal_nan=True
        )
        same["other patients"] = np.array_equal(people[0], people[1])
        same["other folds"] = np.array_equal(first.fold_of, run.fold_of)
    for what, equal in same.items():
        if not equal:
            raise UserError(
                f"{run.name} has {what} than {first.name}, so nothing can be compared image by image: run one of them "
                f"again with the other's data, split and {SEED}"
            )


def _settings_that_differ(a: FinishedRun, b: FinishedRun) -> list[tuple[str, Any, Any]]:
    """(key, a's value, b's value) of all settings but those that tell repeats apart."""
    keys = [key for key in dict.fromkeys((*a.settings, *b.settings)) if key not in (SEED, REPEAT)]
    found = []
    for key in keys:
        ours, theirs = a.settings.get(key), b.settings.get(key)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            names = dict.fromkeys((*ours, *theirs))
            found += [(f"{key}.{name}", ours.get(name), theirs.get(name)) for name in names]
        else:
            found.append((key, ours, theirs))
    return [difference for difference in found if difference[1] != difference[2]]


def _made_differently(a: list[FinishedRun], b: list[FinishedRun]) -> list[tuple[str, list[str], list[str]]]:
    """(what, the values in arm A, in arm B) of device, arithmetic, versions and code, where not all models agree."""
    arms = [[_made(record) for run in arm for record in run.records.values()] for arm in (a, b)]
    names = dict.fromkeys(name for arm in arms for made in arm for name in made)
    found = []
    for name in names:
        ours, theirs = (list(dict.fromkeys(made.get(name, "not known") for made in arm)) for arm in arms)
        if len({*ours, *theirs}) > 1:
            found.append((name, ours, theirs))
    return found


def _made(record: ModelRecord) -> dict[str, str]:
    """What a model's digits follow from besides settings and data, by name."""
    plain = {"device": record.device, "precision": record.precision, "code": record.code}
    plain |= {"initial weights": record.weights, "arithmetic": record.arithmetic.get("name", "not known")}
    computed = {name: value for name, value in record.arithmetic.items() if name != "name"}
    return plain | {name: str(value) for name, value in {**computed, **record.versions}.items()}
