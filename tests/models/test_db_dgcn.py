from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from couplet.heads.db_dgcn import (
    DualBranchDynamicGCN,
    DynamicGraph,
    SemanticAttention,
    pool_positions,
)
from couplet.models.label_graph import cooccurrence_adjacency

Weights = dict[str, np.ndarray]


def float64_head(n_labels: int, **settings) -> DualBranchDynamicGCN:
    """A head whose every parameter (BatchNorm's too) is far from a special value."""
    torch.manual_seed(0)
    head = DualBranchDynamicGCN(in_channels=5, n_labels=n_labels, dim=6, **settings).double()
    with torch.no_grad():
        for value in head.state_dict().values():
            if value.is_floating_point():
                value.add_(0.3 * torch.rand_like(value))
    return head


def numbers(head: torch.nn.Module) -> Weights:
    return {key: value.detach().numpy() for key, value in head.state_dict().items()}


# --- independent references: plain loops in float64, written from the formulas alone ------------------------


def slope(value: float) -> float:
    return value if value > 0 else 0.2 * value


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def linear(weights: Weights, name: str, vector: np.ndarray) -> np.ndarray:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    out = np.zeros(len(weight))
    for row in range(len(weight)):
        total = bias[row]
        for column in range(len(vector)):
            total += weight[row, column] * vector[column]
        out[row] = total
    return out


