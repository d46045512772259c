"""The published numbers: what the file says, what is shown of it, and what may stand beside it."""

from __future__ import annotations

import numpy as np
import pytest

from couplet.reporting.published import KNOWN, Number, System, beside, published, why_not
from couplet.settings.presets import preset_names
from tests.support.measured import row
from tests.support.projects import ROOT

SYSTEMS = {system.name.split()[0]: system for system in published().xrays}


def values(system: System, metric: str) -> dict[str, float]:
    return {number.of: number.values[metric] for number in system.shown if metric in number.values}


def test_table_i_has_the_eight_systems_in_its_order_under_their_presets_names() -> None:
    assert [system.preset for system in published().xrays][:8] == [
        *("kufel", "xiong", "chen", "kumar", "yao", "guan", "baltruschat", "taslimi")
    ]


def test_what_was_wrong_before_is_right_now() -> None:
    assert SYSTEMS["Kufel"].backbone == "EfficientNet-B1"
    assert "77 % of its layers" in SYSTEMS["Xiong"].backbone
    assert "max pooling" in SYSTEMS["Guan"].head and "15 labels" in SYSTEMS["Guan"].loss
    assert {number.split for number in SYSTEMS["Guan"].numbers} == {"random"}
    assert "ResNet-38" in SYSTEMS["Baltruschat"].backbone
    assert SYSTEMS["Taslimi"].head == "14 separate MLPs" and "smoothing 0.1" in SYSTEMS["Taslimi"].loss
    assert values(SYSTEMS["Yao"], "auc_macro") == {
        "the LSTM": 0.798,
        "its baseline, labels by themselves": 0.803,
    }
    assert [number.of for number in SYSTEMS["Yao"].with_labels] == ["its baseline, labels by themselves"]
    official = {
        number.values["auc_macro"] for number in SYSTEMS["Baltruschat"].shown if number.split == "official"
    }
    assert official == {0.806}


def test_labels_have_the_mean_that_is_printed_beside_them() -> None:
    numbers = [number for system in published().xrays for number in system.numbers if number.labels]
    assert len(numbers) == 7
    for number in numbers:
        assert abs(np.mean(number.labels) - number.values["auc_macro"]) < 5e-4


OTHERS = {system.preset: system for system in published().other_xrays}


def test_other_sets_have_the_numbers_that_were_read() -> None:
    found = {
        name: [(n.data, n.values["auc_macro"], n.split) for n in system.shown]
        for name, system in OTHERS.items()
    }
    assert found == {
        "cohen": [
            ("padchest", 0.852, "patients"),
            ("vindr_cxr", 0.8562, "random"),
            ("rsna_pneumonia", 0.87, "random"),
            ("chexpert", 0.8636, "patients"),
            ("nih", 0.7743, "patients"),
        ],
        "cohen_resnet": [
            ("padchest", 0.8773, "patients"),
            ("vindr_cxr", 0.7775, "random"),
            ("rsna_pneumonia", 0.86, "random"),
            ("nih", 0.8107, "patients"),
        ],
        "dokumaci": [("rsna_pneumonia", 0.881, "random"), ("rsna_pneumonia", 0.826, "random")],
        "norkin": [("ranzcr_clip", value, "hidden") for value in (0.94, 0.945, 0.95)],
    }
    assert {number.known for system in OTHERS.values() for number in system.numbers} == {"code"}


def test_means_over_other_sets_labels_are_of_what_is_printed() -> None:
    numbers = [n for system in published().other_xrays for n in system.numbers if n.per_label]
    assert [len(number.per_label) for number in numbers] == [15, 8, 2, 11, 14, 15, 8, 2, 14]
    for number in numbers:
        assert abs(np.mean(list(number.per_label.values())) - number.values["auc_macro"]) < 5e-5
        assert number.of.startswith(f"mean of {len(number.per_label)} labels")
    printed = {(name, n.data): n.per_label for name, system in OTHERS.items() for n in system.numbers}
    assert printed["cohen", "padchest"]["Edema"] == 0.97 and printed["cohen", "padchest"]["Nodule"] == 0.69
    assert printed["cohen_resnet", "padchest"]["Nodule"] == 0.76
    assert printed["cohen", "vindr_cxr"]["Pneumothorax"] == 0.93
    assert printed["cohen_resnet", "vindr_cxr"]["Pneumothorax"] == 0.69


