"""Names that settings of data sets share: adapters, and what unknown labels mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from couplet.settings.schema.plugins import SOURCES

Policy = Literal["ignore", "zeros", "ones"]

if TYPE_CHECKING:
    Source = str
    SourceOrNone = str
else:  # one of the names, which a type checker cannot know
    Source = Literal[tuple(SOURCES.names())]
    SourceOrNone = Literal["none", Source]
