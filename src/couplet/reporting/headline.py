"""What went into a run and what did not: the last lines of the report's first screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from couplet.evaluation.couplings.evidence import NO_EFFECT
from couplet.reporting import analysis
from couplet.reporting.fact import Fact
from couplet.results.run import Run

NAMED, NAMED_IN_ALL = 10, 20  # labels of a kind, and of the data set; the rest are counted


def facts(run: Run) -> list[Fact]:
    """What went into the models and what did not, for the first screen."""
    return [
        _images(run),
        _patients(run),
        _quarantine(run),
        _labels(run),
        _batches(run),
        _refiner(run),
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
        return Fact(
            "Patients", "not known", "every image counts as a patient of its own: intervals are too narrow"
        )
    dealt = "all images of one in the same part" if run.leaks.by_patient else "images dealt one by one"
    return Fact("Patients", f"{known:,}", dealt)


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
    unscored = run.params.inference.unscored
    skipped = [name for name in run.ensemble["oof"]["labels_skipped"] if name not in unscored]
    in_folds = {name for fold in run.folds for name in fold.metrics["labels_skipped"]} - set(unscored)
    in_test = set(run.ensemble["test"]["labels_skipped"]) if "test" in run.ensemble else set()
    in_test -= set(unscored)
    left_out = {
        "trained, but left out of every mean (inference.unscored)": unscored,
        "no AUC (one class only), left out of every mean": skipped,
        "one class only in at least one fold": sorted(in_folds - set(skipped)),
        "one class only in the test part": sorted(in_test - set(skipped)),
    }
    details = [f"{why}: {_few(names)}" for why, names in left_out.items() if names]
    value = f"{len(run.labels) - len(unscored) - len(skipped)} of {len(run.labels)} scored"
    # All by name: a column that was taken for a label by mistake must be seen here.
    named = _few(run.labels, NAMED_IN_ALL)
    return Fact("Labels", value, "; ".join([named, *details]), bool(details))


def _few(names: list[str], n: int = NAMED) -> str:
    shown = ", ".join(names[:n])
    return f"{shown} and {len(names) - n} more, below" if len(names) > n else shown


def _batches(run: Run) -> Fact:
    skipped = [fold.record.skipped_batches for fold in run.folds]
    detail = "none was skipped in training"
    if sum(skipped):
        detail = "skipped in training: " + ", ".join(
            f"fold {fold.fold}: {n}" for fold, n in zip(run.folds, skipped, strict=True)
        )
    return Fact("Non-finite batches", str(sum(skipped)), detail, bool(sum(skipped)))


def _refiner(run: Run) -> Fact:
    refiner, matrices = run.params.refiner, run.couplings
    if matrices is None:
        return Fact("Refiner", "off", "logits go straight to the sigmoid: the ablation")
    if run.fitted is not None:
        there, cells = int((matrices[0] != 0).sum()), len(run.labels) * (len(run.labels) - 1)
        seen = run.coupling_scores["verdict"]
        better = run.coupling_gains["oof"].better
        if seen == NO_EFFECT and better:
            seen = f"better in {better[0]} alone"
        found = f"{there:,} of {cells:,} couplings are not 0; {seen}"
        return Fact(
            "Refiner", "out of fold", f"fitted after training, strictness {refiner.strictness:g}; {found}"
        )
    alive = int((analysis.off_diagonal(np.abs(matrices).max(axis=0)) >= analysis.SMALL).sum())
    total = len(run.labels) * (len(run.labels) - 1)
    strengths = f"α {refiner.alpha:g}, λ {refiner.lambda_:g}"
    detail = f"{strengths}; {alive:,} of {total:,} couplings reach {analysis.SMALL:g} in at least one fold"
    return Fact("Refiner", "on", detail)
