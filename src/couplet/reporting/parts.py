"""The parts of a run that its sections judge, out of fold and test: their rows, and where their numbers come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from couplet.evaluation.estimate import Estimate, Source, few, in_order, source_of
from couplet.evaluation.ordering import codes, n_different
from couplet.reporting.selection import ROW_LABELS, grid_labels
from couplet.results.run import Run


@dataclass(frozen=True)
class Part:
    """n images of which the truth is known or hidden, and what is predicted for them.

    Attributes:
        name: "oof" or "test".
        title: as a heading.
        words: in a sentence: whose predictions, of how many images and patients.
        rows: (n,) positions in the manifest.
        truth: (n, L) of 1, 0 or NaN.
        raw: (n, L) outputs before calibration.
        q: (n, L) after it; out of fold cross-fitted.
        patients: (n,) codes from 0.
        raw_source, q_source: files of `raw` and `q`.
        raw_flags, q_flags: what must be known before a number of `raw` or `q` is quoted.
    """

    name: str
    title: str
    words: str
    rows: np.ndarray
    truth: np.ndarray
    raw: np.ndarray
    q: np.ndarray
    patients: np.ndarray
    raw_source: tuple[Source, ...]
    q_source: tuple[Source, ...]
    raw_flags: tuple[str, ...]
    q_flags: tuple[str, ...]

    @property
    def labelled(self) -> bool:
        """Whether any truth is known."""
        return bool(np.isfinite(self.truth).any())

    @property
    def sentence(self) -> str:
        """`words` as they begin a sentence."""
        return self.words[0].upper() + self.words[1:]

    def of(self, labels: list[int]) -> Part:
        """The same of these labels only."""
        return replace(self, truth=self.truth[:, labels], raw=self.raw[:, labels], q=self.q[:, labels])


def positive_patients(truth: np.ndarray, patients: np.ndarray) -> list[int]:
    """Of each of L labels the patients with a positive image: truth (n, L), patients (n,).

    >>> positive_patients(np.array([[1, 0], [1, np.nan], [0, 1]]), np.array([7, 7, 8]))
    [1, 1]
    """
    return [n_different(patients[column == 1]) for column in truth.T]


def of_label(estimate: Estimate, n_positive: int) -> Estimate:
    """The estimate, said to be of a label with so many patients with a positive image in the part."""
    return replace(estimate, n_positive_patients=n_positive).flagged(*few(n_positive))


def parts_of(run: Run) -> list[Part]:
    """The images out of fold, and the test part where there is one."""
    project, calibrated = run.manifest.project, run.calibrated
    leaks = run.leaks

    def source(*paths: Path) -> tuple[Source, ...]:
        return tuple(source_of(path, project.root) for path in paths)

    raw_flags = leaks.flags_of("oof")
    if run.fitted is not None:  # by couplings of the other folds
        raw_flags = in_order((*raw_flags, "cross-fitted"))
    fitted = run.params.calibration.method == "beta"
    found = [
        Part(
            name="oof",
            title="Out of fold",
            words=f"out of fold, {_counted(run, run.oof_rows)}",
            rows=run.oof_rows,
            truth=run.truth[run.oof_rows].astype(np.float64),
            raw=run.oof_probabilities,
            q=calibrated.oof_q,
            patients=codes(run.patients[run.oof_rows]),
            raw_source=source(*run.oof_files),
            q_source=source(project.ensemble / "oof_calibrated.csv"),
            raw_flags=raw_flags,
            q_flags=in_order((*raw_flags, "cross-fitted")) if fitted else raw_flags,
        )
    ]
    if run.has_test:
        folds = "mean of the folds’ models" if len(run.folds) > 1 else "the one model"
        found.append(
            Part(
                name="test",
                title="Test part",
                words=f"{folds} on the test part, {_counted(run, run.test_rows)}",
                rows=run.test_rows,
                truth=run.truth[run.test_rows].astype(np.float64),
                raw=run.test_probabilities,
                q=calibrated.test_q,
                patients=codes(run.patients[run.test_rows]),
                raw_source=source(project.ensemble / "test.csv"),
                q_source=source(project.ensemble / "calibrated.csv"),
                raw_flags=leaks.flags_of("test"),
                q_flags=leaks.flags_of("test"),
            )
        )
    return found


def labels_shown(run: Run) -> list[int]:
    """Labels of the tables on the page: all of few, the most frequent ones of many."""
    return list(range(len(run.labels))) if len(run.labels) <= ROW_LABELS else grid_labels(run)


def _counted(run: Run, rows: np.ndarray) -> str:
    return f"{len(rows):,} images of {len(np.unique(run.patients[rows])):,} patients"
