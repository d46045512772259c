"""Which device and which precision a run uses, and how."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import torch

from couplet.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def fix_arithmetic(threads: int) -> None:
    """Make results repeat: a fixed number of threads, deterministic kernels, no TF32 behind float32's back.

    The head and the loss are promised float32; on newer GPUs convolutions would silently keep 10 bits of it.
    (`couplet.launch` sets what must be in the environment before torch starts.)
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # A help in searching for reads of memory that nobody wrote; a sixth of a training step's time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def keep_freed_memory() -> None:
    """Let glibc keep the memory of large tensors instead of handing it back to the kernel each time.

    Every step would else fault in thousands of fresh pages: a tenth of its time on a CPU. Peak memory stays.
    """
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def explained_out_of_memory(setting: str) -> Iterator[None]:
    """Turn a GPU that is full into one line that names the setting to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).split(". ")[0]
        raise UserError(f"{reason}: lower {setting} or image.size, or use a smaller backbone") from None


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
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Without these instructions a CPU only emulates bf16, slower than float32.
    hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if hardware else "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Autocast to `precision` (nothing to cast for float32)."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "float32": torch.float32}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "float32")
