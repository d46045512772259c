"""Heads, losses and data sets bring their own settings: found by file, complete, and nobody else's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from couplet.project.errors import UserError
from couplet.settings import heads
from couplet.settings.heads import db_dgcn, linear
from couplet.settings.losses import asl, bce
from couplet.settings.params import Params, load_params, parse_params
from couplet.settings.presets import params_yaml
from couplet.settings.schema.messages import one_of
from couplet.settings.schema.plugins import HEADS, LOSSES, SOURCES
from couplet.settings.schema.sources import Source, SourceOrNone
from tests.support.projects import ROOT

GRAPH_DEFAULTS = {
    "dim": 1024,
    "beta": 0.5,
    "omega": 0.5,
    "pool": "max",
    "normalize": False,
    "share_dynamic": False,
    "static_init": "cooccurrence",
    "static_trainable": True,
}


def params(**sections: dict[str, Any]) -> Params:
    return parse_params(sections, "params.yaml")


def refused(**sections: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        params(**sections)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_names_are_those_of_the_files() -> None:
    for kind, folder in ((HEADS, "heads"), (LOSSES, "losses"), (SOURCES, "sources")):
        files = sorted(path.stem for path in (ROOT / "src/couplet/settings" / folder).glob("[a-z]*.py"))
        assert kind.names() == files
    assert list(get_args(Source)) == SOURCES.names() and list(get_args(SourceOrNone)) == [
        "none",
        *SOURCES.names(),
    ]
    assert {"db_dgcn", "gmp", "linear"} <= set(HEADS.names()) and {"asl", "bce"} <= set(LOSSES.names())
    assert HEADS.settings("db_dgcn") is db_dgcn.Settings and LOSSES.settings("bce") is bce.Settings


def test_a_new_file_is_a_new_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = HEADS.names()
    (tmp_path / "mine.py").write_text(
        "from couplet.settings.schema.section import Section\nclass Settings(Section):\n    width: int = 3\n"
    )
    monkeypatch.setattr(heads, "__path__", [*heads.__path__, str(tmp_path)])
    assert HEADS.names() == sorted([*found, "mine"])
    assert params(model={"head": "mine"}).model.head_args == {"width": 3}
    assert f"it should be {one_of(HEADS.names())}" in refused(model={"head": "min"})


def test_settings_are_complete_and_typed() -> None:
    model = params(model={"head": "db_dgcn", "head_args": {"beta": 0}}).model
    assert model.head_args == GRAPH_DEFAULTS | {"beta": 0.0}
    assert isinstance(model.head_args["beta"], float)
    assert model.head_settings == db_dgcn.Settings(beta=0.0)
    assert Params().model.head_args == {} and Params().model.head_settings == linear.Settings()

    loss = params(loss={"args": {"clip": 0.0}}).loss
    assert loss.args == {"gamma_pos": 0.0, "gamma_neg": 4.0, "clip": 0.0}
    assert loss.settings == asl.Settings(clip=0.0)
    assert params(loss={"name": "bce"}).as_dict()["loss"]["args"] == {"pos_weight": True}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"model": {"head_args": {"beta": 0.5}}},
            "unknown key model.head_args.beta for model.head = linear: nothing is allowed here; "
            "take it out, on the command line with -S '~model.head_args'",
        ),
        (
            {"loss": {"name": "bce", "args": {"gamma_pos": 0.0, "gamma_neg": 4.0, "clip": 0.05}}},
            "unknown key loss.args.gamma_pos for loss.name = bce: allowed: pos_weight; "
            "take it out, on the command line with -S '~loss.args'",
        ),
        (
            {"loss": {"args": {"gama_neg": 4.0}}},
            "unknown key loss.args.gama_neg for loss.name = asl: "
            "did you mean 'gamma_neg'? (allowed: gamma_pos, gamma_neg, clip)",
        ),
        (
            {"model": {"head": "db_dgcn", "head_args": {"pool": "sum"}}},
            "model.head_args.pool = 'sum' is not allowed: it should be 'max', 'mean' or 'lse'",
        ),
        (
            {"model": {"head": "db_dgcn", "head_args": {"dim": "wide"}}},
            "model.head_args.dim = 'wide' is not allowed: it should be a whole number",
        ),
        (
            {"loss": {"args": {"gamma_neg": -1}}},
            "loss.args.gamma_neg = -1 is not allowed: it should be greater than or equal to 0",
        ),
        ({"loss": {"args": 3}}, "loss.args = 3 is not allowed: it should be keys with values"),
        ({"loss": {"args": {1: 3}}}, "the key loss.args.1 is not allowed: a key should be text"),
        (
            {"model": {"head": "x", "head_args": {"beta": 0.5}}},
            f"model.head = 'x' is not allowed: it should be {one_of(HEADS.names())}",
        ),
        ({"model": {"head": 3}}, f"model.head = 3 is not allowed: it should be {one_of(HEADS.names())}"),
        ({"loss": {"name": []}}, f"loss.name = [] is not allowed: it should be {one_of(LOSSES.names())}"),
    ],
)
def test_anything_else_is_one_line_with_the_key_and_the_remedy(
    sections: dict[str, dict[str, Any]], message: str
) -> None:
    assert refused(**sections) == f"params.yaml: {message}"


def test_the_json_schema_lists_the_names() -> None:
    definitions = Params.model_json_schema()["$defs"]
    assert definitions["ModelParams"]["properties"]["head"]["enum"] == HEADS.names()
    assert definitions["DataParams"]["properties"]["source"]["enum"] == SOURCES.names()
    assert definitions["LossParams"]["properties"]["name"]["enum"] == LOSSES.names()


def test_params_yaml_explains_a_plug_ins_settings_and_reads_back_equal(tmp_path: Path) -> None:
    graph = params(model={"head": "db_dgcn", "head_args": {"dim": 7}}, loss={"name": "bce"})
    text = params_yaml(graph)
    assert "\n  head_args:  # the head's own settings, docs/presets.md\n    dim: 7  # width D of " in text
    assert "\n    pos_weight: true  # weight positives by " in text
    (tmp_path / "params.yaml").write_text(text)
    assert load_params(tmp_path / "params.yaml") == graph
    assert "\n  head_args: {}  # the head's own settings" in params_yaml(Params())


def test_settings_import_neither_torch_nor_pandas_and_no_other_plug_in() -> None:
    program = (
        "import sys; from couplet.settings.params import Params; Params();"
        "print(sorted(m for m in sys.modules if m.startswith(('couplet.settings.heads.', 'couplet.settings.sources.'))),"
        "any(m in sys.modules for m in ('torch', 'pandas')))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "['couplet.settings.heads.linear'] False\n"


def test_settings_of_data_sets_are_free_of_pandas_and_known_by_name() -> None:
    """`couplet check` imports the chosen one, and the members' of a combined set."""
    program = (
        "import sys; from couplet.settings.schema.plugins import SOURCES;"
        "from couplet.settings.source_args import source_settings;"
        "needed = {'combined': {'members': {'nih': {}}}};"
        "print(*(type(source_settings(name, needed.get(name, {}))).__module__.split('.')[-1] for name in SOURCES.names()));"
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'pandas') or m.startswith('couplet.datasets')])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [" ".join(SOURCES.names()), "[]"]


def test_dvc_takes_out_what_the_message_says(tmp_path: Path) -> None:
    """What `dvc exp run -S loss.name=bce -S '~loss.args' -S +loss.args.pos_weight=false` makes of params.yaml."""
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides

    path = tmp_path / "params.yaml"
    for options, expected in (
        (["loss.name=bce", "~loss.args"], {"pos_weight": True}),
        (["loss.name=bce", "~loss.args", "+loss.args.pos_weight=false"], {"pos_weight": False}),
    ):
        path.write_text(params_yaml(Params()))
        apply_overrides(path, to_path_overrides(options)["params.yaml"])
        assert load_params(path).loss.args == expected
    path.write_text(params_yaml(params(model={"head": "db_dgcn"})))
    apply_overrides(path, ["model.head=linear", "~model.head_args"])
    assert load_params(path) == Params()
