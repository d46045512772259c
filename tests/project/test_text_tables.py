from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from couplet.project.console import stage
from couplet.project.text_tables import keep_text_in_python


def test_every_command_keeps_text_in_python_where_pyarrow_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(pd, "set_option", lambda *option: chosen.append(option))
    assert stage(lambda: 3)() == 3
    assert chosen == [("mode.string_storage", "python")]


def test_a_file_name_with_half_a_character_fits_into_a_table() -> None:
    keep_text_in_python()
    assert pd.Series(["\udc80.png"])[0] == "\udc80.png"


def test_pandas_is_not_imported_for_it_where_there_is_no_pyarrow(tmp_path: Path) -> None:
    code = (
        "import importlib.util, sys\n"
        "importlib.util.find_spec = lambda name: None\n"
        "from couplet.project.text_tables import keep_text_in_python\n"
        "keep_text_in_python()\n"
        "print('pandas' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
