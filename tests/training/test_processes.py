"""A step made of parts ends with the same bytes for 1, 2 and 4 processes, wherever it was stopped in between."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from couplet.project import console
from couplet.project.errors import ProcessError, UserError
from couplet.training.parts import refuse_other_weights
from couplet.training.processes import (
    ALONE,
    join_processes,
    leave_processes,
    refuse_other_origin,
)
from tests.support.ranks import in_ranks
from tests.support.training import STEPS, go_on, train, train_chain

SETTINGS: dict[str, dict[str, Any]] = {
    "as in the first paper": {},
    "mean over known cells": {"loss__reduction": "mean"},
    "sum": {"loss__reduction": "sum", "optimizer__name": "sgd"},
    "second paper's head": {"model__head": "db_dgcn"},
    "no refiner": {"refiner__enabled": False},
    "no averages": {"ema__enabled": False},
}


# Each takes some seconds on two idle cores, and more on busy ones.
OFTEN = ("as in the first paper", "mean over known cells", "second paper's head")


@pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in SETTINGS]
)
def test_the_same_bytes_for_one_two_and_four_processes(tmp_path: Path, name: str) -> None:
    ends = []
    for size in (1, 2, 4):
        (tmp_path / str(size)).mkdir()
        runs = [end for (end,) in in_ranks(size, train, tmp_path / str(size), SETTINGS[name])]
        assert all(run["state"] == runs[0]["state"] and run["best"] == runs[0]["best"] for run in runs)
        ends.append(runs[0])
    assert ends[1] == ends[0] and ends[2] == ends[0]


def test_parts_change_the_result(tmp_path: Path) -> None:
    """Else the test above would compare nothing: BatchNorm sees other images in each."""
    for name in ("four", "one"):
        (tmp_path / name).mkdir()
    ((four,),) = in_ranks(1, train, tmp_path / "four", {})
    ((one,),) = in_ranks(1, train, tmp_path / "one", {"train__parts": 1})
    assert four["state"] != one["state"]


@pytest.mark.slow
@pytest.mark.parametrize("levels", [{"kind": "cascade", "count": 2}, {"kind": "ag_cnn"}])
def test_a_chain_of_networks_has_the_same_bytes_for_one_and_two_processes(
    tmp_path: Path, levels: dict[str, Any]
) -> None:
    """All draw the same images by weight, and go on from the same weights."""
    ends = []
    for size in (1, 2):
        (tmp_path / str(size)).mkdir()
        ends += in_ranks(size, train_chain, tmp_path / str(size), levels)
    assert len(ends) == 3 and all(end == ends[0] for end in ends)


def stop_and_go_on(folder: Path, stops: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    """Stop two processes after each of `stops` steps, and go on with each of `sizes`."""
    (folder / "straight").mkdir()
    ((straight,),) = in_ranks(1, train, folder / "straight", {})
    (folder / "2").mkdir()
    for stopped in in_ranks(2, train, folder / "2", {}, stops):
        # A flag that was set before step n is read one step later, and before an epoch's validation.
        expected = [min(stop + 2, 3 * (stop // 3) + 3) for stop in stops]
        assert [end["stopped"] for end in stopped] == [
            f"fold 0: stopped by SIGTERM at epoch {stop // 3 + 1}, batch {done - 3 * (stop // 3) + 1}: run `dvc repro` "
            "to go on"
            for stop, done in zip(stops, expected, strict=True)
        ]
    for size in sizes:
        copy = folder / f"on{size}"
        shutil.copytree(folder / "2", copy)
        for ends in in_ranks(size, go_on, copy, {}, stops):
            assert [{**end, "files": ""} for end in ends] == [{**straight, "files": ""}] * len(stops)
        for stop in stops:
            theirs = folder / "straight" / str(STEPS)
            assert {p.name: p.read_bytes() for p in (copy / str(stop)).iterdir()} == {
                p.name: p.read_bytes() for p in theirs.iterdir()
            }


def test_two_processes_stopped_in_the_second_epoch_go_on_as_four(tmp_path: Path) -> None:
    stop_and_go_on(tmp_path, (4,), (4,))


@pytest.mark.slow
def test_two_processes_stopped_at_any_step_go_on_as_one_or_four(tmp_path: Path) -> None:
    stop_and_go_on(tmp_path, tuple(range(STEPS)), (1, 4))


# --- what processes refuse ------------------------------------------------------------------------------------


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, size: int) -> None:
    """This process as torchrun would have started it, its console's state put back afterwards."""
    monkeypatch.setattr(console, "_silent", False)
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("size", "parts", "refusal"),
    [
        (3, 4, "3 processes cannot share train.parts = 4: start 1, 2 or 4"),
        (4, 2, "4 processes cannot share train.parts = 2: start 1 or 2"),
        (
            2,
            1,
            "2 processes need train.parts of at least 2 (it changes the result: BatchNorm sees fewer images)",
        ),
    ],
)
def test_processes_that_cannot_share_the_parts_are_refused(
    monkeypatch: pytest.MonkeyPatch, size: int, parts: int, refusal: str
) -> None:
    as_rank(monkeypatch, 0, size)
    with pytest.raises(UserError) as refused:
        join_processes(parts, "cpu")
    assert str(refused.value) == refusal


