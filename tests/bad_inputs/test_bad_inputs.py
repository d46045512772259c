"""Every bad input is handled and counted, or refused in one line, with nothing half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_inputs import document
from tests.bad_inputs.case import Case
from tests.bad_inputs.document import CASES, PAGE, page
from tests.bad_inputs.healthy import BASES
from tests.support.in_process import InProcessProject


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], InProcessProject]:
    """healthy(base) is a project that nobody may change; each kind is made once."""
    made: dict[str, InProcessProject] = {}

    def get(base: str) -> InProcessProject:
        if base not in made:
            made[base] = BASES[base](tmp_path_factory.mktemp(base) / "project")
        return made[base]

    return get


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(
    case: Case, healthy: Callable[[str], InProcessProject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = healthy(case.base)
    project = InProcessProject(tmp_path / "project", base.source)
    shutil.copytree(base.folder, project.folder, symlinks=True)
    case.given(project)
    *first, last = case.commands
    for command in first:
        assert project.run(*command).code == 0
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    before = project.outputs()
    outcome = project.run(*last)

    if case.refused:
        assert outcome.err == [f"error: {case.refused}"]
        assert outcome.code == case.code
        assert project.outputs() == before, "a refused input must leave everything as it was"
        return
    assert (outcome.code, outcome.err) == (0, [])
    for line in case.said:
        assert line in outcome.out
    if (project.folder / "data/prepared").exists():
        assert project.quarantine() == dict(case.quarantined)
    for (method, *arguments), expected in case.finds.items():
        assert getattr(project, method)(*arguments) == expected
    assert not case.same or project.outputs() == before


def test_every_case_has_a_name_of_its_own_and_an_expectation() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 70
    for case in CASES:
        assert bool(case.refused) != bool(case.happens), case.name
        assert case.refused or case.said or case.quarantined or case.finds or case.same, case.name


def test_the_page_lists_the_cases() -> None:
    """bad-inputs.md is written by `python -m tests.bad_inputs.document`."""
    assert PAGE.read_text(encoding="utf-8") == page(), document.__doc__
