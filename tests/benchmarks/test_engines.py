from __future__ import annotations

import pytest

from benchmarks import engines
from benchmarks.harness import Section

for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def section() -> Section:
    return engines.run("tiny")


def test_every_engine_gives_what_torch_gives(section: Section) -> None:
    (table,) = section.tables
    assert table.caption == "the phantom's thin net at 32, 2 fold(s) with flip TTA, 2 images at a time"
    assert [row[0] for row in table.rows] == [
        "torch, float32",
        "torch, bf16",
        "ONNX Runtime",
        "OpenVINO, f32",
    ]
    off = [float(row[2]) for row in table.rows]
    assert off[0] == 0 and off[2] < 1e-5 and off[3] < 1e-5
    assert 1e-5 < off[1] < 0.2  # it did compute in bf16
    assert all(float(row[1]) > 0 for row in table.rows) and table.rows[0][3] == 1


def test_what_is_promised(section: Section) -> None:
    assert [(claim.promised, claim.holds) for claim in section.claims] == [("at most 1e-05", True)] * 2
    assert [(case.preset, case.n_folds) for case in engines.CASES["full"]] == [
        ("phantom_large", 3),
        ("paper", 1),
    ]
