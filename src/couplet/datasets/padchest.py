"""PadChest: PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv (a row per image) and folders 0/ to 54/ of 16-bit PNG.

Bustos et al., PadChest: A large chest x-ray image dataset with multi-label annotated reports, Medical Image Analysis
2020. The labels of a report are a list of names as text, `['cardiomegaly', 'aortic elongation']`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from couplet.datasets.base import Dataset, image_table
from couplet.datasets.folder import check_images, check_paths, walk
from couplet.datasets.tables import Table, find_table, read_raw_table
from couplet.datasets.terms import check_terms, label_columns, read_terms
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.results.spellings import common_word
from couplet.settings.sources.padchest import Settings

NAME = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
TABLES = (NAME, f"{NAME}.gz")
COLUMNS = ("ImageID", "ImageDir", "StudyID", "PatientID", "Labels")
# Frequent findings; those of several names are our own reading of the paper's trees of findings: a report names the
# most specific one, and an image with a laminar atelectasis is no negative of atelectasis.
FINDINGS = {
    "air trapping": ["air trapping"],
    "alveolar pattern": ["alveolar pattern"],
    "aortic elongation": [
        *("aortic elongation", "ascendent aortic elongation"),
        *("descendent aortic elongation", "supra aortic elongation"),
    ],
    "atelectasis": [
        *("atelectasis", "atelectasis basal", "laminar atelectasis", "lobar atelectasis"),
        *("round atelectasis", "segmental atelectasis", "total atelectasis"),
    ],
    "cardiomegaly": ["cardiomegaly"],
    "consolidation": ["consolidation"],
    "COPD signs": ["COPD signs"],
    "costophrenic angle blunting": ["costophrenic angle blunting"],
    "emphysema": ["emphysema"],
    "fracture": [
        *("fracture", "callus rib fracture", "clavicle fracture", "humeral fracture"),
        *("rib fracture", "vertebral fracture"),
    ],
    "granuloma": ["granuloma", "calcified granuloma"],
    "heart insufficiency": ["heart insufficiency"],
    "hiatal hernia": ["hiatal hernia"],
    "infiltrates": ["infiltrates"],
    "interstitial pattern": [
        *("interstitial pattern", "reticular interstitial pattern", "reticulonodular interstitial pattern"),
    ],
    "mass": ["mass", "pulmonary mass"],
    "nodule": ["nodule", "multiple nodules"],
    "pacemaker": ["pacemaker", "dual chamber device", "single chamber device"],
    "pleural effusion": [
        *("pleural effusion", "loculated pleural effusion", "loculated fissural effusion"),
        *("hydropneumothorax",),
    ],
    "pleural thickening": ["pleural thickening", "apical pleural thickening", "calcified pleural thickening"],
    "pneumonia": ["pneumonia", "atypical pneumonia"],
    "pneumothorax": ["pneumothorax", "hydropneumothorax"],
    "pulmonary edema": ["pulmonary edema"],
    "pulmonary fibrosis": ["pulmonary fibrosis"],
    "scoliosis": ["scoliosis"],
    "vertebral degenerative changes": ["vertebral degenerative changes"],
}
NORMAL, UNCHANGED, EXCLUDE, SUBOPTIMAL = "normal", "unchanged", "exclude", "suboptimal study"
VIEWS = {word: common_word("view", word) for word in ("AP_horizontal", "UNK")}  # its L stays L
EXCLUDED_VIEW = "EXCLUDE"
_QUOTED = r"'[^']*'|\"[^\"]*\"|nan"
_LIST = re.compile(rf"\[\s*(?:(?:{_QUOTED})\s*(?:,\s*(?:{_QUOTED})\s*)*,?\s*)?\]")
_YEAR = r"^(\d{4})(?:\D|\d{4}|$)"


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read a row per image; what the release marks as unusable is left out and counted; the test part is drawn."""
    table = _chosen(read_raw_table(find_table(folder, TABLES, COLUMNS), COLUMNS), args)
    names, patient = table.unique("ImageID"), table.filled("PatientID")
    study, homes = table.filled("StudyID"), table.filled("ImageDir")
    terms = read_terms(table.text("Labels"), lambda cell, row: _listed(table, cell, row))
    check_terms(args.labels, terms, table.path.name)
    labels = _labels(terms, args.labels or FINDINGS)
    view = table.text("Projection").replace(VIEWS)

    kept, notes = _usable(terms, view, args)
    if not kept.any():
        raise UserError(
            f"{table.path}: no image is left ({', '.join(f'{name}: {n}' for name, n in notes.items())}): use the "
            "release's own table, or set data.source_args.keep_suboptimal: true"
        )
    names, paths = names[kept], (homes + "/" + names)[kept]
    check_paths(paths, table.place("ImageID"))
    if check_files:
        paths = _found(folder, table, paths)
        _require_folders(folder, table, paths)
        check_images(folder, paths, table.place("ImageID"))
    both = terms[kept].map(lambda row: NORMAL in row) & (labels[kept] == 1).any(axis=1)
    if both.any():
        notes["images_normal_with_findings"] = int(both.sum())
    images = image_table(
        labels[kept],
        image_id=names,
        part="train",
        patient_id=patient[kept],
        study_id=study[kept],
        view=view[kept],
        sex=table.text("PatientSex_DICOM")[kept],
        age=_age(table)[kept],
        path=paths,
    )
    say("padchest: the release has no test part, it is drawn (split.test_fraction)")
    return Dataset(labels=list(labels.columns), table=images, notes=notes)


