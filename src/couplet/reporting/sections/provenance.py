"""What made the models: data, code, pretrained weights and versions, and params.yaml as it was."""

from __future__ import annotations

from typing import Any

from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Provenance"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """What the models record of themselves; the template reads params.yaml from the run."""
    return {"versions": versions(run), "pretrained": run.folds[0].record.weights != "none"}


def versions(run: Run) -> list[tuple[str, str]]:
    """What made the models: code, data, pretrained weights and versions; the folds share the first three."""
    record = run.folds[0].record
    rows = [("Code", record.code), ("Pretrained weights", record.weights)]
    rows += [(f"Data: {path}", md5) for path, md5 in record.data.items()]
    # Folds that were trained on several hosts may differ in this.
    computed = dict.fromkeys(", ".join(map(str, fold.record.arithmetic.values())) for fold in run.folds)
    rows.append(("Arithmetic", "; ".join(computed)))
    for name in record.versions:
        found = {str(fold.record.versions.get(name)) for fold in run.folds}
        rows.append((name, ", ".join(sorted(found))))
    return rows
