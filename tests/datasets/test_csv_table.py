from __future__ import annotations

import numpy as np
import pytest

from couplet.datasets.registry import read_dataset
from tests.support.errors import refused

TABLE = (
    "filename,PatientID,Study ID,Gender,age,view,split,finding,Edema,Mass\n"
    "a.png,7,s1,F,50,PA,train,Edema,1,0\n"
    "b.png,7,s2,F,51,AP,train,,-1,\n"
    "sub/c.JPG,8,s3,,,,test,none,0.0,1.0\n"
)


@pytest.fixture
def data(put, raw):
    put("labels.csv", TABLE)
    for name in ("a.png", "b.png", "sub/c.JPG"):
        put(f"images/{name}")
    return raw


def test_columns_are_found_by_their_common_names(data):
    dataset = read_dataset("csv", data)
    images = dataset.table
    assert dataset.labels == ["Edema", "Mass"]
    assert images["image_id"].tolist() == ["a.png", "b.png", "sub/c.JPG"]
    assert images["path"].tolist() == ["images/a.png", "images/b.png", "images/sub/c.JPG"]
    assert images["part"].tolist() == ["train", "train", "test"]
    assert images["patient_id"].tolist() == ["7", "7", "8"]
    assert images["study_id"].tolist() == ["s1", "s2", "s3"]
    assert images["view"].tolist() == ["PA", "AP", ""]
    assert images["sex"].tolist() == ["F", "F", ""]
    assert images["age"].tolist() == ["50", "51", ""]
    assert images["row"].tolist() == [2, 3, 4]
    np.testing.assert_array_equal(images[["Edema", "Mass"]], [[1, 0], [-1, np.nan], [0, 1]])


def test_settings_name_everything(put, raw):
    put("tables/mine.csv", "pic,who,which,x,y,z\na.png,p1,train,1,0,5\nb.png,p1,train,0,1,6\n")
    put("other.csv", "pic\n")
    put("pics/a.png")
    put("pics/b.png")
    dataset = read_dataset(
        "csv",
        raw,
        {
            "table": "tables/mine.csv",
            "image_folder": "pics/",
            "image_column": "pic",
            "label_columns": ["y"],
            "patient_column": "who",
            "part_column": "which",
        },
    )
    assert dataset.labels == ["y"]
    assert dataset.table["path"].tolist() == ["pics/a.png", "pics/b.png"]
    assert dataset.table["patient_id"].tolist() == ["p1", "p1"]


def test_only_an_image_column_and_labels(put, raw):
    put("any.csv", "image,A\n./a.png,1\nimages/b.png,0\n")
    put("a.png")
    put("images/b.png")
    images = read_dataset("csv", raw, {"image_folder": "."}).table
    assert images["image_id"].tolist() == ["a.png", "images/b.png"]
    assert images["patient_id"].tolist() == ["a.png", "images/b.png"]  # each image its own patient
    assert images["part"].tolist() == ["train", "train"]
    assert images["path"].tolist() == ["a.png", "images/b.png"]


def test_paths_may_name_the_image_folder_themselves(put, raw):
    put("any.csv", "image,A\nimages/a.png,1\nimages/b.png,0\n")
    put("images/a.png")
    put("images/b.png")
    assert read_dataset("csv", raw).table["path"].tolist() == ["images/a.png", "images/b.png"]


def test_a_guess_can_be_declined(data):
    declined = {"part_column": "none", "patient_column": "none"}
    images = read_dataset("csv", data, declined).table
    assert images["part"].tolist() == ["train"] * 3
    assert images["patient_id"].tolist() == ["s1", "s2", "s3"]  # a study is never split over folds
    images = read_dataset("csv", data, {**declined, "study_column": "none"}).table
    assert images["patient_id"].tolist() == images["image_id"].tolist()


def test_file_names_win_over_image_numbers(put, raw):
    put("any.csv", "image_id,file_name,A\n4,a.png,1\n5,b.png,0\n")
    put("a.png")
    put("b.png")
    assert read_dataset("csv", raw).table["image_id"].tolist() == ["a.png", "b.png"]


def test_rows_that_repeat_an_image_are_one_image_of_one_person(put, raw):
    # 1 and 2 share a.png, 2 and 3 share b.png: the three numbers are one person.
    put("labels.csv", "image,patient,A\na.png,1,1\na.png,2,1\nb.png,2,\nb.png,3,\nc.png,3,0\nd.png,4,0\n")
    for name in "abcd":
        put(f"{name}.png")
    dataset = read_dataset("csv", raw)
    assert dataset.table["image_id"].tolist() == ["a.png", "b.png", "c.png", "d.png"]
    assert dataset.table["patient_id"].tolist() == ["1", "1", "1", "4"]
    assert dataset.table["row"].tolist() == [2, 4, 6, 7]
    assert dataset.notes == {"repeated_rows": 2}


@pytest.mark.parametrize("row", ["a.png,7,s1,F,50,PA,train,Edema,0,0", "a.png,7,s1,F,50,PA,test,Edema,1,0",
                                 "a.png,7,s1,F,50,PA,train,Edema,1,"])  # fmt: skip
