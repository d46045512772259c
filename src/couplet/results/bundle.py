"""An exported ensemble: what bundle/config.json says of the files beside it.

    config.json          this record: all that is known of the models, and the SHA-256 of every other file
    fold_k/              weights of one fold's model (`inference.fold_files`)
    conformal.npz        sorted out-of-fold scores, for the prediction sets of later images
    model.onnx           the whole ensemble as one graph, where it was asked for; openvino/ likewise
    couplings.csv        couplings fitted after training, with couplings.json, where there are some
    README.md            the model card

Nothing in it names a patient, an image, a date or a path outside of the bundle.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any, get_origin, get_type_hints

from couplet.project.errors import UserError
from couplet.project.files import is_running, read_json, sha256_of, write_json

FORMAT = 1
CONFIG, CARD, CONFORMAL, ONNX, OPENVINO = (
    "config.json",
    "README.md",
    "conformal.npz",
    "model.onnx",
    "openvino/model.xml",
)
UNREFINED = "unrefined"  # the graphs' output before couplings fitted after training; there with these alone
AGAIN = "export again"
INTENDED_USE = (
    "Research on methods. NOT A MEDICAL DEVICE: no decision about a person may rest on its output; it was never "
    "assessed for one."
)


@dataclass(frozen=True)
class Bundle:
    """All that a bundle says of itself. K folds, L labels.

    Attributes:
        format: of this record; others are refused.
        couplet: version that wrote it.
        license: as its writer named it; "other" where nobody did.
        intended_use: what it is for, and what not.
        source: the data set, as params.yaml names it.
        labels: names of the L labels, in the order of the outputs.
        image: the section `image` of params.yaml: sides of store and view, channels, codec.
        mean, std: of each of the view's three channels, in [0, 1].
        model, refiner, inference, train: the sections of params.yaml; `inference` has test-time augmentation and batch
            size, `train` the arithmetic.
        suits: what it was trained on: views that it has seen; modalities and body parts as DICOM names them, null where
            the data set does not say.
        folds: of each its number, the form of its files ("timm" or "couplet"), the precision it was trained and chosen
            in, its best epoch and what it was trained from (code, digest of pretrained weights).
        data: path in the project to md5 of the tables that it was trained on.
        calibration: calibrators and thresholds as calibration.json has them (`results.calibrated`), with the sections
            loss, calibration and decision.
        metrics: `ensemble` and `calibration` as in the metrics' files; `auc`: of each label with its interval.
        versions: of the libraries that the folds were trained with.
        files: path in the bundle to SHA-256, of every file but config.json.
    """

    format: int
    couplet: str
    license: str
    intended_use: str
    source: str
    labels: list[str]
    image: dict[str, Any]
    mean: list[float]
    std: list[float]
    model: dict[str, Any]
    refiner: dict[str, Any]
    inference: dict[str, Any]
    train: dict[str, Any]
    suits: dict[str, Any]
    folds: list[dict[str, Any]]
    data: dict[str, str]
    calibration: dict[str, Any]
    metrics: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, str]


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write config.json, the last of a bundle's files."""
    write_json(folder / CONFIG, asdict(bundle))


def read_bundle(folder: Path) -> Bundle:
    """Read config.json and compare every file that it names with its digest.

    Raises:
        UserError: the folder is no bundle, is of another format, or a file is missing, damaged or another.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} is no exported bundle: it has no {CONFIG}: `couplet export` makes one")
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise UserError(f"{path} does not describe a bundle: {AGAIN}, or name the folder of one")
    if content["format"] != FORMAT:
        remedy = "update couplet" if content["format"] > FORMAT else AGAIN
        raise UserError(
            f"{folder}: this bundle is of format {content['format']}, this couplet reads {FORMAT}: {remedy}"
        )
    hints = get_type_hints(Bundle)
    for field in fields(Bundle):
        kind = get_origin(hints[field.name]) or hints[field.name]
        if not isinstance(content.get(field.name), kind):
            raise UserError(
                f"{path}: {field.name!r} is missing or of another kind than it should be: {AGAIN}"
            )
    bundle = Bundle(**{field.name: content[field.name] for field in fields(Bundle)})
    for name, sha256 in bundle.files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UserError(f"{path}: {name} lies outside of the bundle: {AGAIN}")
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is not there, but {CONFIG} names it: {AGAIN}")
        if sha256_of(folder / name) != sha256:
            raise UserError(f"{folder / name} is not the file that {CONFIG} names: {AGAIN}")
    return bundle


def own_version() -> str:
    """Of couplet; "unknown" of a checkout that is on the path and not installed."""
    try:
        return version("couplet")
    except PackageNotFoundError:
        return "unknown"


def is_bundle(folder: Path) -> bool:
    """Whether somebody who names this folder means a bundle: data/models has no record of its own."""
    return (folder / CONFIG).is_file()


def digests(folder: Path) -> dict[str, str]:
    """Path below `folder` to SHA-256, of every file in it but config.json, in the paths' order."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: sha256_of(folder / name) for name in names if name != CONFIG}


# --- the folder -----------------------------------------------------------------------------------------------


def refuse_foreign_folder(folder: Path) -> None:
    """Raise UserError if something else than a bundle is where a bundle is to be written."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{folder} is there and is no folder: choose another place with --to")
    if any(folder.iterdir()) and not _holds_bundle(folder):
        raise UserError(f"{folder} holds other files than a bundle's: choose another place with --to")


@contextmanager
def replacing_bundle(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write to, which takes the place of `folder` at the end; nothing of it stays on an error.

    Raises:
        UserError: see `refuse_foreign_folder`.
    """
    refuse_foreign_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".{folder.name}.{kind}.{os.getpid()}.tmp") for kind in ("new", "old"))
    # What killed ones left.
    for left in folder.parent.glob(f".{folder.name}.*.tmp"):
        if not is_running(left.name.split(".")[-2]):
            shutil.rmtree(left, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        if folder.is_dir():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _holds_bundle(folder: Path) -> bool:
    try:
        content = read_json(folder / CONFIG)
    except UserError:
        return False
    return isinstance(content, dict) and {"format", "files", "intended_use"} <= content.keys()
