"""Finished runs, made up without training anything and written as the stages write them, in git and DVC."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.repo import Repo

from couplet.project.files import write_json
from couplet.project.project import Project as Paths
from couplet.results.folds import write_folds
from couplet.results.manifest import read_manifest, write_manifest
from couplet.results.model_record import ModelRecord, write_model_record
from couplet.results.predictions import write_predictions
from tests.support.params import set_dotted
from tests.support.projects import ROOT, Project

LABELS = ["Edema", "Nodule", "Hernia"]
FOLDS = [0, 1]
N = 160
OUTS = {
    "prepare": ["data/prepared"],
    "split_mis": ["data/splits/folds.csv"],
    "train_fold@0": ["data/models/fold_0"],
    "train_fold@1": ["data/models/fold_1"],
    "evaluate_fold@0": ["data/predictions/folds/fold_0.csv"],
    "evaluate_fold@1": ["data/predictions/folds/fold_1.csv"],
    "ensemble_predict": ["data/predictions/ensemble"],
}


def write_run(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    skill: float = 1.0,
    draw: int = 0,
    data_seed: int = 7,
    record: Mapping[str, Any] | None = None,
    labels: list[str] = LABELS,
    prefix: str = "i",
    other_folds: bool = False,
) -> None:
    """Write the results of a run: `skill` moves the scores of positives, `draw` is the luck of its training.

    `labels`, `prefix` (of image ids) and `other_folds` make other data. Hernia has positives of one patient only; the last image is unknown for Edema.
    """
    paths = Paths(folder)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["split"]["folds"] = FOLDS
    set_dotted(params, settings or {})
    paths.params.write_text(yaml.safe_dump(params, sort_keys=False))

    random = np.random.default_rng(data_seed)
    patients = np.arange(N) // 2
    truth = (random.random((N, 3)) < [0.4, 0.2, 0.0]).astype(float)
    truth[:2, 2] = 1
    truth[-1, 0] = np.nan
    table = pd.DataFrame({"image_id": [f"{prefix}{i:03d}" for i in range(N)], "part": "train"})
    table = table.assign(
        patient_id=[f"p{g:02d}" for g in patients], study_id="1", view="AP", sex="F", age="50"
    )
    table = table.assign(width=9, height=9, shard=0, row=np.arange(N))
    table = table.assign(picture=[f"{i:016x}" for i in range(N)]).join(pd.DataFrame(truth, columns=labels))
    paths.prepared.mkdir(parents=True, exist_ok=True)
    write_manifest(paths.prepared, table, labels)
    write_json(paths.labels, {"labels": labels, "notes": {}})
    manifest = read_manifest(paths)
    fold_of = np.where(patients % 5 == 4, "test", ((patients + other_folds) % 2).astype(str))
    write_folds(manifest, fold_of)

    # What all runs share of an image's difficulty, and what is this run's own.
    shared = random.normal(size=truth.shape)
    own = np.random.default_rng(1000 + draw).normal(size=truth.shape)
    score = 1 / (1 + np.exp(-(skill * np.nan_to_num(truth) + shared + 0.3 * own)))
    trained = {key: params[key] for key in ("seed", "model", "refiner", "loss", "train")}
    for fold in FOLDS:
        rows = np.flatnonzero(fold_of == str(fold))
        write_predictions(paths.fold_predictions(fold), manifest.ids[rows], labels, score[rows])
        paths.model(fold).mkdir(parents=True, exist_ok=True)
        about: dict[str, Any] = {
            "fold": fold,
            "labels": labels,
            "best_epoch": 3,
            "val_auc_macro": 0.8,
            "epochs_run": 3,
            "steps": 9,
            "skipped_batches": 0,
            "n_parameters": 10,
            "device": "cpu",
            "precision": "float32",
            "arithmetic": {"name": "portable", "processor": "any", "instruction_sets": "AVX2"},
            "params": trained,
            "data": {},
            "code": "c0de",
            "weights": "none",
            "versions": {"torch": "2.15.0", "timm": "1.0.31"},
        }
        write_model_record(paths.model(fold), ModelRecord(**{**about, **(record or {})}))
    rows = np.flatnonzero(fold_of == "test")
    write_predictions(paths.ensemble / "test.csv", manifest.ids[rows], labels, score[rows])


def write_calibrated(folder: Path, shift: float) -> None:
    """Write calibrated probabilities, all moved towards 0.5 by `shift`."""
    paths = Paths(folder)
    parts = {
        "test.csv": "calibrated.csv",
        **{f"../folds/fold_{fold}.csv": f"fold_{fold}" for fold in FOLDS},
    }
    tables = {name: pd.read_csv(paths.ensemble / path) for path, name in parts.items()}
    test = tables.pop("calibrated.csv")
    oof = pd.concat(list(tables.values())).sort_values("image_id")
    for name, table in (("calibrated.csv", test), ("oof_calibrated.csv", oof)):
        moved = 0.5 + (table[LABELS].to_numpy() - 0.5) * (1 - shift)
        write_predictions(paths.ensemble / name, table["image_id"].to_numpy(), LABELS, moved)


class Repository(Project):
    """A checkout whose runs are written instead of computed. DVC works in this process: starting it takes a second."""

    @contextlib.contextmanager
    def dvc(self) -> Iterator[Repo]:
        """DVC in this checkout."""
        with contextlib.chdir(self.folder), Repo() as repo:
            yield repo

    def record(self) -> None:
        """Take the workspace's results into the cache and dvc.lock."""
        with self.dvc() as repo:
            repo.commit(force=True)

    def save(self, name: str, **run: Any) -> None:
        """Write a run and save it as an experiment; the workspace is as before afterwards."""
        write_run(self.folder, **run)
        self.record()
        with self.dvc() as repo:
            repo.experiments.save(name=name)
        self.back()

    def branch(self, name: str, **run: Any) -> None:
        """Write a run and commit it to a branch; the workspace is as before afterwards."""
        self.run("git", "checkout", "-q", "-b", name)
        write_run(self.folder, **run)
        self.record()
        self.commit(name)
        self.run("git", "checkout", "-q", "main")
        self.back()

    def back(self) -> None:
        """Bring back what was committed."""
        self.run("git", "checkout", "-q", ".")
        with self.dvc() as repo:
            repo.checkout(force=True)


def make_repository(folder: Path) -> Repository:
    """A repository on its first commit, with a finished run."""
    folder.mkdir(parents=True)
    for name in (".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    stages = {name: {"cmd": "true", "outs": outs} for name, outs in OUTS.items() if "@" not in name}
    for name in ("train_fold", "evaluate_fold"):
        outs = [out.replace("fold_0", "fold_${item}") for out in OUTS[f"{name}@0"]]
        stages[name] = {"foreach": FOLDS, "do": {"cmd": "true ${item}", "outs": outs}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    repository = Repository(folder)
    repository.run("git", "init", "-q", "-b", "main")
    write_run(folder)
    repository.record()
    repository.commit("a finished run")
    return repository


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with a run on main, one on the branch `other`, and experiments. Do not change it: copy it."""
    repository = make_repository(tmp_path_factory.mktemp("runs") / "project")
    repository.branch("other", settings={"optimizer.lr": 0.001}, draw=1)
    repository.save("no-refiner", settings={"refiner.enabled": False}, skill=0.2, draw=2)
    return repository
