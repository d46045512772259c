"""What `dvc plots` shows of calibration and decisions: small tables in git, a row per point, empty cells where unknown.

The page has the same numbers with their images, patients and flags; these are for comparing revisions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from couplet.evaluation.calibration.error import reliability_curve, too_few_to_judge
from couplet.evaluation.decisions import RULES
from couplet.evaluation.estimate import Estimate
from couplet.evaluation.hits import patient_shares
from couplet.evaluation.proportions import proportion
from couplet.evaluation.risk import risk_coverage
from couplet.evaluation.set_scores import set_scores
from couplet.evaluation.sets import realised_coverage
from couplet.evaluation.threshold_range import ThresholdRange
from couplet.results.calibrated import Calibrated
from couplet.results.predicted import Predicted

DIGITS = "%.6g"  # of the tables: thresholds of rare labels are small
CURVES = 24  # labels with a reliability curve; of more the most frequent ones: the table lies in git
CLASSES = ("absent", "present")  # by their value


@dataclass(frozen=True)
class Part:
    """One part of the images, whose labels are known.

    Attributes:
        name: oof or test.
        truth: (n, L) of 1, 0 or NaN.
        p, q: (n, L) uncalibrated and calibrated probabilities: out of fold cross-fitted, of the test part the
            ensemble's.
        patients: (n,) codes from 0.
    """

    name: str
    truth: np.ndarray
    p: np.ndarray
    q: np.ndarray
    patients: np.ndarray


def labelled_parts(
    predicted: Predicted, calibrated: Calibrated, scored: np.ndarray | bool = True
) -> list[Part]:
    """The images out of fold, and the test part where any of its labels is known.

    `scored` (L,) are the labels that means over labels are of (inference.unscored); the truth of others is NaN.
    """
    parts = [
        Part("oof", predicted.oof_truth, predicted.oof, calibrated.oof_q, predicted.oof_patients),
        Part("test", predicted.test_truth, predicted.test, calibrated.test_q, predicted.test_patients),
    ]
    kept = parts if predicted.test_labelled else parts[:1]
    return [replace(part, truth=np.where(scored, part.truth, np.nan)) for part in kept]


def tables_by_path(
    predicted: Predicted, calibrated: Calibrated, headline: ThresholdRange
) -> dict[Path, pd.DataFrame]:
    """All of them, by where they are written."""
    project = predicted.manifest.project
    return {
        project.reliability_plot: reliability_table(predicted, calibrated),
        project.thresholds_plot: thresholds_table(calibrated, headline),
        project.sets_plot: sets_table(predicted, calibrated),
        project.risk_coverage_plot: risk_coverage_table(predicted, calibrated),
    }


# --- the tables -------------------------------------------------------------------------------------------------


def reliability_table(predicted: Predicted, calibrated: Calibrated) -> pd.DataFrame:
    """Mean calibrated probability against the observed share of positives, in ten bins of equal mass.

    Columns: part, label, bin (from 1), predicted, observed with low and high of its interval, images, enough (1 where
    the label has 100 positives and 100 negatives in the part; below, the curve is too few to judge).
    """
    rows = []
    for part in labelled_parts(predicted, calibrated):
        n_positive = (predicted.oof_truth == 1).sum(axis=0)
        shown = np.sort(np.argsort(-n_positive, kind="stable")[:CURVES])
        few = too_few_to_judge(part.truth[:, shown])
        curves = reliability_curve(part.truth[:, shown], part.q[:, shown], part.patients)
        for label, curve, too_few in zip(shown, curves, few, strict=True):
            rows += [
                (
                    part.name,
                    predicted.labels[label],
                    number,
                    point.predicted,
                    point.observed.value,
                    *_ends(point.observed),
                    point.observed.n_images,
                    int(not too_few),
                )
                for number, point in enumerate(curve, start=1)
            ]
    columns = ["part", "label", "bin", "predicted", "observed", "low", "high", "images", "enough"]
    return pd.DataFrame(rows, columns=columns)


def thresholds_table(calibrated: Calibrated, headline: ThresholdRange) -> pd.DataFrame:
    """The threshold of each label and rule on the ensemble's calibrated probability.

    Columns: label, rule, threshold, low and high (5 and 95 % of 200 resamples of patients, of the headline rule
    alone), reason (why there is no threshold).
    """
    rows = []
    for label, calibrator in enumerate(calibrated.calibrators):
        for rule in RULES:
            point = calibrated.points[rule][label]
            is_headline = rule == calibrated.decision.rule
            ends = (headline.low[label], headline.high[label]) if is_headline else (np.nan, np.nan)
            rows.append((calibrator.label, rule, point.value, *ends, point.reason))
    table = pd.DataFrame(rows, columns=["label", "rule", "threshold", "low", "high", "reason"])
    return table.astype({"threshold": np.float64})


def sets_table(predicted: Predicted, calibrated: Calibrated) -> pd.DataFrame:
    """What the prediction sets promise and, on the test part, what they achieved.

    Columns: label, class (absent, present), category, patients (out of fold, with an image of the class), promised
    (1 - alpha), expected_low and expected_high (where 95 % of runs with so many patients lie), coverage of the test
    part with low and high of its interval (mean over patients of their share), test_patients.
    """
    record, alpha = calibrated.conformal, calibrated.decision.alpha
    n_patients = record.patients()
    expected = realised_coverage(n_patients, alpha)
    measured = {
        name: _coverage(predicted, calibrated, calibrated.test_categories == name)
        for name in calibrated.categories
    }
    rows = []
    for label, name in enumerate(predicted.labels):
        for y in (1, 0):
            for c, category in enumerate(calibrated.categories):
                of_class = measured[category][y][label]
                rows.append(
                    (
                        name,
                        CLASSES[y],
                        category,
                        n_patients[label, y, c],
                        1 - alpha,
                        expected[0][label, y, c],
                        expected[1][label, y, c],
                        of_class.value,
                        *_ends(of_class),
                        of_class.n_patients,
                    )
                )
    columns = ["label", "class", "category", "patients", "promised", "expected_low", "expected_high"]
    table = pd.DataFrame(rows, columns=[*columns, "coverage", "low", "high", "test_patients"])
    return table.astype({"coverage": np.float64})


def risk_coverage_table(predicted: Predicted, calibrated: Calibrated) -> pd.DataFrame:
    """Errors of calling q >= 0.5 among the surest cells, at 21 shares kept.

    Columns: part, coverage, kept, errors, risk (errors / kept), generalised_risk (errors / all cells).
    """
    rows = [
        (part.name, *row)
        for part in labelled_parts(predicted, calibrated)
        for row in risk_coverage(part.truth, part.q)
    ]
    columns = ["part", "coverage", "kept", "errors", "risk", "generalised_risk"]
    return pd.DataFrame(rows, columns=columns)


# --- what they are made of --------------------------------------------------------------------------------------


def _coverage(predicted: Predicted, calibrated: Calibrated, rows: np.ndarray) -> list[list[Estimate]]:
    """For the classes 0 and 1 the coverage of each label among these test images."""
    scores = set_scores(predicted.test_truth[rows], calibrated.decisions[rows])
    return [
        [patient_coverage(column, predicted.test_patients[rows]) for column in hits.T]
        for hits in (scores.coverage_absent, scores.coverage_present)
    ]


def patient_coverage(hits: np.ndarray, patients: np.ndarray) -> Estimate:
    """Mean over patients of their own shares of hits (m,) of 1, 0 or NaN: a random image of a random patient.

    >>> print(patient_coverage(np.array([1, 1, 1, 0, 1]), np.array([1, 1, 1, 2, 2])))
    0.7500 [0.007, 0.999]
    """
    _, who = np.unique(patients, return_inverse=True)
    shares = patient_shares(hits[:, None], who)[:, 0] if len(hits) else np.zeros(0)
    estimate = proportion(shares, np.arange(len(shares)))
    return replace(estimate, n_images=int((~np.isnan(hits)).sum()))


def _ends(estimate: Estimate) -> tuple[float, float]:
    if estimate.low is None or estimate.high is None:
        return np.nan, np.nan
    return estimate.low, estimate.high
