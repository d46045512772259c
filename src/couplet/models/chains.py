"""What a chain of networks computes: each level is trained after the ones before it, which are frozen then.

    level 0            v_0 = pool(net_0(I))                       z_0 = head_0(v_0)
    cascade, k >= 1    v_k = pool(net_k(I))                       z_k = head_k([v_k; sigmoid(z_0) .. sigmoid(z_k-1)])
    ag_cnn, k = 1      v_1 = pool(net_1(crop(I, box(net_0(I)))))  z_1 = head_1(v_1)
    ag_cnn, k = 2      no network                                 z_2 = head_2([v_0; v_1])

Kumar et al., "Boosted cascaded convnets", arXiv:1711.08760 (cascade), of which an abstract could be read: that a level
is told at its classifier, and is a network of its own, is our own reading. Guan et al., "Diagnose like a radiologist",
arXiv:1801.09927 (ag_cnn). With model.metadata every head reads it behind the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from couplet.models.attention_crop import attention_box, crop
from couplet.models.backbone import Backbone
from couplet.models.head import ClassifierHead, Head


class Level(NamedTuple):
    """A network and its head; the last level of ag_cnn has no network of its own."""

    backbone: Backbone | None
    head: Head


class Seen(NamedTuple):
    """Logits (B, L) of a level, and the features that its head read."""

    logits: Tensor
    features: Tensor


def beside(vector: Tensor, told: Tensor | None) -> Tensor:
    """The vector per image (B, F) and behind it what is told of the image (B, m), if anything is."""
    return vector if told is None else torch.cat([vector.to(told.dtype), told], dim=1)


def cascade(levels: Sequence[Level], images: Tensor, told: Tensor | None = None) -> Seen:
    """What the last of `levels` says: its head reads its own features, and what all levels before it predict.

    `told` (B, m) is read by all, between the two; None: nothing.
    """
    predicted: list[Tensor] = []
    for k, (backbone, head) in enumerate(levels):
        assert backbone is not None and isinstance(head, ClassifierHead)
        with frozen(k, len(levels)):
            features = backbone(images)
            logits = head.classify(torch.cat([beside(head.vector(features), told), *predicted], dim=1))
            predicted.append(logits.sigmoid())
    return Seen(logits, features)


def ag_cnn(levels: Sequence[Level], images: Tensor, told: Tensor | None, threshold: float) -> Seen:
    """What the last of `levels` says: of the images, of the part of each that the first looks at, or of both.

    `told` (B, m) is read by all, behind the features; None: nothing.
    """
    vectors: list[Tensor] = []
    for k, (backbone, head) in enumerate(levels):
        assert isinstance(head, ClassifierHead)
        if backbone is None:
            features = vector = torch.cat(vectors, dim=1)
        else:
            with frozen(k, len(levels)):
                features = backbone(images)
                vector = head.vector(features)
                vectors.append(vector)
                if k == 0 and len(levels) > 1:
                    images = crop(images, attention_box(features, images.shape[-1], threshold))
    reader = levels[-1].head
    assert isinstance(reader, ClassifierHead)
    return Seen(reader.classify(beside(vector, told)), features)


def frozen(k: int, n: int) -> AbstractContextManager[object]:
    """Without gradients in level k of n, unless it is the last of them."""
    return torch.no_grad() if k < n - 1 and torch.is_grad_enabled() else nullcontext()
