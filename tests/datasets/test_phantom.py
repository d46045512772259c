"""The phantom's settings: what they draw, and that a folder drawn with others is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from couplet.datasets.phantom import DRAWN, draw_missing
from couplet.datasets.raw_folder import raw_folder
from couplet.datasets.registry import read_dataset
from couplet.phantom import drawing
from couplet.phantom.cohort import LOADINGS, draw_cohort
from couplet.project.project import Project
from couplet.settings.sources.phantom import FINDINGS, Settings
from tests.support.errors import refused

SMALL = {"patients": 30, "size": 40}


def drawn(folder: Path, **more: object) -> Path:
    draw_missing(folder, SMALL | more)
    return folder


def brightness(folder: Path) -> float:
    return float(
        np.mean([np.asarray(Image.open(path)).mean() for path in sorted((folder / "train2").iterdir())])
    )


def test_a_film_changes_the_pictures_and_nothing_else(tmp_path: Path) -> None:
    usual, darker = drawn(tmp_path / "a"), drawn(tmp_path / "b", film=2.5)
    for table in ("train2.csv", "test2.csv", "sample_submission_2.csv"):
        assert (usual / table).read_bytes() == (darker / table).read_bytes()
    assert brightness(usual) - brightness(darker) > 20
    lighter = drawn(tmp_path / "c", film=0.5)
    assert brightness(lighter) - brightness(usual) > 15


def test_a_prevalence_changes_that_finding_and_what_follows_from_it(tmp_path: Path) -> None:
    usual, other = draw_cohort(3000, 5), draw_cohort(3000, 5, prevalence={"Edema": 0.05, "Pneumothorax": 0.3})

    def share(cohort, label: str) -> float:
        return float(np.mean([label in study.positives for patient in cohort for study in patient.studies]))

    assert share(usual, "Edema") == pytest.approx(0.244, abs=0.02) and share(other, "Edema") == pytest.approx(
        0.05, abs=0.01
    )
    assert share(other, "Pneumothorax") == pytest.approx(0.3, abs=0.02)
    for label in ("Cardiomegaly", "Fracture", "Pleural Effusion", "Support Devices"):
        assert share(usual, label) == share(other, label)
    table = pd.read_csv(drawn(tmp_path / "a", prevalence={"Edema": 0.0}) / "train2.csv")
    assert table["Edema"].sum() == 0 < table["Cardiomegaly"].sum()


def test_first_patient_is_below_every_number(tmp_path: Path) -> None:
    usual, other = drawn(tmp_path / "a"), drawn(tmp_path / "b", first_patient=1_000_000)
    ids = [pd.read_csv(folder / "train2.csv")["Patient_ID"] for folder in (usual, other)]
    assert (ids[1] - ids[0] == 1_000_000).all()
    assert (
        sorted((other / "train2").iterdir())[0].read_bytes()
        == sorted((usual / "train2").iterdir())[0].read_bytes()
    )


def test_a_folder_that_was_drawn_otherwise_is_refused(tmp_path: Path) -> None:
    folder = drawn(tmp_path / "phantom", seed=7)
    assert len(read_dataset("phantom", folder, SMALL | {"seed": 7}).table) > 30
    assert refused(read_dataset, "phantom", folder, SMALL | {"seed": 8}) == (
        f"{folder} was not drawn with data.source_args.seed = 8: remove the folder to have it drawn again, or set that "
        "back"
    )
    (folder / DRAWN).unlink()  # as those of the default settings, which do not say
    assert "was not drawn with data.source_args.patients = 30" in refused(
        read_dataset, "phantom", folder, SMALL
    )
    assert len(read_dataset("phantom", folder, {}).table) > 30


def test_of_two_that_draw_at_once_with_other_settings_the_first_stays_and_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a folder was drawn with is in it from the moment that it is there, and never of another drawing."""
    folder, write_tables = tmp_path / "phantom", drawing._write_tables

    def meanwhile(unfinished: Path, *arguments: object) -> None:
        write_tables(unfinished, *arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(drawing, "_write_tables", write_tables)
        drawn(folder, seed=7)

    monkeypatch.setattr(drawing, "_write_tables", meanwhile)
    drawn(folder, seed=8)
    assert (folder / "train2.csv").read_bytes() == (
        drawn(tmp_path / "alone", seed=7) / "train2.csv"
    ).read_bytes()
    assert len(read_dataset("phantom", folder, SMALL | {"seed": 7}).table) > 30
    assert "was not drawn with data.source_args.seed = 8" in refused(
        read_dataset, "phantom", folder, SMALL | {"seed": 8}
    )


def test_what_another_has_drawn_just_now_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, draw_phantom = tmp_path / "phantom", drawing.draw_phantom

    def late(*arguments: object, **settings: object) -> None:
        monkeypatch.setattr(drawing, "draw_phantom", draw_phantom)
        drawn(folder)
        draw_phantom(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(drawing, "draw_phantom", late)
    drawn(folder)
    assert len(read_dataset("phantom", folder, SMALL).table) > 30


def test_what_is_there_is_not_drawn_again(tmp_path: Path) -> None:
    (tmp_path / "phantom").mkdir()
    draw_missing(tmp_path / "phantom", {})
    assert not list((tmp_path / "phantom").iterdir())


def test_members_of_a_combined_set_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COUPLET_DATA_ROOT", raising=False)
    (tmp_path / "data/raw/combined/own").mkdir(parents=True)
    members = {
        "a": {"source": "phantom", "source_args": SMALL},
        "phantom": {"source_args": SMALL},
        "own": {"source": "csv"},
    }
    raw = raw_folder("combined", Project(tmp_path), {"members": members})
    assert (raw / "a/train2.csv").read_bytes() == (raw / "phantom/train2.csv").read_bytes()
    assert not list((raw / "own").iterdir())


def test_the_findings_that_can_be_set_are_those_that_are_drawn_but_the_devices() -> None:
    assert tuple(name for name in LOADINGS if name != "Support Devices") == FINDINGS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"film": 0}, "data.source_args.film = 0 is not allowed: it should be greater than or equal to 0.1"),
        ({"film": float("nan")}, "data.source_args.film = nan is not allowed: it should be a finite number"),
        (
            {"prevalence": {"Edema": float("nan")}},
            "data.source_args.prevalence.Edema = nan is not allowed: it should be a finite number",
        ),
        (
            {"prevalence": {"Edma": 0.1}},
            "data.source_args.prevalence names 'Edma', which is no finding that can be set: did you mean 'Edema'?",
        ),
        (
            {"prevalence": {"No Finding": 0.1}},
            "data.source_args.prevalence names 'No Finding', which is no finding that can be set",
        ),
        (
            {"prevalence": {"Edema": 0.9}},
            "data.source_args.prevalence Edema = 0.9 is not allowed: it should be a share from 0 to 0.7",
        ),
        (
            {"patient": 9},
            "unknown key data.source_args.patient for data.source: phantom: did you mean 'patients'?",
        ),
    ],
)
def test_settings_that_cannot_be_drawn(tmp_path: Path, given: dict[str, object], message: str) -> None:
    assert refused(draw_missing, tmp_path / "phantom", given).startswith(message)
    assert not (tmp_path / "phantom").exists()


def test_the_defaults_are_the_committed_data_set() -> None:
    assert Settings().model_dump() == {
        "division": "auto", "patients": 800, "size": 112, "seed": 42, "film": 1.0, "prevalence": {}, "first_patient": 0
    }  # fmt: skip
