"""Settings that cannot change anything under the others: refused where that is a mistake, else said in a line."""

from __future__ import annotations

from typing import Any

import pytest

from couplet.settings.idle import idle_lines
from couplet.settings.params import Params
from couplet.settings.presets import load_preset, preset_names
from couplet.training.schedule import learning_rate_factor
from tests.support.errors import refused
from tests.support.params import params_with, set_dotted

GRAPH = {"model.head": "db_dgcn"}
PLATEAU = {"schedule.name": "plateau", "schedule.epochs": 10}
STEP = {"schedule.name": "step", "schedule.epochs": 10, "schedule.milestones": [4]}


def lines(**changes: Any) -> list[str]:
    """What is said of these changes to the defaults; "__" in the place of a dot."""
    return idle_lines(
        params_with({key.replace("__", "."): value for key, value in changes.items()}), Params()
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {**STEP, "schedule.milestones": [4, 10]},
            "params.yaml: schedule.milestones = [4, 10]: 10 is never reached, schedule.epochs = 10 are numbered 0 to "
            "9: lower it, take it out or raise schedule.epochs",
        ),
        (
            {"schedule.name": "step", "schedule.epochs": 1, "schedule.milestones": [1, 2]},
            "params.yaml: schedule.milestones = [1, 2]: 1 is never reached, schedule.epochs = 1 are numbered 0 to 0: "
            "lower it, take it out or raise schedule.epochs",
        ),
        (
            {**PLATEAU, "schedule.factor": 2.0},
            "params.yaml: schedule.factor = 2.0 is not allowed: it should be less than or equal to 1",
        ),
        (
            {"loss.smoothing": 1.0},
            "params.yaml: loss.smoothing = 1.0 is not allowed: it should be less than 1",
        ),
        (
            {"train.device": "cpu", "train.precision": "fp16"},
            "params.yaml: train.precision = 'fp16' needs a GPU, and train.device is cpu: set train.precision to auto, "
            "bf16 or float32, or train.device to auto",
        ),
    ],
)
def test_what_is_certainly_a_mistake_is_refused(changes: dict[str, Any], message: str) -> None:
    assert refused(params_with, changes) == message


