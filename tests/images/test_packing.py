from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from couplet.images.decoding import packing
from couplet.images.decoding.decode import decode, decode_picture
from couplet.images.decoding.packing import Outcome, Packing, RawImage
from couplet.images.decoding.writing import Encoded
from couplet.project.errors import UserError
from couplet.settings.schema.image import Codec

SIZE = 16
CODECS = pytest.mark.parametrize("codec", ["raw", "jpeg"])


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

    def count(*arguments: Any) -> Encoded:
        names.append(arguments[-1].path)
        return original(*arguments)

    monkeypatch.setattr(packing, "_decode_as_listed", count)
    yield names


def test_unreadable_images_leave_their_shard_only(tmp_path: Path, raw: Path, images: list[RawImage]) -> None:
    done = new_packing(raw, images, tmp_path / "scratch")
    outcomes = list(done.run())
    assert [(o.shard, o.row) for o in outcomes] == [
        (0, 0), (-1, -1), (0, 1), (0, 2), (1, 0), (1, 1), (-1, -1), (1, 2), (2, 0), (2, 1),
    ]  # fmt: skip
    assert outcomes[1].reason.startswith("the file is no image") and outcomes[6].reason == "the file is empty"
    picture = hashlib.blake2b(decode(raw / "0.png", SIZE, 1)[0].tobytes(), digest_size=8).hexdigest()
    assert outcomes[0] == Outcome(0, 0, 30, 20, picture) and len(picture) == 16
    assert {outcomes[i].picture for i in (1, 6)} == {""}

    done.link_into(tmp_path / "out")
    names = ["images-00000.npy", "images-00001.npy", "images-00002.npy"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*names, "shards.csv"]
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


@CODECS
def test_the_pool_gives_the_same_bytes_in_the_same_order(
    tmp_path: Path, raw: Path, images: list[RawImage], monkeypatch: pytest.MonkeyPatch, codec: Codec
) -> None:
    inline = new_packing(raw, images, tmp_path / "a", codec=codec)
    expected = list(inline.run())
    monkeypatch.setenv("COUPLET_WORKERS", "3")
    pooled = new_packing(raw, images, tmp_path / "b", codec=codec)
    assert list(pooled.run()) == expected
    assert finished_bytes(pooled, tmp_path / "out_b") == finished_bytes(inline, tmp_path / "out_a")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@CODECS
@pytest.mark.parametrize("stop_after", [1, 4, 5, 9, 10])
def test_an_interrupted_run_goes_on_with_the_missing_shards(
    tmp_path: Path, raw: Path, images: list[RawImage], decoded: list[str], stop_after: int, codec: Codec
) -> None:
    straight = new_packing(raw, images, tmp_path / "straight", codec=codec)
    expected = list(straight.run())

    steps = new_packing(raw, images, tmp_path / "scratch", codec=codec).run()
    for _ in range(stop_after):
        next(steps)
    steps.close()  # like a kill: nothing after this point runs
    decoded.clear()
    resumed = new_packing(raw, images, tmp_path / "scratch", codec=codec)
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


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-2])


