"""What is another in an external test: what was put in is found, and nothing else; hand values of the errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, ndtr, stdtrit

from couplet.evaluation.estimate import Source
from couplet.evaluation.hits import share
from couplet.evaluation.jackknife import auc_estimates
from couplet.evaluation.prevalence import moved
from couplet.evaluation.proportions import observed_over_expected
from couplet.reporting.rows_external import (
    NO_THRESHOLD,
    Side,
    after_moving,
    log_errors,
    measures,
    off_target,
    ranked_otherwise,
    together,
    unlabelled_prevalences,
)
from tests.support.predictions import drawn_log_odds

SOURCES = [Source(name, name) for name in ("raw", "calibrated", "sets")]


def side(truth: np.ndarray, q: np.ndarray, flags: tuple[str, ...] = ()) -> Side:
    decisions = (q >= 0.5).astype(np.int8)
    return Side(truth, q, q, decisions, np.arange(len(q)), flags, *SOURCES)


def test_the_error_of_a_log_is_that_of_its_interval() -> None:
    y, z = drawn_log_odds([0.3, 0.1], 60, 1)
    q, patients = expit(z - 1), np.arange(60) // 2
    for i, error in enumerate(log_errors(y, q, patients)):
        one = observed_over_expected(y[:, i], q[:, i], patients)
        assert one.low is not None and one.value is not None
        assert error == pytest.approx((np.log(one.value) - np.log(one.low)) / stdtrit(29, 0.975), rel=1e-9)
    y[:, 1] = 0
    assert np.isnan(log_errors(y, q, patients)[1])


def test_a_prevalence_that_was_put_in_is_found_and_explained() -> None:
    """Three labels calibrated at 0.5; there 0.2 in the first, so that its probabilities are 1.6 times too many."""
    fitted = log_errors(
        *[expit(a) if i else a for i, a in enumerate(drawn_log_odds([0.5] * 3, 1500, 2))], np.arange(1500)
    )
    y, z = drawn_log_odds([0.2, 0.5, 0.5], 1500, 3)
    q, here = expit(z), np.full(3, 0.5)
    after = moved(q, here, share(y))
    patients = np.arange(1500)
    assert off_target(y, q, patients, fitted) == [0]
    assert off_target(y, after, patients, fitted) == []
    rows = after_moving(side(y, q), after, np.full(3, 0.5))
    value = rows[0].observed_over_expected.value
    assert (
        value is not None
        and value == pytest.approx(1, abs=0.06)
        and rows[0].observed_over_expected.flags == ("fitted here",)
    )
    before, _ = measures(side(y, q), np.full(3, 0.5))
    assert before[0].observed_over_expected.value < 0.75
    # Fewer calls at the same threshold: sensitivity falls, specificity rises.
    assert rows[0].sensitivity.value < before[0].sensitivity.value
    assert rows[0].specificity.value > before[0].specificity.value
    (told, *_) = unlabelled_prevalences(side(y, q), here)
    assert told.low is not None and told.low <= 0.2 <= told.high
    assert (
        ranked_otherwise(
            *(
                auc_estimates(*drawn_log_odds([p, 0.5, 0.5], 1500, s), patients)
                for p, s in ((0.5, 2), (0.2, 3))
            )
        )
        == []
    )


def test_pictures_that_say_less_are_found_and_not_explained() -> None:
    patients, fitted = np.arange(1500), np.full(2, 0.02)
    y, z = drawn_log_odds([0.2, 0.5], 1500, 4, noise=3.0)
    q = expit(z)
    after = moved(q, np.array([0.5, 0.5]), share(y))
    assert 0 in off_target(y, q, patients, fitted) and 0 in off_target(y, after, patients, fitted)
    here = auc_estimates(*drawn_log_odds([0.5, 0.5], 1500, 5), patients)
    assert ranked_otherwise(here, auc_estimates(y, q, patients)) == [0]


def test_nothing_is_found_where_nothing_was_put_in() -> None:
    """Holm: in at most about 5 % of runs anything is said at all."""
    found = {"off": 0, "ranked": 0}
    for seed in range(60):
        calibrated, z = drawn_log_odds([0.3] * 5, 300, 200 + seed)
        shift = np.log(0.3 / 0.7)
        errors = log_errors(calibrated, expit(z + shift), np.arange(300))
        y, other = drawn_log_odds([0.3] * 5, 300, 900 + seed)
        # The calibrators' level is off by their own error, as any fitted one is.
        level = np.random.default_rng(seed).normal(size=5) * errors / 0.6
        found["off"] += bool(off_target(y, expit(other + shift + level), np.arange(300), errors))
        found["ranked"] += bool(
            ranked_otherwise(
                *(
                    auc_estimates(*drawn_log_odds([0.3] * 5, 300, s), np.arange(300))
                    for s in (seed, 5000 + seed)
                )
            )
        )
    assert found["off"] <= 12 and found["ranked"] <= 8


def test_the_z_test_of_two_areas_by_hand() -> None:
    here, there = (
        auc_estimates(*drawn_log_odds([0.5, 0.5], 200, seed, noise), np.arange(200))
        for seed, noise in ((6, 0.0), (7, 1.0))
    )
    p = [
        2 * ndtr(-abs(a.value - b.value) / np.sqrt(e**2 + f**2))
        for a, b, e, f in zip(here.per_label, there.per_label, here.errors, there.errors, strict=True)
    ]
    wanted = [i for i, one in enumerate(p) if min(1, one * (2 if one == min(p) else 1)) < 0.05]
    assert ranked_otherwise(here, there) == wanted == [0]


def test_estimates_carry_flags_sources_and_reasons() -> None:
    y, z = drawn_log_odds([0.3, 0.3], 80, 8)
    y[:, 1] = np.nan
    rows, _ = measures(side(y, expit(z), ("leak",)), np.array([0.5, np.nan]))
    assert rows[0].auc.flags == ("leak",) and rows[0].auc.source == (SOURCES[0],)
    assert rows[0].sensitivity.source == (SOURCES[1],) and rows[0].coverage_absent.source == (SOURCES[2],)
    assert (rows[0].unknown, rows[1].unknown) == (0.0, 1.0)
    assert rows[1].sensitivity.reason == NO_THRESHOLD and rows[1].auc.value is None
    nothing = after_moving(
        side(y, expit(z)), moved(expit(z), np.array([0.5, 0.5]), share(y)), np.array([0.5, 0.5])
    )[1]
    assert {one.reason for one in nothing} == {"a prevalence of 0 or 1, or unknown"}


def test_means_are_over_the_chosen_labels() -> None:
    y, z = drawn_log_odds([0.3, 0.5, 0.4], 200, 9)
    q = expit(z)
    found = together(side(y, q), [0, 2])
    loss = -np.log(np.where(y == 1, q, 1 - q))[:, [0, 2]].mean()
    assert found.log_loss.value == pytest.approx(loss, rel=1e-9)
    areas = [auc_estimates(y[:, [i]], q[:, [i]], np.arange(200)).macro.value for i in (0, 2)]
    assert found.auc.value == pytest.approx(np.mean(areas), rel=1e-12)
    assert together(side(y, q), [0, 2], q).log_loss.flags == ("fitted here",)
