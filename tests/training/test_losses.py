from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from couplet.losses.asl import AsymmetricLoss
from couplet.losses.bce import WeightedBCE
from couplet.losses.focal import FocalLoss
from couplet.losses.pairwise import PairwiseLoss
from couplet.settings.losses.focal import Settings as FocalSettings
from couplet.settings.losses.focal import posterior
from couplet.settings.params import LossParams
from couplet.settings.schema.plugins import LOSSES
from couplet.training.loss import build_loss, positive_weights, smooth_labels

PAPER = {"gamma_pos": 0.0, "gamma_neg": 4.0, "clip": 0.05}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(20)


def reference_cell(z: float, y: float, gamma_pos: float, gamma_neg: float, clip: float):
    """Value and derivative of ASL at one cell, from the formula, in float64 with p and 1 - p apart."""
    p = 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))
    q = 1 / (1 + math.exp(z)) if z < 0 else math.exp(-z) / (1 + math.exp(-z))
    slope = p * q
    log_p = -math.log1p(math.exp(-z)) if z > 0 else z - math.log1p(math.exp(z))
    positive = -(q**gamma_pos) * log_p
    positive_slope = -(q**gamma_pos) * q
    if gamma_pos:
        positive_slope += gamma_pos * q ** (gamma_pos - 1) * slope * log_p
    p_m = min(q + clip, 1.0)
    excess = max((1 - clip) - q if z > 0 else p - clip, 0.0)
    if excess == 0:
        negative, negative_slope = 0.0, 0.0
    else:
        log_p_m = math.log(p_m) if z > 0 else math.log1p(-excess)
        if clip == 0:
            log_p_m = -math.log1p(math.exp(z)) if z < 0 else -z - math.log1p(math.exp(-z))
        negative = -(excess**gamma_neg) * log_p_m
        negative_slope = excess**gamma_neg * slope / p_m
        if gamma_neg:
            negative_slope -= gamma_neg * excess ** (gamma_neg - 1) * slope * log_p_m
    return y * positive + (1 - y) * negative, y * positive_slope + (1 - y) * negative_slope


@pytest.mark.parametrize(
    "settings",
    [
        PAPER,
        {"gamma_pos": 1.0, "gamma_neg": 4.0, "clip": 0.05},
        {"gamma_pos": 0.5, "gamma_neg": 0.5, "clip": 0.2},
        {"gamma_pos": 2.0, "gamma_neg": 2.0, "clip": 0.0},
        {"gamma_pos": 0.0, "gamma_neg": 0.0, "clip": 0.0},
        {"gamma_pos": 0.0, "gamma_neg": 1.0, "clip": 0.6},
    ],
)
@pytest.mark.parametrize("y", [0.0, 0.3, 1.0])
def test_value_and_gradient_agree_with_float64_up_to_50(settings, y):
    logits = torch.linspace(-50, 50, 2003)
    # Next to the margin p = clip the loss vanishes as (p - clip) ** gamma, which float32 cannot resolve.
    if settings["clip"]:
        margin = math.log(settings["clip"] / (1 - settings["clip"]))
        logits = logits[(logits - margin).abs() > 0.1]
    logits = logits.unsqueeze(1).requires_grad_()
    loss = AsymmetricLoss(**settings, reduction="sum")
    value = loss.cells(logits, torch.full_like(logits, y))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    expected = np.array([reference_cell(float(z), y, **settings) for z in logits.detach().flatten()])
    # The two terms of a soft label pull in opposite directions: where they cancel, only the sum's terms count.
    tolerance = {"rtol": 2e-5, "atol": 1e-37 if y in (0, 1) else 1e-7}
    np.testing.assert_allclose(value.detach().numpy()[:, 0], expected[:, 0], **tolerance)
    np.testing.assert_allclose(gradient.numpy()[:, 0], expected[:, 1], **tolerance)


def test_hand_values_at_one_half():
    loss = AsymmetricLoss(**PAPER, reduction="sum")
    assert loss(torch.zeros(1, 1), torch.ones(1, 1)).item() == pytest.approx(0.6931, abs=5e-5)
    assert loss(torch.zeros(1, 1), torch.zeros(1, 1)).item() == pytest.approx(0.0245, abs=5e-5)
    assert loss(torch.zeros(1, 1), torch.zeros(1, 1)).item() == pytest.approx(-(0.45**4) * math.log(0.55))


