"""Device, precision and arithmetic: what is chosen, and what is recorded of it."""

from __future__ import annotations

import pytest
import torch

from couplet.models import device
from couplet.models.device import (
    arithmetic_record,
    has_fast_bf16,
    resolve_device,
    resolve_precision,
    seed_generators,
)
from couplet.project.errors import UserError
from couplet.running.arithmetic import TORCH_CAP, processor

CPU = torch.device("cpu")


@pytest.fixture
def bf16_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with AVX-512 and bf16 instructions, without caps from outside."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for name in (*TORCH_CAP, "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


def test_auto_is_bf16_where_the_cpu_has_it_and_float32_where_numbers_must_be_portable(bf16_cpu: None) -> None:
    assert resolve_precision("auto", CPU) == "bf16"
    assert resolve_precision("auto", CPU, "portable") == "float32"
    assert resolve_precision("bf16", CPU) == "bf16"


def test_a_cpu_without_bf16_computes_in_float32(bf16_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert resolve_precision("auto", CPU) == "float32"


@pytest.mark.parametrize(
    ("cap", "fast"),
    [
        ("AVX2", False),
        ("AVX512_CORE", False),
        ("AVX512_CORE_VNNI", False),
        ("avx512_core_bf16", True),
        ("AVX512_CORE_AMX", True),
        ("ALL", True),
    ],
)
def test_a_cap_from_outside_takes_bf16_away(
    bf16_cpu: None, monkeypatch: pytest.MonkeyPatch, cap: str, fast: bool
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
    assert has_fast_bf16() is fast


def test_torchs_own_cap_takes_bf16_away(bf16_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not has_fast_bf16()


def test_portable_arithmetic_stays_off_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("auto", "portable") == CPU


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(UserError, match=r"train.precision = 'fp16' needs a GPU"):
        resolve_precision("fp16", CPU)
    with pytest.raises(UserError, match=r"precision 'int8' is not known"):
        resolve_precision("int8", CPU)


def test_the_record_names_the_machine_under_native_arithmetic(
    bf16_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKL_CBWR", "AVX512")
    assert arithmetic_record("cpu") == {
        "name": "native",
        "processor": processor(),
        "instruction_sets": "AVX512 with bf16",
        "MKL_CBWR": "AVX512",
    }


def test_the_record_names_no_machine_under_portable_arithmetic(
    bf16_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in TORCH_CAP.items():
        monkeypatch.setenv(name, value)
    assert arithmetic_record("cpu")["name"] == "native", "torch was imported before the caps were set"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert arithmetic_record("cpu") == {"name": "portable", "cap": "AVX2"}


def test_the_record_names_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(device.torch.version, "cuda", "13.2")
    assert arithmetic_record("cuda") == {
        "name": "native",
        "processor": "NVIDIA H100 80GB HBM3, compute capability 9.0, CUDA 13.2",
    }


@pytest.mark.parametrize("seed", [0, 42, 2**64 - 1])
def test_seeding_the_generators_in_use_draws_what_manual_seed_draws(seed: int) -> None:
    torch.manual_seed(seed)
    expected = torch.rand(1000)
    seed_generators(seed, CPU)
    assert torch.equal(torch.rand(1000), expected)


def test_on_a_gpu_its_generator_has_the_seed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed", seeds.append)
    seed_generators(7, torch.device("cuda:0"))
    assert seeds == [7] and torch.initial_seed() == 7
    seed_generators(8, CPU)
    assert seeds == [7] and torch.initial_seed() == 8
