from __future__ import annotations

import numpy as np
import pytest
import torch

from couplet.heads.ml_gcn import LabelGCN
from couplet.models.head import HeadInputs
from couplet.models.label_graph import cooccurrence_adjacency
from couplet.settings.heads.ml_gcn import Settings
from tests.support.loops import Weights, far_from_special, numbers, positions


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.zeros((len(a), b.shape[1]))
    for i in range(len(a)):
        for j in range(b.shape[1]):
            out[i, j] = sum(a[i, k] * b[k, j] for k in range(len(b)))
    return out


def by_loops(weights: Weights, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One image (F, H, W): logits (L,) and <c_l, x_n> (L, N)."""
    hidden = product(product(weights["adjacency"], weights["embedding"]), weights["weight_1"])
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    classifiers = product(product(weights["adjacency"], hidden), weights["weight_2"])
    places = positions(image)
    pooled = [max(place[channel] for place in places) for channel in range(image.shape[0])]
    logits = [sum(c * x for c, x in zip(row, pooled, strict=True)) for row in classifiers]
    maps = [[sum(c * x for c, x in zip(row, place, strict=True)) for place in places] for row in classifiers]
    return np.array(logits) + weights["bias"], np.array(maps)


def small(n_labels: int = 4, **settings) -> LabelGCN:
    truth = (np.random.default_rng(0).random((40, n_labels)) < 0.4).astype(float)
    return LabelGCN(5, torch.eye(n_labels), cooccurrence_adjacency(truth), hidden=3, **settings)


def test_the_head_is_the_formula_in_plain_loops() -> None:
    head = far_from_special(small())
    images = torch.randn(3, 5, 2, 3, dtype=torch.float64)
    logits, arrays = head.explain(images)
    for image, got, maps in zip(images, logits.detach(), arrays["maps"].flatten(2).detach(), strict=True):
        expected, seen = by_loops(numbers(head), image.numpy())
        np.testing.assert_allclose(got, expected, rtol=1e-10)
        np.testing.assert_allclose(maps, seen, rtol=1e-10)
    assert torch.equal(head(images), logits)


def test_a_graph_without_edges_leaves_a_perceptron_on_the_embeddings() -> None:
    head = LabelGCN(5, torch.randn(4, 6), torch.eye(4), hidden=3, bias=False)
    perceptron = torch.nn.Sequential(
        torch.nn.Linear(6, 3, bias=False), torch.nn.LeakyReLU(0.2), torch.nn.Linear(3, 5, bias=False)
    )
    with torch.no_grad():
        perceptron[0].weight.copy_(head.weight_1.T)
        perceptron[2].weight.copy_(head.weight_2.T)
    torch.testing.assert_close(head.classifiers(), perceptron(head.embedding))


def test_another_order_of_labels_is_another_order_of_logits() -> None:
    head, order = far_from_special(small()), torch.tensor([2, 0, 3, 1])
    other = far_from_special(small())
    other.load_state_dict(head.state_dict())
    with torch.no_grad():
        other.adjacency.copy_(head.adjacency[order][:, order])
        other.embedding.copy_(head.embedding[order])
        other.bias.copy_(head.bias[order])
    images = torch.randn(2, 5, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(other(images), head(images)[:, order])


@pytest.mark.parametrize(
    ("n_labels", "width", "parameters"), [(14, 14, 2_111_488), (80, 80, 2_179_072), (80, 300, 2_404_352)]
)
def test_parameters(n_labels: int, width: int, parameters: int) -> None:
    head = LabelGCN(2048, torch.zeros(n_labels, width), torch.eye(n_labels), bias=False)
    assert sum(parameter.numel() for parameter in head.parameters()) == parameters
    with_bias = LabelGCN(2048, torch.zeros(n_labels, width), torch.eye(n_labels))
    assert sum(parameter.numel() for parameter in with_bias.parameters()) == parameters + n_labels


def test_graph_and_embeddings_are_the_training_folds_and_fixed() -> None:
    truth = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1.0]])
    head = LabelGCN.from_settings(Settings(hidden=4), HeadInputs(5, 3, train_truth=truth))
    assert torch.equal(head.adjacency, cooccurrence_adjacency(truth))
    assert torch.equal(head.embedding, torch.eye(3))
    assert {"adjacency", "embedding"} <= head.state_dict().keys()
    assert set(dict(head.named_parameters())) == {"weight_1", "weight_2", "bias"}
    empty = LabelGCN.from_settings(Settings(hidden=4), HeadInputs(5, 3))
    empty.load_state_dict(head.state_dict())
    images = torch.randn(2, 5, 3, 3)
    assert torch.equal(empty(images), head(images))


def test_the_start_is_the_released_one() -> None:
    head = small(n_labels=40)
    assert 0.9 / 3**0.5 < float(head.weight_1.detach().abs().max()) <= 1 / 3**0.5
    assert float(head.weight_2.detach().abs().max()) <= 1 / 5**0.5
    assert head.bias.tolist() == [0.0] * 40
