from __future__ import annotations

import numpy as np
import pytest
import torch

from couplet.heads.ml_decoder import MLDecoder
from tests.support.loops import (
    Weights,
    attention_layer,
    far_from_special,
    layer_norm,
    linear,
    numbers,
    positions,
    relu,
)


def by_loops(weights: Weights, image: np.ndarray, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """One image (F, H, W): logits (L,) and the queries' mean attention (G, N)."""
    values = np.array([relu(linear(weights, "project", place)) for place in positions(image)])
    queries = np.array([layer_norm(weights, "norm_queries", 2 * query) for query in weights["queries"]])
    decoded, attention = attention_layer(weights, "layer", queries, queries, values, values, heads)
    _, dim, each = weights["out_weight"].shape
    logits = weights["out_bias"].copy()
    for label in range(len(logits)):
        group, place = divmod(label, each)
        for d in range(dim):
            logits[label] += weights["out_weight"][group, d, place] * decoded[group, d]
    return logits, attention


@pytest.mark.parametrize("groups", [5, 2, 3, 100])
def test_the_head_is_the_formula_in_plain_loops(groups: int) -> None:
    head = far_from_special(MLDecoder(6, 5, dim=4, groups=groups, heads=2, ff=7))
    images = torch.randn(2, 6, 2, 3, dtype=torch.float64)
    logits, arrays = head.explain(images)
    each = head.out_weight.shape[2]
    for image, got, maps in zip(images, logits.detach(), arrays["maps"].flatten(2).detach(), strict=True):
        expected, attention = by_loops(numbers(head), image.numpy(), heads=2)
        np.testing.assert_allclose(got, expected, rtol=1e-9)
        np.testing.assert_allclose(maps, [attention[label // each] for label in range(5)], rtol=1e-9)
    assert torch.equal(head(images), logits)


def test_against_torchs_own_layer() -> None:
    """nn.TransformerDecoderLayer without its self-attention, weights mapped."""
    head = far_from_special(MLDecoder(6, 5, dim=8, heads=2, ff=12))
    layer = torch.nn.TransformerDecoderLayer(8, 2, 12, batch_first=True).double().eval()
    pairs = (
        (layer.multihead_attn, head.layer.attention),
        (layer.linear1, head.layer.widen),
        (layer.linear2, head.layer.narrow),
        (layer.norm2, head.layer.norm_attention),
        (layer.norm3, head.layer.norm_ff),
    )
    for theirs, ours in pairs:
        theirs.load_state_dict(ours.state_dict())
    images = torch.randn(3, 6, 4, 3, dtype=torch.float64)
    values = head.project(images.flatten(2).transpose(1, 2)).relu()
    x = head.norm_queries(2 * head.queries).expand(3, -1, -1)
    x = layer.norm2(x + layer._mha_block(x, values, None, None))
    x = layer.norm3(x + layer._ff_block(x))
    torch.testing.assert_close(head(images), (x * head.out_weight[..., 0]).sum(dim=-1) + head.out_bias)


@pytest.mark.parametrize(("n_labels", "parameters"), [(14, 7_099_918), (80, 7_150_672)])
def test_parameters(n_labels: int, parameters: int) -> None:
    head = MLDecoder(2048, n_labels)
    assert sum(parameter.numel() for parameter in head.parameters()) == parameters


def test_labels_that_share_a_query_are_labels_with_equal_queries() -> None:
    shared = far_from_special(MLDecoder(6, 4, dim=4, groups=2, heads=2, ff=7))
    own = far_from_special(MLDecoder(6, 4, dim=4, groups=4, heads=2, ff=7))
    state = shared.state_dict()
    state["queries"] = state["queries"].repeat_interleave(2, dim=0)
    state["out_weight"] = state["out_weight"].transpose(1, 2).flatten(0, 1)[..., None]
    own.load_state_dict(state)
    images = torch.randn(3, 6, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(shared(images), own(images))


def test_the_order_of_positions_does_not_matter() -> None:
    head = far_from_special(MLDecoder(6, 5, dim=8, heads=2, ff=12))
    images = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    shuffled = images.flatten(2)[..., torch.randperm(12)].unflatten(-1, (3, 4))
    torch.testing.assert_close(head(shuffled), head(images))


def test_queries_are_drawn_and_never_trained() -> None:
    head = MLDecoder(6, 50, dim=64, heads=2, ff=12)
    assert "queries" in head.state_dict() and "queries" not in dict(head.named_parameters())
    head(torch.randn(2, 6, 3, 3)).square().sum().backward()
    assert head.queries.grad is None and not head.queries.requires_grad
    assert abs(float(head.queries.mean())) < 0.05 and abs(float(head.queries.std()) - 1) < 0.05
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_more_labels_than_groups_share_and_the_surplus_is_cut() -> None:
    head = MLDecoder(6, 101, dim=4, heads=2, ff=7)
    assert head.queries.shape == (100, 4) and head.out_weight.shape == (100, 4, 2)
    logits, arrays = head.eval().explain(torch.randn(2, 6, 3, 3))
    assert logits.shape == (2, 101) and arrays["maps"].shape == (2, 101, 3, 3)
    torch.testing.assert_close(arrays["maps"].sum(dim=(2, 3)), torch.ones(2, 101))


def test_dropout_is_of_each_image() -> None:
    head = MLDecoder(6, 5, dim=64, heads=2, ff=12, dropout=0.5).train()
    first, second = head(torch.ones(2, 6, 3, 3))
    assert not torch.equal(first, second)
