"""The external test: its images, which labels it shares with the run, and who of it is in training (data/external)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from couplet.evaluation.ordering import codes
from couplet.project.errors import UserError
from couplet.project.files import RESTORE, read_record
from couplet.project.project import ExternalStore, Project
from couplet.results.manifest import Manifest, read_manifest
from couplet.settings.params import Params

STORED_IMAGES = ExternalStore().manifest  # what gives predictions their images


@dataclass(frozen=True)
class External:
    """An external test of n images; the run has L labels.

    Attributes:
        source: its adapter.
        manifest: its images, whose labels are the run's; of those that are not shared all is unknown.
        label_map: label -> the columns that say it, of the shared labels in the run's order.
        approximate: those of them that mean only nearly what the run's label means.
        same_ids: pairs of prefixes (the run's, its own) of patient ids behind which equal ids are one person.
        made_of: why people may be in training under other names, in words.
    """

    source: str
    manifest: Manifest
    label_map: dict[str, list[str]]
    approximate: list[str]
    same_ids: list[tuple[str, str]]
    made_of: list[str]

    @property
    def shared(self) -> list[int]:
        """Places of the shared labels."""
        return [i for i, label in enumerate(self.manifest.labels) if label in self.label_map]

    @property
    def patients(self) -> np.ndarray:
        """(n,) patient of each image, as codes from 0 in the sorted order of their names."""
        return codes(self.manifest.patients)


def read_external(project: Project, params: Params, labels: list[str]) -> External | None:
    """Read data/external; None if the settings have no external test.

    Args:
        project: where it is.
        params: the section data is read.
        labels: of the run.

    Raises:
        UserError: a file is missing or damaged, or the store was made with other settings or labels.
    """
    settings = params.data.external
    if not settings.given:
        return None
    store = ExternalStore(project.root)
    about = read_record(store.labels, settings=dict)
    if about["settings"] != settings.model_dump():
        raise UserError(
            f"{project.params}: {project.external} was made with other settings than data.external: run `dvc repro`, "
            "or restore params.yaml"
        )
    about = read_record(store.labels, label_map=dict, approximate=list, same_ids=list, made_of=list)
    manifest = read_manifest(store)
    if manifest.labels != labels:
        raise UserError(f"{store.labels} has other labels than {project.labels}: run `dvc repro`")
    try:
        pairs = [(str(ours), str(theirs)) for ours, theirs in about["same_ids"]]
        columns = {label: [str(name) for name in about["label_map"][label]] for label in about["label_map"]}
    except (TypeError, ValueError):
        raise UserError(f"{store.labels} is not ours: {RESTORE}") from None
    if not columns.keys() <= set(labels):
        raise UserError(f"{store.labels} maps labels that the run does not have: run `dvc repro`")
    made_of = [str(line) for line in about["made_of"]]
    return External(
        settings.source, manifest, columns, [str(one) for one in about["approximate"]], pairs, made_of
    )


@dataclass(frozen=True)
class SharedWithTraining:
    """Who and what of an external test is among the images that models were trained on.

    Attributes:
        patients: number of patients with the same id; None where ids of two archives cannot be compared.
        pictures: number of pictures that are stored as the same bytes.
        made_of: why more may be shared under other names, in words.
    """

    patients: int | None
    pictures: int
    made_of: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether somebody or something is shared, or must be expected to be."""
        return bool(self.patients or self.pictures or self.made_of)

    def as_dict(self) -> dict[str, Any]:
        """For metrics/external.json."""
        return {"patients_in_training": self.patients, "pictures_in_training": self.pictures}


def shared_with_training(external: External, manifest: Manifest, fold_of: np.ndarray) -> SharedWithTraining:
    """Count the patients and pictures that the external test shares with the folds.

    Ids are compared within one archive only (`External.same_ids`): patient 13 of two hospitals is two people, and a
    count of equal numbers would be a false alarm in nearly every pair of data sets.

    Args:
        external: the external test.
        manifest: of the run.
        fold_of: (N,) text: "0" ... "test", or "train".
    """
    trained = fold_of != "test"
    pictures = _named(manifest.pictures[trained]) & _named(external.manifest.pictures)
    patients: int | None = None
    if external.same_ids:
        ours = manifest.table["patient_id"].to_numpy(dtype=str)[trained]
        theirs = external.manifest.table["patient_id"].to_numpy(dtype=str)
        patients = sum(
            len(_behind(ours, prefix) & _behind(theirs, other)) for prefix, other in external.same_ids
        )
    return SharedWithTraining(patients, len(pictures), tuple(external.made_of))


def _named(values: Iterable[str]) -> set[str]:
    return set(values) - {""}


def _behind(ids: np.ndarray, prefix: str) -> set[str]:
    """What stands behind the prefix in the ids that have it."""
    return _named(one[len(prefix) :] for one in ids.tolist() if one.startswith(prefix))
