"""Every figure of the report with its caption: what is shown, from which images, and what to take away."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from couplet.evaluation.metrics import THRESHOLD
from couplet.evaluation.prevalence import prevalences
from couplet.evaluation.proportions import proportion
from couplet.images.loading.draws import image_keys
from couplet.images.loading.store import ImageStore
from couplet.reporting import analysis, figures, matrices, pictures, selection, style
from couplet.reporting.agreement import pairs
from couplet.reporting.picture import Picture
from couplet.reporting.selection import GRID_LABELS, ROW_LABELS, highest, selection_note
from couplet.reporting.tables import no_information
from couplet.reporting.trust import Trust, judge
from couplet.results.run import Run


@dataclass(frozen=True)
class Gallery:
    """The figures by name; None where this run has nothing to show, and the page says why."""

    training: Picture
    positives: Picture
    samples: list[Picture]
    agreement: Picture | None
    agreement_numbers: analysis.Agreement | None
    correlation: Picture
    spread: Picture | None
    couplings: Picture | None
    histograms: Picture
    trust: Trust

    @property
    def pictures(self) -> list[Picture]:
        """All of them, in the order of the paper's figures."""
        single = [
            self.training,
            self.positives,
            self.agreement,
            self.correlation,
            self.spread,
            self.couplings,
        ]
        drawn = [*single, self.histograms, *self.trust.pictures, *self.samples]
        return [picture for picture in drawn if picture is not None]


def draw(run: Run) -> Gallery:
    """Draw every figure of the report."""
    with style.house_style():
        several = run.has_test and len(run.folds) > 1
        numbers = analysis.fold_agreement(run.test_by_fold) if several else None
        return Gallery(
            training=_training(run),
            positives=_positives(run),
            samples=_samples(run),
            agreement=_agreement(run, numbers) if numbers else None,
            agreement_numbers=numbers,
            correlation=_correlation(run),
            spread=_spread(run) if several else None,
            couplings=_couplings(run),
            histograms=_histograms(run),
            trust=judge(run),
        )


def folds_word(run: Run) -> str:
    """What the ensemble is, in words."""
    return f"mean of {len(run.folds)} folds" if len(run.folds) > 1 else "one fold"


def _names(run: Run, shown: list[int]) -> list[str]:
    return [run.labels[i] for i in shown]


def _predicted(run: Run) -> tuple[np.ndarray, np.ndarray, str]:
    # The ensemble's probabilities where there is a test part, otherwise the out-of-fold ones.
    if run.has_test:
        words = f"{folds_word(run)} on the {len(run.test_rows):,} test images"
        return run.test_rows, run.test_probabilities, words
    words = f"out of fold, on {len(run.oof_rows):,} images (there is no test part)"
    return run.oof_rows, run.oof_probabilities, words


def _training(run: Run) -> Picture:
    weights = "averaged (EMA) weights" if run.params.ema.enabled else "weights after that epoch"
    refiner = run.params.refiner
    whose = "head and refiner" if refiner.trained else "head"
    if refiner.trained and refiner.lr_factor != 1:
        whose = f"head; the couplings’ is {refiner.lr_factor:g} times that"
    caption = (
        f"One point per epoch; the validation AUC is that of the {weights} without flip augmentation, on the fold’s "
        f"own images; the learning rate that of the epoch’s last step ({whose}). The ringed epoch is the one "
        "that was kept."
    )
    return Picture("training", figures.training_curves(run.folds), "Training curves", caption)


def _positives(run: Run) -> Picture:
    test, train = run.fold_of == "test", run.fold_of != "test"
    shown = selection.row_labels(run)
    counts = [(run.truth[rows] == 1).sum(axis=0)[shown] for rows in (train, test)]
    known = np.isfinite(run.truth).sum(axis=0)[shown]
    caption = "Share of the images whose label is known, in brackets."
    if run.has_test and not run.test_labelled:
        caption += " The test part’s labels are hidden and not counted."
    drawn = figures.positives_per_label(
        _names(run, shown), counts[0], counts[1] if run.test_labelled else None, known
    )
    caption += selection_note(run, shown)
    return Picture("fig2_positives", drawn, "Fig. 2 · Positives per label", caption)


def _samples(run: Run) -> list[Picture]:
    store = ImageStore(run.manifest.project.prepared)
    groups = run.patients[run.oof_rows]
    keys, label_keys = image_keys(run.manifest.ids[run.oof_rows]), image_keys(run.labels)
    side = 112 if store.channels == 3 or len(run.labels) > GRID_LABELS else 176
    samples = []
    for i in selection.grid_labels(run):
        rows = analysis.sample_rows(run.truth[run.oof_rows, i], groups, keys ^ label_keys[i], 6)
        if len(rows) == 0:
            continue
        captions = [f"p {run.oof_probabilities[row, i]:.2f}" for row in rows]
        tiles = list(store.read(run.manifest.positions[run.oof_rows[rows]]))
        n = int((run.truth[run.oof_rows, i] == 1).sum())
        slug = re.sub(r"[^a-z0-9]+", "_", run.labels[i].lower()).strip("_")
        picture = style.in_background(pictures.montage, tiles, captions, 3, side)
        samples.append(
            Picture(f"fig3_{i:02d}_{slug}"[:60], picture, run.labels[i], f"{len(rows)} of {n:,} positives", 1)
        )
    return samples


