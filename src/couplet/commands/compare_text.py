"""What `couplet compare` prints: the arms, the difference, a table per label, the verdict."""

from __future__ import annotations

from typing import Any

import numpy as np

from couplet.commands.arms import Arms
from couplet.commands.compare import Answer
from couplet.commands.revisions import FinishedRun
from couplet.evaluation.comparison import POWER, Comparison, Difference

SMALLEST_P = 0.0001  # that is written out


def as_text(answer: Answer) -> str:
    """The answer in lines."""
    labels = answer.arms.a[0].manifest.labels
    return "\n".join(
        [
            *_about(answer),
            "",
            *_primary(answer, labels),
            "",
            *_table(answer.auc, labels),
            "",
            *_secondary(answer),
            "",
            f"verdict: {answer.verdict}",
        ]
    )


def _about(answer: Answer) -> list[str]:
    arms, run = answer.arms, answer.arms.a[0]
    n_patients = len(np.unique(run.patients))
    how = "paired" if arms.paired else "not paired"
    return [
        f"A: {_names(arms.a)}",
        f"B: {_names(arms.b)}",
        f"{answer.part}: {len(run.rows)} images of {n_patients} patients, {len(run.manifest.labels)} labels; {how}",
        *_settings(arms),
        *_made(arms),
    ]


def _names(runs: list[FinishedRun]) -> str:
    repeats = "1 repeat" if len(runs) == 1 else f"{len(runs)} repeats"
    named = [f"{run.name} (seed {run.repeat[0]}, train.repeat {run.repeat[1]})" for run in runs]
    return f"{repeats}: {', '.join(named)}"


def _settings(arms: Arms) -> list[str]:
    lines = [f"  {key}: A {_value(ours)}, B {_value(theirs)}" for key, ours, theirs in arms.settings]
    head = "settings that differ:" if lines else "settings: none differs"
    if len(arms.sections) > 1:
        lines.append(
            f"  attention: {len(arms.sections)} sections differ ({', '.join(arms.sections)}), so a difference "
            "cannot be put down to one of them"
        )
    return [head, *lines]


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "-" if value is None else str(value)


def _made(arms: Arms) -> list[str]:
    lines = [f"  {what}: A {', '.join(ours)}; B {', '.join(theirs)}" for what, ours, theirs in arms.made]
    if not lines:
        return ["device, precision, arithmetic, library versions and code: all the same"]
    return ["attention: the models were not made alike, which alone changes digits:", *lines]


def _primary(answer: Answer, labels: list[str]) -> list[str]:
    macro = answer.auc.macro
    lines = [f"macro-AUC: A {answer.a.text()}, B {answer.b.text()}", f"A - B: {_difference(macro)}"]
    if macro.error and macro.t is not None and macro.df is not None:
        df = "infinite" if np.isinf(macro.df) else f"{macro.df:.1f}"
        lines.append(f"  t {macro.t:.2f}, standard error {macro.error:.5f}, degrees of freedom {df}")
    if macro.between_repeats is not None and macro.common is not None and macro.own is not None:
        lines.append(
            f"  sd between repeats {macro.between_repeats**0.5:.5f}; of patients, common to all repeats "
            f"{macro.common**0.5:.5f}, each repeat's own {macro.own**0.5:.5f}"
        )
    if macro.detectable is not None:
        lines.append(
            f"smallest difference that {_repeats(macro.repeats)} and {macro.estimate.n_patients} patients would find "
            f"with probability {POWER}: {macro.detectable:.4f}"
        )
    left_out = [
        f"{label} ({_why(answer.auc.per_label[i])})"
        for i, label in enumerate(labels)
        if i not in answer.auc.labels
    ]
    if left_out:
        lines.append(f"labels left out of the mean: {', '.join(left_out)}")
    return lines


def _why(difference: Difference) -> str:
    return difference.estimate.reason


def _repeats(number: int) -> str:
    return "1 repeat" if number == 1 else f"{number} repeats"


def _difference(found: Difference) -> str:
    if found.p is None:
        return found.estimate.text(5)
    return f"{found.estimate.text(5)}, p {'' if found.p < SMALLEST_P else '= '}{_p(found.p)}"


def _p(p: float) -> str:
    return "-" if np.isnan(p) else f"< {SMALLEST_P}" if p < SMALLEST_P else f"{p:.4f}"


def _table(found: Comparison, labels: list[str]) -> list[str]:
    """AUC of each label; Holm's p is for saying that a label differs, Benjamini-Hochberg's for exploring."""
    rows = [["AUC per label", "A", "B", "A - B", "p", "p (Holm)", "p (BH, exploratory)"]]
    for label, one, holm, bh in zip(labels, found.per_label, *found.adjusted(), strict=True):
        each = ["-" if np.isnan(value) else f"{value:.4f}" for value in (one.a, one.b)]
        p = [_p(np.nan if value is None else value) for value in (one.p, holm, bh)]
        rows.append([label, *each, one.estimate.text(), *p])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _secondary(answer: Answer) -> list[str]:
    lines = []
    for name, found in answer.secondary.items():
        better = "" if name == "mAP" else " (lower is better)"
        each = f"A {found.macro.a:.4f}, B {found.macro.b:.4f}"
        lines.append(f"  {name}{better}: {each}; A - B: {_difference(found.macro)}")
    if len(lines) == 1:
        lines.append("  log loss, Brier score: not all runs have calibrated probabilities")
    return ["secondary:", *lines]
