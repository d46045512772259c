"""What `couplet predict` is given: inputs, models, and where to write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

from tests.bad_inputs.case import Case, Given, both, cut, file, nothing, removed
from tests.support.in_process import InProcessProject

ENSEMBLE, MODELS = "data/predictions/ensemble", "data/models"
IMAGES = "data/raw/csv/images"
MAKE = "run `dvc repro` (or `dvc checkout`) to make it"


def refused(name: str, given: Given, refused: str, run: str = f"predict {IMAGES}", code: int = 1) -> Case:
    return Case(name, given, run=run, base="trained", refused=refused, code=code)


def changed(path: str, change: Callable[[Any], object]) -> Given:
    """Change a JSON file's content in place."""

    def rewrite(project: InProcessProject) -> None:
        content = json.loads((project.folder / path).read_text())
        change(content)
        (project.folder / path).write_text(json.dumps(content))

    return rewrite


def without_folder(path: str) -> Given:
    return lambda project: shutil.rmtree(project.folder / path)


def empty_folder(path: str) -> Given:
    return lambda project: (project.folder / path).mkdir()


CASES = [
    refused(
        "new images that are not there",
        nothing,
        "nowhere is not there: name files or folders that are",
        run="predict nowhere",
    ),
    refused(
        "a folder without images to predict",
        both(empty_folder("new"), file("new/notes.txt", "no picture")),
        "nothing to predict: new holds no image",
        run="predict new",
    ),
    refused(
        "a new image whose name is a formula",
        both(empty_folder("new"), file("new/=1+1.png", b"")),
        "the name '=1+1.png' would be a formula in a table, or holds control characters: use --id digest",
        run="predict new",
    ),
    refused(
        "predictions of another ending",
        nothing,
        "--out p.xlsx: the ending should be .csv, .json or .jsonl, or none for a folder of parts",
        run=f"predict {IMAGES} --out p.xlsx",
    ),
    refused(
        "predictions in the place of an input",
        both(empty_folder("new"), file("new/a.csv", b"\xff\xd8\xff")),
        "new/a.csv is one of the inputs: write to another file",
        run="predict new/a.csv --out new/a.csv",
    ),
    refused(
        "predictions below a file",
        file("blocked", ""),
        "File exists (blocked): mend that, then run `couplet predict` again",
        run=f"predict {IMAGES} --out blocked/p.csv",
    ),
    refused(
        "predictions in the place of a folder",
        empty_folder("p.json"),
        "Is a directory (p.json): mend that, then run `couplet predict` again",
        run=f"predict {IMAGES} --out p.json",
    ),
    refused(
        "maps among the inputs",
        nothing,
        f"{IMAGES}/maps lies in a folder of inputs, where it would be read the next time: choose another",
        run=f"predict {IMAGES} --maps {IMAGES}/maps",
    ),
    refused(
        "an overlay without maps",
        nothing,
        "--overlay draws what --maps writes: name a folder with --maps",
        run=f"predict {IMAGES} --overlay",
    ),
    refused(
        "studies in parts",
        nothing,
        "--by study needs all rows in one file: give --out an ending, .csv, .json or .jsonl",
        run=f"predict {IMAGES} --by study --out parts",
    ),
    refused(
        "a page of another ending",
        nothing,
        "--html page.txt: the ending should be .html",
        run=f"predict {IMAGES} --html page.txt",
    ),
    refused(
        "an id that there is not",
        nothing,
        "Invalid value for '--id': 'uid' is not one of 'name', 'digest': `couplet predict --help` says what it takes",
        run=f"predict {IMAGES} --id uid",
        code=2,
    ),
    refused(
        "a known label without couplings that were fitted after training",
        nothing,
        f"--known needs couplings that were fitted after training, and {MODELS} has none: set refiner.fit: out_of_fold and "
        "run `dvc repro`, or leave --known out",
        run=f"predict {IMAGES} --known Edema=1",
    ),
    refused(
        "a model that is not there",
        nothing,
        "nowhere is not there: run `dvc repro` (or `dvc checkout`), or name another --model",
        run=f"predict {IMAGES} --model nowhere",
    ),
    refused(
        "a folder that is no model",
        nothing,
        f"data/splits is no {MODELS} of a project: give that folder as --model",
        run=f"predict {IMAGES} --model data/splits",
    ),
    refused(
        "a model without folds",
        both(without_folder(f"{MODELS}/fold_0"), without_folder(f"{MODELS}/fold_1")),
        f"{MODELS} holds no trained fold: run `dvc repro` (or `dvc checkout`)",
    ),
    refused(
        "a fold without its record, asked for predictions",
        removed(f"{MODELS}/fold_1/config.json"),
        f"{MODELS}/fold_1/config.json is not there: {MAKE}",
    ),
    refused(
        "a fold less than calibration was fitted on",
        without_folder(f"{MODELS}/fold_1"),
        f"{ENSEMBLE}/conformal.npz is of 2 folds, {MODELS} has 1: run `dvc repro`",
    ),
    refused(
        "folds of different settings, asked for predictions",
        changed(f"{MODELS}/fold_1/config.json", lambda c: c["params"]["image"].update(size=34)),
        f"{MODELS}/fold_1/config.json has other settings than fold 0: params.image.size is 34, there 32; folds of different runs cannot be mixed: run `dvc repro`",
    ),
    refused(
        "weights that are cut, asked for predictions",
        cut(f"{MODELS}/fold_0/predictor.safetensors", 0.5),
        f"{MODELS}/fold_0/predictor.safetensors is not a safetensors file (Error while deserializing: incomplete metadata, file not fully covered): run `dvc checkout`",
    ),
    refused(
        "another store than the models were trained on",
        changed("data/prepared/labels.json", lambda c: c["image"].update(store_size=40)),
        f"{MODELS}/fold_0 was trained on another labels.json than data/prepared/labels.json: run `dvc repro`",
    ),
    refused(
        "calibration that is damaged, asked for predictions",
        changed(f"{ENSEMBLE}/calibration.json", lambda c: c["labels"][0].pop("kappa")),
        f"{ENSEMBLE}/calibration.json has a calibrator that is not ours (KeyError: 'kappa'): restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    refused(
        "calibration of models with another loss",
        changed(f"{ENSEMBLE}/calibration.json", lambda c: c["loss"].update(smoothing=0.1)),
        f"{ENSEMBLE}/calibration.json is of models with another loss than {MODELS}/fold_0: run `dvc repro`",
    ),
]
