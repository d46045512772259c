"""Independent pieces of work on a cluster: Ray tasks, where COUPLET_WORKERS=ray asks for them.

No result depends on it, so it is in the environment and in no settings. Files carry the pixels: raw data and scratch
lie on a file system that all nodes see, and what goes through Ray is names and what became of them. A piece whose
process was killed is given to another one.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from couplet.project.errors import UserError
from couplet.running.arithmetic import VARIABLES

Item = TypeVar("Item")
Result = TypeVar("Result")

WANTED = "COUPLET_WORKERS=ray"
THREADS = 8  # of a task at most: more leave cores idle at a task's end, fewer leave long last tasks
RETRIES = 3
SOURCE = Path(__file__).resolve().parents[2]


class Cluster(NamedTuple):
    """The Ray that this process is connected to, and the cores that each task takes (and may use threads on)."""

    ray: Any
    cores: int


def on_ray() -> bool:
    """Whether independent work is to be done by Ray tasks."""
    return os.environ.get("COUPLET_WORKERS") == "ray"


def ordered_tasks(
    function: Callable[[Item, int], Result],
    items: Sequence[Item],
    what: str,
    gpus: int = 0,
    most_threads: int = THREADS,
) -> Iterator[Result]:
    """Results of `function(item, threads)` for all items, in order, each in a Ray task.

    Args:
        function: of this package, which every node imports from this checkout.
        items: their pieces of work; plain data.
        what: an item is, for an error: "shard".
        gpus: that each task takes.
        most_threads: cores that each task takes, or those of the smallest node.

    Raises:
        UserError: Ray is not installed, cannot be reached or is open to others; no node has the GPUs; a task raised it;
            or a task's process died more often than it is tried again.
        OSError: a task raised it.
    """
    with _connected() as (ray, cores):
        if gpus > max(_on_each_node(ray, "GPU")):  # Ray would wait for such a node for ever
            raise UserError(
                f"{WANTED}: no node of Ray has a GPU, and this machine computes on one: start Ray where there are "
                "GPUs, or set CUDA_VISIBLE_DEVICES to nothing to compute on CPUs everywhere"
            )
        cores = min(cores, most_threads)
        task = ray.remote(
            num_cpus=cores,
            num_gpus=gpus,
            max_retries=RETRIES,
            scheduling_strategy="SPREAD",
            retry_exceptions=False,
        )(function)
        pending = [task.remote(item, cores) for item in items]
        for number, reference in enumerate(pending, start=1):
            try:
                yield ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                # Its own text is the traceback of the other process.
                if isinstance(error.cause, (UserError, OSError)):
                    raise error.cause from None
                raise
            except (
                ray.exceptions.WorkerCrashedError,
                ray.exceptions.OutOfMemoryError,
                ray.exceptions.NodeDiedError,
            ):
                raise UserError(
                    f"{what} {number} of {len(pending)} ended its process {RETRIES + 1} times (out of memory?): give "
                    "its node more memory"
                ) from None


@contextmanager
def _connected() -> Iterator[Cluster]:
    """A connection to the cluster of RAY_ADDRESS, or a cluster of this machine alone, until the block ends."""
    address = os.environ.get("RAY_ADDRESS", "")
    _refuse_open_cluster(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError(f'{WANTED}: Ray is not installed: pip install "couplet[ray]"') from None
    if ray.is_initialized():  # by whoever called: it stays connected
        yield _cluster(ray)
        return
    _refuse_unreachable(address)
    own: dict[str, Any] = {} if address else {"include_dashboard": False}
    # Nodes compute as this process does.
    arithmetic = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": str(SOURCE), **arithmetic}},
            **own,
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(_no_ray(address or "this machine", reason)) from None
    try:
        yield _cluster(ray)
    finally:
        sys.stdout.flush()
        ray.shutdown()


def _cluster(ray: Any) -> Cluster:
    return Cluster(ray, min([THREADS, *(cores for cores in _on_each_node(ray, "CPU") if cores)]))


def _on_each_node(ray: Any, resource: str) -> list[int]:
    return [int(node["Resources"].get(resource, 0)) for node in ray.nodes() if node["Alive"]]


def _host_and_port(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition("//")[2].rpartition(":")
    return (host or port).strip("[]"), port


def _no_ray(where: str, reason: str) -> str:
    return f"{WANTED}: no Ray at {where} ({reason}): start one with `ray start --head`"


def _refuse_unreachable(address: str) -> None:
    """Raise UserError where nothing listens: Ray itself would try for minutes."""
    host, port = _host_and_port(address)
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(_no_ray(address, error.strerror or str(error))) from None


def _refuse_open_cluster(address: str) -> None:
    """Raise UserError for a cluster that other machines can reach and that asks nobody for a token.

    Ray runs whatever it is sent, and listens on all interfaces.
    """
    host = _host_and_port(address)[0]
    here = host in ("", "local", "auto", "localhost", "::1") or host.startswith("127.")
    if not here and os.environ.get("RAY_AUTH_MODE") != "token":
        raise UserError(
            f"{WANTED}: RAY_ADDRESS = {address} is on a network, where whoever reaches Ray can run code: start it and "
            "couplet with RAY_AUTH_MODE=token, on a private network"
        )
