"""Every path of the graph, once. All are relative to the project's root, which is the current directory."""

from __future__ import annotations

import os
from pathlib import Path

PARAMS = Path("params.yaml")
PRESETS = Path("presets")
DVC_YAML = Path("dvc.yaml")
DVC_LOCK = Path("dvc.lock")

INVENTORY = Path("data/inventory.json")

PREPARED = Path("data/prepared")
MANIFEST = PREPARED / "manifest.csv"
LABELS = PREPARED / "labels.json"
QUARANTINE = PREPARED / "quarantine.csv"
SUBMISSION_ROWS = PREPARED / "submission_rows.csv"

FOLDS = Path("data/splits/folds.csv")
SPLIT_METRICS = Path("metrics/split.json")
SPLIT_PLOT = Path("plots/split.csv")

MODELS = Path("data/models")
PREDICTIONS = Path("data/predictions")
# Folders of their own: DVC collects what several folds have written by its parent folder.
FOLD_PREDICTIONS = PREDICTIONS / "folds"
TEST_PREDICTIONS = PREDICTIONS / "test"
EXPLANATIONS = PREDICTIONS / "explanations"
ENSEMBLE = PREDICTIONS / "ensemble"
ENSEMBLE_METRICS = Path("metrics/ensemble.json")

REPORT = Path("plots/report.html")
FIGURES = Path("plots/figures")
COUPLINGS_PLOT = Path("plots/couplings.csv")


def model_dir(fold: int) -> Path:
    """Folder of one fold's predictor.safetensors, config.json, history.csv and couplings.csv."""
    return MODELS / f"fold_{fold}"


def fold_predictions(fold: int) -> Path:
    """Out-of-fold probabilities of one fold."""
    return FOLD_PREDICTIONS / f"fold_{fold}.csv"


def fold_test_predictions(fold: int) -> Path:
    """Probabilities of the test part by one fold's model."""
    return TEST_PREDICTIONS / f"fold_{fold}.csv"


def fold_explanations(fold: int) -> Path:
    """What one fold's head looked at in a few images; without arrays where the head explains nothing."""
    return EXPLANATIONS / f"fold_{fold}.npz"


def fold_metrics(fold: int) -> Path:
    """Metrics of one fold's out-of-fold probabilities."""
    return Path(f"metrics/fold_{fold}.json")


def fold_per_label(fold: int) -> Path:
    """Per-label AUC and average precision of one fold."""
    return Path(f"plots/per_label/fold_{fold}.csv")


def fold_history(fold: int) -> Path:
    """Training history of one fold, where people and DVC plots read it."""
    return Path(f"plots/history/fold_{fold}.csv")


def main_checkout() -> Path:
    """The checkout that owns raw data and scratch.

    `dvc exp run --temp` and the queue work in `<main checkout>/.dvc/tmp/exps/<name>`; everywhere else it is
    the current directory itself.
    """
    here = Path.cwd()
    for parent in here.parents:
        if here.is_relative_to(parent / ".dvc" / "tmp" / "exps"):
            return parent
    return here


def raw_root() -> Path:
    """Folder of all raw data: the variable COUPLET_DATA_ROOT, else data/raw of the main checkout."""
    override = os.environ.get("COUPLET_DATA_ROOT")
    return Path(override) if override else main_checkout() / "data" / "raw"


def raw_source(source: str) -> Path:
    """Raw folder of one data set (a folder or a symbolic link)."""
    return raw_root() / source


def inventory_list(source: str) -> Path:
    """The detailed inventory (path, size, md5), beside the raw folder, which may be read-only."""
    return raw_root() / f"{source}.inventory.csv"


def weights_root() -> Path:
    """Folder in which `model.pretrained: true` looks for <backbone>.safetensors before it asks the hub."""
    return main_checkout() / "data" / "weights"


def scratch_root() -> Path:
    """Folder of resumable work: the variable COUPLET_SCRATCH, else .scratch of the main checkout."""
    override = os.environ.get("COUPLET_SCRATCH")
    return Path(override) if override else main_checkout() / ".scratch"
