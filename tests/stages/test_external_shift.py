"""Train on two sets and test on a third whose difference was put in: the external section shows that, and only that."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from couplet.project.project import Project
from couplet.reporting.judge_external import ExternalTest, judge_external
from couplet.reporting.parts import parts_of
from couplet.results.run import read_run
from tests.bad_inputs.healthy import finished, unfilled_project
from tests.support.in_process import InProcessProject

FOLLOW = {"Lung Opacity", "No Finding"}  # from the other findings
SIZE = {"size": 40}
A = {"source": "phantom", "source_args": {"patients": 90, "seed": 42, **SIZE}}
B = {
    "source": "phantom",
    "source_args": {"patients": 90, "seed": 7, "first_patient": 1_000_000, "film": 1.5, **SIZE},
}
THIRD = {"patients": 120, "seed": 11, "first_patient": 2_000_000, **SIZE}
SETTINGS: dict[str, Any] = {
    "data.source_args": {"members": {"a": A, "b": B}},
    "report.groups": ["source"],
    "schedule.epochs": 1,
    "schedule.warmup_epochs": 0,
    "train.batch_size": 16,
    "inference.batch_size": 64,
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> InProcessProject:
    """Two hospitals with different films, trained on together; a third of another prevalence is predicted."""
    project = unfilled_project(tmp_path_factory.mktemp("two") / "project", "combined")
    external = {"source": "phantom", "source_args": THIRD | {"prevalence": {"Edema": 0.7, "Fracture": 0.5}}}
    project.set(SETTINGS | {"data.external": external})
    return finished(project)


def judged(project: InProcessProject) -> ExternalTest:
    with contextlib.chdir(project.folder):
        run = read_run(Project())
        found = judge_external(run, parts_of(run))
    assert found is not None
    return found


def with_another(project: InProcessProject) -> ExternalTest:
    """With another external test: nothing is trained."""
    models = {path: content for path, content in project.outputs().items() if path.startswith("data/models")}
    for command in (
        ("scan",),
        ("prepare",),
        ("evaluate-fold", "0"),
        ("evaluate-fold", "1"),
        ("ensemble-predict",),
    ):
        outcome = project.run(*command)
        assert outcome.code == 0, outcome
    assert models == {
        path: content for path, content in project.outputs().items() if path.startswith("data/models")
    }
    return judged(project)


def test_the_prevalences_that_were_put_in_are_shown_and_explained(two: InProcessProject) -> None:
    found = judged(two)
    assert {"Edema", "Fracture"} <= set(found.off_before) <= {"Edema", "Fracture"} | FOLLOW
    assert not {"Edema", "Fracture"} & set(found.off_after)
    assert not found.shared.found and found.shared.patients == 0
    rows = {row.label: row for row in found.rows}
    assert len(rows) == 14 and found.lacking == []
    edema = rows["Edema"]
    assert edema.internal is not None and edema.internal.prevalence.value is not None
    assert edema.internal.prevalence.value < 0.4 and edema.external.prevalence.value == pytest.approx(
        0.7, abs=0.06
    )
    before, after = edema.external.observed_over_expected.value, edema.moved.observed_over_expected.value
    assert before is not None and after is not None and before > 1.7 and abs(after - 1) < 0.15
    page = (two.folder / "plots/report.html").read_text()
    # Groups of the column source.
    assert 'id="external"' in page and "<td>a</td>" in page and "<td>b</td>" in page
    assert two.entry("metrics/split.json", "shared_between") == {"a and b": {"pictures": 0, "patients": 0}}


def test_where_nothing_was_put_in_nothing_is_shown(two: InProcessProject) -> None:
    two.set({"data.external": {"source": "phantom", "folder": "third", "source_args": THIRD}})
    found = with_another(two)
    # (AUC may differ: here half of the films are darker, there none is.)
    assert found.off_before == found.off_after == []


def test_people_of_a_member_are_counted_behind_its_name(two: InProcessProject) -> None:
    """The external test is member a itself, all patients of the same archive."""
    two.set({"data.external": {"source": "phantom", "folder": "again", "source_args": A["source_args"]}})
    found = with_another(two)
    trained = {
        patient
        for patient, image in zip(
            two.column("data/prepared/manifest.csv", "patient_id"),
            two.column("data/splits/folds.csv", "fold"),
            strict=True,
        )
        if image != "test" and patient.startswith("a/")
    }
    assert found.shared.patients == len(trained) > 40
    assert found.shared.pictures > 100 and found.external.auc.flags == ("leak",)


def test_x_rays_of_nih_beside_two_phantoms(two: InProcessProject, shared_data: Path) -> None:
    link = two.folder / "data/raw/nih"
    link.symlink_to(shared_data / "nih_cxr14")
    two.set({"data.external": {"source": "nih"}})
    found = with_another(two)
    assert found.n_images == 852 and len(found.rows) == 8 and found.shared.patients is None
    assert [row.label for row in found.rows if row.approximate] == ["Lung Lesion"]
    assert "Fracture" in found.lacking and "No Finding" in found.lacking
    lesion = next(row for row in found.rows if row.label == "Lung Lesion")
    assert lesion.columns == "Mass or Nodule"
