"""An external test added to a finished run: DVC trains nothing again, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.projects import COUPLET, Project

ANOTHER: dict[str, Any] = {
    "data.external.source": "phantom",
    "data.external.folder": "another",
    "data.external.source_args": {"patients": 40, "size": 48, "seed": 7, "first_patient": 1_000_000},
}
KEPT = (
    "data/prepared",
    "data/splits",
    "data/models",
    "data/predictions/folds",
    "data/predictions/test",
    "metrics",
)


def stages(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line[:1].strip()]


def without_external(files: dict[str, bytes]) -> dict[str, bytes]:
    return {path: content for path, content in files.items() if path != "metrics/external.json"}


def test_adding_an_external_test_trains_nothing(finished: Project, raw: Path, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path / "project")
    project.set_params(ANOTHER)
    project.run(*COUPLET, "scan")
    evaluated = [f"evaluate_fold@{fold}:" for fold in range(3)]
    assert stages(project.run("dvc", "status").stdout) == [
        "prepare:",
        *evaluated,
        "ensemble_predict:",
        "report:",
    ]

    printed = project.run("dvc", "repro").stdout
    ran = [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]
    assert ran == [
        "prepare",
        "evaluate_fold@0",
        "evaluate_fold@1",
        "evaluate_fold@2",
        "ensemble_predict",
        "report",
    ]
    assert "Stage 'train_fold@0' didn't change, skipping" in printed
    assert without_external(project.bytes_of(*KEPT)) == without_external(finished.bytes_of(*KEPT))
    scores = project.json("metrics/external.json")
    assert scores["n_images"] > 60 and scores["labels_shared"] == 14
    assert (scores["patients_in_training"], scores["pictures_in_training"]) == (0, 0)
    shown = project.run("dvc", "metrics", "show", "--md").stdout
    assert "external.auc_macro" in shown
    assert "up to date" in project.run("dvc", "status").stdout
    assert 'id="external"' in (project.folder / "plots/report.html").read_text()

    project.run("git", "checkout", "-q", "params.yaml", "data/inventory.json")
    again = project.run("dvc", "repro").stdout
    # From the run cache.
    assert "Running stage 'train_fold" not in again and "Running stage 'evaluate_fold" not in again
    assert project.bytes_of(*KEPT, "data/predictions", "data/external") == finished.bytes_of(
        *KEPT, "data/predictions", "data/external"
    )
