"""Chains of networks: what each level reads, whose weights have which names, and what is trained with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from couplet.models.attention_crop import attention_box, crop
from couplet.models.chains import Level
from couplet.models.head import ClassifierHead
from couplet.models.predictor import Predictor, build_predictor, load_predictor, save_predictor
from couplet.models.refiner import LabelGraphRefiner
from couplet.results.model_record import write_model_record
from couplet.settings.presets import load_preset
from couplet.settings.schema.plugins import HEADS
from tests.support.errors import refused
from tests.support.folds import LABELS, settings
from tests.support.records import model_record

L, F = len(LABELS), 16
CASCADE = {"kind": "cascade", "count": 3}
AG_CNN = {"kind": "ag_cnn"}


def built(levels: dict[str, Any], **changes: Any) -> Predictor:
    """A thin chain in evaluation mode, with statistics and couplings that are not those of the start."""
    predictor = build_predictor(settings(model__levels=levels, **changes), LABELS, (42, 0))
    for module in predictor.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    if predictor.refiner is not None:
        torch.nn.init.normal_(predictor.refiner.A)
    return predictor.eval()


def plain(level: Level) -> tuple[torch.nn.Module, ClassifierHead]:
    assert isinstance(level.head, ClassifierHead) and level.backbone is not None
    return level.backbone, level.head


def test_the_first_level_is_the_single_network_and_a_cascade_of_one_has_nothing_else() -> None:
    alone = build_predictor(settings(), LABELS, (42, 0)).state_dict()
    assert list(built({"kind": "cascade", "count": 1}).state_dict()) == list(alone)
    for levels in (CASCADE, AG_CNN):
        chain = build_predictor(settings(model__levels=levels), LABELS, (42, 0)).state_dict()
        assert all(torch.equal(chain[name], alone[name]) for name in alone)
        assert {name.split(".")[0] for name in chain.keys() - alone.keys()} == {"later"}
        assert {name.split(".")[1] for name in chain.keys() - alone.keys()} == {"1", "2"}
    assert not torch.equal(
        chain["later.1.backbone.network.conv1.weight"], alone["backbone.network.conv1.weight"]
    )


@pytest.mark.parametrize("head", ["linear", "gmp", "mlp"])
def test_each_level_of_a_cascade_reads_its_features_and_what_all_before_it_predict(head: str) -> None:
    head_args = {"hidden": [5]} if head == "mlp" else {}
    predictor = built(CASCADE, model__head=head, model__head_args=head_args)
    images, told = torch.randn(4, 3, 32, 32), []
    for k, level in enumerate(predictor.levels):
        network, classifier = plain(level)
        features = network(images)
        vector = features.amax(dim=(2, 3)) if head == "gmp" else features
        z = torch.cat([vector, *told], dim=1)
        if head == "mlp":
            ((linear, relu, norm),) = classifier.hidden  # type: ignore[union-attr, attr-defined]
            z = norm(relu(linear(z)))
        z = torch.nn.functional.linear(z, classifier.classifier.weight, classifier.classifier.bias)
        predictor.level = k
        expected = z if k < 2 else predictor.refiner(z, features)  # type: ignore[misc]
        torch.testing.assert_close(predictor(images), expected)
        assert k == 2 or (predictor.loss_terms() == {} and predictor.sparse_tensors() == ())
        told.append(z.sigmoid())
    assert list(predictor.loss_terms()) == ["couplings"]


def test_a_level_with_the_weights_of_the_one_before_is_the_refiner() -> None:
    """[W_f, alpha A^T] without A's diagonal: the cascade contains the first paper's idea, dense and without its L1."""
    predictor = built({"kind": "cascade", "count": 2}, refiner__enabled=False).double()
    (network, head), (other, reader) = (plain(level) for level in predictor.levels)
    refiner = LabelGraphRefiner(L, 0.3).double()
    torch.nn.init.normal_(refiner.A)
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        told = 0.3 * (refiner.A - refiner.A.diag().diag()).T
        reader.classifier.weight.copy_(torch.cat([head.classifier.weight, told], dim=1))
        reader.classifier.bias.copy_(head.classifier.bias)
    images = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    expected = refiner(head(network(images)))
    torch.testing.assert_close(predictor(images), expected, atol=1e-14, rtol=0)
    assert not torch.allclose(expected, head(network(images)))


@pytest.mark.parametrize("head", ["linear", "gmp"])
def test_the_second_network_sees_a_crop_and_the_last_level_reads_both(head: str) -> None:
    thin = {"channels": [8, 8, 16, 16], "output_stride": 8}
    predictor = built(AG_CNN, model__head=head, model__backbone_args=thin, refiner__enabled=False)
    (whole, first), (local, second) = (plain(level) for level in predictor.levels[:2])
    assert predictor.levels[2].backbone is None
    images = torch.randn(5, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    features = whole(images)
    assert features.shape == (5, F, 4, 4)
    boxes = attention_box(features, 32, 0.7)
    assert len({tuple(box) for box in boxes.tolist()}) > 1

    def pooled(features: torch.Tensor) -> torch.Tensor:
        return features.amax(dim=(2, 3)) if head == "gmp" else features.mean(dim=(2, 3))

    v_0, v_1 = pooled(features), pooled(local(crop(images, boxes)))
    last = predictor.levels[2].head.classifier  # type: ignore[union-attr]
    expected = [first.classifier(v_0), second.classifier(v_1), last(torch.cat([v_0, v_1], dim=1))]
    for level, logits in enumerate(expected):
        predictor.level = level
        torch.testing.assert_close(predictor(images), logits)


@pytest.mark.parametrize("levels", [CASCADE, AG_CNN])
def test_every_level_reads_metadata_behind_its_features(levels: dict[str, Any]) -> None:
    predictor = built(levels, model__metadata=["age", "view"], refiner__enabled=False)
    assert predictor.metadata_mean is not None
    predictor.metadata_mean.copy_(torch.tensor([0.4, 0.25]))
    images = torch.randn(3, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    metadata = torch.tensor([[0.9, 1.0], [float("nan"), 0.0], [float("nan"), float("nan")]])
    told = torch.tensor([[0.9, 1.0], [0.4, 0.0], [0.4, 0.25]])
    vectors, predicted = [], []
    for k, (network, head) in enumerate(predictor.levels):
        predictor.level = k
        if network is not None:
            seen = network(images)
            vectors.append(seen if seen.dim() == 2 else seen.mean(dim=(2, 3)))
            read = [vectors[-1], told, *(predicted if levels is CASCADE else [])]
        else:
            read = [*vectors, told]
        z = head.classifier(torch.cat(read, dim=1))  # type: ignore[operator]
        torch.testing.assert_close(predictor(images, metadata=metadata), z)
        predicted.append(z.sigmoid())
        if levels is AG_CNN and k == 0:
            images_0, images = images, crop(images, attention_box(seen, 32, 0.7))
            assert torch.equal(images, images_0), "a map of one place is cropped to itself"


def test_without_levels_linear_reads_what_timm_pools_and_with_a_crop_the_mean_of_the_map() -> None:
    alone, chain = built({}), built(AG_CNN)
    alone.load_state_dict({name: v for name, v in chain.state_dict().items() if not name.startswith("later")})
    images = torch.randn(3, 3, 32, 32)
    chain.level = 0
    assert alone.backbone(images).shape == (3, F) and chain.backbone(images).shape == (3, F, 1, 1)
    torch.testing.assert_close(chain(images), alone.head(alone.backbone(images)))


@pytest.mark.parametrize("levels", [CASCADE, AG_CNN])
def test_one_level_is_trained_and_the_others_stay_in_evaluation_mode_without_gradients(
    levels: dict[str, Any],
) -> None:
    predictor = built(levels)
    images = torch.randn(4, 3, 32, 32)
    for k in (0, 1, 2):
        predictor.train_level(k)
        predictor.train()
        predictor(images).sum().backward()
        for name, parameter in predictor.named_parameters():
            own = predictor.level_of(name) == k
            assert parameter.requires_grad == own, name
            assert (parameter.grad is not None) == own, "and none is left over from the level before"
        for number, level in enumerate(predictor.levels):
            assert all(
                module.training == (number == k)
                for part in level
                if part is not None
                for module in part.modules()
            )
        names = {name for name in predictor.state_dict() if predictor.level_of(name) == k}
        assert predictor.own_state().keys() == names
    assert names >= {"refiner.A", "later.2.head.classifier.weight"}
    with pytest.raises(KeyError, match="not those of level 2"):
        predictor.load_own_state({"later.1.head.classifier.weight": torch.zeros(1)})


def test_what_never_trains_is_not_trained_by_its_level_either() -> None:
    predictor = built(CASCADE)
    predictor.backbone.network.conv1.weight.requires_grad_(False)  # type: ignore[union-attr]
    for k in (0, 1, 0):
        predictor.train_level(k)
    assert not predictor.backbone.network.conv1.weight.requires_grad  # type: ignore[union-attr]
    assert predictor.backbone.network.layer1[0].conv1.weight.requires_grad  # type: ignore[union-attr, index]


def test_a_gate_reads_what_the_last_level_reads_of_the_networks() -> None:
    for levels, width in ((CASCADE, F), (AG_CNN, 2 * F)):
        predictor = built(levels, refiner__conditional="gate")
        assert predictor.refiner is not None and predictor.refiner.gate is not None
        assert predictor.refiner.gate.V.shape == (L, width)
        assert predictor(torch.randn(2, 3, 32, 32)).shape == (2, L)


@pytest.mark.parametrize("levels", [CASCADE, AG_CNN])
def test_a_saved_chain_comes_back(levels: dict[str, Any], tmp_path: Path) -> None:
    params = settings(model__levels=levels)
    predictor = built(levels)
    write_model_record(tmp_path, model_record(LABELS, params.as_dict()))
    save_predictor(tmp_path / "predictor.safetensors", predictor)
    again = load_predictor(tmp_path)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(images), predictor(images))
    save_predictor(tmp_path / "again.safetensors", again)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "predictor.safetensors").read_bytes()


def test_heads_that_have_no_levels_are_refused_in_a_line() -> None:
    for head in HEADS.names():
        for kind, able in (
            ("cascade", ["gmp", "linear", "mlp"]),
            ("ag_cnn", ["gmp", "linear"]),
        ):
            if head in able:
                settings(model__head=head, model__levels={"kind": kind})
                continue
            names = "'gmp', 'linear' or 'mlp'" if kind == "cascade" else "'gmp' or 'linear'"
            assert refused(settings, model__head=head, model__levels={"kind": kind}) == (
                f"test: model.levels.kind = {kind} is not defined for model.head = {head}: set model.head to {names}, "
                "or model.levels.kind to single"
            )


# --- the presets ------------------------------------------------------------------------------------------------

# Labels, backbone (None: the preset's), then parameters: of all, and those that each level trains.
SIZES: dict[str, tuple[int, dict[str, Any], int, list[int]]] = {
    "guan": (15, {}, 47_138_989, [23_538_767, 23_538_767, 61_455]),
    "guan, DenseNet-121": (
        15,
        {"backbone": "densenet121.tv_in1k"},
        13_969_197,
        [6_969_231, 6_969_231, 30_735],
    ),
    "kumar": (
        14,
        {},
        6 * 26_472_000 + 188_496,
        [26_472_000 + (2208 + 14 * k) * 14 + 14 for k in range(6)],
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_presets_have_their_size(name: str) -> None:
    """By hand: 2 x 23,508,032 + 2 x (2048 x 15 + 15) + 4096 x 15 + 15 for guan, built without memory."""
    n_labels, changes, total, trained = SIZES[name]
    recipe = load_preset(name.split(",")[0])
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update=changes)})
    with torch.device("meta"):
        whole = build_predictor(recipe, [f"{i}" for i in range(n_labels)], 0, load_pretrained=False)
    assert sum(parameter.numel() for parameter in whole.parameters()) == total
    for level, expected in enumerate(trained):
        whole.train_level(level)
        assert sum(p.numel() for p in whole.parameters() if p.requires_grad) == expected
