"""MS-COCO 2014 and 2017: annotations/instances_{train,val}2017.json, images in train2017/ and val2017/."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame, Index, Series

from couplet.datasets.base import Dataset, image_table
from couplet.datasets.folder import check_images, check_paths
from couplet.datasets.names import check_names
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.sources.coco import Settings

YEARS = (2014, 2017)


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read both instance files: an image has a label if it has any instance of that category.

    Labels are ordered by category id; the official val is the test part; images without instances are left
    out, or kept with `keep_unannotated`, and counted.
    """
    year = _year(folder) if args.year == "auto" else args.year
    names: dict[int, str] = {}
    used: set[int] = set()
    roots: list[set[int]] = []
    parts, unannotated = [], 0
    for part, name in (("train", f"train{year}"), ("test", f"val{year}")):
        path = folder / "annotations" / f"instances_{name}.json"
        content = _read_instances(path)
        categories = _categories(path, content["categories"])
        if names and list(categories.values()) != list(names.values()):
            raise UserError(
                f"{path}: its categories are not those of train{year}: use the files of one release"
            )
        names = categories
        used |= {annotation["category_id"] for annotation in content["annotations"]}
        roots.append(_above_all(content["categories"]))
        images, without = _images(path, content, categories, part, name, args.keep_unannotated)
        unannotated += without
        if check_files:
            check_images(folder, images["path"], partial("{}, image id {}".format, path))
        parts.append(images)
    table = pd.concat(parts, ignore_index=True)
    labels = list(names.values())
    for number in set.intersection(*roots) - used:
        say(
            f"category {names[number]!r} (id {number}) is above all others and without annotations: it is no label"
        )
        labels.remove(names[number])
        table = table.drop(columns=names[number])
    for image_id in table["image_id"][table["image_id"].duplicated()][:1]:
        raise UserError(
            f"{folder / 'annotations'}: {image_id} is in train{year} and in val{year}: take it out of one"
        )
    note = "images_without_annotations" + "_kept" * args.keep_unannotated
    return Dataset(labels=labels, table=table, notes={note: unannotated} if unannotated else {})


def _year(folder: Path) -> int:
    there = [year for year in YEARS if (folder / "annotations" / f"instances_train{year}.json").exists()]
    if len(there) == 1:
        return there[0]
    if there:
        raise UserError(f"{folder} holds COCO 2014 and 2017: set data.source_args.year to one of them")
    # Roboflow writes a file for each part, beside its images.
    others = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/_annotations.coco.json"))
    near = f", found {', '.join(others)}" if others else ""
    raise UserError(
        f"{folder} has no COCO annotations; looked for annotations/instances_train2014.json and "
        f"annotations/instances_train2017.json{near}: put one year's files there"
    )


def _read_instances(path: Path) -> dict[str, list[dict[str, Any]]]:
    keys: dict[str, dict[str, type]] = {
        "categories": {"id": int, "name": str},
        "images": {"id": int, "file_name": str},
        "annotations": {"image_id": int, "category_id": int},
    }
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is not there: put both instance files of one year there") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): download it again") from None
    for section, fields in keys.items():
        entries = content.get(section) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"{path}: the list {section!r} is missing: use COCO's own instances_*.json")
        for position, entry in enumerate(entries):
            for name, kind in fields.items():
                if not isinstance(entry, dict) or type(entry.get(name)) is not kind:
                    found = entry.get(name) if isinstance(entry, dict) else entry
                    raise UserError(
                        f"{path}: {section}[{position}].{name} is {found!r}, not {kind.__name__}: "
                        "correct the entry or take it out"
                    )
    return content


def _categories(path: Path, entries: list[dict[str, Any]]) -> dict[int, str]:
    names = {entry["id"]: entry["name"] for entry in sorted(entries, key=lambda entry: entry["id"])}
    if len(names) < len(entries) or len(set(names.values())) < len(entries):
        raise UserError(f"{path}: two categories share an id or a name: give each its own")
    place = partial("{}, category id {}".format, path)
    for number, name in names.items():
        if name != name.strip() or not name:
            raise UserError(
                f"{place(number)}: the name {name!r} is empty or begins or ends with a space: mend it"
            )
    check_names(Series(names, dtype=str), place)
    return names


def _above_all(entries: list[dict[str, Any]]) -> set[int]:
    """The category that every other one has as its supercategory: Roboflow puts one above all, for no annotation."""
    return {
        entry["id"]
        for entry in entries
        if {other.get("supercategory") for other in entries if other is not entry} == {entry["name"]}
    }


def _images(
    path: Path,
    content: dict[str, list[dict[str, Any]]],
    categories: dict[int, str],
    part: str,
    folder_name: str,
    keep_unannotated: bool,
) -> tuple[DataFrame, int]:
    """The images of one file, indexed by COCO's image id, and how many have no annotation: these are kept or not."""
    files = Series({image["id"]: image["file_name"] for image in content["images"]}, dtype=str)
    if len(files) < len(content["images"]):
        raise UserError(f"{path}: two images share an id: give each its own")
    place = partial("{}, image id {}".format, path)
    check_names(files, place)
    check_paths(files, place)
    marks = {(annotation["image_id"], annotation["category_id"]) for annotation in content["annotations"]}
    columns = {number: column for column, number in enumerate(categories)}
    rows = {number: row for row, number in enumerate(files.index)}
    values = np.zeros((len(files), len(categories)))
    for image, category in sorted(marks):
        if image not in rows or category not in columns:
            kind, number = ("category", category) if image in rows else ("image", image)
            raise UserError(f"{path}: an annotation names the unknown {kind} id {number}: take it out")
        values[rows[image], columns[category]] = 1
    labels = DataFrame(values, index=Index(files.index, name="image"), columns=list(categories.values()))
    annotated = labels.any(axis=1)
    without = int((~annotated).sum())
    if not keep_unannotated:
        labels = labels[annotated]
        if without:
            one = without == 1
            say(
                f"{path.name}: {without:,} image{'' if one else 's'} without annotations {'is' if one else 'are'} left "
                f"out (data.source_args.keep_unannotated: true keeps {'it as a row' if one else 'them as rows'} of "
                "zeros)"
            )
    if not annotated.any():
        raise UserError(f"{path}: no image has an annotation: use COCO's own instances_*.json")
    files = files[labels.index]
    names = files.map(lambda file: PurePosixPath(file).name)
    check_names(names, place)  # again: the folder in front may have hidden a formula
    for number in names.index[names.duplicated()][:1]:
        raise UserError(
            f"{path}, image id {number}: {names[number]!r} is there twice: give each image its own name"
        )
    # Some copies write the folder into file_name.
    paths = f"{folder_name}/" + files.str.removeprefix(f"{folder_name}/")
    table = image_table(labels, image_id=names, part=part, patient_id=names, path=paths, row=0)
    return table.set_index(labels.index), without
