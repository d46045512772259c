from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from pandas import DataFrame

from couplet.datasets import chexpert, grand_xray_slam, mimic_cxr_jpg, nih
from couplet.datasets.label_maps import APPROXIMATE, LABEL_MAPS, label_map, map_to_ours
from tests.support.errors import refused

NAN = np.nan


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (1, 1, 1),
        (1, 0, 1),
        (0, 1, 1),
        (1, NAN, 1),
        (NAN, 1, 1),
        (0, 0, 0),
        (0, NAN, NAN),
        (NAN, 0, NAN),
        (NAN, NAN, NAN),
    ],
)
def test_one_of_several_columns_says_yes_all_must_say_no(a, b, expected):
    found = label_map("csv", ["A", "B"], {"AB": ["A", "B"], "A": "A", "C": None}, "m")
    values = found.values(DataFrame({"A": [a], "B": [b]}, dtype=float), ["AB", "C", "A", "D"])
    assert list(values) == ["AB", "C", "A", "D"]
    np.testing.assert_array_equal(values.to_numpy(), [[expected, NAN, a, NAN]])


def test_three_columns_against_plain_loops():
    rows = list(product((0.0, 1.0, NAN), repeat=3))
    found = label_map("csv", ["A", "B", "C"], {"X": ["C", "A", "B"]}, "m").values(
        DataFrame(rows, columns=["A", "B", "C"]), ["X"]
    )
    for row, value in zip(rows, found["X"], strict=True):
        expected = 1.0 if 1.0 in row else 0.0 if row == (0.0, 0.0, 0.0) else NAN
        np.testing.assert_equal(value, expected)


def test_the_default_maps_use_every_label_of_their_data_set_and_no_other():
    theirs = {
        "nih": nih.FINDINGS,
        "chexpert": chexpert.LABELS,
        "mimic_cxr_jpg": mimic_cxr_jpg.LABELS,
        "grand_xray_slam": grand_xray_slam.LABELS,
        "phantom": grand_xray_slam.LABELS,
    }
    assert set(LABEL_MAPS) == set(theirs)
    for source, names in theirs.items():
        columns = label_map(source, names, None, "m").columns
        assert {name for value in columns.values() for name in value} == set(names)
    assert set(chexpert.LABELS) == set(grand_xray_slam.LABELS) == set(mimic_cxr_jpg.LABELS)


def test_the_default_map_of_nih():
    found = label_map("nih", nih.FINDINGS, None, "m")
    assert found.columns["Pleural Effusion"] == ("Effusion",)
    assert found.columns["Lung Lesion"] == ("Mass", "Nodule")
    assert set(chexpert.LABELS) - set(found.columns) == {
        "Enlarged Cardiomediastinum",
        "Fracture",
        "Lung Opacity",
        "No Finding",
        "Pleural Other",
        "Support Devices",
    }
    # Another set may have Lung Lesion, NIH alone does not.
    assert found.approximate == ("Lung Lesion",) and "Lung Lesion" not in found.brought
    assert {"Mass", "Nodule", "Hernia"} <= set(found.brought)
    assert {(source, label) for source, label in APPROXIMATE if label in LABEL_MAPS[source]} == APPROXIMATE


