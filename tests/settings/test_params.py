from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from couplet.project.errors import UserError
from couplet.settings.params import Params, all_keys, flatten, load_params, parse_params
from couplet.settings.presets import differences_from_preset, load_preset, params_yaml
from couplet.settings.schema.messages import one_of
from couplet.settings.schema.plugins import LOSSES


def changed(**changes: Any) -> dict[str, Any]:
    content = Params().as_dict()
    for dotted, value in changes.items():
        *sections, key = dotted.split("__")
        place = content
        for section in sections:
            place = place[section]
        place[key] = value
    return content


def refused(content: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        parse_params(content, "params.yaml")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_are_the_papers_values() -> None:
    params = Params()
    assert params.model.backbone == "seresnext101_32x4d.gluon_in1k"
    assert (params.image.size, params.train.batch_size, params.inference.batch_size) == (380, 24, 48)
    assert (params.refiner.alpha, params.refiner.lambda_) == (0.3, 1e-3)
    assert params.loss.args == {"gamma_pos": 0, "gamma_neg": 4, "clip": 0.05}
    assert (params.loss.reduction, params.loss.smoothing) == ("batchmean", 0)
    assert (params.optimizer.lr, params.optimizer.weight_decay, params.optimizer.max_grad_norm) == (
        2e-4,
        1e-4,
        1,
    )
    assert (params.schedule.epochs, params.schedule.warmup_epochs) == (3, 1)
    assert (params.ema.decay, params.model.dropout, params.seed) == (0.999, 0.4, 42)
    assert (params.augment.scale_min, params.augment.scale_max, params.augment.rotation) == (0.84, 1, 10)
    assert params.split.folds == [0, 1, 2]
    assert params.image.codec == "raw"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refner": {}}, "params.yaml: unknown key refner: did you mean refiner?"),
        (
            {"refiner__enabledd": False},
            "params.yaml: unknown key refiner.enabledd: did you mean refiner.enabled?",
        ),
        ({"schedule__lr": 1.0}, "params.yaml: unknown key schedule.lr: did you mean optimizer.lr?"),
        ({"loss__zzz": 1}, "params.yaml: unknown key loss.zzz: allowed here: loss.name, loss.args, loss.red"),
        ({"loss__gamma_neg": 2}, "unknown key loss.gamma_neg: did you mean loss.args.gamma_neg?"),
        ({"refiner__enabled": "no"}, "refiner.enabled = 'no' is not allowed: it should be true or false"),
        ({"refiner__enabled": 0}, "refiner.enabled = 0 is not allowed: it should be true or false"),
        ({"optimizer__lr": "abc"}, "optimizer.lr = 'abc' is not allowed: it should be a number"),
        ({"optimizer__lr": -1}, "optimizer.lr = -1 is not allowed: it should be greater than 0"),
        ({"optimizer__lr": float("nan")}, "optimizer.lr = nan is not allowed: it should be a finite number"),
        ({"schedule__epochs": 2.5}, "schedule.epochs = 2.5 is not allowed: it should be a whole number"),
        ({"train__batch_size": True}, "train.batch_size = True is not allowed: it should be a whole number"),
        (
            {"loss__name": "hinge"},
            f"loss.name = 'hinge' is not allowed: it should be {one_of(LOSSES.names())}",
        ),
        (
            {"data__source": "nihh"},
            "data.source = 'nihh' is not allowed: it should be 'brax', 'chexpert'",
        ),
        ({"data__uncertain": {"Edema": "maybe"}}, "should be 'ignore', 'zeros' or 'ones'"),
        ({"image__channels": 2}, "image.channels = 2 is not allowed: it should be 1 or 3"),
        ({"image__codec": "png"}, "image.codec = 'png' is not allowed: it should be 'raw' or 'jpeg'"),
        ({"model": None}, "model = nothing is not allowed: it should be keys with values"),
        ({"split__folds": 3}, "split.folds = 3 is not allowed: it should be a list"),
        (
            {"split__folds": [0, 2]},
            "split.folds must be 0 to K-1 in order, for example [0, 1, 2], not [0, 2]",
        ),
        ({"split__folds": [0]}, "split.folds needs at least two folds, or split.holdout above 0"),
        ({"split__holdout": 0.05}, "split.holdout above 0 needs split.folds: [0]"),
        ({"schedule__epochs": 1}, "schedule.warmup_epochs = 1 leaves no step for the cosine"),
        ({"schedule__milestones": [4, 4]}, "schedule.milestones must rise from 1 on, not [4, 4]"),
        ({"image__store_size": 300}, "image.store_size must be at least image.size"),
        ({"model__backbone": "resnet50"}, "needs its weights' tag with model.pretrained: true"),
        ({"augment__scale_min": 0.9, "augment__scale_max": 0.8}, "augment.scale_min = 0.9 is above"),
    ],
)
def test_mistakes_are_one_line_with_key_value_and_remedy(changes: dict[str, Any], message: str) -> None:
    assert message in refused(changed(**changes))


