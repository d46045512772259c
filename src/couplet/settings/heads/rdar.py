"""Recurrent attention to regions (RDAR, Wang et al., ICCV 2017): an LSTM moves a window over the map.

Its loss is not the paper's, which is undefined for an image without a positive: `loss` scores the logits. The paper's
sizes are width 4096 and 14 samples a side, 562 million parameters on 2048 channels.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from couplet.settings.schema.section import DIFFERS, OWN_PAPER, NotNegative, Section


class Settings(Section):
    """How many windows, how finely they are sampled, and how strongly they are held in place."""

    READS_DROPOUT: ClassVar[bool] = False
    """Whether the head reads model.dropout."""

    dim: int = Field(
        512, ge=1, description="width D of the LSTM; the paper's: 4096", json_schema_extra=DIFFERS
    )
    samples: int = Field(
        7,
        ge=2,
        description="samples of a window along either side; the paper's: 14",
        json_schema_extra=DIFFERS,
    )
    windows: int = Field(
        5,
        ge=1,
        le=5,
        description="windows after the whole map, each with an anchor",
        json_schema_extra=OWN_PAPER,
    )
    penalty: NotNegative = Field(
        0.1, description="weight of the windows' size and place in the loss", json_schema_extra=OWN_PAPER
    )
