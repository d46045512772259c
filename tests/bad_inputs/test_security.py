"""What docs/security.md promises."""

from __future__ import annotations

import ast
import base64
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pandas import Series
from PIL import Image, ImageFile, PngImagePlugin

from couplet.datasets.names import check_names
from couplet.images.decoding import packing
from couplet.images.decoding.decode import UnreadableImage, decode_bytes
from couplet.project.errors import UserError
from couplet.settings import yaml12
from tests.bad_inputs.cases_images import png
from tests.bad_inputs.healthy import csv_project, finished
from tests.support.in_process import InProcessProject
from tests.support.projects import ROOT

SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")])
# Modules that can turn data into code or reach a network, and what of a library does.
MODULES = {
    *("pickle", "marshal", "shelve", "joblib", "dill", "cloudpickle", "xmlrpc", "imp", "code"),
    *("socket", "ssl", "http", "urllib", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "subprocess"),
}
# They run git or, with bytes over pipes, the decoder of DICOM pixels; the arguments are their own.
PROGRAMS = {"recover.py", "committed.py", "revision_files.py", "helper.py"}
# It asks whether a Ray listens at the address that the user gave; nothing is read from there.
NETWORK = {"engine.py"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    *("torch.load", "torch.jit.load", "torch.package", "torch.hub", "torch.save"),
    *("pd.read_pickle", "pd.eval", "pandas.read_pickle", "np.fromfile", "numpy.load"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "os.system", "os.popen"),
}


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def text_cells(path: Path) -> list[str]:
    table = pd.read_csv(path, dtype=str, keep_default_na=False, header=None)
    return [cell for cell in table.to_numpy().ravel() if cell]


# --- loading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_code_can_load_nothing_but_plain_data(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            allowed = (
                {"subprocess"} if path.name in PROGRAMS else {"socket"} if path.name in NETWORK else set()
            )
            assert not {name.split(".")[0] for name in names} & MODULES - allowed, where
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            assert name not in BUILTINS | ATTRIBUTES, where
            assert "shell" not in given, where
            if name in ("np.load", "np.savez", "np.save"):
                assert isinstance(given.get("allow_pickle"), ast.Constant), f"{where}: say allow_pickle=False"
                assert given["allow_pickle"].value is False, where  # type: ignore[attr-defined]
            if name == "yaml.load":
                assert path.name == "yaml12.py", f"{where}: use couplet.settings.yaml12.read_yaml"


def test_yaml_is_read_by_loaders_that_know_plain_values_only() -> None:
    loaders = [
        kind for kind in vars(yaml12).values() if inspect.isclass(kind) and issubclass(kind, yaml.SafeLoader)
    ]
    assert len(loaders) == 2
    plain = {
        None,
        *(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")),
    }
    for loader in loaders:
        assert set(loader.yaml_constructors) == plain
        assert not loader.yaml_multi_constructors


# --- networks ----------------------------------------------------------------------------------------------

WATCHED = """
import sys
seen = []
kinds = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "pickle.", "webbrowser.")
sys.addaudithook(lambda event, arguments: seen.append((event, str(arguments))) if event.startswith(kinds) else None)
from pathlib import Path
from tests.bad_inputs.healthy import trained_project
trained_project(Path(sys.argv[1]))
print("SEEN", seen)
"""


def test_a_whole_run_opens_no_socket_and_unpickles_nothing(tmp_path: Path) -> None:
    """Every stage in one fresh process, imports included, under Python's own audit events."""
    command = [sys.executable, "-c", WATCHED, str(tmp_path / "project")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "SEEN []"


def test_dvc_and_the_hub_are_told_to_send_nothing() -> None:
    assert "analytics = false" in (ROOT / ".dvc/config").read_text()
    assert "check_update = false" in (ROOT / ".dvc/config").read_text()
    code = "import couplet.running.launch, huggingface_hub.constants as c; print(c.HF_HUB_DISABLE_TELEMETRY)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


# --- size --------------------------------------------------------------------------------------------------


def test_too_many_pixels_are_refused_before_any_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    with pytest.raises(UnreadableImage, match="more than 178956970 pixels"):
        decode_bytes(png(50_000, 50_000), 32, 1)


def test_too_large_a_file_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    image = packing.RawImage("never_opened.png", size=2**30 + 1, md5="")
    assert (
        packing._decode_as_listed(tmp_path, 32, 1, "raw", "voi", None, image).result
        == "the file has more than 1073741824 bytes"
    )


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *(
            "=1+1",
            "+1+1",
            "-1+1",
            "@SUM(A1)",
            "=cmd|' /C calc'!A0",
            " =1",
            "a;=1",
            "a; +cmd",
            "＝1",
            "－x",
            "-a.png",
        ),
        *("a\tb", "a\rb", "a\nb", "a\0b", "\x1b[2J", "a\u202eb", "a\u2028b", "\ud800", "\x85"),
    ],
)
def test_names_that_are_formulas_or_hold_control_characters_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="^row 3: "):
        check_names(Series(["Edema", name], index=[2, 3]), lambda row: f"row {row}")


