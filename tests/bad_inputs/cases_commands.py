"""The command line, the environment, locks and checkpoints."""

from __future__ import annotations

import fcntl
import threading

from tests.bad_inputs.case import Case, Given, nothing
from tests.support.in_process import InProcessProject

LOCK = ".scratch/prepare/csv-36x1"


def usage(name: str, run: str, refused: str, code: int = 2) -> Case:
    return Case(name, nothing, run=run, refused=refused, code=code)


def busy_for(seconds: float) -> Given:
    """Another process holds the lock of prepare's scratch folder for a moment."""

    def hold(project: InProcessProject) -> None:
        path = project.folder / f"{LOCK}.lock"
        path.parent.mkdir(parents=True)
        lock = path.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(seconds, lock.close).start()

    return hold


CASES = [
    usage(
        "a command that does not exist",
        "preprae",
        "No such command 'preprae'. Did you mean 'prepare', 'report', 'preset'?: `couplet --help` says what it takes",
    ),
    usage(
        "a fold that is a word",
        "train-fold one",
        "Invalid value for 'fold': Input should be a valid integer, unable to parse string as an integer: `couplet train-fold --help` says what it takes",
    ),
    usage("no fold", "train-fold", "Missing argument 'fold': `couplet train-fold --help` says what it takes"),
    usage(
        "an argument too many",
        "prepare all",
        "Got unexpected extra argument(s) (all): `couplet prepare --help` says what it takes",
    ),
    usage(
        "an option that does not exist",
        "prepare --fast",
        "No such option: --fast: `couplet prepare --help` says what it takes",
    ),
    usage(
        "a fold that is not in split.folds",
        "train-fold 7",
        "fold 7 is not in split.folds = [0, 1]: name one of them, or add it there",
        code=1,
    ),
    usage(
        "a fold that is not in split.folds, evaluated",
        "evaluate-fold 7",
        "fold 7 is not in split.folds = [0, 1]: name one of them, or add it there",
        code=1,
    ),
    usage(
        "a negative fold",
        "train-fold -- -1",
        "fold -1 is not in split.folds = [0, 1]: name one of them, or add it there",
        code=1,
    ),
    usage(
        "a comparison with nothing",
        "compare HEAD",
        "Missing argument 'b': `couplet compare --help` says what it takes",
    ),
    usage(
        "a comparison of a part that there is not",
        "compare . . --part train",
        "--part = 'train' is not allowed: it should be oof or test",
        code=1,
    ),
    usage(
        "a comparison of revisions outside a DVC project",
        "compare HEAD on-1",
        "this is not the root folder of a DVC project: go there first",
        code=1,
    ),
    usage(
        "a comparison of groups outside a DVC project",
        "compare on-* off-*",
        "this is not the root folder of a DVC project: go there first",
        code=1,
    ),
    usage(
        "a comparison before there is a run",
        "compare . .",
        "data/prepared/labels.json is not there: run `dvc repro` (or `dvc checkout`) to make it",
        code=1,
    ),
    usage(
        "a stage before the one it needs",
        "split-mis",
        "data/prepared/labels.json is not there: run `dvc repro` (or `dvc checkout`) to make it",
        code=1,
    ),
    Case(
        "COUPLET_WORKERS that is no number",
        nothing,
        refused="COUPLET_WORKERS = 'many' is not allowed: it should be a whole number from 1 on, or ray",
        environment={"COUPLET_WORKERS": "many"},
    ),
    Case(
        "COUPLET_DATA_ROOT that is not there",
        nothing,
        run="scan",
        refused="/nowhere/csv is not there: link the data with `ln -s /path/to/the/data /nowhere/csv` (docs/datasets.md, csv), or set COUPLET_DATA_ROOT",
        environment={"COUPLET_DATA_ROOT": "/nowhere"},
    ),
    Case(
        "a scratch folder that another process is using",
        busy_for(2.0),
        happens="waits, and says for what",
        said=(
            f"prepare: another process is at work on the same thing ({{project}}/{LOCK}): waiting for it to end",
        ),
    ),
]
