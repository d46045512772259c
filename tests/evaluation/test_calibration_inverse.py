"""The loss's exact inverse: by hand, by the loss itself, and as the prior of a beta map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from couplet.evaluation.calibration.beta import BetaMap
from couplet.evaluation.calibration.inverse import output_of, posterior_of, priors_of
from couplet.evaluation.prevalence import prevalences
from couplet.settings import losses
from couplet.settings.params import LossParams
from couplet.settings.schema.plugins import LOSSES

ETAS = np.array([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95])


def asl(gamma_pos: float, gamma_neg: float, clip: float, smoothing: float = 0.0) -> LossParams:
    args = {"gamma_pos": gamma_pos, "gamma_neg": gamma_neg, "clip": clip}
    return LossParams(name="asl", args=args, smoothing=smoothing)


def eta(loss: LossParams, *p: float, prevalence: float = 0.1) -> list[float]:
    return posterior_of(loss)(np.array(p), prevalence).tolist()


def risk(p: np.ndarray, eta: float, gamma_pos: float, gamma_neg: float, clip: float) -> np.ndarray:
    """The expected loss as the paper writes it."""
    s = np.maximum(p - clip, 0)
    return -eta * (1 - p) ** gamma_pos * np.log(p) - (1 - eta) * s**gamma_neg * np.log(1 - s)


def test_values_by_hand() -> None:
    # 0.45^4 / 0.55 - 4 * 0.45^3 * log(0.55) = 0.0745568 + 0.2179116, and 1 / H(0.5) = 0.5.
    odds = (0.45**4 / 0.55 + 4 * 0.45**3 * 0.5978370) / 2
    assert odds == pytest.approx(0.1462342, abs=1e-7)
    found = eta(LossParams(), 0.5, 1.0, 0.9, 0.36)
    assert found == pytest.approx([odds / (1 + odds), 0.963721, 0.8799, 0.0203], abs=5e-5)
    assert found[:2] == pytest.approx([0.127578, 0.963721], abs=1e-6)
    assert eta(asl(2, 2, 0), 0.5) == pytest.approx([0.5], abs=1e-12)


@pytest.mark.parametrize("loss", [asl(0, 0, 0), LossParams(name="bce", args={"pos_weight": False})])
def test_of_cross_entropy_it_changes_nothing(loss: LossParams) -> None:
    p = np.array([0, 1e-12, 1e-9, 0.02, 0.5, 0.999, 1 - 1e-9, 1])
    np.testing.assert_allclose(eta(loss, *p), p, rtol=1e-12)


def test_weighted_cross_entropy_divides_the_odds() -> None:
    weighted = LossParams(name="bce")
    assert eta(weighted, 0.5, prevalence=0.25) == pytest.approx([0.25])  # weight 3
    assert eta(weighted, 0.5, prevalence=0.01) == pytest.approx([1 / 11])  # the weight is at most 10
    assert eta(weighted, 0.5, prevalence=0.9) == [0.5]  # and at least 1
    assert eta(weighted, 0.5, prevalence=0.0) == eta(weighted, 0.5, prevalence=float("nan")) == [1 / 11]


@pytest.mark.parametrize("settings", [(0, 4, 0.05), (1, 4, 0.05), (2, 2, 0), (0.5, 1, 0.2), (0, 0, 0)])
def test_the_least_expected_loss_on_a_grid_is_there(settings: tuple[float, float, float]) -> None:
    p = np.linspace(0, 1, 400_001)[1:-1]
    for wanted in ETAS:
        best = p[np.argmin(risk(p, wanted, *settings))]
        assert eta(asl(*settings), best)[0] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "name", [name for name in LOSSES.names() if getattr(LOSSES.settings(name), "PER_CELL", True)]
)
def test_the_trained_loss_has_no_gradient_there(name: str, smoothing: float) -> None:
    import torch

    from couplet.training.loss import build_loss

    prevalence = 0.2
    truth = np.repeat([1.0, 0.0], [20, 80])[:, None]
    section = LossParams(name=name, reduction="sum", smoothing=smoothing)
    loss = build_loss(section, truth)
    p = output_of(ETAS[:-1], posterior_of(section), prevalence)
    logits = torch.tensor(logit(p), dtype=torch.float64, requires_grad=True)
    columns = [
        loss(logits[None] * 1.0, torch.full((1, len(p)), float(y), dtype=torch.float64)) for y in (1, 0)
    ]
    one, zero = (torch.autograd.grad(column, logits)[0].numpy() for column in columns)
    np.testing.assert_allclose(ETAS[:-1] * one + (1 - ETAS[:-1]) * zero, 0, atol=1e-6)


@pytest.mark.parametrize("gamma_pos", [0, 0.5, 1, 2, 4])
@pytest.mark.parametrize("gamma_neg", [0, 0.5, 1, 2, 4])
@pytest.mark.parametrize("clip", [0, 0.05, 0.2])
def test_rising_and_finite(gamma_pos: float, gamma_neg: float, clip: float) -> None:
    p = np.linspace(0, 1, 10_001)
    found = np.array(eta(asl(gamma_pos, gamma_neg, clip), *p))
    assert not np.isnan(found).any() and found.min() >= 0 and found.max() <= 1
    assert (found[p <= clip] == 0).all()
    assert (np.diff(found) >= 0).all()
    # Nearer to 1 doubles are as far from each other as the posteriors are.
    assert (np.diff(found[(p > clip) & (found < 1 - 1e-12)]) > 0).all()


def test_smoothing_is_undone() -> None:
    # eta' = eta (1 - e) + e / 2: what is expressed at 0.45 is 0.444 after smoothing by 0.1.
    plain = LossParams(name="bce", args={"pos_weight": False}, smoothing=0.1)
    assert eta(plain, 0.45, 0.5, 0.95, 0.01, 0.99) == pytest.approx([0.4 / 0.9, 0.5, 1, 0, 1])


def test_no_information_output() -> None:
    posterior = posterior_of(LossParams())
    found = output_of(np.array([0.02, 0.1]), posterior, 0.02)
    np.testing.assert_allclose(found, [0.3590, 0.4775], atol=5e-5)
    np.testing.assert_allclose(posterior(output_of(ETAS, posterior, 0.1), 0.1), ETAS, rtol=1e-12)
    assert output_of(np.array([0.97]), posterior, 0.1).tolist() == [1.0]  # above what it ever expresses
    assert output_of(np.array([0.1]), posterior_of(LossParams(name="bce")), 0.1) == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("loss", "prevalence", "expected"),
    [
        (LossParams(), 0.02, (5.7199, 0.3377, 1.8000)),
        (asl(2, 2, 0), 0.02, (2.7219, 2.6392, 0.0614)),
        (LossParams(name="bce", args={"pos_weight": False}), 0.02, (1, 1, 0)),
        (LossParams(name="bce"), 0.25, (1, 1, -np.log(3))),
        (LossParams(name="bce"), 0.02, (1, 1, -np.log(10))),
    ],
)
def test_prior(loss: LossParams, prevalence: float, expected: tuple[float, float, float]) -> None:
    found = priors_of(posterior_of(loss), [prevalence])[0]
    assert (found.a, found.b, found.c) == pytest.approx(expected, abs=1e-4)


def test_the_prior_of_asl_is_its_inverse_within_4_thousandths() -> None:
    posterior = posterior_of(LossParams())
    low, high = output_of(np.array([0.002, 0.95]), posterior, 0.02)
    p = np.linspace(low, high, 10_000)
    off = np.abs(expit(priors_of(posterior, [0.02])[0].logit(p)) - posterior(p, 0.02))
    assert 0.0035 < off.max() < 0.0037


@pytest.mark.parametrize("gamma_neg", [0, 1, 4])
@pytest.mark.parametrize("clip", [0, 0.05, 0.5])
@pytest.mark.parametrize("smoothing", [0, 0.2, 0.9])
def test_a_prior_never_falls(gamma_neg: float, clip: float, smoothing: float) -> None:
    # With the largest clip and smoothing the loss expresses nothing: the prior is the identity.
    found = priors_of(posterior_of(asl(0, gamma_neg, clip, smoothing)), [0.1])[0]
    assert found.a >= 0 and found.b >= 0 and found.a + found.b > 0 and np.isfinite(found.c)


def test_a_loss_without_an_inverse_of_its_own_counts_as_proper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "from couplet.settings.schema.section import Section\nclass Settings(Section):\n    width: int = 3\n"
    )
    (tmp_path / "brier.py").write_text(text)
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    section: dict[str, Any] = {"name": "brier"}
    posterior = posterior_of(LossParams.model_validate(section))
    assert posterior(np.array([0.3]), 0.1).tolist() == [0.3]
    assert priors_of(posterior, [0.1])[0].rounded() == BetaMap(1.0, 1.0, pytest.approx(0.0, abs=1e-9))  # type: ignore[arg-type]


# What a logit means is asked of every loss. Of these there is no inverse of their own, and why:
PROPER = {
    "bce_forward": "an output is the probability of the clean label, as it is; the table's label is what calibrators learn",
    "bce_large_loss": "which cells lose their label follows from the whole batch, so no cell has an expected loss",
    "pairwise": "it fixes no level: outputs are ranks, and the identity is where calibrators begin for want of better",
}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", LOSSES.names())
def test_what_a_trained_network_means_is_where_calibration_begins(name: str, smoothing: float) -> None:
    import torch

    from couplet.training.loss import build_loss

    of_loss: dict[str, list[dict[str, Any]]] = {
        "asl": [{}, {"gamma_pos": 1.0, "gamma_neg": 2.0, "clip": 0.0}],
        "bce": [{"pos_weight": True}, {"pos_weight": False}],
        "bce_forward": [{}, {"missing_rate": 0.3, "flip_rate": 0.05}],
        "bce_large_loss": [{}, {"rule": "flip", "rate": 0.1}],
        "focal": [{}, {"gamma_pos": 0.5, "gamma_neg": 3.0, "mix": 0.2, "pos_weight": True}],
        "pairwise": [{}],
    }
    truth = np.repeat([1.0, 0.0], [20, 80])[:, None]  # a positive weighs 4
    z = np.linspace(-2.5, 8, 400)  # of ASL above clip + 0.01, below which log odds are a straight line
    smoothing = smoothing if getattr(LOSSES.settings(name), "PER_CELL", True) else 0.0
    assert of_loss.keys() == set(LOSSES.names())
    for args in of_loss[name]:
        section = LossParams(name=name, args=args, smoothing=smoothing)
        means = build_loss(section, truth).probability(torch.tensor(z[:, None])).numpy()[:, 0]
        posterior = posterior_of(section)
        np.testing.assert_allclose(means, posterior(expit(z), 0.2), rtol=1e-5, atol=1e-9)
        if name in PROPER and not smoothing:
            np.testing.assert_array_equal(posterior(expit(z), 0.2), expit(z))
            assert priors_of(posterior, [0.2])[0].rounded() == BetaMap(1.0, 1.0, pytest.approx(0.0, abs=1e-9))  # type: ignore[arg-type]
    own = {loss for loss in LOSSES.names() if hasattr(LOSSES.module(loss), "posterior")}
    assert own == set(LOSSES.names()) - PROPER.keys()


# --- the same of logits, while training ---------------------------------------------------------------------------

LINKED = [(0, 4, 0.05), (1, 4, 0.05), (0, 2, 0), (2, 2, 0.1), (0, 0, 0), (0.5, 1, 0.2), (4, 4, 0.05)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("settings", LINKED)
def test_the_probability_of_a_logit_is_the_posterior_of_its_output(
    settings: tuple[float, float, float], smoothing: float
) -> None:
    import torch

    from couplet.training.loss import build_loss

    section = asl(*settings, smoothing)
    loss = build_loss(section, np.zeros((1, 1)))
    z = np.linspace(logit(settings[2] + 0.0101), 6, 500)
    found = loss.probability(torch.tensor(z, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(found, posterior_of(section)(expit(z), 0.1), rtol=1e-6, atol=1e-9)
    if not smoothing:  # below, log odds are a straight line with the slope that they have there
        start = logit(settings[2] + 0.01)
        below = loss.log_odds(torch.tensor(start + np.array([-2, -1, 0, 1e-6]))).numpy()
        assert below[1] - below[0] == pytest.approx(below[2] - below[1], rel=1e-9)
        assert below[2] - below[1] == pytest.approx((below[3] - below[2]) / 1e-6, rel=1e-4)


@pytest.mark.parametrize("settings", LINKED)
def test_the_probability_of_a_logit_rises_in_float32(settings: tuple[float, float, float]) -> None:
    import torch

    from couplet.training.loss import build_loss

    loss = build_loss(asl(*settings), np.zeros((1, 1)))
    z = torch.linspace(-50, 50, 10_001, requires_grad=True)
    found = loss.log_odds(z)
    slope = torch.autograd.grad(found.sum(), z)[0]
    # Where it levels off, the last digit of a float32 may go either way.
    assert (found.diff() >= -3e-7).all() and (loss.probability(z).diff() >= -1e-7).all()
    assert torch.isfinite(found).all() and torch.isfinite(slope).all() and (slope >= 0).all()
    assert (found[z < 5].diff() > 0).all()
    assert torch.isfinite(loss.log_odds(torch.tensor([-1e4, -200.0, 200.0, 1e4]))).all()
    with torch.inference_mode():  # a loaded model has never been asked before
        again = build_loss(asl(*settings), np.zeros((1, 1))).log_odds(z.detach())
    assert torch.equal(again, found)


def test_what_logits_mean_by_hand() -> None:
    import torch

    from couplet.losses.asl import AsymmetricLoss
    from couplet.training.loss import build_loss

    asl_loss = build_loss(LossParams(), np.zeros((1, 1)))
    z = torch.tensor(logit([0.359, 0.4775, 0.6837]), dtype=torch.float64)
    np.testing.assert_allclose(asl_loss.probability(z), [0.02, 0.1, 0.5], atol=2e-4)
    grid = torch.linspace(-20, 20, 40_001, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(asl_loss.probability(grid).sum(), grid)[0]
    assert slope.max() == pytest.approx(0.540, abs=5e-4)
    plain = build_loss(asl(0, 0, 0), np.zeros((1, 1)))
    torch.testing.assert_close(plain.probability(grid), torch.sigmoid(grid))
    weighted = build_loss(LossParams(name="bce"), np.repeat([1.0, 0.0], [1, 3])[:, None])
    torch.testing.assert_close(weighted.probability(torch.zeros(1, 1)), torch.tensor([[0.25]]))
    # Without the gradient of the focus odds are u^4 / (1 - u) over 1 / p.
    held = AsymmetricLoss(detach_focus=True).probability(torch.zeros(1, dtype=torch.float64))
    odds = 0.45**4 / 0.55 / 2
    assert float(held) == pytest.approx(odds / (1 + odds), rel=1e-9)
    half = asl_loss.probability(torch.zeros(1, 1, dtype=torch.float16))
    assert half.dtype == torch.float32 and float(half) == pytest.approx(0.127578, abs=1e-6)


@pytest.mark.parametrize(
    "section",
    [
        {"name": "bce", "args": {"pos_weight": True}},
        {"name": "focal", "args": {"pos_weight": True, "gamma_pos": 1, "gamma_neg": 2}},
        {"name": "asl"},
    ],
)
def test_the_priors_of_labels_together_are_those_of_each(section: dict[str, Any]) -> None:
    posterior = posterior_of(LossParams.model_validate(section))
    shares = [0.02, 0.3, 0.9, 0.0, float("nan")]
    assert priors_of(posterior, shares) == [priors_of(posterior, [share])[0] for share in shares]
    truth = np.array([[1, np.nan], [0, np.nan], [np.nan, np.nan], [1, np.nan]])
    assert prevalences(truth).tolist() == [
        pytest.approx(2 / 3),
        pytest.approx(float("nan"), nan_ok=True),
    ]
