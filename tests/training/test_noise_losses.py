"""Losses for labels that are wrong: their minimisers are the clean probabilities, their rules those of the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from couplet.losses.bce_forward import ForwardBCE
from couplet.losses.bce_large_loss import LargeLossBCE
from couplet.settings.params import LossParams
from couplet.training.loss import build_loss
from tests.support.errors import refused
from tests.support.params import params_with


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(20)


def table() -> tuple[torch.Tensor, torch.Tensor]:
    logits, truth = 3 * torch.randn(6, 5), (torch.rand(6, 5) < 0.3).float()
    truth[1, 2] = float("nan")
    return logits, truth


def bce(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return build_loss(LossParams(name="bce", args={"pos_weight": False}), np.zeros((1, 5)))(logits, truth)


# --- forward ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rates", [0.0, [0.0] * 5])
def test_without_noise_it_is_binary_cross_entropy(rates: float | list[float]) -> None:
    section = LossParams(name="bce_forward", args={"missing_rate": rates})
    logits, truth = table()
    torch.testing.assert_close(build_loss(section, np.zeros((1, 5)))(logits, truth), bce(logits, truth))
    wide = torch.linspace(-50, 50, 101)[:, None].requires_grad_()
    for y in (0.0, 1.0):
        loss = ForwardBCE(torch.tensor(0.0), reduction="sum")(wide, torch.full_like(wide, y))
        plain = functional.binary_cross_entropy_with_logits(wide, torch.full_like(wide, y), reduction="sum")
        ours, theirs = (torch.autograd.grad(value, wide)[0] for value in (loss, plain))
        torch.testing.assert_close(loss, plain)
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("missing", "flip"), [(0.4, 0.0), (0.0, 0.05), (0.3, 0.1)])
@pytest.mark.parametrize("eta", [0.02, 0.3, 0.9])
def test_the_least_expected_loss_of_observed_labels_is_at_the_clean_probability(
    missing: float, flip: float, eta: float
) -> None:
    reported = (1 - missing) * eta
    observed = reported * (1 - flip) + (1 - reported) * flip
    loss = ForwardBCE(torch.tensor(missing, dtype=torch.float64), flip)
    z = torch.linspace(-6, 6, 240_001, dtype=torch.float64)[:, None]
    cells = [loss.cells(z, torch.full_like(z, y)) for y in (1.0, 0.0)]
    best = z[(observed * cells[0] + (1 - observed) * cells[1]).argmin()]
    assert torch.sigmoid(best).item() == pytest.approx(eta, abs=1e-4)
    assert loss.probability(best).item() == pytest.approx(eta, abs=1e-4)
    p = torch.sigmoid(z).numpy()
    one = (1 - missing) * p * (1 - flip) + (1 - (1 - missing) * p) * flip
    np.testing.assert_allclose(cells[0].numpy(), -np.log(one), rtol=1e-9)
    np.testing.assert_allclose(cells[1].numpy(), -np.log(1 - one), rtol=1e-9)


def test_rates_are_per_label_and_the_gradient_of_missing_positives_is_that_of_em() -> None:
    rates = torch.tensor([0.0, 0.2, 0.4, 0.1, 0.6])
    logits, truth = table()
    logits.requires_grad_()
    loss = ForwardBCE(rates, reduction="sum")
    (ours,) = torch.autograd.grad(loss(logits, truth), logits)
    p = torch.sigmoid(logits.detach())
    # P(y = 1 | observed), held fixed.
    expected = torch.where(truth == 1, 1.0, p * rates / (1 - p * (1 - rates)))
    em = torch.where(truth.isnan(), 0.0, p - expected)
    torch.testing.assert_close(ours, em)


def test_it_is_finite_far_beyond_50_and_stays_float32() -> None:
    logits = torch.tensor([-1e4, -500, -50, 0, 50, 500, 1e4])[:, None].half().requires_grad_()
    for missing, flip in ((0.0, 0.0), (0.4, 0.0), (0.0, 0.05), (0.99, 0.49)):
        for y in (0.0, 1.0):
            loss = ForwardBCE(torch.tensor(missing), flip, "sum")(logits, torch.full(logits.shape, y))
            (gradient,) = torch.autograd.grad(loss, logits)
            assert loss.dtype == torch.float32 and bool(loss.isfinite()) and bool(gradient.isfinite().all())


def test_a_list_of_another_length_is_one_line() -> None:
    section = LossParams(name="bce_forward", args={"missing_rate": [0.1, 0.2]})
    assert refused(build_loss, section, np.zeros((1, 3))) == (
        "params.yaml: loss.args.missing_rate lists 2 rates for 3 labels: give one for each, in the order of "
        "data/prepared/labels.json, or one number for all"
    )
    assert refused(params_with, {"loss.name": "bce_forward", "loss.args": {"missing_rate": 1.0}}).startswith(
        "params.yaml: loss.args.missing_rate"
    )
    assert "flip_rate = 0.5 is not allowed" in refused(
        params_with, {"loss.name": "bce_forward", "loss.args": {"flip_rate": 0.5}}
    )


# --- large losses -----------------------------------------------------------------------------------------------


def large_loss(rate: float, rule: str, epoch: int) -> LargeLossBCE:
    section = LossParams(name="bce_large_loss", args={"rate": rate, "rule": rule}, reduction="sum")
    loss = build_loss(section, np.zeros((1, 5)))
    assert isinstance(loss, LargeLossBCE)
    loss.begin_epoch(epoch)
    return loss


@pytest.mark.parametrize("rule", ["drop", "flip"])
@pytest.mark.parametrize(("rate", "epoch"), [(0.0, 7), (0.2, 0)])
def test_at_a_rate_of_0_and_in_the_first_epoch_it_is_binary_cross_entropy(
    rule: str, rate: float, epoch: int
) -> None:
    logits, truth = table()
    expected = 6 * bce(logits, truth)
    torch.testing.assert_close(large_loss(rate, rule, epoch)(logits, truth), expected)


@pytest.mark.parametrize("rule", ["drop", "flip"])
def test_the_k_largest_losses_of_known_negatives_are_mistrusted(rule: str) -> None:
    logits, truth = table()
    plain = functional.binary_cross_entropy_with_logits(logits, truth.nan_to_num(0), reduction="none")
    other = functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits), reduction="none")
    negatives = sorted(
        ((plain[i, j].item(), i, j) for i in range(6) for j in range(5) if truth[i, j] == 0), reverse=True
    )
    # 0.05 of 30 cells an epoch, rounded up: 2 in the second, 3 in the third.
    for epoch, k in ((1, 2), (2, 3)):
        expected = torch.where(truth.isnan(), 0, plain)
        for _, i, j in negatives[:k]:
            expected[i, j] = other[i, j] if rule == "flip" else 0
        torch.testing.assert_close(large_loss(0.05, rule, epoch)(logits, truth), expected.sum())


def test_the_share_is_rounded_up_as_in_the_released_code_but_not_by_a_binary_digit() -> None:
    for rate, epoch, k in ((0.1, 3, 3), (0.1, 1, 1), (0.11, 1, 2), (0.3, 1, 3), (0.999, 1, 10), (0.4, 9, 10)):
        loss = large_loss(rate, "drop", epoch)
        kept = loss(torch.zeros(2, 5), torch.zeros(2, 5)).item() / math.log(2)
        assert kept == pytest.approx(10 - k, abs=1e-5)


def test_ties_go_by_position_and_a_batch_may_have_fewer_negatives() -> None:
    logits = torch.zeros(2, 5, requires_grad=True)
    truth = torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, float("nan"), 0, 0]])
    large_loss(0.3, "drop", 1)(logits, truth).backward()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == [-0.5, 0, 0, 0, 0.5] and logits.grad[1].tolist() == [
        0.5,
        0.5,
        0,
        0.5,
        0.5,
    ]
    few = torch.ones(2, 5)
    few[1, 4] = 0
    expected = 9 * math.log(2)
    assert large_loss(0.3, "drop", 1)(torch.zeros(2, 5), few).item() == pytest.approx(expected)


def test_the_loop_tells_the_loss_which_epoch_it_is() -> None:
    """The mistrusted share grows by `rate` in each; how a resumed run goes on is in test_joint_training.py."""
    loss = large_loss(0.1, "drop", 0)
    values = []
    for epoch in range(4):
        loss.begin_epoch(epoch)
        values.append(loss(torch.zeros(2, 5), torch.zeros(2, 5)).item() / math.log(2))
    assert values == pytest.approx([10, 9, 8, 7], abs=1e-5)
