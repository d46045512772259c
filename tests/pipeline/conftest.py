"""Fixtures: raw data of a small phantom, and a tiny project that has run."""

from __future__ import annotations

from pathlib import Path

import pytest

from couplet.phantom.drawing import draw_phantom
from tests.support.projects import TINY, Project, new_project


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw data of a small phantom."""
    folder = tmp_path_factory.mktemp("raw")
    draw_phantom(folder / "phantom", n_patients=90, size=48)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Project:
    """A tiny project after `dvc repro`, its results committed. Tests that change it take a copy."""
    project = new_project(tmp_path_factory.mktemp("finished") / "project", "phantom", raw, TINY)
    project.run("dvc", "repro")
    project.commit("results")
    return project
