from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from couplet.heads.query2label import Query2Label, sine_positions
from tests.support.loops import (
    Weights,
    attend,
    attention_layer,
    far_from_special,
    layer_norm,
    linear,
    numbers,
    positions,
)

SMALL = {"dim": 4, "ff": 7, "heads": 2}


def sines_by_loops(height: int, width: int, dim: int) -> np.ndarray:
    """(N, D): for each position its row's dim/2 channels, then its column's."""
    half, out = dim // 2, []
    for row in range(1, height + 1):
        for column in range(1, width + 1):
            values = []
            for place, n in ((row, height), (column, width)):
                for i in range(half):
                    angle = 2 * math.pi * place / (n + 1e-6) / 10000 ** (2 * math.floor(i / 2) / half)
                    values.append(math.sin(angle) if i % 2 == 0 else math.cos(angle))
            out.append(values)
    return np.array(out)


def by_loops(weights: Weights, image: np.ndarray, encoders: int, decoders: int, among: bool, heads: int = 2):
    """One image (F, H, W): logits (L,) and the last layer's mean attention (L, N)."""
    memory = positions(image)
    if "project.weight" in weights:
        memory = np.array([linear(weights, "project", place) for place in memory])
    places = sines_by_loops(*image.shape[1:], memory.shape[1])
    for i in range(encoders):
        placed = memory + places
        memory, _ = attention_layer(weights, f"encoder.{i}", memory, placed, placed, memory, heads)
    queries = weights["queries"]
    state = np.zeros_like(queries)
    for i in range(decoders):
        if among:
            own, name = state + queries, f"among_labels.{i}"
            attended, _ = attend(weights, f"{name}.attention", own, own, state, heads)
            rows = zip(state, attended, strict=True)
            state = np.array([layer_norm(weights, f"{name}.norm", a + b) for a, b in rows])
        state, attention = attention_layer(
            weights, f"decoder.{i}", state, state + queries, memory + places, memory, heads
        )
    logits = [
        float(layer_norm(weights, "norm", row) @ w) + b
        for row, w, b in zip(state, weights["out_weight"], weights["out_bias"], strict=True)
    ]
    return np.array(logits), attention


@pytest.mark.parametrize(
    ("in_features", "encoders", "decoders", "among"),
    [(6, 0, 1, False), (6, 1, 2, False), (4, 1, 1, False), (6, 1, 2, True), (6, 0, 2, True)],
)
@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (1, 1)])
def test_the_head_is_the_formula_in_plain_loops(in_features, encoders, decoders, among, shape) -> None:
    settings = {"encoder_layers": encoders, "decoder_layers": decoders, "self_attention": among}
    head = far_from_special(Query2Label(in_features, 5, **SMALL, **settings))
    images = torch.randn(2, in_features, *shape, dtype=torch.float64)
    logits, arrays = head.explain(images)
    for image, got, maps in zip(images, logits.detach(), arrays["maps"].flatten(2).detach(), strict=True):
        expected, attention = by_loops(numbers(head), image.numpy(), encoders, decoders, among)
        np.testing.assert_allclose(got, expected, rtol=1e-9)
        np.testing.assert_allclose(maps, attention, rtol=1e-9)
    assert torch.equal(head(images), logits)


@pytest.mark.parametrize(("height", "width", "dim"), [(1, 1, 2), (3, 5, 8), (7, 7, 16), (5, 6, 6)])
def test_positions_are_their_formula(height: int, width: int, dim: int) -> None:
    np.testing.assert_allclose(sine_positions(height, width, dim), sines_by_loops(height, width, dim))


def test_an_encoder_layer_is_torchs_own_where_there_are_no_positions() -> None:
    head = far_from_special(Query2Label(8, 5, dim=8, ff=12, heads=2))
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).double().eval()
    ours = head.encoder[0]
    for mine, its in (
        (ours.attention, theirs.self_attn),
        (ours.widen, theirs.linear1),
        (ours.narrow, theirs.linear2),
        (ours.norm_attention, theirs.norm1),
        (ours.norm_ff, theirs.norm2),
    ):
        its.load_state_dict(mine.state_dict())
    state = torch.randn(3, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(state, state, state, state)[0], theirs(state))


def test_permuted_queries_with_their_weights_permute_the_logits() -> None:
    head = far_from_special(Query2Label(6, 5, **SMALL))
    images = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    before, order = head(images), torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        for parameter in (head.queries, head.out_weight, head.out_bias):
            parameter.copy_(parameter[order])
    torch.testing.assert_close(head(images), before[:, order])


@pytest.mark.parametrize(
    ("size", "n_labels", "parameters"),
    [
        ({"dim": 2048, "ff": 8192, "heads": 4}, 14, 151_136_270),
        ({"dim": 2048, "ff": 8192, "heads": 4}, 80, 151_406_672),
        ({}, 14, 10_521_614),
        ({}, 80, 10_589_264),
    ],
)
def test_parameters(size: dict[str, int], n_labels: int, parameters: int) -> None:
    with torch.device("meta"):
        head = Query2Label(2048, n_labels, **size)
    assert sum(parameter.numel() for parameter in head.parameters()) == parameters


def test_self_attention_is_four_squares_and_six_vectors_more_per_layer() -> None:
    counts = [
        sum(p.numel() for p in Query2Label(6, 5, **SMALL, self_attention=among).parameters())
        for among in (True, False)
    ]
    assert counts[0] - counts[1] == 2 * (4 * 4**2 + 6 * 4)


def test_the_start() -> None:
    head = Query2Label(6, 400, dim=64, ff=32, heads=2)
    bound = math.sqrt(6 / (64 + 32))  # Xavier
    widen = head.encoder[0].widen.weight.detach()
    assert 0.95 * bound < float(widen.abs().max()) <= bound
    assert abs(float(head.queries.detach().std()) - 1) < 0.02
    for drawn in (head.out_weight, head.out_bias):
        assert 0.9 / 8 < float(drawn.detach().abs().max()) <= 1 / 8
