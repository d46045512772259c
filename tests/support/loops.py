"""Independent references for heads: plain loops in float64 over one image, written from formulas alone."""

from __future__ import annotations

import math

import numpy as np
import torch

Weights = dict[str, np.ndarray]


def far_from_special(head: torch.nn.Module) -> torch.nn.Module:
    """The head in float64 and evaluation, with no parameter or buffer at a special value."""
    head = head.double().eval()
    with torch.no_grad():
        for value in head.state_dict().values():
            if value.is_floating_point():
                value.add_(0.3 * torch.rand_like(value))
    return head


def numbers(head: torch.nn.Module) -> Weights:
    return {key: value.detach().numpy() for key, value in head.state_dict().items()}


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def relu(vector: np.ndarray) -> np.ndarray:
    return np.array([value if value > 0 else 0.0 for value in vector])


def matvec(weight: np.ndarray, vector: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    out = np.zeros(len(weight))
    for row in range(len(weight)):
        out[row] = 0.0 if bias is None else bias[row]
        for column in range(len(vector)):
            out[row] += weight[row, column] * vector[column]
    return out


def linear(weights: Weights, name: str, vector: np.ndarray) -> np.ndarray:
    return matvec(weights[f"{name}.weight"], vector, weights.get(f"{name}.bias"))


def softmax(scores: list[float]) -> list[float]:
    mass = sum(math.exp(score) for score in scores)
    return [math.exp(score) / mass for score in scores]


def layer_norm(weights: Weights, name: str, vector: np.ndarray) -> np.ndarray:
    mean = sum(vector) / len(vector)
    variance = sum((value - mean) ** 2 for value in vector) / len(vector)
    normal = np.array([(value - mean) / math.sqrt(variance + 1e-5) for value in vector])
    return normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attend(
    weights: Weights, name: str, queries: np.ndarray, keys: np.ndarray, values: np.ndarray, heads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Multi-head attention of queries (L, D) to keys and values (N, D): (L, D) and mean weights (L, N)."""
    dim = queries.shape[1]
    width = dim // heads
    packed, bias = weights[f"{name}.in_proj_weight"], weights[f"{name}.in_proj_bias"]
    parts = [(packed[i * dim : (i + 1) * dim], bias[i * dim : (i + 1) * dim]) for i in range(3)]
    q = [matvec(parts[0][0], row, parts[0][1]) for row in queries]
    k = [matvec(parts[1][0], row, parts[1][1]) for row in keys]
    v = [matvec(parts[2][0], row, parts[2][1]) for row in values]
    out, mean_weights = np.zeros_like(queries), np.zeros((len(queries), len(keys)))
    for label in range(len(queries)):
        joined = np.zeros(dim)
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            scores = [float(q[label][own] @ key[own]) / math.sqrt(width) for key in k]
            for place, share in enumerate(softmax(scores)):
                joined[own] += share * v[place][own]
                mean_weights[label, place] += share / heads
        out[label] = linear(weights, f"{name}.out_proj", joined)
    return out, mean_weights


def attention_layer(
    weights: Weights,
    name: str,
    state: np.ndarray,
    queries: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    heads: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Post-norm layer on states (L, D): attention and two linear maps, each with residual and norm."""
    attended, mean_weights = attend(weights, f"{name}.attention", queries, keys, values, heads)
    out = np.zeros_like(state)
    for label in range(len(state)):
        first = layer_norm(weights, f"{name}.norm_attention", state[label] + attended[label])
        hidden = relu(linear(weights, f"{name}.widen", first))
        out[label] = layer_norm(weights, f"{name}.norm_ff", first + linear(weights, f"{name}.narrow", hidden))
    return out, mean_weights


def positions(image: np.ndarray) -> np.ndarray:
    """A map (F, H, W) as (N, F), row by row."""
    return np.array([image[:, y, x] for y in range(image.shape[1]) for x in range(image.shape[2])])