def test_a_given_map_is_the_whole_map():
    found = label_map("nih", nih.FINDINGS, {"Lung Lesion": ["Nodule", "Mass"], "Effusion": "Effusion"}, "m")
    assert found.columns == {"Lung Lesion": ("Nodule", "Mass"), "Effusion": ("Effusion",)}
    assert found.approximate == ("Lung Lesion",)  # still said
    assert found.brought == ("Lung Lesion", "Effusion")
    assert label_map("nih", nih.FINDINGS, {"Lung Lesion": "Mass"}, "m").approximate == ()
    assert label_map("csv", ["a", "b"], None, "m").columns == {"a": ("a",), "b": ("b",)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"Edema": "Edma"}, "m.Edema names 'Edma', which is no label of that set: did you mean 'Edema'? (allowed: Edema, Mass)"),
        ({"Edema": ["Mass", "Mass"]}, "m.Edema names 'Mass' twice: remove one of them"),
        ({"Edema": []}, "m.Edema = [] is not allowed: it should be a column, a list of columns or null"),
        ({"Edema": 3}, "m.Edema = 3 is not allowed: it should be a column, a list of columns or null"),
        ({"Edema": ["Mass", None]}, "m.Edema = ['Mass', None] is not allowed: it should be a column, a list of columns or null"),
        ({"Edema": None}, "m has no label with a column: name one, or leave it out for the default map"),
        ({}, "m has no label with a column: name one, or leave it out for the default map"),
        ({"=1": "Mass"}, "m: label '=1': '=1' would be a formula in a spreadsheet: rename it, without = + - or @ in front"),
    ],
)  # fmt: skip
def test_mistakes(given, expected):
    assert refused(label_map, "csv", ["Edema", "Mass"], given, "m") == expected


CHEXPERT = list(chexpert.LABELS)
NIH = list(nih.FINDINGS)


def test_an_external_set_is_told_by_the_runs_names():
    found = map_to_ours("nih", NIH, CHEXPERT, "chexpert", None, "m")
    assert found.columns["Pleural Effusion"] == ("Effusion",)
    assert found.columns["Lung Lesion"] == ("Mass", "Nodule") and found.approximate == ("Lung Lesion",)
    assert len(found.columns) == 8 and "No Finding" not in found.columns
    assert (
        map_to_ours("nih", NIH, list(grand_xray_slam.LABELS), "phantom", None, "m").columns.keys()
        == found.columns.keys()
    )


def test_and_the_other_way_round():
    found = map_to_ours("chexpert", CHEXPERT, NIH, "nih", None, "m")
    assert found.columns["Effusion"] == ("Pleural Effusion",)
    assert list(found.columns) == [
        "Atelectasis", "Cardiomegaly", "Effusion", "Pneumonia", "Pneumothorax", "Consolidation", "Edema"
    ]  # fmt: skip
    assert found.approximate == ()  # CheXpert's Lung Lesion is neither Mass nor Nodule
    assert (
        "No Finding" not in map_to_ours("chexpert", CHEXPERT, [*NIH, "No Finding"], "nih", None, "m").columns
    )


def test_two_sets_of_one_adapter_share_equal_names():
    assert map_to_ours("nih", ["Mass", "Edema"], [*NIH, "No Finding"], "nih", None, "m").columns == {
        "Mass": ("Mass",),
        "Edema": ("Edema",),
    }


def test_a_combined_run_has_the_common_names():
    found = map_to_ours("nih", NIH, ["Pleural Effusion", "Mass"], "combined", None, "m")
    assert found.columns == {"Pleural Effusion": ("Effusion",), "Mass": ("Mass",)}


def test_a_map_in_settings_is_the_whole_map():
    found = map_to_ours(
        "csv", ["a", "b"], ["A", "B", "C"], "csv", {"A": "a", "B": ["a", "b"], "C": None}, "m"
    )
    assert found.columns == {"A": ("a",), "B": ("a", "b")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"Edma": "a"},
            "m has 'Edma', which is no label of this run: did you mean 'Edema'? (allowed: Edema, Mass)",
        ),
        ({"Edema": "c"}, "m.Edema names 'c', which is no label of that set: allowed: a, b"),
        ({"Edema": None}, "m has no label with a column: name one, or leave it out for the default map"),
        (
            None,
            "m: no label of csv is one of this run by the default map (theirs: a, b): write for each shared label "
            "`ours: theirs`",
        ),
    ],
)
def test_what_is_wrong_with_an_external_map(given, message):
    assert refused(map_to_ours, "csv", ["a", "b"], ["Edema", "Mass"], "combined", given, "m") == message
