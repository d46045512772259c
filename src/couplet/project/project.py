"""Every path of the graph, once, below a root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Project:
    """A checkout of the project; the current directory by default. Results are read from any root alike."""

    root: Path = Path()

    # --- settings and the graph -------------------------------------------------------------------------------

    @property
    def params(self) -> Path:
        """All settings."""
        return self.root / "params.yaml"

    @property
    def presets(self) -> Path:
        """Folder of the presets."""
        return self.root / "presets"

    @property
    def dvc_yaml(self) -> Path:
        """The graph."""
        return self.root / "dvc.yaml"

    @property
    def dvc_lock(self) -> Path:
        """What DVC has recorded of each stage's last run."""
        return self.root / "dvc.lock"

    # --- data -------------------------------------------------------------------------------------------------

    @property
    def inventory(self) -> Path:
        """What stands for the raw data: number, size and digest of its files."""
        return self.root / "data/inventory.json"

    @property
    def weights_list(self) -> Path:
        """The digest of each pretrained weights' file that models are trained from."""
        return self.root / "data/weights.json"

    @property
    def prepared(self) -> Path:
        """The packed store and its tables."""
        return self.root / "data/prepared"

    @property
    def manifest(self) -> Path:
        """One row per readable image."""
        return self.prepared / "manifest.csv"

    @property
    def labels(self) -> Path:
        """Names of the labels, how images are stored, and counts of the data set's own rules."""
        return self.prepared / "labels.json"

    @property
    def shards(self) -> Path:
        """The files that hold the images, with size and digest."""
        return self.prepared / "shards.csv"

    @property
    def quarantine(self) -> Path:
        """The images that cannot be read, and why."""
        return self.prepared / "quarantine.csv"

    @property
    def submission_rows(self) -> Path:
        """The rows of the data set's own submission."""
        return self.prepared / "submission_rows.csv"

    @property
    def external(self) -> Path:
        """The packed store and the tables of the external test; without images where there is none."""
        return self.root / "data/external"

    @property
    def folds(self) -> Path:
        """The fold of every image, or `test`."""
        return self.root / "data/splits/folds.csv"

    # --- results ----------------------------------------------------------------------------------------------

    @property
    def models(self) -> Path:
        """A folder per fold."""
        return self.root / "data/models"

    def model(self, fold: int | str) -> Path:
        """Folder of one fold's predictor.safetensors, config.json, history.csv and couplings.csv."""
        return self.models / f"fold_{fold}"

    @property
    def predictions(self) -> Path:
        """All predictions. Folds have folders of their own: DVC collects several folds' files by their folder."""
        return self.root / "data/predictions"

    def fold_predictions(self, fold: int | str) -> Path:
        """Out-of-fold probabilities of one fold."""
        return self.predictions / f"folds/fold_{fold}.csv"

    def test_predictions(self, fold: int | str) -> Path:
        """Probabilities of the test part by one fold's model."""
        return self.predictions / f"test/fold_{fold}.csv"

    def external_predictions(self, fold: int | str) -> Path:
        """Probabilities of the external test by one fold's model; without rows where there is none."""
        return self.predictions / f"external/fold_{fold}.csv"

    def explanations(self, fold: int | str) -> Path:
        """What one fold's head looked at in a few images, and what a gate of the couplings said; may have no arrays."""
        return self.predictions / f"explanations/fold_{fold}.npz"

    @property
    def ensemble(self) -> Path:
        """The mean over the folds of the test part, calibrated, decided, and the submission."""
        return self.predictions / "ensemble"

    @property
    def external_ensemble(self) -> Path:
        """The mean over the folds of the external test, calibrated and decided; not there without one."""
        return self.ensemble / "external"

    @property
    def refined_oof(self) -> Path:
        """Out-of-fold probabilities refined by couplings of the other folds; there with refiner.fit: out_of_fold."""
        return self.ensemble / "oof_refined.csv"

    def refined_test(self, fold: int | str) -> Path:
        """Refined probabilities of the test part by one fold's model."""
        return self.ensemble / f"test_refined_{fold}.csv"

    @property
    def metrics(self) -> Path:
        """What `dvc metrics` shows."""
        return self.root / "metrics"

    @property
    def split_metrics(self) -> Path:
        """How even the folds are."""
        return self.metrics / "split.json"

    def fold_metrics(self, fold: int | str) -> Path:
        """Metrics of one fold's out-of-fold probabilities."""
        return self.metrics / f"fold_{fold}.json"

    @property
    def ensemble_metrics(self) -> Path:
        """Metrics of all out-of-fold probabilities, and of the ensemble."""
        return self.metrics / "ensemble.json"

    @property
    def calibration_metrics(self) -> Path:
        """How good the calibrated probabilities and the prediction sets are."""
        return self.metrics / "calibration.json"

    @property
    def external_metrics(self) -> Path:
        """How the ensemble does on the external test, beside the test part, over the labels that both have."""
        return self.metrics / "external.json"

    @property
    def couplings_metrics(self) -> Path:
        """Whether the couplings do anything, and what they could do at most."""
        return self.metrics / "couplings.json"

    @property
    def systems(self) -> Path:
        """What runs of the presets scored: `couplet table --write` writes it, the report reads it if it is there."""
        return self.metrics / "systems.csv"

    @property
    def plots(self) -> Path:
        """What `dvc plots` shows, and the report."""
        return self.root / "plots"

    @property
    def split_plot(self) -> Path:
        """Share of positives per label and part."""
        return self.plots / "split.csv"

    def per_label(self, fold: int | str) -> Path:
        """Per-label AUC and average precision of one fold."""
        return self.plots / f"per_label/fold_{fold}.csv"

    def history(self, fold: int | str) -> Path:
        """Training history of one fold, where people and DVC plots read it."""
        return self.plots / f"history/fold_{fold}.csv"

    @property
    def reliability_plot(self) -> Path:
        """Observed share of positives against the calibrated probability."""
        return self.plots / "reliability.csv"

    @property
    def thresholds_plot(self) -> Path:
        """Operating points of each label, by every rule."""
        return self.plots / "thresholds.csv"

    @property
    def sets_plot(self) -> Path:
        """Coverage of the prediction sets of each label, class and category."""
        return self.plots / "sets.csv"

    @property
    def risk_coverage_plot(self) -> Path:
        """Errors that remain when the unsure cells are left aside."""
        return self.plots / "risk_coverage.csv"

    @property
    def couplings_plot(self) -> Path:
        """Couplings of all folds in long form."""
        return self.plots / "couplings.csv"

    @property
    def subgroups_plot(self) -> Path:
        """Each label in each subgroup."""
        return self.plots / "subgroups.csv"

    @property
    def shortcuts_plot(self) -> Path:
        """What sex, age or view alone contribute to each label's AUC."""
        return self.plots / "shortcuts.csv"

    @property
    def report(self) -> Path:
        """The page."""
        return self.plots / "report.html"

    @property
    def figures(self) -> Path:
        """The page's pictures."""
        return self.plots / "figures"

    # --- what is neither in git nor in DVC --------------------------------------------------------------------

    @property
    def main_checkout(self) -> Path:
        """The checkout that owns raw data and unfinished work.

        `dvc exp run --temp` and the queue work in `<main checkout>/.dvc/tmp/exps/<name>`; everywhere else it is
        the root itself.
        """
        here = self.root.absolute()
        for parent in here.parents:
            if here.is_relative_to(parent / ".dvc" / "tmp" / "exps"):
                return parent
        return here

    @property
    def raw_root(self) -> Path:
        """Folder of all raw data: the variable COUPLET_DATA_ROOT, else data/raw of the main checkout."""
        override = os.environ.get("COUPLET_DATA_ROOT")
        return Path(override) if override else self.main_checkout / "data" / "raw"

    def raw(self, source: str) -> Path:
        """Raw folder of one data set (a folder or a symbolic link)."""
        return self.raw_root / source

    def inventory_list(self, source: str) -> Path:
        """The detailed inventory (path, size, md5), beside the raw folder, which may be read-only."""
        return self.raw_root / f"{source}.inventory.csv"

    @property
    def weights(self) -> Path:
        """Folder in which `model.pretrained: true` looks for <backbone>.safetensors before it asks the hub."""
        return self.main_checkout / "data" / "weights"

    @property
    def scratch(self) -> Path:
        """Folder of unfinished work: the variable COUPLET_SCRATCH, else .scratch of the main checkout."""
        override = os.environ.get("COUPLET_SCRATCH")
        return Path(override) if override else self.main_checkout / ".scratch"


@dataclass(frozen=True)
class ExternalStore(Project):
    """The same checkout, its store being that of the external test: what reads a store reads that one."""

    @property
    def prepared(self) -> Path:
        """The external test's packed store and its tables."""
        return self.external


HERE = Project()
"""The project in the current directory, whichever that is."""
