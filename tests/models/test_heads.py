from __future__ import annotations

import torch

from couplet.heads.gmp import MaxPoolHead
from couplet.heads.linear import LinearHead


def test_linear_head_is_dropout_then_one_linear_layer():
    head = LinearHead(6, 3, dropout=0.4)
    features = torch.randn(5, 6)
    expected = features @ head.classifier.weight.T + head.classifier.bias
    torch.testing.assert_close(head.eval()(features), expected)
    torch.manual_seed(1)
    dropped = torch.nn.functional.dropout(features, 0.4)
    torch.manual_seed(1)
    noisy = head.train()(features)
    torch.testing.assert_close(noisy, dropped @ head.classifier.weight.T + head.classifier.bias)
    assert not torch.allclose(noisy, expected)


def test_max_pool_head_takes_each_channels_maximum():
    head = MaxPoolHead(2, 3).eval()
    features = torch.full((1, 2, 4, 5), -7.0)
    features[0, 0, 1, 2], features[0, 1, 3, 4] = 3.0, -2.0
    expected = torch.tensor([[3.0, -2.0]]) @ head.classifier.weight.T + head.classifier.bias
    torch.testing.assert_close(head(features), expected)


def test_both_compute_in_float32_under_autocast():
    for head, shape in ((LinearHead(6, 3), (2, 6)), (MaxPoolHead(6, 3), (2, 6, 4, 4))):
        features = torch.randn(shape).bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = head(features)
        assert logits.dtype == torch.float32
        assert torch.equal(logits, head(features.float()))
