"""Who is X-rayed and what they have: patients, studies, views and labels, like division B's.

Labels follow a Gaussian copula: every finding has a latent severity made of shared causes (a failing heart, an
infection, an injury, a growth, surgery), a part that stays with the patient and a part of the study alone. A finding
is present where its latent value exceeds the quantile of its prevalence, so prevalences hold by construction and the
shared causes make findings come together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

from couplet.datasets.grand_xray_slam import LABELS
from couplet.phantom.streams import Stream

CAUSES = ("heart", "infection", "injury", "growth", "surgery")

# Share of division B's 108,494 training images with the label (approximate counts), and how strongly each cause
# drives it. `Lung Opacity` and `No Finding` follow from the others, below.
PREVALENCE = {
    "Atelectasis": 0.356,
    "Cardiomegaly": 0.323,
    "Consolidation": 0.273,
    "Edema": 0.244,
    "Enlarged Cardiomediastinum": 0.346,
    "Fracture": 0.134,
    "Lung Lesion": 0.114,
    "Lung Opacity": 0.452,
    "No Finding": 0.317,
    "Pleural Effusion": 0.319,
    "Pleural Other": 0.065,
    "Pneumonia": 0.132,
    "Pneumothorax": 0.080,
    "Support Devices": 0.345,
}
LOADINGS = {
    "Atelectasis": (0.25, 0.10, 0.00, 0.05, 0.60),
    "Cardiomegaly": (0.80, -0.10, -0.10, 0.00, 0.05),
    "Consolidation": (0.10, 0.80, 0.00, 0.10, 0.15),
    "Edema": (0.80, 0.10, -0.10, -0.10, 0.05),
    "Enlarged Cardiomediastinum": (0.60, 0.00, 0.15, 0.25, 0.25),
    "Fracture": (-0.15, -0.10, 0.85, 0.05, 0.00),
    "Lung Lesion": (-0.15, 0.05, -0.05, 0.85, 0.00),
    "Pleural Effusion": (0.55, 0.15, 0.00, 0.15, 0.50),
    "Pleural Other": (-0.05, 0.05, 0.25, 0.75, 0.15),
    "Pneumonia": (0.00, 0.90, -0.05, 0.00, 0.00),
    "Pneumothorax": (-0.15, -0.10, 0.60, 0.05, 0.45),
    "Support Devices": (0.30, 0.10, 0.10, 0.00, 0.65),
}
# An opacity is reported with most of the findings that are opacities, more often the more of them there are.
OPACITIES = ("Atelectasis", "Consolidation", "Edema", "Lung Lesion", "Pneumonia")
OPACITY_SHARE = (0.16, 0.60, 0.86, 0.97)  # in sick studies with 0, 1, 2, 3 or more of them

SICK = 0.73  # share of studies in which something may be found; the rest are healthy
LASTING = 0.6  # share of a latent value's variance that stays with the patient from study to study
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Study:
    """One visit: its views share its labels. `number` rises within a patient, with gaps."""

    number: int
    positives: frozenset[str]
    views: tuple[str, ...]


@dataclass(frozen=True)
class Patient:
    """One person; age in years. `sex_known` and `age_known`: whether the table says so."""

    number: int
    female: bool
    age: float
    sex_known: bool
    age_known: bool
    test: bool
    studies: tuple[Study, ...]


def draw_cohort(
    n_patients: int,
    seed: int,
    test_share: float = 0.18,
    prevalence: Mapping[str, float] | None = None,
    first_patient: int = 0,
) -> list[Patient]:
    """Patients with rising, gappy numbers. Each depends on (seed, position) only, its number on those before it.

    Args:
        n_patients: how many.
        seed: of everything about them.
        test_share: about this share of them is the test part.
        prevalence: of findings that are to have another share of images than PREVALENCE; who has which of the others
            stays as it is, but for `Lung Opacity` and `No Finding`, which follow from all.
        first_patient: numbers are above it.

    >>> [patient.number for patient in draw_cohort(3, seed=42)] == [p.number for p in draw_cohort(9, seed=42)][:3]
    True
    """
    patients, number, shares = [], first_patient, PREVALENCE | dict(prevalence or {})
    for position in range(n_patients):
        stream = Stream(seed, 0, position)
        u = stream.uniforms(8).tolist()
        number += 1 + int(u[0] * u[0] * 12)
        studies = _draw_studies(stream, _pick(u[1], (0.62, 0.24, 0.09, 0.05)), u[3], shares)
        patients.append(
            Patient(
                number=number,
                female=u[2] < 0.47,
                age=float(int(19 + 72 * math.sqrt(u[3]))),
                sex_known=u[4] > 0.01,
                age_known=u[5] > 0.02,
                test=u[6] < test_share,
                studies=studies,
            )
        )
    return patients


def _pick(u: float, shares: tuple[float, ...]) -> int:
    """1 + index of the share that u falls into."""
    for index, share in enumerate(shares):
        if u < share:
            return index + 1
        u -= share
    return len(shares)


def _draw_studies(
    stream: Stream, count: int, age_rank: float, shares: Mapping[str, float]
) -> tuple[Study, ...]:
    n = len(LABELS) + len(CAUSES) + 1
    lasting = _normal(stream, n)
    studies, number = [], 0
    for _ in range(count):
        now = _normal(stream, n)
        u = stream.uniforms(6).tolist()
        latent = [
            math.sqrt(LASTING) * a + math.sqrt(1.0 - LASTING) * b for a, b in zip(lasting, now, strict=True)
        ]
        health = 0.9 * latent[0] + math.sqrt(1.0 - 0.81) * _NORMAL.inv_cdf(0.001 + 0.998 * age_rank)
        causes, own = latent[1 : 1 + len(CAUSES)], dict(zip(LABELS, latent[1 + len(CAUSES) :], strict=True))
        positives = _findings(health, causes, own, shares)
        number += 1 + int(u[0] * 1.4)
        studies.append(Study(number, positives, _views(u[1:], positives)))
    return tuple(studies)


def _normal(stream: Stream, n: int) -> list[float]:
    return [_NORMAL.inv_cdf(min(max(u, 1e-9), 1.0 - 1e-9)) for u in stream.uniforms(n).tolist()]


def _findings(
    health: float, causes: list[float], own: dict[str, float], shares: Mapping[str, float]
) -> frozenset[str]:
    sick = _NORMAL.cdf(health) < SICK
    positives = set()
    for label, loadings in LOADINGS.items():
        shared = sum(a * b for a, b in zip(loadings, causes, strict=True))
        level = shared + math.sqrt(1.0 - sum(a * a for a in loadings)) * own[label]
        if label == "Support Devices":  # the sick have more of them, the healthy are not without
            share = 0.415 if sick else 0.155
        elif sick:
            share = shares[label] / SICK
        else:
            continue
        if _NORMAL.cdf(level) > 1.0 - share:
            positives.add(label)
    count = min(sum(label in positives for label in OPACITIES), len(OPACITY_SHARE) - 1)
    if sick and _NORMAL.cdf(own["Lung Opacity"]) < OPACITY_SHARE[count]:
        positives.add("Lung Opacity")
    if not positives - {"Support Devices"}:
        positives.add("No Finding")
    return frozenset(positives)


def _views(u: list[float], positives: frozenset[str]) -> tuple[str, ...]:
    """Portable AP films of the sick; PA, often with a lateral, of those who can stand; sometimes a repeat."""
    burden = len(positives - {"No Finding"}) + 2 * ("Support Devices" in positives)
    if u[0] < min(0.15 + 0.11 * burden, 0.85):
        return ("AP",) * _pick(u[1], (0.62, 0.28, 0.10))
    views = ("PA", "Lateral") if u[2] < 0.55 else ("PA",)
    return (*views, "PA") if u[3] < 0.10 else views
