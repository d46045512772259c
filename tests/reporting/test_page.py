"""The page as its sections: every file has its place, and what has nothing to show leaves no trace."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pytest

import couplet.reporting
from couplet.reporting.gallery import Gallery, draw
from couplet.reporting.page import SECTIONS, render, section_id
from couplet.reporting.sections import training
from couplet.results.run import Run, read_run

FOLDER = Path(couplet.reporting.__file__).parent


class Inputs(NamedTuple):
    run: Run
    gallery: Gallery


@pytest.fixture
def inputs(project: Callable[..., Path]) -> Inputs:
    project(n_images=90, labels=["Edema", "Pneumonia"], changes={"model.head": "db_dgcn"})
    run = read_run()
    return Inputs(run, draw(run))


def contents(page: str) -> list[tuple[str, str]]:
    """(id, title) of the navigation's lines."""
    return re.findall(r'<li><a href="#(.*?)">(.*?)</a></li>', page)


def test_every_section_is_in_the_list_and_has_its_template() -> None:
    ids = sorted(section_id(section) for section in SECTIONS)
    assert ids == sorted(path.stem for path in (FOLDER / "sections").glob("[!_]*.py"))
    assert ids == sorted(path.stem for path in (FOLDER / "sections").glob("*.jinja"))


def test_the_navigation_has_the_sections_in_the_pages_order(inputs: Inputs) -> None:
    page = render(*inputs, explanations=[])
    # This run has no external test.
    shown = [section for section in SECTIONS if section_id(section) != "external"]
    assert contents(page) == [(section_id(section), section.TITLE) for section in shown]
    ids = re.findall(r'<(?:section|header) id="(.*?)">', page)
    assert ids == [section_id(section) for section in shown]


def test_a_section_with_nothing_to_show_leaves_no_trace(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = render(*inputs, explanations=None)
    assert "explanations" not in dict(contents(page)), "nothing was explained"

    line = '    <li><a href="#training">Training</a></li>\n'
    element = page[page.index('<section id="training">') : page.index('<section id="data">')]
    assert page.count(line) == page.count(element) == 1
    monkeypatch.setattr(training, "content", lambda run, drawn: None)
    assert render(*inputs, explanations=None) == page.replace(line, "").replace(element, "")


def test_a_template_may_not_use_what_its_section_does_not_give(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(training, "content", lambda run, drawn: given)
    with pytest.raises(jinja2.UndefinedError, match="'curves' is undefined"):
        render(*inputs, explanations=None)


def test_templates_and_style_are_installed_with_the_package(project_root: Path) -> None:
    settings = tomllib.loads((project_root / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["couplet"]
    for path in FOLDER.rglob("*"):
        name = path.relative_to(FOLDER.parent).as_posix()
        if path.suffix in (".jinja", ".css"):
            # Setuptools' * stops at a slash, fnmatch's does not.
            assert any(
                fnmatch.fnmatch(name, pattern) and name.count("/") == pattern.count("/")
                for pattern in patterns
            ), f"{name} is missing from package-data"
