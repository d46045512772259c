"""What `couplet compare` prints: the arms, the difference, two tables per label, the verdict; 80 columns wide."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from couplet.commands.arms import Arms
from couplet.commands.compare import Answer
from couplet.commands.revisions import REPEAT, SEED, FinishedRun
from couplet.evaluation.comparison import POWER, REPEATS, Comparison, Difference
from couplet.evaluation.estimate import FLAGS, Estimate

WIDTH = 80
LABELS = 40  # in a table; of more, those with the smallest p-values
NAME = 26  # characters of a label's name that stand in a row's own line


def as_text(answer: Answer) -> str:
    """The answer in lines."""
    labels = answer.arms.a[0].manifest.labels
    shown = _shown(answer.auc)
    blocks = [
        _about(answer),
        _primary(answer, labels),
        _arms_table(answer, labels, shown),
        _differences_table(answer.auc, labels, shown),
        _secondary(answer),
        _wrapped(f"verdict: {answer.verdict}"),
    ]
    return "\n\n".join("\n".join(block) for block in blocks)


def _wrapped(text: str, indent: str = "") -> list[str]:
    """The text in lines of at most WIDTH characters, unless a word has more; further lines are indented."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


# --- what is compared -----------------------------------------------------------------------------------------


def _about(answer: Answer) -> list[str]:
    arms, run = answer.arms, answer.arms.a[0]
    n_patients = len(np.unique(run.patients))
    how = f"paired by {SEED} and {REPEAT}" if arms.paired else "not paired"
    return [
        *_wrapped(f"A: {_names(arms.a)}"),
        *_wrapped(f"B: {_names(arms.b)}"),
        *_wrapped(
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
    return [head, *(wrapped for line in lines for wrapped in _wrapped(line, "  "))]


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "-" if value is None else str(value)


def _made(arms: Arms) -> list[str]:
    if not arms.made:
        return _wrapped("device, precision, arithmetic, library versions and code: all the same")
    lines = [f"{what}: A {', '.join(ours)}; B {', '.join(theirs)}" for what, ours, theirs in arms.made]
    head = _wrapped("attention: the models were not made alike, which alone changes digits:")
    return [*head, *(wrapped for line in lines for wrapped in _wrapped(line, "  "))]


# --- the primary endpoint -------------------------------------------------------------------------------------


def _primary(answer: Answer, labels: list[str]) -> list[str]:
    macro = answer.auc.macro
    lines = [
        "macro-AUC",
        *_wrapped(f"A      {answer.a.text()}", "  "),
        *_wrapped(f"B      {answer.b.text()}", "  "),
        *_wrapped(f"A - B  {_difference(macro)}", "  "),
    ]
    if len(macro.each) > 1:
        lines += _wrapped(f"at each repeat: {', '.join(f'{d:.5f}' for d in macro.each)}", "  ")
    if macro.error and macro.t is not None and macro.df is not None:
        df = "infinite" if np.isinf(macro.df) else f"{macro.df:.1f}"
        lines += _wrapped(f"t {macro.t:.2f}, standard error {macro.error:.5f}, degrees of freedom {df}", "  ")
    if macro.between_repeats is not None and macro.common is not None and macro.own is not None:
        lines += _wrapped(
            f"sd between repeats {macro.between_repeats**0.5:.5f}; of patients, common to all repeats "
            f"{macro.common**0.5:.5f}, each repeat's own {macro.own**0.5:.5f}",
            "  ",
        )
    if macro.detectable is not None:
        lines += _wrapped(
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
        lines += _wrapped(f"labels left out of the mean: {', '.join(left_out)}", "  ")
    for flag in macro.estimate.flags:
        lines += _wrapped(f"{flag}: {FLAGS[flag]}", "  ")
    return lines


def _repeats(number: int) -> str:
    return "1 repeat" if number == 1 else f"{number} repeats"


def _difference(found: Difference) -> str:
    if found.p is None:
        return found.estimate.text(5)
    return f"{found.estimate.text(5)}, p {'< 0.0001' if found.p < 0.0001 else f'= {found.p:.4f}'}"


# --- labels ---------------------------------------------------------------------------------------------------


def _shown(found: Comparison) -> list[int]:
    """Which labels stand in the tables, in their own order."""
    p = [np.inf if one.p is None else one.p for one in found.per_label]
    return sorted(np.argsort(p, kind="stable")[:LABELS].tolist())


def _arms_table(answer: Answer, labels: list[str], shown: list[int]) -> list[str]:
    """AUC of each label in both arms."""
    rows = [["AUC", "A", "B"]]
    rows += [[labels[i], *(_short(arm[i]) for arm in (answer.labels_a, answer.labels_b))] for i in shown]
    lines = _aligned(rows)
    if len(shown) < len(labels):
        lines += _wrapped(
            f"of {len(labels)} labels the {len(shown)} with the smallest p-values: --json has all", "  "
        )
    return lines


def _differences_table(found: Comparison, labels: list[str], shown: list[int]) -> list[str]:
    """A - B of each label: Holm's p is for saying that a label differs, Benjamini and Hochberg's for exploring."""
    holm, bh = found.adjusted()
    rows = [["AUC", "A - B", "p", "Holm", "BH", ""]]
    for i in shown:
        estimate, p = found.per_label[i].estimate, (found.per_label[i].p, holm[i], bh[i])
        rows.append([labels[i], _short(estimate), *map(_p, p), *estimate.flags])
    notes = [
        f"Holm: p for saying that {_who(found.macro.repeats)}; BH (Benjamini-Hochberg): for exploring only"
    ]
    notes += [
        f"{flag}: {FLAGS[flag]}"
        for flag in FLAGS
        if any(flag in found.per_label[i].estimate.flags for i in shown)
    ]
    reasons = {i: found.per_label[i].estimate.reason for i in shown}
    notes += [f"{labels[i]}, no interval: {reason}" for i, reason in reasons.items() if reason]
    return [*_aligned(rows), *(line for note in notes for line in _wrapped(note, "  "))]


def _who(repeats: int) -> str:
    """What it takes to differ in a label, as the verdict says it of the mean."""
    if repeats == 1:
        return "these two trained ensembles differ in a label (one repeat: nothing about the method)"
    return "a label differs" if repeats >= REPEATS else "a label differs (two repeats: not a test)"


def _short(estimate: Estimate) -> str:
    """Without its flags, which have a column, and its reason, which has a line."""
    if estimate.value is None:
        return "undefined"
    plain = estimate.text().removesuffix(f" ({', '.join(estimate.flags)})")
    return plain.split(", no interval")[0] if estimate.reason else plain


def _p(p: float | None) -> str:
    return "-" if p is None else "<.001" if p < 0.001 else f"{p:.3f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Rows in columns, the first line their heads; a name longer than NAME stands in a line of its own."""
    columns = list(zip(*([*row, ""][: len(rows[0])] for row in rows), strict=True))
    widths = [min(max(map(len, columns[0])), NAME), *(max(map(len, column)) for column in columns[1:])]
    lines = []
    for name, *cells in zip(*columns, strict=True):
        row = [name if len(name) <= NAME else "", *cells]
        if not row[0]:
            lines.append(name)
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return lines


# --- other endpoints ------------------------------------------------------------------------------------------


def _secondary(answer: Answer) -> list[str]:
    lines = ["secondary endpoints, p-values not corrected"]
    for name, found in answer.secondary.items():
        better = "" if name == "mAP" else " (lower is better)"
        lines += _wrapped(f"{name}{better}: A {found.macro.a:.4f}, B {found.macro.b:.4f}", "  ")
        lines += _wrapped(f"A - B  {_difference(found.macro)}", "    ")
    if len(answer.secondary) == 1:
        lines += _wrapped("log loss, Brier score: not all runs have calibrated probabilities", "  ")
    return lines
