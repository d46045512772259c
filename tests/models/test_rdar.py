from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from couplet.heads.rdar import ANCHORS, RecurrentRegions, sample, window_penalty
from tests.support.loops import Weights, far_from_special, linear, matvec, numbers, relu, sigmoid

WHOLE = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)


def bilinear(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """The map (F, H, W) at a point of [-1, 1] coordinates, zero outside."""
    _, height, width = image.shape
    px, py = (x + 1) / 2 * (width - 1), (y + 1) / 2 * (height - 1)
    out = np.zeros(len(image))
    for row in (math.floor(py), math.floor(py) + 1):
        for column in (math.floor(px), math.floor(px) + 1):
            if 0 <= row < height and 0 <= column < width:
                out += (1 - abs(py - row)) * (1 - abs(px - column)) * image[:, row, column]
    return out


def sampled(image: np.ndarray, window: np.ndarray, samples: int) -> np.ndarray:
    steps = [-1 + 2 * i / (samples - 1) for i in range(samples)]
    s_x, s_y, t_x, t_y = window
    out = np.zeros((len(image), samples, samples))
    for i, v in enumerate(steps):
        for j, u in enumerate(steps):
            out[:, i, j] = bilinear(image, s_x * u + t_x, s_y * v + t_y)
    return out


def lstm_cell(weights: Weights, u: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gates = matvec(weights["lstm.weight_ih"], u, weights["lstm.bias_ih"])
    gates = gates + matvec(weights["lstm.weight_hh"], h, weights["lstm.bias_hh"])
    dim = len(h)
    new_h, new_c = np.zeros(dim), np.zeros(dim)
    for d in range(dim):
        i, f, g, o = (gates[part * dim + d] for part in range(4))
        new_c[d] = sigmoid(f) * c[d] + sigmoid(i) * math.tanh(g)
        new_h[d] = sigmoid(o) * math.tanh(new_c[d])
    return new_h, new_c


def by_loops(weights: Weights, image: np.ndarray, samples: int, windows: int):
    """One image (F, H, W): logits (L,), scores (K, L) and windows (K, 4)."""
    window = np.array([1.0, 1.0, 0.0, 0.0])
    dim = len(weights["view.bias"])
    h, c = np.zeros(dim), np.zeros(dim)
    scores, moved = [], []
    for k in range(windows + 1):
        f = sampled(image, window, samples)
        half = samples // 2
        pooled = np.zeros((len(image), half, half))
        for i in range(half):
            for j in range(half):
                pooled[:, i, j] = f[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max(axis=(1, 2))
        h, c = lstm_cell(weights, relu(linear(weights, "look", pooled.flatten())), h, c)
        v = relu(linear(weights, "view", h))
        if k >= 1:
            scores.append(linear(weights, "score", v))
        if k < windows:
            window = linear(weights, "move", v)
            moved.append(window)
    return np.max(scores, axis=0), np.array(scores), np.array(moved)


def penalty_by_loops(windows: np.ndarray) -> float:
    """Of one image's windows (K, 4)."""
    total = 0.0
    for (s_x, s_y, t_x, t_y), (c_x, c_y) in zip(windows, ANCHORS, strict=False):
        total += max(abs(s_x) - 0.5, 0) ** 2 + max(abs(s_y) - 0.5, 0) ** 2
        total += 0.01 * ((t_x - c_x) ** 2 + (t_y - c_y) ** 2) / 2
        total += 0.1 * (max(0.1 - s_x, 0) + max(0.1 - s_y, 0))
    return total


@pytest.mark.parametrize(("samples", "windows"), [(4, 5), (5, 2), (2, 1), (7, 3)])
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (1, 1)])
def test_the_head_is_the_formula_in_plain_loops(samples: int, windows: int, shape: tuple[int, int]) -> None:
    head = far_from_special(RecurrentRegions(3, 6, dim=4, samples=samples, windows=windows))
    with torch.no_grad():
        head.move.weight.sub_(0.15).mul_(4)  # windows that leave the map, and mirrored ones
    images = torch.randn(2, 3, *shape, dtype=torch.float64)
    logits = head(images)
    scores, moved = head.look_around(images)
    expected = [by_loops(numbers(head), image.numpy(), samples, windows) for image in images]
    np.testing.assert_allclose(logits.detach(), [e[0] for e in expected], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scores.detach(), np.stack([e[1] for e in expected], 1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(moved.detach(), np.stack([e[2] for e in expected], 1), rtol=1e-9, atol=1e-12)
    penalties = [penalty_by_loops(e[2]) for e in expected]
    assert head.loss_terms()["windows"].item() == pytest.approx(0.1 * np.mean(penalties), rel=1e-9)


@pytest.mark.parametrize("samples", [2, 5, 8])
def test_sampling_is_grid_sample_in_value_and_gradients(samples: int) -> None:
    images = torch.randn(4, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    window = torch.tensor(
        [[0.4, 0.7, 0.1, -0.2], [1.3, -0.6, 0.5, 0.9], [0.0, 0.3, -1.2, 0.0], [0.9, 0.8, 0.01, 0.02]],
        dtype=torch.float64,
        requires_grad=True,
    )
    zero = torch.zeros(4, dtype=torch.float64)
    s_x, s_y, t_x, t_y = window.unbind(dim=1)
    theta = torch.stack([torch.stack([s_x, zero, t_x], 1), torch.stack([zero, s_y, t_y], 1)], 1)
    grid = functional.affine_grid(theta, (4, 3, samples, samples), align_corners=True)
    expected = functional.grid_sample(images, grid, padding_mode="zeros", align_corners=True)
    got = sample(images, window, samples)
    torch.testing.assert_close(got, expected)
    weight = torch.randn_like(got)
    ours = torch.autograd.grad((got * weight).sum(), (images, window))
    theirs = torch.autograd.grad((expected * weight).sum(), (images, window))
    torch.testing.assert_close(ours, theirs)


def test_as_many_samples_of_the_whole_map_as_it_has_positions_are_the_map() -> None:
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(sample(images, WHOLE.expand(2, -1), 6), images)


def test_at_the_start_every_window_is_the_whole_map_and_scores_differ_by_the_state_alone() -> None:
    head = RecurrentRegions(3, 6, dim=4).double().eval()
    images = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    scores, windows = head.look_around(images)
    torch.testing.assert_close(windows, WHOLE.expand(5, 2, 4))
    seen = functional.max_pool2d(sample(images, WHOLE.expand(2, -1), 7), 2).flatten(1)
    u, state = head.look(seen).relu(), None
    for k in range(6):
        state = head.lstm(u, state)
        if k:
            torch.testing.assert_close(scores[k - 1], head.score(head.view(state[0]).relu()))
    assert not torch.equal(scores[0], scores[4])
    # Both scales are 1: 0.25 each over five windows; four anchors are 0.25 from the middle, squared and halved.
    head(images)
    assert head.loss_terms()["windows"].item() == pytest.approx(0.1 * (5 * 0.5 + 0.01 * 4 * 0.25))


def test_one_window_and_one_feature_by_hand() -> None:
    head = RecurrentRegions(1, 1, dim=1, samples=2, windows=1).double().eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(0.5)
        head.move.weight.zero_()
        head.move.bias.copy_(torch.tensor([0.0, 0.0, 1.0, -1.0]))  # the window is the top right corner alone
    image = torch.tensor([[[[1.0, 2.0], [3.0, 8.0]]]], dtype=torch.float64)

    def step(x: float, h: float, c: float) -> tuple[float, float]:
        gate = 0.5 * (0.5 * x + 0.5) + 0.5 * h + 1.0  # both biases are 0.5
        c = sigmoid(gate) * c + sigmoid(gate) * math.tanh(gate)
        return sigmoid(gate) * math.tanh(c), c

    h, c = step(8.0, 0.0, 0.0)  # the maximum of the whole map, then the corner
    h, c = step(2.0, h, c)
    assert head(image).item() == pytest.approx(0.5 * (0.5 * h + 0.5) + 0.5, rel=1e-12)
    expected = 0.1 * (0.01 * (1 + 1) / 2 + 0.1 * 0.2)
    assert head.loss_terms()["windows"].item() == pytest.approx(expected, rel=1e-12)


def test_windows_that_keep_the_rules_cost_nothing() -> None:
    windows = torch.tensor([[[0.3, 0.5, x, y]] for x, y in ANCHORS])
    assert window_penalty(windows).item() == 0


@pytest.mark.parametrize(
    ("settings", "n_labels", "parameters"),
    [({}, 14, 11_810_834), ({"samples": 14}, 14, 53_753_874), ({}, 80, 11_844_692)],
)
def test_parameters(settings: dict[str, int], n_labels: int, parameters: int) -> None:
    with torch.device("meta"):
        head = RecurrentRegions(2048, n_labels, **settings)
    assert sum(parameter.numel() for parameter in head.parameters()) == parameters


def test_everything_learns_the_windows_too() -> None:
    head = RecurrentRegions(3, 6, dim=16)
    (head(torch.randn(4, 3, 6, 6)).square().sum() + head.loss_terms()["windows"]).backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in head.parameters())