def _agreement(run: Run, numbers: analysis.Agreement) -> Picture:
    k, folds, shown = len(run.folds), [fold.fold for fold in run.folds], selection.row_labels(run)
    yes = (run.test_by_fold >= THRESHOLD).sum(axis=0)
    agreed = ((yes == 0) | (yes == k)).mean(axis=1)
    unanimous = proportion(agreed, run.patients[run.test_rows], cells=len(run.labels))
    caption = (
        f"Every fold’s model votes on every test image and label, at probability ≥ {THRESHOLD:g}. "
        f"{unanimous.text(3)} of the {int(numbers.votes.sum()):,} image × label cells are unanimous "
        f"({k}–0), the others split. Right, with 95% intervals by patient: above the diagonal the agreement of each "
        "pair of folds, below it Cohen’s κ, which takes out the agreement that chance alone gives."
        f"{selection_note(run, shown)}"
    )
    numbers = replace(numbers, per_label=numbers.per_label[shown])
    drawn = figures.fold_agreement(_names(run, shown), numbers, folds, pairs(run))
    return Picture("fig4_agreement", drawn, "Fig. 4 · Do the folds agree?", caption)


def _correlation(run: Run) -> Picture:
    rows, probabilities, words = _predicted(run)
    observed_rows = rows if np.isfinite(run.truth[rows]).any() else run.oof_rows
    where = (
        "the same images" if observed_rows is rows else "the cross-validation folds (test labels are hidden)"
    )
    shown = selection.row_labels(run)
    drawn = matrices.correlations(
        _names(run, shown),
        analysis.pearson(probabilities[:, shown]),
        analysis.pearson(run.truth[np.ix_(observed_rows, np.array(shown))]),
    )
    caption = (
        f"Pearson correlation of the probabilities ({words}) and of the labels of {where}. A pair that is "
        "much darker among the predictions than among the labels is one that the model cannot tell apart. "
        f"Dark grey: a label that never varies has no correlation.{selection_note(run, shown)}"
    )
    return Picture("fig5_correlation", drawn, "Fig. 5 · Which labels go together", caption)


def _spread(run: Run) -> Picture:
    spread = analysis.across_fold_std(run.test_by_fold)
    shown = highest(spread, ROW_LABELS)
    caption = (
        f"Standard deviation of the probability over the {len(run.folds)} folds (ddof 0), averaged over the "
        f"{len(run.test_rows):,} test images.{selection_note(run, shown, 'with the largest ones')}"
    )
    drawn = figures.fold_spread(_names(run, shown), spread[shown])
    return Picture("fig6_fold_std", drawn, "Fig. 6 · How far the folds are apart", caption)


def _couplings(run: Run) -> Picture | None:
    mean, folds = run.mean_couplings, run.couplings
    if mean is None or folds is None:
        return None
    shown = selection.coupled_labels(run)
    if run.fitted is not None:
        return _fitted_couplings(run, mean, shown)
    which = (
        "with the strongest couplings of any fold; plots/couplings.csv has these; the whole matrices are in "
        "data/models/fold_k/couplings.csv"
    )
    per_fold = [analysis.small_share(matrix) for matrix in folds]
    hidden = int(((np.abs(mean) < analysis.SMALL) & (np.abs(folds).max(axis=0) >= analysis.SMALL)).sum())
    caption = (
        f"A, {folds_word(run)}; rows are sources, columns targets. |A| < {analysis.SMALL:g} in "
        f"{analysis.small_share(mean):.1%} of the off-diagonal entries of the mean "
        f"({', '.join(f'{share:.1%}' for share in per_fold)} in the folds); {hidden:,} of those that are small in "
        "the mean are not small in a fold. Red raises the target’s logit, "
        f"blue lowers it; the scale is symmetric and ends at ±0.01 or later.{selection_note(run, shown, which)}"
    )
    drawn = matrices.coupling_matrix(_names(run, shown), mean[np.ix_(shown, shown)])
    return Picture("fig7_couplings", drawn, "Fig. 7 · Mean coupling matrix", caption)


def _fitted_couplings(run: Run, A: np.ndarray, shown: list[int]) -> Picture:
    which = "with the strongest couplings; the whole matrix is in data/predictions/ensemble/couplings.csv"
    zeros = float((analysis.off_diagonal(A) == 0).mean()) if len(A) > 1 else 1.0
    caption = (
        "A, fitted out of fold on the labels of all folds; rows are sources, columns targets. "
        f"{zeros:.1%} of the off-diagonal entries are exactly 0. An entry is the change of the target’s log odds when "
        "the source is present, given what the picture says about the target: red, they go together beyond what is "
        f"seen; blue, they exclude each other.{selection_note(run, shown, which)}"
    )
    drawn = matrices.coupling_matrix(_names(run, shown), A[np.ix_(shown, shown)])
    return Picture("fig7_couplings", drawn, "Fig. 7 · Couplings fitted out of fold", caption)


def _histograms(run: Run) -> Picture:
    rows, probabilities, words = _predicted(run)
    shown = selection.grid_labels(run)
    prevalence = prevalences(run.truth[run.oof_rows][:, shown])
    idle = no_information(run, prevalence)
    truth = run.truth[rows]
    drawn = figures.probability_histograms(
        _names(run, shown),
        probabilities[:, shown],
        truth[:, shown],
        prevalence,
        idle,
    )
    groups = (
        "Blue: images with the finding; grey: all others; each group’s shares on the panel’s own scale."
        if np.isfinite(truth).any()
        else "Grey: all images, whose labels are hidden."
    )
    marks = "Black triangle: prevalence."
    if np.isfinite(idle).any():
        marks += " Orange triangle: what this loss predicts for an image that says nothing."
    caption = f"Probabilities, {words}. {groups} {marks}{selection_note(run, shown)}"
    return Picture("fig8_probabilities", drawn, "Fig. 8 · Predicted probabilities", caption)