def test_rows_that_repeat_an_image_and_disagree_are_errors(data, put, row):
    put("labels.csv", f"{TABLE}{row}\n")
    assert refused(read_dataset, "csv", data) == (
        f"{data}/labels.csv, row 5, column 'filename': 'a.png' is already in row 2 with other labels or another "
        "part: take one of them out"
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("filename", "picture", "row 1: no image column: set data.source_args.image_column to its name"),
        ("finding", "path", "row 1: columns 'filename', 'path' could each be the image column: set data.source_args.image"),
        (",test,", ",holdout,", "row 4, column 'split': 'holdout' is not one of test, train, val, valid, validate, validation: correct it"),
        ("b.png,7", "b.png,", "row 3, column 'PatientID': the cell is empty"),
        ("\nb.png", "\n", "row 3, column 'filename': the cell is empty"),
        ("0.0,1.0", "oops,1.0", "row 4, column 'Edema': 'oops' is not a label, but most cells of that column are: "),
        ("b.png", "d.png", "row 3, column 'filename': images/d.png is not in"),
        ("b.png", "../b.png", "row 3, column 'filename': '../b.png' is not a path inside the data folder"),
    ],
)  # fmt: skip
def test_mistakes_in_the_table(data, put, old, new, expected):
    put("labels.csv", TABLE.replace(old, new, 1))
    assert f"{data}/labels.csv, {expected}" in refused(read_dataset, "csv", data)


def test_no_label_columns(put, raw):
    put("labels.csv", "image,note,empty\na.png,x,\n")
    assert "row 1: no column holds labels (1, 0, -1 or nothing): name the labels in" in refused(
        read_dataset, "csv", raw
    )


def test_mistakes_in_the_settings(data, put):
    assert (
        "labels.csv, row 1: column 'Edma' is missing: correct data.source_args.label_columns; in the header did you"
        in (refused(read_dataset, "csv", data, {"label_columns": ["Edma"]}))
    )
    assert "column 'who' is missing: correct data.source_args.patient_column" in refused(
        read_dataset, "csv", data, {"patient_column": "who"}
    )
    assert "data.source_args.label_columns: 'Edema' is there twice" in refused(
        read_dataset, "csv", data, {"label_columns": ["Edema", "Edema"]}
    )
    assert "data.source_args.table: '../x.csv' is not a path inside the data folder" in refused(
        read_dataset, "csv", data, {"table": "../x.csv"}
    )
    assert "is not a path inside the data folder" in refused(
        read_dataset, "csv", data, {"image_folder": "/images"}
    )
    assert "data.source_args.label_columns = 'Edema' is not allowed" in refused(
        read_dataset, "csv", data, {"label_columns": "Edema"}
    )


def test_several_tables_need_a_choice(put, raw):
    put("a.csv", "image,A\nx.png,1\n")
    put("b.csv", "image,A\nx.png,1\n")
    assert refused(read_dataset, "csv", raw) == (
        f"{raw}: several tables fit (a.csv, b.csv): name it in data.source_args.table"
    )


def test_real_odd_images(shared_data):
    dataset = read_dataset("csv", shared_data / "covid_cxr")
    images = dataset.table
    assert len(images) == 53 and len(dataset.labels) == 18
    assert dataset.labels[:2] == ["Pneumonia", "Viral Pneumonia"] and dataset.labels[-1] == "No Finding"
    assert dataset.notes == {"repeated_rows": 5}
    # The table lists the five images of patients 285 and 287 again as 339 and 340.
    assert not set(images["patient_id"]) & {"339", "340"}
    assert images.loc[images["image_id"] == "16745_2_1.PNG", "path"].item() == "images/16745_2_1.PNG"
    assert images["age"].iloc[0] == "54.0"


DEVICES = "image,patient,device,site,Edema\na.png,1,07,north,1\nb.png,2,,south,0\nc.png,3,7,north,1\n"


@pytest.fixture
def devices(put, raw):
    put("labels.csv", DEVICES)
    for name in ("a.png", "b.png", "c.png"):
        put(f"images/{name}")
    return raw


def test_columns_are_kept_as_groups(devices, capsys):
    dataset = read_dataset("csv", devices, {"group_columns": ["site", "device"]})
    assert dataset.group_columns == ["site", "device"] and dataset.labels == ["Edema"]
    assert dataset.table["device"].tolist() == ["07", "", "7"]  # text: 07 is not 7
    assert dataset.table["site"].tolist() == ["north", "south", "north"]
    assert list(dataset.table.columns)[-3:] == ["site", "device", "Edema"]
    assert "not read" not in capsys.readouterr().out


def test_without_the_setting_they_are_said_not_to_be_read(devices, capsys):
    assert read_dataset("csv", devices).group_columns == []
    assert "columns that are not read: device, site" in capsys.readouterr().out


def test_a_column_of_0_and_1_that_is_a_group_is_no_label(put, raw):
    put("labels.csv", "image,patient,portable,Edema\na.png,1,0,1\nb.png,2,1,0\n")
    for name in ("a.png", "b.png"):
        put(f"images/{name}")
    dataset = read_dataset("csv", raw, {"group_columns": ["portable"]})
    assert dataset.labels == ["Edema"] and dataset.table["portable"].tolist() == ["0", "1"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["devise"], "column 'devise' is missing: correct data.source_args.group_columns; in the header"),
        (["site", "site"], "data.source_args.group_columns: 'site' is there twice or is a label: remove it"),
        (["Edema"], "data.source_args.group_columns: 'Edema' is there twice or is a label: remove it"),
        (
            ["view"],
            "data.source_args.group_columns: 'view' is the name of another column of the manifest: rename it",
        ),
    ],
)
def test_what_cannot_be_a_group_is_refused(devices, put, groups, message):
    put("labels.csv", DEVICES.replace("device,", "view,") if groups == ["view"] else DEVICES)
    settings = {"group_columns": groups, "label_columns": ["Edema"], "view_column": "none"}
    assert message in refused(read_dataset, "csv", devices, settings)
