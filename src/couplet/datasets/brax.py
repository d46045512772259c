"""BRAX: master_spreadsheet_update.csv (a row per image), images/id_.../Study_.../Series_.../image-....png, or DICOM.

Reis et al., BRAX, Brazilian labeled chest x-ray dataset, Scientific Data 2022. CheXpert's labeller, adapted to reports
in Portuguese, gave the release CheXpert's 14 labels.
"""

from __future__ import annotations

from pathlib import Path

from couplet.datasets import chexpert
from couplet.datasets.base import Dataset, image_table
from couplet.datasets.folder import check_images, check_paths, with_endings
from couplet.datasets.tables import find_table, read_raw_table
from couplet.project.console import say
from couplet.settings.sources.brax import Settings

LABELS = chexpert.LABELS
# The second is the first, corrected: it is read where both are there.
TABLES = ("master_spreadsheet_update.csv", "master_spreadsheet.csv")
IDS = ("PatientID", "AccessionNumber")
PATHS = {"png": "PngPath", "dcm": "DicomPath"}
PEOPLE = ("PatientSex", "PatientAge", "ViewPosition")


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read the table: -1 uncertain, blank not mentioned in the report; the test part is drawn."""
    column = PATHS[args.files]
    needed = (column, *IDS, *LABELS)
    table = read_raw_table(find_table(folder, TABLES, needed), needed)
    table.say_unread((*PATHS.values(), *IDS, *PEOPLE, *LABELS))
    image_id, place = table.unique(column), table.place(column)
    paths = image_id
    check_paths(paths, place)
    if check_files:
        # The DICOM files of the first release have no ending, and people give them one.
        paths = with_endings(folder, paths, place)
        check_images(folder, paths, place)
    patient = table.filled("PatientID")
    images = image_table(
        table.label_values(LABELS),
        image_id=image_id,
        part="train",
        patient_id=patient,
        study_id=patient + "_" + table.filled("AccessionNumber"),
        view=table.text("ViewPosition"),
        sex=table.text("PatientSex"),
        age=table.text("PatientAge"),
        path=paths,
    )
    say("brax: the release has no test part, it is drawn (split.test_fraction)")
    return Dataset(labels=list(LABELS), table=images)
