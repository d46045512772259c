"""What both sides of the training benchmarks are given, settings, images, labels and weights, and how ours trains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import REAL_DATA
from couplet.datasets.grand_xray_slam import LABELS
from couplet.images.decoding.decode import decode
from couplet.images.loading.store import ImageStore
from couplet.models.device import fix_torch
from couplet.models.predictor import Predictor, build_predictor
from couplet.phantom.drawing import draw_image
from couplet.settings.params import Params, parse_params
from couplet.settings.presets import load_preset
from couplet.training.loop import Trainer
from couplet.training.state import FoldData
from tests.support.stores import write_store

XRAYS = REAL_DATA / "nih_cxr14" / "images"


@dataclass(frozen=True)
class Sizes:
    """Sides of stored images and of the view in pixels, images where they are drawn, rounds."""

    store: int
    view: int
    n_drawn: int
    rounds: int


def settings(preset: str, **changes: dict[str, Any]) -> Params:
    """A preset with changes by section; weights always start at random."""
    content = load_preset(preset).as_dict()
    content["model"]["pretrained"] = False
    for section, values in changes.items():
        content[section].update(values)
    return parse_params(content, "benchmark")


def predictor_of(params: Params, labels: np.ndarray) -> Predictor:
    return build_predictor(params, LABELS, params.seed, labels)


def random_labels(n: int) -> np.ndarray:
    """(n, 14) float32, a quarter of them positive."""
    return (np.random.default_rng(0).random((n, len(LABELS))) < 0.25).astype(np.float32)


# --- images -------------------------------------------------------------------------------------------------


def drawn_xrays(folder: Path, n: int, size: int) -> list[Path]:
    pictures = (draw_image(frozenset(), "PA", seed=number, size=size) for number in range(n))
    return saved(map(Image.fromarray, pictures), folder)


def saved(images: Iterable[Image.Image], folder: Path) -> list[Path]:
    """The images as JPEG files of quality 95 in a new folder."""
    folder.mkdir()
    for number, image in enumerate(images):
        image.save(folder / f"{number:05d}.jpg", quality=95)
    return sorted(folder.iterdir())


def pack(files: Sequence[Path], folder: Path, size: int) -> ImageStore:
    """The store that `prepare` makes of image files."""
    return write_store(folder, (decode(file, size, channels=1)[0] for file in files))


def fold_of(store: ImageStore, labels: np.ndarray) -> FoldData:
    """A fold that trains on the whole store; its validation part is never asked for."""
    positions = np.arange(store.n_images)
    ids = [f"image {position}" for position in positions]
    return FoldData(store, ids, positions, labels, positions[:1], labels[:1])


def random_fold(n: int, size: int, folder: Path) -> FoldData:
    """Noise of `size` pixels a side: what is in an image does not change the time that a step takes."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, 1, size, size), dtype=np.uint8)
    return fold_of(write_store(folder, pixels), random_labels(n))


# --- ours ---------------------------------------------------------------------------------------------------


@contextmanager
def as_trained(params: Params) -> Iterator[None]:
    """The threads and the deterministic kernels of `train_fold`; opponents run without the latter."""
    fix_torch(params.train.threads)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def epoch(trainer: Trainer, folder: Path) -> tuple[int, float]:
    """One epoch of the Trainer without its validation: steps done and their mean loss."""
    state = trainer.progress
    before = state.steps
    with as_trained(trainer.params):
        trainer._train_epoch(folder)
    state.epoch, state.batch = state.epoch + 1, 0
    return state.steps - before, state.loss_sum / state.loss_batches
