"""The calibrator of a label: its numbers, what they make of an output, and how they are written and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from couplet.evaluation.calibration.beta import BetaMap, nine_digits
from couplet.evaluation.calibration.ensemble import stretched
from couplet.evaluation.calibration.inverse import LossPosterior
from couplet.project.errors import UserError
from couplet.project.files import RESTORE
from couplet.settings.schema.calibration import Method

NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class LabelCalibrator:
    """What calibrates one label, in the digits that are written: equal before writing and after reading.

    Attributes:
        label: its name.
        method: beta, inverse (the loss's alone) or none.
        beta: of method beta, else None.
        prior: the loss's inverse as a beta map; of method beta, else None.
        kappa: stretch of an ensemble's log odds, 1 to 2; 1: none.
        prevalence: share of positives among the known images it was fitted on; None without any.
        n_images, n_positive, n_patients, n_positive_patients: known, of those images.
        flags: `not checked` where one class was missing (beta is then the prior), `few` below 10 positive patients.
    """

    label: str
    method: Method
    beta: BetaMap | None
    prior: BetaMap | None
    kappa: float
    prevalence: float | None
    n_images: int
    n_positive: int
    n_patients: int
    n_positive_patients: int
    flags: tuple[str, ...]

    def logit(self, p: np.ndarray, posterior: LossPosterior) -> np.ndarray:
        """Calibrated log odds of one model's outputs p (any shape, in [0, 1]); without beta they may be infinite."""
        if self.beta is not None:
            return self.beta.logit(p)
        return np.asarray(logit(p if self.method == "none" else posterior(p, self._known_prevalence)))

    def ensemble_logit(self, p: np.ndarray, posterior: LossPosterior) -> np.ndarray:
        """Calibrated log odds of a mean over models, p of any shape: as `logit`, stretched by kappa."""
        return stretched(self.logit(p, posterior), self.kappa, self._known_prevalence)

    def probability(self, p: np.ndarray, posterior: LossPosterior) -> np.ndarray:
        """Calibrated probability of one model's outputs."""
        return np.asarray(p if self.method == "none" else expit(self.logit(p, posterior)))

    def ensemble_probability(self, p: np.ndarray, posterior: LossPosterior) -> np.ndarray:
        """Calibrated probability of a mean over models."""
        return np.asarray(p if self.method == "none" else expit(self.ensemble_logit(p, posterior)))

    @property
    def _known_prevalence(self) -> float:
        return float("nan") if self.prevalence is None else self.prevalence

    def as_dict(self) -> dict[str, Any]:
        """Its entry in calibration.json."""
        beta, prior = self.beta, self.prior
        return {
            "label": self.label,
            "method": self.method,
            **{name: getattr(beta, name) if beta else None for name in ("a", "b", "c")},
            "prior": [prior.a, prior.b, prior.c] if prior else None,
            "kappa": self.kappa,
            "prevalence": self.prevalence,
            "n_images": self.n_images,
            "n_positive": self.n_positive,
            "n_patients": self.n_patients,
            "n_positive_patients": self.n_positive_patients,
            "flags": list(self.flags),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any], origin: str) -> LabelCalibrator:
        """Read what `as_dict` gives.

        Raises:
            UserError: a key is missing or of another kind; `origin` is named.
        """
        try:
            a, b, c, prior = (content[name] for name in ("a", "b", "c", "prior"))
            return cls(
                label=str(content["label"]),
                method=_method(content["method"]),
                beta=None if content["method"] != "beta" else BetaMap(float(a), float(b), float(c)),
                prior=None if prior is None else BetaMap(*(float(value) for value in prior)),
                kappa=float(content["kappa"]),
                prevalence=None if content["prevalence"] is None else float(content["prevalence"]),
                n_images=int(content["n_images"]),
                n_positive=int(content["n_positive"]),
                n_patients=int(content["n_patients"]),
                n_positive_patients=int(content["n_positive_patients"]),
                flags=tuple(str(flag) for flag in content["flags"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            wrong = f"{type(error).__name__}: {error}"
            raise UserError(f"{origin} has a calibrator that is not ours ({wrong}): {RESTORE}") from None


def as_written(value: float | None) -> float | None:
    """A number in the digits that are written; NaN as None, which JSON can say."""
    return None if value is None or np.isnan(value) else nine_digits(value)


def _method(name: Any) -> Method:
    if name not in ("beta", "inverse", "none"):
        raise ValueError(f"method {name!r}")
    found: Method = name
    return found
