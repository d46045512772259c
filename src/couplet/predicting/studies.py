"""Rows of studies out of rows of images: labels belong to a study, and so may a prediction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from couplet.predicting.rows import Row
from couplet.results.predictions import as_read_back


def study_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """One row per study, in the order of their first images: means over its images that have numbers.

    An image without a study (any that is not DICOM) and one without numbers is a row of its own. Prediction sets are
    promised for images, not for means of them: a study has none.
    """
    studies: dict[str, list[Row]] = {}
    for row in rows:
        named = row.study if row.study and row.raw is not None else f"\n{row.id}\n{len(studies)}"
        kept = Row(row.study or row.id, row.status, row.reason, row.facts, row.digest, row.study)
        # Pixels, maps and sets are let go: only numbers wait for the study's other images.
        numbers = Row(
            kept.id,
            row.status,
            row.reason,
            row.facts,
            row.digest,
            row.study,
            None,
            "",
            row.by_fold,
            row.raw,
            row.q,
        )
        studies.setdefault(named, []).append(numbers)
    for images in studies.values():
        first = images[0]
        if first.raw is None:
            yield first
            continue
        yield Row(
            id=first.id,
            status="ok" if any(image.status == "ok" for image in images) else first.status,
            reason="" if any(image.status == "ok" for image in images) else first.reason,
            facts={"n_images": len(images)},
            digest=first.digest,
            study=first.study,
            by_fold=_mean([image.by_fold for image in images]),
            raw=_mean([image.raw for image in images]),
            q=None if first.q is None else _mean([image.q for image in images]),
        )


def _mean(values: list[np.ndarray | None]) -> np.ndarray:
    return as_read_back(np.mean([value for value in values if value is not None], axis=0))
