"""Launcher of the stage ensemble_predict: this checkout's own code, a fixed number of threads, then the entrypoint."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from couplet.launch import explain_missing_package, run, starting

try:
    with starting():
        from couplet.ensemble_predict import ensemble_predict
except ModuleNotFoundError as error:
    explain_missing_package(error)

if __name__ == "__main__":
    run(ensemble_predict)
