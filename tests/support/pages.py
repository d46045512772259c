"""What a reader reads of an HTML page."""

from __future__ import annotations

import html
import re


def text_of(page: str) -> str:
    """No tags, no pictures, single spaces."""
    page = re.sub(r"<style>.*?</style>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
