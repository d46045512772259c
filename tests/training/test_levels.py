"""Training a chain of networks: one level after the other, killed anywhere, each from the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from couplet.images.loading.draws import epoch_order, image_keys, uniforms
from couplet.images.loading.views import evaluation_view
from couplet.models.predictor import Predictor, build_predictor
from couplet.project.errors import UserError
from couplet.running.provenance import Provenance
from couplet.settings.params import Params
from couplet.stages.train_fold import history, model_record
from couplet.training.boost import image_losses
from couplet.training.loop import Trainer
from couplet.training.loss import build_loss
from couplet.training.phases import phases_of, train_in_phases
from couplet.training.processes import ALONE
from couplet.training.state import FoldData
from couplet.training.step import Batch
from tests.support.folds import LABELS, N_TRAIN, killed_at, made_up_fold, same, settings, state_of

CASCADE = {"kind": "cascade", "count": 3}
AG_CNN = {"kind": "ag_cnn"}
MAP = {"channels": [8, 8, 16, 16], "output_stride": 8}  # 4 x 4 places
State = dict[str, torch.Tensor]
BATCHES, EPOCHS = N_TRAIN // 8, 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FoldData:
    return made_up_fold(tmp_path_factory.mktemp("prepared"))


def chain(levels: dict[str, Any], **changes: Any) -> Params:
    thin = {"model__backbone_args": MAP} if levels.get("kind") == "ag_cnn" else {}
    once = {"schedule__epochs": EPOCHS, "train__checkpoint_minutes": 1e-9}
    return settings(model__levels=levels, **{**thin, **once, **changes})


def train(
    data: FoldData, params: Params, folder: Path, before: list[State] | None = None
) -> tuple[Trainer, State]:
    """The last level's trainer and the final weights; into `before` the weights at the start of each level."""
    torch.set_num_threads(1)
    predictor = build_predictor(params, LABELS, (params.seed, 0), data.train_truth)
    predictor.to(memory_format=torch.channels_last)

    def trainer_of(ready: Predictor) -> Trainer:
        if before is not None:
            before.append(state_of(ready))
        return Trainer(ready, params, 0, data, "float32")

    trainer = train_in_phases(predictor, trainer_of, folder, phases_of(predictor))
    return trainer, state_of(predictor)


@pytest.mark.parametrize("levels", [{"kind": "cascade", "count": 1}, {"kind": "single", "count": 4}])
def test_a_chain_of_one_is_the_single_network_to_the_byte(
    data: FoldData, tmp_path: Path, levels: dict[str, Any]
) -> None:
    alone, ours = (
        train(data, params, tmp_path / str(i)) for i, params in enumerate((chain({}), chain(levels)))
    )
    assert same(ours[1], alone[1]) and history(ours[0]) == history(alone[0])
    assert "level" not in history(ours[0])[0] and [row["epoch"] for row in history(ours[0])] == [1, 2]
    assert {p.name: p.read_bytes() for p in (tmp_path / "1").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "0").iterdir()
    }


