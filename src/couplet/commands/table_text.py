"""What `couplet table` prints: a table for each set of images and folds, its rows in the published tables' order."""

from __future__ import annotations

from collections.abc import Sequence

from couplet.commands.compare_tables import aligned, wrapped
from couplet.evaluation.estimate import Estimate
from couplet.reporting.published import digits, published, why_not
from couplet.results.measured import Measured

HEADS = ["system", "head", "loss", "out of fold", "test part", "published"]
SCORES = {"auc_macro": "AUC", "map": "mAP"}
EXPLAINED = (
    "macro-AUC with 95 % intervals over patients; out of fold, the epoch was chosen on the same images. All rows here "
    "are of the same images, labels and folds, each of one run or the mean of its repeats: one run per system ranks "
    "nothing (`couplet compare` says what two allow)."
)


def as_text(rows: Sequence[Measured]) -> str:
    """The rows in lines."""
    groups = dict.fromkeys((row.source, row.data) for row in rows)
    blocks = [_block([row for row in rows if (row.source, row.data) == group]) for group in groups]
    return "\n\n".join("\n".join(block) for block in blocks)


def in_order(rows: Sequence[Measured]) -> list[Measured]:
    """In the order of the published tables, then what is in neither."""
    systems = published().systems
    order = {system.preset: place for place, system in enumerate(systems)}
    return sorted(rows, key=lambda row: (order.get(row.system, len(systems)), row.key))


def _block(rows: Sequence[Measured]) -> list[str]:
    parts = {row.part: row for row in rows}
    sizes = [
        f"{name} {parts[part].images:,} images of {parts[part].patients:,} patients"
        for part, name in (("oof", "out of fold"), ("test", "test part"))
        if part in parts
    ]
    table, notes = [HEADS], []
    runs: dict[tuple[str, ...], dict[str, Measured]] = {}
    for row in in_order(rows):
        runs.setdefault((row.system, *row.experiments), {})[row.part] = row
    for (name, *_), scores in runs.items():
        row = next(iter(scores.values()))
        refined = {"off": "", "joint": " + refiner", "out_of_fold": " + fitted"}[row.refiner]
        cells = [_cell(scores[part].auc_macro) if part in scores else "-" for part in ("oof", "test")]
        table.append([name, f"{row.head_and_levels}{refined}", row.loss, *cells, _published(name)])
        notes += [
            f"{name}, no interval: {one.auc_macro.reason}" for one in scores.values() if one.auc_macro.reason
        ]
    networks = dict.fromkeys(f"{row.backbone} at {row.size} px, {_epochs(row.epochs)}" for row in rows)
    notes = [*dict.fromkeys(notes), EXPLAINED, *_not_comparable(rows)]
    return [
        *wrapped(f"{rows[0].source}: {', '.join(sizes)}; {'; '.join(networks)}"),
        "",
        *aligned(table),
        "",
        *(line for note in notes for line in wrapped(note)),
    ]


def _epochs(number: int) -> str:
    return "1 epoch" if number == 1 else f"{number} epochs"


def _cell(score: Estimate) -> str:
    if score.value is None:
        return "undefined"
    if score.low is None or score.high is None:
        return f"{score.value:.4f}"
    return f"{score.value:.4f} [{score.low:.3f}, {score.high:.3f}]"


def _published(preset: str) -> str:
    """The first macro-AUC or mAP that is printed of the system, and its data; of some there are other scores alone."""
    for number in (n for system in published().systems if system.preset == preset for n in system.shown):
        for key, name in SCORES.items():
            if key in number.values:
                return f"{name} {digits(number.values[key])}, {number.data}"
    return "-"


def _not_comparable(rows: Sequence[Measured]) -> list[str]:
    """Which systems may not be set beside the published number, by the reason of their test part, if they have one."""
    reasons: dict[str, list[str]] = {}
    for row in {row.system: row for row in in_order(rows)}.values():
        for system in published().systems:
            if system.preset == row.system and (reason := why_not(row, system.shown)):
                reasons.setdefault(reason, []).append(row.system)
    everybody = {row.system for row in rows}
    lines = []
    for reason, names in reasons.items():
        who = "any row" if set(names) == everybody else ", ".join(dict.fromkeys(names))
        lines.append(f"Not to be set beside the published numbers, {who}: {reason}.")
    return lines
