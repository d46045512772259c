"""Two data sets as one through every stage: one set's labels are unknown to the other, and one is the whole test part."""

from __future__ import annotations

from pathlib import Path

import pytest

from couplet.datasets import derived
from couplet.project.project import Project
from couplet.results.run import read_run
from tests.bad_inputs.healthy import combined_project, finished


def test_train_on_one_set_and_test_on_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = combined_project(tmp_path / "project")
    members = {
        "nih": {"part": "train", "label_map": {"Edema": "Edema", "Mass": "Mass", "Hernia": "Hernia"}},
        "own": {"source": "csv", "part": "test", "label_map": {"Edema": "Edema", "Tumour": "Mass"}},
    }
    project.set({"data.source_args": {"members": members}, "report.groups": ["source"]})
    finished(project)
    assert project.entry("data/prepared/labels.json", "labels") == ["Edema", "Mass", "Hernia", "Tumour"]
    tested = project.column("data/predictions/ensemble/test.csv", "image_id")
    assert tested == [f"own/{i}.png" for i in range(6)]
    assert project.column("data/prepared/manifest.csv", "Tumour")[:8] == [""] * 8  # nothing NIH's set knows
    # Mass and Hernia are unknown in the test part, Tumour in training, where Hernia has no positive.
    assert project.entry("metrics/ensemble.json", "test.labels_skipped") == ["Mass", "Hernia"]
    assert project.entry("metrics/ensemble.json", "oof.labels_skipped") == ["Hernia", "Tumour"]
    assert (project.folder / "plots/report.html").is_file()
    monkeypatch.chdir(project.folder)
    assert read_run(Project()).leaks.made_of == ()
    monkeypatch.setitem(derived.MADE_OF, "csv", "nih")
    leaks = read_run(Project()).leaks
    assert leaks.made_of and leaks.flags_of("test") == ("leak",)
