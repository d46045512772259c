from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from couplet.models.label_graph import cooccurrence_adjacency
from couplet.models.predictor import Predictor, build_predictor, load_predictor, save_predictor
from couplet.project.errors import UserError
from couplet.project.files import write_json
from couplet.results.model_record import write_model_record
from couplet.settings.params import Params
from couplet.settings.schema.plugins import HEADS
from tests.support.folds import same, state_of
from tests.support.heads import SMALL_HEADS
from tests.support.records import model_record

THIN = {"layers": [1, 1, 1, 1], "channels": [8, 16, 32, 64], "cardinality": 4, "base_width": 8}
LABELS = ["Atelectasis", "Cardiomegaly", "Edema", "Effusion"]


def settings(refiner: bool = True, **model) -> Params:
    content = Params().as_dict()
    content["model"] |= {"pretrained": False, "backbone_args": THIN} | model
    if "head_args" in model:
        own = model.get("head") not in (None, "linear", "gmp")
        content["model"]["head_args"] = model["head_args"] if own else {}
    content["refiner"]["enabled"] = refiner
    content["image"] |= {"size": 64, "store_size": 72}
    return Params.model_validate(content)


def save_fold(folder: Path, params: Params, predictor: Predictor, labels: list[str] = LABELS) -> None:
    write_model_record(folder, model_record(labels, params.as_dict()))
    save_predictor(folder / "predictor.safetensors", predictor)


def trained(predictor: Predictor) -> Predictor:
    """Every weight moved, the couplings and batch statistics included."""
    with torch.no_grad():
        for value in predictor.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return predictor


# --- the start ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS.names())
def test_the_ablation_starts_from_the_same_backbone_and_head(head):
    start, model = np.eye(4), {"head": head, "head_args": SMALL_HEADS.get(head, {})}
    full = build_predictor(settings(**model), LABELS, (42, 0), start)
    ablation = build_predictor(settings(refiner=False, **model), LABELS, (42, 0), start)
    assert ablation.refiner is None and full.refiner is not None
    assert same(state_of(full, without="refiner"), state_of(ablation))
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(full.eval()(images), ablation.eval()(images))  # A = 0


def test_couplings_that_are_fitted_afterwards_are_no_part_of_the_network():
    """It is built as the ablation is, and the strictness of the fit is nothing to it."""
    afterwards = settings()
    content = afterwards.as_dict()
    content["refiner"] |= {"fit": "out_of_fold", "strictness": 0.5}
    network = build_predictor(Params.model_validate(content), LABELS, (42, 0))
    ablation = build_predictor(settings(refiner=False), LABELS, (42, 0))
    assert network.refiner is None and same(state_of(network), state_of(ablation))


def test_the_start_depends_on_seed_and_fold_alone():
    torch.manual_seed(1)
    first = build_predictor(settings(), LABELS, (42, 0))
    torch.manual_seed(2)
    torch.rand(17)
    assert same(state_of(first), state_of(build_predictor(settings(), LABELS, (42, 0))))
    for other in ((42, 1), (43, 0), 41):
        assert not same(state_of(first), state_of(build_predictor(settings(), LABELS, other)))


@pytest.mark.parametrize("head", ["linear", "db_dgcn"])
def test_another_repeat_starts_from_other_weights_and_both_arms_of_it_from_the_same(head):
    start = np.eye(4)
    first, again, second = (
        build_predictor(settings(head=head), LABELS, (42, 0), start, repeat=repeat) for repeat in (0, 0, 1)
    )
    assert same(state_of(first), state_of(again))
    for part in ("backbone", "head"):
        a, b = (dict(getattr(one, part).named_parameters()) for one in (first, second))
        assert any(not torch.equal(a[name], b[name]) for name in a)
    ablation = build_predictor(settings(refiner=False, head=head), LABELS, (42, 0), start, repeat=1)
    assert same(state_of(second, without="refiner"), state_of(ablation))


def test_building_and_loading_leave_the_global_generator_alone(tmp_path):
    before = torch.random.get_rng_state()
    predictor = build_predictor(settings(), LABELS, 42)
    save_fold(tmp_path, settings(), predictor)
    load_predictor(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_head_does_not_change_the_backbones_start():
    linear = build_predictor(settings(), LABELS, 42)
    graph = build_predictor(settings(head="db_dgcn", head_args={"static_init": "random"}), LABELS, 42)
    assert same(state_of(linear.backbone), state_of(graph.backbone))


def test_load_pretrained_false_needs_no_weights(tmp_path):
    params = settings(pretrained=True)
    build_predictor(params, LABELS, 42, load_pretrained=False, weights_folder=tmp_path)
    (tmp_path / "seresnext101_32x4d.gluon_in1k.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(UserError, match="is not a safetensors file"):
        build_predictor(params, LABELS, 42, weights_folder=tmp_path)


def test_the_static_graph_starts_from_cooccurrence_or_at_random():
    truth = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]])
    start = cooccurrence_adjacency(truth)
    graph = build_predictor(settings(head="db_dgcn"), LABELS, 42, truth)
    assert torch.equal(graph.head.static_adjacency, start)
    drawn = build_predictor(settings(head="db_dgcn", head_args={"static_init": "random"}), LABELS, 42, truth)
    assert not torch.equal(drawn.head.static_adjacency, start)
    left_out = "head.static_adjacency"
    assert same(state_of(graph, without=left_out), state_of(drawn, without=left_out))
    with pytest.raises(
        ValueError, match="model.head = db_dgcn starts from the training fold: it needs train_truth"
    ):
        build_predictor(settings(head="db_dgcn"), LABELS, 42)


