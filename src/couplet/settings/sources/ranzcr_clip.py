"""RANZCR CLiP, which `couplet.datasets.ranzcr_clip` reads."""

from __future__ import annotations

from couplet.settings.schema.section import Section


class Settings(Section):
    """`data.source_args` of ranzcr_clip: none."""