def attention_by_loops(weights: Weights, image: np.ndarray, pool: str, normalize: bool):
    """One image (F, H, W): values (C, D), scores (C,), maps (C, H, W)."""
    _, height, width = image.shape
    maps_weight = weights["attention.class_maps.weight"][:, :, 0, 0]
    project = {
        "p.weight": weights["attention.project.weight"][:, :, 0, 0],
        "p.bias": weights["attention.project.bias"],
    }
    n_labels, dim = len(maps_weight), len(project["p.bias"])
    maps = np.zeros((n_labels, height, width))
    values, scores = np.zeros((n_labels, dim)), np.zeros(n_labels)
    projected = [[linear(project, "p", image[:, y, x]) for x in range(width)] for y in range(height)]
    for label in range(n_labels):
        seen, attention = [], []
        for y in range(height):
            for x in range(width):
                maps[label, y, x] = sum(
                    w * v for w, v in zip(maps_weight[label], image[:, y, x], strict=True)
                )
                seen.append(maps[label, y, x])
                attention.append(sigmoid(maps[label, y, x]))
        mass = sum(attention) if normalize else 1.0
        for position, share in enumerate(attention):
            values[label] += share / mass * projected[position // width][position % width]
        if pool == "max":
            scores[label] = max(seen)
        elif pool == "mean":
            scores[label] = sum(seen) / len(seen)
        else:
            scores[label] = math.log(sum(math.exp(value) for value in seen) / len(seen))
    return values, scores, maps


def graph_convolution(adjacency: np.ndarray, nodes: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    out = np.zeros_like(nodes)
    for target in range(len(nodes)):
        mixed = np.zeros(nodes.shape[1])
        for source in range(len(nodes)):
            mixed += adjacency[target, source] * nodes[source]
        mixed = np.array([slope(value) for value in mixed])
        out[target] = [slope(value) for value in linear(weights, name, mixed)]
    return out


def dynamic_by_loops(weights: Weights, branch: str, batch: list[np.ndarray], train: bool, normalize: bool):
    """A batch of nodes (C, D): graph outputs and adjacencies, with BatchNorm over the batch."""
    contexts = np.array([linear(weights, f"{branch}.context", nodes.mean(axis=0)) for nodes in batch])
    if train:
        mean, variance = contexts.mean(axis=0), contexts.var(axis=0)
    else:
        mean, variance = weights[f"{branch}.norm.running_mean"], weights[f"{branch}.norm.running_var"]
    contexts = (contexts - mean) / np.sqrt(variance + 1e-5)
    contexts = contexts * weights[f"{branch}.norm.weight"] + weights[f"{branch}.norm.bias"]
    outputs, graphs = [], []
    for context, nodes in zip(contexts, batch, strict=True):
        context = np.array([slope(value) for value in context])
        graph = np.zeros((len(nodes), len(nodes)))
        for target in range(len(nodes)):
            scores = linear(weights, f"{branch}.adjacency", np.concatenate([context, nodes[target]]))
            graph[target] = [sigmoid(score) for score in scores]
            if normalize:
                graph[target] /= graph[target].sum()
        outputs.append(graph_convolution(graph, nodes, weights, f"{branch}.update"))
        graphs.append(graph)
    return outputs, graphs


def add_gcn_by_loops(weights: Weights, images: np.ndarray, train: bool) -> np.ndarray:
    """ADD-GCN (Ye et al., 2020): attention, static graph with a residual, one dynamic graph, mean of scores."""
    values, scores = [], []
    for image in images:
        value, score, _ = attention_by_loops(weights, image, "max", normalize=False)
        values.append(value)
        scores.append(score)
    after_static = [
        value + graph_convolution(weights["static_adjacency"], value, weights, "static_update")
        for value in values
    ]
    dynamic, _ = dynamic_by_loops(weights, "main", after_static, train, normalize=False)
    logits = np.zeros((len(images), len(scores[0])))
    for row in range(len(images)):
        final = values[row] + dynamic[row]
        for label in range(logits.shape[1]):
            graph_score = final[label] @ weights["label_weight"][label] + weights["label_bias"][label]
            logits[row, label] = (graph_score + scores[row][label]) / 2
    return logits


def db_dgcn_by_loops(weights, images, train, beta, omega, pool, normalize, auxiliary):
    """The whole dual-branch head; `auxiliary` names the branch whose weights the second branch uses."""
    seen = [attention_by_loops(weights, image, pool, normalize) for image in images]
    values = [value for value, _, _ in seen]
    after_static = [
        value + graph_convolution(weights["static_adjacency"], value, weights, "static_update")
        for value in values
    ]
    main, main_graphs = dynamic_by_loops(weights, "main", after_static, train, normalize)
    other, other_graphs = dynamic_by_loops(weights, auxiliary, values, train, normalize)
    logits = np.zeros((len(images), len(values[0])))
    for row in range(len(images)):
        for label in range(logits.shape[1]):
            z = values[row][label] + (1 - beta) * main[row][label] + beta * other[row][label]
            graph_score = float(z @ weights["label_weight"][label]) + weights["label_bias"][label]
            logits[row, label] = (1 - omega) * graph_score + omega * seen[row][1][label]
    return logits, np.array([maps for _, _, maps in seen]), np.array(main_graphs), np.array(other_graphs)


# --- the arithmetic -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("n_labels", [14, 80])
@pytest.mark.parametrize("share", [True, False])
def test_beta_zero_is_add_gcn(n_labels: int, train: bool, share: bool):
    head = float64_head(n_labels, beta=0, share_dynamic=share).train(train)
    images = torch.randn(3, 5, 4, 3, dtype=torch.float64)
    expected = add_gcn_by_loops(numbers(head), images.numpy(), train)
    np.testing.assert_allclose(head(images).detach().numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("pool", ["max", "mean", "lse"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("share", [True, False])
def test_the_dual_branch_head_is_the_formulas_in_plain_loops(train, pool, normalize, share):
    settings = {"beta": 0.3, "omega": 0.6, "pool": pool, "normalize": normalize}
    head = float64_head(7, share_dynamic=share, **settings).train(train)
    images = torch.randn(3, 5, 2, 3, dtype=torch.float64)
    auxiliary = "main" if share else "auxiliary"
    expected = db_dgcn_by_loops(numbers(head), images.numpy(), train, auxiliary=auxiliary, **settings)
    logits, explanation = head(images, return_explanation=True)
    for got, reference in zip((logits, *explanation), expected, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), reference, rtol=1e-6)


def test_the_two_branches_differ_unless_shared():
    images = torch.randn(3, 5, 2, 3, dtype=torch.float64)
    apart = float64_head(7).eval()
    assert not torch.allclose(
        apart(images, True)[1].adjacency_main, apart(images, True)[1].adjacency_auxiliary
    )


def test_normalize_makes_attention_and_graph_rows_sum_to_one():
    head = float64_head(4, normalize=True).eval()
    _, explanation = head(torch.randn(2, 5, 3, 3, dtype=torch.float64), return_explanation=True)
    torch.testing.assert_close(explanation.adjacency_main.sum(-1), torch.ones(2, 4, dtype=torch.float64))
    # With equal features everywhere, attention that sums to 1 gives the projected feature itself.
    head.double()
    flat = torch.randn(1, 5, 1, 1, dtype=torch.float64)
    values, _, _ = head.attention(flat.expand(1, 5, 6, 6))
    torch.testing.assert_close(values[0, 0], head.attention.project(flat).flatten())


def test_normalized_attention_survives_maps_where_every_sigmoid_underflows():
    head = DualBranchDynamicGCN(2, 3, dim=4, normalize=True)
    with torch.no_grad():
        head.attention.class_maps.weight.fill_(-1)
    logits = head(torch.full((2, 2, 3, 3), 500.0) + torch.randn(2, 2, 3, 3))
    logits.square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in head.parameters() if p.grad is not None)
    assert bool(logits.isfinite().all())


def test_lse_lies_between_mean_and_max_whatever_the_number_of_positions():
    maps = torch.randn(2, 3, 50, dtype=torch.float64)
    lse = pool_positions(maps, "lse")
    assert bool((pool_positions(maps, "mean") < lse).all() and (lse < pool_positions(maps, "max")).all())
    torch.testing.assert_close(pool_positions(maps.repeat(1, 1, 4), "lse"), lse)


# --- sizes and names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_labels", "share", "millions"),
    [(80, False, 7.93), (80, True, 5.67), (14, False, 7.45), (14, True, 5.32)],
)
def test_parameter_counts_of_the_paper(n_labels: int, share: bool, millions: float):
    f, d, c = 2048, 1024, n_labels
    branch = (d * d + d) + 2 * d + (2 * d * c + c) + (d * d + d)
    attention = f * c + (f * d + d)
    expected = attention + c * c + (d * d + d) + (1 if share else 2) * branch + c * d + c
    head = DualBranchDynamicGCN(f, c, share_dynamic=share)
    assert sum(parameter.numel() for parameter in head.parameters()) == expected
    assert round(expected / 1e6, 2) == millions


def test_names_and_shapes():
    head = DualBranchDynamicGCN(in_channels=8, n_labels=3, dim=4)
    branch = {
        "context.weight": (4, 4),
        "context.bias": (4,),
        "norm.weight": (4,),
        "norm.bias": (4,),
        "adjacency.weight": (3, 8),
        "adjacency.bias": (3,),
        "update.weight": (4, 4),
        "update.bias": (4,),
    }
    expected = {
        "attention.class_maps.weight": (3, 8, 1, 1),
        "attention.project.weight": (4, 8, 1, 1),
        "attention.project.bias": (4,),
        "static_adjacency": (3, 3),
        "static_update.weight": (4, 4),
        "static_update.bias": (4,),
        "label_weight": (3, 4),
        "label_bias": (3,),
        **{f"main.{name}": shape for name, shape in branch.items()},
        **{f"auxiliary.{name}": shape for name, shape in branch.items()},
    }
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == expected
    assert isinstance(head.attention, SemanticAttention) and isinstance(head.main, DynamicGraph)


def test_shared_branches_are_saved_once_and_stay_one_object():
    head = DualBranchDynamicGCN(8, 3, dim=4, share_dynamic=True)
    assert head.auxiliary is head.main
    assert not [key for key in head.state_dict() if key.startswith("auxiliary")]
    again = copy.deepcopy(head)
    assert again.auxiliary is again.main and again.main is not head.main
    again.load_state_dict(load(save(head.state_dict())))
    images = torch.randn(2, 8, 3, 3)
    assert torch.equal(again.eval()(images), head.eval()(images))
    assert head.half().auxiliary.context.weight.dtype == torch.float16


def test_float32_under_autocast():
    head = DualBranchDynamicGCN(8, 3, dim=4, normalize=True).eval()
    features = torch.randn(2, 8, 3, 3).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, explanation = head(features, return_explanation=True)
    assert logits.dtype == explanation.maps.dtype == explanation.adjacency_main.dtype == torch.float32
    assert torch.equal(logits, head(features.float()))


def test_every_parameter_learns():
    head = DualBranchDynamicGCN(8, 3, dim=4)
    head(torch.randn(4, 8, 3, 3)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for _, p in head.named_parameters())


def test_a_static_graph_that_is_not_trained_keeps_its_start():
    start = torch.eye(3)
    head = DualBranchDynamicGCN(8, 3, dim=4, static_adjacency=start, static_trainable=False)
    assert torch.equal(head.static_adjacency, start) and not head.static_adjacency.requires_grad
    assert "static_adjacency" in head.state_dict()


def test_random_static_graph_is_within_its_bound():
    torch.manual_seed(0)
    start = DualBranchDynamicGCN(4, 80, dim=2).static_adjacency.detach()
    bound = 1 / math.sqrt(80)
    assert start.abs().max() <= bound
    assert abs(start.mean().item()) < 0.05 * bound
    assert start.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    "wrong", [{"beta": 1.5}, {"omega": -0.1}, {"pool": "avg"}, {"static_adjacency": torch.eye(4)}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError):
        DualBranchDynamicGCN(8, 3, dim=4, **wrong)


# --- the static graph's start -------------------------------------------------------------------------------


def adjacency_by_loops(labels: np.ndarray) -> np.ndarray:
    n_labels = labels.shape[1]
    edges = np.zeros((n_labels, n_labels))
    for i in range(n_labels):
        for j in range(n_labels):
            rows = [row for row in labels if row[i] == 1 and not np.isnan(row[j])]
            if i != j and rows:
                edges[i, j] = sum(row[j] == 1 for row in rows) / len(rows) >= 0.4
    prime = np.eye(n_labels)
    for j in range(n_labels):
        if edges[:, j].sum():
            prime[:, j] += 0.25 * edges[:, j] / edges[:, j].sum()
    degree = prime.sum(axis=1)
    out = np.zeros_like(prime)
    for i in range(n_labels):
        for j in range(n_labels):
            out[i, j] = prime[j, i] / math.sqrt(degree[i] * degree[j])
    return out


def test_cooccurrence_adjacency_is_its_formula():
    generator = np.random.default_rng(3)
    labels = (generator.random((60, 6)) < 0.4).astype(float)
    labels[:, 4] = labels[:, 0]
    labels[generator.random(labels.shape) < 0.1] = np.nan
    labels[:, 5] = 0
    got = cooccurrence_adjacency(labels)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), adjacency_by_loops(labels), rtol=1e-6)
    assert got[5].tolist() == [0, 0, 0, 0, 0, 1]  # never occurs: its self-loop alone


def test_cooccurrence_threshold_is_inclusive():
    labels = np.zeros((5, 2))
    labels[:, 0] = 1
    labels[:2, 1] = 1  # P_01 = 2/5 = 0.4 exactly, P_10 = 1
    adjacency = cooccurrence_adjacency(labels)
    assert adjacency[0, 1] == adjacency[1, 0] == pytest.approx(0.25 / 1.25)


def test_add_gcn_with_shared_weights_keeps_the_other_branch_out_of_its_batch_statistics():
    head = DualBranchDynamicGCN(8, 3, dim=4, beta=0, share_dynamic=True)
    head(torch.randn(4, 8, 3, 3))
    assert head.main.norm.num_batches_tracked == 1
