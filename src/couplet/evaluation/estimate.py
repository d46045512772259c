"""An estimated number as it is printed: with its interval, or with the reason why it has none."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

FLAGS = {
    "selected": "the epoch was chosen on these images",
    "cross-fitted": "fitted on the other folds",
    "fitted here": "fitted on these images: must not be quoted",
    "few": "fewer than 10 patients with a positive image",
    "leak": "patients or pictures are in two parts, or may be under other names",
}
"""What is printed beside a number, in this order, and what it means."""

FEW = 10  # patients with a positive image, below which an estimate is flagged
LEVEL = 0.95  # of every interval unless another is asked for


class Source(NamedTuple):
    """A file that an estimate was computed from, by its path below the project's root and its md5."""

    path: str
    md5: str


def source_of(path: Path, root: Path = Path()) -> Source:
    """The source that a file is."""
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return Source(path.relative_to(root).as_posix(), digest)


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, what it was computed from, and what must be known before it is quoted.

    Attributes:
        value: the estimate; None where it is not defined.
        low, high: ends of the interval; None only together with a `reason`.
        level: coverage of the interval, in (0, 1).
        method: how the interval was made.
        n_images, n_patients: that took part, without unknown cells.
        n_positive_patients: patients with a positive image; None where positives mean nothing.
        source: the files it was computed from: one, or one per fold.
        flags: keys of FLAGS, in that order.
        reason: why there is no interval; empty where there is one.

    Raises:
        ValueError: no interval and no reason or both, half an interval, ends that do not enclose the value, or an
            unknown flag.

    >>> print(Estimate(0.83771, 0.8242, 0.8513, method="patient jackknife"))
    0.8377 [0.824, 0.851]
    >>> print(Estimate(1.0, reason="no pair is ranked wrongly", flags=("few",)))
    1.0000, no interval: no pair is ranked wrongly (few)
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = LEVEL
    method: str = ""
    n_images: int = 0
    n_patients: int = 0
    n_positive_patients: int | None = None
    source: tuple[Source, ...] = ()
    flags: tuple[str, ...] = ()
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval needs both ends")
        if (self.low is None) != bool(self.reason):
            raise ValueError("an estimate has either an interval or a reason why it has none")
        if self.low is not None and self.high is not None:
            if self.value is None or not all(map(isfinite, (self.low, self.value, self.high))):
                raise ValueError(f"[{self.low}, {self.high}] around {self.value} is not finite")
            # The value may leave the interval by the rounding of its transform only.
            room = 1e-9 * max(1.0, abs(self.value))
            if not self.low - room <= self.value <= self.high + room:
                raise ValueError(f"[{self.low}, {self.high}] does not enclose {self.value}")
        if self.value is not None and not isfinite(self.value):
            raise ValueError(f"{self.value} is no estimate: use None and a reason")
        if not 0 < self.level < 1:
            raise ValueError(f"level must be between 0 and 1, not {self.level}")
        if self.flags != in_order(self.flags):
            raise ValueError(f"flags {self.flags} are not some of {list(FLAGS)} in that order")

    # --- copies -------------------------------------------------------------------------------------------------

    def flagged(self, *flags: str) -> Estimate:
        """The same estimate with more flags."""
        return replace(self, flags=in_order((*self.flags, *flags))) if flags else self

    def of(self, *source: Source) -> Estimate:
        """The same estimate, computed from these files."""
        return replace(self, source=source)

    # --- how it is printed --------------------------------------------------------------------------------------

    def text(self, decimals: int = 4) -> str:
        """The value with `decimals` digits, the interval with one less; or the reason; then the flags.

        The interval has as many as the value where one less would print its ends alike, or beside the value.

        >>> print(Estimate(-0.00145, -0.0039, 0.0010, method="patient jackknife").text(3))
        -0.001 [-0.004, 0.001]
        """
        return " ".join(self._parts(decimals).values())

    def __str__(self) -> str:
        return self.text()

    def cell(self, decimals: int = 4, tag: str = "td") -> str:
        """The HTML element that shows it: class `estimate`, `data-source` with the md5 of each source file.

        In it stands `text`, each part in a `span` of its own: class `value`, then `interval` or `reason`, then
        `flags`. Its title says how it was computed, from how many images and patients, and from which files.
        """
        md5, title = " ".join(source.md5 for source in self.source), html.escape(self.about())
        parts = self._parts(decimals).items()
        text = " ".join(f'<span class="{name}">{html.escape(part)}</span>' for name, part in parts)
        return f'<{tag} class="estimate" data-source="{md5}" title="{title}">{text}</{tag}>'

    def _parts(self, decimals: int) -> dict[str, str]:
        value = "undefined" if self.value is None else _digits(self.value, decimals)
        if self.low is None or self.high is None:
            parts = {"value": f"{value},", "reason": f"no interval: {self.reason}"}
        else:
            low, high = (_digits(end, max(decimals - 1, 0)) for end in (self.low, self.high))
            if low == high or not float(low) <= float(value) <= float(high):
                low, high = (_digits(end, decimals) for end in (self.low, self.high))
            parts = {"value": value, "interval": f"[{low}, {high}]"}
        return parts | ({"flags": f"({', '.join(self.flags)})"} if self.flags else {})

    def about(self) -> str:
        """One sentence: level, method, counts, meaning of the flags, source files."""
        counts = f"{self.n_images} images of {self.n_patients} patients"
        if self.n_positive_patients is not None:
            counts += f", {self.n_positive_patients} with a positive image"
        parts = [f"{100 * self.level:g} % interval, {self.method}"] if self.low is not None else []
        parts += [counts, *(f"{flag}: {FLAGS[flag]}" for flag in self.flags)]
        parts += [f"from {', '.join(source.path for source in self.source)}"] if self.source else []
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """All of it for JSON, full digits."""
        return asdict(self) | {
            "source": [source._asdict() for source in self.source],
            "flags": list(self.flags),
        }


@cache
def in_order(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Each known flag once, in the order of FLAGS.

    >>> in_order(("few", "selected", "few"))
    ('selected', 'few')
    """
    unknown = [flag for flag in flags if flag not in FLAGS]
    if unknown:
        raise ValueError(f"flag {unknown[0]!r} is none of {list(FLAGS)}")
    return tuple(flag for flag in FLAGS if flag in flags)


def few(n_positive_patients: int | None) -> tuple[str, ...]:
    """The flag of an estimate from so few patients with a positive image, or none."""
    return ("few",) if n_positive_patients is not None and n_positive_patients < FEW else ()


def around(
    value: float, reach: float, there: Callable[[float], float], back: Callable[[float], float], **about: Any
) -> Estimate:
    """An estimate whose interval is `reach` either way on another scale: back(there(value) -+ reach).

    Args:
        value: the estimate.
        reach: half the width there: quantile times standard error, not negative.
        there, back: the transform and its inverse, both rising.
        about: the other fields of `Estimate`.

    Returns:
        With a reason instead of the interval where `reach` is nothing: data that never vary do not say how sure they
        are.
    """
    if reach <= 1e-12 * abs(value):  # not 0 alone: sums of equal numbers round
        return Estimate(value, reason="it is the same without any one patient", **about)
    middle = there(value)
    return Estimate(value, float(back(middle - reach)), float(back(middle + reach)), **about)


def _digits(value: float, decimals: int) -> str:
    # A difference that rounds to nothing has no sign.
    rounded = round(value, decimals)
    return f"{rounded + 0.0 if rounded else 0.0:.{decimals}f}"
