"""An external test as it is read: its labels by the run's names, its parts, and whose ids can be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pandas import DataFrame

from couplet.datasets.base import META, Dataset
from couplet.datasets.external import HIDDEN, ExternalSet, no_external, read_external
from couplet.settings.schema.external import ExternalParams
from tests.support.errors import refused

TABLE = (
    "image,patient,part,device,edema,mass,nodule\n"
    "1.png,1,train,A,1,0,\n"
    "2.png,2,train,B,-1,0,0\n"
    "3.png,3,test,A,0,1,\n"
    "4.png,4,test,,,,\n"
)
ARGS = {"group_columns": ["device"]}
MAP = {"Edema": "edema", "Lung Lesion": ["mass", "nodule"]}


def run_of(labels: list[str], members: dict[str, str] | None = None) -> Dataset:
    table = DataFrame({name: ["x"] for name in META} | {"part": ["train"]} | {key: [0.0] for key in labels})
    return Dataset(labels, table, members=members or {})


RUN = run_of(["Edema", "Fracture", "Lung Lesion"])


@pytest.fixture
def other(put, raw):
    put("labels.csv", TABLE)
    for i in (1, 2, 3, 4):
        put(f"images/{i}.png")
    return raw


def read(raw, run: Dataset = RUN, source: str = "phantom", **settings: Any) -> ExternalSet:
    given = {"source": "csv", "source_args": ARGS, "label_map": MAP, **settings}
    return read_external(ExternalParams(**given), raw, run, source)


def test_labels_are_the_runs_and_all_images_are_tested(other, capsys):
    found = read(other)
    table = found.dataset.table
    assert found.dataset.labels == RUN.labels and set(table["part"]) == {"test"}
    assert table["image_id"].tolist() == ["1.png", "2.png", "3.png"] and found.dataset.notes == {HIDDEN: 1}
    np.testing.assert_array_equal(
        table[RUN.labels], [[1, np.nan, np.nan], [np.nan, np.nan, 0], [0, np.nan, 1]]
    )
    assert table["device"].tolist() == ["A", "B", "A"] and found.dataset.group_columns == ["device"]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "external: csv: 3 images, 2 of 3 labels",
        "external: labels that it does not know: Fracture",
    ]


def test_uncertain_and_blank_cells_have_their_meaning_before_the_map(other):
    lesion = read(other, unmentioned="zeros", uncertain="ones").dataset.table
    assert lesion["Edema"].tolist() == [1, 1, 0] and lesion["Lung Lesion"].tolist() == [0, 0, 1]


def test_its_test_part_alone(other):
    assert read(other, part="test").dataset.table["image_id"].tolist() == ["3.png"]


def test_ids_are_compared_within_one_archive_only(other):
    assert read(other).same_ids == []  # the run is of a phantom: patient 1 is somebody else
    assert read(other, source="csv").same_ids == [("", "")]
    several = run_of(RUN.labels, {"ours": "csv", "nih": "nih"})
    assert read(other, several, "combined").same_ids == [("ours/", "")]


def test_a_combined_external_set_is_compared_member_by_member(put, raw):
    put("a/labels.csv", TABLE)
    for i in (1, 2, 3, 4):
        put(f"a/images/{i}.png")
    args = {"members": {"a": {"source": "csv", "source_args": ARGS, "label_map": {"Edema": "edema"}}}}
    given = {"source": "combined", "source_args": args}
    several = run_of(RUN.labels, {"ours": "csv", "other": "csv"})
    found = read_external(ExternalParams(**given), raw, several, "combined")
    assert found.same_ids == [("ours/", "a/"), ("other/", "a/")]
    assert found.dataset.group_columns == ["source", "device"]


def test_a_set_that_is_made_of_the_runs_says_so(put, raw, capsys):
    put("stage_2_train_labels.csv", "patientId,x,y,width,height,Target\na,,,,,0\nb,1,1,1,1,1\n")
    for name in "ab":
        put(f"stage_2_train_images/{name}.dcm")
    settings = ExternalParams(source="rsna_pneumonia", label_map={"Pneumonia": "Target"})
    found = read_external(settings, raw, run_of(["Pneumonia"]), "nih")
    assert found.made_of[0].startswith("rsna_pneumonia is made of images of nih: people are in both")
    assert f"warning: external: {found.made_of[0]}" in capsys.readouterr().out
    assert read_external(settings, raw, run_of(["Pneumonia"]), "chexpert").made_of == []


def test_without_one_the_table_is_empty():
    dataset = no_external(RUN)
    assert len(dataset.table) == 0 and list(dataset.table) == [*META, *RUN.labels]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"source_args": {"tabel": "x"}},
            "unknown key data.external.source_args.tabel for data.external.source: csv",
        ),
        ({"uncertain": {"edma": "ones"}}, "data.external.uncertain names the unknown label 'edma'"),
        (
            {"label_map": {"Edma": "edema"}},
            "data.external.label_map has 'Edma', which is no label of this run",
        ),
        ({"label_map": {}}, "data.external.label_map: no label of csv is one of this run by the default map"),
        (
            {"source_args": {"group_columns": ["Fracture"]}},
            "data.external: 'Fracture' is a group column of it",
        ),
    ],
)
def test_mistakes_name_the_settings_where_they_stand(other, put, settings, message):
    if "Fracture" in str(settings):
        put("labels.csv", TABLE.replace("device", "Fracture"))
    assert message in refused(read, other, **settings)


def test_a_test_part_without_labels(other, put):
    put("labels.csv", TABLE.replace("3.png,3,test,A,0,1,", "3.png,3,test,A,,,"))
    assert refused(read, other, part="test") == (
        "data.external: csv: test part has no image with published labels: set data.external.part to all, or another "
        "source"
    )
