"""A trained ensemble, ready for images that no stage knows: networks, pixels' way, calibration and sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from couplet.datasets.registry import body_parts
from couplet.evaluation.couplings.fit import LabelCouplings, filled
from couplet.evaluation.sets import ConformalRecord, prediction_sets
from couplet.inference.calibrate import of_ensemble
from couplet.inference.engine import Engine, TorchEngine
from couplet.inference.ensemble import mean_over_folds
from couplet.inference.recorded import folds_of, project_of
from couplet.models.device import resolve_device, resolve_precision
from couplet.models.predictor import load_predictor
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.project.files import read_record, sha256_of
from couplet.project.project import Project
from couplet.results.bundle import INTENDED_USE, own_version
from couplet.results.calibrated import ALL_IMAGES, UNKNOWN, CalibrationRecord, read_calibration
from couplet.results.fitted_couplings import MATRIX, RECORD, read_fitted
from couplet.results.model_record import ModelRecord, read_model_record
from couplet.results.predictions import as_read_back
from couplet.results.refusals import refuse_mixed_folds
from couplet.results.sets import read_conformal_file
from couplet.results.tables import read_table
from couplet.settings.params import load_params
from couplet.settings.schema.image import Codec, Rendering
from couplet.settings.schema.inference import InferenceParams
from couplet.settings.schema.refiner import RefinerParams
from couplet.settings.schema.train import TrainParams
from couplet.settings.yaml12 import read_yaml

LATERAL = ("lateral", "ll", "rl", "llo", "rlo")


@dataclass(frozen=True)
class ImageWay:
    """How a file becomes the pixels that the model knows.

    Attributes:
        store_size: side S that pictures are squashed to.
        channels: C, 1 or 3.
        codec: what the store's pixels went through.
        rendering: how grey values of medical formats become 8 bits.
        body_parts: that a file may name; None: any.
        lateral: whether the model has seen lateral views, or nobody knows which it has seen.
        sources: the data sets that it was trained on, as `data.source` names them.
    """

    store_size: int
    channels: int
    codec: Codec
    rendering: Rendering = "voi"
    body_parts: tuple[str, ...] | None = None
    lateral: bool = True
    sources: tuple[str, ...] = ()


def lateral_seen(views: Iterable[str]) -> bool:
    """Whether a lateral view is among those that a model has seen, or nothing is known of them.

    >>> [lateral_seen(views) for views in (["AP", "LL"], ["AP", ""], [""], [])]
    [True, False, True, True]
    """
    known = {view.casefold() for view in views} - {""}
    return not known or any(view.startswith(LATERAL) for view in known)


@dataclass(frozen=True)
class Numbers:
    """What the ensemble says of n images with L labels, in the digits that are written.

    Attributes:
        by_fold: (K, n, L) each fold's probability, refined where couplings were fitted after training.
        raw: (n, L) their mean.
        q: (n, L) calibrated; None where the ensemble is not.
        decision: (n, L) int8, 0 absent, 1 present, 2 both, 3 neither; None without out-of-fold scores.
    """

    by_fold: np.ndarray
    raw: np.ndarray
    q: np.ndarray | None
    decision: np.ndarray | None


@dataclass(frozen=True)
class Ensemble:
    """K trained folds and all that is made of their outputs. Made by `load_models`; a bundle's loader makes it alike.

    Attributes:
        labels: L names.
        folds: K numbers.
        engine: what runs the networks.
        image: how files become pixels.
        batch_size: images per step; another one changes the last digits.
        calibration: None where nothing is calibrated.
        conformal: None without scores for sets.
        digest: 16 hex digits of the weights, of the couplings and of the calibration.
        couplings: fitted after training, by which the networks' outputs are refined; None: networks have their own, or
            none.
        known: (L,) of 1, 0 or NaN, labels that are known of all images (`told`); None: of none.
    """

    labels: list[str]
    folds: list[int]
    engine: Engine
    image: ImageWay
    batch_size: int
    calibration: CalibrationRecord | None
    conformal: ConformalRecord | None
    digest: str
    couplings: LabelCouplings | None = None
    known: np.ndarray | None = None

    @property
    def thresholds(self) -> list[float | None]:
        """L thresholds on q by the rule of `decision.rule`; None where there is none."""
        if self.calibration is None:
            return [None] * len(self.labels)
        return [point.value for point in self.calibration.points[self.calibration.decision.rule]]

    @property
    def known_labels(self) -> dict[str, int]:
        """What is known of all images, by label."""
        if self.known is None:
            return {}
        return {name: int(y) for name, y in zip(self.labels, self.known, strict=True) if not np.isnan(y)}

    @property
    def views_matter(self) -> bool:
        """Whether sets keep their promise within views: an image of an unknown one gets whole sets."""
        return self.conformal is not None and list(self.conformal.categories) != [ALL_IMAGES]

    def category(self, view_position: str, view: str) -> str:
        """The category of an image for its sets, by what is known of its view.

        Args:
            view_position: as the data set writes views (AP, PA), or empty.
            view: frontal, lateral or empty.
        """
        if self.conformal is None or not self.views_matter:
            return ALL_IMAGES
        known = {str(name).casefold(): str(name) for name in self.conformal.categories}
        for name in (view_position, view):
            if name and name.casefold() in known:
                return known[name.casefold()]
        return UNKNOWN

    def predict(self, images: np.ndarray, categories: np.ndarray) -> Numbers:
        """The numbers of stored images uint8 (n, C, S, S) of these categories (n,)."""
        by_fold = self.engine.by_fold(images)
        if self.couplings is not None:  # from here on everything is of the refined probabilities
            by_fold = as_read_back(self.couplings.refined(by_fold, self.known))
        raw = as_read_back(mean_over_folds(list(by_fold)))
        q = decision = None
        if np.isfinite(by_fold).all():
            if self.calibration is not None:
                q = of_ensemble(self.calibration.calibrators, self.calibration.posterior)(raw)
                q = q if self.known is None else filled(self.known, q)
            if self.conformal is not None and self.calibration is not None:
                alpha = self.calibration.decision.alpha
                decision = prediction_sets(self.conformal, by_fold, categories, alpha).decision
        return Numbers(by_fold, raw, q, decision)


def load_models(models: Path) -> Ensemble:
    """Load the folds of a project's data/models, with the calibration and the sets of the same run.

    Settings are the folds' own records; how pictures are stored is data/prepared/labels.json, which must be the one
    that the folds were trained with.

    Raises:
        UserError: something is missing, damaged, or of another run than the rest.
    """
    project = project_of(models)
    folds = folds_of(project)
    records = {fold: read_model_record(project.model(fold)) for fold in folds}
    refuse_mixed_folds(records, project)
    first = records[folds[0]]
    train = TrainParams.model_validate(first.params["train"])
    device = _device(train)
    inference = _inference(project, folds[0])
    predictors = [
        load_predictor(project.model(fold), first.labels)
        .to(device)
        .to(memory_format=torch.channels_last)
        .eval()
        for fold in folds
    ]
    precisions = [_precision(records[fold], device) for fold in folds]
    if read := first.params["model"].get("metadata"):
        say(
            f"the models read {', '.join(read)} beside a picture (model.metadata), which nobody tells them here: the "
            "means of their training images take their place"
        )
    size = first.params["image"]["size"]
    engine = TorchEngine(predictors, precisions, size, inference.tta, device, inference.view)
    calibration, conformal = _calibration(project, first, len(folds))
    couplings = _couplings(project, first, calibration)
    return Ensemble(
        labels=first.labels,
        folds=folds,
        engine=engine,
        image=_image_way(project, first),
        batch_size=inference.batch_size,
        calibration=calibration,
        conformal=conformal,
        digest=_digest(project, folds, couplings is not None),
        couplings=couplings,
    )


def _device(train: TrainParams) -> torch.device:
    if train.device == "cuda" and not torch.cuda.is_available():
        say("the models were trained on a GPU and there is none here: their last digits differ on a CPU")
        return torch.device("cpu")
    return resolve_device(train.device, train.arithmetic)


def _precision(record: ModelRecord, device: torch.device) -> str:
    if record.precision == "fp16" and device.type == "cpu":
        say(
            f"fold {record.fold} was trained in fp16, which needs a GPU: float32 is used, with other last digits"
        )
        return "float32"
    return resolve_precision(record.precision, device)


def _inference(project: Project, fold: int) -> InferenceParams:
    """What the run's own predictions, which calibration is fitted on, were made with."""
    try:
        entry = read_yaml(project.dvc_lock)["stages"][f"evaluate_fold@{fold}"]
        return InferenceParams.model_validate(entry["params"]["params.yaml"]["inference"])
    except (UserError, OSError, KeyError, TypeError, ValueError):  # the stages were run without DVC
        return load_params(project.params).inference


