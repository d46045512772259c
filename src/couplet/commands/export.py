"""couplet export: the trained ensemble as a folder that others load without couplet (docs/export.md)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import torch

from couplet.commands.card import card
from couplet.datasets.registry import body_parts
from couplet.evaluation.couplings.fit import LabelCouplings
from couplet.images.loading.draws import image_keys
from couplet.images.loading.store import ImageStore
from couplet.images.loading.views import evaluation_view
from couplet.inference.engine import TorchEngine
from couplet.inference.exported import GraphEngine, load_engine
from couplet.inference.fold_files import COUPLET, write_fold
from couplet.inference.graph import EnsembleGraph
from couplet.inference.onnx_file import write_onnx
from couplet.inference.openvino_file import write_openvino
from couplet.models.device import fix_torch
from couplet.models.predictor import Predictor, load_predictor, normalisation
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.project.files import read_record, write_text
from couplet.project.project import HERE, Project
from couplet.reporting.estimates import RunScores, run_scores
from couplet.results.bundle import (
    CARD,
    CONFORMAL,
    FORMAT,
    INTENDED_USE,
    Bundle,
    digests,
    own_version,
    refuse_foreign_folder,
    replacing_bundle,
    write_bundle,
)
from couplet.results.fitted_couplings import MATRIX, RECORD
from couplet.results.predictions import read_predictions
from couplet.results.run import Run, read_run
from couplet.results.scores import read_calibration_scores
from couplet.running.extras import require_extra
from couplet.settings.params import load_params

CHECKED_IMAGES = 8
CLOSE = 1e-5  # what an exported file may differ from torch, in probability
# What a model may differ from its own predictions: they may have been made on another machine, or in 16 bits.
AS_PREDICTED = {"float32": 1e-4, "bf16": 0.05, "fp16": 0.05}

# Drawn by this repository; others' terms are between them and their user.
LICENSES = {"phantom": "apache-2.0"}
# Those of images.decoding.dicom_header, which cannot be had without pydicom.
MODALITIES = ["CR", "DX", "RG", "OT", "SC"]


def export(
    to: Path, onnx: bool, openvino: bool, license_name: str | None = None, project: Project = HERE
) -> None:
    """Write the bundle; the same models and predictions give the same bytes.

    Args:
        to: folder of the bundle; one that is there is replaced at the end, anything else is refused.
        onnx: whether model.onnx is written.
        openvino: whether openvino/ is written, and model.onnx, which it is made of.
        license_name: under which the weights are given away, as model hubs name it; None is that of the phantom, and
            "other" where a data set's own terms decide.
        project: whose ensemble it is.

    Raises:
        UserError: an extra is missing; folds are left over, of different settings or not of the data that is here; a
            model does not give the predictions that are here, or an exported file not what torch gives; torch cannot
            write a graph of the head.
    """
    if onnx or openvino:
        require_extra("couplet export --onnx", ("onnx", "onnxscript", "onnxruntime"), "export")
    if openvino:
        require_extra("couplet export --openvino", ("openvino",), "openvino")
    if license_name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", license_name):
        raise UserError(
            f"--license {license_name!r} is no name of a licence: write it as apache-2.0 or other"
        )
    refuse_foreign_folder(to)
    if read := load_params(project.params).model.metadata:
        raise UserError(
            f"{project.params}: model.metadata is {read}, and a bundle predicts from pictures alone: none is written"
        )
    run = read_run(project)
    fix_torch(run.params.train.threads)
    predictors = [load_predictor(project.model(fold.fold), run.labels) for fold in run.folds]
    images, expected = checked_images(run, predictors)
    with replacing_bundle(to) as folder:
        forms = write_folds(folder, run, predictors, images)
        for name in (CONFORMAL, *([MATRIX, RECORD] if run.fitted else [])):
            shutil.copyfile(project.ensemble / name, folder / name)
        scores = run_scores(run)
        bundle = describe(run, scores, predictors, forms, license_name, folder)
        if onnx or openvino:
            params = run.params
            sides, inference = (params.image.store_size, params.image.size), params.inference
            graph = EnsembleGraph(predictors, *sides, inference.tta, run.fitted, inference.view)
            about = {"labels": run.labels, "digests": bundle.files}
            try:
                write_onnx(folder, graph.eval(), params.image.channels, params.image.store_size, about)
            except RuntimeError as error:  # every error of torch's exporter is one
                why = " ".join(str(error).split())[:200]
                raise UserError(
                    f"torch's ONNX exporter cannot write these networks, model.head = {params.model.head} ({why}): run "
                    "`couplet export` without --onnx and --openvino"
                ) from None
            bundle = with_files(bundle, folder)
            refuse_other_values("onnx", folder, bundle, images, expected, run.fitted)
        if openvino:
            write_openvino(folder)
            bundle = with_files(bundle, folder)
            refuse_other_values("openvino", folder, bundle, images, expected, run.fitted)
        write_text(folder / CARD, card(run, scores, bundle))
        write_bundle(folder, with_files(bundle, folder))
    size = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
    say(
        f"{to}: {len(predictors)} models, {len(run.labels)} labels, {size / 1e6:.1f} MB; README.md in it is the card"
    )


# --- what is checked ----------------------------------------------------------------------------------------------


def checked_images(run: Run, predictors: list[Predictor]) -> tuple[np.ndarray, np.ndarray]:
    """A few stored images uint8 (n, C, S, S), and by_fold (K, n, L) that torch gives for them in float32.

    Those of the test part with the smallest hash of their id, or of all images without one.

    Raises:
        UserError: a model gives other probabilities than are in data/predictions: it is damaged, or another.
    """
    rows = run.test_rows if run.has_test else run.oof_rows
    chosen = np.argsort(image_keys(run.manifest.ids[rows]), kind="stable")[:CHECKED_IMAGES]
    images = ImageStore(run.manifest.project.prepared).read(run.manifest.positions[rows[chosen]])
    params = run.params
    exact = ["float32"] * len(predictors)
    cpu = torch.device("cpu")
    size, inference = params.image.size, params.inference
    torch_float32 = TorchEngine(predictors, exact, size, inference.tta, cpu, inference.view)
    by_fold = torch_float32.by_fold(images)
    for k, fold in enumerate(run.folds):
        written = np.full(by_fold[k].shape, np.nan)
        if run.has_test:
            # Not refined by couplings fitted afterwards.
            path = run.manifest.project.test_predictions(fold.fold)
            written = read_predictions(path, run.labels, run.manifest.ids[rows])[chosen]
        else:
            own = np.isin(rows[chosen], fold.rows)
            written[own] = fold.probabilities[np.searchsorted(fold.rows, rows[chosen][own])]
        known = ~np.isnan(written)
        off = largest_difference(by_fold[k][known], written[known])
        if not off <= AS_PREDICTED[fold.record.precision]:
            folder = run.manifest.project.model(fold.fold)
            raise UserError(
                f"{folder} gives other probabilities than those in {run.manifest.project.predictions} (largest "
                f"difference {off:.2g}): the model is damaged or another: run `dvc checkout`, or `dvc repro`"
            )
    return images, by_fold


def refuse_other_values(
    engine: str,
    folder: Path,
    bundle: Bundle,
    images: np.ndarray,
    expected: np.ndarray,
    couplings: LabelCouplings | None,
) -> None:
    """Raise UserError if an exported file does not give what torch gives.

    Args:
        engine: that runs the file.
        folder: the bundle.
        bundle: its record so far.
        images: stored pixels, uint8 (n, C, S, S).
        expected: by_fold (K, n, L) by torch in float32.
        couplings: fitted after training, which the graph applies too.
    """
    graph = load_engine(engine, folder, bundle)
    found = graph.by_fold(images)
    off = largest_difference(found, expected)
    if isinstance(graph, GraphEngine) and couplings is not None:
        # Of what this graph's networks give: where outputs are nearly 1 a last digit moves the refined ones by more.
        off = max(off, largest_difference(graph.refined(images), couplings.refined(found)))
    if not off <= CLOSE:
        raise UserError(
            f"the exported file for {engine} is {off:.2g} off torch's probabilities, more than {CLOSE:g}: nothing was "
            "written; please report the versions of torch, onnx and the runtime"
        )


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of two arrays; NaN if any value is; 0 of empty ones.

    >>> largest_difference(np.array([0.5, 0.25]), np.array([0.5, 0.5]))
    0.25
    """
    return float(np.abs(found - expected).max()) if found.size else 0.0


