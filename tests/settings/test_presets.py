"""Presets that derive from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from couplet.project.errors import UserError
from couplet.settings.params import Params, flatten, parse_params
from couplet.settings.presets import differences_from_preset, keep, load_preset


@pytest.fixture(autouse=True)
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "graph.yaml").write_text(
        "data:\n  source: coco\nmodel:\n  head: db_dgcn\n  head_args:\n    dim: 64\n    beta: 0.25\n"
        "loss:\n  name: bce\n  args:\n    pos_weight: false\nschedule:\n  name: step\n  milestones: [1, 2]\n"
    )
    return folder


def test_a_preset_takes_its_bases_settings_then_its_own(presets: Path) -> None:
    (presets / "wide.yaml").write_text("base: graph\nmodel:\n  head_args:\n    dim: 128\n")
    (presets / "wide_slow.yaml").write_text(
        "base: wide\nschedule:\n  milestones: [2]\noptimizer:\n  lr: 0.5\n"
    )
    params = load_preset("wide_slow")
    assert (params.preset, params.data.source, params.loss.args) == (
        "wide_slow",
        "coco",
        {"pos_weight": False},
    )
    assert (params.model.head_args["dim"], params.model.head_args["beta"]) == (128, 0.25)
    assert (params.schedule.milestones, params.optimizer.lr) == ([2], 0.5)
    base, derived = flatten(load_preset("wide").as_dict()), flatten(params.as_dict())
    assert {k for k in base if base[k] != derived[k]} == {"preset", "schedule.milestones", "optimizer.lr"}


def test_another_head_or_loss_starts_from_its_own_defaults(presets: Path) -> None:
    (presets / "plain.yaml").write_text("base: graph\nmodel:\n  head: gmp\nloss:\n  name: asl\n")
    params = load_preset("plain")
    assert params.model.head_args == {}
    assert params.loss.args == Params().loss.args
    (presets / "back.yaml").write_text("base: plain\nmodel:\n  head: db_dgcn\n  head_args:\n    beta: 0.0\n")
    assert (load_preset("back").model.head_args["dim"], load_preset("back").model.head_args["beta"]) == (
        1024,
        0,
    )
    (presets / "same.yaml").write_text("base: graph\nmodel:\n  head: db_dgcn\n")
    assert load_preset("same").model.head_args["dim"] == 64


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a": "base: grap\n"},
            "presets/a.yaml: base = 'grap': no preset 'grap' in presets/: did you mean graph?",
        ),
        (
            {"a": "base: ../x\n"},
            "presets/a.yaml: base = '../x': no preset '../x' in presets/: there are: a, graph",
        ),
        ({"a": "base: 3\n"}, "presets/a.yaml: base = 3 is not allowed: it should be the name of a preset"),
        (
            {"a": "base: a\n"},
            "presets/a.yaml: base = 'a' leads in a circle, a -> a: take one of these bases out",
        ),
        (
            {"a": "base: b\n", "b": "base: c\n", "c": "base: b\n"},
            "presets/c.yaml: base = 'b' leads in a circle, b -> c -> b: take one of these bases out",
        ),
        (
            {"a": "base: b\n", "b": "seed: x\n"},
            "presets/b.yaml: seed = 'x' is not allowed: it should be a whole number",
        ),
        (
            {"a": "base: graph\nmodel:\n  head: linear\n  head_args:\n    dim: 3\n"},
            "presets/a.yaml: unknown key model.head_args.dim for model.head = linear: nothing is allowed here; "
            "take it out, on the command line with -S '~model.head_args'",
        ),
    ],
)
def test_mistakes_name_the_file_that_makes_them(presets: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (presets / f"{name}.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_preset("a")
    assert str(caught.value) == message


def test_what_is_kept_stays_and_all_else_is_the_presets(presets: Path) -> None:
    now = parse_params(
        {"data": {"source": "nih"}, "model": {"dropout": 0.1}, "schedule": {"epochs": 5}, "seed": 7}, "x"
    )
    mixed = keep(load_preset("graph"), now, ["data", "model.dropout", "schedule.epochs", "seed"], "x")
    ours, graph = flatten(mixed.as_dict()), flatten(load_preset("graph").as_dict())
    kept = {"data.source": "nih", "model.dropout": 0.1, "schedule.epochs": 5, "seed": 7}
    assert {key: value for key, value in ours.items() if value != graph[key]} == kept
    assert keep(load_preset("graph"), now, [], "x") == load_preset("graph")


def test_what_cannot_be_kept_is_said() -> None:
    preset = load_preset("graph")
    for key, message in (
        ("datta", "--keep datta: params.yaml has no such section or setting: did you mean data?"),
        ("preset", "--keep preset: params.yaml has no such section or setting: docs/presets.md lists them"),
        ("model.head_args", "graph with --keep: unknown key model.head_args.heads for model.head = db_dgcn"),
        ("schedule.milestones,schedule.epochs", "--keep schedule.milestones,schedule.epochs: "),
    ):
        with pytest.raises(UserError) as caught:
            keep(preset, parse_params({"model": {"head": "csra"}}, "x"), [key], "graph with --keep")
        assert str(caught.value).startswith(message), key
    with pytest.raises(UserError, match=r"schedule.milestones = \[1, 2\]: 1 is never reached"):
        keep(
            preset,
            parse_params({"schedule": {"epochs": 1, "warmup_epochs": 0}}, "x"),
            ["schedule.epochs"],
            "x",
        )


def test_params_yaml_has_no_base() -> None:
    with pytest.raises(UserError, match=r"^params\.yaml: unknown key base: "):
        parse_params({"base": "graph"}, "params.yaml")


def test_differences_are_named_by_the_plug_ins_own_keys() -> None:
    content = load_preset("graph").as_dict()
    content["model"]["head_args"]["beta"] = 0.0
    assert differences_from_preset(parse_params(content, "x")) == [("model.head_args.beta", 0.25, 0.0)]
    content["model"] |= {"head": "linear", "head_args": {}}
    keys = [key for key, _, _ in differences_from_preset(parse_params(content, "x"))]
    assert keys == ["model.head", "model.head_args"]
