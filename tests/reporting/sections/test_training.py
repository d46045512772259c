"""Training: batches that overflowed fp16 stand beside those that were not finite, and apart from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from couplet.reporting.gallery import draw
from couplet.reporting.page import render
from couplet.reporting.sections.training import overflowed_batches, validation_auc
from couplet.results.run import read_run
from tests.support.pages import text_of


def test_overflows_are_shown_where_a_fold_was_trained_in_fp16(project: Callable[..., Path]) -> None:
    project(n_images=60, labels=["Edema", "Fracture"])
    run = read_run()
    assert overflowed_batches(run) == {}
    gallery = draw(run)
    assert (
        "fp16" not in text_of(render(run, gallery, None)).split("Non-finite batches")[-1].split("Data and")[0]
    )

    histories = [fold.history.assign(overflowed_batches=[3, 0, 1]) for fold in run.folds[:2]]
    folds = [replace(fold, history=h) for fold, h in zip(run.folds[:2], histories, strict=True)]
    run = replace(run, folds=[*folds, run.folds[2]])
    assert overflowed_batches(run) == {0: 4, 1: 4, 2: None}
    text = text_of(render(run, gallery, None))
    assert "Non-finite batches fp16 overflows Parameters" in text
    value = f"{run.folds[0].record.val_auc_macro:.4f}"
    why = "no interval: without flip augmentation, its predictions are not kept (selected)"
    assert f"{value}, {why} 0 4 1,500,000" in text
    assert "0 – 1,500,000" in text
    assert "A batch whose gradients overflow fp16 is skipped too" in text


def test_what_chose_the_epoch_says_why_it_has_no_interval(project: Callable[..., Path]) -> None:
    folder = project(n_images=60, labels=["Edema", "Fracture"])
    run = read_run()
    fold = run.folds[1]
    found = validation_auc(run, fold)
    assert found.value == fold.record.val_auc_macro
    assert found.low is None and found.reason == "without flip augmentation, its predictions are not kept"
    assert found.n_images == len(fold.rows) and found.flags == ("selected",)
    config = (folder / "data/models/fold_1/config.json").read_bytes()
    assert [(one.path, one.md5) for one in found.source] == [
        ("data/models/fold_1/config.json", hashlib.md5(config).hexdigest())
    ]
    undefined = replace(fold, record=replace(fold.record, val_auc_macro=float("nan")))
    assert validation_auc(run, undefined).value is None