@pytest.mark.parametrize(
    ("preset", "source", "reason"),
    [
        ("cohen", "combined", "other images"),
        ("dokumaci", "rsna_pneumonia", "other images: the published number is of a random split"),
        ("norkin", "ranzcr_clip", "other images: the published number is of hidden test labels"),
    ],
)
def test_no_run_here_is_of_the_images_of_another_sets_number(preset: str, source: str, reason: str) -> None:
    for part in ("oof", "test"):
        measured = row(system=preset, source=source, part=part, own_test=part == "test", changed=())
        assert why_not(measured, OTHERS[preset].shown).startswith(reason)


def test_the_second_papers_printed_rows_contradict_themselves_as_the_guide_says() -> None:
    rows = [
        n for s in published().coco for n in s.numbers if n.printed == "the second paper" and "cp" in n.values
    ]
    whole = [number.values for number in rows if not number.top3]
    assert len(whole) == 5 and len(rows) == 6
    # What the digits of P and R allow: half a unit of the last one either way moves their F1 by less than that.
    f1 = {
        p + r: [2 * v[p] * v[r] / (v[p] + v[r]) - v[f] for v in whole]
        for p, r, f in (("cp", "cr", "cf1"), ("op", "or", "of1"))
    }
    fits = [abs(gap) < 5e-4 for gaps in f1.values() for gap in gaps]
    assert sum(fits) == 1


def test_a_number_from_memory_is_in_the_file_and_is_not_shown() -> None:
    for system in published().systems:
        assert all(number.known in KNOWN for number in system.numbers)
        assert not any(number.known == "memory" for number in (*system.shown, *system.with_labels))
    hidden = [system.name for system in published().coco if not system.shown]
    assert hidden == ["C-Tran"]


def test_what_is_defined_has_a_preset_and_what_is_not_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    coco, there = {system.name.split(" (")[0]: system for system in published().coco}, preset_names()
    for name in ("Multi-Evidence", "DecoupleNet", "ML-GLLR"):
        assert coco[name].undefined and not coco[name].preset
        assert coco[name].nearest in ("", *there)
    assert {system.preset for system in published().systems} - {""} <= set(there)


NIH = Number(values={"auc_macro": 0.806}, data="nih", split="official", printed="x", known="text")
OWN = Number(values={"auc_macro": 0.842}, data="nih", split="patients", printed="x", known="text")
UNSAID = Number(values={"auc_macro": 0.85}, data="nih", split="not_said", printed="x", known="abstract")
WHOLE = row(source="nih", part="test", own_test=True, images=25_596, changed=())


@pytest.mark.parametrize(
    ("measured", "numbers", "reason"),
    [
        (WHOLE, [NIH], ""),
        (WHOLE, [OWN, NIH], ""),
        (WHOLE, [OWN], "other images: the published number is of a split of its own, by patient"),
        (
            row(source="nih", images=25_596),
            [NIH],
            "other images: the published number is of the official test list",
        ),
        (
            row(source="nih", part="test", images=25_596),
            [NIH],
            "other images: the published number is of the official test list",
        ),
        (row(source="nih", part="test", own_test=True, images=118), [NIH], "118 of 25,596 images"),
        (
            row(source="nih", part="test", own_test=True, images=25_596),
            [NIH],
            "2 settings are not the preset’s",
        ),
        (WHOLE, [UNSAID], "the published number does not say of which images it is"),
        (row(source="chexpert"), [NIH], "other images"),
        (row(), [NIH], "drawn pictures"),
        (row(), [], "drawn pictures"),
    ],
)
def test_only_the_same_images_and_recipe_stand_beside_a_published_number(measured, numbers, reason) -> None:
    assert why_not(measured, numbers) == reason


def test_rows_are_found_by_the_presets_name() -> None:
    rows = [row(system="kufel"), row(), row(system="kufel", part="test")]
    assert [one.row for one in beside(SYSTEMS["Kufel"], rows)] == [rows[0], rows[2]]
    assert beside(SYSTEMS["Winner"], [row(system="")]) == []
