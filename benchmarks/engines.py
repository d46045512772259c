"""What runs the exported ensemble on a CPU: torch as the pipeline does, ONNX Runtime, OpenVINO; one thread each.

Of torch twice: in float32, and in bf16, which is how the networks run whose folds were trained in it.

All of them get the same stored pixels and give the probabilities of three folds with flip test-time augmentation. Their
CPU seconds are compared, not their wall seconds: a shared machine gives each of them another share of its cores.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Samples, Section, Size, Table, at_most, cpu_seconds, figure, interleave, ratio
from couplet.inference.exported import load_engine
from couplet.inference.onnx_file import write_onnx
from couplet.inference.openvino_file import write_openvino
from couplet.models.device import fix_torch
from couplet.settings.params import Params
from couplet.settings.presets import load_preset
from tests.support.bundles import graph, images, predictors, record_of, settled, write_folds

FASTER = ("onnx", "openvino")
NAMES = {
    "torch": "torch, float32",
    "bf16": "torch, bf16",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO, f32",
}


@dataclass(frozen=True)
class Case:
    """A network of a preset, images in a batch, rounds; `changes` make it smaller."""

    name: str
    preset: str
    n: int
    rounds: int
    n_folds: int = 3
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def params(self) -> Params:
        content = load_preset(self.preset).as_dict()
        content["model"]["pretrained"] = False
        for section, values in self.changes.items():
            content[section].update(values)
        return Params.model_validate(content)


CASES: dict[Size, list[Case]] = {
    "full": [
        Case("the large phantom's thin net at 64", "phantom_large", 48, 5),
        # One fold: three are three times the work of each engine.
        Case("seresnext101_32x4d at 380", "paper", 2, 5, n_folds=1),
    ],
    "tiny": [
        Case("the phantom's thin net at 32", "phantom", 2, 1, 2, {"image": {"size": 32, "store_size": 36}})
    ],
}


def run(size: Size) -> Section:
    fix_torch(1)
    measured = [measure(case) for case in CASES[size]]
    columns = ["images per CPU second", "largest difference to torch", "times torch's speed"]
    tables = [
        Table(
            f"{case.name}, {case.n_folds} fold(s) with flip TTA, {case.n} images at a time",
            ["engine", *columns],
            [
                [
                    NAMES[name],
                    case.n / samples[name].median("cpu"),
                    difference(samples, name),
                    ratio(samples["torch"], samples[name], "cpu"),
                ]
                for name in NAMES
            ],
        )
        for case, samples, _ in measured
    ]
    claims = [
        at_most(f"{NAMES[name]}, {case.name}, off torch by", difference(samples, name), 1e-5)
        for case, samples, _ in measured
        for name in FASTER
    ]
    notes = [f"{case.name}: making the graph took {figure(seconds)} CPU s." for case, _, seconds in measured]
    spreads = [
        f"{case.name} {samples['torch'].result.min():.3f} and {samples['torch'].result.max():.3f}"
        for case, samples, _ in measured
    ]
    notes.append(
        "Weights start at random, with every one moved; images are noise of different brightness. Smallest and largest "
        f"probability: {', '.join(spreads)}."
    )
    return Section("The exported ensemble on a CPU", tables, claims, notes)


def measure(case: Case) -> tuple[Case, dict[str, Samples], float]:
    """The engines in turn on one bundle, and the CPU seconds of its export."""
    params = case.params
    folds = [settled(one, params) for one in predictors(params, case.n_folds)]
    given = images(case.n, params)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        forms = write_folds(folder, params, folds)
        begin = cpu_seconds()
        write_graph(folder, params, folds)
        seconds = cpu_seconds() - begin
        bundle = record_of(folder, params, forms)
        in_bf16 = record_of(
            folder, params, forms, folds=[{**fold, "precision": "bf16"} for fold in bundle.folds]
        )
        engines = {name: load_engine(name, folder, bundle) for name in NAMES if name != "bf16"}
        engines["bf16"] = load_engine("torch", folder, in_bf16)
        samples = interleave(
            {name: partial(engine.by_fold, given) for name, engine in engines.items()}, case.rounds
        )
    return case, samples, seconds


def write_graph(folder: Path, params: Params, folds: list[Any]) -> None:
    write_onnx(folder, graph(params, folds), params.image.channels, params.image.store_size, {})
    write_openvino(folder)


def difference(samples: dict[str, Samples], name: str) -> float:
    return float(np.abs(samples[name].result - samples["torch"].result).max())
