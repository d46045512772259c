"""What tests share is imported from tests.support; a folder of tests is no module of its own."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.projects import ROOT

TESTS = ROOT / "tests"
NAMES = sorted(path.stem for path in TESTS.iterdir() if path.suffix == ".py" or path.is_dir())


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("_")])
def test_a_name_in_tests_hides_no_other_module(name: str) -> None:
    spec = find_spec(name)
    places = [*(spec.submodule_search_locations or []), spec.origin or ""] if spec else []
    assert not any(TESTS in Path(place).parents for place in places)


def test_no_folder_below_tests_is_searched_for_modules() -> None:
    assert not any(TESTS in (Path(entry), *Path(entry).parents) for entry in sys.path)
