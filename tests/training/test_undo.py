from __future__ import annotations

import pytest
import torch
from torch import nn

from couplet.training.undo import FlatBuffers, Readback


def test_buffers_are_put_back_unless_the_batch_was_finite():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2), nn.BatchNorm1d(2))
    buffers = FlatBuffers(model)
    assert len(buffers.buffers) == 4  # means and variances; the batch counters are no floats
    for finite, expected in ((True, 5.0), (False, 5.0)):
        buffers.save()
        model[0].running_mean.fill_(5.0 if finite else float("nan"))
        model[2].running_var.fill_(5.0 if finite else float("inf"))
        buffers.restore_unless(torch.tensor(finite))
        assert model[0].running_mean.tolist() == [expected] * 2
        assert model[2].running_var.tolist() == [expected] * 2
        assert model[2].running_mean.tolist() == [0, 0] and model[0].running_var.tolist() == [1, 1]


def test_buffers_of_any_layout_and_type_are_put_back():
    model = nn.Module()
    table = torch.arange(24.0).view(1, 2, 3, 4).to(memory_format=torch.channels_last)
    assert not table.is_contiguous()
    model.register_buffer("table", table.clone())
    model.register_buffer("transposed", torch.arange(6.0).view(2, 3).T)
    model.register_buffer("float64", torch.tensor(1 / 3, dtype=torch.float64))
    model.register_buffer("bfloat16_", torch.tensor([0.1, 0.2], dtype=torch.bfloat16))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    buffers = FlatBuffers(model)
    for finite in (True, False):
        buffers.save()
        for buffer in model.buffers():
            buffer.mul_(2 if finite else float("nan"))
        buffers.restore_unless(torch.tensor(finite))
        for name, buffer in model.named_buffers():
            assert torch.equal(buffer, 2 * before[name]), name


@pytest.mark.parametrize(
    "buffer", [torch.arange(10.0)[::2], torch.zeros(1).expand(4), torch.ones(3, 4)[:, 1]]
)
def test_a_buffer_with_gaps_or_overlaps_is_refused_by_name(buffer: torch.Tensor):
    model = nn.Sequential(nn.BatchNorm1d(2))
    model[0].register_buffer("mask", buffer)
    with pytest.raises(ValueError, match=r"buffer 0\.mask is not dense"):
        FlatBuffers(model)


def test_buffers_without_elements_axes_or_an_own_beginning_are_put_back():
    model = nn.Module()
    model.register_buffer("none", torch.zeros(0, 3))
    model.register_buffer("number", torch.tensor(2.0))
    model.register_buffer("later", torch.arange(6.0)[2:4])
    model.register_buffer("one_row", torch.arange(12.0).view(3, 4)[1:2])
    buffers = FlatBuffers(model)
    buffers.save()
    for value in model.buffers():
        value.fill_(float("inf"))
    buffers.restore_unless(torch.tensor(False))
    assert model.none.shape == (0, 3) and model.number.item() == 2
    assert model.later.tolist() == [2, 3] and model.one_row.tolist() == [[4, 5, 6, 7]]


def test_a_model_without_buffers_has_nothing_to_put_back():
    buffers = FlatBuffers(nn.Linear(2, 2))
    buffers.save()
    buffers.restore_unless(torch.tensor(False))
    assert buffers.buffers == []


def test_numbers_come_back_as_they_were_sent():
    readback = Readback(3, torch.device("cpu"))
    for values in ([1.5, 0.0, 65536.0], [float("inf"), 1.0, 1.0]):
        sent = torch.tensor(values)
        readback.put(sent)
        sent.zero_()  # what is sent is a copy
        assert readback.take() == values
