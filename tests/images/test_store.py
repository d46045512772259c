from __future__ import annotations

import gc
import io
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from couplet.images.codec import FILES
from couplet.images.loading import shards as shards_module
from couplet.images.loading import store as store_module
from couplet.images.loading.shards import OPEN_FILES
from couplet.images.loading.store import ImageStore, shard_name
from couplet.project.errors import UserError
from couplet.project.files import write_json
from couplet.results.manifest import SHARD_STRIDE
from tests.support.errors import refused

CODECS = pytest.mark.parametrize("codec", ["raw", "jpeg"])


def make_store(
    folder: Path, counts: Sequence[int], channels: int = 1, size: int = 4, codec: str | None = None
) -> list[np.ndarray]:
    """Shards of random images with the two tables that describe them; what a JPEG decoder makes of them."""
    random = np.random.default_rng(0)
    shards = [random.integers(0, 256, (n, channels, size, size)).astype(np.uint8) for n in counts]
    for index, shard in enumerate(shards):
        if codec == "jpeg":
            shards[index] = save_jpegs(folder, index, shard)
        else:
            np.save(folder / shard_name(index), shard)
    rows = [(f"{shard}-{row}", shard, row) for shard, n in enumerate(counts) for row in range(n)]
    lines = "".join(f"{name},{shard},{row}\n" for name, shard, row in rows)
    (folder / "manifest.csv").write_text("image_id,shard,row\n" + lines)
    layout = {"store_size": size, "channels": channels}
    write_json(folder / "labels.json", {"image": layout if codec is None else layout | {"codec": codec}})
    return shards


def save_jpegs(folder: Path, index: int, shard: np.ndarray) -> np.ndarray:
    streams = []
    for pixels in shard:
        file = io.BytesIO()
        image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
        image.save(file, "JPEG", quality=95, subsampling=0)
        streams.append(file.getvalue())
    (folder / f"images-{index:05d}.jpegs").write_bytes(b"".join(streams))
    offsets = np.cumsum([0, *map(len, streams)]).astype(np.uint64)
    np.save(folder / f"images-{index:05d}.index.npy", offsets)
    decoded = [np.array(Image.open(io.BytesIO(stream))) for stream in streams]
    channels_last = [pixels if pixels.ndim == 3 else pixels[..., None] for pixels in decoded]
    return np.array([np.moveaxis(pixels, -1, 0) for pixels in channels_last]).reshape(shard.shape)


@CODECS
@pytest.mark.parametrize("channels", [1, 3])
def test_rows_come_back_in_the_order_asked_for(tmp_path: Path, channels: int, codec: str) -> None:
    shards = make_store(tmp_path, [5, 3, 4], channels, codec=codec)
    store = ImageStore(tmp_path)
    assert (store.n_images, store.channels, store.size) == (12, channels, 4)
    places = [(2, 3), (0, 4), (1, 0), (0, 0), (0, 4), (2, 0)]
    positions = np.array([shard * SHARD_STRIDE + row for shard, row in places])
    images = store.read(positions)
    assert images.dtype == np.uint8 and images.flags.writeable and images.flags.c_contiguous
    np.testing.assert_array_equal(images, np.stack([shards[shard][row] for shard, row in places]))
    assert store.read(np.array([], dtype=np.int64)).shape == (0, channels, 4, 4)


def test_an_older_store_does_not_name_its_codec(tmp_path: Path) -> None:
    shards = make_store(tmp_path, [5])
    np.testing.assert_array_equal(ImageStore(tmp_path).read(np.arange(5)), shards[0])


def test_a_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    make_store(tmp_path, [5], codec="webp")
    with pytest.raises(UserError, match=r"labels\.json: image\.codec is 'webp', not raw or jpeg: restore it"):
        ImageStore(tmp_path)


@CODECS
def test_a_shard_in_the_middle_may_have_lost_all_its_images(tmp_path: Path, codec: str) -> None:
    shards = make_store(tmp_path, [2, 0, 1], codec=codec)
    store = ImageStore(tmp_path)
    np.testing.assert_array_equal(store.read(np.array([2 * SHARD_STRIDE]))[0], shards[2][0])
    with pytest.raises(IndexError):
        store.read(np.array([SHARD_STRIDE]))


