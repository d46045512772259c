"""Reproducible multi-label image classification with learned label couplings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from couplet.inference.exported import Exported


def load(bundle: str | Path, engine: str = "torch", threads: int = 1) -> Exported:
    """An ensemble that `couplet export` wrote, ready to predict.

    Args:
        bundle: its folder.
        engine: torch, onnx or openvino; the last two need their files in the bundle and their extra.
        threads: of the CPU, for onnx and openvino.

    Raises:
        UserError: the folder is no bundle, a file in it is missing or another, or an extra is not installed.
    """
    from couplet.inference.exported import Exported  # torch: only when there is something to predict

    return Exported(Path(bundle), engine, threads)
