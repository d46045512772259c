"""Stage report: one page, opened offline, by which a run is judged."""

from __future__ import annotations

import numpy as np
import pandas as pd

from couplet.project.console import say
from couplet.project.files import write_bytes, write_csv, write_text
from couplet.project.project import Project
from couplet.reporting.explanations import read_explanations
from couplet.reporting.gallery import draw
from couplet.reporting.page import render
from couplet.reporting.plots_groups import DIGITS, shortcuts_table, subgroups_table
from couplet.reporting.selection import coupled_labels
from couplet.results.run import Run, read_run
from couplet.running.committed import compared_with_commit


def report() -> None:
    """Write plots/report.html, plots/figures/*.png, and couplings.csv, subgroups.csv and shortcuts.csv in plots/."""
    project = Project()
    run = read_run(project)
    explanations = read_explanations(run.labels, project)
    gallery = draw(run)
    html = render(run, gallery, explanations)

    pictures = [*gallery.pictures, *(explanations or [])]
    for picture in pictures:
        write_bytes(project.figures / f"{picture.name}.png", picture.png)
    for old in set(project.figures.glob("*.png")) - {project.figures / f"{p.name}.png" for p in pictures}:
        old.unlink()
    write_csv(project.couplings_plot, long_couplings(run), float_format="%.6f")
    names = [spreadsheet_safe(label) for label in run.labels]
    write_csv(project.subgroups_plot, subgroups_table(gallery.trust.groups, names), DIGITS)
    write_csv(project.shortcuts_plot, shortcuts_table(gallery.trust.groups, names), DIGITS)
    write_text(project.report, html)
    compared = compared_with_commit(run.params)
    if compared is not None:
        say(compared)
    say(f"report: {project.report} ({len(html) / 1e6:.1f} MB), {len(pictures)} figures in {project.figures}")


def long_couplings(run: Run) -> pd.DataFrame:
    """Off-diagonal couplings in long form: source, target, coupling, fold ("0", "1" ... and "mean").

    Of many labels only those with the strongest couplings (`reporting.selection.coupled_labels`): the table lies in
    git and grows with the square of the labels. Without a refiner it has no rows.
    """
    shown = coupled_labels(run)
    # Of couplings fitted after training there is one matrix, which is its own mean.
    matrices = {str(fold.fold): fold.couplings for fold in run.folds} | {"mean": run.mean_couplings}
    names = [spreadsheet_safe(run.labels[i]) for i in shown]
    sources, targets = np.nonzero(~np.eye(len(names), dtype=bool))
    parts = [
        pd.DataFrame(
            {
                "source": [names[i] for i in sources],
                "target": [names[j] for j in targets],
                "coupling": matrix[np.ix_(shown, shown)][sources, targets],
                "fold": fold,
            }
        )
        for fold, matrix in matrices.items()
        if matrix is not None
    ]
    return pd.concat(parts) if parts else pd.DataFrame(columns=["source", "target", "coupling", "fold"])


def spreadsheet_safe(label: str) -> str:
    """The label, with an apostrophe before a sign that a spreadsheet would take for the start of a formula.

    >>> spreadsheet_safe("Edema"), spreadsheet_safe("=1+1")
    ('Edema', "'=1+1")
    """
    return f"'{label}" if label.startswith(("=", "+", "-", "@", "\t", "\r")) else label
