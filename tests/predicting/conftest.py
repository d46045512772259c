from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from couplet.running.arithmetic import NUMPY_CAP, TORCH_CAP
from tests.bad_inputs.healthy import csv_project, finished
from tests.support.in_process import InProcessProject


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> InProcessProject:
    """A whole run on 24 pictures of two views, predicted four at a time; nobody may change it."""
    project = csv_project(tmp_path_factory.mktemp("trained") / "project")
    project.set({"inference.batch_size": 4})
    head, *rows = (project.raw / "labels.csv").read_text().splitlines()
    viewed = [f"{row},{('AP', 'PA')[i % 2]}" for i, row in enumerate(rows)]
    (project.raw / "labels.csv").write_text("\n".join([f"{head},view", *viewed]) + "\n")
    return finished(project)


@pytest.fixture
def project(trained: InProcessProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcessProject:
    """A copy of it, without a GPU; what commands put into the environment is put back afterwards."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", *NUMPY_CAP, *TORCH_CAP):
        monkeypatch.setenv(variable, "1")
    for variable in (*NUMPY_CAP, *TORCH_CAP):
        monkeypatch.delenv(variable)
    shutil.copytree(trained.folder, tmp_path / "project", symlinks=True)
    return InProcessProject(tmp_path / "project", trained.source)
