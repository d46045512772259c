"""What stages hand on: store, manifest, folds, models, checkpoints, predictions, metrics."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from couplet.images.codec import encode, index_file
from couplet.project.project import Project
from couplet.results.measured import write_measured
from couplet.results.model_record import trained_on
from couplet.results.shard_list import StoredFile, write_shard_list
from tests.bad_inputs.case import Case, Given, both, cut, file, place, removed, replaced, setting, text
from tests.bad_inputs.cases_data_sets import changed
from tests.support.in_process import InProcessProject
from tests.support.measured import row

MODEL = "data/models/fold_0/predictor.safetensors"
CONFIG = "data/models/fold_0/config.json"
PREDICTIONS = "data/predictions/folds/fold_0.csv"
SHARD = "data/prepared/images-00000.npy"
STREAMS = "data/prepared/images-00000.jpegs"
INDEX = "data/prepared/images-00000.index.npy"
MANIFEST = "data/prepared/manifest.csv"
LABELS = "data/prepared/labels.json"
FOLDS = "data/splits/folds.csv"


def evaluate(name: str, given: Given, refused: str) -> Case:
    return Case(name, given, run="evaluate-fold 0", base="trained", refused=refused)


def ensemble(name: str, given: Given, refused: str) -> Case:
    return Case(name, given, run="ensemble-predict", base="trained", refused=refused)


def measured_csv() -> str:
    """metrics/systems.csv of one row."""
    with tempfile.TemporaryDirectory() as folder:
        write_measured([row()], Project(Path(folder)))
        return Project(Path(folder)).systems.read_text()


def report(name: str, given: Given, refused: str) -> Case:
    return Case(name, given, run="report", base="trained", refused=refused)


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Given:
    """Change the tensors of fold 0's model in place."""

    def rewrite(project: InProcessProject) -> None:
        path = place(project, MODEL)
        tensors = load(path.read_bytes())
        change(tensors)
        path.write_bytes(save(tensors))

    return rewrite


def head(value: float) -> Given:
    return weights(lambda tensors: tensors["head.classifier.bias"].fill_(value))


def array(values: Any) -> Given:
    """Another array in the place of the shard."""
    return lambda project: np.save(place(project, SHARD), np.array(values), allow_pickle=True)


def jpegs(spoil: Given) -> Given:
    """Spoil a store of image.codec: jpeg."""

    def change(project: InProcessProject) -> None:
        pixels = np.load(place(project, SHARD), allow_pickle=False)
        streams = [encode(image, "jpeg") for image in pixels]
        place(project, SHARD).unlink()
        place(project, STREAMS).write_bytes(b"".join(streams))
        place(project, INDEX).write_bytes(index_file(np.cumsum([0, *map(len, streams)]).tolist()))
        labels = place(project, LABELS)
        labels.write_text(labels.read_text().replace('"codec": "raw"', '"codec": "jpeg"'))
        spoil(project)
        listed = [StoredFile(p.name, p.stat().st_size, "5" * 64) for p in labels.parent.glob("images-*")]
        write_shard_list(labels.parent, listed)
        data = trained_on(Project(project.folder))  # as if the models had been trained on it
        both_configs(lambda c: c.update(data=data))(project)

    return change


def index(change: Callable[[np.ndarray], np.ndarray]) -> Given:
    """Change the index of the streams."""
    return lambda project: np.save(place(project, INDEX), change(np.load(place(project, INDEX))))


def small_jpegs(project: InProcessProject) -> None:
    """Pictures of another size in the place of all."""
    stream = encode(np.zeros((1, 32, 32), np.uint8), "jpeg")
    place(project, STREAMS).write_bytes(24 * stream)
    place(project, INDEX).write_bytes(index_file(range(0, 25 * len(stream), len(stream))))


def config(change: Callable[[Any], object]) -> Given:
    return changed(CONFIG, change)


def both_configs(change: Callable[[Any], object]) -> Given:
    return both(config(change), changed(CONFIG.replace("fold_0", "fold_1"), change))


def scratch(pattern: str, spoil: Callable[[Path], object]) -> Given:
    """Spoil every file that fits `pattern` in the resumable work that the runs left."""

    def change(project: InProcessProject) -> None:
        found = sorted((project.folder / ".scratch").glob(pattern))
        assert found, pattern
        for path in found:
            spoil(path)

    return change


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pickled(path: Path) -> None:
    """A pickle in the place of a checkpoint's tensors, with a record that says it belongs there."""
    content = pickle.dumps({"best": [0.0]})
    path.write_bytes(content)
    index = json.loads((path.parent / "checkpoint.json").read_text())
    del index["digest"]
    index["files"][path.name] = hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()
    (path.parent / "checkpoint.json").write_text(json.dumps({"digest": digest, **index}))


