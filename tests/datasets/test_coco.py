from __future__ import annotations

import json

import numpy as np
import pytest

from couplet.datasets.registry import read_dataset
from tests.support.errors import refused

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 3, "name": "car"}]


def instances(images: dict[int, str], marks: list[tuple[int, int]]) -> dict:
    return {
        "categories": CATEGORIES,
        "images": [
            {"id": number, "file_name": name, "width": 8, "height": 8} for number, name in images.items()
        ],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "iscrowd": i % 2}
            for i, (image, category) in enumerate(marks)
        ],
    }


TRAIN = instances({9: "000009.jpg", 25: "000025.jpg", 30: "000030.jpg"}, [(25, 18), (9, 1), (9, 1), (9, 3)])
VAL = instances({7: "000007.jpg"}, [(7, 3)])


@pytest.fixture
def coco(put, raw):
    def write(train=TRAIN, val=VAL, year=2017):
        put(f"annotations/instances_train{year}.json", json.dumps(train))
        put(f"annotations/instances_val{year}.json", json.dumps(val))
        for name, content in ((f"train{year}", train), (f"val{year}", val)):
            for image in content["images"]:
                put(f"{name}/{image['file_name']}")
        return raw

    write()
    return write


@pytest.mark.parametrize("year", [2014, 2017])
def test_both_layouts(put, raw, coco, year):
    for path in (raw / "annotations").iterdir():
        path.unlink()
    coco(year=year)
    dataset = read_dataset("coco", raw)
    images = dataset.table
    assert dataset.labels == ["person", "car", "dog"]  # by category id
    assert images["image_id"].tolist() == ["000009.jpg", "000025.jpg", "000007.jpg"]
    assert images["part"].tolist() == ["train", "train", "test"]
    assert images["patient_id"].tolist() == images["image_id"].tolist()
    assert images["path"].tolist() == [
        f"train{year}/000009.jpg",
        f"train{year}/000025.jpg",
        f"val{year}/000007.jpg",
    ]
    assert images["row"].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(images[dataset.labels], [[1, 1, 0], [0, 0, 1], [0, 1, 0]])
    assert dataset.notes == {"images_without_annotations": 1}
    assert dataset.test_labelled


def test_images_without_annotations_need_not_be_there(coco, raw):
    (raw / "train2017" / "000030.jpg").unlink()
    assert len(read_dataset("coco", raw).table) == 3


def test_images_without_annotations_can_be_kept_as_rows_of_zeros(coco, raw, capsys):
    """X-rays in COCO's format: an image without a box is a normal one."""
    read_dataset("coco", raw)
    assert (
        "instances_train2017.json: 1 image without annotations is left out (data.source_args.keep_unannotated: true "
        "keeps it as a row of zeros)\n"
    ) in capsys.readouterr().out
    dataset = read_dataset("coco", raw, {"keep_unannotated": True})
    images = dataset.table
    assert images["image_id"].tolist() == ["000009.jpg", "000025.jpg", "000030.jpg", "000007.jpg"]
    np.testing.assert_array_equal(images[dataset.labels], [[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]])
    assert dataset.notes == {"images_without_annotations_kept": 1}
    (raw / "train2017" / "000030.jpg").unlink()
    assert "image id 30: train2017/000030.jpg is not in" in refused(
        read_dataset, "coco", raw, {"keep_unannotated": True}
    )


def with_root(content: dict) -> dict:
    """The same with the category that Roboflow puts above all others."""
    below = [{**category, "supercategory": "chest-xray"} for category in content["categories"]]
    root = {"id": 0, "name": "chest-xray", "supercategory": "none"}
    return {**content, "categories": [root, *below]}


def test_roboflows_root_category_is_said_and_no_label(coco, raw, capsys):
    coco(with_root(TRAIN), with_root(VAL))
    dataset = read_dataset("coco", raw)
    assert dataset.labels == ["person", "car", "dog"]
    assert (
        "category 'chest-xray' (id 0) is above all others and without annotations: it is no label\n"
    ) in capsys.readouterr().out
    used = with_root(instances({9: "000009.jpg"}, [(9, 1), (9, 0)]))
    coco(used, with_root(instances({7: "000007.jpg"}, [(7, 0)])))
    assert read_dataset("coco", raw).labels == ["chest-xray", "person", "car", "dog"]
    capsys.readouterr()


def test_a_root_that_one_part_alone_annotates_is_a_label_of_both(coco, raw, capsys):
    coco(with_root(TRAIN), with_root(instances({7: "000007.jpg"}, [(7, 0), (7, 3)])))
    dataset = read_dataset("coco", raw)
    assert dataset.labels == ["chest-xray", "person", "car", "dog"]
    root = dataset.table.groupby("part")["chest-xray"].sum()
    assert root.to_dict() == {"test": 1, "train": 0}
    assert "above all others" not in capsys.readouterr().out


def test_roboflows_layout_is_named(put, raw):
    put("train/_annotations.coco.json", "{}")
    assert refused(read_dataset, "coco", raw) == (
        f"{raw} has no COCO annotations; looked for annotations/instances_train2014.json and "
        "annotations/instances_train2017.json, found train/_annotations.coco.json: put one year's files there"
    )