# --- what is written ----------------------------------------------------------------------------------------------


def write_folds(folder: Path, run: Run, predictors: list[Predictor], images: np.ndarray) -> list[str]:
    """Write each fold's folder; the forms of their files, "timm" or "couplet"."""
    view = evaluation_view(
        torch.from_numpy(images), run.params.image.size, *normalisation(predictors[0].backbone)
    )
    forms = [
        write_fold(folder / f"fold_{fold.fold}", predictor, run.params.model, run.labels, view)
        for fold, predictor in zip(run.folds, predictors, strict=True)
    ]
    if COUPLET in forms and run.params.model.head == "linear" and predictors[0].n_levels == 1:
        say(f"timm's own {run.params.model.backbone} gives other logits: the folds carry couplet's names")
    return forms


def describe(
    run: Run,
    scores: RunScores,
    predictors: list[Predictor],
    forms: list[str],
    license_name: str | None,
    folder: Path,
) -> Bundle:
    """What config.json says, of the files that are there so far."""
    project, content, record = run.manifest.project, run.params.as_dict(), run.folds[0].record
    mean, std = normalisation(predictors[0].backbone)
    source = run.params.data.source
    views = sorted(set(run.manifest.table["view"].to_numpy(dtype=str)) - {""})
    members = read_record(project.labels, labels=list).get("members") or {}
    parts = body_parts(source, *members.values())
    shown = scores.test or scores.oof
    return Bundle(
        format=FORMAT,
        couplet=own_version(),
        license=license_name or LICENSES.get(source, "other"),
        intended_use=INTENDED_USE,
        source=source,
        labels=run.labels,
        image=content["image"],
        mean=list(mean),
        std=list(std),
        model=content["model"],
        refiner=content["refiner"],
        inference=content["inference"],
        train=content["train"],
        suits={
            # Of data sets that may show anything nothing is said.
            "modalities": None if parts is None else [*MODALITIES],
            "body_parts": None if parts is None else [*parts],
            "views": views,
        },
        folds=[
            {
                "fold": fold.fold,
                "form": form,
                "precision": fold.record.precision,
                "best_epoch": fold.record.best_epoch,
                "code": fold.record.code,
                "pretrained_weights": fold.record.weights,
            }
            for fold, form in zip(run.folds, forms, strict=True)
        ],
        data=record.data,
        calibration=read_record(project.ensemble / "calibration.json", labels=list),
        metrics={
            "ensemble": run.ensemble,
            "calibration": read_calibration_scores(project),
            "auc": {
                "part": "test" if scores.test else "oof",
                "labels": {
                    label: {name: _rounded(getattr(one, name)) for name in ("value", "low", "high")}
                    | {"flags": list(one.flags)}
                    for label, one in zip(run.labels, shown.auc, strict=True)
                },
            },
        },
        versions=record.versions,
        files=digests(folder),
    )


def with_files(bundle: Bundle, folder: Path) -> Bundle:
    """The record with the digests of all files that are there now."""
    return Bundle(**{**vars(bundle), "files": digests(folder)})


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
