"""An exported ensemble that predicts: its record, and what runs it: torch, ONNX Runtime or OpenVINO.

Every engine takes stored pixels, uint8 (n, C, S, S), and gives the folds' probabilities (K, n, L) in the digits that
are written. Couplings fitted after training, the mean over the folds, calibration and decisions are the same whatever
runs the networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from couplet.evaluation.couplings.fit import LabelCouplings
from couplet.inference.ensemble import mean_over_folds
from couplet.project.errors import UserError
from couplet.results.bundle import AGAIN, ONNX, OPENVINO, UNREFINED, Bundle, read_bundle
from couplet.results.fitted_couplings import MATRIX, read_fitted_files
from couplet.results.predictions import as_read_back
from couplet.running.extras import require_extra
from couplet.settings.schema.refiner import RefinerParams

if TYPE_CHECKING:
    from couplet.inference.engine import Engine  # torch: graphs do without

ENGINES = ("torch", "onnx", "openvino")
BY_FOLD = "by_fold"


@dataclass(frozen=True)
class GraphEngine:
    """The whole ensemble as one exported graph, in float32.

    Attributes:
        run: stored images uint8 (n, C, S, S) and the name of an output (n, K, L) to that output.
        networks: the output that couplings fitted after training have not refined.
    """

    run: Callable[[np.ndarray, str], np.ndarray]
    networks: str = BY_FOLD

    def by_fold(self, images: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        return as_read_back(self.run(images, self.networks).swapaxes(0, 1))

    def refined(self, images: np.ndarray) -> np.ndarray:
        """The probabilities (K, n, L) that the graph gives its user; without fitted couplings the networks' own."""
        return as_read_back(self.run(images, BY_FOLD).swapaxes(0, 1))

    def maps(self, images: np.ndarray) -> np.ndarray | None:
        """None: the graph gives probabilities alone."""
        return None


def load_engine(name: str, folder: Path, bundle: Bundle, threads: int = 1) -> Engine:
    """The engine of this name for a bundle.

    Args:
        name: torch (in the precision that each fold was trained in), onnx or openvino.
        folder: the bundle.
        bundle: its record, read with its digests.
        threads: of the CPU, for onnx and openvino; torch keeps those of its process.

    Raises:
        UserError: an unknown name, an extra that is not installed, or a bundle without that engine's files.
    """
    if name == "torch":
        from couplet.inference.fold_files import torch_engine  # torch: the other engines do without

        return torch_engine(folder, bundle)
    networks = UNREFINED if MATRIX in bundle.files else BY_FOLD
    if name == "onnx":
        return GraphEngine(_onnx(folder, bundle, threads), networks)
    if name == "openvino":
        return GraphEngine(_openvino(folder, bundle, threads), networks)
    raise UserError(f"--engine {name} is not known: it should be {', '.join(ENGINES)}")


def _onnx(folder: Path, bundle: Bundle, threads: int) -> Callable[[np.ndarray, str], np.ndarray]:
    _refuse_absent(folder, bundle, ONNX, "onnx")
    require_extra("--engine onnx", ("onnxruntime",), "onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # its own choice is all cores, which spin while they wait
    session = onnxruntime.InferenceSession(folder / ONNX, options, providers=["CPUExecutionProvider"])
    return lambda images, output: np.asarray(session.run([output], {"images": images})[0])


def _openvino(folder: Path, bundle: Bundle, threads: int) -> Callable[[np.ndarray, str], np.ndarray]:
    _refuse_absent(folder, bundle, OPENVINO, "openvino")
    require_extra("--engine openvino", ("openvino",), "openvino")
    import openvino

    # Where the CPU has bf16 it would take that by itself, and be 7e-3 off.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(folder / OPENVINO, "CPU", settings)
    return lambda images, output: np.array(compiled([images])[output])


def _refuse_absent(folder: Path, bundle: Bundle, file: str, name: str) -> None:
    if file not in bundle.files:
        raise UserError(f"{folder} has no {file}: `couplet export --{name}` writes it")


def fitted_couplings(folder: Path, bundle: Bundle) -> LabelCouplings | None:
    """Couplings fitted after training; None where networks have their own, or none.

    Raises:
        UserError: the bundle's settings speak of some and it has none: it was written by another version.
    """
    if not RefinerParams.model_validate(bundle.refiner).fitted_afterwards:
        return None
    if MATRIX not in bundle.files:
        raise UserError(f"{folder} lacks {MATRIX}, by which its models' outputs are refined: {AGAIN}")
    return read_fitted_files(folder, bundle.labels)[0]


class Exported:
    """An exported ensemble, ready to predict: what `couplet.load` gives.

    Attributes:
        bundle: its record: sizes, calibration, metrics.
        labels: names of the L labels.
        engine: what runs it.
        couplings: fitted after training; None without.
    """

    def __init__(self, folder: Path, engine: str = "torch", threads: int = 1) -> None:
        self.bundle = read_bundle(folder)
        self.labels = self.bundle.labels
        self.couplings = fitted_couplings(folder, self.bundle)
        self.engine = load_engine(engine, folder, self.bundle, threads)

    def by_fold(self, images: np.ndarray) -> np.ndarray:
        """Stored pixels uint8 (n, C, S, S) to each fold's probabilities (K, n, L), in batches of the pipeline's size.

        Refined, where couplings were fitted after training.

        Raises:
            ValueError: another shape or type.
        """
        side, channels = self.bundle.image["store_size"], self.bundle.image["channels"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (channels, side, side):
            raise ValueError(
                f"images should be uint8 (n, {channels}, {side}, {side}), not {images.dtype} {images.shape}"
            )
        step = self.bundle.inference["batch_size"]
        starts = range(0, len(images), step)
        empty = np.zeros((len(self.bundle.folds), 0, len(self.labels)))
        by_fold = np.concatenate(
            [empty, *(self.engine.by_fold(images[start : start + step]) for start in starts)], 1
        )
        return by_fold if self.couplings is None else as_read_back(self.couplings.refined(by_fold))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Stored pixels uint8 (n, C, S, S) to uncalibrated probabilities (n, L): the mean over the folds.

        Raises:
            ValueError: another shape or type.
        """
        return as_read_back(mean_over_folds(list(self.by_fold(images))))
