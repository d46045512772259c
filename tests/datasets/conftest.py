from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from couplet.project.errors import UserError


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """An empty raw folder."""
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


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


@pytest.fixture
def error() -> Callable[..., str]:
    """error(function, ...) is the one line of the UserError that the call raises."""

    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
        with pytest.raises(UserError) as caught:
            function(*args, **kwargs)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return call
