"""The second paper's explanations: class activation maps and graphs of a few images, if there are any."""

from __future__ import annotations

import zipfile

import numpy as np

from couplet import paths
from couplet.errors import UserError
from couplet.reporting import pictures, style
from couplet.reporting.gallery import Picture

FILE = paths.ENSEMBLE / "explanations.npz"
ARRAYS = ("image", "probabilities", "labels_true", "maps", "adjacency_main", "adjacency_auxiliary")
SIDE = 200
TOP = 3
SHOWN = 12


def read_explanations(labels: list[str]) -> list[Picture] | None:
    """One picture per explained image: itself, its TOP labels' maps, its two dynamic graphs, the static one.

    Returns None if the run has none (only model.head: db_dgcn writes them).

    The file's arrays, n images, L labels: image uint8 (n, C, S, S), probabilities (n, L), labels_true (n, L),
    maps (n, L, h, w), adjacency_main and adjacency_auxiliary (n, L, L), static_adjacency (L, L).

    Raises:
        UserError: the file is damaged or made for other labels.
    """
    if not FILE.is_file():
        return None
    try:
        with np.load(FILE, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*ARRAYS, "static_adjacency")}
        n_labels = arrays["probabilities"].shape[1]
    except (zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        raise UserError(f"{FILE} is damaged ({error}): restore it with `dvc checkout`") from None
    if n_labels != len(labels):
        raise UserError(f"{FILE} has {n_labels} labels, {paths.LABELS} has {len(labels)}: run `dvc repro`")
    return [_explain(arrays, i, labels) for i in range(min(len(arrays["image"]), SHOWN))]


def _explain(arrays: dict[str, np.ndarray], i: int, labels: list[str]) -> Picture:
    tile, probabilities, truth = arrays["image"][i], arrays["probabilities"][i], arrays["labels_true"][i]
    top = np.argsort(-probabilities, kind="stable")[:TOP]
    graphs = {
        "main": arrays["adjacency_main"][i],
        "auxiliary": arrays["adjacency_auxiliary"][i],
        "static": arrays["static_adjacency"],
    }
    colour = np.repeat(tile, 3, axis=0) if len(tile) == 1 else tile
    tiles = [
        colour,
        *(pictures.overlay(tile, arrays["maps"][i, label], SIDE) for label in top),
        *(pictures.graph(matrix, SIDE) for matrix in graphs.values()),
    ]
    captions = [
        "image",
        *(f"{style.short(labels[label], 16)} {probabilities[label]:.2f}" for label in top),
        *(f"{name}, 0 to {matrix.max():.2f}" for name, matrix in graphs.items()),
    ]
    there = [label for label, value in zip(labels, truth, strict=True) if value == 1]
    known = np.isfinite(truth.astype(np.float64)).any()
    caption = f"Labels: {', '.join(there) or 'none'}" if known else "Labels: hidden"
    picture = pictures.montage(tiles, captions, len(tiles), SIDE)
    return Picture(f"explanation_{i:02d}", picture, f"Image {i + 1}", caption, 1)