def test_head_settings_arrive():
    head_args = {"dim": 16, "beta": 0.25, "omega": 0.75, "pool": "lse", "normalize": True}
    head_args |= {"share_dynamic": True, "static_init": "random", "static_trainable": False}
    head = build_predictor(settings(head="db_dgcn", head_args=head_args), LABELS, 42).head
    assert (head.beta, head.omega, head.attention.pool, head.attention.normalize) == (0.25, 0.75, "lse", True)
    assert head.main.normalize and head.auxiliary is head.main
    assert head.label_weight.shape == (4, 16) and not head.static_adjacency.requires_grad
    assert build_predictor(settings(dropout=0.25), LABELS, 42).head.dropout.p == 0.25


# --- the forward pass ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "db_dgcn"])
def test_logits_are_float32_under_autocast(head):
    params = settings(head=head, head_args={"static_init": "random", "dim": 8})
    predictor = trained(build_predictor(params, LABELS, 42)).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = predictor.backbone(torch.randn(2, 3, 64, 64))
        logits = predictor(torch.randn(2, 3, 64, 64))
    assert features.dtype == torch.bfloat16
    assert logits.dtype == torch.float32 and logits.shape == (2, 4)


def test_forward_is_backbone_head_refiner():
    predictor = trained(build_predictor(settings(), LABELS, 42)).eval()
    images = torch.randn(2, 3, 64, 64)
    z = predictor.head(predictor.backbone(images))
    couplings = predictor.refiner.A * (1 - torch.eye(4))
    torch.testing.assert_close(predictor(images), z + 0.3 * torch.sigmoid(z) @ couplings)


# --- saving and loading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("refiner", [True, False])
@pytest.mark.parametrize("head", ["linear", "gmp", "db_dgcn"])
@pytest.mark.parametrize("share", [True, False])
def test_a_loaded_predictor_predicts_the_same(tmp_path, head, refiner, share):
    head_args = {"dim": 8, "share_dynamic": share}
    params = settings(refiner, head=head, head_args=head_args, dropout=0.5)
    predictor = trained(build_predictor(params, LABELS, 42, np.eye(4))).to(memory_format=torch.channels_last)
    save_fold(tmp_path, params, predictor)
    loaded = load_predictor(tmp_path, LABELS)
    images = torch.randn(3, 3, 64, 64)
    assert not loaded.training
    assert same(state_of(loaded), state_of(predictor))
    # Another memory layout rounds differently, no more.
    torch.testing.assert_close(loaded(images), predictor.eval()(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("refiner", [True, False])
@pytest.mark.parametrize("head", HEADS.names())
def test_with_every_head_a_loaded_predictor_predicts_the_same_in_the_same_memory_layout(
    tmp_path, head, refiner
):
    params = settings(refiner, head=head, head_args=SMALL_HEADS.get(head, {}))
    predictor = trained(build_predictor(params, LABELS, 42, np.eye(4))).to(memory_format=torch.channels_last)
    save_fold(tmp_path, params, predictor)
    loaded = load_predictor(tmp_path, LABELS).to(memory_format=torch.channels_last)
    assert same(state_of(loaded), state_of(predictor))
    images = torch.randn(3, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(loaded(images), predictor.eval()(images), rtol=1e-5, atol=1e-5)


def test_the_same_weights_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_predictor(tmp_path / name, build_predictor(settings(), LABELS, 42))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_pretrained_models_settings_load_without_its_weights(tmp_path):
    params = settings(pretrained=True)
    save_fold(tmp_path, params, build_predictor(params, LABELS, 42, load_pretrained=False))
    load_predictor(tmp_path)


def failure(folder: Path, labels: list[str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_predictor(folder, labels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_does_not_fit_is_named_with_its_file(tmp_path):
    params, weights = settings(), tmp_path / "predictor.safetensors"
    predictor = build_predictor(params, LABELS, 42)
    save_fold(tmp_path, params, predictor)
    message = failure(tmp_path, ["Atelectasis", "Hernia"])
    assert "config.json" in message and "Hernia" in message and "(4 in all)" in message
    save_fold(tmp_path, params, predictor, [*LABELS, "Hernia"])
    message = failure(tmp_path)
    assert str(weights) in message and "size mismatch" in message
    save_fold(tmp_path, settings(backbone="resnext50_32x4d"), predictor)
    assert str(weights) in failure(tmp_path)
    save_fold(tmp_path, settings(refiner=False), predictor)
    assert "refiner.A" in failure(tmp_path)
    save_fold(tmp_path, params, predictor)
    torch.save(predictor.state_dict(), weights)
    assert f"{weights} is not a safetensors file" in failure(tmp_path)
    weights.unlink()
    assert f"{weights} is not there" in failure(tmp_path)


def test_a_config_that_is_not_ours_is_named(tmp_path):
    params = settings()
    save_fold(tmp_path, params, build_predictor(params, LABELS, 42))
    whole = asdict(model_record(LABELS, params.as_dict()))
    write_json(tmp_path / "config.json", {key: whole[key] for key in whole if key != "params"})
    assert "config.json: 'params' is missing or of another kind" in failure(tmp_path)
    changed = params.as_dict()
    changed["model"]["heda"] = "linear"
    save_fold(tmp_path, params, build_predictor(params, LABELS, 42))
    write_model_record(tmp_path, model_record(LABELS, changed))
    assert "config.json: heda" in failure(tmp_path)
    (tmp_path / "config.json").unlink()
    assert "config.json is not there" in failure(tmp_path)
