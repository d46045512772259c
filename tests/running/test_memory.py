"""Freed memory stays with the process: arrays of one size after another do not fault in the same pages again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from couplet.running.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(4_000_000)
before = faults()
for _ in range(20):
    np.ones(4_000_000)  # 32 MB, 7,800 pages: above what glibc ever keeps by itself
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_arrays_of_one_size_use_the_same_pages() -> None:
    faults = {}
    for how in ("kept", "handed back"):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        faults[how] = int(done.stdout)
    assert faults["kept"] < 100 < faults["handed back"]
