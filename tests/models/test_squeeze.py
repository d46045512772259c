from __future__ import annotations

from copy import deepcopy

import pytest
import timm
import torch
from timm.layers import SEModule, SqueezeExcite

from couplet.models.squeeze import ChannelsLastSE, use_channels_last_squeeze

THIN = {"layers": (1, 1, 1, 1), "channels": (16, 16, 32, 32), "cardinality": 4, "base_width": 8}


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("arguments", [{}, {"add_maxpool": True}, {"norm_layer": torch.nn.BatchNorm2d}])
def test_values_and_gradients_are_timms_own(arguments: dict[str, object], precision: torch.dtype) -> None:
    torch.manual_seed(0)
    theirs = SEModule(16, **arguments)
    ours = deepcopy(theirs)
    use_channels_last_squeeze(ours)
    assert type(ours) is ChannelsLastSE
    images = torch.randn(3, 16, 5, 7).to(precision).contiguous(memory_format=torch.channels_last)
    results = []
    for module in (theirs, ours):
        x = images.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
            out = module(x)
        (out.float() ** 2).sum().backward()
        results.append([out, x.grad, *(parameter.grad for parameter in module.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert results[1][1].is_contiguous(memory_format=torch.channels_last)


def test_a_network_keeps_its_weights_under_their_names() -> None:
    network = timm.create_model("seresnext101_32x4d", num_classes=0, **THIN)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    use_channels_last_squeeze(network)
    kinds = [type(module) for module in network.modules() if isinstance(module, SqueezeExcite)]
    assert kinds == [ChannelsLastSE] * 4
    after = network.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[key], after[key]) for key in before)
