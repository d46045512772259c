"""Which adapter reads which data set."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from couplet.datasets import (
    brax,
    chexpert,
    coco,
    combined,
    csv_table,
    grand_xray_slam,
    mimic_cxr_jpg,
    nih,
    openi,
    padchest,
    phantom,
    ranzcr_clip,
    rsna_pneumonia,
    vindr_cxr,
)
from couplet.datasets.base import Dataset
from couplet.datasets.folder import require_folder
from couplet.images.decoding.picture import CHEST
from couplet.project.console import say
from couplet.settings.source_args import source_settings

# data.source -> module with a function read(folder, args, check_files); args: as couplet.settings.sources has them.
ADAPTERS: dict[str, ModuleType] = {
    "brax": brax,
    "chexpert": chexpert,
    "coco": coco,
    "combined": combined,
    "csv": csv_table,
    "grand_xray_slam": grand_xray_slam,
    "mimic_cxr_jpg": mimic_cxr_jpg,
    "nih": nih,
    "openi": openi,
    "padchest": padchest,
    "phantom": phantom,
    "ranzcr_clip": ranzcr_clip,
    "rsna_pneumonia": rsna_pneumonia,
    "vindr_cxr": vindr_cxr,
}

# Data sets whose DICOM files may show any part of the body.
OF_ANY_BODY_PART = ("csv", "coco")


def body_parts(*sources: str) -> tuple[str, ...] | None:
    """Values of BodyPartExamined that suit every data set, for `images.decoding.decode.decode_picture`; None: any."""
    return None if set(sources) & set(OF_ANY_BODY_PART) else CHEST


def read_dataset(
    source: str, folder: Path, source_args: dict[str, Any] | None = None, *, check_files: bool = True
) -> Dataset:
    """Read the labels of `data.source` from its raw folder.

    Args:
        source: a data set's name, as in params.yaml.
        folder: its raw folder (or a link to it).
        source_args: the adapter's own settings.
        check_files: whether every image must be there; False is for tests on tables without images.

    Raises:
        UserError: a setting, the folder, a file, row or cell is wrong; one line says which and what to do.
    """
    dataset = read_member(source, folder, source_args or {}, check_files)
    _warn_of_shared_patients(dataset)
    return dataset


def read_member(source: str, folder: Path, source_args: dict[str, Any], check_files: bool) -> Dataset:
    """The same of one of several data sets, whose images may yet change part: who is in two is looked for later."""
    args = source_settings(source, source_args)
    require_folder(source, folder)
    dataset: Dataset = ADAPTERS[source].read(folder, args, check_files)
    return dataset


def _warn_of_shared_patients(dataset: Dataset) -> None:
    parts = dataset.table.groupby("part")["patient_id"].unique()
    shared = set(parts["train"]) & set(parts.get("test", []))
    if shared:
        dataset.notes["patients_in_train_and_test"] = len(shared)
        say(f"warning: {len(shared)} patient(s) with images in train and in test: test scores are optimistic")
