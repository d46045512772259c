"""Fixtures: raw data of a small phantom, and a tiny project that has run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from projects import TINY, Project, new_project

from couplet.phantom.drawing import draw_phantom


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


@pytest.fixture(scope="session")
def make_project() -> Callable[[Path, str, Path, dict[str, Any]], Project]:
    """`new_project` for tests: folder, preset, raw data, changes of settings."""
    return new_project


@pytest.fixture(scope="session")
def tiny_settings() -> dict[str, Any]:
    """What makes a run tiny."""
    return dict(TINY)


@pytest.fixture(scope="session")
def project_class() -> type[Project]:
    """`Project`, for a checkout that a test made itself."""
    return Project
