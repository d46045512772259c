"""The page of `couplet predict --html`, opened and clicked in a real browser."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from couplet.predicting import page
from tests.support.browser import browser
from tests.support.in_process import InProcessProject
from tests.support.pages import text_of

CARDS = "[...document.querySelectorAll('.card')].filter(card => !card.hidden)"
NAMES = f"{CARDS}.map(card => card.querySelector('h2').textContent)"


@pytest.fixture
def written(project: InProcessProject) -> InProcessProject:
    """Eight pictures of one view, a picture that is cut, and their page."""
    folder = project.folder / "new"
    folder.mkdir()
    for i in range(8):
        shutil.copy(project.raw / f"images/{i:02d}.png", folder)
    content = (folder / "00.png").read_bytes()
    (folder / "cut<b>.png").write_bytes(content[: len(content) // 2])
    assert project.run("predict", "new", "--view", "AP", "--html", "page.html").code == 3
    return project


def test_the_page_needs_nothing_else_and_says_what_it_shows(written: InProcessProject) -> None:
    content = (written.folder / "page.html").read_text()
    assert not re.findall(r"https?://|@import|url\(|srcset|<link(?! rel=\"icon\" href=\"data:,\")", content)
    assert "default-src 'none'" in content
    assert "cut&lt;b&gt;.png" in content and "cut<b>" not in content
    said = text_of(re.sub(r"<script.*?</script>", " ", content, flags=re.DOTALL))
    assert "Calibrated probabilities of 3 labels by 2 models." in said
    assert "(rule: youden)" in said
    assert "at least 90% of patients with a finding" in said
    assert "NOT A MEDICAL DEVICE" in said
    assert "Not predicted: 1" in said
    assert "00.png 40 × 40 · AP" in said


def test_the_page_says_where_nothing_is_calibrated(written: InProcessProject) -> None:
    (written.folder / "data/predictions/ensemble/calibration.json").unlink()
    assert written.run("predict", "new/00.png", "--html", "page.html").code == 0
    said = text_of((written.folder / "page.html").read_text())
    assert "Mean outputs of 2 models for 3 labels, not calibrated" in said
    assert "Unsure" not in said


def test_a_page_has_room_for_some_pictures_only(
    written: InProcessProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST_PICTURES", 3)
    assert written.run("predict", "new", "--html", "page.html").code == 3
    content = (written.folder / "page.html").read_text()
    assert content.count("<article") == 3
    assert "This page shows 3 pictures and 1 refused files of 9; the table has all." in content


def test_the_page_sorts_and_filters_and_draws_maps_when_it_is_clicked(
    written: InProcessProject, tmp_path: Path
) -> None:
    table = pd.read_csv(written.folder / "predictions.csv", dtype={"image_id": str}).set_index("image_id")
    table = table[table["status"] == "ok"]
    decisions = pd.read_csv(written.folder / "decisions.csv", dtype={"image_id": str}).set_index("image_id")
    with browser(tmp_path / "profile") as tab:
        tab.open(written.folder / "page.html")
        assert tab.value(NAMES) == [f"{i:02d}.png" for i in range(8)]
        assert tab.value("document.getElementById('count').textContent") == "8 of 8 pictures"
        assert tab.value("document.querySelectorAll('canvas:not([hidden])').length") == 0

        # A label is chosen with the mouse: its map is drawn over every picture, its number is said.
        tab.click("document.querySelectorAll('.card')[2].querySelectorAll('th button')[1]")
        assert tab.value("document.getElementById('label').selectedOptions[0].textContent") == "Nodule"
        assert tab.value("document.querySelectorAll('canvas:not([hidden])').length") == 8
        drawn = "[...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 1, 1).data]"
        assert tab.value(drawn)[3] in range(256)
        line = tab.value("document.querySelector('.chosen').textContent")
        assert line.startswith(f"Nodule: {100 * table['Nodule']['00.png']:.1f} %, ")

        tab.choose("sort", "value")
        assert tab.value(NAMES) == table.sort_values("Nodule", ascending=False, kind="stable").index.tolist()
        tab.choose("sort", "low")
        assert tab.value(NAMES) == table.sort_values("Nodule", kind="stable").index.tolist()
        tab.choose("sort", "spread")
        spread = tab.value(f"{CARDS}.map(card => JSON.parse(card.dataset.spread)[1])")
        assert spread == sorted(spread, reverse=True) and len(set(spread)) > 1

        tab.choose("sort", "given")
        for code in (0, 1, 2, 3):
            tab.choose("show", str(code))
            wanted = decisions.index[decisions["Nodule"] == code].tolist()
            assert tab.value(NAMES) == wanted
            assert tab.value("document.getElementById('count').textContent") == f"{len(wanted)} of 8 pictures"

        # The same label again, and all is as it was.
        tab.choose("show", "all")
        tab.click("document.querySelectorAll('.card')[0].querySelectorAll('th button')[1]")
        assert tab.value("document.getElementById('label').value") == "-1"
        assert tab.value("document.querySelectorAll('canvas:not([hidden])').length") == 0
        assert tab.errors == []
        assert tab.requests == [(written.folder / "page.html").as_uri()]