def test_several_mistakes_are_counted() -> None:
    assert refused(changed(optimizer__lr=0, ema__decay=1.0)).endswith("(and 1 more)")


def test_yaml_1_2_scalars(tmp_path: Path) -> None:
    """DVC reads YAML 1.2: 2e-4 is a number and `no` is a string; PyYAML alone would read both the other way."""
    path = tmp_path / "params.yaml"
    path.write_text("optimizer:\n  lr: 2e-4\n  weight_decay: 1E-5\n")
    assert load_params(path).optimizer.lr == 2e-4
    path.write_text("seed: 010\nrefiner:\n  alpha: 010\n")
    assert (load_params(path).seed, load_params(path).refiner.alpha) == (10, 10.0)  # YAML 1.1: eight
    path.write_text("refiner:\n  enabled: no\n")
    with pytest.raises(UserError, match=r"refiner\.enabled = 'no' is not allowed"):
        load_params(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: [1", r"params.yaml line \d+, column \d+: "),
        ("seed: 1\nseed: 2\n", "line 2, column 1: key 'seed' is there twice"),
        ("- 1\n", "must hold keys and values, not list"),
        ("", "must hold keys and values, not nothing"),
    ],
)
def test_files_that_are_not_settings(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_params(path)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there: run this in the project's root"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        load_params(tmp_path / "params.yaml")


def test_written_params_read_back_equal(tmp_path: Path) -> None:
    content = changed(
        data__uncertain={"Edema": "ones", "Pleural Effusion": "zeros"},
        model__backbone_args={"layers": [1, 2], "stem_type": "deep"},
        schedule__milestones=[],
        schedule__name="step",
    )
    params = parse_params(content, "here")
    path = tmp_path / "params.yaml"
    path.write_text(params_yaml(params))
    assert load_params(path) == params
    assert "null" not in path.read_text()


def test_every_setting_has_a_note() -> None:
    lines = params_yaml(Params()).splitlines()
    for key in all_keys():
        name = key.rsplit(".", 1)[-1]
        assert any(line.strip().startswith(f"{name}:") and "# " in line for line in lines), key


def test_committed_params_are_the_phantom_preset(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project_root)
    committed = load_params()
    assert committed == load_preset("phantom")
    assert (project_root / "params.yaml").read_text() == params_yaml(committed)
    assert differences_from_preset(committed) == []


def test_phantom_preset_only_shrinks(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's algorithmic values are the committed ones: only data, sizes, backbone, epochs and rate differ."""
    monkeypatch.chdir(project_root)
    ours, paper = flatten(load_preset("phantom").as_dict()), flatten(load_preset("paper").as_dict())
    differing = {key for key in ours if ours[key] != paper[key]}
    assert differing <= {
        "preset",
        "data.source",
        "data.source_args",
        "image.size",
        "image.store_size",
        "image.codec",
        "model.backbone",
        "model.pretrained",
        "model.backbone_args",
        "optimizer.lr",
        "train.arithmetic",
        "train.batch_size",
        "schedule.epochs",
    }


def test_differences_from_the_preset(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project_root)
    content = load_preset("paper").as_dict()
    content["refiner"]["enabled"] = False
    assert differences_from_preset(parse_params(content, "x")) == [("refiner.enabled", True, False)]


def test_unknown_preset_names_the_nearest(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project_root)
    with pytest.raises(UserError, match="no preset 'papper' in presets/: did you mean paper"):
        load_preset("papper")
    with pytest.raises(UserError, match=r"no preset '\.\./x'"):
        load_preset("../x")


def test_a_merge_conflict_is_called_one_with_its_line(tmp_path: Path) -> None:
    """Whatever its sides are: this one would be the preset's name and a second line of it."""
    path = tmp_path / "params.yaml"
    path.write_text(
        "preset: paper\n<<<<<<< Updated upstream\nseed: 1\n=======\nseed: 2\n>>>>>>> Stashed changes\n"
    )
    with pytest.raises(
        UserError, match=r"params\.yaml line 2: git left a merge conflict here \(<<<<<<< Updated"
    ):
        load_params(path)