def test_a_formula_behind_a_folder_is_a_formula(coco, put, raw):
    put(
        "annotations/instances_train2017.json",
        json.dumps(changed(TRAIN, "images/0/file_name", "sub/=1+1.jpg")),
    )
    assert refused(read_dataset, "coco", raw) == (
        f"{raw}/annotations/instances_train2017.json, image id 9: '=1+1.jpg' would be a formula in a spreadsheet: "
        "rename it, without = + - or @ in front"
    )


def test_file_names_may_hold_the_folder(coco, raw):
    coco(train=instances({9: "train2017/000009.jpg"}, [(9, 1)]))
    (raw / "train2017" / "train2017").mkdir(exist_ok=True)
    images = read_dataset("coco", raw).table
    assert images["image_id"].tolist() == ["000009.jpg", "000007.jpg"]
    assert images["path"].iloc[0] == "train2017/000009.jpg"


def test_two_years_need_a_choice(coco, raw):
    coco(train=instances({1: "COCO_train2014_1.jpg"}, [(1, 1)]), year=2014)
    assert refused(read_dataset, "coco", raw) == (
        f"{raw} holds COCO 2014 and 2017: set data.source_args.year to one of them"
    )
    assert len(read_dataset("coco", raw, {"year": 2014}).table) == 2
    assert len(read_dataset("coco", raw, {"year": 2017}).table) == 3
    assert "data.source_args.year = 2015 is not allowed" in refused(read_dataset, "coco", raw, {"year": 2015})


def test_no_annotations(raw):
    assert "has no COCO annotations; looked for annotations/instances_train2014.json and" in refused(
        read_dataset, "coco", raw
    )


def changed(content: dict, path: str, value: object) -> dict:
    """A copy in which the entry at a path like images/0/id has another value (... takes it out)."""
    copy = json.loads(json.dumps(content))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    entry = copy
    for part in parents:
        entry = entry[part]
    if value is ...:
        del entry[last]
    else:
        entry[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("images", ..., ": the list 'images' is missing: use COCO's own instances_*.json"),
        ("annotations", {}, ": the list 'annotations' is missing"),
        ("images/1/file_name", ..., ": images[1].file_name is None, not str: correct the entry or take it out"),
        ("images/1", 5, ": images[1].id is 5, not int"),
        ("annotations/2/category_id", "1", ": annotations[2].category_id is '1', not int"),
        ("annotations/2/image_id", True, ": annotations[2].image_id is True, not int"),
        ("categories/0/name", ..., ": categories[0].name is None, not str"),
        ("annotations/0/image_id", 99, ": an annotation names the unknown image id 99: take it out"),
        ("annotations/0/category_id", 99, ": an annotation names the unknown category id 99: take it out"),
        ("images/1/id", 9, ": two images share an id: give each its own"),
        ("categories/1/name", "dog", ": two categories share an id or a name: give each its own"),
        ("images/0/file_name", "../9.jpg", ", image id 9: '../9.jpg' is not a path inside the data folder"),
        ("images/0/file_name", "/9.jpg", ", image id 9: '/9.jpg' is not a path inside the data folder"),
        ("images/0/file_name", "000025.jpg", ", image id 25: '000025.jpg' is there twice: give each image its own name"),
        ("images/0/file_name", "missing.jpg", ", image id 9: train2017/missing.jpg is not in "),
    ],
)  # fmt: skip
def test_mistakes_in_the_annotations(coco, put, raw, path, value, expected):
    put("annotations/instances_train2017.json", json.dumps(changed(TRAIN, path, value)))
    assert f"{raw}/annotations/instances_train2017.json{expected}" in refused(read_dataset, "coco", raw)


def test_train_and_val_must_fit(coco, put, raw):
    put("annotations/instances_val2017.json", json.dumps(changed(VAL, "categories/0/name", "cat")))
    assert (
        "instances_val2017.json: its categories are not those of train2017: use the files of one release"
        in refused(read_dataset, "coco", raw)
    )
    coco(val=changed(VAL, "images/0/file_name", "000009.jpg"))
    assert f"{raw}/annotations: 000009.jpg is in train2017 and in val2017: take it out of one" in refused(
        read_dataset, "coco", raw
    )
    (raw / "annotations" / "instances_val2017.json").unlink()
    assert "instances_val2017.json is not there" in refused(read_dataset, "coco", raw)


def test_broken_json(put, raw):
    put("annotations/instances_train2017.json", '{"images": [')
    assert "instances_train2017.json is not valid JSON (Expecting value: line 1 column 13" in refused(
        read_dataset, "coco", raw
    )
    put("annotations/instances_train2017.json", "[]")
    assert "the list 'categories' is missing" in refused(read_dataset, "coco", raw)


def test_real_images(shared_data):
    dataset = read_dataset("coco", shared_data / "coco")
    images = dataset.table
    assert len(dataset.labels) == 80
    assert dataset.labels[:3] == ["person", "bicycle", "car"] and dataset.labels[-1] == "toothbrush"
    assert images["part"].value_counts().to_dict() == {"train": 69, "test": 58}
    assert dataset.notes == {"images_without_annotations": 1}
    # An independent reading of the same labels.
    lines = (shared_data / "coco" / "labels.csv").read_text().splitlines()
    header, rows = lines[0].split(","), {line.split(",")[0]: line.split(",") for line in lines[1:]}
    first = header.index("person")
    assert header[first:] == dataset.labels
    for _, image in images.iterrows():
        assert image[dataset.labels].tolist() == [float(cell) for cell in rows[image["image_id"]][-80:]]
