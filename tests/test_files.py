from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from couplet.errors import UserError
from couplet.files import read_json, write_bytes, write_csv, write_json


def test_csv_and_json_have_fixed_bytes(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "a/t.csv", pd.DataFrame({"x": [0.5, None], "name": ["ä", 'b"']}), float_format="%.3f"
    )
    assert (tmp_path / "a/t.csv").read_bytes() == 'x,name\n0.500,ä\n,"b"""\n'.encode()
    write_json(tmp_path / "t.json", {"b": 1, "a": [None, "ä"]})
    assert (tmp_path / "t.json").read_text() == '{\n  "b": 1,\n  "a": [\n    null,\n    "ä"\n  ]\n}\n'


def test_json_never_holds_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "t.json", {"auc": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.bin"
    write_bytes(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("couplet.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["t.bin"]


def test_json_that_cannot_be_read_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t.json is not there: run `dvc repro`"):
        read_json(tmp_path / "t.json")
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(UserError, match=r"t.json is not valid JSON .*: restore it"):
        read_json(tmp_path / "t.json")
