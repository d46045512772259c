"""What libraries read before they are imported, and which machines can compute portably."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from couplet.running import arithmetic
from couplet.running.arithmetic import NUMPY_CAP, TORCH_CAP, fix_environment, lacks_avx2, processor

INTEL = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 60
model name\t: Intel(R) Core(TM) i7-4770
flags\t\t: fpu sse sse2 fma avx avx2

processor\t: 1
vendor_id\t: Other
"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Another CPU: what Linux says of it is in the file that this gives."""
    file = tmp_path / "cpuinfo"
    file.write_text(INTEL)
    monkeypatch.setattr(arithmetic, "CPU_INFO", file)
    monkeypatch.setattr(arithmetic.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(arithmetic.os, "environ", {})
    for cached in (arithmetic._cpu_info, lacks_avx2):
        cached.cache_clear()
    yield file
    for cached in (arithmetic._cpu_info, lacks_avx2):
        cached.cache_clear()


def test_portable_caps_every_library_whatever_was_set_outside(machine: Path) -> None:
    os.environ.update(ATEN_CPU_CAPABILITY="default", ONEDNN_MAX_CPU_ISA="SSE41", OMP_NUM_THREADS="9")
    fix_environment(2, "portable")
    assert lacks_avx2() is None
    assert {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")} == {
        "OMP_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "COMPATIBLE",
    }


def test_native_leaves_torch_to_the_machine_and_to_its_user(machine: Path) -> None:
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE"
    fix_environment(1, "native")
    assert NUMPY_CAP.items() <= os.environ.items()
    assert {name: os.environ.get(name) for name in TORCH_CAP} == {
        "ATEN_CPU_CAPABILITY": None,
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_CBWR": None,
    }


def test_a_cpu_is_named_by_what_libraries_look_at(machine: Path) -> None:
    assert processor() == "GenuineIntel family 6 model 60"


@pytest.mark.parametrize(
    ("flags", "kind", "reason"),
    [
        ("fpu sse avx fma", "x86_64", "this CPU has no AVX2, or does not say so"),
        ("fpu avx2", "x86_64", "this CPU has no AVX2, or does not say so"),
        ("fp asimd", "aarch64", "this machine is aarch64, not x86-64"),
    ],
)
def test_other_machines_stay_native_and_say_why(
    machine: Path, monkeypatch: pytest.MonkeyPatch, flags: str, kind: str, reason: str
) -> None:
    machine.write_text(f"processor\t: 0\nflags\t: {flags}\n")
    monkeypatch.setattr(arithmetic.platform, "machine", lambda: kind)
    fix_environment(1, "portable")
    assert lacks_avx2() == reason
    assert not (NUMPY_CAP.keys() | TORCH_CAP.keys()) & os.environ.keys(), "a forced kernel would crash there"
    assert processor() == kind


def test_numpy_and_openblas_are_capped_in_truth(project_root: Path) -> None:
    """By what the libraries say of themselves: another NumPy may name its features in another way."""
    if lacks_avx2() is not None:
        pytest.skip(str(lacks_avx2()))
    code = (
        f"import sys; sys.path.insert(0, {str(project_root / 'src')!r})\n"
        "from couplet.running.arithmetic import fix_environment\n"
        "fix_environment(1, 'native')\n"
        "import numpy, threadpoolctl\n"
        "found = numpy.show_config(mode='dicts')['SIMD Extensions'].get('found', [])\n"
        "print(found, [pool.get('architecture') for pool in threadpoolctl.threadpool_info()])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "['X86_V3'] ['Haswell']\n"
