from __future__ import annotations

import pytest
import torch

from couplet.running.arithmetic import NUMPY_CAP, TORCH_CAP


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU and no variables of ours; what commands set (threads, caps) is put back afterwards."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for variable in ("COUPLET_DATA_ROOT", "COUPLET_SCRATCH", "COUPLET_WORKERS", "COUPLET_FRESH"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    for variable in (*NUMPY_CAP, *TORCH_CAP):
        monkeypatch.setenv(variable, "")  # so that what was there before comes back
        monkeypatch.delenv(variable)