@pytest.mark.parametrize("gamma_neg", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("clip", [0.0, 0.05, 0.9])
def test_finite_in_value_and_gradient_far_beyond_50(gamma_neg: float, clip: float):
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        extremes = [-1e4, -500, -104, -89, -50, -2.9444, 0, 50, 89, 104, 500, 1e4]
        logits = torch.tensor(extremes, dtype=dtype).unsqueeze(1).requires_grad_()
        for y in (0.0, 0.5, 1.0):
            loss = AsymmetricLoss(1.0, gamma_neg, clip, "sum")(logits, torch.full(logits.shape, y))
            (gradient,) = torch.autograd.grad(loss, logits)
            assert bool(loss.isfinite()) and bool(gradient.isfinite().all())


def test_a_lost_positive_still_pulls():
    logits = torch.tensor([[-40.0]], requires_grad=True)
    AsymmetricLoss(**PAPER, reduction="sum")(logits, torch.ones(1, 1)).backward()
    assert logits.grad is not None and logits.grad.item() == pytest.approx(-1.0)


def test_negatives_within_the_margin_have_exactly_no_loss_and_no_gradient():
    logits = torch.tensor([[-50.0, -5.0, -2.95]], requires_grad=True)  # p <= 0.0498
    loss = AsymmetricLoss(**PAPER, reduction="sum")(logits, torch.zeros(1, 3))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and logits.grad.tolist() == [[0.0, 0.0, 0.0]]


def test_without_focus_and_margin_it_is_binary_cross_entropy():
    logits, targets = torch.randn(8, 5) * 10, torch.rand(8, 5)
    expected = functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(AsymmetricLoss(0, 0, 0, "mean")(logits, targets), expected)


def test_soft_labels_weigh_the_two_one_sided_terms():
    logits = torch.tensor([[0.7]])
    loss = AsymmetricLoss(1.0, 4.0, 0.05, "sum")
    positive, negative = loss(logits, torch.ones(1, 1)), loss(logits, torch.zeros(1, 1))
    torch.testing.assert_close(loss(logits, torch.tensor([[0.3]])), 0.3 * positive + 0.7 * negative)


def test_detached_focus_changes_the_gradient_and_not_the_value():
    gradients = {}
    for detach in (False, True):
        logits = torch.tensor([[1.0]], requires_grad=True)
        loss = AsymmetricLoss(**PAPER, reduction="sum", detach_focus=detach)(logits, torch.zeros(1, 1))
        loss.backward()
        assert loss.item() == pytest.approx(reference_cell(1.0, 0.0, **PAPER)[0])
        assert logits.grad is not None
        gradients[detach] = logits.grad.item()
    p = 1 / (1 + math.exp(-1))
    assert gradients[True] == pytest.approx((p - 0.05) ** 4 * p * (1 - p) / (1.05 - p))
    assert gradients[False] == pytest.approx(reference_cell(1.0, 0.0, **PAPER)[1])
    assert gradients[False] > gradients[True]


def test_gradcheck():
    loss = AsymmetricLoss(1.0, 4.0, 0.05, "batchmean")
    logits = torch.tensor([[-1.0, 0.5, 3.0], [2.0, -2.0, 0.1]], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[0.0, 1.0, 0.3], [float("nan"), 0.0, 1.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), logits)


# --- masking and reduction ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [AsymmetricLoss(**PAPER), WeightedBCE(torch.tensor([2.0, 1.0, 5.0]))])
def test_reductions_over_known_cells(loss):
    nan = float("nan")
    logits = torch.randn(4, 3)
    targets = torch.tensor([[1.0, 0.0, nan], [0.0, nan, nan], [1.0, 1.0, 0.0], [nan, nan, nan]])
    cells = loss.cells(logits, targets.nan_to_num(0.0))[~targets.isnan()]
    for reduction, divisor in (("sum", 1), ("batchmean", 4), ("mean", 6)):
        loss.reduction = reduction
        torch.testing.assert_close(loss(logits, targets), cells.sum() / divisor)


def test_unknown_cells_have_no_gradient_and_equal_a_mask():
    logits = torch.randn(2, 3, requires_grad=True)
    targets = torch.tensor([[1.0, float("nan"), 0.0], [0.0, 1.0, float("nan")]])
    loss = AsymmetricLoss(**PAPER)
    by_nan = loss(logits, targets)
    (gradient,) = torch.autograd.grad(by_nan, logits)
    assert gradient[0, 1] == gradient[1, 2] == 0 and gradient[0, 0] != 0
    torch.testing.assert_close(loss(logits, targets.nan_to_num(1.0), mask=~targets.isnan()), by_nan)
    torch.testing.assert_close(
        loss(logits, targets, mask=torch.tensor([[1, 1, 1], [0, 0, 0]])), loss(logits[:1], targets[:1]) / 2
    )


@pytest.mark.parametrize("reduction", ["batchmean", "mean", "sum"])
def test_a_batch_without_a_known_cell_is_zero(reduction):
    logits = torch.randn(2, 3, requires_grad=True)
    loss = AsymmetricLoss(**PAPER, reduction=reduction)(logits, torch.full((2, 3), float("nan")))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and logits.grad.abs().sum() == 0


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="reduction"):
        AsymmetricLoss(reduction="average")  # type: ignore[arg-type]


