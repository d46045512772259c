"""What a head looked at in a few images: a map per label, and the second paper's label graphs."""

from __future__ import annotations

import zipfile

import numpy as np

from couplet.project.errors import UserError
from couplet.project.project import HERE, Project
from couplet.reporting import matrices, pictures, style
from couplet.reporting.picture import Picture

SHOWN_FOLD = 0  # one fold's model is enough to see what a head looks at
ARRAYS = ("image", "probabilities", "truth", "maps")
GATE = "gate"  # of the couplings, which `reporting.gates` reads
GRAPHS = ("adjacency_main", "adjacency_auxiliary", "static_adjacency")
SHOWN = 12  # images
MAPS = 3  # of an image's most probable labels
SIDE = 254  # of an image, in pixels: it and its maps fill the page's column
ALL_LABELS = 16  # up to so many labels a graph is shown whole ...
GRAPH_LABELS = 10  # ... of more labels only the image's most probable ones
SOURCES = 3  # named in the caption of the graphs


def read_explanations(labels: list[str], project: Project = HERE) -> list[Picture] | None:
    """Of each explained image its maps, and of model.head: db_dgcn its dynamic graphs beside the static one.

    Returns None if there is none: not every head can say what it looked at.

    The file's arrays, n images, L labels: image uint8 (n, C, S, S), probabilities (n, L), truth (n, L),
    maps (n, L, h, w); with graphs adjacency_main and adjacency_auxiliary (n, L, L), static_adjacency (L, L).

    Raises:
        UserError: the file is damaged or made for other labels.
    """
    path = project.explanations(SHOWN_FOLD)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if ARRAYS[0] not in file.files and set(file.files) <= {GATE}:
                return None
            graphs = GRAPHS if set(GRAPHS) & set(file.files) else ()
            arrays = {name: file[name] for name in (*ARRAYS, *graphs)}
        n_labels = arrays["probabilities"].shape[1]
    except (zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it with `dvc checkout`") from None
    if n_labels != len(labels):
        raise UserError(f"{path} has {n_labels} labels, {project.labels} has {len(labels)}: run `dvc repro`")
    shown = range(min(len(arrays["image"]), SHOWN))
    drawn = (_maps, _graphs) if graphs else (_maps,)
    with style.house_style():
        return [draw(arrays, i, labels) for i in shown for draw in drawn]


def _maps(arrays: dict[str, np.ndarray], i: int, labels: list[str]) -> Picture:
    """The image and, over it, where its most probable labels were found."""
    tile, probabilities, truth = (arrays[name][i] for name in ("image", "probabilities", "truth"))
    top = np.argsort(-probabilities, kind="stable")[:MAPS]
    there = [label for label, value in zip(labels, truth, strict=True) if value == 1]
    tiles, captions = [np.repeat(tile, 3, axis=0) if len(tile) == 1 else tile], ["image\n"]
    for label in top:
        heat = arrays["maps"][i, label]
        tiles.append(pictures.overlay(tile, heat, SIDE))
        low, high = float(heat.min()), float(heat.max())
        digits = 1 if high - low >= 1 else 2
        span = f"map {low:.{digits}f} to {high:.{digits}f}" if heat.size > 1 else f"1 × 1 map, {low:.2f}"
        name = f"{style.short(labels[label], 19)} {probabilities[label]:.2f}"
        captions.append(f"{name}\n{_verdict(truth[label])}, {span.replace('-', '−')}")
    known = np.isfinite(truth.astype(np.float64)).any()
    caption = f"Labels: {', '.join(there) or 'none'}." if known else "Labels: hidden."
    picture = style.in_background(pictures.montage, tiles, captions, len(tiles), SIDE)
    return Picture(f"explanation_{i:02d}_maps", picture, f"Image {i + 1}", caption, 1)


def _verdict(truth: float) -> str:
    return "not known" if np.isnan(truth) else "present" if truth == 1 else "absent"


def _graphs(arrays: dict[str, np.ndarray], i: int, labels: list[str]) -> Picture:
    """The image's two dynamic graphs and the static one, over the labels that matter for it."""
    order = np.argsort(-arrays["probabilities"][i], kind="stable")
    every = len(labels) <= ALL_LABELS
    shown = np.arange(len(labels)) if every else order[:GRAPH_LABELS]
    graphs = {
        "Dynamic graph, main branch": arrays["adjacency_main"][i],
        "Dynamic graph, auxiliary branch": arrays["adjacency_auxiliary"][i],
        "Static graph": arrays["static_adjacency"],
    }
    drawn = matrices.label_graphs(
        [labels[label] for label in shown],
        {title: graph[np.ix_(shown, shown)].astype(np.float64) for title, graph in graphs.items()},
    )
    names = ("main", "auxiliary", "static")
    strongest = "; ".join(
        f"{name}: {_sources(graph[order[0]], int(order[0]), labels)}"
        for name, graph in zip(names, graphs.values(), strict=True)
    )
    which = "" if every else f"Its {len(shown)} most probable labels. "
    caption = f"{which}Strongest sources of {labels[order[0]]}, of all {len(labels)} labels: {strongest}."
    return Picture(f"explanation_{i:02d}_graphs", drawn, f"Image {i + 1}, label graphs", caption)


def _sources(weights: np.ndarray, target: int, labels: list[str]) -> str:
    """The labels that a target takes most from, itself left out: "chair 0.97, cup 0.95"."""
    others = [label for label in np.argsort(-weights, kind="stable") if label != target][:SOURCES]
    return ", ".join(f"{labels[i]} {weights[i]:.2f}" for i in others if weights[i] >= 0.005) or "none"
