"""Documents and presets say what the schema and the files say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import page
from couplet.commands.table_text import as_text
from couplet.results.measured import read_measured
from couplet.settings import table
from couplet.settings.params import Params, all_keys, flatten
from couplet.settings.presets import load_preset, preset_names
from couplet.settings.schema.plugins import PLUG_INS, PlugIns
from couplet.settings.yaml12 import read_yaml
from tests.support.projects import ROOT

SNAPSHOT = ROOT / "tests/bad_inputs/bad-inputs.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), SNAPSHOT])
PRESETS = sorted((ROOT / "presets").glob("*.yaml"))
HEAD_OF_PRESET = ("# Expected: ", "# Hardware and time: ", "# Command: couplet preset {name} && ")


@pytest.fixture(autouse=True)
def in_project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def table_rows(heading: str) -> list[list[str]]:
    """Cells of the table below a heading of docs/presets.md, without its two head lines."""
    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    section = re.split(r"^##+ ", re.split(rf"\n##+ {heading}\n", text)[1], flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def settings_table() -> dict[str, dict[str, str]]:
    names = ("key", "default", "allowed", "meaning", "source")
    return {row[0].strip("`"): dict(zip(names, row, strict=True)) for row in table_rows("Settings")}


def in_yaml(text: str, folder: Path) -> Any:
    """The value of `text` as params.yaml would hold it, read by the schema's own reader."""
    file = folder / "value.yaml"
    file.write_text(f"value: {text}\n", encoding="utf-8")
    return read_yaml(file)["value"]


def plug_in_tables(kind: PlugIns) -> dict[str, dict[str, list[str]]]:
    """Per plug-in of the page's table of this kind: its own keys, each with the other cells of its row."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, key, *cells in table_rows(f"Settings of {kind.package.__name__.split('.')[-1]}"):
        if name:
            found[name.strip("`")] = own = {}
        else:
            own[key.strip("`")] = cells
    return found


def test_settings_tables_are_what_the_schema_says() -> None:
    text = (ROOT / table.PAGE).read_text(encoding="utf-8")
    assert table.block() in text, "run: python -m couplet.settings.table"
    assert text.count(table.BEGIN) == text.count(table.END) == 1


@pytest.mark.parametrize("kind", PLUG_INS, ids=lambda kind: kind.args)
def test_settings_tables_give_each_plug_ins_keys_and_defaults(kind: PlugIns, tmp_path: Path) -> None:
    documented = plug_in_tables(kind)
    assert list(documented) == kind.names()
    for name, rows in documented.items():
        defaults = {key: in_yaml(cells[0].strip("`"), tmp_path) for key, cells in rows.items()}
        assert defaults == kind.complete(name, {})


def test_settings_table_lists_the_schemas_keys_in_its_order() -> None:
    assert list(settings_table()) == all_keys()


def test_settings_table_gives_the_schemas_defaults(tmp_path: Path) -> None:
    documented = {key: in_yaml(row["default"].strip("`"), tmp_path) for key, row in settings_table().items()}
    assert documented == flatten(Params().as_dict())


@pytest.mark.parametrize("key", [key for key in all_keys() if key.split(".")[-1] not in ("source_args",)])
def test_settings_table_names_every_allowed_choice(key: str) -> None:
    schema: Any = Params.model_json_schema(by_alias=True)
    node: Any = schema
    for name in key.split("."):
        node = node["properties"][name]
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].split("/")[-1]]
    choices = node.get("enum", [])
    listed = [choice.strip() for choice in settings_table()[key]["allowed"].split(",")]
    if choices:
        assert listed == [str(choice) for choice in choices]


def test_settings_named_anywhere_in_the_documents_exist() -> None:
    sections = [name for name, value in Params().as_dict().items() if isinstance(value, dict)]
    named = re.compile(rf"(?<![\w./-])((?:{'|'.join(sections)})(?:\.[a-z_]+)+)(?![\w/(-])")
    # A section's own files and open mappings share the look of a key: data.source_args.year, split.json.
    keys = {*all_keys(), *(key for kind in PLUG_INS for key in kind.own_keys())}
    unknown = {
        f"{path.name}: {name}"
        for path in [*DOCUMENTS, *PRESETS]
        if path != SNAPSHOT  # names settings that do not exist, on purpose
        for name in named.findall(path.read_text(encoding="utf-8"))
        if name not in keys and not name.endswith((".json", ".csv", ".py", ".html"))
        if not name.startswith(("data.source_args.", "data.uncertain.", "model.backbone_args."))
    }
    assert unknown == set()


def separate(params: Params) -> dict[str, Any]:
    return separate_content(params.as_dict())


def separate_content(content: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys, those of plug-ins too."""
    flat = flatten(content)
    for kind in PLUG_INS:
        flat |= {f"{kind.args}.{key}": value for key, value in flat.pop(kind.args, {}).items()}
    return flat