def test_float32_under_autocast_and_from_float64_targets():
    logits, targets = torch.randn(4, 3), torch.randint(0, 2, (4, 3))
    loss = AsymmetricLoss(**PAPER)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(logits, targets.double())
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss(logits, targets.float()))


# --- smoothing and weights ----------------------------------------------------------------------------------


def test_smoothing():
    assert smooth_labels(torch.tensor([0.0, 1.0]), 0.1).tolist() == pytest.approx([0.05, 0.95])
    logits, targets = torch.randn(4, 3), torch.randint(0, 2, (4, 3)).float()
    targets[0, 0] = float("nan")
    expected = AsymmetricLoss(**PAPER)(logits, smooth_labels(targets, 0.1))
    torch.testing.assert_close(AsymmetricLoss(**PAPER, smoothing=0.1)(logits, targets), expected)


def test_positive_weights_are_negatives_per_positive_within_one_and_ten():
    labels = np.zeros((100, 5))
    labels[:20, 0] = 1  # 80 / 20
    labels[:2, 1] = 1  # 98 / 2, clipped
    labels[:90, 2] = 1  # 10 / 90, clipped
    labels[:10, 4], labels[10:50, 4] = 1, np.nan  # 50 / 10
    weights = positive_weights(labels)
    assert weights.dtype == torch.float32
    assert weights.tolist() == [4.0, 10.0, 1.0, 10.0, 5.0]
    assert positive_weights(torch.tensor(labels)).tolist() == weights.tolist()


def test_weighted_bce_multiplies_the_positives():
    loss = WeightedBCE(torch.tensor([4.0, 1.0]), "sum")
    assert loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item() == pytest.approx(5 * math.log(2))


def test_build_loss_reads_the_settings():
    labels = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    asl = build_loss(LossParams(), labels)
    assert isinstance(asl, AsymmetricLoss)
    assert (asl.gamma_pos, asl.gamma_neg, asl.clip, asl.reduction) == (0, 4, 0.05, "batchmean")
    assert not asl.detach_focus
    bce = build_loss(LossParams(name="bce", reduction="mean", smoothing=0.2), labels)
    assert isinstance(bce, WeightedBCE) and bce.pos_weight is not None
    assert bce.pos_weight.tolist() == [2.0, 2.0] and bce.reduction == "mean" and bce.smoothing == 0.2
    plain = build_loss(LossParams(name="bce", args={"pos_weight": False}, reduction="mean"), labels)
    logits, targets = torch.randn(4, 2), torch.rand(4, 2)
    expected = functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(plain(logits, targets), expected)
    assert plain.to("cpu") is plain


# --- the start of a bias --------------------------------------------------------------------------------------


def test_the_best_constant_of_binary_cross_entropy_is_the_log_odds_of_the_prevalence():
    truth = np.zeros((1000, 4))
    truth[:20, 0], truth[:300, 1], truth[:, 3] = 1, 1, np.nan
    truth[500:, 1] = np.nan
    start = WeightedBCE(None).uninformed_logits(truth)
    expected = [math.log(0.02 / 0.98), math.log(0.6 / 0.4), math.log(0.0005 / 0.9995), 0]
    assert start.dtype == torch.float32
    np.testing.assert_allclose(start.numpy(), expected, rtol=1e-6, atol=1e-12)
    weighted = WeightedBCE(positive_weights(truth)).uninformed_logits(truth)
    assert weighted[0].item() == pytest.approx(math.log(10 * 0.02 / 0.98))
    smoothed = WeightedBCE(None, smoothing=0.1).uninformed_logits(truth)
    assert smoothed[0].item() == pytest.approx(math.log(0.068 / 0.932))