def afresh(name: str, given: Given, *said: str, run: str = "train-fold 0") -> Case:
    happens = "noticed, and done again with the same bytes"
    return Case(name, given, run=run, base="trained", happens=happens, said=said, same=True)


def first_prediction(value: str) -> Given:
    def rewrite(content: str) -> str:
        header, first, *rest = content.splitlines()
        cells = first.split(",")
        return "\n".join([header, ",".join([cells[0], value, *cells[2:]]), *rest]) + "\n"

    return text(PREDICTIONS, rewrite)


CASES = [
    evaluate(
        "a model trained on other labels",
        both(replaced(MANIFEST, "Nodule", "Mass"), replaced("data/prepared/labels.json", "Nodule", "Mass")),
        "data/models/fold_0/config.json: this model was trained on the labels Edema, Nodule, Rare, the data has Edema, Mass, Rare: run `dvc repro` to train it on this data",
    ),
    evaluate(
        "a model of another backbone",
        config(lambda c: c["params"]["model"].update(backbone="resnet14t")),
        'data/models/fold_0/predictor.safetensors does not fit the network that config.json beside it describes (Error(s) in loading state_dict for Predictor: Missing key(s) in state_dict: "backbone.network.layer1.0.conv3.weight", "backbone.network.layer1.0.bn3.weight", "backbone.network.layer1.0.bn3.bias", "bac): run `dvc repro` to train again',
    ),
    evaluate(
        "a pickle named .safetensors",
        file(MODEL, pickle.dumps({"head.classifier.bias": [0.0]})),
        "data/models/fold_0/predictor.safetensors is not a safetensors file (Error while deserializing: header too large): run `dvc checkout`",
    ),
    evaluate(
        "a model file cut short",
        cut(MODEL, 0.5),
        "data/models/fold_0/predictor.safetensors is not a safetensors file (Error while deserializing: incomplete metadata, file not fully covered): run `dvc checkout`",
    ),
    evaluate(
        "an empty model file",
        file(MODEL, b""),
        "data/models/fold_0/predictor.safetensors is not a safetensors file (Error while deserializing: header too small): run `dvc checkout`",
    ),
    evaluate(
        "a model file whose header says a terabyte",
        file(MODEL, (2**40).to_bytes(8, "little") + b"{}"),
        "data/models/fold_0/predictor.safetensors is not a safetensors file (Error while deserializing: header too large): run `dvc checkout`",
    ),
    evaluate(
        "a model file with a tensor too many",
        weights(lambda t: t.update(more=torch.ones(1))),
        'data/models/fold_0/predictor.safetensors does not fit the network that config.json beside it describes (Error(s) in loading state_dict for Predictor: Unexpected key(s) in state_dict: "more".): run `dvc repro` to train again',
    ),
    evaluate(
        "no model file",
        removed(MODEL),
        "data/models/fold_0/predictor.safetensors is not there: run `dvc repro` (or `dvc checkout`) to make it",
    ),
    evaluate(
        "a model with NaN weights (NaN logits)",
        head(float("nan")),
        "data/models/fold_0: 24 of 24 probabilities are not finite (first: image 02.png, label Edema): the model is damaged or diverged, so nothing was written: restore it with `dvc checkout`, or train again with a lower optimizer.lr",
    ),
    evaluate(
        "a model with infinite weights (infinite logits)",
        head(float("inf")),
        "data/models/fold_0: 24 of 24 probabilities are not finite (first: image 02.png, label Edema): the model is damaged or diverged, so nothing was written: restore it with `dvc checkout`, or train again with a lower optimizer.lr",
    ),
    evaluate(
        "config.json cut short",
        text(CONFIG, lambda content: content[: content.index("labels") + 3]),
        "data/models/fold_0/config.json is not valid JSON (Unterminated string starting at: {place}): restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    evaluate(
        "config.json without settings",
        config(lambda c: c.pop("params")),
        "data/models/fold_0/config.json: 'params' is missing or of another kind than it should be: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    evaluate(
        "config.json with a precision that does not exist",
        config(lambda c: c.update(precision="int3")),
        "precision 'int3' is not known: it should be auto, bf16, fp16 or float32 (in config.json too)",
    ),
    evaluate(
        "config.json with text for a size",
        config(lambda c: c["params"]["image"].update(size="large")),
        "data/models/fold_0/config.json lacks settings, or holds odd ones (invalid literal for int() with base 10: 'large'): run `dvc repro` to train again",
    ),
    evaluate(
        "a shard that is missing",
        removed(SHARD),
        "data/prepared/images-00000.npy is not there: restore it with `dvc checkout data/prepared`, or make it again with `dvc repro -f prepare`",
    ),
    evaluate(
        "a shard cut short",
        cut(SHARD, 0.5),
        "data/prepared/images-00000.npy is truncated or damaged: restore it with `dvc checkout data/prepared`, or make it again with `dvc repro -f prepare`",
    ),
    evaluate(
        "a shard with a pickle inside",
        array([{"a": 1}]),
        "data/prepared/images-00000.npy holds object (1,), not uint8 (24, 1, 36, 36) as manifest.csv says: restore it with `dvc checkout data/prepared`, or make it again with `dvc repro -f prepare`",
    ),
    evaluate(
        "a shard of another kind",
        array(np.zeros((24, 1, 36, 36))),
        "data/prepared/images-00000.npy holds float64 (24, 1, 36, 36), not uint8 (24, 1, 36, 36) as manifest.csv says: restore it with `dvc checkout data/prepared`, or make it again with `dvc repro -f prepare`",
    ),
    evaluate(
        "a JPEG shard without its index",
        jpegs(removed(INDEX)),
        "data/prepared/images-00000.index.npy is not there: restore it with `dvc checkout data/prepared`, or make it again with `dvc repro -f prepare`",
    ),
    evaluate(
        "an index of JPEG streams that does not rise",
        jpegs(index(lambda offsets: offsets[[0, 2, 1, *range(3, len(offsets))]])),
        "data/prepared/images-00000.index.npy is damaged: restore it with `dvc checkout data/prepared`, or make it again with `dvc repro -f prepare`",
    ),
    evaluate(
        "an index of other numbers",
        jpegs(index(lambda offsets: offsets.astype(np.float64))),
        "data/prepared/images-00000.index.npy holds float64 (25,), not uint64 (25,) as manifest.csv says: restore it with `dvc checkout data/prepared`, or make it again with `dvc repro -f prepare`",
    ),
    evaluate(
        "a JPEG shard cut short",
        jpegs(cut(STREAMS, 0.5)),
        "data/prepared/images-00000.jpegs is truncated, or images-00000.index.npy belongs to another file: restore it with `dvc checkout data/prepared`, or make it again with `dvc repro -f prepare`",
    ),
    evaluate(
        "a JPEG shard with pictures of another size",
        jpegs(small_jpegs),
        "data/prepared/images-00000.jpegs is damaged: its image 2 is no JPEG of 36 x 36 in grey: restore it with `dvc checkout data/prepared`, or make it again with `dvc repro -f prepare`",
    ),
    evaluate(
        "labels.json with a codec that does not exist",
        replaced(LABELS, '"codec": "raw"', '"codec": "webp"'),
        "data/prepared/labels.json: image.codec is 'webp', not raw or jpeg: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    evaluate(
        "an empty manifest",
        file(MANIFEST, ""),
        "data/prepared/manifest.csv is damaged (No columns to parse from file): restore it with `dvc checkout`",
    ),
    evaluate(
        "a manifest with a word for a label",
        text(MANIFEST, lambda content: re.sub(r"(,40,40,0,3,[0-9a-f]{16},)1,", r"\1maybe,", content)),
        "data/prepared/manifest.csv, row 5: a label is not 0, 1 or empty: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    evaluate(
        "a manifest of an earlier version, without pictures",
        replaced(MANIFEST, ",picture,", ",hash,"),
        "data/prepared/manifest.csv has no column 'picture', as those of earlier versions of couplet: make it again with `dvc repro`",
    ),
    evaluate(
        "a manifest that points past the store",
        replaced(MANIFEST, ",40,40,0,3,", ",40,40,0,3000,"),
        "data/prepared/manifest.csv: its rows do not number the images of a shard: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    evaluate(
        "labels.json without labels",
        changed("data/prepared/labels.json", lambda c: c.pop("labels")),
        "data/prepared/labels.json: 'labels' is missing or of another kind than it should be: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    evaluate(
        "folds of other images",
        replaced(FOLDS, "03.png", "99.png"),
        "data/splits/folds.csv lists other images than data/prepared/manifest.csv: run `dvc repro split_mis`",
    ),
    evaluate(
        "a fold in folds.csv that is a word",
        replaced(FOLDS, ",1\n", ",one\n", 1),
        "data/splits/folds.csv, row 2: fold 'one' is no number, test or train: run `dvc repro split_mis`",
    ),
    evaluate(
        "no training history",
        removed("data/models/fold_0/history.csv"),
        "data/models/fold_0/history.csv is not there: run `dvc repro` (or `dvc checkout`) to make it",
    ),
    ensemble(
        "predictions with NaN",
        first_prediction("nan"),
        "data/predictions/folds/fold_0.csv has cells that are not numbers: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    ensemble(
        "predictions with infinity",
        first_prediction("inf"),
        "data/predictions/folds/fold_0.csv has cells that are not numbers: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    ensemble(
        "predictions above 1",
        first_prediction("2.5"),
        "data/predictions/folds/fold_0.csv has cells that are no probabilities: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    ensemble(
        "predictions of other labels",
        replaced(PREDICTIONS, "Nodule", "Mass"),
        "data/predictions/folds/fold_0.csv has other labels than data/prepared/labels.json: run `dvc repro`",
    ),
    ensemble(
        "predictions of other images",
        cut(PREDICTIONS, 0.5),
        "data/predictions/folds/fold_0.csv has other images than data/splits/folds.csv gives it: run `dvc repro`",
    ),
    ensemble(
        "a fold left over from another run",
        lambda p: place(p, "data/models/fold_5").mkdir(),
        "data/models/fold_5 belongs to a fold that split.folds = [0, 1] does not have: run `couplet prune`, then `dvc repro`",
    ),
    afresh(
        "a checkpoint cut short",
        scratch("train_fold/*/checkpoint.json", half),
        "{project}/.scratch/train_fold/{key}/checkpoint.json is damaged: starting afresh",
    ),
    afresh(
        "a checkpoint that is no JSON",
        scratch("train_fold/*/checkpoint.json", lambda p: p.write_bytes(b"\xff")),
        "{project}/.scratch/train_fold/{key}/checkpoint.json is damaged: starting afresh",
    ),
    afresh(
        "a checkpoint without its tensors",
        scratch("train_fold/*/best-*.safetensors", Path.unlink),
        "{project}/.scratch/train_fold/{key}/best-{epoch}.safetensors is damaged: starting afresh",
    ),
    afresh(
        "a checkpoint with its tensors cut short",
        scratch("train_fold/*/best-*.safetensors", half),
        "{project}/.scratch/train_fold/{key}/best-{epoch}.safetensors is damaged: starting afresh",
    ),
    afresh(
        "a checkpoint with a pickle for tensors",
        scratch("train_fold/*/best-*.safetensors", pickled),
        "{project}/.scratch/train_fold/{key}/best-{epoch}.safetensors is not a safetensors file: starting afresh",
    ),
    afresh("a finished shard cut short", scratch("prepare/*/*.npy", half), run="prepare"),
    afresh("a finished shard without its record", scratch("prepare/*/*.json", Path.unlink), run="prepare"),
    report(
        "folds of different settings",
        config(lambda c: c["params"]["refiner"].update(alpha=0.5)),
        "data/models/fold_1/config.json has other settings than fold 0: params.refiner.alpha is 0.3, there 0.5; folds of different runs cannot be mixed: run `dvc repro`",
    ),
    report(
        "folds of different data",
        both(
            changed(CONFIG.replace("fold_0", "fold_1"), lambda c: c["data"].update({FOLDS: "1" * 32})),
            config(lambda c: c["data"].update({FOLDS: "f" * 32})),
        ),
        "data/models/fold_1/config.json has other data than fold 0: data.data/splits/folds.csv is '11111111111111111111111111111111', there 'ffffffffffffffffffffffffffffffff'; folds of different runs cannot be mixed: run `dvc repro`",
    ),
    report(
        "models of other folds than those that are here",
        both_configs(lambda c: c["data"].update({FOLDS: "f" * 32})),
        "data/models/fold_0 was trained on another folds.csv than data/splits/folds.csv: run `dvc repro`",
    ),
    evaluate(
        "folds that were dealt anew after the model was trained",
        replaced(FOLDS, "00.png,1\n01.png,1", "00.png,0\n01.png,0"),
        "data/models/fold_0 was trained on another folds.csv than data/splits/folds.csv: run `dvc repro train_fold@0`",
    ),
    evaluate(
        "a label that was turned round after the model was trained",
        text(MANIFEST, lambda content: re.sub(r"(,40,40,0,3,[0-9a-f]{16},)1,", r"\g<1>0,", content)),
        "data/models/fold_0 was trained on another manifest.csv than data/prepared/manifest.csv: run `dvc repro train_fold@0`",
    ),
    Case(
        "pretrained weights that `couplet scan` has not listed",
        setting("model.pretrained", True, **{"model.backbone": "resnet10t.c3_in1k"}),
        run="prepare",
        refused="data/weights.json does not list the weights of resnet10t.c3_in1k, and model.pretrained is true: run `couplet scan`, or set model.pretrained=false",
    ),
    report(
        "folds of different code",
        both_configs(lambda c: c.update(code=f"code of fold {c['fold']}")),
        "data/models/fold_1/config.json has other code than fold 0: code is 'code of fold 1', there 'code of fold 0'; folds of different runs cannot be mixed: run `dvc repro`",
    ),
    report(
        "folds without a record of their versions",
        both_configs(lambda c: c.pop("versions")),
        "data/models/fold_0/config.json: 'versions' is missing or of another kind than it should be: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "measured systems that were cut short",
        file("metrics/systems.csv", "system,experiments\nkufel,sys-kufel\n"),
        "metrics/systems.csv has no column 'source': restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "a measured system whose number of images is a word",
        file("metrics/systems.csv", measured_csv().replace(",100,", ",many,")),
        "metrics/systems.csv line 2: invalid literal for int() with base 10: 'many': restore it from git, or remove it and write it again with `couplet table NAMES --write`",
    ),
    report(
        "metrics of other predictions",
        changed("metrics/fold_0.json", lambda c: c.update(auc_macro=0.99)),
        "metrics/fold_0.json: auc_macro is 0.99, but the predictions give {auc}: run `dvc repro`",
    ),
    report(
        "what is known of the couplings is a list",
        file("metrics/couplings.json", "[]"),
        "metrics/couplings.json: 'fit' is missing or of another kind than it should be: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "metrics that are a list",
        file("metrics/fold_0.json", "[]"),
        "metrics/fold_0.json: 'auc_macro' is missing or of another kind than it should be: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "metrics without their second half",
        changed("metrics/ensemble.json", lambda c: c["oof"].pop("top3")),
        "metrics/ensemble.json: oof.top3 is missing or not ours: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "metrics without their interval",
        changed("metrics/ensemble.json", lambda c: c["oof"].pop("auc_macro_low")),
        "metrics/ensemble.json: oof.auc_macro_low is missing or not ours: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "a calibrator without its prior",
        changed("data/predictions/ensemble/calibration.json", lambda c: c["labels"][0].pop("prior")),
        "data/predictions/ensemble/calibration.json has a calibrator that is not ours (KeyError: 'prior'): restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "a threshold that is a word",
        changed(
            "data/predictions/ensemble/calibration.json",
            lambda c: c["labels"][0]["thresholds"].update(youden="high"),
        ),
        "data/predictions/ensemble/calibration.json is not ours (ValueError: could not convert string to float: 'high'): restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "sorted scores that are no archive",
        file("data/predictions/ensemble/conformal.npz", "x"),
        "data/predictions/ensemble/conformal.npz is damaged: restore it with `dvc checkout`",
    ),
    report(
        "a decision that is none of four",
        replaced("data/predictions/ensemble/decisions.csv", ",2", ",7"),
        "data/predictions/ensemble/decisions.csv has cells that are not 0, 1, 2 or 3: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "decisions made with another alpha",
        setting("decision.alpha", 0.2),
        "params.yaml: decision.alpha is 0.2, but data/predictions/ensemble was made with 0.1: run `dvc repro`, or restore params.yaml",
    ),
    report(
        "an empty split.json",
        file("metrics/split.json", "{}"),
        "metrics/split.json: 'n_images' is missing or of another kind than it should be: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "couplings that are words",
        replaced("data/models/fold_0/couplings.csv", "0.00000000", "zero", 1),
        "data/models/fold_0/couplings.csv has cells that are not numbers: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "a quarantine list of another kind",
        file("data/prepared/quarantine.csv", "a,b\n"),
        "data/prepared/quarantine.csv has no column 'image_id': restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    report(
        "a folder in the place of the report",
        both(removed("plots/report.html"), lambda p: place(p, "plots/report.html").mkdir()),
        "Is a directory (plots/report.html): mend that, then run `dvc repro` to go on from here",
    ),
]
