"""The presets on other chest X-ray sets than Table I's: what they take from the code that was read, and their label maps."""

from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame

from couplet.cli import main
from couplet.datasets import (
    chexpert,
    combined,
    mimic_cxr_jpg,
    nih,
    openi,
    padchest,
    registry,
    rsna_pneumonia,
    vindr_cxr,
)
from couplet.datasets.base import Dataset, image_table
from couplet.datasets.derived import what_is_shared
from couplet.datasets.label_maps import map_to_ours
from couplet.project.project import Project
from couplet.reporting.published import published
from couplet.settings.params import Params, flatten, parse_params
from couplet.settings.presets import load_preset, preset_names
from couplet.settings.source_args import parse_settings, refuse_wrong_source_args, source_settings
from couplet.settings.yaml12 import read_settings
from tests.support.projects import ROOT

NAMES = ("cohen", "cohen_resnet", "dokumaci", "norkin")
# In the order of torchxrayvision's `default_pathologies`.
XRV = (
    *("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis"),
    *("Effusion", "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia"),
    *("Lung Lesion", "Fracture", "Lung Opacity", "Enlarged Cardiomediastinum"),
)
LABELS: dict[str, list[str]] = {
    "nih": list(nih.FINDINGS),
    "padchest": list(padchest.FINDINGS),
    "chexpert": list(chexpert.LABELS),
    "mimic_cxr_jpg": list(mimic_cxr_jpg.LABELS),
    "openi": list(openi.FINDINGS),
    "rsna_pneumonia": [rsna_pneumonia.TARGET],
    "vindr_cxr": list(vindr_cxr.LABELS),
}


@pytest.fixture(autouse=True)
def in_project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def settings(name: str) -> dict[str, Any]:
    return flatten(load_preset(name).as_dict())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "cohen",
            {
                "image.size": 224,
                "model.backbone": "densenet121",
                "model.pretrained": False,
                "train.batch_size": 64,
                "optimizer.lr": 1e-3,
                "optimizer.weight_decay": 1e-5,
                "schedule.epochs": 160,
                "augment.rotation": 45,
                "augment.translate": 0.15,
                "augment.flip": 0,
                "split.own_test": False,
                "split.test_fraction": 0.2,
                "split.holdout": 0.2,
                "report.groups": ["source"],
            },
        ),
        (
            "cohen_resnet",
            {
                "image.size": 512,
                "model.backbone": "resnet50",
                "model.pretrained": False,
                "train.batch_size": 64,
                "schedule.epochs": 400,
                "augment.rotation": 45,
                "data.external.source": "none",
            },
        ),
        (
            "dokumaci",
            {
                "data.source": "rsna_pneumonia",
                "image.size": 128,
                "model.head_args": {"hidden": [1024, 1024]},
                "model.dropout": 0.5,
                "train.batch_size": 64,
                "optimizer.lr": 1e-5,
                "schedule.epochs": 40,
                "schedule.milestones": [31, 36],
                "augment.rotation": 20,
                "augment.translate": 0.2,
                "split.test_fraction": 0.1,
            },
        ),
        (
            "norkin",
            {
                "data.source": "ranzcr_clip",
                "image.size": 512,
                "model.backbone": "tf_efficientnet_b0.aa_in1k",
                "model.backbone_args": {"drop_path_rate": 0.5},
                "model.dropout": 0.5,
                "train.batch_size": 96,
                "train.parts": 2,
                "optimizer.lr": 1e-3,
                "optimizer.weight_decay": 1e-6,
                "schedule.epochs": 30,
                "augment.scale_min": 0.85,
                "augment.rotation": 0,
                "inference.tta": True,
                "split.holdout": 0.2,
                "split.own_test": True,
            },
        ),
    ],
)
def test_a_preset_has_what_was_read(name: str, expected: dict[str, Any]) -> None:
    found = settings(name)
    assert {key: found[key] for key in expected} == expected
    assert (found["loss.name"], found["loss.args"]) == ("bce", {"pos_weight": False})
    assert not found["refiner.enabled"] and not found["ema.enabled"]


@pytest.mark.parametrize("name", NAMES)
def test_couplet_preset_writes_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / file, tmp_path / file)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["preset", name])
    assert not end.value.code
    assert f"params.yaml now holds the preset {name}" in capsys.readouterr().out
    written = parse_params(read_settings(Path("params.yaml")), "params.yaml")
    assert written == load_preset(name)


def test_zoom_is_that_of_a_film_enlarged_by_15_per_cent() -> None:
    assert settings("cohen")["augment.scale_min"] == pytest.approx(1 / 1.15**2, abs=5e-7)


def test_the_tenths_are_tenths() -> None:
    found = settings("dokumaci")
    rest = 1 - found["split.test_fraction"]
    assert rest * found["split.holdout"] == pytest.approx(0.1, abs=1e-6)


