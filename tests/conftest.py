from __future__ import annotations

from pathlib import Path

import pytest

from couplet.project.text_tables import keep_text_in_python
from tests.support.projects import ROOT

keep_text_in_python()  # as every command does: where pyarrow is installed the tests pass too


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and tables beside the checkout. Skips only where that folder does not exist at all."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data beside this checkout (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Folders as people bring them, each odd in one way. Skips only where that folder does not exist at all."""
    folder = ROOT.parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("no cases beside this checkout (../shared/cases)")
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """An empty raw folder."""
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that run the whole graph come first: two workers are then busy to the end."""
    items.sort(key=lambda item: item.path.parent.name not in ("pipeline", "faults"))
