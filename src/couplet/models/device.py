"""Which device and which precision a run uses, and how."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from couplet.project.errors import UserError
from couplet.running.arithmetic import TORCH_CAP, processor


def fix_torch(threads: int) -> None:
    """Make results repeat: a fixed number of threads, deterministic kernels, no TF32 behind float32's back.

    The head and the loss are promised float32; on newer GPUs convolutions would silently keep 10 bits of it.
    (`couplet.running.arithmetic` sets what must be in the environment before torch starts.)
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling uninitialised memory is a debugging aid that costs a sixth of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's generators of the CPU and of `device`, as `torch.manual_seed` does, and no other backend's.

    For each backend that is not in use that function keeps the seed together with the text of the whole call stack:
    3 % of the phantom's training step.

    Args:
        seed: below 2^64.
        device: the CPU or the current GPU.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


@contextmanager
def explained_out_of_memory(setting: str) -> Iterator[None]:
    """Turn a GPU that is full into one line that names the setting to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).split(". ")[0]
        raise UserError(f"{reason}: lower {setting} or image.size, or use a smaller backbone") from None


def resolve_device(name: str, arithmetic: str = "native") -> torch.device:
    """The device for `train.device`: auto is a GPU if there is one and the arithmetic need not be portable.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device = 'cuda', but torch sees no GPU: set train.device to auto or cpu")
    if name == "auto":
        name = "cuda" if arithmetic == "native" and torch.cuda.is_available() else "cpu"
    return torch.device(name)


def resolve_precision(name: str, device: torch.device, arithmetic: str = "native") -> str:
    """The precision for `train.precision` on this device: bf16, fp16 or float32.

    `auto` is bf16 where the device has it in hardware, fp16 on older GPUs, float32 on other CPUs and wherever the
    arithmetic is portable.

    Raises:
        UserError: fp16 is asked for on a CPU, or the name is unknown.
    """
    if name == "fp16" and device.type == "cpu":
        raise UserError("train.precision = 'fp16' needs a GPU: set it to auto, bf16 or float32")
    if name in ("bf16", "fp16", "float32"):
        return name
    if name != "auto":
        raise UserError(
            f"precision {name!r} is not known: it should be auto, bf16, fp16 or float32 (in config.json too)"
        )
    if arithmetic == "portable":
        return "float32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Without these instructions a CPU only emulates bf16, slower than float32.
    return "bf16" if has_fast_bf16() else "float32"


def has_fast_bf16() -> bool:
    """Whether torch multiplies bf16 in hardware here, by AVX-512 or AMX, and is not capped below it from outside."""
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    highest = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    uncapped = highest in ("", "ALL", "DEFAULT") or re.search("BF16|FP16|AMX|AVX10", highest) is not None
    return uncapped and torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")


def arithmetic_record(device: str) -> dict[str, str]:
    """What computes in this process, for config.json: the cap under portable arithmetic, else the machine.

    Portable arithmetic names no machine, because its results follow from none.

    Args:
        device: cpu or cuda.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    capped = all(os.environ.get(variable) == value for variable, value in TORCH_CAP.items())
    if device == "cpu" and capped and capability == "AVX2":
        return {"name": "portable", "cap": "AVX2"}
    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        chip = (
            f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}, CUDA {torch.version.cuda}"
        )
        return {"name": "native", "processor": chip}
    return {
        "name": "native",
        "processor": processor(),
        "instruction_sets": f"{capability}{' with bf16' if has_fast_bf16() else ''}",
        **{name: os.environ[name] for name in sorted(TORCH_CAP) if name in os.environ},
    }


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Autocast to `precision` (nothing to cast for float32)."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "float32": torch.float32}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "float32")