def _image_way(project: Project, record: ModelRecord) -> ImageWay:
    stored = read_record(project.labels, image=dict, source=str)
    layout = stored["image"]
    relative = project.labels.relative_to(project.root).as_posix()
    md5 = hashlib.md5(project.labels.read_bytes(), usedforsecurity=False).hexdigest()
    if record.data.get(relative) != md5:
        raise UserError(
            f"{project.model(record.fold)} was trained on another labels.json than {project.labels}: run `dvc repro`"
        )
    lateral = lateral_seen(read_table(project.manifest, required=("view",))["view"].astype(str))
    sources = (stored["source"], *(stored.get("members") or {}).values())
    parts, rendering = body_parts(*sources), record.params["image"].get("dicom", "voi")
    return ImageWay(
        layout["store_size"], layout["channels"], layout["codec"], rendering, parts, lateral, sources
    )


def _calibration(
    project: Project, record: ModelRecord, n_folds: int
) -> tuple[CalibrationRecord | None, ConformalRecord | None]:
    path = project.ensemble / "calibration.json"
    if not path.exists():
        say(
            f"{path} is not there: values are the mean of the folds' outputs, not calibrated, and nothing is decided"
        )
        return None, None
    calibration = read_calibration(path, record.labels)
    if calibration.loss.model_dump(by_alias=True) != record.params["loss"]:
        raise UserError(
            f"{path} is of models with another loss than {project.model(record.fold)}: run `dvc repro`"
        )
    scores = project.ensemble / "conformal.npz"
    if not scores.exists():
        say(f"{scores} is not there: probabilities are calibrated, but nothing is decided")
        return calibration, None
    conformal = read_conformal_file(scores, len(record.labels))
    if conformal.n_folds != n_folds:
        raise UserError(
            f"{scores} is of {conformal.n_folds} folds, {project.models} has {n_folds}: run `dvc repro`"
        )
    return calibration, conformal


