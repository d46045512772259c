"""A figure of the page with its words."""

from __future__ import annotations

import struct
from concurrent.futures import Future
from dataclasses import dataclass

from couplet.reporting import style


@dataclass(frozen=True)
class Picture:
    """A figure of the page."""

    name: str  # file name in plots/figures without .png
    drawn: Future[bytes]  # a PNG to come, of style.to_png or style.in_background
    title: str
    caption: str
    scale: int = style.SCALE

    @property
    def png(self) -> bytes:
        """The picture's bytes, once they are there."""
        return self.drawn.result()

    @property
    def width(self) -> int:
        """Width on the page, in CSS pixels."""
        return self._size[0] // self.scale

    @property
    def height(self) -> int:
        """Height on the page, in CSS pixels."""
        return self._size[1] // self.scale

    @property
    def _size(self) -> tuple[int, int]:
        width, height = struct.unpack(">II", self.png[16:24])  # of the IHDR chunk
        return width, height
