"""What the page says of the loss: the output for an image that says nothing, for any setting of the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from couplet.reporting.no_information import loss_in_words, no_information_output, states_the_risk
from couplet.settings.params import LossParams
from couplet.settings.schema.plugins import LOSSES


def loss(name: str = "asl", smoothing: float = 0.0, **args: Any) -> LossParams:
    return LossParams(name=name, smoothing=smoothing, args=args)


def asl(gamma_pos: float, gamma_neg: float, clip: float, smoothing: float = 0.0) -> LossParams:
    return loss("asl", smoothing, gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip)


def best_output(
    prevalence: float, gamma_pos: float, gamma_neg: float, clip: float, smoothing: float
) -> float:
    """The minimum of the expected loss as the loss's own docstring writes it, searched for."""
    share = prevalence * (1 - smoothing) + smoothing / 2

    def expected(p: float) -> float:
        shifted = max(p - clip, 0)
        positive = -((1 - p) ** gamma_pos) * np.log(p)
        negative = -(shifted**gamma_neg) * np.log1p(-shifted) if shifted else 0.0
        return share * positive + (1 - share) * negative

    grid = np.linspace(1e-4, 1 - 1e-4, 2_001)
    around = int(np.argmin([expected(p) for p in grid]))
    bounds = (grid[max(around - 1, 0)], grid[min(around + 1, len(grid) - 1)])
    return float(minimize_scalar(expected, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x)


@pytest.mark.parametrize("prevalence", [0.005, 0.02, 0.1, 0.45])
@pytest.mark.parametrize(
    "settings",
    [(0, 4, 0.05, 0), (0, 4, 0.05, 0.1), (1, 4, 0.05, 0), (2, 2, 0, 0), (0, 1, 0.2, 0), (0.5, 0.5, 0.05, 0)],
)
def test_the_output_minimises_the_expected_loss(prevalence: float, settings: tuple[float, ...]) -> None:
    found = no_information_output(asl(*settings), prevalence)
    assert found == pytest.approx(best_output(prevalence, *settings), abs=1e-5)


def test_values_worked_out_by_hand() -> None:
    assert no_information_output(asl(0, 4, 0.05), 0.02) == pytest.approx(0.3590, abs=5e-5)
    assert no_information_output(asl(0, 4, 0.05), 0.1) == pytest.approx(0.4775, abs=5e-5)
    # odds(eta) = 0.5 * (0.45^4 / 0.55 + 4 * 0.45^3 * 0.597837) = 0.1462342 at p = 1/2.
    assert no_information_output(asl(0, 4, 0.05), 0.1462342 / 1.1462342) == pytest.approx(0.5, abs=1e-6)
    assert no_information_output(asl(2, 2, 0), 0.5) == pytest.approx(0.5)
    # Above eta(1) = 0.9637 the best output is 1; (0, 0, clip) pays for a negative at once, beyond the margin.
    assert no_information_output(asl(0, 4, 0.05), 0.97) == pytest.approx(1)
    assert no_information_output(asl(0, 0, 0.2), 0.1) == pytest.approx(0.2)


@pytest.mark.parametrize("prevalence", [1e-6, 0.02, 0.5, 0.99])
def test_a_proper_loss_asks_for_the_prevalence(prevalence: float) -> None:
    assert no_information_output(asl(0, 0, 0), prevalence) == pytest.approx(prevalence, rel=1e-9)
    assert no_information_output(loss("bce", pos_weight=False), prevalence) == pytest.approx(prevalence)


def test_weighted_cross_entropy_multiplies_the_odds() -> None:
    """w = negatives / positives within [1, 10]: 10 at 2 %, 4 at 20 % and 1 at 60 %."""
    weighted = loss("bce", pos_weight=True)
    assert no_information_output(weighted, 0.02) == pytest.approx(10 * 0.02 / (10 * 0.02 + 0.98))
    assert no_information_output(weighted, 0.2) == pytest.approx(0.5)
    assert no_information_output(weighted, 0.6) == pytest.approx(0.6)


def test_smoothing_moves_every_target_to_the_middle() -> None:
    assert no_information_output(loss("bce", 0.1, pos_weight=False), 0.02) == pytest.approx(0.02 * 0.9 + 0.05)


def test_a_label_of_one_class_has_none() -> None:
    assert np.isnan(no_information_output(asl(0, 4, 0.05), 0.0))
    assert np.isnan(no_information_output(asl(0, 4, 0.05), 1.0))


def test_which_losses_are_least_at_the_risk() -> None:
    assert states_the_risk(asl(0, 0, 0)) and states_the_risk(loss("bce", pos_weight=False))
    for other in (asl(0, 4, 0.05), asl(2, 2, 0), asl(0, 0, 0.05), loss("bce", pos_weight=True)):
        assert not states_the_risk(other)
    assert not states_the_risk(asl(0, 0, 0, smoothing=0.1))


def test_the_words_name_every_setting_that_counts() -> None:
    assert loss_in_words(asl(1, 2.5, 0, 0.1)) == "asl, gamma_pos 1, gamma_neg 2.5, clip 0, smoothing 0.1"
    assert loss_in_words(loss("bce", pos_weight=True)) == "bce, pos_weight true"
    assert loss_in_words(loss("bce_large_loss", rate=0.01)) == "bce_large_loss, rate 0.01, rule drop"
    assert loss_in_words(loss("focal")) == "focal, gamma_pos 2, gamma_neg 2, mix 0, pos_weight false"
    rates = loss("bce_forward", missing_rate=[0.4, 0.25, 0], flip_rate=0.1)
    assert loss_in_words(rates) == "bce_forward, missing_rate [0.4, 0.25, 0], flip_rate 0.1"
    assert loss_in_words(loss("bce_forward")) == "bce_forward, missing_rate 0, flip_rate 0"


@pytest.mark.parametrize("name", LOSSES.names())
def test_of_every_loss_there_are_words(name: str) -> None:
    assert loss_in_words(LossParams(name=name)).startswith(name)
