from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from couplet.training.ema import EMA


def small_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def train_step(model: nn.Module) -> None:
    model.train()
    model(torch.randn(8, 3) + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_averages_follow_the_recurrence_with_warmup(decay: float):
    model = small_model()
    ema = EMA(model, decay)
    expected = {key: value.double() for key, value in state_of(model).items()}
    for t in range(20):
        train_step(model)
        ema.update()
        d = min(decay, (1 + t) / (10 + t))
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                expected[key] = d * expected[key] + (1 - d) * value.double()
            else:
                expected[key] = value.double()
    for key, value in ema.shadow.items():
        torch.testing.assert_close(value.double(), expected[key], rtol=1e-5, atol=1e-6)
    assert ema.shadow["1.num_batches_tracked"] == 20
    assert ema.shadow["1.running_mean"].abs().sum() > 0


def test_the_first_update_keeps_a_tenth_of_the_start():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    ema = EMA(model, 0.999)
    nn.init.constant_(model.weight, 2.0)
    ema.update()
    assert ema.shadow["weight"].item() == pytest.approx(1.9)


def test_updating_leaves_the_model_alone_and_the_averages_do_not_follow_it():
    model = small_model()
    ema = EMA(model, 0.9)
    train_step(model)
    before = state_of(model)
    ema.update()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    with ema.applied():
        assert all(torch.equal(ema.shadow[key], value) for key, value in model.state_dict().items())
    train_step(model)
    assert not torch.equal(ema.shadow["0.weight"], model.state_dict()["0.weight"])


def test_applying_gives_back_exactly_the_models_own_weights():
    model = small_model()
    ema = EMA(model, 0.9)
    train_step(model)
    ema.update()
    before = state_of(model)
    with pytest.raises(RuntimeError), ema.applied():
        assert torch.equal(model[0].weight, ema.shadow["0.weight"])
        raise RuntimeError
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_run_that_goes_on_from_a_saved_state_ends_the_same():
    def run(steps: int, resume: bytes | None, model: nn.Module) -> EMA:
        ema = EMA(model, 0.999)
        if resume is not None:
            ema.load_state_dict(load(resume))
        for _ in range(steps):
            train_step(model)
            ema.update()
        return ema

    straight = run(6, None, small_model())
    model = small_model()
    first = run(3, None, model)
    generator = torch.random.get_rng_state()
    saved = save(first.state_dict())
    torch.random.set_rng_state(generator)
    resumed = run(3, saved, model)
    assert resumed.updates == straight.updates == 6
    assert all(torch.equal(resumed.shadow[key], value) for key, value in straight.shadow.items())


def test_a_state_of_another_model_is_refused():
    with pytest.raises(KeyError):
        EMA(small_model(), 0.9).load_state_dict(EMA(nn.Linear(3, 4), 0.9).state_dict())


def test_half_precision_weights_are_averaged_in_float32():
    model = nn.Linear(2, 2).bfloat16()
    ema = EMA(model, 0.9)
    ema.update()
    assert ema.shadow["weight"].dtype == torch.float32
    with ema.applied():
        assert model.weight.dtype == torch.bfloat16
