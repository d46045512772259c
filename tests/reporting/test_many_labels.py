"""A run of 1,000 labels: what goes into git, the figures and the page stay small, and say what they leave out."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from couplet.reporting.selection import (
    COUPLED_LABELS,
    ROW_LABELS,
    coupled_labels,
    grid_labels,
    row_labels,
    selection_note,
)
from couplet.results.run import Run, read_run
from couplet.stages.report import long_couplings, report
from tests.support.pages import text_of

N_LABELS = 1_000


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, make_project: Callable[..., None]) -> Path:
    """A project of 1,000 labels whose report has been written; read only."""
    folder = tmp_path_factory.mktemp("wide")
    make_project(folder, labels=[f"Finding {i:03d}" for i in range(N_LABELS)], n_images=60, folds=2)
    with contextlib.chdir(folder):
        report()
    return folder


@pytest.fixture(scope="module")
def run(wide: Path) -> Run:
    with contextlib.chdir(wide):
        return read_run()


@pytest.fixture(scope="module")
def text(wide: Path) -> str:
    return text_of((wide / "plots/report.html").read_text())


def test_the_couplings_in_git_are_those_of_the_labels_with_the_strongest(wide: Path, run: Run) -> None:
    path = wide / "plots/couplings.csv"
    table = pd.read_csv(path, dtype={"fold": str})
    n_pairs = COUPLED_LABELS * (COUPLED_LABELS - 1)
    assert table["fold"].value_counts().to_dict() == dict.fromkeys(["0", "1", "mean"], n_pairs)
    assert path.stat().st_size < 300_000

    # Labels in falling order of the largest |A| that they have in any fold, as source or as target.
    folds = np.stack([fold.couplings for fold in run.folds if fold.couplings is not None])
    largest: dict[int, float] = {}
    for _, i, j in np.argwhere(np.abs(folds) > 0.3):
        for label in (int(i), int(j)):
            largest[label] = max(largest.get(label, 0), np.abs(folds[:, i, j]).max())
    strongest = sorted(largest, key=lambda label: -largest[label])[:COUPLED_LABELS]
    assert len(strongest) == COUPLED_LABELS
    assert list(dict.fromkeys(table["source"])) == [run.labels[i] for i in sorted(strongest)]


def test_figures_keep_their_size_with_any_number_of_labels(wide: Path) -> None:
    figures = sorted((wide / "plots/figures").glob("*.png"))
    assert len(figures) == 7 + 20 + 5  # and two reliability curves, decisions, coverage of sets, risk
    for path in figures:
        width, height = Image.open(io.BytesIO(path.read_bytes())).size
        assert width <= 2 * 1040 and height <= 2 * 2_200, path.name
        assert path.stat().st_size < 600_000, path.name
    assert (wide / "plots/report.html").stat().st_size < 6_000_000


def test_the_page_says_which_labels_it_leaves_out(text: str) -> None:
    assert text.count(f"Shown: the {ROW_LABELS} most frequent of 1,000 labels.") == 3  # Figs. 2, 4 and 5
    assert f"Shown: the {ROW_LABELS} of 1,000 labels with the largest ones." in text  # Fig. 6
    assert f"Shown: the {COUPLED_LABELS} of 1,000 labels with the strongest couplings of any fold" in text
    assert "plots/couplings.csv has these; the whole matrices are in data/models/fold_k/couplings.csv" in text
    assert "Shown: the 20 most frequent of 1,000 labels." in text


def test_every_label_has_its_row_below_the_most_frequent_ones(wide: Path, run: Run) -> None:
    page = (wide / "plots/report.html").read_text()
    section = page[page.index('<section id="labels">') : page.index('<section id="calibration">')]
    first, folded, in_folds = section.split("<details>")
    assert "<summary>All 1,000 labels</summary>" in folded
    rows = [re.findall(r'<th scope="row">(.*?)</th>', part) for part in (first, folded)]
    assert rows == [[run.labels[i] for i in grid_labels(run)], run.labels]
    assert re.findall(r'<th scope="row">(.*?)</th>', in_folds) == rows[0]


def test_the_sections_on_trust_show_the_most_frequent_labels_and_say_so(wide: Path, run: Run) -> None:
    page = (wide / "plots/report.html").read_text()
    shown = {run.labels[i] for i in grid_labels(run)}
    for name in ("calibration", "decisions", "sets", "groups", "suspicious"):
        part = page[page.index(f'<section id="{name}">') :]
        part = part[: part.index("</section>")]
        assert "Shown: the 20 most frequent of 1,000 labels." in part, name
        assert set(re.findall(r">(Finding \d+)<", part)) <= shown, name
    assert "Calibrators of 20 labels" in page and "50,000 cells" not in page
    for name in ("subgroups", "shortcuts"):
        table = pd.read_csv(wide / f"plots/{name}.csv")
        assert set(table["label"]) - {"macro"} <= shown and len(table) <= 20 * 40


def test_shares_are_of_all_labels_also_where_few_are_shown(run: Run, text: str) -> None:
    assert run.mean_couplings is not None
    small = (np.abs(run.mean_couplings)[~np.eye(N_LABELS, dtype=bool)] < 1e-3).mean()
    assert f"|A| < 0.001 in {small:.1%} of the off-diagonal entries" in text
    assert f"of the {len(run.test_rows) * N_LABELS:,} image × label cells are unanimous" in text


def test_few_labels_are_all_shown(project: Callable[..., Path]) -> None:
    project(n_images=60, labels=[f"l{i}" for i in range(COUPLED_LABELS)], folds=2)
    run = read_run()
    everything = list(range(COUPLED_LABELS))
    assert coupled_labels(run) == row_labels(run) == everything
    assert selection_note(run, everything) == ""
    assert set(long_couplings(run)["source"]) == set(run.labels)
