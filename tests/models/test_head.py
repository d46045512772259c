"""What every head keeps: the promises of the plug-in, whatever its file does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from couplet.models.head import HeadInputs, build_head, head_class
from couplet.settings.params import ModelParams
from couplet.settings.schema.plugins import HEADS

N_LABELS, FEATURES = 3, 8


@pytest.mark.parametrize("name", HEADS.names())
def test_a_head_gives_float32_logits_and_finite_loss_terms(name: str) -> None:
    torch.manual_seed(0)
    model = ModelParams(head=name, pretrained=False)
    truth = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    head = build_head(model, HeadInputs(FEATURES, N_LABELS, 0.4, truth))
    shape = (2, FEATURES) if head_class(name).reads == "vector" else (2, FEATURES, 4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(torch.randn(shape))
    assert logits.shape == (2, N_LABELS) and logits.dtype == torch.float32
    terms = head.loss_terms()
    assert all(term.dim() == 0 and bool(term.isfinite()) for term in terms.values())


@pytest.mark.parametrize("name", HEADS.names())
def test_what_a_head_explains_has_its_own_logits(name: str) -> None:
    torch.manual_seed(0)
    settings = HEADS.settings(name)()
    assert head_class(name).explains == hasattr(settings, "maps_mean"), "the report says what its maps are"
    if not head_class(name).explains:
        return
    head = build_head(ModelParams(head=name, pretrained=False), HeadInputs(FEATURES, N_LABELS)).eval()
    features = torch.randn((2, FEATURES) if head.reads == "vector" else (2, FEATURES, 4, 5))
    logits, arrays = head.explain(features)
    torch.testing.assert_close(logits, head(features))
    maps = arrays["maps"]
    assert maps.shape[:2] == (2, N_LABELS) and maps.dim() == 4 and bool(maps.isfinite().all())
    assert settings.maps_mean().endswith(".")


@pytest.mark.parametrize("name", HEADS.names())
def test_only_a_head_that_asks_for_it_reads_the_training_folds_labels(name: str) -> None:
    model, states = ModelParams(head=name, pretrained=False), []
    for truth in (np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]), np.eye(3), None):
        torch.manual_seed(0)
        states.append(build_head(model, HeadInputs(FEATURES, N_LABELS, 0.4, truth)).state_dict())
    same = [all(torch.equal(value, state[key]) for key, value in states[0].items()) for state in states[1:]]
    assert all(same) != head_class(name).asks_for_truth(model.head_settings)
