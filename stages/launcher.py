"""What the six launchers share: this checkout's own code, a fixed arithmetic, and how a stage is run.

A launcher imports `run` from here first, then its stage. With an editable install, a queued experiment whose commit
held other code would else run this checkout's.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from couplet.running.launch import prepare_process
from couplet.running.launch import run_stage as run

__all__ = ["run"]

prepare_process()
