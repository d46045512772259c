"""The loop on a made-up store: what it sees, what it skips, when it stops, how it resumes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from couplet.images.loading.views import evaluation_crops, evaluation_view
from couplet.models.predictor import Predictor, build_predictor
from couplet.project.errors import UserError
from couplet.settings.params import Params, parse_params
from couplet.settings.presets import load_preset
from couplet.settings.schema.plugins import HEADS
from couplet.training import validation
from couplet.training.checkpoint import training_tensors
from couplet.training.loop import Trainer
from couplet.training.phases import Phase, train_in_phases
from couplet.training.schedule import plateau
from couplet.training.state import FoldData
from tests.support.folds import (
    LABELS,
    N_TRAIN,
    SIZE,
    final,
    killed_and_resumed,
    killed_at,
    made_up_fold,
    settings,
    state_of,
    trainer,
    with_bad_batches,
)
from tests.support.heads import SMALL_HEADS
from tests.support.stores import write_store


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FoldData:
    return made_up_fold(tmp_path_factory.mktemp("prepared"))


def seen_batches(data: FoldData, params: Params, folder: Path) -> list[torch.Tensor]:
    """Every batch of images that the backbone was trained on."""
    run, seen = trainer(data, params), []
    run.predictor.backbone.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].clone()) if module.training else None
    )
    run.run(folder)
    return seen


def test_the_ablation_starts_from_the_same_weights_and_sees_the_same_batches(
    data: FoldData, tmp_path: Path
) -> None:
    full, ablation = settings(), settings(refiner__enabled=False)
    ours, theirs = trainer(data, full).predictor, trainer(data, ablation).predictor
    assert theirs.refiner is None and ours.refiner is not None
    for part in ("backbone", "head"):
        a, b = getattr(ours, part).state_dict(), getattr(theirs, part).state_dict()
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    first, second = (seen_batches(data, p, tmp_path / str(i)) for i, p in enumerate((full, ablation)))
    assert len(first) == 3 * (N_TRAIN // 8)  # the last incomplete batch is dropped
    assert all(batch.shape == (8, 3, SIZE, SIZE) for batch in first)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_folds_epochs_and_seeds_see_different_batches(data: FoldData, tmp_path: Path) -> None:
    first = seen_batches(data, settings(), tmp_path / "a")
    assert not torch.equal(first[0], first[3])
    assert not torch.equal(first[0], seen_batches(data, settings() | _seed(7), tmp_path / "b")[0])


def test_a_repeat_is_another_training_and_both_arms_of_it_see_the_same(
    data: FoldData, tmp_path: Path
) -> None:
    """Order, views and dropout follow train.repeat; 0 is what was there before it."""
    arms = [
        [settings(train__repeat=repeat, refiner__enabled=enabled) for enabled in (True, False)]
        for repeat in (0, 1)
    ]
    seen = [
        [seen_batches(data, params, tmp_path / f"{i}{j}") for j, params in enumerate(arm)]
        for i, arm in enumerate(arms)
    ]
    for ours, theirs in seen:
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert all(
        torch.equal(a, b)
        for a, b in zip(seen[0][0], seen_batches(data, settings(), tmp_path / "default"), strict=True)
    )
    assert not any(torch.equal(a, b) for a, b in zip(seen[0][0], seen[1][0], strict=True))
    rows, stored = np.arange(8), torch.zeros(8, 1, SIZE, SIZE, dtype=torch.uint8)
    seeds = [trainer(data, params).batch(stored, rows).seed for params in (*arms[0], *arms[1])]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


class _seed:
    """`settings() | _seed(7)`: the same settings with another seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __ror__(self, params: Params) -> Params:
        return params.model_copy(update={"seed": self.seed})


