"""Levels: a chain of networks (`couplet.models.chains`) as one module, of which one level at a time is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from torch import Tensor, nn

from couplet.models.backbone import Backbone, create_backbone
from couplet.models.chains import Level, Seen, ag_cnn, beside, cascade
from couplet.models.head import Head, HeadInputs, build_head
from couplet.settings.params import ModelParams
from couplet.settings.schema.levels import LevelsParams


class Chain(NamedTuple):
    """The levels 1 .. K-1 after the first, and the section `model.levels`; by default there are none."""

    later: Sequence[Level] = ()
    settings: LevelsParams = LevelsParams()


ONE_NETWORK = Chain()


class Levels(nn.Module):
    """A chain of networks, of which one at a time is trained. A single network is a chain of one.

    Level 0 keeps the names `backbone` and `head`; those of level k >= 1 begin with `later.<k>.`. What else there is,
    the refiner, is trained with the last level, and follows its logits alone.

    Attributes:
        level: whose logits are given: the last one's, unless `train_level` chooses another.

    Args:
        backbone, head: of level 0.
        chain: what comes after it.
    """

    def __init__(self, backbone: Backbone, head: Head, chain: Chain) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.later = nn.ModuleDict(
            {
                str(k): nn.ModuleDict(
                    {name: part for name, part in level._asdict().items() if part is not None}
                )
                for k, level in enumerate(chain.later, 1)
            }
        )
        self.kind, self.threshold = chain.settings.kind, chain.settings.threshold
        self.n_levels = 1 + len(chain.later)
        self.level = self.n_levels - 1
        self._trainable: frozenset[str] | None = None

    @property
    def levels(self) -> list[Level]:
        """All K levels."""
        modules = [dict(level.items()) for level in self.later.values()]  # type: ignore[operator]
        later = [Level(module.get("backbone"), module["head"]) for module in modules]
        return [Level(self.backbone, self.head), *later]

    @property
    def trained_head(self) -> Head:
        """The head whose logits are given."""
        return self.levels[self.level].head

    @property
    def trained_backbone(self) -> Backbone | None:
        """The network of that head; None where it has none of its own."""
        return self.levels[self.level].backbone

    @property
    def at_last(self) -> bool:
        """Whether the last level's logits are given, which alone the refiner follows."""
        return self.level == self.n_levels - 1

    def see(self, images: Tensor, told: Tensor | None = None) -> Seen:
        """What level `level` says of normalised images (B, 3, S, S); the levels before it get no gradient.

        `told` (B, m) is what every head reads beside the features; None: nothing.
        """
        if self.n_levels == 1:
            features = self.backbone(images)
            return Seen(self.head(beside(features, told)), features)
        levels = self.levels[: self.level + 1]
        if self.kind == "cascade":
            return cascade(levels, images, told)
        return ag_cnn(levels, images, told, self.threshold)

    # --- one level is trained ---------------------------------------------------------------------------------

    def level_of(self, name: str) -> int:
        """The level that an entry of the state dict is trained with."""
        first, *rest = name.split(".")
        if first == "later":
            return int(rest[0])
        return 0 if first in ("backbone", "head") else self.n_levels - 1

    def train_level(self, level: int) -> None:
        """Give this level's logits, and let it alone take part in the training."""
        if self._trainable is None:
            self._trainable = frozenset(name for name, p in self.named_parameters() if p.requires_grad)
        self.level = level
        self.zero_grad(set_to_none=True)  # a gradient that is left over would count in the next norm
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in self._trainable and self.level_of(name) == level)

    def train(self, mode: bool = True) -> Self:
        """As every module, but that the levels that are not trained stay in evaluation mode."""
        super().train(mode)
        for k, level in enumerate(self.levels):
            if k != self.level:
                for module in level:
                    if module is not None:
                        module.eval()
        return self

    def own_state(self) -> dict[str, Tensor]:
        """The entries of the state dict that training this level may change; of a single network all."""
        return {name: value for name, value in self.state_dict().items() if self.level_of(name) == self.level}

    def load_own_state(self, state: Mapping[str, Tensor]) -> None:
        """Put what `own_state` gave back in its place.

        Raises:
            KeyError: it is another level's.
        """
        if state.keys() != self.own_state().keys():
            raise KeyError(f"the weights are not those of level {self.level}")
        self.load_state_dict(state, strict=False)


# --- building -------------------------------------------------------------------------------------------------


def build_levels(
    model: ModelParams,
    n_labels: int,
    weights_folder: Path,
    image_size: int,
    train_truth: np.ndarray | None = None,
) -> tuple[Backbone, Head, Chain]:
    """All levels at their start, drawn one after the other: the first, as if it were alone, and the others.

    Args:
        model: the section `model`.
        n_labels: L.
        weights_folder, image_size: see `create_backbone`, which also says what is raised.
        train_truth: (N, L) of the training fold; None where saved weights take the place of what heads start from.
    """
    built: list[Level] = []
    n_features = 0
    for k in range(model.levels.n_levels):
        backbone: Backbone | None = None
        if has_backbone(model.levels, k):
            backbone = create_backbone(model, weights_folder, image_size)
            n_features = backbone.num_features
        n_read = n_features + len(model.metadata) + extra_inputs(model.levels, k, n_features, n_labels)
        head = build_head(model, HeadInputs(n_read, n_labels, model.dropout, train_truth))
        built.append(Level(backbone, head))
    (first, head), *later = built
    assert first is not None
    return first, head, Chain(later, model.levels)


def has_backbone(levels: LevelsParams, k: int) -> bool:
    """Whether level k is a network of its own: all are but the one that reads both others of ag_cnn."""
    return not (levels.kind == "ag_cnn" and k == 2)


def extra_inputs(levels: LevelsParams, k: int, n_features: int, n_labels: int) -> int:
    """What the classifier of level k reads beside F = `n_features` features and model.metadata.

    >>> [extra_inputs(LevelsParams(kind="cascade"), k, 2208, 14) for k in (0, 1, 5)]
    [0, 14, 70]
    >>> [extra_inputs(LevelsParams(kind="ag_cnn"), k, 2048, 15) for k in (0, 1, 2)]
    [0, 0, 2048]
    """
    if levels.kind == "cascade":
        return k * n_labels
    return 0 if has_backbone(levels, k) else n_features


def features_seen(backbone: Backbone, chain: Chain) -> int:
    """Channels of the features that the last level's head reads of the networks."""
    both = chain.settings.kind == "ag_cnn"
    return (2 if both else 1) * backbone.num_features
