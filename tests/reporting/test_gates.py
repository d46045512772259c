"""The mean gate of each label and group: against plain loops over images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from couplet.project.files import write_npz
from couplet.project.project import HERE
from couplet.reporting.gallery import draw
from couplet.reporting.gates import judge_gates, read_gates
from couplet.reporting.page import render
from couplet.reporting.sections.couplings import largest_shift
from couplet.results.run import Run, read_run
from tests.support.errors import refused
from tests.support.pages import text_of

LABELS = ["Edema", "Fracture", "Pneumonia"]


@pytest.fixture
def gated(project: Callable[..., Path]) -> Run:
    """A run with a gate whose values differ by image and label; every third patient is a man."""
    project(n_images=720, labels=LABELS, folds=2, changes={"refiner.conditional": "gate"})
    run, random = read_run(), np.random.default_rng(3)
    table = run.manifest.table
    sex = np.where(table["patient_id"].astype(int) % 3 == 0, "M", "F")
    run = replace(run, manifest=replace(run.manifest, table=table.assign(sex=sex)))
    for fold in run.folds:
        write_npz(
            HERE.explanations(fold.fold),
            {"gate": random.uniform(0, 2, (len(fold.rows), 3)).astype(np.float32)},
        )
    return run


def test_the_mean_gate_of_each_group(gated: Run) -> None:
    found = judge_gates(gated)
    assert found is not None and found.columns[:3] == ["all images", "it is present", "it is absent"]
    assert [label for label, _ in found.rows] == LABELS and found.note == ""
    gate = {}
    for fold in gated.folds:
        with np.load(HERE.explanations(fold.fold)) as file:
            gate |= dict(zip(fold.rows.tolist(), file["gate"].astype(float), strict=True))
    sex = gated.manifest.table["sex"].to_numpy()
    women = [row for row in gate if sex[row] == "F"]
    assert found.columns[3:] == ["sex F", "sex M"]  # one view and one age tell nobody apart
    for i, (_, cells) in enumerate(found.rows):
        expected = [np.mean([gate[row][i] for row in gate])]
        for value in (1, 0):
            expected.append(np.mean([gate[row][i] for row in gate if gated.truth[row, i] == value]))
        assert [cell.value for cell in cells[:3] if cell] == pytest.approx(expected)
        of_women = cells[found.columns.index("sex F")]
        assert of_women is not None
        assert of_women.value == pytest.approx(np.mean([gate[row][i] for row in women]))
        assert of_women.low is not None and of_women.low < of_women.value and of_women.n_images == len(women)
        assert [one.path for one in of_women.source] == [HERE.explanations(k).as_posix() for k in (0, 1)]


def test_the_page_has_the_table_and_what_a_gate_can_do(gated: Run) -> None:
    text = text_of(render(gated, draw(gated), None))
    assert (
        "Which label speaks in which images: the mean gate Source all images it is present it is absent"
        in text
    )
    assert (
        "Σ source g source σ( z source )" in text
        and "g between 0 and 2, how loudly the source speaks" in text
    )
    assert "it adds up to 2 α · A to the target’s logit, as much as the picture’s gate lets through." in text
    matrices = np.stack([fold.couplings for fold in gated.folds if fold.couplings is not None])
    most = max(np.clip(matrices, 0, None).sum(axis=1).max(), np.clip(-matrices, 0, None).sum(axis=1).max())
    assert largest_shift(gated) == pytest.approx(2 * 0.3 * most)


def test_without_a_gate_there_is_none(project: Callable[..., Path]) -> None:
    project(n_images=60, labels=LABELS, folds=2)
    run = read_run()
    assert read_gates(run) is None and judge_gates(run) is None
    assert "mean gate" not in text_of(render(run, draw(run), None))


def test_gates_of_other_images_or_damaged_ones_are_refused(gated: Run) -> None:
    path = HERE.explanations(1)
    write_npz(path, {"gate": np.ones((3, 3), np.float32)})
    assert refused(judge_gates, gated) == (
        f"{path} has gates of other images or labels than {HERE.folds}: run `dvc repro`"
    )
    for arrays in ({}, None):
        if arrays is None:
            path.write_bytes(b"PK")
        else:
            write_npz(path, arrays)
        assert refused(judge_gates, gated).startswith(f"{path} is damaged (")