def test_a_run_in_two_phases_goes_on_in_the_second_and_ends_with_the_same_bytes(
    data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = settings(train__checkpoint_minutes=1e-9)
    phases = (
        Phase("head", lambda predictor: predictor.backbone.requires_grad_(False) and None),
        Phase("all", lambda predictor: predictor.backbone.requires_grad_(True) and None),
    )

    def predictor() -> Predictor:
        built = build_predictor(params, LABELS, (params.seed, 0), data.train_truth)
        return built.to(memory_format=torch.channels_last)

    def run(folder: Path) -> dict[str, torch.Tensor]:
        trained = predictor()
        train_in_phases(trained, lambda ready: Trainer(ready, params, 0, data, "float32"), folder, phases)
        return state_of(trained)

    straight = run(tmp_path / "straight")
    start = predictor().state_dict()
    assert not torch.equal(
        straight["backbone.network.conv1.weight"], start["backbone.network.conv1.weight"]
    ), "the second phase trains it"

    with killed_at(9 + 4, monkeypatch):  # three epochs of three batches are the first phase
        run(tmp_path / "killed")
    resumed = run(tmp_path / "killed")
    assert all(torch.equal(resumed[key], straight[key]) for key in straight)


@pytest.mark.parametrize("head", ["linear", "db_dgcn"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("killed_at", [2, 3, 7])
def test_a_resumed_run_equals_a_straight_one(
    data: FoldData, tmp_path: Path, head: str, optimizer: str, killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = settings(model__head=head, optimizer__name=optimizer, train__checkpoint_minutes=1e-9)
    killed_and_resumed(data, tmp_path, params, killed_at, monkeypatch)


@pytest.mark.parametrize("refiner", [True, False])
@pytest.mark.parametrize("head", [name for name in HEADS.names() if name not in ("linear", "db_dgcn")])
def test_with_every_head_the_resumed_run_ends_with_the_same_bytes(
    data: FoldData, tmp_path: Path, head: str, refiner: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map of 2 x 2 positions, two epochs, killed in the second; every parameter that is trained has moved."""
    params = settings(
        model__head=head,
        model__head_args=SMALL_HEADS.get(head, {}),
        model__backbone_args={"channels": [8, 8, 16, 16], "output_stride": 16},
        refiner__enabled=refiner,
        schedule__epochs=2,
        train__checkpoint_minutes=1e-9,
    )
    start = dict(trainer(data, params).predictor.head.named_parameters())
    run = killed_and_resumed(data, tmp_path, params, 4, monkeypatch)
    assert run.progress.skipped == 0 and all(bool(value.isfinite().all()) for value in final(run).values())
    trained = run.predictor.head.named_parameters()
    still = [name for name, parameter in trained if torch.equal(parameter, start[name])]
    assert still == []


# Total parameters with 80 labels, built without memory.
RIVALS = {
    "csra_coco": 43_155_600,
    "ml_gcn_coco": 44_679_312,
    "rdar_coco": 54_344_852,
    "tresnet_asl_coco": 53_750_896,
    "ml_decoder_coco": 61_001_840,
    "query2label_coco": 193_906_832,
}


@pytest.mark.parametrize("preset", RIVALS)
def test_rivals_have_their_size_and_their_recipes_train_a_thin_network_to_the_same_bytes(
    data: FoldData, tmp_path: Path, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_preset(preset)
    with torch.device("meta"):
        whole = build_predictor(recipe, [f"{i}" for i in range(80)], 0, np.eye(80), load_pretrained=False)
    assert sum(parameter.numel() for parameter in whole.parameters()) == RIVALS[preset]

    content, thin = recipe.as_dict(), settings(model__backbone_args={"channels": [8, 8, 16, 16]}).as_dict()
    content["image"].update(size=SIZE, store_size=SIZE, channels=1)
    content["model"] = thin["model"] | {
        "head": recipe.model.head,
        "head_args": recipe.model.head_args | SMALL_HEADS.get(recipe.model.head, {}),
        "dropout": recipe.model.dropout,
    }
    content["train"].update(batch_size=8, precision="float32", checkpoint_minutes=1e-9)
    content["schedule"].update(epochs=2, warmup_epochs=1, milestones=[1] * bool(recipe.schedule.milestones))
    run = killed_and_resumed(data, tmp_path, parse_params(content, preset), 4, monkeypatch)
    assert run.progress.skipped == 0 and all(bool(value.isfinite().all()) for value in final(run).values())


def test_the_second_papers_steps_fall_at_the_start_of_their_epochs_in_both_groups(
    data: FoldData, tmp_path: Path
) -> None:
    recipe = {
        "optimizer__name": "sgd",
        "optimizer__lr": 0.05,
        "optimizer__backbone_lr_factor": 0.1,
        "schedule__name": "step",
        "schedule__epochs": 4,
        "schedule__milestones": [2, 3],
        "refiner__enabled": False,
        "train__patience": 4,
    }
    run, rates = trainer(data, settings(model__head="db_dgcn", **recipe)), []
    run.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append([group["lr"] for group in optimizer.param_groups])
    )
    run.run(tmp_path)
    per_epoch = N_TRAIN // 8
    expected = [rate for rate in (0.05, 0.05, 0.005, 0.0005) for _ in range(per_epoch)]
    assert rates == [pytest.approx([0.1 * rate, rate]) for rate in expected]  # backbone, head
    assert [row["lr"] for row in run.progress.history] == pytest.approx(expected[::per_epoch])


def test_a_head_sees_the_labels_of_its_batch_before_it_and_says_which_are_scored(
    data: FoldData, tmp_path: Path
) -> None:
    run, events = trainer(data, settings(ema__enabled=False)), []
    head, loss = run.predictor.head, run.step.loss

    def shown(truth: torch.Tensor) -> torch.Tensor:
        events.append(("shown", truth))
        return truth.masked_fill(torch.ones_like(truth).bool().triu(), float("nan"))

    head.shown = shown  # type: ignore[method-assign]
    head.register_forward_pre_hook(lambda *_: events.append(("forward", None)))
    run.step.loss = lambda z, y: (events.append(("loss", y)), loss(z, y))[1]  # type: ignore[assignment]
    batch = run.batch(torch.from_numpy(data.store.read(np.arange(8))), np.arange(8))
    run.step(batch)
    assert [name for name, _ in events] == ["shown", "forward", "loss"]
    assert torch.equal(events[0][1].nan_to_num(7), batch.truth.nan_to_num(7))
    scored = events[2][1]
    assert torch.equal(scored.nan_to_num(7), shown(batch.truth).nan_to_num(7)) and bool(
        scored[0].isnan().all()
    )


PARTS = {"attention.class_maps.weight", "static_adjacency", "main.update.weight", "auxiliary.update.weight"}


@pytest.mark.parametrize(
    ("option", "still"),
    [
        ({"beta": 0.0}, {"auxiliary.update.weight"}),
        ({"beta": 1.0}, {"static_adjacency", "main.update.weight"}),
        ({"omega": 0.0, "normalize": False}, set()),  # a normalised map of one place is always 1
        ({"omega": 1.0}, PARTS - {"attention.class_maps.weight"}),
        ({"pool": "mean"}, set()),
        ({"pool": "lse"}, set()),
        ({"normalize": False}, set()),
        ({"share_dynamic": True}, {"auxiliary.update.weight"}),  # not there: it is the main branch's
        ({"static_init": "random"}, set()),
        ({"static_trainable": False}, {"static_adjacency"}),
    ],
)
def test_every_option_of_the_second_papers_head_trains_the_parts_it_should(
    data: FoldData, tmp_path: Path, option: dict[str, Any], still: set[str]
) -> None:
    changes = {"model__head_args": option, "schedule__epochs": 2, "optimizer__weight_decay": 0.0}
    run = trainer(data, settings(model__head="db_dgcn", **changes))
    before = {key: value.clone() for key, value in run.predictor.head.state_dict().items()}
    run.run(tmp_path)
    after = run.predictor.head.state_dict()
    assert run.progress.skipped == 0 and all(bool(value.isfinite().all()) for value in after.values())
    moved = {key for key in PARTS & after.keys() if not torch.equal(before[key], after[key])}
    assert moved == PARTS - still


@pytest.mark.parametrize("bound", [0.01, 1e6])
def test_the_gradient_norm_is_bounded_over_all_parameters_together(
    data: FoldData, tmp_path: Path, bound: float
) -> None:
    changes = {"optimizer__name": "sgd", "optimizer__max_grad_norm": bound, "schedule__epochs": 2}
    run, norms = trainer(data, settings(model__head="db_dgcn", **changes)), []

    def measure(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        squares = [float(g.double().square().sum()) for g in gradients if g is not None]
        norms.append(sum(squares) ** 0.5)

    run.optimizer.register_step_pre_hook(measure)
    run.run(tmp_path)
    if bound < 1:
        assert norms == pytest.approx([bound] * len(norms), rel=1e-3)
    else:
        assert all(0.01 < norm < bound for norm in norms), "a bound out of reach changes nothing"


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_batches_that_are_not_finite_are_skipped_counted_and_do_no_harm(
    data: FoldData, tmp_path: Path, optimizer: str
) -> None:
    run = trainer(data, settings(optimizer__name=optimizer))
    rates: list[float] = []
    run.optimizer.register_step_pre_hook(lambda opt, *_: rates.append(opt.param_groups[1]["lr"]))
    with_bad_batches(run, lambda batch: batch in (0, 4, 8))
    run.run(tmp_path)
    assert run.progress.skipped == 3
    assert [row["skipped_batches"] for row in run.progress.history] == [1, 1, 1]
    assert run.progress.steps == 9 - 3
    # A skipped batch does not advance the schedule: the batch after it has the same learning rate.
    assert [i for i in range(8) if rates[i] == rates[i + 1]] == [0, 4]
    assert all(torch.isfinite(tensor).all() for tensor in final(run).values())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_skipped_first_batch_leaves_no_trace(data: FoldData, tmp_path: Path, optimizer: str) -> None:
    """Weights, statistics, averages and the optimiser's state are as if it had never been there."""

    def two_steps(first_is_bad: bool) -> Trainer:
        run = trainer(data, settings(optimizer__name=optimizer, ema__enabled=False))
        images = torch.from_numpy(data.store.read(np.arange(16)))
        # Away from the start, where the learning rate is 0.
        run.progress.steps = 3
        if first_is_bad:
            with_bad_batches(run, lambda batch: batch == 0)
            run.step(run.batch(images[:8], np.arange(8)))
        run.step(run.batch(images[8:], np.arange(8, 16)))
        run.step.read_outcome()
        return run

    clean, skipped = two_steps(False), two_steps(True)
    assert (clean.progress.steps, skipped.progress.steps) == (4, 4)
    ours, theirs = (training_tensors(run.predictor, None, run.optimizer) for run in (skipped, clean))
    assert ours.keys() == theirs.keys()
    # A momentum is set, nothing reads it.
    counters = {key for key in ours if key.endswith("num_batches_tracked")}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours.keys() - counters)


def test_too_many_skipped_in_a_row_stop_with_one_line(data: FoldData, tmp_path: Path) -> None:
    run = trainer(data, settings(train__max_skipped_in_a_row=3))
    with_bad_batches(run, lambda batch: batch >= 2)
    with pytest.raises(
        UserError, match=r"fold 0: 4 batches in a row gave a loss or gradient that is not finite"
    ):
        run.run(tmp_path)


def test_a_run_that_learned_nothing_is_refused_with_its_count(data: FoldData, tmp_path: Path) -> None:
    run = trainer(data, settings())
    with_bad_batches(run, lambda batch: True)
    with pytest.raises(
        UserError, match=r"fold 0: all 9 batches gave a loss or gradient that is not finite, so nothing"
    ):
        run.run(tmp_path)


def half_precision(
    data: FoldData, monkeypatch: pytest.MonkeyPatch, highest: float, **changes: Any
) -> Trainer:
    """A run with fp16's scaler whose gradients overflow as long as the scale, 65,536 at first, is above `highest`.

    The forward pass itself stays in float32: a CPU's half precision takes minutes.
    """
    monkeypatch.setattr("couplet.training.step.autocast", lambda device, precision: nullcontext())
    run = trainer(data, settings(**changes), precision="fp16")
    parameter = next(p for p in run.predictor.parameters() if p.requires_grad)
    scaler = run.step.scaler
    parameter.register_hook(lambda g: g * (float("inf") if scaler.get_scale() > highest else 1.0))
    monkeypatch.setattr(
        "couplet.training.validation.predict_probabilities",
        lambda *_, **__: np.random.default_rng(0).random(data.val_truth.shape),
    )
    return run


def test_batches_that_overflow_fp16s_first_scale_are_counted_apart(
    data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 65,536 and 32,768: two updates that were not done, and nothing wrong with the training."""
    run = half_precision(data, monkeypatch, highest=2**14)
    run.run(tmp_path)
    assert (run.progress.steps, run.progress.skipped, run.progress.overflowed) == (9 - 2, 0, 2)
    assert [row["overflowed_batches"] for row in run.progress.history] == [2, 0, 0]
    assert [row["skipped_batches"] for row in run.progress.history] == [0, 0, 0]
    first, *others = [line for line in capsys.readouterr().out.splitlines() if ": train loss" in line]
    assert first.endswith(", 2 batches overflowed fp16") and not any("overflowed" in line for line in others)


def test_overflows_before_an_interruption_are_counted_once(
    data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of the first epoch, after one overflow, and begun again from its checkpoint."""
    killed = half_precision(data, monkeypatch, highest=2**14, train__checkpoint_minutes=1e-9)
    calls: list[int] = []

    def stop(*_: Any) -> None:
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt

    killed.step.predictor.backbone.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        killed.run(tmp_path)
    run = half_precision(data, monkeypatch, highest=2**14, train__checkpoint_minutes=1e-9)
    run.run(tmp_path)
    assert [row["overflowed_batches"] for row in run.progress.history] == [2, 0, 0]


def test_only_fp16_has_the_column_of_its_overflows(data: FoldData, tmp_path: Path) -> None:
    run = trainer(data, settings(schedule__epochs=2))
    run.run(tmp_path)
    assert list(run.progress.history[0])[-1] == "skipped_batches"


def test_a_run_whose_batches_all_overflowed_has_learned_nothing(
    data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine batches cannot bring the scale from 65,536 below 256."""
    run = half_precision(data, monkeypatch, highest=100)
    with pytest.raises(
        UserError,
        match=r"fold 0: all 9 batches gave a loss or gradient that is not finite \(9 overflowed fp16\)",
    ):
        run.run(tmp_path)


def test_a_model_that_diverged_is_no_epoch_to_choose(data: FoldData, tmp_path: Path) -> None:
    run = trainer(data, settings(optimizer__lr=1e30))
    with pytest.raises(
        UserError,
        match=r"fold 0: after epoch 1 36 of 36 validation probabilities are not finite \(\d batches were",
    ):
        run.run(tmp_path)


def test_without_a_refiner_the_mean_coupling_is_unknown_and_not_0(data: FoldData, tmp_path: Path) -> None:
    run = trainer(data, settings(refiner__enabled=False, schedule__epochs=2))
    run.run(tmp_path)
    assert [row["mean_abs_coupling"] for row in run.progress.history] == [None, None]


def with_aucs(run: Trainer, aucs: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_train_epoch", lambda folder: None)
    monkeypatch.setattr(run, "_score", lambda: (aucs[run.progress.epoch], {}))


@pytest.mark.parametrize(
    ("aucs", "epochs", "best"),
    [
        ([0.6, 0.7, 0.7, 0.7, 0.7, 0.9], 5, 2),  # ties keep the earlier; three epochs without gain end it
        ([0.6, 0.5, 0.5, 0.61, 0.5, 0.5], 6, 4),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 6, 6),
    ],
)
def test_the_best_epoch_is_kept_and_patience_ends_the_run(
    data: FoldData, tmp_path: Path, aucs: list[float], epochs: int, best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(data, settings(schedule__epochs=6))
    with_aucs(run, aucs, monkeypatch)
    run.run(tmp_path)
    assert len(run.progress.history) == epochs
    assert run.progress.best_epoch + 1 == best
    assert run.progress.best_auc == max(aucs[:epochs])
    assert trainer(data, settings(schedule__epochs=6))._finished() is False


def test_what_is_scored_is_the_averaged_predictor(data: FoldData, tmp_path: Path) -> None:
    """The best weights are the averages of backbone AND refiner, not the live ones."""
    run = trainer(data, settings(schedule__epochs=2))
    run.run(tmp_path)
    assert run.ema is not None
    last = run.progress.best_epoch == 1
    if not last:
        pytest.fail("this seed should improve in the last epoch")
    assert all(torch.equal(run.best[key], run.ema.shadow[key]) for key in run.best)
    assert not torch.equal(run.best["refiner.A"], run.predictor.state_dict()["refiner.A"])


def test_the_rate_falls_where_validation_no_longer_improves_and_a_resumed_run_knows(
    data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the fifth of seven epochs: what the rate follows from is in the checkpoint's history."""
    params = settings(
        schedule__name="plateau",
        schedule__epochs=7,
        schedule__factor=0.5,
        schedule__patience=0,
        train__patience=7,
    )
    straight = killed_and_resumed(data, tmp_path, params, 4 * 3 + 1, monkeypatch)
    history = straight.progress.history
    scores = [row["val_auc_macro"] for row in history]
    rates = [plateau(scores[:epoch], patience=0, factor=0.5) for epoch in range(7)]
    assert [row["lr"] for row in history] == [params.optimizer.lr * rate for rate in rates]
    assert rates[-1] < 1


def test_an_epoch_is_chosen_by_the_view_that_predictions_are_made_of(
    data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without mirror images, which cost as much again; the images of the store are larger than the network's."""
    large = np.random.default_rng(1).integers(0, 256, (N_TRAIN + 12, 1, SIZE + 8, SIZE + 8), dtype=np.uint8)
    params = settings(image__store_size=SIZE + 8, inference__view="five", schedule__epochs=2)
    run = trainer(replace(data, store=write_store(tmp_path / "store", large)), params)
    seen: list[np.ndarray] = []
    auc = validation.macro_auc
    monkeypatch.setattr(validation, "macro_auc", lambda truth, p: seen.append(p) or auc(truth, p))
    run.run(tmp_path / "run")
    predictor = run.predictor.eval()
    assert run.ema is not None
    with run.ema.applied(), torch.no_grad():
        view = partial(evaluation_view, size=SIZE, mean=run.batches.mean_std[0], std=run.batches.mean_std[1])
        crops = evaluation_crops(torch.from_numpy(large[data.val_positions]), SIZE, "five")
        expected = torch.stack([predictor(view(crop)).sigmoid() for crop in crops]).mean(dim=0)
    np.testing.assert_allclose(seen[-1], expected.numpy(), rtol=0, atol=1e-5)


def test_a_validation_part_without_both_classes_cannot_choose_an_epoch(
    data: FoldData, tmp_path: Path
) -> None:
    empty = FoldData(
        data.store,
        data.train_ids,
        data.train_positions,
        data.train_truth,
        data.val_positions,
        0 * data.val_truth,
    )
    run = trainer(empty, settings())
    with pytest.raises(
        UserError, match="fold 0: no label has both positives and negatives among the 12 validation"
    ):
        run.run(tmp_path)


def test_fewer_images_than_a_batch_are_refused(data: FoldData) -> None:
    with pytest.raises(UserError, match=r"fold 0 trains on 26 images, fewer than train.batch_size = 27"):
        trainer(data, settings(train__batch_size=27))
