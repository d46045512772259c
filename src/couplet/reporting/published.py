"""What others published (published.yaml), typed, and how far a row that was measured here may be set beside it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from couplet.results.measured import Measured
from couplet.settings.schema.section import Fraction
from couplet.settings.yaml12 import read_yaml

FILE = Path(__file__).with_name("published.yaml")

Metric = Literal["auc_macro", "map", "cp", "cr", "cf1", "op", "or", "of1"]

SPLITS = {
    "official": "official test list",
    "patients": "split of its own, by patient",
    "random": "random split, not said to be by patient",
    "not_said": "split not said",
    "hidden": "hidden test labels",
    "val": "val",
}
"""Which images a number is of, in words."""

KNOWN = {
    "text": "read",
    "abstract": "abstract read",
    "code": "released code’s page, read",
    "table": "read in the paper that couplet implements",
    "reprinted": "read where others reprint it",
    "rerun": "read in a re-implementation",
    "memory": "from memory, not checked",
    "ours": "decided here",
}
"""How we know a number."""

TEST_IMAGES = {("nih", "official"): 25_596, ("coco", "val"): 40_137}
"""Images of the test parts that are the same for everybody: of COCO those with annotations."""


class Row(BaseModel):
    """What all rows of the file are: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Number(Row):
    """A published score, or several of one evaluation."""

    values: dict[Metric, Fraction] = Field(min_length=1)
    of: str = ""  # which variant of the system
    top3: bool = False  # of an image's three highest labels
    data: str  # as data.source names it
    split: Literal[tuple(SPLITS)]  # type: ignore[valid-type]
    printed: str
    known: Literal[tuple(KNOWN)]  # type: ignore[valid-type]
    labels: list[Fraction] = []  # AUCs of Table I's labels, in their order
    per_label: dict[str, Fraction] = {}  # AUCs of a set with other labels, by its source's names

    @property
    def shown(self) -> bool:
        """What nobody here has read is in the file to be checked, and nowhere else."""
        return self.known != "memory"

    @property
    def where(self) -> str:
        """Of which images, where it stands and how we know."""
        return f"{SPLITS[self.split]}; {self.printed}"


class System(Row):
    """A system of one of the papers' tables, or of another set of chest X-rays.

    `preset` is its name here, whether or not this checkout has such a preset; `undefined` says why there can be none,
    `nearest` which preset comes nearest.
    """

    name: str
    preset: str = ""
    nearest: str = ""
    undefined: str = ""
    backbone: str = ""
    head: str = ""
    loss: str = ""
    rests_on: str
    numbers: list[Number]

    @model_validator(mode="after")
    def _check(self) -> System:
        if self.preset and self.undefined:
            raise ValueError(f"{self.name} has a preset and is said to be undefined")
        return self

    @property
    def shown(self) -> list[Number]:
        """The numbers that may be shown."""
        return [number for number in self.numbers if number.shown]

    @property
    def with_labels(self) -> list[Number]:
        """Those of them with a number per label."""
        return [number for number in self.shown if number.labels]


class Published(Row):
    """The file."""

    labels_of_xrays: list[str]
    xrays: Annotated[list[System], Field(min_length=1)]
    other_xrays: Annotated[list[System], Field(min_length=1)]
    coco: Annotated[list[System], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Published:
        for system in self.systems:
            for number in system.numbers:
                if number.labels and len(number.labels) != len(self.labels_of_xrays):
                    raise ValueError(f"{system.name}: {len(number.labels)} labels")
        return self

    @property
    def systems(self) -> list[System]:
        """All of them, in the file's order."""
        return [*self.xrays, *self.other_xrays, *self.coco]

    @property
    def other_sets(self) -> set[str]:
        """Which data sets the numbers of `other_xrays` are of."""
        return {number.data for system in self.other_xrays for number in system.shown}


@cache
def published() -> Published:
    """The file's content."""
    return Published.model_validate(read_yaml(FILE))


class Beside(NamedTuple):
    """A row that was measured here beside a system's published numbers."""

    row: Measured
    why_not: str  # why none of the numbers is of the same images and recipe; empty where one is


def beside(system: System, rows: list[Measured]) -> list[Beside]:
    """The rows of a system's preset, each with why it cannot be set beside the published numbers."""
    own = [row for row in rows if system.preset and row.system == system.preset]
    return [Beside(row, why_not(row, system.shown)) for row in own]


def why_not(row: Measured, numbers: list[Number]) -> str:
    """Why a measured row cannot be set beside any of these numbers; empty if it can.

    It can if the row is of the same test part, whole, and of the preset without a change. A split that somebody drew
    for a paper is nobody else's, so numbers on one are comparable with nothing here.
    """
    same_data = [number for number in numbers if number.data == row.source]
    if not same_data:
        return "drawn pictures" if row.source == "phantom" else "other images"
    reasons = [_other_images(row, number) for number in same_data]
    if all(reasons):
        return reasons[0]
    return f"{len(row.changed)} settings are not the preset’s" if row.changed else ""


def _other_images(row: Measured, number: Number) -> str:
    wanted = TEST_IMAGES.get((number.data, number.split))
    if number.split == "not_said":
        return "the published number does not say of which images it is"
    if wanted is None:
        return f"other images: the published number is of {_article(SPLITS[number.split])}"
    if row.part != "test" or not row.own_test:
        return f"other images: the published number is of the {SPLITS[number.split]}"
    return "" if row.images == wanted else f"{row.images:,} of {wanted:,} images"


def _article(words: str) -> str:
    return words if words.endswith("labels") else f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def digits(share: float) -> str:
    """A share as the first paper's table prints it, with three decimals at least.

    >>> digits(0.81), digits(0.92603)
    ('0.810', '0.92603')
    """
    return max(f"{share:g}", f"{share:.3f}", key=len)
