"""An exported ensemble for `couplet predict`: the same object that `load_models` makes of data/models."""

from __future__ import annotations

from pathlib import Path

from couplet.inference.exported import fitted_couplings, load_engine
from couplet.inference.load import load_models
from couplet.inference.trained import Ensemble, ImageWay, lateral_seen
from couplet.project.errors import UserError
from couplet.project.files import sha256_of
from couplet.results.bundle import CONFIG, CONFORMAL, Bundle, is_bundle, read_bundle
from couplet.results.calibration_record import parsed_calibration
from couplet.results.sets import read_conformal_file


def load_ensemble(model: Path, engine: str, threads: int) -> Ensemble:
    """The ensemble that --model names, run by what --engine names.

    Args:
        model: data/models of a project, or an exported bundle.
        engine: torch, onnx or openvino; the last two need a bundle and their extra.
        threads: of the CPU.

    Raises:
        UserError: see `load_models` and `load_bundle`.
    """
    if is_bundle(model):
        return load_bundle(model, engine, threads)
    if engine != "torch":
        raise UserError(
            f"--engine {engine} runs an exported bundle: `couplet export --{engine}`, then --model data/bundle"
        )
    return load_models(model)


def load_bundle(folder: Path, engine: str = "torch", threads: int = 1) -> Ensemble:
    """Load a bundle, its calibration and its sets.

    Raises:
        UserError: a file is missing, damaged or another than config.json names, or the engine is not to be had.
    """
    bundle = read_bundle(folder)
    return Ensemble(
        labels=bundle.labels,
        folds=[fold["fold"] for fold in bundle.folds],
        engine=load_engine(engine, folder, bundle, threads),
        image=_image_way(bundle),
        batch_size=bundle.inference["batch_size"],
        calibration=parsed_calibration(bundle.calibration, folder / CONFIG, bundle.labels),
        conformal=read_conformal_file(folder / CONFORMAL, len(bundle.labels)),
        digest=sha256_of(folder / CONFIG)[:16],  # of all digests
        couplings=fitted_couplings(folder, bundle),
    )


def _image_way(bundle: Bundle) -> ImageWay:
    image, lateral = bundle.image, lateral_seen(map(str, bundle.suits["views"]))
    rendering = image.get("dicom", "voi")
    body_parts = bundle.suits["body_parts"] and tuple(bundle.suits["body_parts"])
    sources = (bundle.source,)
    return ImageWay(
        image["store_size"], image["channels"], image["codec"], rendering, body_parts, lateral, sources
    )
