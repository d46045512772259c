"""Data sets that code sex and view in different ways, by their own adapters: alone, as one, and against another."""

from __future__ import annotations

from pathlib import Path

import pytest
from pandas import DataFrame

from couplet.datasets.chexpert import LABELS
from couplet.datasets.registry import read_dataset
from couplet.datasets.words import in_common_words, in_words_of

BLANK = "," * 14
CHEXPERT = (
    f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(LABELS)}\n"
    f"CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP{BLANK}\n"
    f"CheXpert-v1.0/train/patient00002/study1/view1_lateral.jpg,Male,87,Lateral,{BLANK}\n"
    f"CheXpert-v1.0/train/patient00003/study1/view1_lateral.jpg,Unknown,0,Lateral,LL{BLANK}\n"
)
PADCHEST = (
    "ImageID,ImageDir,StudyID,PatientID,PatientSex_DICOM,Projection,Labels\n"
    "a.png,0,s1,p1,M,PA,['cardiomegaly']\n"
    "b.png,0,s1,p1,F,L,['cardiomegaly']\n"
    "c.png,0,s2,p2,O,AP_horizontal,['normal']\n"
    "d.png,0,s3,p3,F,COSTAL,['normal']\n"
)
NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
    "1.png,Effusion,0,1,57,M,PA\n"
    "2.png,No Finding,0,2,30,F,AP\n"
)
MIMIC = {
    "chexpert": f"subject_id,study_id,{','.join(LABELS)}\n10000032,5{BLANK}\n",
    "split": "dicom_id,study_id,subject_id,split\na,5,10000032,train\nb,5,10000032,train\nc,5,10000032,train\n",
    "metadata": "dicom_id,ViewPosition\na,LL\nb,LATERAL\nc,AP\n",
}
OWN = "image,sex,view,Edema\n1.png,male,lat,1\n2.png,f,frontal,0\n"
SETS = ("nih", "chexpert", "padchest", "mimic_cxr_jpg", "own")
AS_THEY_ARE = {
    "nih": (["M", "F"], ["PA", "AP"]),
    "chexpert": (["Female", "Male", "Unknown"], ["AP", "Lateral", "LL"]),
    "padchest": (["M", "F", "O", "F"], ["PA", "L", "AP", "COSTAL"]),
    "mimic_cxr_jpg": ([""] * 3, ["LL", "LATERAL", "AP"]),
    "own": (["male", "f"], ["lat", "frontal"]),
}
AS_ONE = {
    "nih": (["M", "F"], ["PA", "AP"]),
    "chexpert": (["F", "M", ""], ["AP", "Lateral", "Lateral"]),
    "padchest": (["M", "F", "O", "F"], ["PA", "Lateral", "AP", "COSTAL"]),
    "mimic_cxr_jpg": ([""] * 3, ["Lateral", "Lateral", "AP"]),
    "own": (["M", "F"], ["Lateral", "Frontal"]),
}


@pytest.fixture
def sets(put, raw) -> Path:
    """The five of them in miniature, each in its folder."""
    put("nih/Data_Entry_2017_v2020.csv", NIH)
    put("chexpert/train.csv", CHEXPERT)
    put("padchest/PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", PADCHEST)
    for name, text in MIMIC.items():
        put(f"mimic_cxr_jpg/mimic-cxr-2.0.0-{name}.csv", text)
    put("own/labels.csv", OWN)
    for path in (
        *("nih/images/1.png", "nih/images/2.png", "own/1.png", "own/2.png"),
        *(f"padchest/0/{name}.png" for name in "abcd"),
        *(f"mimic_cxr_jpg/files/p10/p10000032/s5/{name}.jpg" for name in "abc"),
        *(row.split(",")[0].replace("CheXpert-v1.0", "chexpert") for row in CHEXPERT.splitlines()[1:]),
    ):
        put(path)
    return raw


def people_and_views(table: DataFrame) -> tuple[list[str], list[str]]:
    return table["sex"].tolist(), table["view"].tolist()


@pytest.mark.parametrize("name", SETS)
def test_a_set_by_itself_keeps_its_words(sets, name):
    source = "csv" if name == "own" else name
    assert people_and_views(read_dataset(source, sets / name).table) == AS_THEY_ARE[name]


def test_in_a_combined_set_a_sex_and_a_view_have_one_word(sets, capsys):
    members = {name: {"source": "csv"} if name == "own" else {} for name in SETS}
    images = read_dataset("combined", sets, {"members": members}).table
    for name in SETS:
        assert people_and_views(images[images["source"] == name]) == AS_ONE[name]
    assert sorted(images["sex"].unique()) == ["", "F", "M", "O"]
    assert sorted(images["view"].unique()) == ["AP", "COSTAL", "Frontal", "Lateral", "PA"]
    said = [line for line in capsys.readouterr().out.splitlines() if ": sex: " in line or ": view: " in line]
    assert said == [
        "combined: chexpert: sex: Female is F, Male is M, Unknown is not known",
        "combined: chexpert: view: LL is Lateral",
        "combined: padchest: view: L is Lateral",
        "combined: mimic_cxr_jpg: view: LATERAL is Lateral, LL is Lateral",
        "combined: own: sex: f is F, male is M",
        "combined: own: view: frontal is Frontal, lat is Lateral",
    ]


def table(sex: list[str], view: list[str]) -> DataFrame:
    return DataFrame({"sex": sex, "view": view}, dtype=str)


def test_an_external_test_takes_the_runs_words(capsys):
    run = table(["Male", "Female", "", "Male"], ["L", "AP", "PA", ""])
    other = table(["M", "F", "", "male", "O"], ["LATERAL", "Ap", "", "LL", "COSTAL"])
    assert people_and_views(in_words_of(run, other, "external: csv")) == (
        ["Male", "Female", "", "Male", "O"],
        ["L", "AP", "", "L", "COSTAL"],
    )
    assert capsys.readouterr().out.splitlines() == [
        "external: csv: sex: F is Female, M is Male, male is Male",
        "external: csv: view: Ap is AP, LATERAL is L, LL is L",
    ]
    assert people_and_views(other)[0] == ["M", "F", "", "male", "O"], "the table that was given stays"


def test_of_the_runs_own_spellings_the_same_one_or_the_most_frequent(capsys):
    run = table(["M"] * 6, ["LATERAL", "LL", "LL", "RL", "RL", "UNK"])
    other = table(["M"] * 6, ["LATERAL", "RL", "L", "Lateral", "UNK", "unknown"])
    # LL and RL are equally frequent: the first in the alphabet.
    assert in_words_of(run, other, "external")["view"].tolist() == ["LATERAL", "RL", "LL", "LL", "UNK", "UNK"]
    without = table(["M"], ["PA"])  # what the run does not have gets the common word
    assert in_words_of(without, other, "external")["view"].tolist() == [*["Lateral"] * 4, "", ""]


def test_nothing_to_rewrite_is_the_same_table(capsys):
    images = table(["M", "F", ""], ["PA", "Lateral", "COSTAL"])
    assert in_common_words(images, "combined") is images
    assert in_words_of(images, images, "external") is images
    empty = images[:0]
    assert in_words_of(images, empty, "external") is empty and in_common_words(empty, "x") is empty
    assert capsys.readouterr().out == ""
