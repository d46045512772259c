"""Training with the couplings' further settings: paper 1 keeps its bits, and what is new is drawn, resumed and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from couplet.images.loading.draws import image_keys, taught, uniforms
from couplet.images.loading.store import ImageStore
from couplet.models.predictor import load_predictor, save_predictor
from couplet.results.model_record import trained_params, write_model_record
from couplet.training import optimizer as optimizers
from couplet.training.loop import Trainer
from couplet.training.state import FoldData
from tests.support.folds import (
    LABELS,
    final,
    killed_and_resumed,
    made_up_fold,
    settings,
    trainer,
    with_bad_batches,
)
from tests.support.records import model_record

JOINT: dict[str, Any] = {
    "refiner__message": "calibrated",
    "refiner__teach": 0.5,
    "refiner__lr_factor": 30.0,
    "refiner__sparsity": "proximal",
    "refiner__lambda": 1e-5,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FoldData:
    return made_up_fold(tmp_path_factory.mktemp("prepared"))


class PaperRefiner(nn.Module):
    """The first paper's refiner in its own words: no other file has a say in it."""

    teach, lr_factor, proximal, steps, gate = 0.0, 1.0, False, 1, None

    def __init__(self, n_labels: int, alpha: float, sparsity: float) -> None:
        super().__init__()
        self.alpha, self.sparsity, self.n_labels = alpha, sparsity, n_labels
        self.A = nn.Parameter(torch.zeros(n_labels, n_labels))
        self.register_buffer("mask", 1 - torch.eye(n_labels), persistent=False)

    def forward(self, logits: Tensor, features: Tensor, known: Tensor | None) -> Tensor:
        assert known is None
        return logits + self.alpha * (torch.sigmoid(logits) @ (self.A * self.mask))

    def loss_terms(self) -> dict[str, Tensor]:
        return {"couplings": self.sparsity * (self.A * self.mask).abs().sum()}

    def mean_abs_coupling(self) -> float:
        return (self.A * self.mask).abs().sum().item() / (self.n_labels * (self.n_labels - 1))


