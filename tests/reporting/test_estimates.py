"""On the page every estimated number has an interval or a reason, and names the files that it was computed from."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from couplet.evaluation.estimate import FLAGS
from couplet.stages.report import report
from tests.support.pages import text_of

END = r"−?-?\d+\.\d+"


def cells(page: str) -> list[tuple[str, list[str], str]]:
    """(text, md5s, title) of each cell, which ends where its own element does."""
    found = []
    for start in re.finditer(r'<(\w+) class="estimate" data-source="([^"]*)" title="([^"]*)">', page):
        tag, depth, at = start[1], 1, start.end()
        while depth:
            step = re.compile(rf"<(/?){tag}\b").search(page, at)
            assert step is not None
            depth, at = depth + (-1 if step[1] else 1), step.end()
        text = text_of(page[start.start() : page.index(">", at) + 1])
        found.append((text, start[2].split(), html.unescape(start[3])))
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_images": 90, "test_labelled": False},
        {"n_images": 90, "folds": 1, "changes": {"split.holdout": 0.2, "calibration.method": "none"}},
        {"n_images": 90, "test": False},
    ],
    ids=["whole", "hidden labels", "one fold", "no test part"],
)
def test_every_estimate_has_an_interval_or_a_reason_and_its_sources(
    project: Callable[..., Path], options: dict[str, Any]
) -> None:
    folder = project(**options)
    report()
    page = (folder / "plots/report.html").read_text()
    files = {
        hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(): path.relative_to(folder).as_posix()
        for path in (
            *(folder / "data/predictions").rglob("*"),
            *(folder / "data/models").rglob("config.json"),
        )
        if path.is_file()
    }
    found = cells(page)
    assert len(found) == page.count('class="estimate"') > 100
    for text, md5s, title in found:
        value = rf"({END}|undefined,?)"
        # The second paper's shares are in per cent, with one digit; the interval has one less.
        per_cent = r"\d+\.\d \[\d+, \d+\]"
        interval = rf"({value} \[{END}, {END}\]|{per_cent})"
        reason = rf"{value},? no interval: \w.*"
        flags = rf"( \((({'|'.join(FLAGS)})(, )?)+\))?"
        assert re.fullmatch(f"({interval}|{reason}?){flags}", text), text
        assert md5s, f"{text} ({title}) names no file"
        for md5 in md5s:
            assert md5 in files, f"{text} ({title}): {md5} is no file of predictions and no model's record"
            assert files[md5] in title or "from " in title


def test_numbers_of_the_first_screen_are_of_the_files_that_they_are_of(project: Callable[..., Path]) -> None:
    folder = project(n_images=90)
    report()
    page = (folder / "plots/report.html").read_text()
    glance = page[page.index('id="glance"') : page.index('<section id="compare"')]
    titles = [title for _, _, title in cells(glance)]
    assert "from data/predictions/folds/fold_0.csv, data/predictions/folds/fold_1.csv" in titles[0]
    assert titles[2].endswith("from data/predictions/ensemble/test.csv")
    before, after = titles[3:5]
    assert before.endswith("from data/predictions/ensemble/test.csv")
    assert after.endswith("from data/predictions/ensemble/calibrated.csv")
