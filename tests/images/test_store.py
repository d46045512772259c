from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from couplet.errors import UserError
from couplet.files import write_json
from couplet.images.store import ImageStore, shard_name
from couplet.manifest import SHARD_STRIDE


def make_store(folder: Path, counts: Sequence[int], channels: int = 1, size: int = 4) -> list[np.ndarray]:
    """Shards of random images with the two tables that describe them."""
    random = np.random.default_rng(0)
    shards = [random.integers(0, 256, (n, channels, size, size)).astype(np.uint8) for n in counts]
    for index, shard in enumerate(shards):
        np.save(folder / shard_name(index), shard)
    rows = [(f"{shard}-{row}", shard, row) for shard, n in enumerate(counts) for row in range(n)]
    lines = "".join(f"{name},{shard},{row}\n" for name, shard, row in rows)
    (folder / "manifest.csv").write_text("image_id,shard,row\n" + lines)
    write_json(folder / "labels.json", {"image": {"store_size": size, "channels": channels}})
    return shards


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_come_back_in_the_order_asked_for(tmp_path: Path, channels: int) -> None:
    shards = make_store(tmp_path, [5, 3, 4], channels)
    store = ImageStore(tmp_path)
    assert (store.n_images, store.channels, store.size) == (12, channels, 4)
    places = [(2, 3), (0, 4), (1, 0), (0, 0), (0, 4), (2, 0)]
    positions = np.array([shard * SHARD_STRIDE + row for shard, row in places])
    images = store.read(positions)
    assert images.dtype == np.uint8 and images.flags.writeable
    np.testing.assert_array_equal(images, np.stack([shards[shard][row] for shard, row in places]))
    assert store.read(np.array([], dtype=np.int64)).shape == (0, channels, 4, 4)


def test_a_shard_in_the_middle_may_have_lost_all_its_images(tmp_path: Path) -> None:
    shards = make_store(tmp_path, [2, 0, 1])
    store = ImageStore(tmp_path)
    np.testing.assert_array_equal(store.read(np.array([2 * SHARD_STRIDE]))[0], shards[2][0])


@pytest.mark.parametrize("position", [-1, 5, SHARD_STRIDE + 3, 2 * SHARD_STRIDE])
def test_positions_without_an_image_are_refused(tmp_path: Path, position: int) -> None:
    make_store(tmp_path, [5, 3])
    with pytest.raises(IndexError):
        ImageStore(tmp_path).read(np.array([0, position]))


def test_shards_cannot_be_written_through_the_store(tmp_path: Path) -> None:
    make_store(tmp_path, [2])
    store = ImageStore(tmp_path)
    before = store.read(np.array([0]))
    store.read(np.array([0]))[:] = 0
    np.testing.assert_array_equal(store.read(np.array([0])), before)
    with pytest.raises(ValueError, match="read-only"):
        store._shards[0][:] = 0


def test_damaged_shards_are_named_with_what_mends_them(tmp_path: Path) -> None:
    shards = make_store(tmp_path, [5, 3])
    path = tmp_path / shard_name(1)
    whole = path.read_bytes()
    damages = {
        "is truncated or damaged": whole[:-1],
        "holds uint8 (2, 1, 4, 4), not uint8 (3, 1, 4, 4)": saved(path, shards[1][:2]),
        "holds uint8 (3, 1, 2, 4)": saved(path, shards[1][:, :, :2]),
        "holds int64 (3, 1, 4, 4)": saved(path, shards[1].astype(np.int64)),
    }
    for message, content in damages.items():
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            ImageStore(tmp_path)
        assert message in str(error.value) and str(error.value).startswith(f"{path} ")
        assert "dvc checkout" in str(error.value) and "dvc repro -f prepare" in str(error.value)
        assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(UserError, match="images-00001.npy is not there: restore it"):
        ImageStore(tmp_path)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    make_store(tmp_path, [1])
    np.save(tmp_path / shard_name(0), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="is truncated or damaged"):
        ImageStore(tmp_path)


def saved(path: Path, array: np.ndarray) -> bytes:
    np.save(path, array)
    return path.read_bytes()
