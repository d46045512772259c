"""What `couplet export` is given, and what becomes of a bundle that somebody changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

from tests.bad_inputs.case import Case, Given, both, nothing, place, replaced, setting
from tests.bad_inputs.cases_results import head
from tests.support.in_process import InProcessProject

BUNDLE = "data/bundle"
READ = f"predict data/raw/csv/images --model {BUNDLE}"


def refused(name: str, given: Given, refused: str, run: str = "export") -> Case:
    return Case(name, given, run=run, base="trained", refused=refused)


def exported(then: Given = nothing) -> Given:
    """Make a bundle, and spoil it."""

    def make(project: InProcessProject) -> None:
        assert project.run("export").code == 0

    return both(make, then)


def flipped(path: str) -> Given:
    """Another last bit in the middle of a file."""

    def flip(project: InProcessProject) -> None:
        content = bytearray(place(project, path).read_bytes())
        content[len(content) // 2] ^= 1
        place(project, path).write_bytes(content)

    return flip


def record(change: Callable[[dict[str, object]], object]) -> Given:
    """Change a bundle's record."""

    def rewrite(project: InProcessProject) -> None:
        path = place(project, f"{BUNDLE}/config.json")
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return rewrite


def another_fold(project: InProcessProject) -> None:
    shutil.copytree(place(project, "data/models/fold_1"), place(project, "data/models/fold_2"))


CASES = [
    refused(
        "models that read more than pictures",
        setting("model.metadata", ["sex"]),
        "params.yaml: model.metadata is ['sex'], and a bundle predicts from pictures alone: none is written",
    ),
    refused(
        "a bundle in the place of other files",
        nothing,
        "data/models holds other files than a bundle's: choose another place with --to",
        run="export --to data/models",
    ),
    refused(
        "a licence that is no name",
        nothing,
        "--license 'yes:no' is no name of a licence: write it as apache-2.0 or other",
        run="export --license yes:no",
    ),
    refused(
        "a bundle with a fold that is left over",
        another_fold,
        "data/models/fold_2 belongs to a fold that split.folds = [0, 1] does not have: run `couplet prune`, then "
        "`dvc repro`",
    ),
    refused(
        "a bundle of folds of different settings",
        replaced("data/models/fold_1/config.json", '"lr": 0.002', '"lr": 0.004'),
        "data/models/fold_1/config.json has other settings than fold 0: params.optimizer.lr is 0.004, there 0.002; "
        "folds of different runs cannot be mixed: run `dvc repro`",
    ),
    refused(
        "a bundle of a model with damaged weights",
        head(float("nan")),
        "data/models/fold_0 gives other probabilities than those in data/predictions (largest difference nan): the model "
        "is damaged or another: run `dvc checkout`, or `dvc repro`",
    ),
    refused(
        "a bundle's weights with one flipped bit",
        exported(flipped(f"{BUNDLE}/fold_1/model.safetensors")),
        f"{BUNDLE}/fold_1/model.safetensors is not the file that config.json names: export again",
        run=READ,
    ),
    refused(
        "a bundle without one of its files",
        exported(lambda project: place(project, f"{BUNDLE}/conformal.npz").unlink()),
        f"{BUNDLE}/conformal.npz is not there, but config.json names it: export again",
        run=READ,
    ),
    refused(
        "a bundle of a later format",
        exported(record(lambda content: content.update(format=2))),
        f"{BUNDLE}: this bundle is of format 2, this couplet reads 1: update couplet",
        run=READ,
    ),
    refused(
        "another folder's config.json as a bundle's",
        exported(record(lambda content: content.clear())),
        f"{BUNDLE}/config.json does not describe a bundle: export again, or name another --model",
        run=READ,
    ),
    refused(
        "an engine that the bundle has no file for",
        exported(),
        f"{BUNDLE} has no model.onnx: `couplet export --onnx` writes it",
        run=f"{READ} --engine onnx",
    ),
    refused(
        "an engine without a bundle",
        nothing,
        "--engine onnx runs an exported bundle: `couplet export --onnx`, then --model data/bundle",
        run="predict data/raw/csv/images --engine onnx",
    ),
    refused(
        "maps by an engine that has none",
        exported(),
        "--maps needs the networks themselves: leave --engine onnx out",
        run=f"{READ} --engine onnx --maps maps",
    ),
]