@pytest.mark.parametrize("settings", [PAPER, {"gamma_pos": 1.0, "gamma_neg": 2.0, "clip": 0.0}])
def test_no_other_constant_of_asl_costs_less(settings):
    truth = np.zeros((1000, 3))
    truth[:20, 0], truth[:100, 1], truth[:700, 2] = 1, 1, 1
    loss = AsymmetricLoss(**settings, reduction="sum")
    start = loss.uninformed_logits(truth)
    if settings is PAPER:
        assert start[0].item() == pytest.approx(-0.58, abs=0.005)
    grid = torch.linspace(-8, 4, 2401)
    for label in range(3):
        costs = [
            sum(reference_cell(float(z), y, **settings)[0] * n for y, n in ((1, ones), (0, 1000 - ones)))
            for ones in [int(truth[:, label].sum())]
            for z in grid
        ]
        assert grid[int(np.argmin(costs))].item() == pytest.approx(start[label].item(), abs=0.0051)


def test_every_loss_has_a_finite_start():
    truth = (np.random.default_rng(0).random((50, 5)) < 0.2).astype(float)
    truth[:, 4] = 1
    for name in LOSSES.names():
        start = build_loss(LossParams(name=name, args={}), truth).uninformed_logits(truth)
        assert start.shape == (5,) and bool(start.isfinite().all())


# --- focal ------------------------------------------------------------------------------------------------------


def logit(p: float) -> float:
    return math.log(p / (1 - p))


@pytest.mark.parametrize(
    ("p", "y", "mix", "expected"),
    [
        (0.5, 1.0, 1.0, 0.693147),
        (0.5, 1.0, 0.0, 0.173287),
        (0.5, 0.0, 0.5, 0.433217),
        (0.9, 1.0, 1.0, 0.105361),
        (0.9, 1.0, 0.0, 0.001054),
        (0.9, 0.0, 1.0, 2.302585),
        (0.9, 0.0, 0.0, 1.865094),
    ],
)
def test_focal_by_hand(p: float, y: float, mix: float, expected: float):
    loss = FocalLoss(2.0, 2.0, mix, reduction="sum")
    value = loss(torch.tensor([[logit(p)]], dtype=torch.float64), torch.tensor([[y]])).item()
    assert value == pytest.approx(expected, abs=5e-7)


def test_focal_has_asl_and_binary_cross_entropy_as_limits():
    logits, targets = torch.randn(8, 5, dtype=torch.float64) * 10, torch.rand(8, 5, dtype=torch.float64)
    focal = FocalLoss(1.5, 3.0, reduction="sum")
    torch.testing.assert_close(focal(logits, targets), AsymmetricLoss(1.5, 3.0, 0, "sum")(logits, targets))
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0])
    plain = WeightedBCE(weights, "sum")(logits, targets)
    torch.testing.assert_close(FocalLoss(1.5, 3.0, 1.0, weights, "sum")(logits, targets), plain)
    # Cells are linear in the mix.
    parts = [FocalLoss(1.5, 3.0, mix, weights).cells(logits, targets) for mix in (0.0, 0.3, 1.0)]
    torch.testing.assert_close(parts[1], 0.7 * parts[0] + 0.3 * parts[2])


def test_focal_weighs_positives_alone():
    weights = torch.tensor([3.0])
    for y, factor in ((1.0, 3.0), (0.0, 1.0)):
        values = [
            FocalLoss(pos_weight=w, reduction="sum")(torch.tensor([[0.7]]), torch.tensor([[y]]))
            for w in (weights, None)
        ]
        torch.testing.assert_close(values[0], factor * values[1])


@pytest.mark.parametrize(
    "settings", [{}, {"mix": 0.5}, {"gamma_pos": 0.0, "gamma_neg": 0.5}, {"gamma_pos": 0.3}]
)
def test_focal_is_finite_far_beyond_50(settings: dict[str, float]):
    logits = torch.tensor([[-1e4, -104.0, -50, -1, 0, 1, 50, 104, 1e4]], requires_grad=True)
    for y in (0.0, 0.5, 1.0):
        loss = FocalLoss(**settings, reduction="sum")(logits, torch.full((1, 9), y))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert bool(loss.isfinite()) and bool(gradient.isfinite().all())


