from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from couplet.project.errors import UserError
from couplet.project.files import read_json, read_record, write_bytes, write_csv, write_json


def test_csv_and_json_have_fixed_bytes(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "a/t.csv", pd.DataFrame({"x": [0.5, None], "name": ["ä", 'b"']}), float_format="%.3f"
    )
    assert (tmp_path / "a/t.csv").read_bytes() == 'x,name\n0.500,ä\n,"b"""\n'.encode()
    write_json(tmp_path / "t.json", {"b": 1, "a": [None, "ä"]})
    assert (tmp_path / "t.json").read_text() == '{\n  "b": 1,\n  "a": [\n    null,\n    "ä"\n  ]\n}\n'


def test_a_table_that_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_csv(path, pd.DataFrame({"x": [1]}))
    with pytest.raises(UnicodeEncodeError):
        write_csv(path, pd.DataFrame({"x": ["written first"] * 100_000 + ["\ud800"]}))
    assert path.read_bytes() == b"x\n1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


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

    monkeypatch.setattr("couplet.project.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_bytes(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["t.bin"]


def test_json_that_cannot_be_read_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t.json is not there: run `dvc repro`"):
        read_json(tmp_path / "t.json")
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(UserError, match=r"t.json is not valid JSON .*: restore it"):
        read_json(tmp_path / "t.json")


@pytest.mark.parametrize("text", ["[]", "3", "null", '{"n": "3"}', '{"m": 3}', '{"n": null}'])
def test_a_record_must_have_its_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text('{"n": 3, "x": null, "more": 1}')
    assert read_record(tmp_path / "t.json", n=int, x=object) == {"n": 3, "x": None, "more": 1}
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(
        UserError, match=r"t.json: 'n' is missing or of another kind than it should be: restore it"
    ):
        read_record(tmp_path / "t.json", n=int)


def test_json_nested_without_end_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="t.json is not valid JSON"):
        read_json(tmp_path / "t.json")


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = {
        f".t.[1].csv.{gone.pid}.tmp": False,
        f".t.[1].csv.{os.getppid()}.tmp": True,  # its writer is at work
        f".other.csv.{gone.pid}.tmp": True,
        ".t.[1].csv.notes.tmp": True,
    }
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    write_bytes(tmp_path / "t.[1].csv", b"whole")
    assert {name: (tmp_path / name).exists() for name in names} == names
    assert (tmp_path / "t.[1].csv").read_bytes() == b"whole"


def test_git_and_dvc_do_not_see_a_half_written_file(project_root: Path) -> None:
    """metrics/ and data/predictions/folds/ are hashed as folders: a left-over would change what depends on them."""
    for name in (".gitignore", ".dvcignore"):
        assert ".*.tmp" in (project_root / name).read_text().splitlines()


def test_a_merge_conflict_is_called_one_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "inventory.json"
    path.write_text('{\n<<<<<<< HEAD\n  "n": 1\n=======\n  "n": 2\n>>>>>>> theirs\n}\n')
    with pytest.raises(UserError) as caught:
        read_json(path)
    assert str(caught.value) == (
        f"{path} line 2: git left a merge conflict here (<<<<<<< HEAD): keep one side and take its marks out, or "
        f"`git checkout --ours {path}` (or --theirs)"
    )
    path.write_text('{"arrows": "<<<<<<< and so on"}')
    assert read_json(path) == {"arrows": "<<<<<<< and so on"}
