"""The phantom, which couplet draws itself and `couplet.datasets.phantom` reads."""

from __future__ import annotations

from pydantic import Field, field_validator

from couplet.settings.schema.messages import suggest
from couplet.settings.sources import grand_xray_slam

HIGHEST = 0.7  # prevalence: below the share of studies in which anything may be found
# Whose prevalence can be set: Lung Opacity and No Finding follow from these, and Support Devices stays.
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
)


class Settings(grand_xray_slam.Settings):
    """`data.source_args` of phantom."""

    patients: int = Field(800, ge=20, le=1_000_000, description="how many are drawn, about 2.5 images each")
    size: int = Field(112, ge=32, le=1024, description="side of the pictures, in pixels")
    seed: int = Field(42, ge=0, le=2**32 - 1, description="of everything that is drawn")
    film: float = Field(
        1.0, ge=0.1, le=10, description="another film: above 1 pictures are darker, below 1 lighter"
    )
    prevalence: dict[str, float] = Field(
        {}, description="finding: share of images, from 0 to 0.7; the others keep theirs"
    )
    first_patient: int = Field(
        0, ge=0, le=90_000_000, description="patients' numbers are above it: two phantoms shall share none"
    )

    @field_validator("prevalence")
    @classmethod
    def _of_findings(cls, given: dict[str, float]) -> dict[str, float]:
        for name, share in given.items():
            if name not in FINDINGS:
                raise ValueError(
                    f"names {name!r}, which is no finding that can be set: {suggest(name, FINDINGS)}"
                )
            if not 0 <= share <= HIGHEST:
                raise ValueError(
                    f"{name} = {share:g} is not allowed: it should be a share from 0 to {HIGHEST:g}"
                )
        return given
