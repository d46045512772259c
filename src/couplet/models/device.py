"""Which device and which precision a run uses, and how."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from couplet.errors import UserError


def resolve_device(name: str) -> torch.device:
    """The device for `train.device`: auto is a GPU if there is one.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device = 'cuda', but torch sees no GPU: set train.device to auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> str:
    """The precision for `train.precision` on this device: bf16, fp16 or float32.

    `auto` is bf16 where the device has it in hardware, fp16 on older GPUs, float32 on other CPUs.

    Raises:
        UserError: fp16 is asked for on a CPU.
    """
    if name == "fp16" and device.type == "cpu":
        raise UserError("train.precision = 'fp16' needs a GPU: set it to auto, bf16 or float32")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Without these instructions a CPU only emulates bf16, slower than float32.
    hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if hardware else "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Autocast to `precision` (nothing to cast for float32)."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "float32": torch.float32}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "float32")
