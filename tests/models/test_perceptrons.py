"""Heads of Table I of the first paper that are perceptrons: mlp, attention, label_mlp."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from couplet.heads.attention import AttentionHead
from couplet.heads.label_mlp import LabelMLPHead
from couplet.heads.linear import LinearHead
from couplet.heads.mlp import MLPHead
from tests.support.loops import far_from_special, linear, numbers, positions, softmax


def parameters(head: nn.Module) -> int:
    return sum(parameter.numel() for parameter in head.parameters())


# --- mlp --------------------------------------------------------------------------------------------------------


def test_an_mlp_is_linear_relu_batchnorm_and_dropout_in_this_order() -> None:
    head = MLPHead(6, 3, [5, 4], dropout=0.5)
    reference = nn.Sequential(
        nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Dropout(0.5),
        nn.Linear(5, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3),
    )  # fmt: skip
    ours = (head.hidden[0][0], head.hidden[0][2], head.hidden[1][0], head.hidden[1][2], head.classifier)
    for place, module in zip((0, 2, 4, 6, 8), ours, strict=True):
        reference[place].load_state_dict(module.state_dict())
    features = torch.randn(7, 6)
    for train in (True, False):
        torch.manual_seed(1)
        expected = reference.train(train)(features)
        torch.manual_seed(1)
        assert torch.equal(head.train(train)(features), expected)


def test_an_mlp_without_hidden_layers_is_linear() -> None:
    torch.manual_seed(1)
    mlp = MLPHead(6, 3, [], dropout=0.4)
    torch.manual_seed(1)
    plain = LinearHead(6, 3, dropout=0.4)
    states = mlp.state_dict(), plain.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    features = torch.randn(5, 6)
    for train in (True, False):
        torch.manual_seed(2)
        expected = plain.train(train)(features)
        torch.manual_seed(2)
        assert torch.equal(mlp.train(train)(features), expected)


# --- attention --------------------------------------------------------------------------------------------------


def test_attention_is_its_formula_in_plain_loops() -> None:
    head = far_from_special(AttentionHead(4, 3, []))
    weights = numbers(head)
    images = torch.randn(2, 4, 2, 3, dtype=torch.float64)
    logits, arrays = head.explain(images)
    for image, got, maps in zip(images.numpy(), logits.detach(), arrays["maps"].detach(), strict=True):
        places = positions(image)
        shares = softmax([float(linear(weights, "attention", place)[0]) for place in places])
        v = sum(share * place for share, place in zip(shares, places, strict=True))
        u = v + linear(weights, "out", linear(weights, "value", v))
        np.testing.assert_allclose(got, linear(weights, "classifier", u), rtol=1e-10)
        for label in range(3):
            np.testing.assert_allclose(maps[label].flatten(), shares, rtol=1e-10)
    assert torch.equal(head(images), logits)
    torch.testing.assert_close(arrays["maps"].sum(dim=(2, 3)), torch.ones(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_self_attention_of_one_vector_is_two_linear_maps_whatever_its_heads(heads: int) -> None:
    head = AttentionHead(8, 3)
    theirs = nn.MultiheadAttention(8, heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight[16:].copy_(head.value.weight)
        theirs.in_proj_bias[16:].copy_(head.value.bias)
        theirs.out_proj.load_state_dict(head.out.state_dict())
    vectors = torch.randn(5, 1, 8)
    torch.testing.assert_close(theirs(vectors, vectors, vectors)[0], head.out(head.value(vectors)))


def test_without_attention_weights_it_is_mean_pooling() -> None:
    head = AttentionHead(4, 3)
    with torch.no_grad():
        head.attention.weight.zero_()
    images = torch.randn(2, 4, 5, 3)
    torch.testing.assert_close(head.pool(images)[0], images.mean(dim=(2, 3)))


def test_hidden_layers_follow_the_residual() -> None:
    head, plain = AttentionHead(4, 3, [5]).eval(), MLPHead(4, 3, [5]).eval()
    plain.load_state_dict({key: v for key, v in head.state_dict().items() if key in plain.state_dict()})
    images = torch.randn(2, 4, 5, 3)
    v = head.pool(images)[0]
    assert torch.equal(head(images), plain(v + head.out(head.value(v))))


# --- label_mlp --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [[], [5], [6, 5, 4]])
def test_label_mlp_is_a_net_of_its_own_for_every_label(hidden: list[int]) -> None:
    head = LabelMLPHead(7, 14, hidden)
    features, widths = torch.randn(4, 7), [7, *hidden, 1]
    for label in range(14):
        layers: list[nn.Module] = []
        for layer, (inputs, outputs) in enumerate(pairwise(widths)):
            plain = nn.Linear(inputs, outputs)
            weight, bias = head.weights[layer][label].T, head.biases[layer][label]
            plain.load_state_dict({"weight": weight, "bias": bias})
            layers += [*([nn.ReLU()] if layer else []), plain]
        torch.testing.assert_close(head(features)[:, label], nn.Sequential(*layers)(features)[:, 0])


def test_the_parameters_of_the_papers() -> None:
    with torch.device("meta"):
        assert parameters(MLPHead(1280, 14, [512])) == 664_078
        assert parameters(AttentionHead(1024, 14, [512])) == 2_633_231
        for hidden, expected in (
            ([], 21_518),
            ([48], 1_033_550),
            ([384, 48], 8_522_318),
            ([384, 48, 48], 8_555_246),
        ):
            assert parameters(LabelMLPHead(1536, 14, hidden)) == expected


def test_label_mlps_start_as_linear_layers_do() -> None:
    head = LabelMLPHead(64, 50, [16])
    assert 0.99 / 8 < float(head.weights[0].detach().abs().max()) <= 1 / 8
    assert 0.98 / 4 < float(head.weights[1].detach().abs().max()) <= 1 / 4
