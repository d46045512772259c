"""The arithmetic of parts: the tree of sums, the weights of losses, one part that is not finite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from couplet.images.loading.draws import dropout_seed, weights_seed
from couplet.losses.bce import LOSS
from couplet.training.loss import Reduction
from couplet.training.parts import Parts, loss_weights, predicted_together, tree_sum
from couplet.training.processes import Processes
from couplet.training.step import Batch
from tests.support.training import new_trainer


def numpy_tree(values: np.ndarray) -> np.ndarray:
    """Sum over the first axis, halves added recursively in float32."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return (numpy_tree(values[:half]) + numpy_tree(values[half:])).astype(np.float32)


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_the_tree_adds_as_numpys_recursive_halves_do(n: int) -> None:
    values = np.random.default_rng(n).normal(0, 10.0 ** (np.arange(1000) % 7), (n, 1000)).astype(np.float32)
    np.testing.assert_array_equal(tree_sum(torch.from_numpy(values)).numpy(), numpy_tree(values))


def test_the_tree_is_not_a_running_sum() -> None:
    """(1e8 + 1) + (1 - 1e8) is 0 in float32; ((1e8 + 1) - 1e8) + 1 is 1."""
    values = torch.tensor([1e8, 1.0, -1e8, 1.0])
    assert tree_sum(values).item() == 0.0
    assert (((values[0] + values[1]) + values[2]) + values[3]).item() == 1.0


def test_the_weights_of_two_parts_with_3_and_5_known_cells() -> None:
    """`mean`: 2 * 3 / 8 and 2 * 5 / 8, so that half their weighted sum is the mean over all 8 cells."""
    known = np.array([[1, 1], [1, 0], [0, 0], [1, 1], [1, 1], [1, 0]], bool)
    assert loss_weights(known, 2, "mean") == [0.75, 1.25]
    assert loss_weights(known, 2, "sum") == [2.0, 2.0]
    assert loss_weights(known, 2, "batchmean") == [1.0, 1.0]
    assert loss_weights(known & False, 2, "mean") == [2.0, 2.0]  # nothing known: nothing is divided by 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean"])
def test_the_mean_of_the_parts_losses_is_the_loss_of_the_step(reduction: Reduction) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(16, 3, generator=generator, dtype=torch.float64)
    truth = torch.randint(0, 2, (16, 3), generator=generator).double()
    truth[torch.rand(16, 3, generator=generator) < 0.4] = float("nan")
    loss = LOSS(None, reduction)
    weights = loss_weights(~truth.isnan().numpy(), 4, reduction)
    parts = [w * loss(z, y) for w, z, y in zip(weights, logits.split(4), truth.split(4), strict=True)]
    torch.testing.assert_close(sum(parts) / 4, loss(logits, truth), rtol=1e-12, atol=0)


def test_each_process_reads_the_rows_of_its_parts() -> None:
    rows = np.arange(16)  # two steps of eight
    dealt = [Parts(4, Processes(rank, 2)).of_this_process(rows, 8).tolist() for rank in (0, 1)]
    assert dealt == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]
    stored, truth = torch.arange(4)[:, None], np.zeros((8, 1))
    shares = list(Parts(4, Processes(1, 2)).shares(stored, rows[8:], truth, "sum"))
    assert [(share.number, share.rows.tolist(), share.stored.flatten().tolist()) for share in shares] == [
        (2, [12, 13], [0, 1]),
        (3, [14, 15], [2, 3]),
    ]


def test_no_part_draws_what_another_part_or_the_initial_weights_draw() -> None:
    seeds = [
        dropout_seed(42, fold, 0, batch, repeat, part)
        for fold in range(2)
        for batch in range(3)
        for repeat in range(3)
        for part in (None, *range(4))
    ]
    weights = [weights_seed((42, fold), repeat) for fold in range(2) for repeat in range(3)]
    assert len({*seeds, *weights}) == len(seeds) + len(weights)


def test_one_process_predicts_as_ever() -> None:
    positions = np.arange(5)
    assert predicted_together(lambda p: p[:, None] * 2.0, positions, 2, Processes()).ravel().tolist() == [
        0,
        2,
        4,
        6,
        8,
    ]


def test_gradients_and_statistics_are_the_means_over_parts_and_steps_are_counted(tmp_path: Path) -> None:
    """Against parts that are computed one by one from the same start."""
    run = new_trainer(tmp_path / "store", {"ema__enabled": False}, Processes(), stop_at=99)
    network, start = run.predictor, {k: v.clone() for k, v in run.predictor.state_dict().items()}
    rows, images = np.arange(32), torch.from_numpy(run.data.store.read(np.arange(32)))
    run.predictor.train()

    def parts() -> list[Batch]:
        shares = run.parts.shares(images, rows, run.data.train_truth[rows], "batchmean")
        return [run.batch(s.stored, s.rows, s.number, s.weight) for s in shares]

    gradients, statistics, losses = [], [], []
    for part in parts():
        network.load_state_dict(start)
        losses.append(run.step._gradients(part))
        gradients.append([p.grad.double() for p in network.parameters() if p.grad is not None])
        statistics.append([b.double() for b in network.buffers() if b.is_floating_point()])
    network.load_state_dict(start)
    loss, stop = run.parts.mean_gradients(network, parts(), run.step._gradients)
    assert stop == 0
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    for got, each in zip(
        [p.grad for p in network.parameters() if p.grad is not None],
        zip(*gradients, strict=True),
        strict=True,
    ):
        torch.testing.assert_close(got.double(), sum(each) / 4, rtol=1e-5, atol=1e-7)
    for got, each in zip(
        [b for b in network.buffers() if b.is_floating_point()], zip(*statistics, strict=True), strict=True
    ):
        torch.testing.assert_close(got.double(), sum(each) / 4, rtol=1e-5, atol=1e-7)
    counters = [b for k, b in network.state_dict().items() if k.endswith("num_batches_tracked")]
    assert counters and all(counter == 1 for counter in counters)


@pytest.mark.parametrize("bad", [0, 3])
def test_a_part_that_is_not_finite_skips_the_whole_step_once(tmp_path: Path, bad: int) -> None:
    run = new_trainer(tmp_path / "store", {}, Processes(), stop_at=99)
    loss, calls = run.step.loss, [0]

    def broken(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return loss(logits, truth) * (float("nan") if calls[0] - 1 == 4 + bad else 1.0)

    run.step.loss = broken  # type: ignore[assignment]
    run.run(tmp_path / "run")
    assert calls[0] == 9 * 4
    assert (run.progress.skipped, run.progress.steps) == (1, 8)
    assert [row["skipped_batches"] for row in run.progress.history] == [1, 0, 0]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in run.predictor.state_dict().values())