@CODECS
@pytest.mark.parametrize("position", [-1, 5, SHARD_STRIDE + 3, 2 * SHARD_STRIDE, 2**40])
def test_positions_without_an_image_are_refused(tmp_path: Path, position: int, codec: str) -> None:
    make_store(tmp_path, [5, 3], codec=codec)
    with pytest.raises(IndexError, match=f"there is no image at position {position}"):
        ImageStore(tmp_path).read(np.array([0, position]))


@CODECS
def test_shards_cannot_be_written_through_the_store(tmp_path: Path, codec: str) -> None:
    make_store(tmp_path, [2], codec=codec)
    store = ImageStore(tmp_path)
    before = store.read(np.array([0]))
    store.read(np.array([0]))[:] = 0
    np.testing.assert_array_equal(store.read(np.array([0])), before)


# --- threads, processes, memory -----------------------------------------------------------------------------


@pytest.fixture
def threaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ImageStore, np.ndarray]:
    """A JPEG store that decodes in three threads however small its images, and what it holds."""
    monkeypatch.setattr(store_module, "THREADS_FROM_PIXELS", 0)
    monkeypatch.setenv("COUPLET_WORKERS", "3")
    shards = make_store(tmp_path, [40], size=16, codec="jpeg")
    return ImageStore(tmp_path), shards[0]


def decoding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_threads_change_nothing_and_end_with_the_store(
    threaded: tuple[ImageStore, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, store = threaded[1], ImageStore(tmp_path)
    np.testing.assert_array_equal(store.read(np.array([7])), images[[7]])
    assert decoding_threads() == []  # for one image there is nothing to share
    for n in (2, 3, 24, 40):
        positions = np.random.default_rng(n).integers(0, 40, n)
        np.testing.assert_array_equal(store.read(positions), images[positions])
    assert len(decoding_threads()) == 3
    monkeypatch.setenv("COUPLET_WORKERS", "1")
    np.testing.assert_array_equal(store.read(np.arange(40)), images)
    threads = decoding_threads()
    del store
    for thread in threads:
        thread.join(timeout=10)
    assert decoding_threads() == []


def test_many_threads_read_one_store(threaded: tuple[ImageStore, np.ndarray]) -> None:
    store, images = threaded

    def read(seed: int) -> bool:
        positions = np.random.default_rng(seed).integers(0, 40, 24)
        return np.array_equal(store.read(positions), images[positions])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(100)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_works_in_a_forked_and_in_a_spawned_process(
    threaded: tuple[ImageStore, np.ndarray], method: str
) -> None:
    store, images = threaded
    store.read(np.arange(40))  # this process has its threads, which a fork does not take along
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        there = pool.submit(store.read, np.arange(40)).result(timeout=60)
    np.testing.assert_array_equal(there, images)
    np.testing.assert_array_equal(store.read(np.arange(40)), images)


def open_files(folder: Path) -> int:
    links = (os.path.realpath(path) for path in Path("/proc/self/fd").iterdir())
    return sum(link.startswith(str(folder)) for link in links)


@CODECS
def test_files_are_closed_with_the_store(tmp_path: Path, codec: str) -> None:
    make_store(tmp_path, [2, 3], codec=codec)
    store = ImageStore(tmp_path)
    assert open_files(tmp_path) == 2  # one per shard: an index is read at once
    del store
    gc.collect()
    assert open_files(tmp_path) == 0


@CODECS
def test_a_file_that_is_cut_short_while_it_is_open_is_an_error_and_no_signal(
    tmp_path: Path, codec: str
) -> None:
    make_store(tmp_path, [5], size=64, codec=codec)
    store = ImageStore(tmp_path)
    path = next(path for path in tmp_path.iterdir() if path.stat().st_size > 5000)
    os.truncate(path, 5000)
    store.read(np.array([0]))
    with pytest.raises(UserError, match=f"{path.name} is truncated or damaged: restore it"):
        store.read(np.array([4]))


# --- damage -------------------------------------------------------------------------------------------------


def saved(path: Path, array: np.ndarray) -> bytes:
    np.save(path, array)
    return path.read_bytes()


def refused_reading(folder: Path, path: Path) -> str:
    """The error of reading the whole store: one line that begins with the file and says what mends it."""
    message = refused(lambda: ImageStore(folder).read(np.array([SHARD_STRIDE, SHARD_STRIDE + 2])))
    assert message.startswith(f"{path} ")
    assert message.endswith(f"dvc checkout {folder}`, or make it again with `dvc repro -f prepare`")
    return message


def test_damaged_shards_are_named_with_what_mends_them(tmp_path: Path) -> None:
    shards = make_store(tmp_path, [5, 3])
    path = tmp_path / shard_name(1)
    whole = path.read_bytes()
    damages = {
        "is truncated or damaged": whole[:-1],
        "is truncated or damaged: ": b"",
        "is truncated or damaged: restore": whole[:40],
        "is truncated or damaged: restore it": b"no array at all" + whole,
        "holds uint8 (2, 1, 4, 4), not uint8 (3, 1, 4, 4)": saved(path, shards[1][:2]),
        "holds uint8 (3, 1, 2, 4)": saved(path, shards[1][:, :, :2]),
        "holds int64 (3, 1, 4, 4)": saved(path, shards[1].astype(np.int64)),
        "is truncated or damaged: restore it with": saved(path, np.asfortranarray(shards[1])),
    }
    for message, content in damages.items():
        path.write_bytes(content)
        assert message in refused_reading(tmp_path, path)
    path.unlink()
    assert "images-00001.npy is not there: restore it" in refused_reading(tmp_path, path)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    make_store(tmp_path, [1])
    np.save(tmp_path / shard_name(0), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"holds object \(1,\), not uint8 \(1, 1, 4, 4\)"):
        ImageStore(tmp_path)


@pytest.mark.filterwarnings("error")
def test_any_damaged_header_is_one_kind_of_error(tmp_path: Path) -> None:
    make_store(tmp_path, [3])
    path = tmp_path / shard_name(0)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    n_refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, 70, random.integers(1, 4)):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            assert ImageStore(tmp_path).read(np.arange(3)).shape == (3, 1, 4, 4)
        except UserError as error:
            n_refused += str(error).startswith(str(path))
    assert n_refused > 250


def other_jpeg(mode: str, side: int) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, "JPEG")
    return file.getvalue()


