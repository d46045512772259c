"""An exported ensemble that predicts: its record, and what runs it: torch, ONNX Runtime or OpenVINO.

Every engine takes stored pixels, uint8 (n, C, S, S), and gives the folds' probabilities (K, n, L) in the digits that
are written. The mean over the folds, calibration and decisions are the same whatever runs the networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from couplet.inference.ensemble import mean_over_folds
from couplet.project.errors import UserError
from couplet.results.bundle import ONNX, OPENVINO, Bundle, read_bundle
from couplet.results.predictions import as_read_back
from couplet.running.extras import require_extra

if TYPE_CHECKING:
    from couplet.inference.engine import Engine  # torch: graphs do without

ENGINES = ("torch", "onnx", "openvino")


@dataclass(frozen=True)
class GraphEngine:
    """The whole ensemble as one exported graph, in float32.

    Attributes:
        run: stored images uint8 (n, C, S, S) to (n, K, L).
    """

    run: Callable[[np.ndarray], np.ndarray]

    def by_fold(self, images: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        return as_read_back(self.run(images).swapaxes(0, 1))

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
    if name == "onnx":
        return GraphEngine(_onnx(folder, bundle, threads))
    if name == "openvino":
        return GraphEngine(_openvino(folder, bundle, threads))
    raise UserError(f"--engine {name} is not known: it should be {', '.join(ENGINES)}")


def _onnx(folder: Path, bundle: Bundle, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    _refuse_absent(folder, bundle, ONNX, "onnx")
    require_extra("--engine onnx", ("onnxruntime",), "onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # its own choice is all cores, which spin while they wait
    session = onnxruntime.InferenceSession(folder / ONNX, options, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["by_fold"], {"images": images})[0])


def _openvino(folder: Path, bundle: Bundle, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    _refuse_absent(folder, bundle, OPENVINO, "openvino")
    require_extra("--engine openvino", ("openvino",), "openvino")
    import openvino

    # Where the CPU has bf16 it would take that by itself, and be 7e-3 off.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(folder / OPENVINO, "CPU", settings)
    return lambda images: np.array(compiled([images])["by_fold"])


def _refuse_absent(folder: Path, bundle: Bundle, file: str, name: str) -> None:
    if file not in bundle.files:
        raise UserError(f"{folder} has no {file}: `couplet export --{name}` writes it")


class Exported:
    """An exported ensemble, ready to predict: what `couplet.load` gives.

    Attributes:
        bundle: its record: sizes, calibration, metrics.
        labels: names of the L labels.
        engine: what runs it.
    """

    def __init__(self, folder: Path, engine: str = "torch", threads: int = 1) -> None:
        self.bundle = read_bundle(folder)
        self.labels = self.bundle.labels
        self.engine = load_engine(engine, folder, self.bundle, threads)

    def by_fold(self, images: np.ndarray) -> np.ndarray:
        """Stored pixels uint8 (n, C, S, S) to each fold's probabilities (K, n, L), in batches of the pipeline's size.

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
        return np.concatenate(
            [empty, *(self.engine.by_fold(images[start : start + step]) for start in starts)], 1
        )

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Stored pixels uint8 (n, C, S, S) to uncalibrated probabilities (n, L): the mean over the folds.

        Raises:
            ValueError: another shape or type.
        """
        return as_read_back(mean_over_folds(list(self.by_fold(images))))