def test_presets_table_lists_the_presets() -> None:
    assert sorted(row[0].strip("`") for row in table_rows("Presets")) == preset_names()


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_preset_loads_and_holds_only_what_differs(path: Path) -> None:
    written = read_yaml(path)
    base = written.pop("base", None)
    start = separate(load_preset(base) if base else Params())
    preset, changes = separate(load_preset(path.stem)), separate_content(written)
    for kind in PLUG_INS:  # another head's or loss's settings are others, whatever their names
        if preset[kind.chosen_by] != start[kind.chosen_by]:
            start = {key: value for key, value in start.items() if not key.startswith(f"{kind.args}.")}
    assert base or "data.source" in changes, "a preset without a base states its data set"
    assert [k for k, v in changes.items() if start.get(k) == v and k != "data.source"] == []
    assert {k: preset[k] for k in changes} == changes
    about = {"preset", *changes, *(kind.chosen_by for kind in PLUG_INS)}
    changed = {k for k, v in preset.items() if k in start and v != start[k]}
    assert changed <= about, "nothing but what it writes is another than its base's"


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_preset_begins_with_result_hardware_and_command(path: Path) -> None:
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    heads = [line for line in comments if not line.startswith("#  ")]
    for line, start in zip(heads, HEAD_OF_PRESET, strict=False):
        assert line.startswith(start.format(name=path.stem)), line
    assert len(heads) >= len(HEAD_OF_PRESET)
    assert "TODO" not in "".join(comments)
    preset = load_preset(path.stem)
    if preset.data.source == "phantom" and preset.data.source_args != load_preset("phantom").data.source_args:
        assert "rm -rf data/raw/phantom &&" in heads[2], "another phantom is not drawn over one that is there"


def test_the_phantoms_preset_expects_what_the_committed_run_has() -> None:
    text = (ROOT / "presets/phantom.yaml").read_text(encoding="utf-8")
    scores = json.loads((ROOT / "metrics/ensemble.json").read_text(encoding="utf-8"))
    oof, test = scores["oof"]["auc_macro"], scores["test"]["auc_macro"]
    assert text.startswith(
        f"# Expected: macro-AUC {oof} out of fold, {test} on the test part: the committed metrics"
    )


def test_coco_presets_differ_only_in_what_they_are_about() -> None:
    """They derive from one recipe; this says it of what they resolve to."""
    recipe = separate(load_preset("db_dgcn"))
    about = {
        "db_dgcn_printed": {"optimizer.lr": 0.5, "optimizer.weight_decay": 1e-3},
        "add_gcn": {"model.head_args.beta": 0.0, "model.head_args.static_init": "random"},
        "resnet101_gap": {"model.head": "linear", "model.dropout": 0.0},
        "resnet101_gmp": {"model.head": "gmp", "model.dropout": 0.0},
    }
    for name, expected in about.items():
        other = separate(load_preset(name))
        assert {k: v for k, v in other.items() if v != recipe[k]} == {"preset": name, **expected}
        assert set(recipe) - set(other) in (set(), {k for k in recipe if k.startswith("model.head_args.")})


def anchors(path: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_resolve(path: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("path", [*DOCUMENTS, *PRESETS], ids=lambda path: path.name)
def test_documents_name_no_absolute_path(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = re.findall(
        r"(?<![\w.:/~$}<-])(?:/(?:home|root|tmp|work|mnt|opt|usr|Users|data)\b[\w./-]*|[A-Z]:\\\w+)", text
    )
    assert found == []


@pytest.mark.parametrize(
    ("document", "heading"),
    [("README.md", "## How fast it is"), ("docs/export.md", "## How far they differ, how fast they are")],
)
def test_a_documents_figures_of_speed_are_the_benchmarks_own(document: str, heading: str) -> None:
    section = (ROOT / document).read_text().split(heading)[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "---" not in line]
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text().splitlines()
    assert len(rows) > 5 and set(rows) <= set(results)


@pytest.mark.parametrize("name", ["README.md", "docs/papers.md"])
def test_tables_of_systems_are_what_couplet_table_says(name: str) -> None:
    blocks = re.findall(
        r"\$ couplet table[^\n]*\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL
    )
    said = as_text(read_measured()).splitlines()
    assert len(blocks) == 1
    for line in blocks[0].splitlines():
        assert line in (*said, "..."), line


def test_results_are_shown_as_the_benchmarks_left_them() -> None:
    assert (ROOT / "benchmarks" / "RESULTS.md").read_text() == page()