def test_one_epoch_at_the_defaults_has_the_bits_of_the_first_paper(
    data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = settings(schedule__epochs=2)

    def run(paper: bool) -> Trainer:
        made = trainer(data, params)
        if paper:
            made.predictor.refiner = PaperRefiner(len(LABELS), 0.3, 0.001)  # type: ignore[assignment]
            made = Trainer(made.predictor, params, 0, data, "float32")
        made.run(tmp_path / str(paper))
        return made

    ours, theirs = run(False), run(True)
    assert ours.progress.history == theirs.progress.history
    assert list(ours.progress.history[0]) == [
        "epoch",
        "train_loss",
        "val_auc_macro",
        "lr",
        "mean_abs_coupling",
        "skipped_batches",
    ]
    first, second = final(ours), final(theirs)
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert first["last.refiner.A"].count_nonzero() > 0


def test_taught_images_are_a_stream_of_their_own() -> None:
    keys = image_keys(map(str, range(20_000)))
    told = taught(keys, 42, 0, 0, 0.3)
    assert told.mean() == pytest.approx(0.3, abs=0.01)
    assert np.array_equal(told, taught(keys, 42, 0, 0, 0.3))
    assert (taught(keys, 42, 0, 0, 0.5) >= told).all(), "a larger share teaches the same images, and more"
    assert not taught(keys, 42, 0, 0, 0.0).any() and taught(keys, 42, 0, 0, 1.0).all()
    for other in (taught(keys, 43, 0, 0, 0.3), taught(keys, 42, 1, 0, 0.3), taught(keys, 42, 0, 1, 0.3)):
        assert (told == other).mean() == pytest.approx(0.58, abs=0.02)
    assert (told == taught(keys, 42, 0, 0, 0.3, repeat=1)).mean() == pytest.approx(0.58, abs=0.02)
    views = uniforms(keys, 42, 0, 0, 27)
    assert abs(np.corrcoef(views.T, uniforms(keys, 42, 0, 0, 1, stream="teach").T)[-1, :-1]).max() < 0.03


def test_taught_images_get_their_known_labels_and_no_other_draw_moves(data: FoldData) -> None:
    stored, rows = torch.from_numpy(data.store.read(np.arange(26))), np.arange(26)
    plain, joint = (trainer(data, settings(**changes)).batch(stored, rows) for changes in ({}, JOINT))
    assert plain.known is None and joint.known is not None
    assert torch.equal(plain.images, joint.images) and plain.seed == joint.seed
    told = taught(image_keys(data.train_ids), 42, 0, 0, 0.5)
    assert 3 < told.sum() < 23
    expected = np.where(told[:, None], data.train_truth, np.nan)
    np.testing.assert_array_equal(joint.known.numpy(), expected)
    off = trainer(data, settings(refiner__enabled=False, **JOINT)).batch(stored, rows)
    assert off.known is None


def test_nobody_is_taught_outside_training(data: FoldData, tmp_path: Path) -> None:
    run, seen = trainer(data, settings(schedule__epochs=2, **JOINT)), []
    refiner = run.predictor.refiner
    assert refiner is not None
    refiner.register_forward_pre_hook(lambda module, given: seen.append((module.training, given[2] is None)))
    run.run(tmp_path)
    assert set(seen) == {(True, False), (False, True)}


@pytest.mark.parametrize(("optimizer", "weight"), [("adamw", 2e-3), ("sgd", 1.0)])
def test_the_average_has_the_zeros_of_the_couplings(data: FoldData, optimizer: str, weight: float) -> None:
    changes = JOINT | {"optimizer__name": optimizer, "optimizer__lr": 0.002, "refiner__lambda": weight}
    run = trainer(data, settings(**changes))
    zeros: list[Tensor] = []
    refiner = run.predictor.refiner
    assert refiner is not None and run.ema is not None
    run.step.learning_rate_factor = lambda: 1.0
    with torch.no_grad():
        refiner.A.normal_()
    run.ema.shadow["refiner.A"].copy_(refiner.A)
    stored = torch.from_numpy(data.store.read(np.arange(8)))
    for _ in range(20):
        run.step(run.batch(stored, np.arange(8)))
        zeros.append((refiner.A == 0).clone())
        shadow = run.ema.shadow["refiner.A"]
        assert torch.equal(shadow == 0, refiner.A == 0)
    off_diagonal = ~torch.eye(3, dtype=torch.bool)
    assert zeros[-1][off_diagonal].any() and not zeros[-1][off_diagonal].all()


def test_l1_in_the_loss_makes_no_zero_and_its_average_is_a_plain_one(data: FoldData, tmp_path: Path) -> None:
    run = trainer(data, settings(refiner__lambda=1.0))
    assert run.ema is not None and run.predictor.sparse_tensors() == ()
    run.run(tmp_path)
    assert run.predictor.refiner is not None
    off_diagonal = run.predictor.refiner.A[~torch.eye(3, dtype=torch.bool)]
    assert off_diagonal.count_nonzero() == 6


SETTINGS = [
    JOINT,
    JOINT | {"refiner__conditional": "gate", "refiner__steps": 2, "loss__name": "bce", "loss__args": {}},
    {
        "loss__name": "bce_large_loss",
        "loss__args": {"rate": 0.1, "rule": "flip"},
        "refiner__sparsity": "proximal",
        "refiner__lambda": 1e-5,
    },
    {
        "loss__name": "bce_forward",
        "loss__args": {"missing_rate": [0.1, 0.2, 0.3]},
        "refiner__message": "calibrated",
    },
]


@pytest.mark.parametrize("changes", SETTINGS)
@pytest.mark.parametrize("killed_at", [2, 4])
def test_a_resumed_run_equals_a_straight_one(
    data: FoldData, tmp_path: Path, changes: dict[str, Any], killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = settings(train__checkpoint_minutes=1e-9, **changes)
    killed_and_resumed(data, tmp_path, params, killed_at, monkeypatch)


@pytest.mark.parametrize("changes", SETTINGS)
def test_skipped_batches_do_no_harm(data: FoldData, tmp_path: Path, changes: dict[str, Any]) -> None:
    run = trainer(data, settings(**changes))
    before: list[Tensor] = []
    with_bad_batches(run, lambda batch: batch in (0, 4))
    after = run.step.buffers.restore_unless

    def compare(finite: Tensor) -> None:
        after(finite)
        assert run.predictor.refiner is not None
        before.append(run.predictor.refiner.A.detach().clone())

    run.step.buffers.restore_unless = compare  # type: ignore[method-assign]
    run.run(tmp_path)
    assert run.progress.skipped == 2
    assert before[0].count_nonzero() == 0 and torch.equal(before[3], before[4])
    assert not torch.equal(before[4], before[5])
    assert all(torch.isfinite(tensor).all() for tensor in final(run).values())


def test_the_history_says_what_the_settings_ask_for(data: FoldData, tmp_path: Path) -> None:
    run = trainer(data, settings(**(JOINT | {"refiner__steps": 2})))
    run.run(tmp_path)
    last = run.progress.history[-1]
    assert 0 <= last["zero_couplings"] <= 1 and last["spectral_radius"] >= 0
    assert set(last) - {"zero_couplings", "spectral_radius"} == set(trainer_history(data, tmp_path / "paper"))


def trainer_history(data: FoldData, folder: Path) -> dict[str, Any]:
    run = trainer(data, settings())
    run.run(folder)
    return run.progress.history[-1]


@pytest.mark.parametrize("head", ["linear", "gmp", "db_dgcn"])
def test_every_head_takes_a_gate_and_the_saved_model_gives_the_same_logits(
    data: FoldData, tmp_path: Path, head: str
) -> None:
    params = settings(**(SETTINGS[1] | {"model__head": head}))
    run = trainer(data, params)
    groups = {group["name"]: group for group in run.optimizer.param_groups}
    assert [tuple(p.shape) for p in groups["gate"]["params"]] == [(3, 16), (3,)]
    assert (groups["gate"]["base_lr"], groups["gate"]["weight_decay"]) == (2e-4, 1e-4)
    run.run(tmp_path / "work")
    predictor = run.predictor.eval()
    predictor.load_state_dict(run.best)
    assert predictor.refiner is not None and predictor.refiner.gate is not None
    with torch.no_grad():
        predictor.refiner.A.normal_()
        predictor.refiner.gate.V.normal_()
    write_model_record(tmp_path, model_record(LABELS, trained_params(params)))
    save_predictor(tmp_path / "predictor.safetensors", predictor)
    loaded = load_predictor(tmp_path, LABELS)
    images = torch.randn(4, 3, 32, 32).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(loaded(images), predictor(images))
        refiner, predictor.refiner = predictor.refiner, None
        assert not torch.equal(loaded(images), predictor(images)) and refiner.steps == 2


def test_the_refiner_group_learns_faster(data: FoldData) -> None:
    built = optimizers.build_optimizer(trainer(data, settings(**JOINT)).predictor, settings().optimizer)
    rates = {group["name"]: group["base_lr"] for group in built.param_groups}
    assert rates["refiner"] == pytest.approx(30 * rates["head"])
    assert isinstance(data.store, ImageStore)
