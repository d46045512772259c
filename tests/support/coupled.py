"""A trained project as one whose couplings are fitted after training, without training it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from safetensors.numpy import load_file, save_file

from couplet.project.project import Project
from couplet.results.couplings import write_couplings
from tests.support.in_process import InProcessProject


def couple_afterwards(project: InProcessProject, changes: Mapping[str, Any] | None = None) -> None:
    """Take the trained couplings out of every fold, and predict with couplings fitted out of fold.

    Args:
        project: trained, of the folds 0 and 1.
        changes: further settings of `ensemble-predict`, by dotted keys.
    """
    for fold in (0, 1):
        folder = project.folder / f"data/models/fold_{fold}"
        weights = load_file(folder / "predictor.safetensors")
        save_file(
            {name: value for name, value in weights.items() if not name.startswith("refiner.")},
            folder / "predictor.safetensors",
        )
        record = json.loads((folder / "config.json").read_text())
        record["params"]["refiner"]["fit"] = "out_of_fold"
        (folder / "config.json").write_text(json.dumps(record))
        labels = project.entry("data/prepared/labels.json", "labels")
        write_couplings(Project(project.folder), fold, labels, None)
    # So few images are coupled by a small penalty only.
    project.set({"refiner.fit": "out_of_fold", "refiner.strictness": 0.1, **(changes or {})})
    for command in (("evaluate-fold", "0"), ("evaluate-fold", "1"), ("ensemble-predict",)):
        outcome = project.run(*command)
        assert outcome.code == 0, outcome
