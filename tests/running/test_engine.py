"""Independent work on Ray: what is refused before, and what becomes of tasks that fail or are killed."""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from couplet.datasets.inventory import scan
from couplet.images.decoding import packing
from couplet.images.decoding.packing import Packing, RawImage, ShardTask, make_shard
from couplet.project.errors import UserError
from couplet.running.engine import ordered_tasks
from tests.support import tasks


@pytest.fixture
def new_packing(tmp_path: Path) -> Callable[[str], Packing]:
    """Packings of the same ten files in shards of three, one file not readable, each with a scratch of its own."""
    raw = tmp_path / "raw"
    raw.mkdir()
    images = []
    for i in range(10):
        path = raw / f"{i}.png"
        pixels = np.random.default_rng(i).integers(0, 256, (20, 30)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
        if i == 4:
            path.write_bytes(b"no image")
        content = path.read_bytes()
        images.append(RawImage(path.name, len(content), hashlib.md5(content).hexdigest()))

    def new(name: str) -> Packing:
        (tmp_path / name).mkdir()
        return Packing(raw, images, tmp_path / name, size=16, channels=1, shard_size=3)

    return new


def finished(made: Packing, folder: Path) -> dict[str, bytes]:
    made.forget_others()
    made.link_into(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- without Ray ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["10.0.0.7:6379", "ray://head.cluster:10001", "head", "[fd00::1]:6379"])
def test_a_cluster_on_a_network_without_a_token_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(UserError) as refused:
        next(ordered_tasks(tasks.doubled, [1], "item"))
    assert str(refused.value) == (
        f"COUPLET_WORKERS=ray: RAY_ADDRESS = {address} is on a network, where whoever reaches Ray can run code: start "
        "it and couplet with RAY_AUTH_MODE=token, on a private network"
    )


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:6379", "localhost:6379", "ray://127.0.0.1:10001", "[::1]:6379"]
)
def test_without_ray_there_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """This machine's own addresses need no token."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError) as refused:
        next(ordered_tasks(tasks.doubled, [1], "item"))
    assert str(refused.value) == 'COUPLET_WORKERS=ray: Ray is not installed: pip install "couplet[ray]"'


def test_where_no_ray_listens_there_is_one_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, and nobody listens
        monkeypatch.setenv("RAY_ADDRESS", address := f"127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(UserError) as refused:
            next(ordered_tasks(tasks.doubled, [1], "item"))
    assert str(refused.value) == (
        f"COUPLET_WORKERS=ray: no Ray at {address} (Connection refused): start one with `ray start --head`"
    )


def test_a_node_that_decodes_otherwise_is_refused(new_packing: Callable[[str], Packing]) -> None:
    planned = new_packing("scratch")
    ((shard, images), *_) = planned._shards.items()
    other = ShardTask(planned, shard, images, ["another Pillow", planned._decoder_digests[1]])
    with pytest.raises(
        UserError, match="decodes images by other code or another Pillow than the machine that"
    ):
        make_shard(other, 1)
    assert not list(planned.scratch.iterdir())


def test_a_shard_that_a_task_makes_is_the_one_that_threads_make(
    new_packing: Callable[[str], Packing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Ray between: tasks run here, one after the other, and a finished one is not made again."""
    local, planned = new_packing("local"), new_packing("tasks")
    expected = list(local.run())
    monkeypatch.setenv("COUPLET_WORKERS", "ray")
    monkeypatch.setattr(
        packing, "ordered_tasks", lambda function, items, what: (function(i, 2) for i in items)
    )
    assert list(planned.run()) == expected
    times = {path: path.stat().st_mtime_ns for path in planned.scratch.iterdir()}
    assert list(planned.run()) == expected
    assert {path: path.stat().st_mtime_ns for path in planned.scratch.iterdir()} == times
    assert finished(planned, tmp_path / "b") == finished(local, tmp_path / "a")


# --- with a Ray of this machine: some seconds to start it, more on a busy one -----------------------------------


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of this machine for all tests of this file."""
    ray = pytest.importorskip("ray")
    root = str(Path(__file__).resolve().parents[2])
    paths = {"PYTHONPATH": f"{root}/src:{root}"}  # tests' tasks are imported as well
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        num_cpus=2,
        num_gpus=0,
        runtime_env={"env_vars": paths},
    )
    yield ray
    ray.shutdown()


@pytest.fixture
def on_ray(ray: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COUPLET_WORKERS", "ray")
    return ray


@pytest.mark.slow
def test_results_come_in_order_from_other_processes(on_ray: Any) -> None:
    assert list(ordered_tasks(tasks.doubled, range(50), "item")) == [2 * i for i in range(50)]
    import os

    assert os.getpid() not in set(ordered_tasks(tasks.with_process, range(4), "item"))


@pytest.mark.slow
def test_a_task_that_always_dies_is_one_line(on_ray: Any) -> None:
    results = ordered_tasks(tasks.always_dies, [0, 1, 2], "shard")
    assert next(results) == 0
    with pytest.raises(UserError) as refused:
        list(results)
    assert str(refused.value) == (
        "shard 2 of 3 ended its process 4 times (out of memory?): give its node more memory"
    )


@pytest.mark.slow
def test_what_a_task_raises_arrives_as_its_own_line(on_ray: Any) -> None:
    with pytest.raises(UserError) as refused:
        list(ordered_tasks(tasks.refuses, [7], "item"))
    assert (type(refused.value), str(refused.value)) == (UserError, "item 7 is wrong: mend it")
    with pytest.raises(OSError) as full:
        list(ordered_tasks(tasks.fails, [7], "item"))
    assert (full.value.errno, full.value.filename) == (28, "/scratch/x")


@pytest.mark.slow
def test_a_gpu_that_no_node_has_is_not_waited_for(on_ray: Any) -> None:
    with pytest.raises(UserError) as refused:
        next(ordered_tasks(tasks.doubled, [1], "item", gpus=1))
    assert str(refused.value) == (
        "COUPLET_WORKERS=ray: no node of Ray has a GPU, and this machine computes on one: start Ray where there are GPUs, "
        "or set CUDA_VISIBLE_DEVICES to nothing to compute on CPUs everywhere"
    )


@pytest.mark.slow
def test_shards_have_the_bytes_of_threads_although_two_processes_are_killed(
    on_ray: Any, new_packing: Callable[[str], Packing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = new_packing("ray")
    monkeypatch.setattr(packing, "make_shard", tasks.shard_whose_process_is_killed_once)
    outcomes = list(made.run())
    assert tasks.processes_noted(made.scratch) == 2
    assert not list(made.scratch.glob("*.tmp"))
    monkeypatch.setenv("COUPLET_WORKERS", "2")
    local = new_packing("threads")
    assert outcomes == list(local.run())
    assert finished(made, tmp_path / "a") == finished(local, tmp_path / "b")


@pytest.mark.slow
def test_files_are_hashed_to_the_same_inventory(
    on_ray: Any, new_packing: Callable[[str], Packing], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_packing("unused").raw
    monkeypatch.setattr("couplet.datasets.hashing.FILES_PER_TASK", 3)
    by_tasks = scan("csv", folder)
    monkeypatch.delenv("COUPLET_WORKERS")
    by_threads = scan("csv", folder)
    assert by_tasks.files.equals(by_threads.files) and len(by_threads.files) == 10
    assert by_tasks.digest == by_threads.digest
