"""Records of models, for tests that read a few of their fields."""

from __future__ import annotations

from typing import Any

from couplet.results.model_record import ModelRecord


def model_record(labels: list[str], params: dict[str, Any], **fields: Any) -> ModelRecord:
    """A model's record with these labels and settings; `fields` are what else the test looks at."""
    usual: dict[str, Any] = {
        "fold": 0,
        "best_epoch": 1,
        "val_auc_macro": 0.5,
        "epochs_run": 1,
        "steps": 1,
        "skipped_batches": 0,
        "n_parameters": 1,
        "device": "cpu",
        "precision": "float32",
        "arithmetic": {"name": "native"},
        "data": {},
        "code": "",
        "weights": "none",
        "versions": {},
    }
    return ModelRecord(labels=labels, params=params, **usual | fields)
