"""One section of a made-up run, as HTML."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest

from couplet.project.project import HERE, Project
from couplet.reporting import page, style
from couplet.reporting.gallery import Gallery
from couplet.reporting.picture import Picture
from couplet.reporting.sections import calibration, decisions, groups, sets, suspicious
from couplet.reporting.trust import judge
from couplet.results.model_record import trained_on
from couplet.results.run import Run, read_run
from couplet.stages.ensemble_predict import ensemble_predict


def section(html: str, name: str) -> str:
    """The element of this id."""
    start = html.index(f'<section id="{name}">')
    return html[start : html.index("</section>", start)]


@pytest.fixture
def rendered(project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Run, str]]:
    """Write a project, change columns of its manifest, and give the run with a page of the sections on trust alone.

    `rendered(columns={"view": ["AP", "PA"]}, labels=[...])`: the values are repeated, the stage after them run again.
    """
    monkeypatch.setattr(page, "SECTIONS", (calibration, decisions, sets, groups, suspicious))

    def make(columns: dict[str, list[str]] | None = None, **options: Any) -> tuple[Run, str]:
        folder = project(**options)
        if columns:
            path = folder / HERE.manifest
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            for name, values in columns.items():
                table[name] = (values * len(table))[: len(table)]
            table.to_csv(path, index=False, lineterminator="\n")
            ensemble_predict()
            for config in (folder / HERE.models).glob("fold_*/config.json"):
                content = json.loads(config.read_text()) | {"data": trained_on(Project(folder))}
                config.write_text(json.dumps(content))
        run = read_run()
        with style.house_style():
            histograms = Picture("histograms", style.to_png(style.new_figure(10, 10)), "", "")
            gallery = SimpleNamespace(trust=judge(run), histograms=histograms)
        return run, page.render(run, cast(Gallery, gallery), None)

    return make
