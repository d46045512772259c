"""Several processes that train together, as torchrun would start them, without torchrun's start-up."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

FORKSERVER = multiprocessing.get_context("forkserver")
# Imported once, in the server that all processes are forked from.
FORKSERVER.set_forkserver_preload(["tests.support.training"])


def in_ranks(size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(*arguments)` gives in each of `size` processes, in order of rank.

    Raises:
        AssertionError: one of them failed; with what it said.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes, started = [], []
    for rank in range(size):
        ours, theirs = FORKSERVER.Pipe(duplex=False)
        process = FORKSERVER.Process(target=_rank, args=(theirs, rank, size, port, function, arguments))
        process.start()
        theirs.close()
        pipes.append(ours)
        started.append(process)
    try:
        answers = [_answer(pipe, rank) for rank, pipe in enumerate(pipes)]
    finally:
        for process in started:
            process.join(20)
            process.kill()
    failures = [f"rank {rank}: {answer}" for rank, (good, answer) in enumerate(answers) if not good]
    assert not failures, failures
    return [answer for _, answer in answers]


def _answer(pipe: Any, rank: int) -> tuple[bool, Any]:
    try:
        answer: tuple[bool, Any] = pipe.recv() if pipe.poll(300) else (False, "no answer in 300 s")
    except EOFError:
        return False, "it ended without an answer"
    return answer


def _rank(pipe: Any, rank: int, size: int, port: int, function: Callable[..., Any], arguments: Any) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    try:
        pipe.send((True, function(*arguments)))
    except BaseException as error:
        pipe.send((False, f"{type(error).__name__}: {error}"))
