"""The calibrators of all labels: flags, cross-fitting, the ensemble's kappa, and what is written of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import expit, logit

from couplet.evaluation.calibration.beta import BetaMap, nine_digits
from couplet.evaluation.calibration.ensemble import kappa, stretch, stretched
from couplet.evaluation.calibration.error import log_losses
from couplet.evaluation.calibration.fitting import (
    OutOfFold,
    cross_fitted,
    cross_fitting_parts,
    ensemble_probabilities,
    fit_calibrators,
    sharpened,
)
from couplet.evaluation.calibration.inverse import output_of, posterior_of, priors_of
from couplet.evaluation.calibration.record import LabelCalibrator
from couplet.evaluation.calibration.slopes import calibration_lines
from couplet.evaluation.metrics import auc_per_label
from couplet.project.errors import UserError
from couplet.settings.params import LossParams
from couplet.settings.schema.calibration import CalibrationParams, Method

LABELS = ["Common", "Rare", "Half known"]
ASL, BCE = posterior_of(LossParams()), posterior_of(LossParams(name="bce"))


class Run:
    """Three models of true log odds, each with noise of its own, trained with ASL; some labels unknown."""

    def __init__(self, n: int = 1500, n_test: int = 600, noise: float = 0.7, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        oof, self.test_truth = self._images(n), None
        self.folds = self.rng.integers(0, 3, n)
        self.oof = OutOfFold(self._truth(oof), self._outputs(oof, noise), np.arange(n) // 2)
        test = self._images(n_test)
        self.test_truth = self._truth(test)
        self.test = np.stack([self._outputs(test, noise) for _ in range(3)])
        self.oof.truth[self.rng.random(n) < 0.5, 2] = np.nan

    def _images(self, n: int) -> np.ndarray:
        return self.rng.normal(size=(n, 3)) * 1.5 - [1.0, 4.0, 0.5]

    def _truth(self, log_odds: np.ndarray) -> np.ndarray:
        return (self.rng.random(log_odds.shape) < expit(log_odds)).astype(float)

    def _outputs(self, log_odds: np.ndarray, noise: float) -> np.ndarray:
        return output_of(expit(log_odds + noise * self.rng.normal(size=log_odds.shape)), ASL, 0.1)


def fitted(run: Run, method: Method = "beta") -> list[LabelCalibrator]:
    return sharpened(fit_calibrators(run.oof, LABELS, ASL, method), run.oof, run.test, ASL)


# --- kappa ----------------------------------------------------------------------------------------------------------


def test_kappa_by_hand() -> None:
    assert stretch(4.0, 0.6, 3) == pytest.approx(1.1111, abs=5e-5)  # 4 / 3.6
    assert stretch(1.0, 1.2, 3) == 2.0  # 1 / 0.2, cut
    assert stretch(1.0, 3.0, 2) == 2.0  # more disagreement than spread
    assert stretch(0.0, 0.0, 3) == stretch(0.0, 1.0, 3) == 1.0
    # Variance 4 out of fold; models at m - 1, m, m + 1 have variance 1 among them.
    oof = np.tile([-2.0, 2.0], 500)
    models = np.linspace(-3, 3, 60) + np.array([[-1.0], [0.0], [1.0]])
    v = 4 * 1000 / 999
    assert kappa(oof, models) == pytest.approx(v / (v - 2 / 3), rel=1e-12)


def test_kappa_is_1_where_nothing_says_otherwise() -> None:
    oof, same = np.linspace(-3, 3, 100), np.tile(np.linspace(-2, 2, 60), (3, 1))
    assert kappa(oof, same) == 1.0
    noisy = same + np.array([[-1.0], [0.0], [1.0]])
    assert kappa(oof, noisy) > 1.1
    assert kappa(oof, noisy[:, :49]) == 1.0  # too few images
    assert kappa(oof, noisy[:1]) == 1.0  # one model


def test_logits_are_cut_for_the_variances_only() -> None:
    oof, models = np.array([-1e9, 13.8, -13.8, 1e9]), np.repeat([[1e9], [-1e9]], 50, axis=1)
    assert kappa(oof, models) == kappa(np.clip(oof, -13.8, 13.8), np.clip(models, -13.8, 13.8)) == 2.0
    assert stretched(np.array([-40.0]), 1.5, 0.5).tolist() == [-60.0]


def test_the_prevalence_stays_where_it_is() -> None:
    for prevalence in (0.01, 0.2, 0.9):
        q = expit(stretched(logit(np.array([prevalence / 2, prevalence])), 1.7, prevalence))
        assert q[1] == pytest.approx(prevalence, rel=1e-12) and q[0] < prevalence / 2


def test_kappa_brings_the_ensembles_slope_to_1() -> None:
    run = Run(n=6000, n_test=6000, noise=1.0)
    calibrators = fitted(run)
    assert [one.kappa for one in calibrators] == pytest.approx([1.2] * 3, abs=0.12)
    plain = [replace(one, kappa=1.0) for one in calibrators]
    mean = run.test.mean(axis=0)
    patients = np.arange(6000)
    assert run.test_truth is not None
    slopes = [
        np.array([line.slope for line in calibration_lines(run.test_truth, q, patients)])
        for q in (ensemble_probabilities(plain, mean, ASL), ensemble_probabilities(calibrators, mean, ASL))
    ]
    assert (slopes[0] > 1.25).all() and (np.abs(slopes[1] - 1) < 0.4 * np.abs(slopes[0] - 1)).all()


def test_kappa_does_not_read_unknown_cells() -> None:
    run = Run()
    rows = run.oof.rows(~np.isnan(run.oof.truth[:, 2]))
    alone = sharpened(fit_calibrators(rows, LABELS, ASL), rows, run.test, ASL)
    assert fitted(run)[2] == alone[2] and alone[2].kappa > 1


# --- fitting --------------------------------------------------------------------------------------------------------


def test_counts_and_flags() -> None:
    truth = np.array([[1, 0, np.nan], [1, 0, np.nan], [0, 0, np.nan], [0, 0, np.nan], [np.nan, 0, np.nan]])
    found = fit_calibrators(OutOfFold(truth, np.full((5, 3), 0.4), np.array([7, 7, 7, 8, 9])), LABELS, ASL)
    counts = [(one.n_images, one.n_positive, one.n_patients, one.n_positive_patients) for one in found]
    assert counts == [(4, 2, 2, 1), (5, 0, 3, 0), (0, 0, 0, 0)]
    assert [one.flags for one in found] == [("few",), ("not checked", "few"), ("not checked", "few")]
    assert [one.prevalence for one in found] == [0.5, 0.0, None]
    prior = priors_of(ASL, [0.1])[0].rounded()
    assert [one.beta == one.prior == prior for one in found] == [False, True, True]

    many = np.repeat([[1.0, 1.0, 0.0]], 20, axis=0)
    many[:10, :1] = 0
    found = fit_calibrators(OutOfFold(many, np.full((20, 3), 0.4), np.arange(20)), LABELS, ASL)
    assert [one.flags for one in found] == [(), ("not checked",), ("not checked", "few")]
    # Nothing to stretch from without a prevalence between 0 and 1: the probability is the prior's.
    sharp = sharpened(found, OutOfFold(many, np.full((20, 3), 0.4), np.arange(20)), Run().test, ASL)
    assert sharp[1:] == found[1:]
    q = ensemble_probabilities(sharp, np.full((1, 3), 0.5), ASL)
    assert q[0, 1] == expit(prior.logit(np.array(0.5)))


def test_calibration_mends_probabilities_and_keeps_rankings() -> None:
    run = Run()
    mean, truth = run.test.mean(axis=0), run.test_truth
    assert truth is not None
    calibrators = fitted(run)
    assert all(one.kappa > 1.02 for one in calibrators)
    q = ensemble_probabilities(calibrators, mean, ASL)
    np.testing.assert_array_equal(auc_per_label(truth, mean), auc_per_label(truth, q))
    raw, calibrated = (log_losses(truth, p).mean(axis=0) for p in (mean, q))
    assert (calibrated < raw - 0.1).all()
    lines = calibration_lines(truth, q, np.arange(len(q)))
    assert all(abs(line.slope - 1) < 2.5 * line.slope_variance**0.5 for line in lines)
    shaped = ensemble_probabilities(calibrators, run.test, ASL)  # any leading shape
    assert shaped.shape == run.test.shape


def test_cross_fitting_does_not_see_its_own_labels() -> None:
    run = Run()
    q = cross_fitted(run.oof, run.folds, LABELS, ASL)
    truth = run.oof.truth.copy()
    own = np.flatnonzero(run.folds == 1)
    truth[own] = truth[np.random.default_rng(1).permutation(own)]
    again = cross_fitted(replace(run.oof, truth=truth), run.folds, LABELS, ASL)
    np.testing.assert_array_equal(q[own], again[own])
    others = run.folds != 1
    assert (q[others] != again[others]).all()


def test_cross_fitting_by_hand() -> None:
    run = Run(n=300)
    q = cross_fitted(run.oof, run.folds, LABELS, ASL)
    for fold in range(3):
        own = run.folds == fold
        for label, one in enumerate(fit_calibrators(run.oof.rows(~own), LABELS, ASL)):
            assert one.beta is not None
            np.testing.assert_array_equal(q[own, label], expit(one.beta.logit(run.oof.p[own, label])))


def test_pos_weight_is_that_of_the_rows_it_is_fitted_on() -> None:
    truth = np.array([[1.0], [0.0], [0.0], [0.0], [1.0], [0.0]])
    oof = OutOfFold(truth, np.full((6, 1), 0.5), np.arange(6))
    found = fit_calibrators(oof, LABELS[:1], BCE, "inverse")[0]
    assert found.probability(np.array([0.5]), BCE) == pytest.approx([1 / 3])  # weight 2
    q = cross_fitted(oof, np.array([0, 0, 0, 0, 1, 1]), LABELS[:1], BCE, "inverse")
    assert q[:, 0] == pytest.approx([0.5] * 4 + [0.25] * 2)  # weights 1 and 3 of the other part


def test_one_fold_is_dealt_by_patient() -> None:
    ids = np.array([f"p{number // 3}" for number in range(3000)])
    parts = cross_fitting_parts(np.zeros(3000, dtype=int), ids)
    assert sorted(np.unique(parts)) == [0, 1, 2, 3, 4]
    assert all(len(np.unique(parts[ids == name])) == 1 for name in np.unique(ids)[:50])
    assert np.bincount(parts[::3]).min() > 150
    order = np.random.default_rng(0).permutation(3000)
    np.testing.assert_array_equal(cross_fitting_parts(np.zeros(3000, dtype=int), ids[order]), parts[order])
    assert cross_fitting_parts(np.array([2, 0]), ["a", "b"]).tolist() == [2, 0]


def test_the_other_methods() -> None:
    run = Run()
    mean = run.test.mean(axis=0)
    raw = fitted(run, "none")
    assert all(one.kappa == 1 and one.beta is None and one.prior is None for one in raw)
    np.testing.assert_array_equal(ensemble_probabilities(raw, mean, ASL), mean)
    np.testing.assert_array_equal(cross_fitted(run.oof, run.folds, LABELS, ASL, "none"), run.oof.p)

    inverse = fitted(run, "inverse")
    q = cross_fitted(run.oof, run.folds, LABELS, ASL, "inverse")
    np.testing.assert_allclose(q, ASL(run.oof.p, 0.1), rtol=1e-12)
    assert all(one.kappa > 1.02 for one in inverse)
    # Up to the clip the inverse is 0, and stays it whatever kappa is.
    assert ensemble_probabilities(inverse, np.full((1, 3), 0.05), ASL).tolist() == [[0.0] * 3]


# --- what is written ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["beta", "inverse", "none"])
def test_what_is_written_reads_back_equal(method: Method) -> None:
    run = Run(n=400)
    run.oof.truth[:, 1] = np.nan
    written = json.dumps([one.as_dict() for one in fitted(run, method)], allow_nan=False)
    read = [LabelCalibrator.from_dict(content, "calibration.json") for content in json.loads(written)]
    assert read == fitted(run, method)
    for one in json.loads(written):
        numbers = [one["a"], one["b"], one["c"], one["kappa"], one["prevalence"], *(one["prior"] or [])]
        assert all(value == nine_digits(value) for value in numbers if value is not None)
        assert (one["a"] is None) == (method != "beta")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"a": None}, "TypeError"),
        ({"prior": [1.0]}, "TypeError"),
        ({"kappa": "wide"}, "ValueError"),
        ({"method": "platt"}, "method 'platt'"),
    ],
)
def test_a_damaged_record_is_one_line(change: dict[str, Any], what: str) -> None:
    content = fitted(Run(n=200))[0].as_dict()
    with pytest.raises(
        UserError, match=f"^calibration.json has a calibrator that is not ours .*{what}"
    ) as caught:
        LabelCalibrator.from_dict(content | change, "calibration.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="KeyError: 'kappa'"):
        LabelCalibrator.from_dict(
            {key: content[key] for key in content if key != "kappa"}, "calibration.json"
        )


def test_a_calibrator_by_hand() -> None:
    one = LabelCalibrator(
        "A", "beta", BetaMap(2.0, 1.0, 0.5), BetaMap(1, 1, 0), 1.5, 0.2, 10, 2, 5, 2, ("few",)
    )
    z = 2 * np.log(0.3) - np.log(0.7) + 0.5
    assert one.logit(np.array(0.3), ASL) == pytest.approx(z)
    q = one.ensemble_probability(np.array(0.3), ASL)
    assert q == pytest.approx(expit(np.log(0.25) + 1.5 * (z - np.log(0.25))))


def test_settings() -> None:
    assert CalibrationParams() == CalibrationParams(method="beta", sharpen=True)
    for wrong in ({"method": "platt"}, {"sharpen": 1}, {"folds": 3}):
        with pytest.raises(ValidationError):
            CalibrationParams.model_validate(wrong)
