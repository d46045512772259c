"""Settings of heads that keep tests fast; a head that is not here is fast enough as it is."""

from __future__ import annotations

from typing import Any

SMALL_HEADS: dict[str, dict[str, Any]] = {
    "ctran": {"layers": 1},
    "db_dgcn": {"dim": 16, "normalize": True},
    "ml_decoder": {"dim": 16, "heads": 2, "ff": 16},
    "ml_gcn": {"hidden": 16},
    "query2label": {"dim": 16, "heads": 2, "ff": 16},
    "rdar": {"dim": 16},
}
