from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from couplet.errors import UserError
from couplet.images import packing
from couplet.images.decode import decode
from couplet.images.packing import Outcome, Packing, RawImage

SIZE = 16


def raw_image(folder: Path, name: str, content: bytes | None = None) -> RawImage:
    path = folder / name
    if content is None:
        pixels = np.random.default_rng(int(hashlib.md5(name.encode()).hexdigest()[:8], 16))
        Image.fromarray(pixels.integers(0, 256, (20, 30)).astype(np.uint8)).save(path, "PNG")
    else:
        path.write_bytes(content)
    data = path.read_bytes()
    return RawImage(name, len(data), hashlib.md5(data).hexdigest())


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


@pytest.fixture
def images(raw: Path) -> list[RawImage]:
    """Ten files in shards of four; the second and the seventh cannot be read."""
    broken = {1: b"no image", 6: b""}
    return [raw_image(raw, f"{i}.png", broken.get(i)) for i in range(10)]


def new_packing(raw: Path, images: list[RawImage], scratch: Path, **changes: Any) -> Packing:
    scratch.mkdir(exist_ok=True)
    settings: dict[str, Any] = {"size": SIZE, "channels": 1, "shard_size": 4} | changes
    return Packing(raw, images, scratch, **settings)


def finished_bytes(done: Packing, folder: Path) -> dict[str, bytes]:
    done.link_into(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the files that are decoded (in this process)."""
    names: list[str] = []
    original = packing._decode_as_listed

    def count(raw: Path, size: int, channels: int, image: RawImage) -> packing.Decoded:
        names.append(image.path)
        return original(raw, size, channels, image)

    monkeypatch.setattr(packing, "_decode_as_listed", count)
    yield names


def test_unreadable_images_leave_their_shard_only(tmp_path: Path, raw: Path, images: list[RawImage]) -> None:
    done = new_packing(raw, images, tmp_path / "scratch")
    outcomes = list(done.run())
    assert [(o.shard, o.row) for o in outcomes] == [
        (0, 0), (-1, -1), (0, 1), (0, 2), (1, 0), (1, 1), (-1, -1), (1, 2), (2, 0), (2, 1),
    ]  # fmt: skip
    assert outcomes[1].reason.startswith("the file is no image") and outcomes[6].reason == "the file is empty"
    assert outcomes[0] == Outcome(0, 0, 30, 20, "")

    done.link_into(tmp_path / "out")
    names = ["images-00000.npy", "images-00001.npy", "images-00002.npy"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for shard, (name, count) in enumerate(zip(names, [3, 3, 2], strict=True)):
        array = np.load(tmp_path / "out" / name, allow_pickle=False)
        assert array.shape == (count, 1, SIZE, SIZE) and array.dtype == np.uint8
        for image, outcome in zip(images, outcomes, strict=True):
            if outcome.shard == shard:
                np.testing.assert_array_equal(array[outcome.row], decode(raw / image.path, SIZE, 1)[0])


def test_a_shard_is_what_numpy_itself_writes(tmp_path: Path, raw: Path, images: list[RawImage]) -> None:
    done = new_packing(raw, images, tmp_path / "scratch", channels=3)
    list(done.run())
    done.link_into(tmp_path / "out")
    file = tmp_path / "out" / "images-00001.npy"
    np.save(tmp_path / "same.npy", np.load(file))
    assert file.read_bytes() == (tmp_path / "same.npy").read_bytes()


def test_the_pool_gives_the_same_bytes_in_the_same_order(
    tmp_path: Path, raw: Path, images: list[RawImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    inline = new_packing(raw, images, tmp_path / "a")
    expected = list(inline.run())
    monkeypatch.setattr(packing, "POOL_FROM_BYTES", 0)
    monkeypatch.setenv("COUPLET_WORKERS", "2")
    pooled = new_packing(raw, images, tmp_path / "b")
    assert list(pooled.run()) == expected
    assert finished_bytes(pooled, tmp_path / "out_b") == finished_bytes(inline, tmp_path / "out_a")
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("stop_after", [1, 4, 5, 9, 10])
def test_an_interrupted_run_goes_on_with_the_missing_shards(
    tmp_path: Path, raw: Path, images: list[RawImage], decoded: list[str], stop_after: int
) -> None:
    straight = new_packing(raw, images, tmp_path / "straight")
    expected = list(straight.run())

    steps = new_packing(raw, images, tmp_path / "scratch").run()
    for _ in range(stop_after):
        next(steps)
    steps.close()  # like a kill: nothing after this point runs
    decoded.clear()
    resumed = new_packing(raw, images, tmp_path / "scratch")
    assert list(resumed.run()) == expected
    # The image after which it stopped had not been finished with its shard.
    finished_shards = (stop_after - 1) // 4
    assert decoded == [image.path for image in images[4 * finished_shards :]]
    assert finished_bytes(resumed, tmp_path / "b") == finished_bytes(straight, tmp_path / "a")


def test_only_shards_whose_files_changed_are_decoded_again(
    tmp_path: Path, raw: Path, images: list[RawImage], decoded: list[str]
) -> None:
    list(new_packing(raw, images, tmp_path / "scratch").run())
    decoded.clear()
    list(new_packing(raw, images, tmp_path / "scratch").run())
    assert decoded == []
    images[5] = raw_image(raw, "5.png", (raw / "0.png").read_bytes())
    list(new_packing(raw, images, tmp_path / "scratch").run())
    assert decoded == ["4.png", "5.png", "6.png", "7.png"]
    decoded.clear()
    list(new_packing(raw, images, tmp_path / "scratch", size=8).run())
    assert len(decoded) == 10
    decoded.clear()
    list(new_packing(raw, images, tmp_path / "scratch", channels=3).run())
    assert len(decoded) == 10


def test_another_decoder_starts_afresh(
    tmp_path: Path, raw: Path, images: list[RawImage], decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    list(new_packing(raw, images, tmp_path / "scratch").run())
    decoded.clear()
    monkeypatch.setattr(packing, "fingerprint", lambda: "another version")
    list(new_packing(raw, images, tmp_path / "scratch").run())
    assert len(decoded) == 10


@pytest.mark.parametrize("damage", ["flip", "cut", "no json", "bad json", "no npy"])
def test_a_damaged_shard_is_made_again(
    tmp_path: Path, raw: Path, images: list[RawImage], decoded: list[str], damage: str
) -> None:
    first = new_packing(raw, images, tmp_path / "scratch")
    expected = list(first.run())
    whole = finished_bytes(first, tmp_path / "a")
    shutil.rmtree(tmp_path / "a")
    shard = list(first._shards)[1]
    content = shard.read_bytes()
    if damage == "flip":
        shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        shard.write_bytes(content[:-1])
    elif damage == "no json":
        shard.with_suffix(".json").unlink()
    elif damage == "bad json":
        shard.with_suffix(".json").write_text("[")
    else:
        shard.unlink()
    decoded.clear()
    again = new_packing(raw, images, tmp_path / "scratch")
    assert list(again.run()) == expected
    assert decoded == ["4.png", "5.png", "6.png", "7.png"]
    assert finished_bytes(again, tmp_path / "b") == whole


def test_two_shards_of_copies_stay_two(tmp_path: Path, raw: Path) -> None:
    content = (raw / raw_image(raw, "x.png").path).read_bytes()
    copies = [raw_image(raw, f"{i}.png", content) for i in range(8)]
    done = new_packing(raw, copies, tmp_path / "scratch")
    assert [(o.shard, o.row) for o in done.run()] == [(i // 4, i % 4) for i in range(8)]
    assert len(finished_bytes(done, tmp_path / "out")) == 2


def test_shards_are_linked_and_copied_where_links_do_not_work(
    tmp_path: Path, raw: Path, images: list[RawImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = new_packing(raw, images, tmp_path / "scratch")
    list(done.run())
    linked = finished_bytes(done, tmp_path / "linked")
    assert (tmp_path / "linked" / "images-00000.npy").stat().st_nlink == 2

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert finished_bytes(done, tmp_path / "copied") == linked
    assert (tmp_path / "copied" / "images-00000.npy").stat().st_nlink == 1


def test_left_overs_of_other_runs_are_removed(tmp_path: Path, raw: Path, images: list[RawImage]) -> None:
    list(new_packing(raw, images[:7], tmp_path / "scratch").run())
    (tmp_path / "scratch" / "killed.tmp").write_bytes(b"half a shard")
    done = new_packing(raw, images, tmp_path / "scratch")
    list(done.run())
    done.forget_others()
    files = list((tmp_path / "scratch").iterdir())
    assert len(files) == 6 and {path.suffix for path in files} == {".npy", ".json"}
    assert len(finished_bytes(done, tmp_path / "out")) == 3


@pytest.mark.parametrize("pooled", [False, True])
def test_a_file_that_changed_since_the_inventory_is_named(
    tmp_path: Path, raw: Path, images: list[RawImage], monkeypatch: pytest.MonkeyPatch, pooled: bool
) -> None:
    if pooled:
        monkeypatch.setattr(packing, "POOL_FROM_BYTES", 0)
        monkeypatch.setenv("COUPLET_WORKERS", "2")
    content = bytearray((raw / "5.png").read_bytes())
    content[-1] ^= 1  # of the same size, and still an image
    (raw / "5.png").write_bytes(content)
    with pytest.raises(
        UserError, match=r"raw/5\.png changed since data/inventory\.json was written: .*couplet scan"
    ):
        list(new_packing(raw, images, tmp_path / "scratch").run())
    (raw / "5.png").unlink()
    with pytest.raises(UserError, match=r"raw/5\.png cannot be read \(No such file or directory\)"):
        list(new_packing(raw, images, tmp_path / "scratch").run())


def test_a_full_disk_is_noticed_before_any_work(
    tmp_path: Path, raw: Path, images: list[RawImage], monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    usage = type("Usage", (), {"free": 10 * SIZE**2 - 1})
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        UserError, match=r"scratch has 0\.0 GB left, the store needs 0\.0 GB more: free space"
    ):
        list(new_packing(raw, images, tmp_path / "scratch").run())
    assert decoded == []


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", ""])
def test_a_bad_number_of_workers_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("COUPLET_WORKERS", value)
    with pytest.raises(UserError, match="COUPLET_WORKERS = "):
        packing.workers_wanted()


SCRIPT = """
import sys
from pathlib import Path
from couplet.images import packing
from couplet.images.packing import Packing, RawImage
packing.POOL_FROM_BYTES = 0
raw, scratch = Path(sys.argv[1]), Path(sys.argv[2])
lines = [line.split() for line in (raw / "list.txt").read_text().splitlines()]
images = [RawImage(name, int(size), md5) for name, size, md5 in lines]
if __name__ == "__main__":
    for done, _ in enumerate(Packing(raw, images * 100, scratch, 16, 1, 50).run()):
        if done == 120:
            print("120 done", flush=True)
"""


def start_script(
    tmp_path: Path, raw: Path, images: list[RawImage]
) -> tuple[subprocess.Popen[str], list[int]]:
    """Run a long packing in two workers; return once it is under way, with the ids of its processes."""
    (raw / "list.txt").write_text("".join(f"{i.path} {i.size} {i.md5}\n" for i in images))
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "scratch").mkdir()
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(raw), str(tmp_path / "scratch")],
        env=os.environ | {"COUPLET_WORKERS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "120 done\n"
    children = [
        int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    return process, children


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(
    tmp_path: Path, raw: Path, images: list[RawImage], how: signal.Signals
) -> None:
    process, children = start_script(tmp_path, raw, images)
    assert len(children) >= 2
    process.send_signal(how)
    _, errors = process.communicate(timeout=20)
    deadline = time.monotonic() + 10
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, children))
    assert errors.count("Traceback") <= (how == signal.SIGINT)  # the parent's own, none of the workers'
    # The two shards that were finished are kept.
    assert len(list((tmp_path / "scratch").glob("*.json"))) >= 2


def test_a_killed_worker_is_explained(
    tmp_path: Path, raw: Path, images: list[RawImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "POOL_FROM_BYTES", 0)
    monkeypatch.setenv("COUPLET_WORKERS", "2")
    steps = new_packing(raw, images * 20, tmp_path / "scratch", shard_size=40).run()
    next(steps)
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
    with pytest.raises(UserError, match="a decoding process was killed, most likely because memory ran out"):
        list(steps)
