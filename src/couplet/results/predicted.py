"""What the folds' models said: the rows out of fold, and the test part by each model and by their mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from couplet.results.manifest import Manifest


@dataclass(frozen=True)
class Predicted:
    """Uncalibrated probabilities. N images in the manifest, n out of fold, m in the test part, K folds, L labels.

    Attributes:
        manifest: all images.
        fold_of: (N,) text: "0" ... "test", or "train" with split.holdout.
        oof_rows: (n,) positions in the manifest, ascending.
        oof: (n, L), each image by the one model that was not trained on it.
        test_rows: (m,) positions in the manifest, ascending.
        test_by_fold: (K, m, L).
        test: (m, L), the mean over the folds.
    """

    manifest: Manifest
    fold_of: np.ndarray
    oof_rows: np.ndarray
    oof: np.ndarray
    test_rows: np.ndarray
    test_by_fold: np.ndarray
    test: np.ndarray

    @property
    def labels(self) -> list[str]:
        """Names of the L labels."""
        return self.manifest.labels

    @property
    def oof_truth(self) -> np.ndarray:
        """(n, L) of 1, 0 or NaN."""
        return self.manifest.truth[self.oof_rows]

    @property
    def test_truth(self) -> np.ndarray:
        """(m, L) of 1, 0 or NaN; all NaN where a competition hides the labels."""
        return self.manifest.truth[self.test_rows]

    @property
    def oof_folds(self) -> np.ndarray:
        """(n,) the fold that each image was held out of."""
        return self.fold_of[self.oof_rows].astype(np.int64)

    @property
    def oof_patients(self) -> np.ndarray:
        """(n,) patient of each image out of fold, as codes from 0 in the sorted order of their names."""
        return np.unique(self.manifest.patients[self.oof_rows], return_inverse=True)[1]

    @property
    def test_patients(self) -> np.ndarray:
        """(m,) patient of each test image, as codes from 0 in the sorted order of their names."""
        return np.unique(self.manifest.patients[self.test_rows], return_inverse=True)[1]

    @property
    def test_labelled(self) -> bool:
        """Whether any label of the test part is known."""
        return bool(np.isfinite(self.test_truth).any())
