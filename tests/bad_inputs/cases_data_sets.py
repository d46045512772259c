"""COCO's JSON, Grand X-Ray SLAM's and NIH's tables, the raw folder and its inventory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

from PIL import Image

from couplet.settings.schema.plugins import SOURCES
from tests.bad_inputs.case import (
    Case,
    Given,
    after_scan,
    both,
    cut,
    file,
    link,
    nothing,
    place,
    removed,
    replaced,
    setting,
    text,
)
from tests.support.in_process import InProcessProject

TRAIN = "{raw}/annotations/instances_train2017.json"
VAL = "{raw}/annotations/instances_val2017.json"
SAMPLE = "{raw}/sample_submission_2.csv"
ZEROS = ",0" * 14


def coco(name: str, given: Given, refused: str) -> Case:
    return Case(name, given, base="coco", refused=refused)


def slam(name: str, given: Given, refused: str) -> Case:
    return Case(name, given, base="slam", refused=refused)


def nih(name: str, given: Given, refused: str) -> Case:
    return Case(name, given, base="nih", refused=refused)


def combined(name: str, given: Given, refused: str, run: str = "scan, prepare") -> Case:
    return Case(name, given, run, base="combined", refused=refused)


def members(**settings: Any) -> Given:
    return setting("data.source_args", {"members": settings})


def changed(path: str, change: Callable[[Any], object]) -> Given:
    """Change the content of a JSON file in place."""

    def rewrite(content: str) -> str:
        loaded = json.loads(content)
        change(loaded)
        return json.dumps(loaded)

    return text(path, rewrite)


def category(name: str) -> Given:
    change = lambda content: content["categories"][0].update(name=name)  # noqa: E731
    return both(changed(TRAIN, change), changed(VAL, change))


def first_image(**values: Any) -> Given:
    return changed(TRAIN, lambda content: content["images"][0].update(values))


def sampled(name: str) -> Given:
    """One more row in the sample submission."""
    return text(SAMPLE, lambda content: f"{content}{name}{ZEROS}\n")


def fifteenth_column(content: str) -> str:
    first, *rows = content.splitlines()
    return "\n".join([f"{first},Nodule", *(f"{row},1" for row in rows)]) + "\n"


def add_root(content: Any) -> None:
    for entry in content["categories"]:
        entry["supercategory"] = "chest"
    content["categories"].insert(0, {"id": 0, "name": "chest", "supercategory": "none"})


def copied(path: str, other: str) -> Given:
    """Put a copy of a file in the place of another."""
    return lambda project: shutil.copyfile(place(project, path), place(project, other))


def blank(path: str) -> Given:
    """A black picture in the place of a file."""
    return lambda project: Image.new("L", (40, 40)).save(place(project, path))


def last_bit(path: str) -> Given:
    """Turn the last bit of a file: its size stays the same."""

    def turn(project: InProcessProject) -> None:
        content = place(project, path).read_bytes()
        place(project, path).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    return turn


def without_scratch(project: InProcessProject) -> None:
    """So that prepare reads the images again: its finished shards are those of the inventory."""
    shutil.rmtree(project.folder / ".scratch")


def empty_raw(project: InProcessProject) -> None:
    shutil.rmtree(project.raw)
    project.raw.mkdir()


CASES = [
    coco(
        "COCO: a JSON file cut short",
        cut(TRAIN, 0.7),
        "{project}/data/raw/coco/annotations/instances_train2017.json is not valid JSON (Unterminated string starting at: {place}): download it again",
    ),
    coco(
        "COCO: an empty JSON file",
        file(TRAIN, ""),
        "{project}/data/raw/coco/annotations/instances_train2017.json is not valid JSON (Expecting value: {place}): download it again",
    ),
    coco(
        "COCO: a JSON file nested 100,000 deep",
        file(TRAIN, "[" * 100_000),
        "{project}/data/raw/coco/annotations/instances_train2017.json is not valid JSON (maximum recursion depth exceeded while decoding a JSON array from a unicode string): download it again",
    ),
    coco(
        "COCO: a list where an object should be",
        file(TRAIN, "[]"),
        "{project}/data/raw/coco/annotations/instances_train2017.json: the list 'categories' is missing: use COCO's own instances_*.json",
    ),
    coco(
        "COCO: no categories",
        changed(TRAIN, lambda content: content.pop("categories")),
        "{project}/data/raw/coco/annotations/instances_train2017.json: the list 'categories' is missing: use COCO's own instances_*.json",
    ),
    coco(
        "COCO: 0 images",
        changed(TRAIN, lambda content: content.update(images=[], annotations=[])),
        "{project}/data/raw/coco/annotations/instances_train2017.json: no image has an annotation: use COCO's own instances_*.json",
    ),
    coco(
        "COCO: an id that is text",
        first_image(id="1"),
        "{project}/data/raw/coco/annotations/instances_train2017.json: images[0].id is '1', not int: correct the entry or take it out",
    ),
    coco(
        "COCO: an id that is NaN",
        first_image(id=float("nan")),
        "{project}/data/raw/coco/annotations/instances_train2017.json: images[0].id is nan, not int: correct the entry or take it out",
    ),
    coco(
        "COCO: an id twice",
        changed(TRAIN, lambda content: content["images"].append(content["images"][0])),
        "{project}/data/raw/coco/annotations/instances_train2017.json: two images share an id: give each its own",
    ),
    coco(
        "COCO: an image name twice",
        first_image(file_name="000000000002.jpg"),
        "{project}/data/raw/coco/annotations/instances_train2017.json, image id 2: '000000000002.jpg' is there twice: give each image its own name",
    ),
    coco(
        "COCO: an image that is not there",
        first_image(file_name="gone.jpg"),
        "{project}/data/raw/coco/annotations/instances_train2017.json, image id 1: train2017/gone.jpg is not in {project}/data/raw/coco: put the file there or take the row out of the table",
    ),
    coco(
        "COCO: an image outside the data folder",
        first_image(file_name="../val2017/000000000101.jpg"),
        "{project}/data/raw/coco/annotations/instances_train2017.json, image id 1: '../val2017/000000000101.jpg' is not a path inside the data folder: write it relative, with '/' and without '..'",
    ),
    coco(
        "COCO: an image name with half a character",
        first_image(file_name="\ud800.jpg"),
        "{project}/data/raw/coco/annotations/instances_train2017.json, image id 1: '\\ud800.jpg' holds control characters: rename it, with printable ones only",
    ),
    coco(
        "COCO: an annotation of an unknown image",
        changed(TRAIN, lambda c: c["annotations"][0].update(image_id=9)),
        "{project}/data/raw/coco/annotations/instances_train2017.json: an annotation names the unknown image id 9: take it out",
    ),
    coco(
        "COCO: an annotation of an unknown category",
        changed(TRAIN, lambda c: c["annotations"][0].update(category_id=9)),
        "{project}/data/raw/coco/annotations/instances_train2017.json: an annotation names the unknown category id 9: take it out",
    ),
    coco(
        "COCO: two categories of one name",
        category("dog"),
        "{project}/data/raw/coco/annotations/instances_train2017.json: two categories share an id or a name: give each its own",
    ),
    coco(
        "COCO: a category without a name",
        category(""),
        "{project}/data/raw/coco/annotations/instances_train2017.json, category id 1: the name '' is empty or begins or ends with a space: mend it",
    ),
    coco(
        "COCO: a category with a line end in its name",
        category("a\nb"),
        "{project}/data/raw/coco/annotations/instances_train2017.json, category id 1: 'a\\nb' holds control characters: rename it, with printable ones only",
    ),
    coco(
        "COCO: a category that is a formula",
        category("=1+1"),
        "{project}/data/raw/coco/annotations/instances_train2017.json, category id 1: '=1+1' would be a formula in a spreadsheet: rename it, without = + - or @ in front",
    ),
    coco(
        "COCO: other categories in val",
        changed(VAL, lambda content: content["categories"][0].update(name="cow")),
        "{project}/data/raw/coco/annotations/instances_val2017.json: its categories are not those of train2017: use the files of one release",
    ),
    coco(
        "COCO: no val file",
        removed(VAL),
        "{project}/data/raw/coco/annotations/instances_val2017.json is not there: put both instance files of one year there",
    ),
    coco(
        "COCO: two years in one folder",
        file("{raw}/annotations/instances_train2014.json", "{}"),
        "{project}/data/raw/coco holds COCO 2014 and 2017: set data.source_args.year to one of them",
    ),
    Case(
        "COCO: images without annotations",
        changed(TRAIN, lambda content: content["annotations"].pop()),
        base="coco",
        happens="left out and counted, in labels.json and in the report",
        said=(
            "instances_train2017.json: 1 image without annotations is left out (data.source_args.keep_unannotated: true keeps it as a row of zeros)",
        ),
        finds={
            ("entry", "data/prepared/labels.json", "notes"): {
                "images_without_annotations": 1,
                "image_files_not_listed": 1,
            }
        },
    ),
    Case(
        "COCO: images without annotations, with keep_unannotated",
        both(
            setting("data.source_args", {"keep_unannotated": True}),
            changed(TRAIN, lambda content: content["annotations"].pop()),
        ),
        base="coco",
        happens="rows of zeros, counted",
        finds={
            ("entry", "data/prepared/labels.json", "notes"): {"images_without_annotations_kept": 1},
            ("cell", "data/prepared/manifest.csv", "000000000008.jpg", "cat"): "0",
        },
    ),
    Case(
        "COCO: the root category of Roboflow",
        both(*(changed(path, add_root) for path in (TRAIN, VAL))),
        base="coco",
        happens="said; not a label",
        said=("category 'chest' (id 0) is above all others and without annotations: it is no label",),
        finds={("entry", "data/prepared/labels.json", "labels"): ["cat", "dog"]},
    ),
    coco(
        "COCO: an image id that is a formula behind a folder",
        first_image(file_name="sub/=1+1.jpg"),
        "{project}/data/raw/coco/annotations/instances_train2017.json, image id 1: '=1+1.jpg' would be a formula in a spreadsheet: rename it, without = + - or @ in front",
    ),
    slam(
        "SLAM: a sample submission that lists an image that does not exist",
        sampled("00000099_001_001.jpg"),
        "{project}/data/raw/grand_xray_slam/sample_submission_2.csv, row 5, column 'Image_name': test2/00000099_001_001.jpg is not in {project}/data/raw/grand_xray_slam: put the file there or take the row out of the table",
    ),
    slam(
        "SLAM: a sample submission that lists an image twice",
        sampled("00000053_001_001.jpg"),
        "{project}/data/raw/grand_xray_slam/sample_submission_2.csv, row 5, column 'Image_name': '00000053_001_001.jpg' is already in row 2: take one of them out",
    ),
    slam(
        "SLAM: a sample submission that lists a training image",
        sampled("00000001_001_001.jpg"),
        "{project}/data/raw/grand_xray_slam/sample_submission_2.csv, row 5, column 'Image_name': '00000001_001_001.jpg' is also a training image of train2.csv: an image cannot be in both, take it out of one",
    ),
    slam(
        "SLAM: a sample submission that leads out of the folder",
        sampled("../train2/00000001_001_001.jpg"),
        "{project}/data/raw/grand_xray_slam/sample_submission_2.csv, row 5, column 'Image_name': '../train2/00000001_001_001.jpg' is not a path inside the data folder: write it relative, with '/' and without '..'",
    ),
    slam(
        "SLAM: a misspelt label",
        replaced("{raw}/train2.csv", "Edema", "Oedema"),
        "{project}/data/raw/grand_xray_slam/train2.csv, row 1: column 'Edema' is missing: add it to the header; in the header did you mean 'Oedema'? (allowed: Image_name, Patient_ID, Study, Sex, Age, ViewCategory, ViewPosition, Atelectasis, Cardiomegaly, Consolidation, Oedema, Enlarged Cardiomediastinum, Fracture, Lung Lesion, Lung Opacity, No Finding, Pleural Effusion, Pleural Other, Pneumonia, Pneumothorax, Support Devices)",
    ),
    slam(
        "SLAM: both divisions in one folder",
        file("{raw}/train1.csv", "Image_name\n"),
        "{project}/data/raw/grand_xray_slam holds both divisions (train1.csv, train2.csv): set data.source_args.division to A or B",
    ),
    Case(
        "SLAM: a 15th label in the training table",
        text("{raw}/train2.csv", fifteenth_column),
        base="slam",
        happens="said by name; not a label",
        said=("train2.csv: columns that are not read: Nodule",),
    ),
    Case(
        "SLAM: a test image that cannot be read",
        file("{raw}/test2/00000051_001_001.jpg", b""),
        base="slam",
        happens="quarantined and counted; its row stays in the submission, in its place",
        quarantined={"00000051_001_001.jpg": "the file is empty"},
        finds={
            ("column", "data/prepared/submission_rows.csv", "Image_name"): [
                "00000053_001_001.jpg",
                "00000051_001_001.jpg",
                "00000052_001_001.jpg",
            ]
        },
    ),
    nih(
        "NIH: a finding that does not exist",
        replaced("{raw}/Data_Entry_2017_v2020.csv", "Edema", "Oedema"),
        "{project}/data/raw/nih/Data_Entry_2017_v2020.csv, row 4, column 'Finding Labels': unknown finding 'Oedema': did you mean 'Edema'? (allowed: Atelectasis, Cardiomegaly, Effusion, Infiltration, Mass, Nodule, Pneumonia, Pneumothorax, Consolidation, Edema, Emphysema, Fibrosis, Pleural_Thickening, Hernia, No Finding)",
    ),
    nih(
        "NIH: a finding beside No Finding",
        replaced("{raw}/Data_Entry_2017_v2020.csv", "Edema|", "No Finding|"),
        "{project}/data/raw/nih/Data_Entry_2017_v2020.csv, row 4, column 'Finding Labels': 'No Finding|Mass' names findings and 'No Finding': take one of them out",
    ),
    nih(
        "NIH: one of the two lists alone",
        removed("{raw}/test_list.txt"),
        "{project}/data/raw/nih/train_val_list.txt is there but test_list.txt is not: put both lists there, or neither",
    ),
    nih(
        "NIH: an image in both lists",
        file("{raw}/test_list.txt", "00000001_000.png\n00000007_000.png\n00000008_000.png\n"),
        "{project}/data/raw/nih/Data_Entry_2017_v2020.csv, row 2, column 'Image Index': '00000001_000.png' is in both train_val_list.txt and test_list.txt: mend train_val_list.txt and test_list.txt, or remove both",
    ),
    nih(
        "NIH: an image in neither list",
        file("{raw}/test_list.txt", "00000007_000.png\n"),
        "{project}/data/raw/nih/Data_Entry_2017_v2020.csv, row 9, column 'Image Index': '00000008_000.png' is in neither list: mend train_val_list.txt and test_list.txt, or remove both",
    ),
    Case(
        "a file that is a formula, in no table",
        file("{raw}/images/../=1+1.jpg", b"x"),
        run="scan",
        refused="{project}/data/raw/csv: file name: '=1+1.jpg' would be a formula in a spreadsheet: rename it, without = + - or @ in front",
    ),
    Case(
        "one picture in two files of different patients",
        copied("{raw}/images/03.png", "{raw}/images/07.png"),
        happens="said and counted, in labels.json and in the report",
        said=(
            "warning: 2 images are only 1 picture: the files are identical (first: images/03.png and images/07.png); of different patients: 1 picture, in train and in test: 0 pictures",
        ),
        finds={
            ("entry", "data/prepared/labels.json", "notes"): {"images_with_identical_files": 2},
        },
    ),
    Case(
        "pictures that different patients share",
        both(
            setting("split.test_fraction", 0.0),
            copied("{raw}/images/03.png", "{raw}/images/07.png"),
            copied("{raw}/images/06.png", "{raw}/images/12.png"),
        ),
        run="scan, prepare, split-mis",
        happens="their patients are dealt together, also along a chain, which is said and counted",
        said=(
            "warning: 2 pictures of 3 patients, who are dealt together; in two folds: 0, in train and test: 0",
        ),
        finds={
            ("entry", "metrics/split.json", "pictures_in_two_folds"): 0,
            ("entry", "metrics/split.json", "patients_sharing_a_picture"): 3,
        },
    ),
    Case(
        "one picture under the names of most patients",
        both(*(copied("{raw}/images/00.png", f"{{raw}}/images/{i:02d}.png") for i in range(2, 16, 2))),
        run="scan, prepare, split-mis",
        refused="8 patients share pictures with one another and would be dealt together: 16 of 18 images, more than a part holds. The commonest picture is in 8 images (first: 00.png and 02.png): take its images out of the label table, or set split.group_by: none",
    ),
    Case(
        "blank images",
        both(*(blank(f"{{raw}}/images/{i:02d}.png") for i in range(0, 24, 2))),
        run="scan, prepare, split-mis",
        happens="said and counted; nobody is taken for somebody else because of them",
        finds={
            ("entry", "data/prepared/labels.json", "notes"): {
                "images_with_identical_files": 12,
                "blank_images": 12,
            },
            ("entry", "metrics/split.json", "patients_sharing_a_picture"): 0,
        },
    ),
    Case(
        "no raw folder",
        lambda project: shutil.rmtree(project.raw),
        run="scan",
        refused="{project}/data/raw/csv is not there: link the data with `ln -s /path/to/the/data {project}/data/raw/csv` (docs/datasets.md, csv), or set COUPLET_DATA_ROOT",
    ),
    Case(
        "an empty raw folder",
        empty_raw,
        run="scan",
        refused="{project}/data/raw/csv holds no files: put the data there, docs/datasets.md shows the layout",
    ),
    combined(
        "combined: a member whose folder is not there",
        members(nih={}, chexpert={}),
        "{project}/data/raw/combined/chexpert is not there: link the data with `ln -s /path/to/the/data {project}/data/raw/combined/chexpert` (docs/datasets.md, chexpert), or set COUPLET_DATA_ROOT",
    ),
    combined(
        "combined: a misspelled setting of a member",
        after_scan(members(nih={"lable_map": {}})),
        "unknown key data.source_args.members.nih.lable_map for data.source: combined: did you mean 'label_map'? (allowed: source, source_args, label_map, part, uncertain, unmentioned)",
        run="prepare",
    ),
    combined(
        "combined: a misspelled setting of a member's adapter",
        after_scan(members(nih={"source_args": {"no_findings": True}})),
        "unknown key data.source_args.members.nih.source_args.no_findings for data.source_args.members.nih.source: nih: did you mean 'no_finding'? (allowed: no_finding)",
        run="prepare",
    ),
    combined(
        "combined: no members",
        members(),
        "data.source_args.members names no data set: write one, for example `nih: {}`, for each folder in its raw folder",
        run="check",
    ),
    combined(
        "combined: a misspelled setting of a member that would be drawn",
        members(nih={}, near={"source": "phantom", "source_args": {"pateints": 90}}),
        "unknown key data.source_args.members.near.source_args.pateints for data.source_args.members.near.source: phantom: did you mean 'patients'? (allowed: division, patients, size, seed, film, prevalence, first_patient)",
        run="check",
    ),
    combined(
        "combined: a member of a source that there is not",
        members(nih={}, own={"source": "csvs"}),
        f"unknown data.source_args.members.own.source 'csvs': did you mean 'csv'? (allowed: {', '.join(SOURCES.names())})",
        run="check",
    ),
    combined(
        "combined: a label map that names no column of the set",
        members(nih={"label_map": {"Pleural Effusion": "Effusions"}}),
        "data.source_args.members.nih.label_map.Pleural Effusion names 'Effusions', which is no label of that set: did you mean 'Effusion'? (allowed: Atelectasis, Cardiomegaly, Effusion, Infiltration, Mass, Nodule, Pneumonia, Pneumothorax, Consolidation, Edema, Emphysema, Fibrosis, Pleural_Thickening, Hernia)",
    ),
    combined(
        "combined: no label in every member",
        setting(
            "data.source_args",
            {
                "labels": "intersection",
                "members": {"nih": {"label_map": {"Hernia": "Hernia"}}, "own": {"source": "csv"}},
            },
        ),
        "no label is in every member (nih: Hernia; own: Edema, Mass): set data.source_args.members.<name>.label_map, or labels: union",
    ),
    combined(
        "combined: blank cells of all sets set to zero, unknown labels with them",
        setting("data.unmentioned", "zeros"),
        "data.unmentioned must be ignore where several sets are combined: set data.source_args.members.nih.unmentioned, and that of the others, instead",
        run="check",
    ),
    combined(
        "combined: a link in a member that leaves it",
        link("{raw}/own/0.png", "{raw}/nih/images/00000001_000.png"),
        "{project}/data/raw/combined/own/0.png is a link that leaves the data folder: link the whole data set as {project}/data/raw/combined/own",
        run="scan",
    ),
    combined(
        "combined: every member is the test part",
        members(nih={"part": "test"}, own={"source": "csv", "part": "test"}),
        "the data set has no training images: every image is in the test part, move some",
    ),
    Case(
        "the raw folder is a link to nothing",
        both(lambda project: shutil.rmtree(project.raw), link("{raw}", "/nowhere")),
        run="scan",
        refused="{project}/data/raw/csv is a link to something that is not there: link the data with `ln -s /path/to/the/data {project}/data/raw/csv` (docs/datasets.md, csv), or set COUPLET_DATA_ROOT",
    ),
    Case(
        "no inventory", nothing, run="prepare", refused="data/inventory.json is not there: run `couplet scan`"
    ),
    Case(
        "an inventory of another data set",
        both(setting("data.source", "nih"), link("{project}/data/raw/nih", "{raw}")),
        base="trained",
        run="prepare",
        refused="data/inventory.json describes 'csv' but data.source is 'nih': run `couplet scan`",
    ),
    Case(
        "an inventory that is no JSON",
        file("data/inventory.json", "files: 3"),
        base="trained",
        run="prepare",
        refused="data/inventory.json is not valid JSON: restore it from git, or run `couplet scan`",
    ),
    Case(
        "an inventory without its digest",
        file("data/inventory.json", "{}"),
        base="trained",
        run="prepare",
        refused="data/inventory.json is not an inventory (keys: source, files, bytes, digest): run `couplet scan`",
    ),
    Case(
        "a label changed since the scan",
        replaced("{raw}/labels.csv", "F,0", "F,1", 1),
        base="trained",
        run="prepare",
        refused="{project}/data/raw/csv/labels.csv has changed since data/inventory.json was written: run `couplet scan`",
    ),
    Case(
        "a pixel changed since the scan",
        both(without_scratch, last_bit("{raw}/images/03.png")),
        base="trained",
        run="prepare",
        refused="{project}/data/raw/csv/images/03.png changed since data/inventory.json was written: restore it, or run `couplet scan`",
    ),
    Case(
        "a file added since the scan",
        file("{raw}/images/new.png", b"new"),
        base="trained",
        run="prepare",
        refused="{project}/data/raw/csv/images/new.png is new since data/inventory.json was written: run `couplet scan`",
    ),
    Case(
        "a file gone since the scan",
        removed("{raw}/images/03.png"),
        base="trained",
        run="prepare",
        refused="{project}/data/raw/csv/images/03.png is gone since data/inventory.json was written: run `couplet scan`",
    ),
]
