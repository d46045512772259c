"""The arithmetic that results are computed in: which kernels libraries may choose, and how it is recorded.

Libraries choose a kernel by the CPU they find (instruction sets, vendor, cache sizes), and each kernel adds in an order
of its own: the last digits of a result, and after some epochs its third decimal, depend on the machine. Under
`train.arithmetic: portable` every choice is capped at what all x86-64 CPUs with AVX2 share, so that the same settings
give the same bytes on all of them. Under `native` torch takes the best of the machine, and the record names it.

NumPy is capped in every stage: splits, metrics and figures are then the same whatever the network was computed on.
"""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

# Read when numpy is first imported. A name that this NumPy does not know is passed over by it.
NUMPY_CAP = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Haswell",
}
# Read when torch computes for the first time. MKL's AVX2 branch gives other bytes on Intel's CPUs than on AMD's; its
# branch COMPATIBLE does not.
TORCH_CAP = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
GPU_SUMS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}  # what deterministic sums on a GPU need
VARIABLES = (*NUMPY_CAP, *TORCH_CAP, *THREADS, *GPU_SUMS)
"""All that `fix_environment` may set: another machine that has these values computes as this one does."""
CPU_INFO = Path("/proc/cpuinfo")


def fix_environment(threads: int, arithmetic: str) -> None:
    """Set what libraries read when they are imported: call it before numpy and torch are.

    Args:
        threads: of the CPU. Their number changes the order of floating-point sums.
        arithmetic: portable or native. A machine that cannot do portable stays native; `lacks_avx2` says why.
    """
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    os.environ.update(GPU_SUMS)
    if lacks_avx2() is None:
        os.environ.update(NUMPY_CAP)
        if arithmetic == "portable":
            os.environ.update(TORCH_CAP)


@functools.cache
def lacks_avx2() -> str | None:
    """Why this machine cannot compute portably: None if it is an x86-64 CPU with AVX2 (and FMA, as all of them)."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"this machine is {platform.machine() or 'unknown'}, not x86-64"
    flags = _cpu_info().get("flags", "").split()
    return None if {"avx2", "fma"} <= set(flags) else "this CPU has no AVX2, or does not say so"


def processor() -> str:
    """The CPU by vendor, family and model: what libraries choose their kernels by."""
    about = _cpu_info()
    if "vendor_id" not in about:
        return platform.machine() or "unknown"
    return f"{about['vendor_id']} family {about.get('cpu family')} model {about.get('model')}"


@functools.cache
def _cpu_info() -> dict[str, str]:
    """What Linux says of the first CPU; {} elsewhere."""
    if not CPU_INFO.is_file():
        return {}
    first = CPU_INFO.read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
