"""How loudly each label speaks in the images of each group, where the couplings have a gate."""

from __future__ import annotations

import zipfile
from typing import NamedTuple

import numpy as np

from couplet.evaluation.estimate import Estimate, Source, source_of
from couplet.evaluation.groups import UNKNOWN, groups_of
from couplet.evaluation.ordering import codes
from couplet.evaluation.proportions import mean
from couplet.project.errors import UserError
from couplet.reporting.explanations import GATE
from couplet.reporting.judge_groups import attributes
from couplet.reporting.rows_groups import folded
from couplet.reporting.selection import grid_labels, selection_note
from couplet.results.run import Run


class Gates(NamedTuple):
    """Mean gate by label (rows) and group of images (columns); None where fewer than two patients would speak."""

    columns: list[str]
    rows: list[tuple[str, list[Estimate | None]]]
    note: str


def judge_gates(run: Run) -> Gates | None:
    """The mean gate of each label, out of fold, in all images, where it is present and absent, and in each group.

    None for a run without a gate. Groups and their least size are those of the section `groups`.

    Raises:
        UserError: a fold's file is damaged or of other images.
    """
    found = read_gates(run)
    if found is None:
        return None
    gate, sources = found
    patients = codes(run.patients[run.oof_rows])
    truth, shown = run.truth[run.oof_rows], grid_labels(run)
    everybody = codes(run.patients)
    texts = {name: folded(values, everybody)[run.oof_rows] for name, values in attributes(run).items()}
    texts = {name: values for name, values in texts.items() if (values != UNKNOWN).any()}
    groups = [group for group in groups_of(texts, truth, patients) if group.shown]
    several = [one for one in groups if sum(one.attribute == other.attribute for other in groups) > 1]

    def told(values: np.ndarray) -> Estimate:
        return mean(values, patients).of(*sources)

    rows = []
    for i in shown:
        of_label = gate[:, i]
        cells: list[Estimate | None] = [told(of_label)]
        for value in (1, 0):
            there = truth[:, i] == value
            enough = len(np.unique(patients[there])) > 1
            cells.append(told(np.where(there, of_label, np.nan)) if enough else None)
        cells += [told(np.where(group.rows, of_label, np.nan)) for group in several]
        rows.append((run.labels[i], cells))
    columns = ["all images", "it is present", "it is absent"]
    columns += [f"{group.attribute} {group.value}" for group in several]
    return Gates(columns, rows, selection_note(run, shown))


def read_gates(run: Run) -> tuple[np.ndarray, list[Source]] | None:
    """(n, L) gate of each image out of fold, by the model that was not trained on it, and the files; None without.

    Raises:
        UserError: a file is damaged or of other images.
    """
    if not run.params.refiner.trained or run.params.refiner.conditional != "gate":
        return None
    project = run.manifest.project
    table = np.full((len(run.fold_of), len(run.labels)), np.nan)
    paths = [project.explanations(fold.fold) for fold in run.folds]
    for fold, path in zip(run.folds, paths, strict=True):
        try:
            with np.load(path, allow_pickle=False) as file:
                own = file[GATE]
        except (zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
            raise UserError(f"{path} is damaged ({error}): restore it with `dvc checkout`") from None
        if own.shape != (len(fold.rows), len(run.labels)):
            raise UserError(
                f"{path} has gates of other images or labels than {project.folds}: run `dvc repro`"
            )
        table[fold.rows] = own
    return table[run.oof_rows], [source_of(path, project.root) for path in paths]