def replace_last(content: bytes) -> Callable[[Path], Path]:
    """Put another content in the place of the last image, with an index that fits."""

    def change(folder: Path) -> Path:
        index, path = folder / "images-00001.index.npy", folder / "images-00001.jpegs"
        offsets = np.load(index)
        path.write_bytes(path.read_bytes()[: offsets[-2]] + content)
        offsets[-1] = offsets[-2] + len(content)
        np.save(index, offsets)
        return path

    return change


def change_index(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Path]:
    def rewrite(folder: Path) -> Path:
        path = folder / "images-00001.index.npy"
        np.save(path, change(np.load(path)))
        return path

    return rewrite


def cut(name: str) -> Callable[[Path], Path]:
    def shorten(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-1])
        return path

    return shorten


def remove(name: str) -> Callable[[Path], Path]:
    def unlink(folder: Path) -> Path:
        (folder / name).unlink()
        return folder / name

    return unlink


def another_index(folder: Path) -> Path:
    index, other = folder / "images-00001.index.npy", folder / "images-00000.index.npy"
    np.save(index, np.load(other)[:4])
    return folder / "images-00001.jpegs"


PNG_FILE = io.BytesIO()
Image.new("L", (4, 4)).save(PNG_FILE, "PNG")
NO_JPEG = "is damaged: its image 2 is no JPEG of 4 x 4 in grey"
DAMAGES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no streams": (remove("images-00001.jpegs"), "is not there"),
    "no index": (remove("images-00001.index.npy"), "is not there"),
    "streams cut": (cut("images-00001.jpegs"), "is truncated, or images-00001.index.npy belongs to another"),
    "index cut": (cut("images-00001.index.npy"), "is truncated or damaged"),
    "another index": (another_index, "is truncated, or images-00001.index.npy belongs to another file"),
    "index short": (
        change_index(lambda x: x[:-1]),
        "holds uint64 (3,), not uint64 (4,) as manifest.csv says",
    ),
    "index signed": (change_index(lambda x: x.astype(np.int64)), "holds int64 (4,), not uint64 (4,)"),
    "index big-endian": (change_index(lambda x: x.astype(">u8")), "holds >u8 (4,), not uint64 (4,)"),
    "index starts late": (change_index(lambda x: x + np.uint64(1)), "is damaged"),
    "index falls": (change_index(lambda x: x[[0, 2, 1, 3]]), "is damaged"),
    "index stands": (change_index(lambda x: x[[0, 1, 1, 3]]), "is damaged"),
    "index wraps": (change_index(lambda x: x - np.array([0, 2**63, 0, 0], dtype=np.uint64)), "is damaged"),
    "no image": (replace_last(b"no image"), NO_JPEG),
    "a PNG": (replace_last(PNG_FILE.getvalue()), NO_JPEG),
    "another size": (replace_last(other_jpeg("L", 8)), NO_JPEG),
    "colour": (replace_last(other_jpeg("RGB", 4)), NO_JPEG),
    "half an image": (replace_last(other_jpeg("L", 4)[:-20]), NO_JPEG),
    "more than memory holds": (
        replace_last(other_jpeg("L", 4).replace(b"\0\x04\0\x04", b"\xff\xdc\xff\xdc", 1)),
        NO_JPEG,
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_jpegs_are_named_with_what_mends_them(tmp_path: Path, damage: str) -> None:
    change, message = DAMAGES[damage]
    make_store(tmp_path, [5, 3], codec="jpeg")
    path = change(tmp_path)
    assert f"{path} {message}" in refused_reading(tmp_path, path)


def test_damage_is_reported_from_a_thread_too(
    threaded: tuple[ImageStore, np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "images-00000.jpegs"
    content = bytearray(path.read_bytes())
    start = int(np.load(tmp_path / "images-00000.index.npy")[30])
    content[start : start + 2] = b"xx"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged: its image 30 is no JPEG of 16 x 16 in grey: restore it"):
        ImageStore(tmp_path).read(np.arange(40))


# --- many shards --------------------------------------------------------------------------------------------

LIMIT_AND_READ = """
import resource, sys
from pathlib import Path
import numpy as np
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), int(sys.argv[2])))
from couplet.images.loading.store import ImageStore
from couplet.results.manifest import SHARD_STRIDE
store = ImageStore(Path(sys.argv[1]))
positions = np.random.default_rng(0).permutation(1500) * SHARD_STRIDE
print(int(store.read(positions).astype(np.int64).sum()), len(list(Path("/proc/self/fd").iterdir())))
"""


@CODECS
@pytest.mark.parametrize("n_files", [256, 64])
def test_1500_shards_are_read_where_a_process_may_open_256_files_or_64(
    tmp_path: Path, codec: str, n_files: int
) -> None:
    shards = make_store(tmp_path, [1] * 1500, codec=codec)
    command = [sys.executable, "-c", LIMIT_AND_READ, str(tmp_path), str(n_files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-1000:]
    total, n_open = map(int, done.stdout.split())
    assert total == sum(int(shard.astype(np.int64).sum()) for shard in shards)
    assert n_open <= min(n_files, OPEN_FILES + 20)  # twenty: those of Python itself


@CODECS
def test_threads_share_a_few_open_files(tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread keeps closing what the others read."""
    monkeypatch.setattr(shards_module, "OPEN_FILES", 2)
    shards = np.concatenate(make_store(tmp_path, [1] * 12, codec=codec))
    store = ImageStore(tmp_path)

    def read(seed: int) -> bool:
        rows = np.random.default_rng(seed).integers(0, 12, 24)
        return np.array_equal(store.read(rows * SHARD_STRIDE), shards[rows])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(200)))
    assert open_files(tmp_path) <= 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_many_shards_in_a_forked_and_in_a_spawned_process(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "OPEN_FILES", 2)
    shards = np.concatenate(make_store(tmp_path, [1] * 12))
    store, positions = ImageStore(tmp_path), np.arange(12) * SHARD_STRIDE
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        there = [pool.submit(store.read, positions) for _ in range(4)]
        for result in there:
            np.testing.assert_array_equal(result.result(timeout=60), shards)
    np.testing.assert_array_equal(store.read(positions), shards)


@CODECS
def test_a_shard_that_was_replaced_while_it_was_closed_is_refused(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open file would still be the old one; pixels of two stores must not be mixed."""
    monkeypatch.setattr(shards_module, "OPEN_FILES", 1)
    make_store(tmp_path, [2, 2], codec=codec)
    store = ImageStore(tmp_path)
    path = tmp_path / shard_name(0, FILES["jpeg" if codec == "jpeg" else "raw"][0])
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes())
    other.replace(path)
    with pytest.raises(UserError, match=rf"{path.name} was replaced while it was being read: start again"):
        store.read(np.array([0, SHARD_STRIDE, 1]))
