"""Macro-AUC, its intervals and its bootstrap, against loops over scikit-learn's roc_auc_score.

All run on one core and on the same arrays; seconds are CPU seconds. The bootstrap's resamples are drawn once, and
both sides get the same draws: the scikit-learn loop takes the drawn rows, ours counts them and never moves a score.
The jackknife leaves out every patient; the scikit-learn loop does so by removing the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.harness import Claim, Samples, Section, Size, Table, at_least, at_most, interleave, ratio
from benchmarks.resampling import bootstrap_macro_auc, resample_weights
from couplet.evaluation.jackknife import auc_estimates
from couplet.evaluation.leave_one_out import leave_one_out_auc
from couplet.evaluation.metrics import macro_auc

# Shares of positives of Grand X-Ray SLAM, division B, from the commonest finding to the rarest.
PREVALENCES = np.array(
    [0.452, 0.356, 0.346, 0.345, 0.323, 0.319, 0.317, 0.273, 0.244, 0.134, 0.132, 0.114, 0.080, 0.065]
)
DECIMALS = 4  # of the probabilities: 9,000 different ones in 48,000 rows
RESAMPLES = 1_000
IMAGES = 4  # of a patient


@dataclass(frozen=True)
class Scale:
    rows: int
    ours: int  # resamples timed with ours
    loop: int  # resamples timed with the scikit-learn loop, and patients left out by it
    promised: float | None = None  # of the macro-AUC


SCALES = {
    "full": [Scale(48_000, RESAMPLES, 4, promised=8), Scale(400_000, 100, 2)],
    "tiny": [Scale(1_200, 200, 3, promised=8)],
}


def run(size: Size) -> Section:
    rounds = 5 if size == "full" else 1
    section = Section("Metrics: macro-AUC, intervals and bootstrap")
    for scale in SCALES[size]:
        y_true, y_score = predictions(scale.rows)
        for table, claims in (
            compare_macro_auc(y_true, y_score, rounds, scale.promised),
            compare_intervals(y_true, y_score, rounds, scale),
        ):
            section.tables.append(table)
            section.claims.extend(claims)
    table, claims = compare_left_out(*predictions(1_200))
    section.tables.append(table)
    section.claims.extend(claims)
    section.notes.extend(
        [
            "Predictions are synthetic: 14 labels with the prevalences of Grand X-Ray SLAM's division B, "
            f"macro-AUC about 0.8, probabilities of {DECIMALS} decimals (many ties), no unknown labels.",
            "Promised are ratios to the loop over labels. One call of roc_auc_score for all labels checks its "
            "input once and is faster than the loop, as a bootstrap by it would be; but it refuses unknown labels "
            "and gives NaN for all where one label has a single class.",
            f"The scikit-learn loop was timed on the resamples named in the table and scaled to {RESAMPLES:,}, and on "
            "the patients named and scaled to all; its time is proportional to their number.",
            f"Patients have {IMAGES} images. The jackknife leaves out each of them, exactly, in one pass, and gives "
            "the 14 labels' intervals and the macro-AUC's. It is compared with removing each patient's rows, which is "
            f"its definition, and with {RESAMPLES:,} resamples of patients, which is how one would get them otherwise.",
        ]
    )
    return section


def predictions(rows: int, unknown: float = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(rows, 14) labels, of which a share is NaN, and probabilities with ties."""
    rng = np.random.default_rng(seed)
    y_true = (rng.random((rows, len(PREVALENCES))) < PREVALENCES).astype(float)
    logits = np.log(PREVALENCES / (1 - PREVALENCES)) + 1.2 * y_true + rng.normal(size=y_true.shape)
    y_true[rng.random(y_true.shape) < unknown] = np.nan
    return y_true, (1 / (1 + np.exp(-logits))).round(DECIMALS)


def scikit_learn_loop(y_true: np.ndarray, y_score: np.ndarray) -> float:
    aucs = []
    for truth, score in zip(y_true.T, y_score.T, strict=True):
        known = ~np.isnan(truth)
        if not known.all():
            truth, score = truth[known], score[known]
        aucs.append(roc_auc_score(truth, score))
    return float(np.mean(aucs))


