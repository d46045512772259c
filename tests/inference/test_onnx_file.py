"""The exported graph: the same numbers as torch, any number of images, nothing of the machine, the same bytes twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from couplet.inference import onnx_file
from couplet.inference.exported import Exported, load_engine
from couplet.inference.onnx_file import write_onnx
from couplet.inference.openvino_file import write_openvino
from couplet.models.predictor import Predictor
from couplet.project.errors import UserError
from couplet.results.bundle import Bundle, write_bundle
from couplet.settings.params import Params
from couplet.settings.presets import load_preset
from tests.support.bundles import (
    LABELS,
    SMALL,
    graph,
    images,
    networks,
    predictors,
    record_of,
    settings,
    settled,
    write_folds,
)

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

THIN = SMALL["backbone_args"]
CHAINS: dict[str, dict[str, Any]] = {
    "cascade": {"levels": {"kind": "cascade", "count": 2}},
    "ag_cnn": {"head": "gmp", "backbone_args": THIN | {"output_stride": 16}, "levels": {"kind": "ag_cnn"}},
}


@dataclass
class Made:
    folder: Path
    params: Params
    folds: list[Predictor]
    bundle: Bundle


def make(folder: Path, **model: Any) -> Made:
    params = settings(**CHAINS.get(model["head"], model))
    folds = predictors(params)
    forms = write_folds(folder, params, folds)
    write_onnx(folder, graph(params, folds), 1, params.image.store_size, {"labels": LABELS, "digests": {}})
    write_openvino(folder)
    bundle = record_of(folder, params, forms)
    write_bundle(folder, bundle)
    return Made(folder, params, folds, bundle)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """made(head) is a bundle of two folds, each kind made once."""
    known: dict[str, Made] = {}

    def get(head: str) -> Made:
        if head not in known:
            known[head] = make(tmp_path_factory.mktemp(head), head=head)
        return known[head]

    return get


@pytest.mark.parametrize("head", ["linear", "gmp", "db_dgcn", "lstm", "query2label", *CHAINS])
@pytest.mark.parametrize("engine", ["torch", "onnx", "openvino"])
def test_every_engine_gives_torchs_numbers_for_any_number_of_images(
    made: Callable[[str], Made], head: str, engine: str
) -> None:
    one = made(head)
    loaded = load_engine(engine, one.folder, one.bundle)
    for n in (1, 2, 7, 48):
        given = images(n, one.params)
        found, expected = loaded.by_fold(given), networks(one.params, one.folds).by_fold(given)
        assert found.shape == (2, n, 3)
        assert np.abs(found - expected).max() < (1e-12 if engine == "torch" else 1e-5)


# Their outputs mean different probabilities, which a calibrated message tells the other labels.
OF_LOSSES: dict[str, dict[str, Any]] = {
    "asl": {"gamma_neg": 2.0},
    "bce": {"pos_weight": True},
    "focal": {},
    "bce_forward": {"missing_rate": [0.3, 0.1, 0.0], "flip_rate": 0.05},
}


def test_every_setting_of_trained_couplings_is_in_the_graph(tmp_path: Path) -> None:
    """A fold of each loss, in one graph: all that a refiner has of its loss are tensors and the same steps."""
    changes = {"message": "calibrated", "steps": 2, "conditional": "gate", "sparsity": "proximal"}
    of_refiner = {f"refiner.{key}": value for key, value in changes.items()}
    made = [
        settings(changes=of_refiner | {"loss.name": name, "loss.args": args})
        for name, args in OF_LOSSES.items()
    ]
    folds = [predictors(params, k + 1)[k] for k, params in enumerate(made)]
    write_onnx(tmp_path, graph(made[0], folds), 1, made[0].image.store_size, {"labels": LABELS})
    write_openvino(tmp_path)
    bundle, given = record_of(tmp_path, made[0], []), images(5, made[0])
    expected = networks(made[0], folds).by_fold(given)
    for engine in ("onnx", "openvino"):
        assert np.abs(load_engine(engine, tmp_path, bundle).by_fold(given) - expected).max() < 1e-5
    for k, fold in enumerate(folds):
        assert fold.refiner is not None
        fold.refiner.loss = None  # as if every message were the sigmoid
        plain = networks(made[0], [fold]).by_fold(given)[0]
        same = list(OF_LOSSES)[k] == "bce_forward"  # whose outputs are the clean labels' already
        assert (np.abs(plain - expected[k]).max() < 1e-6) == same, list(OF_LOSSES)[k]


def test_the_file_says_labels_and_free_dimensions_and_names_no_path(made: Callable[[str], Made]) -> None:
    path = made("db_dgcn").folder / "model.onnx"
    model = onnx.load(path)
    shapes = {
        value.name: [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"images": ["n", 1, 72, 72], "probabilities": ["n", 3], "by_fold": ["n", 2, 3]}
    assert [one.key for one in model.metadata_props] == ["couplet"]
    assert json.loads(model.metadata_props[0].value)["labels"] == LABELS
    assert "Resize" not in {node.op_type for node in model.graph.node}
    for file in (path, made("db_dgcn").folder / "openvino/model.xml"):
        assert not re.search(rb"/(home|root|tmp|usr|work|opt|lib|site-packages)\b", file.read_bytes()), file
        assert b".py" not in file.read_bytes()


def test_the_same_networks_give_the_same_bytes(made: Callable[[str], Made], tmp_path: Path) -> None:
    once, again = made("linear"), make(tmp_path, head="linear")
    assert again.bundle.files == once.bundle.files
    assert {"model.onnx", "openvino/model.xml", "openvino/model.bin"} <= once.bundle.files.keys()


def test_weights_above_protobufs_limit_stand_beside_the_file(
    made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made("linear")
    monkeypatch.setattr(onnx_file, "PARTS_FROM_BYTES", 1000)
    write_onnx(
        tmp_path, graph(whole.params, whole.folds), 1, whole.params.image.store_size, {"labels": LABELS}
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert (tmp_path / "model.onnx").stat().st_size < (whole.folder / "model.onnx").stat().st_size / 2
    parted = load_engine("onnx", tmp_path, record_of(tmp_path, whole.params, []))
    given = images(2, whole.params)
    together = load_engine("onnx", whole.folder, whole.bundle)
    assert np.array_equal(parted.by_fold(given), together.by_fold(given))


def test_a_fixed_number_of_images_is_an_error(made: Callable[[str], Made]) -> None:
    model = onnx.load(made("linear").folder / "model.onnx")
    model.graph.output[1].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(RuntimeError, match="fixed the number of images of by_fold"):
        onnx_file._refuse_fixed_number(model)


# --- loading ------------------------------------------------------------------------------------------------------


def test_couplet_load_gives_means_over_folds_in_batches(made: Callable[[str], Made]) -> None:
    import couplet

    one = made("linear")
    given = images(50, one.params)  # more than a batch of 48
    expected = networks(one.params, one.folds)
    batches = np.concatenate([expected.by_fold(given[:48]), expected.by_fold(given[48:])], axis=1)
    ensemble = couplet.load(one.folder)
    assert isinstance(ensemble, Exported) and ensemble.labels == LABELS
    assert np.array_equal(ensemble.by_fold(given), batches)
    assert np.abs(ensemble.predict(given) - batches.mean(axis=0)).max() < 1e-7
    assert ensemble.predict(given[:0]).shape == (0, 3)
    assert np.abs(couplet.load(str(one.folder), "onnx").predict(given) - ensemble.predict(given)).max() < 1e-5


@pytest.mark.parametrize(
    "spoilt", [np.zeros((1, 72, 72), np.uint8), np.zeros((1, 1, 64, 64), np.uint8), np.zeros((1, 1, 72, 72))]
)
def test_couplet_load_takes_stored_pixels_only(made: Callable[[str], Made], spoilt: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"images should be uint8 \(n, 1, 72, 72\), not "):
        Exported(made("linear").folder, "onnx").predict(spoilt)


def test_engines_that_are_not_there_are_refused(
    made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made("linear")
    bare = record_of(tmp_path, one.params, [])
    with pytest.raises(UserError, match=r"has no model\.onnx: `couplet export --onnx` writes it"):
        load_engine("onnx", tmp_path, bare)
    with pytest.raises(UserError, match=r"has no openvino/model\.xml: `couplet export --openvino` writes it"):
        load_engine("openvino", tmp_path, bare)
    with pytest.raises(UserError, match="--engine tf is not known: it should be torch, onnx, openvino"):
        load_engine("tf", one.folder, one.bundle)
    monkeypatch.setattr("couplet.running.extras.find_spec", lambda name: None)
    for name, package in (("onnx", "onnxruntime"), ("openvino", "openvino")):
        with pytest.raises(UserError) as error:
            load_engine(name, one.folder, one.bundle)
        assert str(error.value) == f'--engine {name} needs {package}: pip install "couplet[{name}]"'


@pytest.mark.slow
def test_the_real_net_of_the_first_paper(tmp_path: Path) -> None:
    """seresnext101_32x4d at 380, one fold with flip TTA: minutes."""
    content = load_preset("paper").as_dict()
    content["model"]["pretrained"] = False
    params = Params.model_validate(content)
    folds = [settled(one, params) for one in predictors(params, 1)]
    assert write_folds(tmp_path, params, folds) == ["timm"]
    about = {"labels": LABELS, "digests": {}}
    write_onnx(tmp_path, graph(params, folds), params.image.channels, params.image.store_size, about)
    write_openvino(tmp_path)
    bundle = record_of(tmp_path, params, ["timm"])
    for n in (1, 2):
        given = images(n, params)
        expected = networks(params, folds).by_fold(given)
        for engine in ("torch", "onnx", "openvino"):
            found = load_engine(engine, tmp_path, bundle).by_fold(given)
            assert np.abs(found - expected).max() < (1e-12 if engine == "torch" else 1e-5)


def test_crops_are_in_every_engine(tmp_path: Path) -> None:
    made = make(tmp_path, head="linear", changes={"inference.view": "five"})
    given = images(3, made.params)
    expected = networks(made.params, made.folds).by_fold(given)
    for engine in ("torch", "onnx", "openvino"):
        found = load_engine(engine, tmp_path, made.bundle).by_fold(given)
        assert np.abs(found - expected).max() < 2e-6, engine
