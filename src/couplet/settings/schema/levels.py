"""Settings of a chain of networks, trained one after the other: `model.levels` in params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import OWN_PAPER, Idle, NotNegative, Section, not_read

AG_CNN = 3  # levels: the whole picture, a crop of it, and both


class LevelsParams(Section):
    """A chain of networks: Kumar et al. (arXiv:1711.08760, cascade) and Guan et al. (arXiv:1801.09927, ag_cnn)."""

    kind: Literal["single", "cascade", "ag_cnn"] = Field(
        "single",
        description="cascade: each network is told what all before it predict; ag_cnn: a second one sees where the "
        "first looks, a linear layer reads both",
        json_schema_extra=OWN_PAPER,
    )
    count: int = Field(
        6, ge=1, description="levels of a cascade, the first included", json_schema_extra=OWN_PAPER
    )
    boost: NotNegative = Field(
        1.0,
        description="cascade: an image is drawn in proportion to (its loss under the level before)^boost; 0: once",
        json_schema_extra=OWN_PAPER,
    )
    threshold: float = Field(
        0.7,
        ge=0,
        lt=1,
        description="ag_cnn: share of the heat map's range above which a place may belong to the crop",
        json_schema_extra=OWN_PAPER,
    )

    @property
    def n_levels(self) -> int:
        """K, the first included: 1 is one network, trained once."""
        return {"single": 1, "cascade": self.count, "ag_cnn": AG_CNN}[self.kind]

    def idle(self) -> list[Idle]:
        """What is another kind's."""
        because = f"model.levels.kind is {self.kind}"
        found = []
        if self.kind != "cascade":
            found += [
                not_read(f"model.levels.{key}", getattr(self, key), because) for key in ("count", "boost")
            ]
        elif self.count == 1:
            found.append(not_read("model.levels.boost", self.boost, "model.levels.count is 1"))
        if self.kind != "ag_cnn":
            found.append(not_read("model.levels.threshold", self.threshold, because))
        return found