# --- several sets at once ------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, DataFrame]:
    """Three rows per member in the place of its folder: labels alternate, and none has a test part."""
    tables: dict[str, DataFrame] = {}

    def read_member(source: str, folder: Path, args: dict[str, Any], check_files: bool) -> Dataset:
        source_settings(source, args)
        labels = LABELS[source]
        cells = np.arange(3 * len(labels)).reshape(3, -1) % 2
        table = DataFrame(cells.astype(float), columns=labels)
        tables[folder.name] = table
        ids = DataFrame({"id": [f"{i}.png" for i in range(3)]})["id"]
        images = image_table(table, image_id=ids, part="train", patient_id=ids, path=ids)
        return Dataset(labels=labels, table=images)

    monkeypatch.setattr(registry, "read_member", read_member)
    return tables


def combined_of(params: Params, tmp_path: Path) -> Dataset:
    args = parse_settings(combined.Settings, "combined", params.data.source_args)
    return combined.read(tmp_path, args)


@pytest.mark.parametrize(
    ("name", "members", "labels"),
    [
        ("cohen", ["nih", "padchest", "chexpert", "mimic_cxr_jpg", "openi", "rsna_pneumonia"], set(XRV)),
        (
            "cohen_resnet",
            ["padchest", "nih", "rsna_pneumonia", "vindr_cxr"],
            set(XRV) - {"Lung Lesion", "Enlarged Cardiomediastinum"},
        ),
    ],
)
def test_members_meet_in_the_librarys_labels(
    name: str, members: list[str], labels: set[str], drawn: dict[str, DataFrame], tmp_path: Path
) -> None:
    dataset = combined_of(load_preset(name), tmp_path)
    assert list(dataset.members) == members
    assert set(dataset.labels) == labels and len(dataset.labels) == len(labels)
    table, theirs = dataset.table, drawn
    padchest_rows = table[table["source"] == "padchest"]
    infiltration = (
        theirs["padchest"][["infiltrates", "interstitial pattern", "alveolar pattern", "consolidation"]] == 1
    ).any(axis=1)
    assert padchest_rows["Infiltration"].tolist() == infiltration.astype(float).tolist()
    assert padchest_rows["Hernia"].tolist() == theirs["padchest"]["hiatal hernia"].tolist()
    assert padchest_rows["Lung Opacity"].isna().all(), "PadChest does not know it"
    rsna = table[table["source"] == "rsna_pneumonia"]
    for label in ("Pneumonia", "Lung Opacity"):
        assert rsna[label].tolist() == theirs["rsna_pneumonia"]["Target"].tolist()
    assert rsna.drop(columns=["Pneumonia", "Lung Opacity"])[dataset.labels[0]].isna().all()
    nih_rows = table[table["source"] == "nih"]
    assert nih_rows["Effusion"].tolist() == theirs["nih"]["Effusion"].tolist()


@pytest.mark.parametrize("name", preset_names(Project(ROOT)))
def test_a_presets_settings_of_adapters_are_theirs(name: str) -> None:
    refuse_wrong_source_args(load_preset(name, Project(ROOT)).data)


@pytest.mark.parametrize("name", preset_names(Project(ROOT)))
def test_a_preset_says_which_of_its_sets_have_each_others_people(name: str) -> None:
    """RSNA's films are NIH's: a set's own names keep nobody of these out of two parts."""
    args = load_preset(name, Project(ROOT)).data.source_args
    sources = [settings.get("source", member) for member, settings in args.get("members", {}).items()]
    shared = {what_is_shared(one, other) for one, other in combinations(sources, 2)} - {""}
    text = (ROOT / f"presets/{name}.yaml").read_text(encoding="utf-8")
    assert ("RSNA's films are NIH's under other names" in text) == bool(shared)
    assert "nobody is in two parts" not in text


def test_of_each_scored_set_the_printed_labels_are_those_that_it_knows(
    drawn: dict[str, DataFrame], tmp_path: Path
) -> None:
    systems = {system.preset: system for system in published().other_xrays}
    for name in ("cohen", "cohen_resnet"):
        params = load_preset(name)
        table = combined_of(params, tmp_path).table
        for number in systems[name].numbers:
            if number.data == params.data.external.source:
                known = set(params.data.external.label_map)
            else:
                rows = table[table["source"] == number.data]
                known = {label for label in XRV if label in rows and rows[label].notna().all()}
            assert set(number.per_label) == known, (name, number.data)


def test_vindr_is_asked_for_the_labels_that_are_printed_of_it(
    drawn: dict[str, DataFrame], tmp_path: Path
) -> None:
    params = load_preset("cohen")
    ours = combined_of(params, tmp_path).labels
    external = params.data.external
    found = map_to_ours(
        "vindr_cxr", LABELS["vindr_cxr"], ours, "combined", external.label_map, "data.external.label_map"
    )
    assert found.columns["Effusion"] == ("Pleural effusion",)
    assert found.columns["Pleural_Thickening"] == ("Pleural thickening",)
    assert len(found.columns) == 8
    assert parse_settings(vindr_cxr.Settings, "vindr_cxr", external.source_args).readers == "any"