def test_the_last_milestone_that_counts_is_the_last_epochs_number() -> None:
    """Epoch 10 of ten is number 9: from its first step on the rate is lower, and milestone 10 has no step."""
    schedule = params_with({**STEP, "schedule.milestones": [9]}).schedule
    assert [learning_rate_factor(schedule, step, 5) for step in (44, 45, 49)] == [1.0, 0.1, 0.1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"schedule.milestones": [1]},
            "schedule.milestones = [1] is not read: schedule.name is warmup_cosine",
        ),
        ({"model.levels.count": 3}, "model.levels.count = 3 is not read: model.levels.kind is single"),
        (
            {"model.levels.threshold": 0.5},
            "model.levels.threshold = 0.5 is not read: model.levels.kind is single",
        ),
        (
            {"model.levels.kind": "ag_cnn", "model.levels.boost": 0.5},
            "model.levels.boost = 0.5 is not read: model.levels.kind is ag_cnn",
        ),
        (
            {"model.levels.kind": "cascade", "model.levels.count": 1, "model.levels.boost": 0.5},
            "model.levels.boost = 0.5 is not read: model.levels.count is 1",
        ),
        ({"schedule.factor": 0.5}, "schedule.factor = 0.5 is not read: schedule.name is warmup_cosine"),
        (
            {**STEP, "schedule.warmup_epochs": 2},
            "schedule.warmup_epochs = 2 is not read: schedule.name is step",
        ),
        (
            {"schedule.name": "step"},
            "schedule.name = step without schedule.milestones: the learning rate never falls",
        ),
        ({**STEP, "schedule.factor": 1.0}, "schedule.factor = 1.0: the learning rate never falls"),
        ({"schedule.patience": 2}, "schedule.patience = 2 is not read: schedule.name is warmup_cosine"),
        ({**STEP, "schedule.patience": 2}, "schedule.patience = 2 is not read: schedule.name is step"),
        (
            {**PLATEAU, "schedule.milestones": [4]},
            "schedule.milestones = [4] is not read: schedule.name is plateau",
        ),
        ({**PLATEAU, "schedule.factor": 1.0}, "schedule.factor = 1.0: the learning rate never falls"),
        (
            {**PLATEAU, "schedule.patience": 8},
            "schedule.patience = 8 with schedule.epochs = 10: the learning rate never falls",
        ),
        (
            {**PLATEAU, "schedule.patience": 3, "train.patience": 4},
            "schedule.patience = 3: with train.patience = 4 training ends where the rate falls",
        ),
        (
            {"optimizer.weight_decay": 0.0, "optimizer.decay_vectors": False},
            "optimizer.decay_vectors = false is not read: optimizer.weight_decay is 0",
        ),
        ({"optimizer.momentum": 0.5}, "optimizer.momentum = 0.5 is not read: optimizer.name is adamw"),
        ({"ema.enabled": False, "ema.decay": 0.9}, "ema.decay = 0.9 is not read: ema.enabled is false"),
        (
            {"ema.decay": 0.0},
            "ema.decay = 0.0: the averaged weights are the last step's, as with ema.enabled: false",
        ),
        (
            {"refiner.enabled": False, "refiner.alpha": 0.5},
            "refiner.alpha = 0.5 is not read: refiner.enabled is false",
        ),
        (
            {"refiner.enabled": False, "refiner.lambda": 0.1},
            "refiner.lambda = 0.1 is not read: refiner.enabled is false",
        ),
        (
            {"refiner.enabled": False, "refiner.message": "calibrated"},
            "refiner.message = calibrated is not read: refiner.enabled is false",
        ),
        (
            {"refiner.sparsity": "proximal", "refiner.lambda": 0.0},
            "refiner.sparsity = proximal with refiner.lambda = 0: nothing pulls a coupling to zero",
        ),
        (
            {"refiner.alpha": 0.0},
            "refiner.alpha = 0.0: the couplings move no logit, as with refiner.enabled: false",
        ),
        (
            {"refiner.fit": "out_of_fold", "refiner.alpha": 0.5},
            "refiner.alpha = 0.5 is not read: refiner.fit is out_of_fold",
        ),
        (
            {"refiner.fit": "out_of_fold", "refiner.lambda": 0.1},
            "refiner.lambda = 0.1 is not read: refiner.fit is out_of_fold",
        ),
        (
            {"refiner.fit": "out_of_fold", "refiner.alpha": 0.0},
            "refiner.alpha = 0.0 is not read: refiner.fit is out_of_fold",
        ),
        ({"refiner.strictness": 1.0}, "refiner.strictness = 1.0 is not read: refiner.fit is joint"),
        (
            {"refiner.enabled": False, "refiner.fit": "out_of_fold"},
            "refiner.fit = out_of_fold is not read: refiner.enabled is false",
        ),
        (
            {"refiner.enabled": False, "refiner.strictness": 1.0},
            "refiner.strictness = 1.0 is not read: refiner.enabled is false",
        ),
        (
            {"augment.crop": "multi_scale", "augment.scale_min": 0.5},
            "augment.scale_min = 0.5 is not read: augment.crop is multi_scale",
        ),
        (
            {"augment.crop": "none", "augment.ratio_max": 1.0},
            "augment.ratio_max = 1.0 is not read: augment.crop is none",
        ),
        ({"train.patience": 9}, "train.patience = 9 never stops a training of schedule.epochs = 3"),
        ({**GRAPH, "model.dropout": 0.1}, "model.dropout = 0.1 is not read: model.head is db_dgcn"),
        (
            {**GRAPH, "model.head_args": {"omega": 0.0, "pool": "mean"}},
            "model.head_args.pool = mean is not read: model.head_args.omega is 0",
        ),
        (
            {**GRAPH, "model.head_args": {"beta": 0.0, "share_dynamic": True}},
            "model.head_args.share_dynamic = true is not read: model.head_args.beta is 0",
        ),
        (
            {**GRAPH, "model.head_args": {"beta": 1.0, "static_init": "random"}},
            "model.head_args.static_init = random is not read: model.head_args.beta is 1",
        ),
        (
            {"model.freeze": 1.0, "optimizer.backbone_lr_factor": 0.1},
            "optimizer.backbone_lr_factor = 0.1 is not read: model.freeze is 1",
        ),
        (
            {"image.store_size": 380, "inference.view": "centre"},
            "inference.view = centre: image.store_size is image.size, so every view is the whole picture",
        ),
        (
            {"calibration.method": "none", "calibration.sharpen": False},
            "calibration.sharpen = false is not read: calibration.method is none",
        ),
        (
            {"split.folds": [0], "split.holdout": 0.1, "calibration.sharpen": False},
            "calibration.sharpen = false is not read: the ensemble of one fold is its model",
        ),
        (
            {**GRAPH, "model.head_args": {"omega": 1.0}},
            "model.head_args.omega = 1.0: the graphs have no weight, and none of their settings changes a logit",
        ),
    ],
)
def test_what_cannot_matter_is_said_in_one_line(changes: dict[str, Any], said: str) -> None:
    assert idle_lines(params_with(changes), Params()) == [said]


