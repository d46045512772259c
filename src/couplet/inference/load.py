"""Loading a trained ensemble from a project's data/models, with the calibration and the sets of the same run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from couplet.datasets.registry import body_parts
from couplet.evaluation.couplings.fit import LabelCouplings
from couplet.evaluation.sets import ConformalRecord
from couplet.inference.engine import TorchEngine
from couplet.inference.recorded import folds_of, project_of
from couplet.inference.trained import Ensemble, ImageWay, lateral_seen
from couplet.models.device import resolve_device, resolve_precision
from couplet.models.predictor import load_predictor
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.project.files import read_record, sha256_of
from couplet.project.project import Project
from couplet.results.calibration_record import CalibrationRecord, read_calibration
from couplet.results.fitted_couplings import MATRIX, RECORD, read_fitted
from couplet.results.model_record import ModelRecord, read_model_record
from couplet.results.refusals import refuse_mixed_folds
from couplet.results.sets import read_conformal_file
from couplet.results.tables import read_table
from couplet.settings.params import load_params
from couplet.settings.schema.inference import InferenceParams
from couplet.settings.schema.refiner import RefinerParams
from couplet.settings.schema.train import TrainParams
from couplet.settings.yaml12 import read_yaml


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
