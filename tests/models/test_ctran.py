from __future__ import annotations

import numpy as np
import pytest
import torch

from couplet.heads.ctran import CTran
from couplet.project.errors import UserError
from tests.support.loops import Weights, attention_layer, far_from_special, layer_norm, numbers, positions

NAN = float("nan")


def by_loops(weights: Weights, image: np.ndarray, known: list[float], layers: int, heads: int) -> np.ndarray:
    """One image (F, H, W) and its labels, NaN where they are not told: logits (L,)."""
    tokens = list(positions(image))
    for label, value in enumerate(known):
        state = 0 if np.isnan(value) else 1 + int(value)
        tokens.append(weights["labels"][label] + weights["states"][state])
    t = np.array([layer_norm(weights, "norm", token) for token in tokens])
    for layer in range(layers):
        t, _ = attention_layer(weights, f"encoder.{layer}", t, t, t, t, heads)
    last = t[len(tokens) - len(known) :]
    return np.array(
        [
            float(row @ w) + b
            for row, w, b in zip(last, weights["out_weight"], weights["out_bias"], strict=True)
        ]
    )


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("known", [[NAN] * 4, [1.0, NAN, 0.0, NAN]])
def test_the_head_is_the_formula_in_plain_loops(layers: int, known: list[float]) -> None:
    head = far_from_special(CTran(4, 4, layers, heads=2))
    images = torch.randn(2, 4, 2, 3, dtype=torch.float64)
    logits = head.given(images, torch.tensor([known, known], dtype=torch.float64))
    expected = [by_loops(numbers(head), image.numpy(), known, layers, 2) for image in images]
    np.testing.assert_allclose(logits.detach(), expected, rtol=1e-9)
    unknown = [by_loops(numbers(head), image.numpy(), [NAN] * 4, layers, 2) for image in images]
    np.testing.assert_allclose(head(images).detach(), unknown, rtol=1e-9)


@pytest.mark.parametrize(("n_labels", "parameters"), [(14, 75_626_510), (80, 75_896_912)])
def test_parameters(n_labels: int, parameters: int) -> None:
    with torch.device("meta"):
        head = CTran(2048, n_labels)
    assert sum(parameter.numel() for parameter in head.parameters()) == parameters


def test_told_labels_are_drawn_up_to_three_quarters_and_are_not_scored() -> None:
    head = CTran(4, 14)
    truth = (torch.rand(4000, 14) < 0.3).float()
    truth[:, 5] = NAN
    scored = head.shown(truth)
    told = head._told
    known = ~truth.isnan()
    assert torch.equal(told.isnan() & scored.isnan(), ~known)  # each known cell is one of the two
    assert not bool((~told.isnan() & ~scored.isnan()).any())
    assert torch.equal(truth.nan_to_num(), scored.nan_to_num() + told.nan_to_num())
    # Of 14 labels 0 to 10 are told, equally often; label 5's cell, of which nothing is known, may be among them.
    counts = (~told.isnan()).sum(dim=1)
    assert int(counts.min()) == 0 and int(counts.max()) == 10
    assert float(counts.float().mean()) == pytest.approx(5 * 13 / 14, abs=0.2)
    share = (~told.isnan()).float().mean(dim=0)[[i for i in range(14) if i != 5]]
    assert float((share - 5 / 14).abs().max()) < 0.03


def test_a_training_pass_reads_what_was_shown_once_and_prediction_never() -> None:
    head = CTran(4, 3, layers=1, heads=2, dropout=0.0, told=1.0)
    images, truth = torch.randn(64, 4, 2, 2), torch.ones(64, 3)
    head.shown(truth)
    told = head._told
    assert bool((~told.isnan()).any())
    with torch.no_grad():
        trained = head.train()(images)
        torch.testing.assert_close(trained, head.given(images, told))
        assert not torch.equal(trained, head(images)), "the next pass has been told nothing"
        head.shown(truth)
        assert torch.equal(head.eval()(images), head.given(images))


def test_heads_must_divide_the_features() -> None:
    with pytest.raises(UserError, match=r"model.head_args.heads = 4 does not divide the 6 features"):
        CTran(6, 3)


def test_the_start() -> None:
    head = CTran(16, 200, heads=2)
    for drawn in (head.labels, head.out_weight, head.out_bias):
        assert 0.97 / 4 < float(drawn.detach().abs().max()) <= 1 / 4
