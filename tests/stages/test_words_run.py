"""Members and an external test that code sex, view and age otherwise, through every stage: the same people, the same groups."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from couplet.project.project import Project
from couplet.reporting.judge_external import judge_external
from couplet.reporting.judge_groups import attributes
from couplet.reporting.parts import parts_of
from couplet.results.run import Run, read_run
from tests.bad_inputs.healthy import finished, picture, unfilled_project
from tests.support.dicoms import dicom
from tests.support.in_process import InProcessProject

# (sex, age) of a patient, who has one image of each view.
DICOMS = ([("M", "058Y"), ("F", "007M")], ["PA", "L"])
WORDS = ([("Male", "58"), ("Female", "85 or more")], ["PA", "Lateral"])
OTHERS = ([("male", "58"), ("f", "30")], ["pa", "LL"])


def write_set(folder: Path, coding: tuple[list[tuple[str, str]], list[str]], seed: int, n: int = 24) -> None:
    people, views = coding
    folder.mkdir(parents=True)
    rows = ["image,patient,sex,age,view,Edema,Mass"]
    for i in range(n):
        picture(seed + i).save(folder / f"{i:02d}.png")
        patient, view = i // 2, views[i % 2]
        sex, age = people[patient % 2]
        rows.append(f"{i:02d}.png,p{patient},{sex},{age},{view},{patient // 2 % 2},{(patient + 1) // 3 % 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> InProcessProject:
    """Two members; the external test has the pictures of the first under other words."""
    project = unfilled_project(tmp_path_factory.mktemp("words") / "project", "combined")
    write_set(project.raw / "dicoms", DICOMS, 0)
    write_set(project.raw / "words", WORDS, 100)
    write_set(project.raw.with_name("others"), OTHERS, 0)
    members = {name: {"source": "csv"} for name in ("dicoms", "words")}
    external = {
        "source": "csv",
        "folder": "others",
        "label_map": {"Edema": "Edema", "Mass": "Mass"},
    }
    project.set({"data.source_args": {"members": members}, "data.external": external})
    return finished(project)


@pytest.fixture(scope="module")
def run(project: InProcessProject) -> Run:
    with contextlib.chdir(project.folder):
        return read_run(Project())


def test_subgroups_of_members_that_code_otherwise(run: Run) -> None:
    found = attributes(run)
    assert set(found["sex"]) == {"M", "F"} and set(found["view"]) == {"PA", "Lateral"}
    source = run.manifest.table["source"].to_numpy()
    for name, ages in (("dicoms", {"< 40", "40-59"}), ("words", {"40-59", ">= 80"})):
        own = source == name
        assert set(found["sex"][own]) == {"M", "F"} and set(found["view"][own]) == {"PA", "Lateral"}
        assert set(found["age"][own]) == ages


def test_sets_of_the_external_test_are_made_within_the_runs_views(
    project: InProcessProject, run: Run
) -> None:
    assert run.calibrated.categories == ["Lateral", "PA"]
    with contextlib.chdir(project.folder):
        judged = judge_external(run, parts_of(run))
    assert judged is not None and judged.unseen_views == []
    manifest = pd.read_csv(project.folder / "data/external/manifest.csv", index_col=0)
    assert manifest["view"].tolist() == ["PA", "Lateral"] * 12
    assert manifest["sex"].tolist() == ["M", "M", "F", "F"] * 6
    # The run's own test images are the same pictures, so their sets are the same.
    ours, theirs = (
        pd.read_csv(project.folder / f"data/predictions/ensemble/{name}/decisions.csv", index_col=0)
        for name in (".", "external")
    )
    ours = ours[ours.index.str.startswith("dicoms/")]
    assert len(ours) >= 2
    np.testing.assert_array_equal(theirs.loc[ours.index.str.removeprefix("dicoms/")], ours)


def test_views_of_dicom_headers_are_among_the_words(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    project = unfilled_project(tmp_path / "project", "combined")
    write_set(project.raw / "words", WORDS, 0, n=4)
    films = project.raw / "films"
    films.mkdir()
    (films / "labels.csv").write_text("image,sex,Edema\na.dcm,M,1\nb.dcm,F,0\n")
    for name, position in (("a", "LL"), ("b", "PA")):
        pixels = np.arange(1600, dtype=np.uint16).reshape(40, 40) + ord(name)
        (films / f"{name}.dcm").write_bytes(dicom(pixels, 12, ViewPosition=position))
    members = {name: {"source": "csv"} for name in ("films", "words")}
    project.set({"data.source_args": {"members": members}})
    assert project.run("scan").code == 0
    outcome = project.run("prepare")
    assert outcome.code == 0 and "combined: view: LL is Lateral" in outcome.out
    views = project.column("data/prepared/manifest.csv", "view")
    assert views == ["Lateral", "PA", *["PA", "Lateral"] * 2]


def test_an_external_test_of_a_single_set_takes_its_words(tmp_path: Path) -> None:
    project = unfilled_project(tmp_path / "project", "csv")
    project.raw.rmdir()
    write_set(project.raw, (WORDS[0], ["PA", "LATERAL"]), 0, n=8)
    write_set(project.raw.with_name("others"), OTHERS, 100, n=4)
    external = {"source": "csv", "folder": "others", "label_map": {"Edema": "Edema", "Mass": "Mass"}}
    project.set({"data.external": external})
    assert project.run("scan").code == 0
    outcome = project.run("prepare")
    assert outcome.code == 0
    assert "external: csv: view: LL is LATERAL, pa is PA" in outcome.out
    assert project.column("data/prepared/manifest.csv", "view") == ["PA", "LATERAL"] * 4
    assert project.column("data/prepared/manifest.csv", "sex") == ["Male", "Male", "Female", "Female"] * 2
    assert project.column("data/external/manifest.csv", "view") == ["PA", "LATERAL"] * 2
    assert project.column("data/external/manifest.csv", "sex") == ["Male", "Male", "Female", "Female"]