@pytest.mark.parametrize("levels", [CASCADE, AG_CNN], ids=lambda levels: levels["kind"])
def test_levels_are_trained_one_after_the_other(
    data: FoldData, tmp_path: Path, levels: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a level changes, that it starts from the best epoch before it, and that a killed run ends with the same."""
    params, before = chain(levels), []
    trainer, final = train(data, params, tmp_path / "straight", before)

    assert len(before) == 3
    for level, (start, end) in enumerate(zip(before, [*before[1:], final], strict=True)):
        owner = trainer.predictor.level_of
        moved = {name for name in start if not torch.equal(start[name], end[name])}
        assert {owner(name) for name in moved} == {level}
        weights = {name for name, _ in trainer.predictor.named_parameters() if owner(name) == level}
        assert weights <= moved, "and all of it has moved, the couplings with the last level"

    rows = history(trainer)
    assert [(row["level"], row["epoch"]) for row in rows] == [
        (k, 2 * k + i) for k in range(3) for i in (1, 2)
    ]
    assert [row["mean_abs_coupling"] is None for row in rows] == [True] * 4 + [False] * 2
    record = model_record(trainer, LABELS, Provenance({}, {}, ""))
    last = [row["val_auc_macro"] for row in rows[4:]]
    assert record.best_epoch == 5 + last.index(max(last)) and record.val_auc_macro == round(max(last), 6)
    assert (record.epochs_run, record.steps) == (6, 6 * BATCHES)
    assert record.n_parameters == sum(p.numel() for p in trainer.predictor.parameters())

    # In the middle of the second level's second epoch; before the second level's first step; in the last level.
    per_level = BATCHES * EPOCHS
    for killed in (per_level + BATCHES + 1, per_level, 2 * per_level + 1):
        folder = tmp_path / str(killed)
        with killed_at(killed, monkeypatch):
            train(data, params, folder)
        torch.rand(5)
        again, weights_again = train(data, params, folder)
        assert same(weights_again, final) and history(again) == rows


def test_the_first_level_is_the_single_networks_training(data: FoldData, tmp_path: Path) -> None:
    """Its draws too: the epochs of later levels have numbers of their own."""
    _, alone = train(data, chain({}, refiner__enabled=False), tmp_path / "alone")
    before: list[State] = []
    train(data, chain({"kind": "cascade", "count": 2}, refiner__enabled=False), tmp_path / "two", before)
    assert all(torch.equal(before[1][name], alone[name]) for name in alone)


def test_a_first_level_that_was_not_the_last_epochs_is_followed_by_one_that_starts_from_its_best(
    data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aucs = iter([0.7, 0.6, 0.5, 0.8])
    score = Trainer._score
    monkeypatch.setattr(Trainer, "_score", lambda self: (next(aucs), score(self)[1]))
    ends: list[State] = []
    train_epoch = Trainer._train_epoch

    def noted(self: Trainer, folder: Path) -> None:
        train_epoch(self, folder)
        assert self.ema is not None
        ends.append({key: value.clone() for key, value in self.ema.shadow.items()})

    monkeypatch.setattr(Trainer, "_train_epoch", noted)
    before: list[State] = []
    params = chain({"kind": "cascade", "count": 2})
    trainer, final = train(data, params, tmp_path, before)
    assert all(torch.equal(before[1][name], value) for name, value in ends[0].items())
    assert all(torch.equal(final[name], value) for name, value in ends[3].items())
    assert trainer.progress.best_epoch == 1 and trainer.earlier[0].best_epoch == 0


# --- boost ------------------------------------------------------------------------------------------------------


def at_level_1(data: FoldData, params: Params) -> Trainer:
    predictor = build_predictor(params, LABELS, (params.seed, 0), data.train_truth)
    predictor.train_level(1)
    return Trainer(predictor, params, 0, data, "float32")


def test_each_images_loss_under_the_level_before_decides_how_often_it_comes(
    data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = chain({"kind": "cascade", "count": 2, "boost": 2.0}, loss__name="bce", loss__args={})
    before: list[State] = []
    seen: dict[int, list[int]] = {}
    ask = Trainer.batch

    def noted(self: Trainer, *arguments: Any) -> Batch:
        batch = ask(self, *arguments)
        seen.setdefault(self.progress.number, []).extend(batch.rows.tolist())
        return batch

    monkeypatch.setattr(Trainer, "batch", noted)
    trainer, _ = train(data, params, tmp_path, before)

    first = build_predictor(chain({}, refiner__enabled=False), LABELS, 0, data.train_truth).eval()
    first.load_state_dict({k: v for k, v in before[1].items() if k.split(".")[0] in ("backbone", "head")})
    stored = torch.from_numpy(data.store.read(data.train_positions))
    with torch.no_grad():
        z = first(evaluation_view(stored, 32, *trainer.batches.mean_std)).double().numpy()
    y = data.train_truth
    weight = build_loss(params.loss, y).pos_weight.numpy()  # type: ignore[union-attr, operator]
    cells = np.where(y == 1, weight * np.log1p(np.exp(-z)), np.log1p(np.exp(z)))
    expected = np.where(np.isnan(y), 0, cells).sum(axis=1) ** 2
    found = trainer.batches.weights
    assert found is not None
    np.testing.assert_allclose(found, expected / expected.max(), rtol=1e-4)

    n_seen = BATCHES * 8
    assert sorted(seen[1]) == sorted(set(seen[1])), "the first level sees each image once"
    for epoch in (3, 4):
        counts = np.bincount(seen[epoch], minlength=N_TRAIN)
        assert (counts <= np.ceil(N_TRAIN * found / found.sum())).all() and counts.sum() == n_seen
        assert counts.max() > 1
    assert seen[3] != seen[4]


def test_without_boost_an_epoch_has_each_image_once_in_the_order_of_its_number(data: FoldData) -> None:
    run = at_level_1(data, chain({"kind": "cascade", "count": 2, "boost": 0.0}))
    orders = [run.batches.rows[run.batches.order(epoch)] for epoch in (0, 1)]
    expected = [epoch_order(N_TRAIN, 42, 0, EPOCHS + epoch)[: BATCHES * 8] for epoch in (0, 1)]
    assert all(np.array_equal(a, b) for a, b in zip(orders, expected, strict=True))
    run.batches.weights = np.full(N_TRAIN, 0.1)
    again = [run.batches.rows[run.batches.order(epoch)] for epoch in (0, 1)]
    assert all(np.array_equal(a, b) for a, b in zip(again, expected, strict=True)), (
        "equal weights are no boost"
    )


def test_an_image_that_comes_twice_is_seen_in_two_views(data: FoldData) -> None:
    run = at_level_1(data, chain({"kind": "cascade", "count": 2}))
    run.batches.weights = np.eye(N_TRAIN)[3]
    turns = run.batches.order(0)[:8]
    assert (run.batches.rows[turns] == 3).all()
    batch = run.batch(torch.from_numpy(data.store.read(data.train_positions[run.batches.rows[turns]])), turns)
    assert (batch.rows == 3).all() and torch.equal(batch.truth, batch.truth[:1].expand(8, -1))
    assert len({image.numpy().tobytes() for image in batch.images}) == 8
    keys = image_keys(data.train_ids)[3:4]
    draws = uniforms(keys, 42, 0, EPOCHS, 1)  # the first turn's are the image's own
    first = uniforms(run.batches._keys[:1], 42, 0, EPOCHS, 1)
    assert np.array_equal(draws, first)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bce", [2 * np.log(2), 0.0, np.log1p(np.exp(-2.0)) + np.log1p(np.exp(2.0))]),
        ("pairwise", [np.log(2), 0.0, 0.0]),
    ],
)
def test_an_images_loss_is_that_of_a_batch_of_its_own(name: str, expected: list[float]) -> None:
    params = settings(loss__name=name, loss__args={"pos_weight": False} if name == "bce" else {})
    truth = np.array([[1, 0, np.nan], [np.nan] * 3, [1, np.nan, 1]], dtype=np.float32)
    z = np.array([[0, 0, 9], [5, -5, 5], [2, 0, -2]], dtype=np.float32)
    found = image_losses(build_loss(params.loss, truth), 1 / (1 + np.exp(-z)), truth)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.isfinite(image_losses(build_loss(params.loss, truth), (z > 0).astype(np.float32), truth)).all()


def test_a_level_that_gives_no_numbers_has_no_losses(data: FoldData, tmp_path: Path) -> None:
    run = at_level_1(data, chain({"kind": "cascade", "count": 2}))
    torch.nn.init.constant_(run.predictor.head.classifier.bias, float("nan"))  # type: ignore[union-attr, arg-type]
    with pytest.raises(
        UserError,
        match="fold 0, level 1, losses under level 0: 78 of 78 probabilities of training images are not finite",
    ):
        run.run(tmp_path)
    assert run.processes is ALONE
