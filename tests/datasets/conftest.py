from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def put(raw: Path) -> Callable[..., Path]:
    """put(path) writes a tiny JPEG into the raw folder, put(path, text) a text file."""

    def write(path: str, text: str | None = None) -> Path:
        target = raw / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            Image.new("L", (8, 8), 100).save(target, format="JPEG")
        else:
            target.write_text(text, encoding="utf-8")
        return target

    return write
