"""The second paper's head: attention per label, then a static and two dynamic label graphs (DB-DGCN, 2024).

Names carry shapes: B batch, C labels, F backbone channels, D width of a label's representation, H and W the
feature map's height and width, N = H * W positions, K = C labels seen as sources. With `beta=0` and a random
static graph the head is ADD-GCN (Ye et al., ECCV 2020).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from couplet.models.head import Head, HeadInputs
from couplet.models.label_graph import cooccurrence_adjacency

Pool = Literal["max", "mean", "lse"]


class Explanation(NamedTuple):
    """What the head looked at: class activation maps and both dynamic graphs."""

    maps: Tensor
    """M (B, C, H, W): class activation maps before the sigmoid."""
    adjacency_main: Tensor
    """A_d of the main branch (B, C, C): [n, k] is the weight of source label k for target label n."""
    adjacency_auxiliary: Tensor
    """A_d of the auxiliary branch (B, C, C)."""


def phi(values: Tensor) -> Tensor:
    """LeakyReLU with slope 0.2 (the paper prints -0.2)."""
    return functional.leaky_relu(values, negative_slope=0.2)


def pool_positions(maps_BCN: Tensor, pool: Pool) -> Tensor:
    """Pool over positions: (B, C, N) to (B, C).

    `lse` is log(mean(exp)), the field's LSE pooling (Pinheiro and Collobert, 2015): it lies between mean and
    max whatever N is, where log(sum(exp)) would add log N to every logit.

    >>> maps = torch.tensor([[[0.0, 0.0, math.log(4.0)]]])
    >>> [round(float(pool_positions(maps, pool)), 4) for pool in ("max", "mean", "lse")]
    [1.3863, 0.4621, 0.6931]
    """
    if pool == "max":
        return maps_BCN.amax(dim=-1)
    if pool == "mean":
        return maps_BCN.mean(dim=-1)
    return maps_BCN.logsumexp(dim=-1) - math.log(maps_BCN.shape[-1])


def gate(scores: Tensor, normalize: bool) -> Tensor:
    """sigmoid(scores); with `normalize` divided by its sum over the last dimension.

    softmax(log sigmoid(x)) is that quotient exactly, and stays finite where every sigmoid underflows.
    """
    return functional.logsigmoid(scores).softmax(dim=-1) if normalize else torch.sigmoid(scores)


class SemanticAttention(nn.Module):
    """The semantic attention module (SAM): where each label is, and what is seen there.

    Args:
        in_channels: F.
        n_labels: C.
        dim: D.
        pool: how a label's map becomes its score.
        normalize: attention sums to 1 over positions (False is the paper's lineage: it does not).
    """

    def __init__(self, in_channels: int, n_labels: int, dim: int, pool: Pool, normalize: bool) -> None:
        super().__init__()
        self.pool: Pool = pool
        self.normalize = normalize
        self.class_maps = nn.Conv2d(in_channels, n_labels, kernel_size=1, bias=False)
        self.project = nn.Conv2d(in_channels, dim, kernel_size=1)

    def forward(self, features_BFHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features to label representations V (B, C, D), scores s_m (B, C) and maps M (B, C, H, W)."""
        maps_BCHW = self.class_maps(features_BFHW)
        maps_BCN = maps_BCHW.flatten(2)
        attention_BCN = gate(maps_BCN, self.normalize)
        # V = sum over n of a_n (W x_n + b) = W (sum of a_n x_n) + b (sum of a_n). Attending before projecting
        # multiplies W with C vectors and not with N: 12 times fewer operations at C = 14, N = 196.
        attended_BCF = torch.einsum("bcn,bfn->bcf", attention_BCN, features_BFHW.flatten(2))
        weight_DF, bias_D = self.project.weight.flatten(1), self.project.bias
        assert bias_D is not None
        mass_BC1 = attention_BCN.sum(dim=-1, keepdim=True)
        values_BCD = functional.linear(attended_BCF, weight_DF) + mass_BC1 * bias_D
        return values_BCD, pool_positions(maps_BCN, self.pool), maps_BCHW


class DynamicGraph(nn.Module):
    """One branch's dynamic graph: built from the image itself, then one graph convolution over it.

    Args:
        dim: D.
        n_labels: C.
        normalize: rows of the graph sum to 1.
    """

    def __init__(self, dim: int, n_labels: int, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize
        self.context = nn.Linear(dim, dim)
        self.norm = nn.BatchNorm1d(dim)
        self.adjacency = nn.Linear(2 * dim, n_labels)
        self.update = nn.Linear(dim, dim)

    def forward(self, nodes_BCD: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes H (B, C, D) to G (B, C, D) and the graph A_d (B, C, C). BatchNorm needs B > 1 in training."""
        context_BD = phi(self.norm(self.context(nodes_BCD.mean(dim=1))))
        pairs_BC2D = torch.cat([context_BD.unsqueeze(1).expand_as(nodes_BCD), nodes_BCD], dim=2)
        adjacency_BCK = gate(self.adjacency(pairs_BC2D), self.normalize)  # row: target, column: source
        return phi(self.update(phi(adjacency_BCK @ nodes_BCD))), adjacency_BCK


class DualBranchDynamicGCN(Head):
    """Semantic attention, a static graph and two dynamic branches; logits for every label.

    It computes in its parameters' type (float32), also under autocast.

    Args:
        in_channels: F, channels of the backbone's feature map.
        n_labels: C.
        dim: D.
        beta: weight of the auxiliary branch (straight to the dynamic graph), 1 - beta of the main branch
            (static graph first). 0 leaves ADD-GCN.
        omega: weight of the attention's own score, 1 - omega of the graphs' score; both are logits.
        pool: how maps become the attention's score, see `pool_positions`.
        normalize: attention and dynamic graphs sum to 1. False is the paper's lineage (losses start near 35,
            hence its gradient clipping at 10); True is what to train with on X-rays, AdamW and AMP.
        share_dynamic: both branches use the main branch's weights; its BatchNorm sees two batches a step.
        static_adjacency: start of A_s (C, C), see `label_graph.cooccurrence_adjacency`; None is uniform(+-1/sqrt(C)).
        static_trainable: whether A_s is trained.

    Raises:
        ValueError: beta or omega outside [0, 1], an unknown pool, or a static adjacency that is not C x C.

    >>> head = DualBranchDynamicGCN(in_channels=8, n_labels=3, dim=4).eval()
    >>> logits, explanation = head(torch.zeros(2, 8, 5, 5), return_explanation=True)
    >>> logits.shape, explanation.maps.shape, explanation.adjacency_main.shape
    (torch.Size([2, 3]), torch.Size([2, 3, 5, 5]), torch.Size([2, 3, 3]))
    """

    reads: ClassVar[Literal["vector", "map"]] = "map"
    explains: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        n_labels: int,
        dim: int = 1024,
        beta: float = 0.5,
        omega: float = 0.5,
        pool: Pool = "max",
        normalize: bool = False,
        share_dynamic: bool = False,
        static_adjacency: Tensor | None = None,
        static_trainable: bool = True,
    ) -> None:
        super().__init__()
        if not (0 <= beta <= 1 and 0 <= omega <= 1):
            raise ValueError(f"beta and omega must be in [0, 1], not {beta} and {omega}")
        if pool not in ("max", "mean", "lse"):
            raise ValueError(f"pool must be max, mean or lse, not {pool!r}")
        self.beta, self.omega = beta, omega
        self.attention = SemanticAttention(in_channels, n_labels, dim, pool, normalize)
        self.static_update = nn.Linear(dim, dim)
        self.main = DynamicGraph(dim, n_labels, normalize)
        if share_dynamic:
            # Past nn.Module's registration: a module registered twice would be twice in the state dict, which
            # safetensors refuses. Moving and deep-copying keep the two names one object.
            object.__setattr__(self, "auxiliary", self.main)
        else:
            self.auxiliary = DynamicGraph(dim, n_labels, normalize)
        bound = 1 / math.sqrt(dim)
        self.label_weight = nn.Parameter(torch.empty(n_labels, dim).uniform_(-bound, bound))
        self.label_bias = nn.Parameter(torch.empty(n_labels).uniform_(-bound, bound))
        # Drawn last, so that everything else starts the same with either start of the static graph.
        if static_adjacency is None:
            static_adjacency = torch.empty(n_labels, n_labels).uniform_(-1, 1) / math.sqrt(n_labels)
        if static_adjacency.shape != (n_labels, n_labels):
            raise ValueError(
                f"static_adjacency is {tuple(static_adjacency.shape)}, not ({n_labels}, {n_labels})"
            )
        start = static_adjacency.to(torch.get_default_dtype(), copy=True)
        self.static_adjacency = nn.Parameter(start, requires_grad=static_trainable)

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> DualBranchDynamicGCN:
        """Build it from settings/heads/db_dgcn.py; the static graph starts from the training fold if asked to."""
        start = None
        if cls.asks_for_truth(settings) and inputs.train_truth is not None:
            start = cooccurrence_adjacency(inputs.train_truth)
        arguments = settings.model_dump(exclude={"static_init"})
        return cls(inputs.in_features, inputs.n_labels, static_adjacency=start, **arguments)

    @classmethod
    def asks_for_truth(cls, settings: Any) -> bool:
        """Whether the static graph starts from the labels that occur together."""
        return bool(settings.static_init == "cooccurrence")

    def class_maps(self, features: Tensor) -> Tensor:
        """M (B, C, H, W), the attention's own maps; the graphs' part of the logit has no place."""
        with torch.autocast(features.device.type, enabled=False):
            maps: Tensor = self.attention.class_maps(features.to(self.label_bias.dtype))
        return maps

    def explain(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, class activation maps (B, C, H, W), both dynamic graphs (B, C, C) and the static one (C, C)."""
        logits, explanation = self(features, return_explanation=True)
        return logits, {**explanation._asdict(), "static_adjacency": self.static_adjacency}

    def forward(
        self, features_BFHW: Tensor, return_explanation: bool = False
    ) -> Tensor | tuple[Tensor, Explanation]:
        """A feature map (B, F, H, W) to logits (B, C), with `return_explanation` to (logits, Explanation)."""
        with torch.autocast(features_BFHW.device.type, enabled=False):
            values_BCD, attention_score_BC, maps_BCHW = self.attention(
                features_BFHW.to(self.label_bias.dtype)
            )
            static_BCD = phi(self.static_update(phi(self.static_adjacency @ values_BCD)))
            main_BCD, adjacency_main = self.main(values_BCD + static_BCD)
            nodes_BCD = values_BCD + (1 - self.beta) * main_BCD
            # beta = 0 is ADD-GCN, whose BatchNorm must not see the other branch through shared weights.
            if self.beta > 0 or return_explanation:
                auxiliary_BCD, adjacency_auxiliary = self.auxiliary(values_BCD)
                nodes_BCD = nodes_BCD + self.beta * auxiliary_BCD
            graph_score_BC = (nodes_BCD * self.label_weight).sum(dim=-1) + self.label_bias
            logits_BC = (1 - self.omega) * graph_score_BC + self.omega * attention_score_BC
        if return_explanation:
            return logits_BC, Explanation(maps_BCHW, adjacency_main, adjacency_auxiliary)
        return logits_BC


HEAD = DualBranchDynamicGCN
