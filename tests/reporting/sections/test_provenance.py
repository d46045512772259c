"""Provenance: what the folds share, and from what each of them starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from couplet.reporting.gallery import Gallery, draw
from couplet.reporting.page import render
from couplet.results.run import Run, read_run
from tests.support.pages import text_of


@pytest.fixture
def drawn(project: Callable[..., Path]) -> tuple[Run, Gallery]:
    project(n_images=60, labels=["Edema", "Fracture"])
    run = read_run()
    return run, draw(run)


def provenance(run: Run, gallery: Gallery) -> str:
    return text_of(render(run, gallery, None)).split("Provenance What the models record")[1]


def test_without_pretrained_weights_every_fold_starts_from_its_own(drawn: tuple[Run, Gallery]) -> None:
    """Initial weights are drawn from (seed, fold): the folds cannot agree on them."""
    text = provenance(*drawn)
    assert "All folds agree on settings, data, code and labels; a report is refused otherwise." in text
    assert "each fold starts from weights of its own, drawn from the seed and its number" in text
    assert "Pretrained weights none" in text


def test_with_pretrained_weights_the_folds_share_the_backbones_file(drawn: tuple[Run, Gallery]) -> None:
    run, gallery = drawn
    folds = [replace(fold, record=replace(fold.record, weights="ab" * 32)) for fold in run.folds]
    text = provenance(replace(run, folds=folds), gallery)
    assert (
        "All folds agree on settings, data, code, labels and the file of pretrained weights, from which their "
        "backbones start; a report is refused otherwise." in text
    )
    assert "each fold’s head starts from weights of its own, drawn from the seed and its number" in text
    assert f"Pretrained weights {'ab' * 32}" in text
