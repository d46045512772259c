"""Finished runs of any git revision, DVC experiment or the workspace, read without checking anything out."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from couplet.commands.revision_files import NotOfThisRun, experiments_like, fetcher
from couplet.evaluation.estimate import Source, source_of
from couplet.project.errors import UserError
from couplet.project.project import HERE, Project
from couplet.results.folds import read_folds
from couplet.results.manifest import Manifest, read_manifest
from couplet.results.model_record import ModelRecord, read_model_record
from couplet.results.predictions import gather_folds, read_predictions
from couplet.results.refusals import refuse_mixed_folds, refuse_other_params
from couplet.settings.params import Params, flatten, parse_params
from couplet.settings.yaml12 import read_settings

WORKSPACE = (".", "workspace")
PARTS = ("oof", "test")
SEED, REPEAT, UNSCORED = "seed", "train.repeat", "inference.unscored"


@dataclass(frozen=True)
class FinishedRun:
    """What a comparison reads of one run. n images of the part, L labels.

    Attributes:
        name: the revision, experiment or "workspace".
        settings: every key of params.yaml, dotted, with the defaults of those that it lacks.
        manifest: all images.
        fold_of: (N,) fold of each image of the manifest.
        records: of each fold's model.
        rows: (n,) positions of the part's images in the manifest.
        probabilities: (n, L) of the part: each by the model of its fold (oof), or the mean over folds (test).
        calibrated: (n, L), or None where the run has none.
        sources: the files of these probabilities.
    """

    name: str
    settings: dict[str, Any]
    manifest: Manifest
    fold_of: np.ndarray
    records: dict[int, ModelRecord]
    rows: np.ndarray
    probabilities: np.ndarray
    calibrated: np.ndarray | None
    sources: tuple[Source, ...]

    @property
    def repeat(self) -> tuple[int, int]:
        """By which repeats of two arms are paired: the seed, and the repeat of the training with that seed."""
        return self.settings[SEED], self.settings.get(REPEAT, 0)

    @property
    def truth(self) -> np.ndarray:
        """(n, L) of the part's images: 0, 1 or NaN."""
        return self.manifest.truth[self.rows]

    @property
    def scored(self) -> np.ndarray:
        """(L,) whether a label is in the run's means over labels (inference.unscored)."""
        return self.manifest.scored(self.settings.get(UNSCORED, []))

    @property
    def patients(self) -> np.ndarray:
        """(n,) patient of each image of the part; an image without one stands for itself."""
        named = self.manifest.table["patient_id"].to_numpy(dtype=str)
        return np.where(named == "", self.manifest.ids.astype(str), named)[self.rows]


def read_runs(argument: str, part: str) -> list[FinishedRun]:
    """The runs that an argument of `couplet compare` names.

    Args:
        argument: a revision, an experiment's name, `.` or `workspace`, or a pattern of experiments' names
            ("on-*"), whose runs come in the order of their names.
        part: oof or test.

    Raises:
        UserError: there is no such revision or experiment, a file is not in the cache, or the run is not finished.
    """
    names = experiments_like(argument) if any(sign in argument for sign in "*?[") else [argument]
    return [read_finished_run(name, part) for name in names]


def read_finished_run(name: str, part: str) -> FinishedRun:
    """One run, see `read_runs`."""
    if name in WORKSPACE:
        return _read(HERE, "workspace", part, lambda path: None)
    with tempfile.TemporaryDirectory() as folder:
        fetch = fetcher(name, Path(folder))
        try:
            return _read(Project(Path(folder)), name, part, fetch)
        except UserError as error:
            message = str(error).replace(f"{folder}/", "")
            raise UserError(message if message.startswith(f"{name}: ") else f"{name}: {message}") from None


# --- what is read ---------------------------------------------------------------------------------------------


def _read(project: Project, name: str, part: str, fetch: Callable[[Path], None]) -> FinishedRun:
    """Read a run below a root, where `fetch` first puts each file that is needed."""
    fetch(project.params)
    settings, params = _settings(project.params)
    folds: list[int] = settings["split.folds"]
    models = [project.model(fold) / "config.json" for fold in folds]
    for path in (project.labels, project.manifest, project.folds, *models):
        fetch(path)
    manifest = read_manifest(project)
    fold_of = read_folds(manifest)
    records = {fold: read_model_record(project.model(fold)) for fold in folds}
    refuse_mixed_folds(records, project)
    if params is not None:
        refuse_other_params(params, records[folds[0]], project)
    _refuse_other_tables(records[folds[0]], project)

    if part == "test":
        files, calibrated_file = [project.ensemble / "test.csv"], project.ensemble / "calibrated.csv"
        parts = [np.flatnonzero(fold_of == "test")]
        if not np.isfinite(manifest.truth[parts[0]]).any():
            raise UserError(f"{project.folds}: no label of a test part is known: use `--part oof`")
    else:
        files, calibrated_file = (
            [project.fold_predictions(fold) for fold in folds],
            project.ensemble / "oof_calibrated.csv",
        )
        parts = [np.flatnonzero(fold_of == str(fold)) for fold in folds]
        if params is not None and params.refiner.fitted_afterwards:
            files, parts = [project.refined_oof], [np.sort(np.concatenate(parts))]
    for path in files:
        fetch(path)
    read = [
        read_predictions(path, manifest.labels, manifest.ids[rows])
        for path, rows in zip(files, parts, strict=True)
    ]
    rows, probabilities = gather_folds(zip(parts, read, strict=True))
    return FinishedRun(
        name=name,
        settings=settings,
        manifest=manifest,
        fold_of=fold_of,
        records=records,
        rows=rows,
        probabilities=probabilities,
        calibrated=_optional(calibrated_file, manifest, rows, fetch),
        sources=tuple(source_of(path, project.root) for path in files),
    )


def _refuse_other_tables(record: ModelRecord, project: Project) -> None:
    """Raise UserError if a model was trained on other tables than those that are here."""
    for path, md5 in record.data.items():
        file = project.root / path
        if file.is_file() and hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != md5:
            raise UserError(
                f"{file} is not what the models were trained on, so the run is not finished: run `dvc repro`"
            )


def _settings(path: Path) -> tuple[dict[str, Any], Params | None]:
    """All settings by their dotted keys; also as typed settings unless another version of the code wrote them."""
    raw = read_settings(path)
    try:
        params = parse_params(raw, str(path))
    except UserError:
        return flatten(Params().as_dict()) | flatten(raw), None
    return flatten(params.as_dict()), params


def _optional(
    path: Path, manifest: Manifest, rows: np.ndarray, fetch: Callable[[Path], None]
) -> np.ndarray | None:
    """Calibrated probabilities, where the run has them."""
    try:
        fetch(path)
    except NotOfThisRun:
        return None
    return read_predictions(path, manifest.labels, manifest.ids[rows]) if path.exists() else None