def scikit_learn_bootstrap(y_true: np.ndarray, y_score: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return np.array([scikit_learn_loop(y_true[rows], y_score[rows]) for rows in draws])


def our_bootstrap(y_true: np.ndarray, y_score: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return bootstrap_macro_auc(y_true, y_score, resample_weights(draws, len(y_true)))


def compare_macro_auc(
    y_true: np.ndarray, y_score: np.ndarray, rounds: int, promised: float | None
) -> tuple[Table, list[Claim]]:
    shape = "{:,} x {}".format(*y_true.shape)
    samples = interleave(
        {
            "roc_auc_score, label by label": lambda: scikit_learn_loop(y_true, y_score),
            "roc_auc_score, one call": lambda: roc_auc_score(y_true, y_score, average="macro"),
            "couplet": lambda: macro_auc(y_true, y_score)[0],
        },
        rounds,
    )
    loop, ours = samples["roc_auc_score, label by label"], samples["couplet"]
    table = Table(
        f"Macro-AUC of {shape}",
        ["by", "CPU ms", "couplet is faster by", "value", "difference from couplet"],
        [
            [name, 1e3 * s.median("cpu"), ratio(s, ours, "cpu"), s.result, abs(s.result - ours.result)]
            for name, s in samples.items()
        ],
    )
    claims = [
        at_most(f"macro-AUC of {shape}: difference from scikit-learn", abs(loop.result - ours.result), 1e-12)
    ]
    if promised:
        speed = ratio(loop, ours, "cpu")
        claims.insert(0, at_least(f"macro-AUC of {shape}, against the scikit-learn loop", speed, promised))
    return table, claims


def scikit_learn_left_out(
    y_true: np.ndarray, y_score: np.ndarray, patients: np.ndarray, left_out: np.ndarray
) -> np.ndarray:
    """Macro-AUC without each of the patients in `left_out`."""
    return np.array(
        [scikit_learn_loop(y_true[kept], y_score[kept]) for kept in (patients != one for one in left_out)]
    )


def compare_intervals(
    y_true: np.ndarray, y_score: np.ndarray, rounds: int, scale: Scale
) -> tuple[Table, list[Claim]]:
    shape = "{:,} x {}".format(*y_true.shape)
    patients = np.arange(scale.rows) // IMAGES
    n_patients = int(patients[-1]) + 1
    draws = np.random.default_rng(1).integers(0, n_patients, (scale.ours, n_patients))
    # A resample of patients as rows, for the loop.
    drawn = (IMAGES * draws[: scale.loop, :, None] + np.arange(IMAGES)).reshape(scale.loop, -1)
    left_out = np.linspace(0, n_patients - 1, scale.loop).astype(int)
    samples = interleave(
        {
            "loop": lambda: scikit_learn_bootstrap(y_true, y_score, drawn),
            "ours": lambda: bootstrap_macro_auc(
                y_true, y_score, resample_weights(draws, scale.rows, patients)
            ),
            "removed": lambda: scikit_learn_left_out(y_true, y_score, patients, left_out),
            "jackknife": lambda: auc_estimates(y_true, y_score, patients),
        },
        rounds,
    )
    loop = scaled(samples["loop"], RESAMPLES / scale.loop)
    ours = scaled(samples["ours"], RESAMPLES / scale.ours)
    removed, jackknife = scaled(samples["removed"], n_patients / scale.loop), samples["jackknife"]
    difference = float(np.abs(loop.result - ours.result[: scale.loop]).max())
    speed = {name: ratio(loop, s, "cpu") for name, s in (("ours", ours), ("jackknife", jackknife))}
    by_removal = ratio(removed, jackknife, "cpu")
    table = Table(
        f"Intervals of {shape}, {n_patients:,} patients",
        ["by", "timed", "CPU s", "couplet's jackknife is faster by", "standard error of the macro-AUC"],
        [
            [
                f"{RESAMPLES:,} resamples, scikit-learn loop",
                scale.loop,
                loop.median("cpu"),
                speed["jackknife"],
                "as below: the same resamples",
            ],
            [
                f"{RESAMPLES:,} resamples, couplet",
                scale.ours,
                ours.median("cpu"),
                ratio(ours, jackknife, "cpu"),
                float(ours.result.std(ddof=1)),
            ],
            [
                "each patient removed, scikit-learn loop",
                scale.loop,
                removed.median("cpu"),
                by_removal,
                "as below: the same jackknife",
            ],
            ["jackknife, couplet", "all", jackknife.median("cpu"), 1, jackknife.result.macro_error],
        ],
    )
    return table, [
        at_least(f"1,000 bootstrap resamples of {shape}, against the scikit-learn loop", speed["ours"], 10),
        at_most(
            f"bootstrap of {shape}: difference from scikit-learn on the same resamples", difference, 1e-9
        ),
        at_least(
            f"jackknife intervals of {shape}, against 1,000 resamples by the scikit-learn loop",
            speed["jackknife"],
            100,
        ),
        at_least(
            f"jackknife intervals of {shape}, against removing each patient by the scikit-learn loop",
            by_removal,
            500,
        ),
    ]


def compare_left_out(y_true: np.ndarray, y_score: np.ndarray) -> tuple[Table, list[Claim]]:
    """The macro-AUC without each patient."""
    patients = np.arange(len(y_true)) // IMAGES
    theirs = scikit_learn_left_out(y_true, y_score, patients, np.unique(patients))
    ours = np.mean([label.without for label in leave_one_out_auc(y_true, y_score, patients)], axis=0)
    n, difference = len(theirs), float(np.abs(ours - theirs).max())
    errors = [float(np.sqrt((n - 1) / n * ((one - one.mean()) ** 2).sum())) for one in (theirs, ours)]
    shape = "{:,} x {}".format(*y_true.shape)
    table = Table(
        f"Leaving out each of {n:,} patients of {shape}",
        ["by", "standard error of the macro-AUC"],
        [["removing their rows, scikit-learn loop", errors[0]], ["couplet", errors[1]]],
    )
    what = f"leaving out each patient of {shape}: largest difference from scikit-learn"
    return table, [at_most(what, difference, 1e-12)]


def scaled(samples: Samples, factor: float) -> Samples:
    """The seconds of `factor` times the work."""
    return Samples([s * factor for s in samples.wall], [s * factor for s in samples.cpu], samples.result)