@pytest.mark.parametrize(
    "name", ["", "-1", "+1.5e-3", "-", "--", "a=b", "a-b", "x@y", "0;-1", "(+)", "Ödem 肺"]
)
def test_other_names_are_kept(name: str) -> None:
    check_names(Series([name]), str)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> InProcessProject:
    """A whole run on pictures and people that carry marks, with labels that would be markup."""
    project = csv_project(tmp_path_factory.mktemp("marked") / "project")
    rows = ['image,patient,study,view,sex,age,<script>alert(1)</script>,"a"" onload=""x",Rare']
    exif, text = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x010E], exif[0x013B] = "MARKexif", "MARKartist"
    text.add_text("Comment", "MARKcomment")
    for i in range(24):
        old = project.raw / f"images/{i:02d}.png"
        with Image.open(old) as image:
            image.save(old.with_name(f"MARKimage{i:02d}.png"), exif=exif, pnginfo=text)
        old.unlink()
        # View and sex are groups, which the page must name; a person is in none of their names.
        people = f"MARKpatient{i // 2},MARKstudy{i},AP,F,MARKage{i}"
        rows.append(f"MARKimage{i:02d}.png,{people},{i // 2 % 2},{i // 4 % 2},{int(i == 5)}")
    (project.raw / "labels.csv").write_text("\n".join(rows) + "\n")
    (project.raw / "images/MARKimage00.png").write_bytes(b"MARKbroken")
    return finished(project)


def test_nothing_of_people_or_files_is_in_the_report(marked: InProcessProject) -> None:
    page = (marked.folder / "plots/report.html").read_text()
    pictures = [base64.b64decode(found) for found in re.findall(r'base64,([^"]+)"', page)]
    assert len(pictures) > 5
    assert marked.report_says("Quarantined images 1")
    shown = {
        "report.html": page.encode(),
        **{f"picture {i}": content for i, content in enumerate(pictures)},
        **{
            path: content
            for path, content in marked.outputs().items()
            if path.startswith(("plots/", "metrics/"))
        },
        **{path: content for path, content in marked.outputs().items() if path.startswith("data/models/")},
        **{path: content for path, content in marked.outputs().items() if path.endswith(".npy")},
    }
    # A published number's source may be a BENCHMARKS.md.
    assert [path for path, content in shown.items() if re.search(rb"(?<![A-Z])MARK", content)] == []


def test_labels_are_escaped_in_the_report(marked: InProcessProject) -> None:
    page = (marked.folder / "plots/report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert 'onload="' not in page


def test_no_table_that_a_run_writes_holds_a_formula(marked: InProcessProject) -> None:
    tables = [marked.folder / path for path in marked.outputs() if path.endswith(".csv")]
    assert len(tables) > 15
    for path in tables:
        cells = [cell for cell in text_cells(path) if cell[0] in "=+-@＝＋－＠\t\r"]
        assert np.isfinite(np.array(cells, dtype=float)).all(), path  # signed numbers, and nothing else
