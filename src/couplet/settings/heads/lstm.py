"""An LSTM over the labels, each told the ones before it: Yao et al. (2017).

While training it reads the true labels before, in prediction its own probabilities of them. The labels' order is the
data set's; neither is stated in the abstract, which is all that we could read.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from couplet.settings.schema.section import OWN_PAPER, Section, Width


class Settings(Section):
    """The state."""

    READS_DROPOUT: ClassVar[bool] = False
    """Whether the head reads model.dropout."""
    READS_METADATA: ClassVar[bool] = True
    """Whether model.metadata is read beside the pooled features."""

    hidden: Width = Field(100, description="width of the state", json_schema_extra=OWN_PAPER)
