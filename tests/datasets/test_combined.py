from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from couplet.datasets.registry import read_dataset
from couplet.settings.schema.data import DataParams
from couplet.settings.source_args import refuse_wrong_source_args
from tests.support.errors import refused

NAN = np.nan
KEY = "data.source_args.members"
NIH_TABLE = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
    "1.png,Effusion|Mass,0,1,57,M,PA\n"
    "2.png,No Finding,1,1,58,M,AP\n"
    "3.png,Edema,0,2,30,F,PA\n"
)
OWN_TABLE = (
    "image,patient,part,device,Edema,Pleural Effusion,Lung Lesion,Fracture\n"
    "1.png,1,train,A,1,0,-1,\n"
    "2.png,2,train,B,,1,1,0\n"
    "3.png,3,test,A,0,0,0,1\n"
    "4.png,4,test,,,,,\n"
)
OWN = {"source": "csv", "source_args": {"group_columns": ["device"]}}
TWO: dict[str, Any] = {"nih": {}, "own": OWN}


@pytest.fixture
def two(put, raw):
    """NIH ChestX-ray14 and a table of one's own, in miniature."""
    put("nih/Data_Entry_2017_v2020.csv", NIH_TABLE)
    put("own/labels.csv", OWN_TABLE)
    for i in (1, 2, 3, 4):
        put(f"nih/images/{i}.png")
        put(f"own/images/{i}.png")
    return raw


def read(raw, members=TWO, **args):
    return read_dataset("combined", raw, {"members": members, **args})


def values(dataset, label: str) -> list[float]:
    return dataset.table[label].tolist()


def test_two_sets_are_one_table(two, capsys):
    dataset = read(two)
    images = dataset.table
    assert dataset.members == {"nih": "nih", "own": "csv"} and dataset.notes == {}
    assert images["image_id"].tolist() == [
        "nih/1.png",
        "nih/2.png",
        "nih/3.png",
        *(f"own/{i}.png" for i in "1234"),
    ]
    assert images["patient_id"].tolist() == ["nih/1", "nih/1", "nih/2", "own/1", "own/2", "own/3", "own/4"]
    assert images["study_id"].tolist() == ["nih/1_0", "nih/1_1", "nih/2_0", "", "", "", ""]
    assert images["path"].tolist() == [
        *(f"nih/images/{i}.png" for i in "123"),
        *(f"own/images/{i}.png" for i in "1234"),
    ]
    assert images["part"].tolist() == ["train"] * 5 + ["test"] * 2
    assert images["row"].tolist() == [2, 3, 4, 2, 3, 4, 5]
    assert images["view"].tolist() == ["PA", "AP", "PA", "", "", "", ""]
    assert dataset.group_columns == ["source", "device"]
    assert images["source"].tolist() == ["nih"] * 3 + ["own"] * 4
    assert images["device"].tolist() == ["", "", "", "A", "B", "A", ""]
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "combined: nih (nih): 3 train, 0 test images, 15 of 16 labels",
        "combined: nih: Lung Lesion is Mass or Nodule, which is only approximate",
        "combined: own (csv): 2 train, 2 test images, 4 of 16 labels",
    ]  # fmt: skip


def test_labels_of_either_and_what_a_set_does_not_know_is_unknown(two):
    dataset = read(two)
    assert dataset.labels[:5] == ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
    assert dataset.labels[-2:] == ["Lung Lesion", "Fracture"]
    assert len(dataset.labels) == 14 + 2  # NIH's, Effusion by its other name, and two of the other table
    assert values(dataset, "Pleural Effusion")[:3] == [1, 0, 0]
    np.testing.assert_equal(values(dataset, "Edema"), [0, 0, 1, 1, NAN, 0, NAN])
    np.testing.assert_equal(values(dataset, "Lung Lesion"), [1, 0, 0, NAN, 1, 0, NAN])  # Mass or Nodule
    np.testing.assert_equal(values(dataset, "Fracture"), [NAN, NAN, NAN, NAN, 0, 1, NAN])
    np.testing.assert_equal(values(dataset, "Mass"), [1, 0, 0, NAN, NAN, NAN, NAN])


def test_labels_of_both(two, capsys):
    dataset = read(two, labels="intersection")
    assert dataset.labels == ["Edema", "Pleural Effusion", "Lung Lesion"]
    np.testing.assert_equal(values(dataset, "Edema"), [0, 0, 1, 1, NAN, 0, NAN])
    said = capsys.readouterr().out
    assert "combined: own: labels that are not used: Fracture\n" in said
    assert "combined: nih: labels that are not used: Atelectasis, Cardiomegaly, Infiltration," in said


