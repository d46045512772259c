"""The parts of `couplet predict` as Ray tasks, where COUPLET_WORKERS=ray asks for them (`running/engine.py`).

A task decodes, predicts and writes one part: neither pixels nor numbers go through Ray, but files' names and how many
rows a part has. It computes as this process does, or refuses to: another Pillow, torch or CPU would be another byte.
A part whose process was killed is found finished by the next one, or made again.
"""

from __future__ import annotations

import functools
import json
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import timm
import torch

from couplet.images.codec import codec_fingerprint
from couplet.images.decoding.decode import fingerprint
from couplet.images.decoding.dicom_version import dicom_fingerprint
from couplet.inference.engine import TorchEngine
from couplet.inference.load_bundle import load_ensemble
from couplet.inference.trained import Ensemble
from couplet.models.device import arithmetic_record, fix_torch
from couplet.predicting.known import told
from couplet.predicting.map_files import write_maps
from couplet.predicting.parts import Counts, Part, counts_of, key_of, write_part
from couplet.predicting.rows import Options, Row, predicted_rows
from couplet.project.console import progress, say
from couplet.project.errors import UserError
from couplet.results.bundle import own_version
from couplet.running.engine import THREADS, ordered_tasks
from couplet.running.memory import keep_freed_memory

PATIENCE = 90.0  # seconds: NFS believes for up to 60 that a file is not there
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}  # the packages of engines that are not torch


class Source(NamedTuple):
    """Where an ensemble comes from: `couplet predict`'s --model, --engine and --known, and the CPU's threads."""

    model: Path
    engine: Literal["torch", "onnx", "openvino"]
    known: tuple[str, ...]
    threads: int

    def load(self) -> Ensemble:
        """Load it, and make torch's results repeat.

        Raises:
            UserError: see `load_ensemble` and `told`.
        """
        fix_torch(self.threads)
        keep_freed_memory()
        ensemble = load_ensemble(self.model, self.engine, self.threads)
        return told(ensemble, self.known, self.model) if self.known else ensemble


class Work(NamedTuple):
    """What the tasks of all parts have in common.

    Attributes:
        source: of the ensemble.
        options: how rows are made.
        maps: a folder for class activation maps, or None; overlay: whether they are drawn, too.
    """

    source: Source
    options: Options
    maps: Path | None
    overlay: bool


class PartTask(NamedTuple):
    """A part to be made elsewhere, the ensemble's digest, and what the process that planned it computes with."""

    part: Part
    work: Work
    digest: str
    computes: dict[str, str]


class PartMade(NamedTuple):
    """The rows of a part by status, and whether there is DICOM among its files."""

    counts: Counts
    dicom: bool


def made_by_tasks(
    parts: Iterable[Part], work: Work, ensemble: Ensemble, remarks: Iterator[str]
) -> Iterator[Counts]:
    """Let Ray tasks make the parts that are not there yet.

    Args:
        parts: all of them.
        work: what is to be done.
        ensemble: as this process has it.
        remarks: said with the first part that holds DICOM.

    Raises:
        UserError: see `ordered_tasks` and `make_part`; or what a task wrote is not to be seen here.
    """
    parts = list(parts)
    counts = [counts_of(part) for part in parts]
    for part, counted in zip(parts, counts, strict=True):
        if counted is not None:
            say(f"{part.path} is there already")
    missing = [part for part, counted in zip(parts, counts, strict=True) if counted is None]
    # A task's process may have another working directory.
    source = work.source._replace(model=work.source.model.absolute())
    work = work._replace(source=source, maps=work.maps and work.maps.absolute())
    computes = _computes(ensemble, source.engine)
    tasks = [PartTask(_absolute(part), work, ensemble.digest, computes) for part in missing]
    results: Iterator[PartMade] = iter(())
    if tasks:
        gpus = int(_device(ensemble) == "cuda")
        # On CPUs the networks take most of the time, and no more threads than their results were fixed for.
        threads = THREADS if gpus else min(THREADS, source.threads)
        made = ordered_tasks(make_part, tasks, "missing part", gpus, threads)
        results = progress(made, "predict, parts", len(tasks))
    for part, counted in zip(parts, counts, strict=True):
        if counted is None:
            result = next(results)
            if not _seen(part):
                raise UserError(
                    f"{part.path} was written on another machine and is not here: --out must be on a file system that "
                    "all nodes see under the same path"
                )
            for line in remarks if result.dicom else ():
                say(line)
            counted = result.counts
        yield counted
    next(results, None)  # the connection to Ray is closed, and the last line of progress said


def make_part(task: PartTask, threads: int) -> PartMade:
    """Make a part unless it is finished.

    Args:
        task: the part; all its paths are absolute.
        threads: that decode.

    Raises:
        UserError: this machine computes otherwise than the one that planned the part, or sees other files; see
            `Source.load`, `predicted_rows` and `write_maps`.
    """
    part, work, digest, planned = task
    ensemble = _loaded(work.source, digest)
    own = _computes(ensemble, work.source.engine)
    if other := [name for name, value in planned.items() if own[name] != value]:
        raise UserError(
            f"{platform.node()} has another {other[0]} than the machine that runs predict: give all nodes one "
            "checkout and the same versions, and under train.arithmetic = native the same processors"
        )
    if key_of(part.inputs, ensemble, work.options) != part.key:
        raise UserError(
            f"{platform.node()} sees other files or another model than the machine that runs predict, or they changed "
            f"since it started ({part.inputs[0].path} and the {len(part.inputs) - 1} after it): all nodes must see the "
            "same files under the same paths"
        )
    counted = counts_of(part)
    if counted is not None:
        return PartMade(counted, dicom=False)
    dicom = False

    def finished(rows: Iterable[Row]) -> Iterator[Row]:
        nonlocal dicom
        for row in rows:
            dicom = dicom or bool(row.facts.get("photometric"))
            if work.maps is not None:
                write_maps(work.maps, row, ensemble.labels, work.overlay)
            yield row

    rows = predicted_rows(ensemble, part.inputs, work.options, threads)
    counted = write_part(part, finished(rows), ensemble)
    return PartMade(counted, dicom)


def _absolute(part: Part) -> Part:
    inputs = [replace(file, path=file.path.absolute()) for file in part.inputs]
    return part._replace(path=part.path.absolute(), inputs=inputs)


def _seen(part: Part) -> bool:
    """Whether a part that another machine may have written is here, at once or after a while."""
    deadline = time.monotonic() + PATIENCE
    while counts_of(part) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@functools.lru_cache(maxsize=1)
def _loaded(source: Source, digest: str) -> Ensemble:
    """The ensemble, which a process keeps from one of its parts to the next."""
    return source.load()


def _device(ensemble: Ensemble) -> str:
    return ensemble.engine.device.type if isinstance(ensemble.engine, TorchEngine) else "cpu"


def _computes(ensemble: Ensemble, engine: str) -> dict[str, str]:
    """What rows follow from besides files, model and options: names for an error, and versions or digests."""
    way, device = ensemble.image, _device(ensemble)
    found = {
        "couplet": own_version(),
        "NumPy": np.__version__,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "Pillow, or other code that decodes,": fingerprint() + codec_fingerprint(way.codec),
        "reader of DICOM": dicom_fingerprint(way.rendering, way.body_parts),
        "device": device,
        "CPU, GPU or arithmetic": json.dumps(arithmetic_record(device)),
    }
    if engine in RUNTIMES:
        found[RUNTIMES[engine]] = version(RUNTIMES[engine])
    return found