def _couplings(
    project: Project, record: ModelRecord, calibration: CalibrationRecord | None
) -> LabelCouplings | None:
    """Those that the run's own predictions were refined with before anything was calibrated."""
    folder, wanted = project.ensemble, RefinerParams.model_validate(record.params["refiner"])
    if calibration is not None and (calibration.refiner is not None) != wanted.fitted_afterwards:
        raise UserError(
            f"{folder / 'calibration.json'} is of models with another refiner than {project.model(record.fold)}: run "
            "`dvc repro`"
        )
    if not wanted.fitted_afterwards:
        return None
    if calibration is None and not (folder / MATRIX).exists():
        say(f"{folder / MATRIX} is not there: no couplings refine what the networks say")
        return None
    return read_fitted(project, record.labels)[0]


def _digest(project: Project, folds: list[int], coupled: bool) -> str:
    digest = hashlib.sha256()
    files = [
        project.model(fold) / name for fold in folds for name in ("config.json", "predictor.safetensors")
    ]
    fitted = ["calibration.json", "conformal.npz", *([MATRIX, RECORD] if coupled else [])]
    for path in (*files, *(project.ensemble / name for name in fitted)):
        if path.exists():
            digest.update(bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()[:16]


def head_of(ensemble: Ensemble, by: str) -> dict[str, Any]:
    """What is true of all rows of a file of predictions."""
    calibration = ensemble.calibration
    return {
        "couplet": own_version(),
        "model": ensemble.digest,
        "labels": ensemble.labels,
        "folds": ensemble.folds,
        "calibrated": calibration is not None,
        "threshold_rule": None if calibration is None else calibration.decision.rule,
        "alpha": None if calibration is None else calibration.decision.alpha,
        "decisions": {"0": "absent", "1": "present", "2": "both", "3": "neither"},
        "by": by,
        "known": ensemble.known_labels,
        "intended_use": INTENDED_USE,
    }
