"""What `couplet compare` prints: the arms, the difference, two tables per label, the verdict; 80 columns wide."""

from __future__ import annotations

from typing import Any

import numpy as np

from couplet.commands.arms import Arms
from couplet.commands.compare import Answer
from couplet.commands.compare_tables import arms_table, differences_table, shown_labels, wrapped
from couplet.commands.revisions import REPEAT, SEED, FinishedRun
from couplet.evaluation.comparison import POWER, Comparison, Difference
from couplet.evaluation.estimate import FLAGS


def as_text(answer: Answer) -> str:
    """The answer in lines."""
    labels = answer.arms.a[0].manifest.labels
    shown = shown_labels(answer.auc)
    blocks = [
        _about(answer),
        _primary(answer, labels),
        *([] if answer.within is None else [_within_folds(answer.within)]),
        arms_table(answer, labels, shown),
        differences_table(answer.auc, labels, shown),
        _secondary(answer),
        _verdict(answer),
    ]
    return "\n\n".join("\n".join(block) for block in blocks)


# --- what is compared -----------------------------------------------------------------------------------------


def _about(answer: Answer) -> list[str]:
    arms, run = answer.arms, answer.arms.a[0]
    n_patients = len(np.unique(run.patients))
    how = f"paired by {SEED} and {REPEAT}" if arms.paired else "not paired"
    return [
        *wrapped(f"A: {_names(arms.a)}"),
        *wrapped(f"B: {_names(arms.b)}"),
        *wrapped(
            f"{answer.part}: {len(run.rows)} images of {n_patients} patients, {len(run.manifest.labels)} labels; {how}"
        ),
        *_settings(arms),
        *_made(arms),
    ]


def _names(runs: list[FinishedRun]) -> str:
    """Of runs that are repeats of one another."""
    names = ", ".join(run.name for run in runs)
    seeds, repeats = (list(dict.fromkeys(run.repeat[i] for run in runs)) for i in (0, 1))
    if len(seeds) == 1:
        return f"{names} ({SEED} {seeds[0]}, {REPEAT} {', '.join(map(str, repeats))})"
    pairs = ", ".join(f"{seed} {repeat}" for seed, repeat in (run.repeat for run in runs))
    return f"{names} ({SEED} and {REPEAT} {pairs})"


def _settings(arms: Arms) -> list[str]:
    lines = [f"{key}: A {_value(ours)}, B {_value(theirs)}" for key, ours, theirs in arms.settings]
    head = "settings that differ:" if lines else "settings: none differs"
    if len(arms.sections) > 1:
        lines.append(
            f"attention: {len(arms.sections)} sections differ ({', '.join(arms.sections)}), so a difference "
            "cannot be put down to one of them"
        )
    return [head, *(row for line in lines for row in wrapped(line, "  "))]


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "-" if value is None else str(value)


def _made(arms: Arms) -> list[str]:
    if not arms.made:
        return wrapped("device, precision, arithmetic, library versions and code: all the same")
    lines = [f"{what}: A {', '.join(ours)}; B {', '.join(theirs)}" for what, ours, theirs in arms.made]
    head = wrapped("attention: the models were not made alike, which alone changes digits:")
    return [*head, *(row for line in lines for row in wrapped(line, "  "))]


# --- the primary endpoint -------------------------------------------------------------------------------------


def _primary(answer: Answer, labels: list[str]) -> list[str]:
    macro = answer.auc.macro
    pooled = "" if answer.within is None else ", all folds' images pooled"
    lines = [
        f"macro-AUC{pooled}",
        *wrapped(f"A      {answer.a.text()}", "  "),
        *wrapped(f"B      {answer.b.text()}", "  "),
        *wrapped(f"A - B  {_difference(macro)}", "  "),
        *_each(macro),
    ]
    if macro.error and macro.t is not None and macro.df is not None:
        df = "infinite" if np.isinf(macro.df) else f"{macro.df:.1f}"
        lines += wrapped(f"t {macro.t:.2f}, standard error {macro.error:.5f}, degrees of freedom {df}", "  ")
    if macro.between_repeats is not None and macro.common is not None and macro.own is not None:
        lines += wrapped(
            f"sd between repeats {macro.between_repeats**0.5:.5f}; of patients, common to all repeats "
            f"{macro.common**0.5:.5f}, each repeat's own {macro.own**0.5:.5f}",
            "  ",
        )
    if macro.detectable is not None:
        lines += wrapped(
            f"smallest difference that {_repeats(macro.repeats)} and {macro.estimate.n_patients} patients would find "
            f"with probability {POWER}: {macro.detectable:.4f}",
            "  ",
        )
    left_out = [
        f"{label} ({answer.auc.per_label[i].estimate.reason})"
        for i, label in enumerate(labels)
        if i not in answer.auc.labels
    ]
    if left_out:
        lines += wrapped(f"labels left out of the mean: {', '.join(left_out)}", "  ")
    for flag in macro.estimate.flags:
        lines += wrapped(f"{flag}: {FLAGS[flag]}", "  ")
    return lines


def _within_folds(found: Comparison) -> list[str]:
    """The same question without pairs that two models scored."""
    about = (
        "Pairs of images of the same fold alone: one model scored both. The pooled number also ranks images of "
        "different folds, by models whose scales differ, the more so with refiner.fit out_of_fold, where each fold "
        "has intercepts and scales of its own."
    )
    return [
        "macro-AUC within folds",
        *wrapped(f"A {found.macro.a:.4f}, B {found.macro.b:.4f}", "  "),
        *wrapped(f"A - B  {_difference(found.macro)}", "  "),
        *_each(found.macro),
        *wrapped(about, "  "),
    ]


def _each(found: Difference) -> list[str]:
    """Repeat by repeat, where there are several."""
    if len(found.each) < 2:
        return []
    return wrapped(f"at each repeat: {', '.join(f'{d:.5f}' for d in found.each)}", "  ")


def _verdict(answer: Answer) -> list[str]:
    """The last line; before it, where pairs within folds say something else, that they do."""
    lines = []
    within = answer.verdict_within
    if within is not None and within.partition(";")[0] != answer.verdict.partition(";")[0]:
        lines = wrapped(
            f"attention: within folds: {within}. That is about how well the models rank; the next line's also has the "
            "folds' scales in it"
        )
    return [*lines, *wrapped(f"verdict: {answer.verdict}")]


def _repeats(number: int) -> str:
    return "1 repeat" if number == 1 else f"{number} repeats"


def _difference(found: Difference) -> str:
    if found.p is None:
        return found.estimate.text(5)
    return f"{found.estimate.text(5)}, p {'< 0.0001' if found.p < 0.0001 else f'= {found.p:.4f}'}"


# --- other endpoints ------------------------------------------------------------------------------------------


def _secondary(answer: Answer) -> list[str]:
    lines = ["secondary endpoints, p-values not corrected"]
    for name, found in answer.secondary.items():
        better = "" if name == "mAP" else " (lower is better)"
        lines += wrapped(f"{name}{better}: A {found.macro.a:.4f}, B {found.macro.b:.4f}", "  ")
        lines += wrapped(f"A - B  {_difference(found.macro)}", "    ")
    if len(answer.secondary) == 1:
        lines += wrapped("log loss, Brier score: not all runs have calibrated probabilities", "  ")
    return lines