def test_an_approximate_label_is_not_brought_along(two):
    assert "Lung Lesion" not in read(two, {"nih": {}}).labels
    mapped = {"nih": {"label_map": {"Lung Lesion": ["Mass", "Nodule"], "Edema": "Edema", "Fracture": None}}}
    assert read(two, mapped).labels == ["Lung Lesion", "Edema"]  # unless it is asked for


def test_uncertain_and_blank_cells_are_each_sets_own(two):
    own = OWN | {"uncertain": "ones", "unmentioned": "zeros"}
    dataset = read(two, {"nih": {}, "own": own})
    np.testing.assert_equal(values(dataset, "Lung Lesion"), [1, 0, 0, 1, 1, 0, NAN])
    np.testing.assert_equal(values(dataset, "Edema"), [0, 0, 1, 1, 0, 0, NAN])  # the last row's are hidden
    np.testing.assert_equal(values(dataset, "Fracture"), [NAN, NAN, NAN, 0, 0, 1, NAN])  # NIH's stay unknown
    own = OWN | {"uncertain": {"Lung Lesion": "zeros"}}
    np.testing.assert_equal(values(read(two, {"own": own}), "Lung Lesion"), [0, 1, 0, NAN])


def test_policies_for_the_whole_set_would_make_up_labels(two):
    dataset = read(two)
    assert dataset.known("ignore", "ignore") is dataset.table and dataset.known({}, "ignore") is dataset.table

    def settings(**policies):
        return {
            "source": "combined",
            "source_args": {"members": {"nih": {}, "own": {"source": "csv"}}},
        } | policies

    wrong = DataParams.model_validate(settings(unmentioned="zeros"))
    assert refused(refuse_wrong_source_args, wrong) == (
        "data.unmentioned must be ignore where several sets are combined: set "
        "data.source_args.members.nih.unmentioned, and that of the others, instead"
    )
    wrong = DataParams.model_validate({"external": settings(uncertain={"Edema": "ones"})})
    assert refused(refuse_wrong_source_args, wrong) == (
        "data.external.uncertain must be ignore where several sets are combined: set "
        "data.external.source_args.members.nih.uncertain, and that of the others, instead"
    )
    refuse_wrong_source_args(DataParams.model_validate(settings(uncertain={})))


def test_a_set_can_be_the_whole_test_part_or_none_of_it(two):
    dataset = read(two, {"nih": {"part": "test"}, "own": OWN})
    assert dataset.table["part"].tolist() == ["test"] * 3 + ["train"] * 2 + ["test"] * 2
    dataset = read(two, {"nih": {"part": "test"}, "own": OWN | {"part": "train"}})
    # The last image has no labels: as a training image it would teach nothing.
    assert dataset.table["part"].tolist() == ["test"] * 3 + ["train"] * 3
    assert dataset.notes == {"test_images_without_labels_left_out": 1}
    assert "every image is in the test part" in refused(read, two, {"nih": {"part": "test"}})


def test_notes_of_the_members_are_added_up(put, two):
    put("nih2/labels.csv", "image,Edema\n1.png,1\n2.png,0\n")
    put("own2/labels.csv", "image,Edema\n1.png,1\n")
    for name in ("nih2/1.png", "nih2/2.png", "own2/1.png"):
        put(name)
    dataset = read(two, {"nih2": {"source": "csv"}, "own2": {"source": "csv"}})
    assert dataset.notes == {"images_without_patient": 3}


def test_a_member_may_be_a_link_to_a_data_set_elsewhere(two, tmp_path):
    (two / "nih").rename(tmp_path / "elsewhere")
    (two / "nih").symlink_to(tmp_path / "elsewhere")
    assert read(two).table["path"][0] == "nih/images/1.png"


def test_a_set_that_is_made_of_another_says_so(put, two, capsys):
    put("rsna/stage_2_train_labels.csv", "patientId,x,y,width,height,Target\na,,,,,0\n")
    put("rsna/stage_2_train_images/a.dcm")
    read(two, {"nih": {}, "rsna": {"source": "rsna_pneumonia"}})
    assert (
        "warning: rsna (rsna_pneumonia) is made of images of nih (nih): people are in both"
        in capsys.readouterr().out
    )
    read(two)
    assert "is made of" not in capsys.readouterr().out


