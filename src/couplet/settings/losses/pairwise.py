"""Pairwise ranking within an image: every positive above every negative, as in Kumar et al. (2017), smooth.

The paper's "smooth" is read as softplus. It fixes no level: a shift of all of an image's logits costs nothing, so what
it gives are ranks and no probabilities. Images without a positive, or without a negative, teach nothing.
"""

from __future__ import annotations

from typing import ClassVar

from couplet.settings.schema.section import Section


class Settings(Section):
    """Nothing."""

    PER_CELL: ClassVar[bool] = False
    """Whether each cell has a loss of its own, so that an output stands for a posterior and labels can be smoothed."""