def _chosen(table: Table, args: Settings) -> Table:
    """The rows that `folders` and `labelled_by` ask for."""
    cells = table.cells
    for number in args.folders:
        if not (cells["ImageDir"] == str(number)).any():
            raise UserError(
                f"data.source_args.folders: no row of {table.path.name} has ImageDir {number}: take it out"
            )
    if args.folders:
        cells = cells[cells["ImageDir"].isin([str(number) for number in args.folders])]
    if args.labelled_by == "physicians":
        table.require(("MethodLabel",), remedy="use the release's own table, or labelled_by: all")
        cells = cells[cells["MethodLabel"] == "Physician"]
        if cells.empty:
            raise UserError(
                f"{table.path}: no row has the MethodLabel 'Physician': set data.source_args.labelled_by: all"
            )
    return Table(table.path, cells)


def _listed(table: Table, cell: str, row: Any) -> list[str]:
    if cell in ("", "nan"):
        return []
    if not _LIST.fullmatch(cell):
        raise UserError(
            f"{table.where(row, 'Labels')}: {cell[:60]!r} is no list of names: write it like ['nodule', 'scoliosis']"
        )
    return [name[1:-1] for name in re.findall(_QUOTED, cell) if name != "nan"]


def _labels(terms: Series, groups: dict[str, list[str]]) -> DataFrame:
    """1 where a name is listed, else 0; NaN where the report says that the rest is as it was before."""
    labels = label_columns(terms, groups)
    silent = terms.map(lambda row: UNCHANGED in row and NORMAL not in row).astype(bool)
    return labels.mask(labels.eq(0) & silent.to_numpy()[:, None])


def _usable(terms: Series, view: Series, args: Settings) -> tuple[Series, dict[str, int]]:
    """Which images are kept, and how many are not for what reason."""
    says_nothing = {UNCHANGED, SUBOPTIMAL}
    reasons = {
        "images_excluded": terms.map(lambda row: EXCLUDE in row) | (view == EXCLUDED_VIEW),
        "images_of_suboptimal_studies": terms.map(lambda row: SUBOPTIMAL in row and not args.keep_suboptimal),
        "images_without_labels": terms.map(lambda row: row <= says_nothing),
    }
    kept = Series(True, index=terms.index)
    notes = {}
    for name, out in reasons.items():
        if n := int((kept & out).sum()):
            notes[name] = n
        kept &= ~out.astype(bool)
    return kept, notes


def _found(folder: Path, table: Table, paths: Series) -> Series:
    """The paths, by name where an image is not in its ImageDir: smaller copies have all images in one folder."""
    places: dict[str, list[str]] = {}
    for path in sorted(path for path, _ in walk(folder)):
        places.setdefault(path.rpartition("/")[2], []).append(path)
    whole, moved = {}, 0
    for row, path in zip(paths.index, paths, strict=True):
        found = places.get(path.rpartition("/")[2], [])
        if path in found or not found:
            whole[row] = path
        elif len(found) == 1:
            whole[row] = found[0]
            moved += 1
        else:
            raise UserError(
                f"{table.where(row, 'ImageID')}: {path} is not there, but {' and '.join(found[:2])} are: remove one of "
                "them"
            )
    if moved:
        say(f"{table.path.name}: {moved:,} of {len(paths):,} images are in another folder than ImageDir says")
    return Series(whole, dtype=str)


def _require_folders(folder: Path, table: Table, paths: Series) -> None:
    """Name the folders of a part of the release, if the missing images are those of whole folders."""
    homes = paths.str.rpartition("/")[0]
    there = {home for home in homes.unique() if (folder / home).is_dir()}
    for row in homes.index[~homes.isin(there)][:1]:
        have = ", ".join(sorted(there & set(table.cells["ImageDir"]), key=lambda home: (len(home), home)))
        remedy = f", or set data.source_args.folders: [{have}] to read those that are" if have else ""
        raise UserError(
            f"{table.where(row, 'ImageDir')}: the folder {homes[row]}/ is not in {folder} (folders missing: "
            f"{homes[~homes.isin(there)].nunique()}): complete the download{remedy}"
        )


def _age(table: Table) -> Series:
    """Years from the year of birth to the year of the study, up to one too many; empty where one is not known."""
    birth, study = (
        pd.to_numeric(table.text(name).str.extract(_YEAR)[0]) for name in ("PatientBirth", "StudyDate_DICOM")
    )
    years = study - birth
    return years.map(lambda age: "" if np.isnan(age) or age < 0 else f"{age:.0f}")
