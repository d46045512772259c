from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from couplet.heads.csra import TEMPERATURES, ResidualAttention
from tests.support.loops import Weights, far_from_special, numbers, positions, softmax


def by_loops(weights: Weights, image: np.ndarray, lam: float) -> tuple[np.ndarray, np.ndarray]:
    """One image (F, H, W): logits (L,) and the scores summed over heads (L, N)."""
    heads, n_labels, _ = weights["weight"].shape
    temperatures = {1: [1], 2: [1, math.inf], 4: [1, 2, 4, math.inf]}.get(heads) or [
        *range(1, heads),
        math.inf,
    ]
    places = positions(image)
    logits, maps = weights["bias"].copy(), np.zeros((n_labels, len(places)))
    for label in range(n_labels):
        for head, temperature in enumerate(temperatures):
            m = weights["weight"][head, label]
            length = math.sqrt(sum(value * value for value in m))
            scores = [sum(a * b for a, b in zip(m, place, strict=True)) / length for place in places]
            maps[label] += scores
            logits[label] += sum(scores) / len(scores)
            if temperature == math.inf:
                logits[label] += lam * max(scores)
            else:
                shares = softmax([temperature * score for score in scores])
                logits[label] += lam * sum(a * s for a, s in zip(shares, scores, strict=True))
    return logits, maps


@pytest.mark.parametrize("heads", [1, 2, 4, 6, 8])
def test_the_head_is_the_formula_in_plain_loops(heads: int) -> None:
    head = far_from_special(ResidualAttention(5, 7, heads, lam=0.4))
    images = torch.randn(3, 5, 2, 3, dtype=torch.float64)
    logits, arrays = head.explain(images)
    expected = [by_loops(numbers(head), image.numpy(), 0.4) for image in images]
    np.testing.assert_allclose(logits.detach(), [logit for logit, _ in expected], rtol=1e-10)
    np.testing.assert_allclose(arrays["maps"].flatten(2).detach(), [maps for _, maps in expected], rtol=1e-10)
    assert torch.equal(head(images), logits)


@pytest.mark.parametrize(
    ("heads", "n_labels", "without_bias"),
    [
        (1, 14, 28_672),
        (1, 80, 163_840),
        (4, 14, 114_688),
        (4, 80, 655_360),
        (6, 14, 172_032),
        (6, 80, 983_040),
    ],
)
def test_parameters(heads: int, n_labels: int, without_bias: int) -> None:
    for bias, more in ((False, 0), (True, n_labels)):
        head = ResidualAttention(2048, n_labels, heads, bias=bias)
        assert sum(parameter.numel() for parameter in head.parameters()) == without_bias + more


def test_without_attention_it_is_the_mean_of_a_normalised_convolution() -> None:
    head = far_from_special(ResidualAttention(5, 7, lam=0.0))
    images = torch.randn(3, 5, 4, 3, dtype=torch.float64)
    weight = (head.weight[0] / head.weight[0].norm(dim=1, keepdim=True))[:, :, None, None]
    expected = torch.nn.functional.conv2d(images, weight, head.bias).mean(dim=(2, 3))
    torch.testing.assert_close(head(images), expected)


@pytest.mark.parametrize("heads", TEMPERATURES)
def test_a_constant_map_is_scored_by_every_head_once_and_lam_times_more(heads: int) -> None:
    head = far_from_special(ResidualAttention(5, 7, heads, lam=0.5, bias=False))
    with torch.no_grad():
        head.weight.copy_(head.weight[:1].expand_as(head.weight))
    place = torch.randn(1, 5, 1, 1, dtype=torch.float64)
    s = torch.nn.functional.normalize(head.weight[0], dim=1) @ place.flatten()
    torch.testing.assert_close(head(place.expand(1, 5, 6, 4))[0], heads * 1.5 * s, rtol=1e-12, atol=0)


def test_an_infinite_temperature_is_the_limit_of_high_ones() -> None:
    head = far_from_special(ResidualAttention(5, 7, heads=2, lam=1.0))
    images = torch.randn(1, 5, 2, 3, dtype=torch.float64)
    directions = torch.nn.functional.normalize(head.weight, dim=-1)
    exact = head(images)
    head.temperatures = (1.0, 200.0)
    scores = torch.einsum("lf,fn->ln", directions[1], images[0].flatten(1))
    top = scores.topk(2, dim=1).values
    apart = (top[:, 0] - top[:, 1]) > 0.06  # softmax at T = 200: the second has less than 1e-5
    assert int(apart.sum()) >= 4
    torch.testing.assert_close(head(images)[0, apart], exact[0, apart], rtol=0, atol=1e-4)


def test_the_length_of_a_weight_changes_nothing_and_gets_no_gradient() -> None:
    head = far_from_special(ResidualAttention(5, 7, heads=4, lam=0.5))
    images = torch.randn(2, 5, 3, 3, dtype=torch.float64)
    before = head(images)
    before.square().sum().backward()
    along = (head.weight.grad * head.weight.detach()).sum(dim=-1)
    assert float(along.abs().max()) < 1e-12 < float(head.weight.grad.abs().max())
    with torch.no_grad():
        head.weight.mul_(torch.rand(4, 7, 1, dtype=torch.float64) + 0.5)
    torch.testing.assert_close(head(images), before)


def test_a_map_of_one_head_without_attention_has_the_logit_as_its_mean() -> None:
    head = far_from_special(ResidualAttention(5, 7, heads=4, lam=0.0))
    logits, arrays = head.explain(torch.randn(2, 5, 3, 4, dtype=torch.float64))
    assert arrays["maps"].shape == (2, 7, 3, 4)
    torch.testing.assert_close(arrays["maps"].mean(dim=(2, 3)) + head.bias, logits)


def test_the_bias_starts_where_it_is_told() -> None:
    head, start = ResidualAttention(5, 3), torch.tensor([-0.5, 0.0, 2.0])
    head.start_without_information(start)
    assert torch.equal(head.bias, start)
    without = ResidualAttention(5, 3, bias=False)
    without.start_without_information(start)
    assert without.bias is None