def test_several_are_said_section_by_section() -> None:
    assert lines(refiner__enabled=False, refiner__alpha=0.5, optimizer__momentum=0.0, ema__decay=0.0) == [
        "refiner.alpha = 0.5 is not read: refiner.enabled is false",
        "optimizer.momentum = 0.0 is not read: optimizer.name is adamw",
        "ema.decay = 0.0: the averaged weights are the last step's, as with ema.enabled: false",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"refiner.enabled": False},  # the ablation needs no other key
        {"refiner.fit": "out_of_fold"},
        {"refiner.fit": "out_of_fold", "refiner.strictness": 1.0},
        {"ema.enabled": False},
        {"calibration.method": "none"},
        # The inverse's mean is too unsure, too.
        {"calibration.method": "inverse", "calibration.sharpen": False},
        {"augment.crop": "none"},
        STEP,
        PLATEAU,
        {**PLATEAU, "schedule.warmup_epochs": 0, "train.patience": 8, "schedule.patience": 6},
        {"optimizer.name": "sgd", "optimizer.momentum": 0.0},
        {"schedule.epochs": 2},  # the default patience of 3 never stops it
        {"schedule.epochs": 12, "train.patience": 10},  # epoch 1 is the best: it stops after 11
        GRAPH,
    ],
)
def test_defaults_are_never_complained_about(changes: dict[str, Any]) -> None:
    assert idle_lines(params_with(changes), Params()) == []


def test_patience_is_idle_from_the_last_epoch_but_one_on() -> None:
    """The first epoch is the best at worst: 11 epochs later there is no 12th left to spare of 12."""
    assert lines(schedule__epochs=12, train__patience=11) == [
        "train.patience = 11 never stops a training of schedule.epochs = 12"
    ]


def test_no_preset_and_no_ablation_of_one_has_an_idle_setting(project_root: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(project_root)
    for name in preset_names():
        preset = load_preset(name)
        # db_dgcn's patience is chosen so that nothing is stopped before its milestones.
        assert [
            line for line in idle_lines(preset, Params()) if not line.startswith("train.patience")
        ] == [], name
        off = set_dotted(preset.as_dict(), {"refiner.enabled": False, "ema.enabled": False})
        assert idle_lines(Params.model_validate(off), preset) == [], name


def test_a_presets_own_value_is_not_complained_about() -> None:
    """Somebody's preset has alpha = 0.5; its ablation without the refiner is one key, and silent."""
    preset = params_with({"refiner.alpha": 0.5})
    off = params_with({"refiner.alpha": 0.5, "refiner.enabled": False})
    assert idle_lines(off, preset) == []
    assert idle_lines(off, Params()) == ["refiner.alpha = 0.5 is not read: refiner.enabled is false"]
    # A preset with milestones, which are taken away: both keys take part, and one of them is not the preset's.
    assert idle_lines(params_with({"schedule.name": "step"}), params_with(STEP)) == [
        "schedule.name = step without schedule.milestones: the learning rate never falls"
    ]


def test_no_warm_up_is_how_step_is_and_no_idle_setting() -> None:
    assert idle_lines(params_with({**STEP, "schedule.warmup_epochs": 0}), Params()) == []


def test_settings_of_an_external_test_without_a_source_are_not_read() -> None:
    assert lines(data__external__folder="other") == [
        "data.external.folder = other is not read: data.external.source is none"
    ]
    assert lines(data__external__source="nih", data__external__part="test") == []