def test_a_process_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    as_rank(monkeypatch, 3, 4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ProcessError, match=r"^rank 3 has no GPU: the host has 2$"):
        join_processes(4, "cuda")


def test_only_the_first_process_speaks_unless_the_mistake_is_another_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(error: UserError) -> None:
        console.say("a line")
        raise error

    for rank, silent in ((0, False), (1, True)):
        as_rank(monkeypatch, rank, 2)
        with pytest.raises(UserError):
            join_processes(1, "cpu")
        assert console._silent is silent
        for error in (UserError("everybody's"), ProcessError("its own")):
            with pytest.raises(SystemExit):
                console.stage(fails)(error)
        said = capsys.readouterr()
        assert said.out == ("" if silent else "a line\na line\n")
        assert said.err == ("" if silent else "error: everybody's\n") + "error: its own\n"


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_processes(1, "cpu") is ALONE
    assert ALONE.share(b"x") == b"x" and [len(a) for a in ALONE.gather(np.zeros(3))] == [3]


def exchange() -> dict[str, Any]:
    """In each rank: what is shared and gathered, and what a rank of other code and of other weights is told."""
    processes, told = join_processes(4, "cpu"), {}
    told["shared"] = processes.share(b"of rank 0" if processes.first else b"not sent")
    told["empty"] = processes.share()
    told["gathered"] = [values.tolist() for values in processes.gather(np.array([processes.rank, 7]))]
    same = {"src/a.py": "1", "train.parts": "4"}
    refuse_other_origin(processes, same)
    try:
        refuse_other_origin(processes, same | ({"src/a.py": "2"} if processes.rank == 1 else {}))
    except UserError as refused:
        told["code"] = f"{type(refused).__name__}: {refused}"
    network = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(network.weight, 1.0)
    torch.nn.init.constant_(network.bias, 0.0)
    refuse_other_weights(processes, network, 1)
    torch.nn.init.constant_(network.bias, -0.0 if processes.rank else 0.0)
    try:
        refuse_other_weights(processes, network, 2)
    except UserError as refused:
        told["weights"] = str(refused)
    leave_processes(processes)
    return told


def test_what_processes_exchange_and_how_they_notice_that_they_differ() -> None:
    first, second = in_ranks(2, exchange)
    for told in (first, second):
        assert (told["shared"], told["empty"]) == (b"of rank 0", b"")
        assert told["gathered"] == [[0, 7], [1, 7]]
        assert told["weights"] == "the processes' weights differ after epoch 2: mixed GPU models or libraries"
    assert first["code"] == "UserError: rank 1 runs other code than rank 0: one checkout for all"
    assert (
        second["code"] == "ProcessError: rank 1 runs other code than rank 0 (src/a.py): one checkout for all"
    )
