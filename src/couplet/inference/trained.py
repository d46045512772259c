"""A trained ensemble, ready for images that no stage knows: networks, pixels' way, calibration and sets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from couplet.evaluation.couplings.fit import LabelCouplings, filled
from couplet.evaluation.sets import ConformalRecord, prediction_sets
from couplet.inference.calibrate import of_ensemble
from couplet.inference.engine import Engine
from couplet.inference.ensemble import mean_over_folds
from couplet.results.bundle import INTENDED_USE, own_version
from couplet.results.calibrated import ALL_IMAGES, UNKNOWN
from couplet.results.calibration_record import CalibrationRecord
from couplet.results.predictions import as_read_back
from couplet.results.spellings import common_word, view_kind
from couplet.settings.schema.image import Codec, Rendering


@dataclass(frozen=True)
class ImageWay:
    """How a file becomes the pixels that the model knows.

    Attributes:
        store_size: side S that pictures are squashed to.
        channels: C, 1 or 3.
        codec: what the store's pixels went through.
        rendering: how grey values of medical formats become 8 bits.
        body_parts: that a file may name; None: any.
        lateral: whether the model has seen lateral views, or nobody knows which it has seen.
        sources: the data sets that it was trained on, as `data.source` names them.
    """

    store_size: int
    channels: int
    codec: Codec
    rendering: Rendering = "voi"
    body_parts: tuple[str, ...] | None = None
    lateral: bool = True
    sources: tuple[str, ...] = ()


def lateral_seen(views: Iterable[str]) -> bool:
    """Whether a lateral view is among those that a model has seen, or nothing is known of them.

    >>> [lateral_seen(views) for views in (["AP", "LL"], ["PA", "L"], ["AP", ""], [""], ["UNK"], [])]
    [True, True, False, True, True, True]
    """
    known = {view for view in views if common_word("view", view)}
    return not known or any(
        view_kind(view) == "lateral" or view.casefold().startswith("lateral") for view in known
    )


@dataclass(frozen=True)
class Numbers:
    """What the ensemble says of n images with L labels, in the digits that are written.

    Attributes:
        by_fold: (K, n, L) each fold's probability, refined where couplings were fitted after training.
        raw: (n, L) their mean.
        q: (n, L) calibrated; None where the ensemble is not.
        decision: (n, L) int8, 0 absent, 1 present, 2 both, 3 neither; None without out-of-fold scores.
    """

    by_fold: np.ndarray
    raw: np.ndarray
    q: np.ndarray | None
    decision: np.ndarray | None


@dataclass(frozen=True)
class Ensemble:
    """K trained folds and all that is made of their outputs. Made by `load_models`; a bundle's loader makes it alike.

    Attributes:
        labels: L names.
        folds: K numbers.
        engine: what runs the networks.
        image: how files become pixels.
        batch_size: images per step; another one changes the last digits.
        calibration: None where nothing is calibrated.
        conformal: None without scores for sets.
        digest: 16 hex digits of the weights, of the couplings and of the calibration.
        couplings: fitted after training, by which the networks' outputs are refined; None: networks have their own, or
            none.
        known: (L,) of 1, 0 or NaN, labels that are known of all images (`told`); None: of none.
    """

    labels: list[str]
    folds: list[int]
    engine: Engine
    image: ImageWay
    batch_size: int
    calibration: CalibrationRecord | None
    conformal: ConformalRecord | None
    digest: str
    couplings: LabelCouplings | None = None
    known: np.ndarray | None = None

    @property
    def thresholds(self) -> list[float | None]:
        """L thresholds on q by the rule of `decision.rule`; None where there is none."""
        if self.calibration is None:
            return [None] * len(self.labels)
        return [point.value for point in self.calibration.points[self.calibration.decision.rule]]

    @property
    def known_labels(self) -> dict[str, int]:
        """What is known of all images, by label."""
        if self.known is None:
            return {}
        return {name: int(y) for name, y in zip(self.labels, self.known, strict=True) if not np.isnan(y)}

    @property
    def views_matter(self) -> bool:
        """Whether sets keep their promise within views: an image of an unknown one gets whole sets."""
        return self.conformal is not None and list(self.conformal.categories) != [ALL_IMAGES]

    def category(self, view_position: str, view: str) -> str:
        """The category of an image for its sets, by what is known of its view: the same word, else one for the same.

        Args:
            view_position: as the data set writes views (AP, PA), or empty.
            view: frontal, lateral or empty.
        """
        if self.conformal is None or not self.views_matter:
            return ALL_IMAGES
        names = [name for name in (view_position, view) if name]
        for same in (str.casefold, partial(common_word, "view")):
            known = {same(str(name)): str(name) for name in reversed(self.conformal.categories)}
            for name in names:
                if same(name) in known:
                    return known[same(name)]
        return UNKNOWN

    def predict(self, images: np.ndarray, categories: np.ndarray) -> Numbers:
        """The numbers of stored images uint8 (n, C, S, S) of these categories (n,)."""
        by_fold = self.engine.by_fold(images)
        if self.couplings is not None:  # from here on everything is of the refined probabilities
            by_fold = as_read_back(self.couplings.refined(by_fold, self.known))
        raw = as_read_back(mean_over_folds(list(by_fold)))
        q = decision = None
        if np.isfinite(by_fold).all():
            if self.calibration is not None:
                q = of_ensemble(self.calibration.calibrators, self.calibration.posterior)(raw)
                q = q if self.known is None else filled(self.known, q)
            if self.conformal is not None and self.calibration is not None:
                alpha = self.calibration.decision.alpha
                decision = prediction_sets(self.conformal, by_fold, categories, alpha).decision
        return Numbers(by_fold, raw, q, decision)


def head_of(ensemble: Ensemble, by: str) -> dict[str, Any]:
    """What is true of all rows of a file of predictions."""
    calibration = ensemble.calibration
    return {
        "couplet": own_version(),
        "model": ensemble.digest,
        "labels": ensemble.labels,
        "folds": ensemble.folds,
        "calibrated": calibration is not None,
        "threshold_rule": None if calibration is None else calibration.decision.rule,
        "alpha": None if calibration is None else calibration.decision.alpha,
        "decisions": {"0": "absent", "1": "present", "2": "both", "3": "neither"},
        "by": by,
        "known": ensemble.known_labels,
        "intended_use": INTENDED_USE,
    }