def test_what_may_be_forgotten_is_said(put, two, capsys):
    put("other/labels.csv", "image,edema\n1.png,1\n2.png,0\n")
    put("other/1.png")
    put("other/2.png")
    read(two, {"nih": {}, "other": {"source": "csv"}})
    said = capsys.readouterr().out
    assert "combined: folders that are no members and are not read: own\n" in said
    assert f"warning: 'Edema' and 'edema' are two labels: make them one by {KEY}.<name>.label_map\n" in said


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, f"{KEY} names no data set: write one, for example `nih: {{}}`, for each folder in its raw folder"),
        ({"nih": {"sauce": "nih"}}, f"unknown key {KEY}.nih.sauce for data.source: combined: did you mean 'source'? "
         "(allowed: source, source_args, label_map, part, uncertain, unmentioned)"),
        ({"nih": {"part": "val"}}, f"{KEY}.nih.part = 'val' is not allowed: it should be 'keep', 'train' or 'test'"),
        ({"nih": {"uncertain": "one"}}, f"{KEY}.nih.uncertain = 'one' is not allowed: it should be 'ignore', 'zeros' or 'ones'"),
        ({"nih": {"label_map": ["a"]}}, f"{KEY}.nih.label_map = ['a'] is not allowed: it should be keys with values"),
        ({"nih": None}, f"{KEY}.nih = nothing is not allowed: it should be keys with values"),
        ({"nih": {"label_map": {"Edema": "Edma"}}}, f"{KEY}.nih.label_map.Edema names 'Edma', which is no label of that set: did you mean 'Edema'?"),
        ({"a/b": {}}, f"{KEY}.a/b: 'a/b' is no name of a member: use letters, digits, '.', '_' and '-'"),
        ({"..": {}}, f"{KEY}...: '..' is no name of a member"),
        ({"nih": {"source": "combined"}}, f"{KEY}.nih.source is combined: name its members here instead"),
        ({"own": {}}, f"unknown {KEY}.own.source 'own': allowed: brax, chexpert, coco,"),
        ({"chexpert": {}}, "RAW/chexpert is not there: link the data with `ln -s /path/to/the/data RAW/chexpert` (docs/datasets.md, chexpert)"),
        ({"nih": {"source_args": {"no_findings": True}}}, f"unknown key {KEY}.nih.source_args.no_findings for {KEY}.nih.source: nih: did you mean 'no_finding'?"),
        ({"nih": {"uncertain": {"Edma": "ones"}}}, f"{KEY}.nih.uncertain names the unknown label 'Edma': did you mean 'Edema'?"),
        ({"own": OWN | {"source_args": {"group_columns": ["devise"]}}}, "RAW/own/labels.csv, row 1: column 'devise' is missing: "
         f"correct {KEY}.own.source_args.group_columns; in the header did you mean 'device'?"),
    ],
)  # fmt: skip
def test_mistakes(two, members, expected):
    assert refused(read, two, members).startswith(expected.replace("RAW", str(two)))


def test_labels_that_do_not_meet(put, two):
    assert refused(read, two, TWO, labels="both") == (
        "data.source_args.labels = 'both' is not allowed: it should be 'union' or 'intersection'"
    )
    mapped = {"nih": {"label_map": {"Hernia": "Hernia"}}, "own": OWN}
    assert refused(read, two, mapped, labels="intersection") == (
        "no label is in every member (nih: Hernia; own: Edema, Pleural Effusion, Lung Lesion, Fracture): set "
        f"{KEY}.<name>.label_map, or labels: union"
    )
    mapped = {"nih": {"label_map": {"device": "Hernia"}}, "own": OWN}
    assert refused(read, two, mapped) == (
        "'device' is a group column of one member and a label of another: rename one of them"
    )
    assert "label 'source' has the name of another column" in refused(
        read, two, {"nih": {"label_map": {"source": "Hernia"}}}
    )


def test_the_submission_is_not_in_a_members_format(put, two, capsys):
    from couplet.datasets.grand_xray_slam import LABELS

    header, zeros = f"Image_name,{','.join(LABELS)}\n", ",0" * 14
    people = "Image_name,Patient_ID,Study,Sex,Age,ViewCategory,ViewPosition," + ",".join(LABELS) + "\n"
    put("slam/train2.csv", f"{people}00000001_001_001.jpg,1,1,M,50,Frontal,AP{zeros}\n")
    put("slam/sample_submission_2.csv", f"{header}00000002_001_001.jpg{zeros}\n")
    put("slam/train2/00000001_001_001.jpg")
    put("slam/test2/00000002_001_001.jpg")
    dataset = read(two, {"nih": {}, "slam": {"source": "grand_xray_slam"}})
    assert dataset.submission is None and dataset.submission_id is None
    assert dataset.table["part"].tolist() == ["train"] * 4 + ["test"]
    assert dataset.table["row"].tolist()[-1] == 0 and dataset.table[dataset.labels].iloc[-1].isna().all()
    assert (
        "combined: slam: submission.csv has the ids and labels of the combined set" in capsys.readouterr().out
    )
