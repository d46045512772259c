"""What `couplet compare` prints of each label: two tables, 80 columns wide."""

from __future__ import annotations

import textwrap

import numpy as np

from couplet.commands.compare import Answer
from couplet.evaluation.comparison import REPEATS, Comparison
from couplet.evaluation.estimate import FLAGS, Estimate

WIDTH = 80
LABELS = 40  # in a table; of more, those with the smallest p-values
NAME = 26  # characters of a label's name that stand in a row's own line


def wrapped(text: str, indent: str = "") -> list[str]:
    """The text in lines of at most WIDTH characters, unless a word has more; further lines are indented."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def shown_labels(found: Comparison) -> list[int]:
    """Which labels stand in the tables, in their own order."""
    p = [np.inf if one.p is None else one.p for one in found.per_label]
    return sorted(np.argsort(p, kind="stable")[:LABELS].tolist())


def arms_table(answer: Answer, labels: list[str], shown: list[int]) -> list[str]:
    """AUC of each label in both arms."""
    rows = [["AUC", "A", "B"]]
    rows += [[labels[i], *(_short(arm[i]) for arm in (answer.labels_a, answer.labels_b))] for i in shown]
    lines = aligned(rows)
    if len(shown) < len(labels):
        lines += wrapped(
            f"of {len(labels)} labels the {len(shown)} with the smallest p-values: --json has all", "  "
        )
    return lines


def differences_table(found: Comparison, labels: list[str], shown: list[int]) -> list[str]:
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
    return [*aligned(rows), *(line for note in notes for line in wrapped(note, "  "))]


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


def aligned(rows: list[list[str]]) -> list[str]:
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
