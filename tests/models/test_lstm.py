from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from couplet.heads.lstm import LabelLSTM

NAN = float("nan")


def by_loops(head: LabelLSTM, vector: torch.Tensor, truth: list[float] | None) -> list[torch.Tensor]:
    """One image (F,): a loop over a second nn.LSTMCell with the same weights."""
    cell = nn.LSTMCell(1, head.lstm.hidden_size).double()
    cell.load_state_dict(head.lstm.state_dict())
    h = (head.state.weight @ vector + head.state.bias).tanh()[None]
    c = (head.cell.weight @ vector + head.cell.bias).tanh()[None]
    told, logits = 0.0, []
    for label in range(len(head.out_bias)):
        h, c = cell(torch.tensor([[told]], dtype=torch.float64), (h, c))
        logits.append((head.out_weight[label] * h[0]).sum() + head.out_bias[label])
        known = truth is not None and truth[label] == truth[label]
        told = truth[label] if known else torch.sigmoid(logits[-1]).item()
    return logits


@pytest.fixture
def head() -> LabelLSTM:
    return LabelLSTM(4, 3, hidden=5).double()


@pytest.mark.parametrize("truth", [None, [1.0, 0.0, 1.0], [NAN, 1.0, NAN], [0.0, NAN, 1.0]])
def test_the_head_is_a_loop_over_the_labels(head: LabelLSTM, truth: list[float] | None) -> None:
    images = torch.randn(2, 4, dtype=torch.float64)
    given = None if truth is None else torch.tensor([truth, truth])
    expected = torch.stack([torch.stack(by_loops(head, image, truth)) for image in images])
    torch.testing.assert_close(head.given(images, given), expected)


def test_a_training_pass_is_told_the_labels_once_and_prediction_never(head: LabelLSTM) -> None:
    images, truth = torch.randn(2, 4, dtype=torch.float64), torch.tensor([[1.0, 0, 1], [0, 1, NAN]])
    assert head.shown(truth) is truth, "all known cells are scored"
    assert torch.equal(head.train()(images), head.given(images, truth))
    assert torch.equal(head(images), head.given(images))
    head.shown(truth)
    assert torch.equal(head.eval()(images), head.given(images))


def test_the_joint_probabilities_of_forced_passes_sum_to_one(head: LabelLSTM) -> None:
    image, total = torch.randn(1, 4, dtype=torch.float64), 0.0
    for labels in itertools.product((0.0, 1.0), repeat=3):
        p = head.given(image, torch.tensor([labels])).sigmoid()[0]
        total += torch.where(torch.tensor(labels) == 1, p, 1 - p).prod().item()
    assert total == pytest.approx(1, abs=1e-12)


def test_a_logit_does_not_follow_from_later_labels(head: LabelLSTM) -> None:
    image = torch.randn(1, 4, dtype=torch.float64)
    truth = torch.full((1, 3), 0.4, dtype=torch.float64, requires_grad=True)
    for label in range(3):
        (gradient,) = torch.autograd.grad(head.given(image, truth)[0, label], truth, allow_unused=True)
        gradient = torch.zeros(1, 3) if gradient is None else gradient
        assert (gradient[0, :label] != 0).all() and (gradient[0, label:] == 0).all()


def test_a_guess_passes_no_gradient_on(head: LabelLSTM) -> None:
    z = head.given(torch.randn(1, 4, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(z[0, 2], head.out_weight)
    assert float(gradient[2].abs().min()) > 0 and float(gradient[:2].abs().max()) == 0


def test_parameters() -> None:
    assert sum(parameter.numel() for parameter in LabelLSTM(1024, 14, 100).parameters()) == 247_614