@pytest.mark.parametrize("prevalence", [0.02, 0.25])  # weights 10 and 3
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gamma_pos": 0.0, "gamma_neg": 4.0},
        {"gamma_pos": 1.0, "gamma_neg": 3.0, "mix": 0.4, "pos_weight": True},
        {"mix": 1.0, "pos_weight": True},
    ],
)
def test_focals_posterior_is_that_of_the_least_expected_loss(settings: dict[str, Any], prevalence: float):
    own = FocalSettings(**settings)
    truth = np.zeros((1000, 1))
    truth[: int(1000 * prevalence)] = 1
    loss = FocalLoss.from_settings(own, "sum", 0.0, truth)
    z = torch.linspace(-6, 6, 121, dtype=torch.float64)[:, None].requires_grad_()
    eta = posterior(torch.sigmoid(z).detach().numpy(), own, prevalence)
    assert (np.diff(eta[:, 0]) > 0).all()
    (slope,) = torch.autograd.grad(loss.cells(z, torch.from_numpy(eta)).sum(), z)
    curve = loss.cells(z, torch.ones_like(z)) + loss.cells(z, torch.zeros_like(z))
    assert float((slope.abs() / curve.detach()).max()) < 1e-9
    np.testing.assert_allclose(
        loss.log_odds(z).detach().numpy(), np.log(eta / (1 - eta)), rtol=1e-7, atol=1e-9
    )
    assert posterior(np.array([0.0, 1.0]), own, prevalence).tolist() == [0.0, 1.0]


def test_focal_starts_its_bias_where_its_posterior_is_the_prevalence():
    truth = np.zeros((1000, 1))
    truth[:20] = 1
    start = FocalLoss().uninformed_logits(truth)
    assert posterior(torch.sigmoid(start.double()).numpy(), FocalSettings(), 0.02)[0] == pytest.approx(
        0.02, rel=1e-5
    )


# --- pairwise ---------------------------------------------------------------------------------------------------


def pairs_by_loops(logits: np.ndarray, truth: np.ndarray) -> list[float]:
    costs = []
    for z, y in zip(logits, truth, strict=True):
        pairs = [
            math.log1p(math.exp(z[n] - z[p]))
            for p in range(len(z))
            for n in range(len(z))
            if y[p] == 1 and y[n] == 0
        ]
        costs.append(sum(pairs) / len(pairs) if pairs else 0.0)
    return costs


def test_pairwise_by_hand_and_by_loops():
    hand = PairwiseLoss()(torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    assert hand.item() == pytest.approx(0.220095, abs=5e-7)
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(40, 6)), (rng.random((40, 6)) < 0.4).astype(float)
    truth[rng.random(truth.shape) < 0.2] = np.nan
    truth[0], truth[1], truth[2] = 0, 1, np.nan
    costs, tensors = pairs_by_loops(logits, truth), (torch.from_numpy(logits), torch.from_numpy(truth))
    for reduction, expected in (("mean", np.mean(costs)), ("batchmean", np.mean(costs)), ("sum", sum(costs))):
        assert PairwiseLoss(reduction)(*tensors).item() == pytest.approx(expected, rel=1e-12)
    masked = np.where(np.arange(6) < 4, truth, np.nan)
    got = PairwiseLoss("sum")(*tensors, mask=(torch.arange(6) < 4).expand(40, 6)).item()
    assert got == pytest.approx(sum(pairs_by_loops(logits, masked)), rel=1e-12)


def test_pairwise_teaches_by_pairs_of_known_labels_alone():
    logits = torch.randn(4, 4, requires_grad=True)
    nan = float("nan")
    truth = torch.tensor([[1, 0, nan, 0], [0, 0, 0, nan], [1, 1, 1, 1], [nan] * 4])
    (gradient,) = torch.autograd.grad(PairwiseLoss("sum")(logits, truth), logits)
    assert (gradient[0, [0, 1, 3]] != 0).all() and gradient[0, 2] == 0 and not gradient[1:].any()
    torch.testing.assert_close(gradient[0].sum(), torch.tensor(0.0))  # a shift of all costs nothing
    shifted = PairwiseLoss("sum")(logits + 3, truth)
    torch.testing.assert_close(shifted, PairwiseLoss("sum")(logits, truth))


def test_pairwise_is_finite_at_50():
    logits = torch.tensor([[50.0, -50.0], [-50.0, 50.0]], requires_grad=True)
    loss = PairwiseLoss("sum")(logits, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(100) and bool(gradient.isfinite().all())


def test_pairwise_takes_no_smoothing():
    with pytest.raises(
        ValidationError, match=r"loss.smoothing = 0.1 has no meaning for loss.name = pairwise"
    ):
        LossParams(name="pairwise", args={}, smoothing=0.1)
    assert isinstance(build_loss(LossParams(name="pairwise", args={}), np.eye(3)), PairwiseLoss)
