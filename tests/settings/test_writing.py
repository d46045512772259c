"""params.yaml as it is written: text stays text for readers of YAML 1.1 (PyYAML) and of YAML 1.2 (ours, DVC's)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from couplet.settings.params import Params, parse_params
from couplet.settings.presets import params_yaml
from couplet.settings.yaml12 import read_settings
from tests.support.params import set_dotted

NASTY = [
    *("1e3", "1E3", "1.5e3", "+1e-3", ".5", "5.", "-.5e1", "08", "010", "0o17", "-0o17", "0x1F", "0b101"),
    *("1_000", "_1", "1__0", "-_", "+_1", "1:30", "190:20:30", "-1:30.5", "1:30:0.5"),
    *("yes", "Yes", "YES", "no", "on", "Off", "y", "N", "true", "True", "FALSE", "~", "null", "Null", ""),
    *(
        ".inf",
        "-.Inf",
        "+.INF",
        ".nan",
        ".NaN",
        "inf",
        "nan",
        "2026-01-01",
        "2026-01-01 10:00:00",
        "2026-1-1T1:2:3Z",
    ),
    *(
        "=",
        "<<",
        "-",
        "--",
        "---",
        "...",
        "?",
        ":",
        "!",
        "!!int 3",
        "&a",
        "*a",
        "%YAML",
        "@x",
        "`x`",
        "|",
        ">",
    ),
    *(
        "a: b",
        "a:",
        "a #b",
        "#a",
        " a",
        "a ",
        "'a'",
        '"a"',
        "a'b",
        "[a]",
        "{a}",
        "a}",
        "x{}",
        "a,b",
        "-a",
        "- a",
    ),
    *(
        "a\nb",
        "a\n",
        "\ta",
        "a\u2028b",
        "\x1b[31m",
        "\u00fc",
        "\u80ba",
        "\U0001fac1",
        "word " * 40,
        "x" * 300,
    ),
    *("1e3.png", "08 train.csv", "seresnext101_32x4d.gluon_in1k", "Pleural Effusion", "C:\\data", "a\\nb"),
]


def written(tmp_path: Path, changes: dict[str, Any]) -> Path:
    path = tmp_path / "params.yaml"
    params = parse_params(set_dotted(Params().as_dict(), changes), "here")
    path.write_bytes(params_yaml(params).encode())
    return path


@pytest.mark.parametrize("text", NASTY)
def test_text_stays_text_for_every_reader(tmp_path: Path, text: str) -> None:
    """As a value, in a list, in a list of lists, as a key, and below a key of a section's own."""
    args = {
        "table": text,
        "label_columns": [text, "Edema", text],
        "nested": {"deep": [[text], {"key": text}]},
    }
    changes = {"data.source_args": args, "data.uncertain": {text: "ones", "Edema": "zeros"}}
    if text:  # no name may be empty
        changes["model.backbone"], changes["model.pretrained"] = text, False
    path = written(tmp_path, changes)
    readers = {
        "ours (1.2)": read_settings(path),
        "DVC's (1.2)": YAML(typ="safe", pure=True).load(path.read_text()),
        "PyYAML's (1.1)": yaml.safe_load(path.read_text()),
    }
    for reader, content in readers.items():
        assert content["data"]["source_args"] == args, reader
        assert content["data"]["uncertain"] == {text: "ones", "Edema": "zeros"}, reader
        if text:
            assert content["model"]["backbone"] == text, reader
    assert parse_params(readers["ours (1.2)"], "x").as_dict() == set_dotted(Params().as_dict(), changes)


def test_every_setting_is_on_a_line_of_its_own(tmp_path: Path) -> None:
    """A long or several-line text must not push its note away, or the next key."""
    plain = written(tmp_path, {}).read_text().splitlines()
    nasty = (
        written(tmp_path, {"model.backbone": "a\nb " * 60, "model.pretrained": False})
        .read_text()
        .splitlines()
    )
    assert len(nasty) == len(plain)
    assert [line.split("# ")[-1] for line in nasty] == [line.split("# ")[-1] for line in plain]


@pytest.mark.parametrize("value", [1e-05, 1e16, 0.1, 1 / 3, 2e-4, 12345678.9, 1e300])
def test_numbers_stay_numbers_for_every_reader(tmp_path: Path, value: float) -> None:
    path = written(tmp_path, {"optimizer.lr": value, "data.source_args": {"x": [value]}})
    for content in (
        read_settings(path),
        YAML(typ="safe", pure=True).load(path.read_text()),
        yaml.safe_load(path.read_text()),
    ):
        assert (content["optimizer"]["lr"], content["data"]["source_args"]["x"]) == (value, [value])


@pytest.mark.parametrize("text", ["1e3", "08", "yes", "0o17", "2026-01-01"])
def test_text_stays_text_after_dvc_has_rewritten_the_file(tmp_path: Path, text: str) -> None:
    """`dvc exp run -S` loads params.yaml with ruamel.yaml, keeps comments, and writes it back."""
    from dvc.utils.serialize import modify_yaml

    path = written(tmp_path, {"data.source_args": {"table": text}})
    with modify_yaml(str(path)) as content:
        content["seed"] = 7
    read = read_settings(path)
    assert (read["seed"], read["data"]["source_args"]["table"]) == (7, text)