def flip(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


DAMAGES = [
    *((ending, spoil) for ending in (".npy", ".jpegs", ".index.npy") for spoil in (cut, flip, Path.unlink)),
    *((".json", spoil) for spoil in (cut, Path.unlink, lambda file: file.write_text("{}"))),
]


@pytest.mark.parametrize(("ending", "spoil"), DAMAGES)
def test_a_damaged_shard_is_made_again(
    tmp_path: Path,
    raw: Path,
    images: list[RawImage],
    decoded: list[str],
    ending: str,
    spoil: Callable[[Path], object],
) -> None:
    codec: Codec = "raw" if ending == ".npy" else "jpeg"
    first = new_packing(raw, images, tmp_path / "scratch", codec=codec)
    expected = list(first.run())
    whole = finished_bytes(first, tmp_path / "a")
    shutil.rmtree(tmp_path / "a")
    spoil(list(first._shards)[1].stem.with_suffix(ending))
    decoded.clear()
    again = new_packing(raw, images, tmp_path / "scratch", codec=codec)
    assert list(again.run()) == expected
    assert decoded == ["4.png", "5.png", "6.png", "7.png"]
    assert finished_bytes(again, tmp_path / "b") == whole


def test_a_shard_of_an_earlier_version_without_digests_is_made_again(
    tmp_path: Path, raw: Path, images: list[RawImage], decoded: list[str]
) -> None:
    first = new_packing(raw, images, tmp_path / "scratch")
    expected = list(first.run())
    record = list(first._shards)[1].record
    content = json.loads(record.read_text())
    sizes = [image if isinstance(image, str) else image[:2] for image in content["images"]]
    record.write_text(json.dumps(content | {"images": sizes}))
    decoded.clear()
    assert list(new_packing(raw, images, tmp_path / "scratch").run()) == expected
    assert decoded == ["4.png", "5.png", "6.png", "7.png"]


def test_a_jpeg_shard_holds_one_stream_per_readable_image_and_where_it_begins(
    tmp_path: Path, raw: Path, images: list[RawImage]
) -> None:
    done = new_packing(raw, images, tmp_path / "scratch", size=48, codec="jpeg")
    outcomes = list(done.run())
    as_pixels = list(new_packing(raw, images, tmp_path / "raw_scratch", size=48).run())
    assert [outcome._replace(picture="") for outcome in outcomes] == [
        outcome._replace(picture="") for outcome in as_pixels
    ]
    done.link_into(tmp_path / "out")
    names = [f"images-0000{i}{ending}" for i in range(3) for ending in (".index.npy", ".jpegs")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*names, "shards.csv"]
    for shard, count in enumerate([3, 3, 2]):
        index = np.load(tmp_path / f"out/images-0000{shard}.index.npy", allow_pickle=False)
        content = (tmp_path / f"out/images-0000{shard}.jpegs").read_bytes()
        assert index.dtype == np.dtype("<u8") and index.shape == (count + 1,)
        assert index[0] == 0 and index[-1] == len(content)
        readable = [image for image, o in zip(images, outcomes, strict=True) if o.shard == shard]
        for image, start, end in zip(readable, index[:-1], index[1:], strict=True):
            stream = content[start:end]
            assert outcomes[images.index(image)].picture == hashlib.blake2b(stream, digest_size=8).hexdigest()
            assert stream.startswith(b"\xff\xd8") and stream.endswith(b"\xff\xd9")
            with Image.open(io.BytesIO(stream)) as stored:
                assert (stored.format, stored.mode, stored.size) == ("JPEG", "L", (48, 48))
                difference = np.asarray(stored) - decode(raw / image.path, 48, 1)[0][0].astype(int)
            assert np.abs(difference).mean() < 1.5  # noise, the worst there is for JPEG


@CODECS
def test_the_list_beside_the_shards_has_every_file_with_its_size_and_sha256(
    tmp_path: Path, raw: Path, images: list[RawImage], codec: Codec
) -> None:
    done = new_packing(raw, images, tmp_path / "scratch", codec=codec)
    list(done.run())
    stored = finished_bytes(done, tmp_path / "out")
    header, *rows = stored.pop("shards.csv").decode().splitlines()
    assert header == "file,size,sha256"
    expected = [f"{name},{len(data)},{hashlib.sha256(data).hexdigest()}" for name, data in stored.items()]
    assert sorted(rows) == expected and len(rows) == (3 if codec == "raw" else 6)


def test_a_shard_without_a_readable_image_is_empty(tmp_path: Path, raw: Path) -> None:
    broken = [raw_image(raw, f"{i}.png", b"no image") for i in range(4)]
    done = new_packing(raw, broken, tmp_path / "scratch", codec="jpeg")
    assert [outcome.shard for outcome in done.run()] == [-1] * 4
    done.link_into(tmp_path / "out")
    assert (tmp_path / "out/images-00000.jpegs").read_bytes() == b""
    assert np.load(tmp_path / "out/images-00000.index.npy").tolist() == [0]
    assert len(list(new_packing(raw, broken, tmp_path / "scratch", codec="jpeg").run())) == 4


def test_another_codec_makes_shards_of_its_own(
    tmp_path: Path, raw: Path, images: list[RawImage], decoded: list[str]
) -> None:
    as_pixels = new_packing(raw, images, tmp_path / "scratch")
    list(as_pixels.run())
    decoded.clear()
    as_jpeg = new_packing(raw, images, tmp_path / "scratch", codec="jpeg")
    list(as_jpeg.run())
    assert len(decoded) == 10
    decoded.clear()
    list(new_packing(raw, images, tmp_path / "scratch").run())
    assert decoded == []  # both are there until one is asked to forget the other
    as_jpeg.forget_others()
    endings = sorted("".join(path.suffixes) for path in (tmp_path / "scratch").iterdir())
    assert endings == [".index.npy"] * 3 + [".jpegs"] * 3 + [".json"] * 3
    list(as_jpeg.run())
    assert decoded == []
    list(new_packing(raw, images, tmp_path / "scratch").run())
    assert len(decoded) == 10


@pytest.mark.parametrize("version", ["fingerprint", "codec_fingerprint"])
def test_another_encoder_or_decoder_starts_afresh(
    tmp_path: Path,
    raw: Path,
    images: list[RawImage],
    decoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
    version: str,
) -> None:
    list(new_packing(raw, images, tmp_path / "scratch", codec="jpeg").run())
    decoded.clear()
    monkeypatch.setattr(packing, version, lambda *_: "another version")
    list(new_packing(raw, images, tmp_path / "scratch", codec="jpeg").run())
    assert len(decoded) == 10


def test_two_shards_of_copies_stay_two(tmp_path: Path, raw: Path) -> None:
    content = (raw / raw_image(raw, "x.png").path).read_bytes()
    copies = [raw_image(raw, f"{i}.png", content) for i in range(8)]
    done = new_packing(raw, copies, tmp_path / "scratch")
    assert [(o.shard, o.row) for o in done.run()] == [(i // 4, i % 4) for i in range(8)]
    stored = finished_bytes(done, tmp_path / "out")
    assert list(stored) == ["images-00000.npy", "images-00001.npy", "shards.csv"]


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
    stored = finished_bytes(done, tmp_path / "out")
    assert list(stored) == [f"images-0000{i}.npy" for i in range(3)] + ["shards.csv"]


@pytest.mark.parametrize("pooled", [False, True])
def test_a_file_that_changed_since_the_inventory_is_named(
    tmp_path: Path, raw: Path, images: list[RawImage], monkeypatch: pytest.MonkeyPatch, pooled: bool
) -> None:
    monkeypatch.setenv("COUPLET_WORKERS", "2" if pooled else "1")
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


@pytest.mark.parametrize(
    ("codec", "needed", "remedy"),
    [
        ("raw", 10 * SIZE**2, r"lower image\.store_size, set image\.codec: jpeg, or set COUPLET_SCRATCH"),
        ("jpeg", 10 * SIZE**2 // 4, r"lower image\.store_size, or set COUPLET_SCRATCH"),
    ],
)
def test_a_full_disk_is_noticed_before_any_work(
    tmp_path: Path,
    raw: Path,
    images: list[RawImage],
    monkeypatch: pytest.MonkeyPatch,
    decoded: list[str],
    codec: Codec,
    needed: int,
    remedy: str,
) -> None:
    usage = type("Usage", (), {"free": needed - 1})
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        UserError, match=rf"scratch has 0\.0 GB left, the store needs 0\.0 GB more: free space, {remedy}"
    ):
        list(new_packing(raw, images, tmp_path / "scratch", codec=codec).run())
    assert decoded == []
    usage.free = needed  # type: ignore[attr-defined]
    assert len(list(new_packing(raw, images, tmp_path / "scratch", codec=codec).run())) == 10


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", ""])
def test_a_bad_number_of_workers_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("COUPLET_WORKERS", value)
    with pytest.raises(UserError, match="COUPLET_WORKERS = "):
        packing.workers_wanted()


SCRIPT = """
import sys
from pathlib import Path
from couplet.images.decoding.packing import Packing, RawImage
raw, scratch = Path(sys.argv[1]), Path(sys.argv[2])
lines = [line.split() for line in (raw / "list.txt").read_text().splitlines()]
images = [RawImage(name, int(size), md5) for name, size, md5 in lines]
if __name__ == "__main__":
    for done, _ in enumerate(Packing(raw, images * 1000, scratch, 16, 1, 50).run()):
        if done == 120:
            print("120 done", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_ends_at_once_and_keeps_its_finished_shards(
    tmp_path: Path, raw: Path, images: list[RawImage], how: signal.Signals
) -> None:
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
    process.send_signal(how)
    _, errors = process.communicate(timeout=20)
    assert errors.count("Traceback") == (how == signal.SIGINT)  # the main thread's own, none of the others'
    assert len(list((tmp_path / "scratch").glob("*.json"))) >= 2


def test_odd_metadata_is_no_ones_warning(
    tmp_path: Path, raw: Path, images: list[RawImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads share the filter of warnings: it is set around all of them."""

    def grumbles(*arguments: Any, **options: Any) -> object:
        warnings.warn("corrupt EXIF data", stacklevel=1)
        return decode_picture(*arguments, **options)

    monkeypatch.setattr(packing, "decode_picture", grumbles)
    monkeypatch.setenv("COUPLET_WORKERS", "3")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert len(list(new_packing(raw, images, tmp_path / "scratch").run())) == 10
        assert warnings.filters[0][0] == "always"
    assert seen == []
