"""What a reader must know before quoting a number: the facts of the report's first screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from couplet.reporting import analysis
from couplet.reporting.tables import couplings_of_folds
from couplet.results.run import Run

NAMED = 10  # labels of a kind; the rest are counted


class Fact(NamedTuple):
    """One line of the first screen."""

    name: str
    value: str
    detail: str = ""
    attention: bool = False


def facts(run: Run) -> list[Fact]:
    """What a reader must know before quoting a number of this run."""
    return [
        _images(run),
        _patients(run),
        _quarantine(run),
        _labels(run),
        _batches(run),
        _refiner(run),
        _preset(run),
    ]


def _images(run: Run) -> Fact:
    n_test = len(run.test_rows)
    parts = [f"{len(run.oof_rows):,} predicted out of fold"]
    only_training = len(run.fold_of) - n_test - len(run.oof_rows)
    if only_training:
        parts.append(f"{only_training:,} for training only")
    if n_test:
        parts.append(f"{n_test:,} test" + ("" if run.test_labelled else ", labels hidden"))
    parts += [f"{name.replace('_', ' ')}: {count:,}" for name, count in run.notes.items()]
    return Fact("Images", f"{len(run.fold_of):,}", " · ".join(parts))


def _patients(run: Run) -> Fact:
    known = run.split.n_patients
    if known is None:
        return Fact("Patients", "not known", "leaks between folds cannot be ruled out", True)
    in_folds, in_test = run.split.patients_in_two_folds, run.split.patients_in_train_and_test
    if not in_folds and not in_test:
        return Fact("Patients", f"{known:,}", "none has images in two folds, or in folds and test part")
    shared = f"{in_folds:,} have images in two folds, {in_test:,} in folds and test part"
    return Fact("Patients", f"{known:,}", f"{shared}: the numbers are too good (split.group_by)", True)


def _quarantine(run: Run) -> Fact:
    n = len(run.quarantine)
    reasons = Counter(
        _without_names(reason, [image_id, path])
        for image_id, path, reason in run.quarantine[["image_id", "path", "reason"]].itertuples(index=False)
    )
    detail = "; ".join(f"{reason}: {count:,}" for reason, count in sorted(reasons.items()))
    unseen = int((run.quarantine["part"] == "test").sum())
    if unseen:
        detail += f" ({unseen:,} of them in the test part: the submission gives them the mean prediction)"
    return Fact("Quarantined images", f"{n:,}", detail or "every listed image could be read", bool(n))


def _without_names(reason: str, names: Iterable[str]) -> str:
    # The page says how many and why, never which image: that is in quarantine.csv.
    for name in sorted(filter(None, names), key=len, reverse=True):
        reason = reason.replace(name, "…")
    return reason


def _labels(run: Run) -> Fact:
    skipped = list(run.ensemble["oof"]["labels_skipped"])
    in_folds = {name for fold in run.folds for name in fold.metrics["labels_skipped"]}
    in_test = set(run.ensemble["test"]["labels_skipped"]) if "test" in run.ensemble else set()
    left_out = {
        "no AUC (one class only), left out of every mean": skipped,
        "one class only in at least one fold": sorted(in_folds - set(skipped)),
        "one class only in the test part": sorted(in_test - set(skipped)),
    }
    details = [f"{why}: {_few(names)}" for why, names in left_out.items() if names]
    value = f"{len(run.labels) - len(skipped)} of {len(run.labels)} scored"
    return Fact("Labels", value, "; ".join(details) or "all have both classes in every fold", bool(details))


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more, below" if len(names) > NAMED else shown


def _batches(run: Run) -> Fact:
    skipped = [fold.record.skipped_batches for fold in run.folds]
    detail = "none was skipped in training"
    if sum(skipped):
        detail = "skipped in training: " + ", ".join(
            f"fold {fold.fold}: {n}" for fold, n in zip(run.folds, skipped, strict=True)
        )
    return Fact("Non-finite batches", str(sum(skipped)), detail, bool(sum(skipped)))


def _refiner(run: Run) -> Fact:
    refiner, matrices = run.params.refiner, couplings_of_folds(run)
    if matrices is None:
        return Fact("Refiner", "off", "logits go straight to the sigmoid: the ablation")
    alive = int((analysis.off_diagonal(np.abs(matrices).max(axis=0)) >= analysis.SMALL).sum())
    total = len(run.labels) * (len(run.labels) - 1)
    strengths = f"α {refiner.alpha:g}, λ {refiner.lambda_:g}"
    detail = f"{strengths}; {alive:,} of {total:,} couplings reach {analysis.SMALL:g} in at least one fold"
    return Fact("Refiner", "on", detail)


def _preset(run: Run) -> Fact:
    if run.differences is None:
        return Fact("Settings", "own", f"there is no presets/{run.params.preset}.yaml to compare with", True)
    keys = [key for key, _, _ in run.differences]
    if not keys:
        return Fact("Settings", "as the preset", f"nothing differs from presets/{run.params.preset}.yaml")
    shown = ", ".join(keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
    return Fact("Settings", f"{len(keys)} differ", f"from presets/{run.params.preset}.yaml: {shown}", True)
