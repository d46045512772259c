"""What a head is: the plug-in between a backbone's features and the logits, one file each in heads/."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from couplet.settings.params import ModelParams


@dataclass(frozen=True)
class HeadInputs:
    """What a head may need to build itself.

    Attributes:
        in_features: F, channels of the backbone's features.
        n_labels: L.
        dropout: model.dropout.
        train_truth: (N, L) of the training fold, with NaN for unknown; None where saved weights take the place of
            whatever the head starts from.
    """

    in_features: int
    n_labels: int
    dropout: float = 0.0
    train_truth: np.ndarray | None = None


class Head(nn.Module):
    """Features to logits (B, L), in float32 also under autocast.

    A file heads/<name>.py holds one and names it HEAD; its typed settings are settings/heads/<name>.py.
    """

    reads: ClassVar[Literal["vector", "map"]] = "vector"
    """What `forward` is given: pooled features (B, F), or the feature map (B, F, H, W)."""

    explains: ClassVar[bool] = False
    """Whether `explain` has something to say."""

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> Head:
        """Build the head at its start, with weights drawn from torch's global generator."""
        raise NotImplementedError

    @classmethod
    def asks_for_truth(cls, settings: Any) -> bool:
        """Whether a head that is to be trained starts from the training fold's labels."""
        return False

    def start_without_information(self, logits: Tensor) -> None:
        """Told once, before training, the logits (L,) that cost the least if images say nothing: a bias's best start.

        The papers' own heads keep the bias that they drew.
        """

    def shown(self, truth: Tensor) -> Tensor:
        """Told the labels (B, L) of a training step before its forward pass; gives back those that the loss scores.

        Most heads do not look, and all known cells are scored. What a head reads it must not be scored for: NaN there.
        Draws come from torch's global generator, which is seeded for each step.
        """
        return truth

    def loss_terms(self) -> dict[str, Tensor]:
        """Further terms of the loss (scalars) by name, after a forward pass."""
        return {}

    def class_maps(self, features: Tensor) -> Tensor | None:
        """Each label's logit at each place, (B, L, H, W) float32, of a feature map (B, F, H, W); None: it has none."""
        return None

    def explain(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (B, L) and what the head looked at, by name. Only where `explains` is true.

        `maps` (B, L, H, W) says where each label was seen; `maps_mean` of the head's settings says in the report what
        its values are. Label graphs are the second paper's.
        """
        raise NotImplementedError


class ClassifierHead(Head):
    """Dropout and one linear layer over a vector per image: what plain heads end with.

    Args:
        in_features: F.
        n_labels: L.
        dropout: probability of dropping a feature while training.
    """

    def __init__(self, in_features: int, n_labels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(in_features, n_labels)

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> ClassifierHead:
        """It has no settings of its own; model.dropout is every plain head's."""
        return cls(inputs.in_features, inputs.n_labels, inputs.dropout)

    def vector(self, features: Tensor) -> Tensor:
        """The vector per image (B, F), float32, that is classified: of a map (B, F, H, W) its mean."""
        features = features.to(self.classifier.weight.dtype)
        return features.mean(dim=(2, 3)) if features.dim() == 4 else features

    def classify(self, vector: Tensor) -> Tensor:
        """A vector per image to logits (B, L), in float32 even under autocast."""
        with torch.autocast(vector.device.type, enabled=False):
            return self.classifier(self.dropout(vector))

    def forward(self, features: Tensor) -> Tensor:
        """What `reads` names to logits (B, L), in float32 even under autocast."""
        return self.classify(self.vector(features))

    def class_maps(self, features: Tensor) -> Tensor:
        """Class activation maps (Zhou et al. 2016): the classifier at each place, its bias included.

        Over mean pooling the mean of a label's map is its logit.
        """
        weight, bias = self.classifier.weight, self.classifier.bias
        with torch.autocast(features.device.type, enabled=False):
            return torch.nn.functional.conv2d(features.to(weight.dtype), weight[:, :, None, None], bias)


def head_class(name: str) -> type[Head]:
    """The head of model.head = `name`. Only its own file is imported, so that editing another retrains nothing."""
    head: type[Head] = importlib.import_module(f"couplet.heads.{name}").HEAD
    return head


def reads(model: ModelParams) -> Literal["vector", "map"]:
    """What the backbone of `model` is to give. For the attention crop of ag_cnn every head is given the map."""
    return "map" if model.levels.kind == "ag_cnn" else head_class(model.head).reads


def build_head(model: ModelParams, inputs: HeadInputs) -> Head:
    """The head that `model` names, at its start."""
    return head_class(model.head).from_settings(model.head_settings, inputs)
