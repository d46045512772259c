from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from couplet.datasets.grand_xray_slam import LABELS
from couplet.datasets.inventory import scan_source
from couplet.datasets.raw import identical_files
from couplet.images.decoding import packing
from couplet.images.decoding.decode import decode
from couplet.images.decoding.packing import RawImage
from couplet.images.loading.store import ImageStore
from couplet.project.errors import UserError
from couplet.project.files import write_text
from couplet.project.project import HERE
from couplet.results.group_columns import refuse_unknown_groups
from couplet.results.manifest import read_manifest
from couplet.settings.presets import params_yaml
from couplet.stages.prepare import prepare
from tests.support.errors import refused
from tests.support.params import params_with

HEADER = ["Image_name", "Patient_ID", "Study", "Sex", "Age", "ViewCategory", "ViewPosition", *LABELS]
TRAIN = ["00000007_001_001.jpg", "00000003_001_002.jpg", "00000003_001_001.jpg", "00000010_002_001.jpg"]
TEST = ["00000021_001_001.jpg", "00000020_001_001.jpg"]


def draw(path: Path, seed: int, width: int = 60, height: int = 50) -> None:
    rows = np.random.default_rng(seed).integers(0, 256, (5, 6)).astype(np.uint8)
    image = Image.fromarray(rows).resize((width, height), Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "JPEG", quality=95)


def write_settings(**changes: Any) -> None:
    """For division A in miniature; a setting's sections are joined by two underscores: image__size=36."""
    small = {
        "data.source": "grand_xray_slam",
        "data.max_unreadable": 0.2,
        "image.size": 32,
        "image.store_size": 36,
        "model.pretrained": False,
    }
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    write_text(HERE.params, params_yaml(params_with(small | dotted)))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with division A in miniature: four training images, two test images, scanned."""
    monkeypatch.chdir(tmp_path)
    for variable in ("COUPLET_DATA_ROOT", "COUPLET_SCRATCH", "COUPLET_WORKERS", "COUPLET_FRESH"):
        monkeypatch.delenv(variable, raising=False)
    raw = HERE.raw("grand_xray_slam")
    rows = []
    for i, name in enumerate(TRAIN):
        draw(raw / "train1" / name, i)
        rows.append([name, name[:8].lstrip("0"), "1", "Male", "41.0", "Frontal", "AP", *("01-"[i % 2] * 14)])
    rows[0][7:10] = ["-1", "", "1"]  # uncertain, blank, present
    write_text(raw / "train1.csv", "".join(",".join(row) + "\n" for row in [HEADER, *rows]))
    for i, name in enumerate(TEST):
        draw(raw / "test1" / name, 10 + i, 50, 80)
    sample = [["Image_name", *LABELS], *([name, *["0"] * 14] for name in TEST)]
    write_text(raw / "sample_submission_1.csv", "".join(",".join(row) + "\n" for row in sample))
    write_settings()
    scan_source("grand_xray_slam")
    return raw


def outputs() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(HERE.prepared.iterdir())}


def test_everything_that_the_next_stages_read(project: Path) -> None:
    prepare()
    names = [
        *(
            "images-00000.npy",
            "labels.json",
            "manifest.csv",
            "quarantine.csv",
            "shards.csv",
            "submission_rows.csv",
        ),
    ]
    assert list(outputs()) == names
    assert not HERE.prepared.with_name("prepared.unfinished").exists()

    manifest = pd.read_csv(HERE.manifest, dtype=str, keep_default_na=False)
    meta = [
        "image_id",
        "part",
        "patient_id",
        "study_id",
        "view",
        "sex",
        "age",
        "width",
        "height",
        "shard",
        "row",
        "picture",
    ]
    assert list(manifest.columns) == [*meta, *LABELS]
    assert manifest["image_id"].tolist() == sorted([*TRAIN, *TEST])
    first = manifest.iloc[0]
    stored = decode(project / "train1" / first["image_id"], 36, 1)[0].tobytes()
    assert first[meta].tolist() == [
        "00000003_001_001.jpg", "train", "3", "3_1", "AP", "Male", "41.0", "60", "50", "0", "0",
        hashlib.blake2b(stored, digest_size=8).hexdigest(),
    ]  # fmt: skip
    assert first[list(LABELS)].tolist() == ["0"] * 14
    uncertain = manifest[manifest["image_id"] == TRAIN[0]].iloc[0]
    assert uncertain[list(LABELS)[:4]].tolist() == ["", "", "1", "0"]
    test = manifest[manifest["part"] == "test"]
    assert (test[list(LABELS)] == "").all(axis=None) and test["width"].tolist() == ["50", "50"]
    assert manifest["row"].tolist() == [str(i) for i in range(6)]

    assert json.loads(HERE.labels.read_text()) == {
        "source": "grand_xray_slam",
        "labels": list(LABELS),
        "image": {"store_size": 36, "channels": 1, "shard_size": 4096, "codec": "raw"},
        "n_images": 6,
        "n_quarantined": 0,
        "notes": {},
        "test_labelled": False,
    }
    assert HERE.quarantine.read_text() == "image_id,part,path,reason\n"
    # The sample's own order, which is not sorted.
    assert HERE.submission_rows.read_text() == "Image_name,image_id\n" + "".join(f"{n},{n}\n" for n in TEST)

    store, table = ImageStore(HERE.prepared), read_manifest()
    for image_id, position in zip(table.ids, table.positions, strict=True):
        part = "train1" if image_id in TRAIN else "test1"
        expected, _ = decode(project / part / image_id, 36, 1)
        np.testing.assert_array_equal(store.read(np.array([position]))[0], expected)


def test_unknown_labels_follow_the_policies_and_unlabelled_test_images_stay_unknown(project: Path) -> None:
    write_settings(data__uncertain="ones", data__unmentioned="zeros")
    prepare()
    manifest = pd.read_csv(HERE.manifest, index_col="image_id")
    assert manifest.loc[TRAIN[0], list(LABELS)[:4]].tolist() == [1, 0, 1, 0]
    assert manifest.loc[TEST, list(LABELS)].isna().all(axis=None)


def test_a_colour_store(project: Path) -> None:
    write_settings(image__channels=3)
    prepare()
    store = ImageStore(HERE.prepared)
    assert (store.channels, store.size) == (3, 36)
    assert store.read(np.arange(6)).shape == (6, 3, 36, 36)


JPEG_NAMES = [
    *("images-00000.index.npy", "images-00000.jpegs"),
    *("labels.json", "manifest.csv", "quarantine.csv", "shards.csv", "submission_rows.csv"),
]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_store_of_jpegs_differs_in_nothing_but_its_shards(project: Path, channels: int) -> None:
    write_settings(image__channels=channels)
    prepare()
    raw, as_pixels = outputs(), ImageStore(HERE.prepared).read(np.arange(6))
    write_settings(image__channels=channels, image__codec="jpeg")
    prepare()
    jpeg, as_jpegs = outputs(), ImageStore(HERE.prepared).read(np.arange(6))
    assert list(jpeg) == JPEG_NAMES
    layout = {"store_size": 36, "channels": channels, "shard_size": 4096, "codec": "jpeg"}
    assert json.loads(jpeg["labels.json"])["image"] == layout
    for name in ("quarantine.csv", "submission_rows.csv"):
        assert jpeg[name] == raw[name]
    # The digest is of the bytes in the shards.
    one, other = (pd.read_csv(io.BytesIO(content["manifest.csv"]), dtype=str) for content in (raw, jpeg))
    pd.testing.assert_frame_equal(one.drop(columns="picture"), other.drop(columns="picture"))
    assert one["picture"].nunique() == other["picture"].nunique() == 6
    assert 0 < np.abs(as_jpegs.astype(int) - as_pixels).max() <= 12

    scratch = HERE.scratch / f"prepare/grand_xray_slam-36x{channels}"
    endings = {"".join(path.suffixes) for path in scratch.iterdir()}
    assert endings == {".jpegs", ".index.npy", ".json"}, "the pixels of the first run are not kept"
    write_settings(image__channels=channels, image__codec="raw")
    prepare()
    assert outputs() == raw


def test_the_launcher_makes_jpegs_too(project: Path, project_root: Path) -> None:
    write_settings(image__codec="jpeg")
    prepare()
    expected = outputs()
    shutil.rmtree(HERE.prepared)
    for name in ("src", "stages", "dvc.yaml"):
        Path(name).symlink_to(project_root / name)
    run = subprocess.run(
        [sys.executable, "stages/prepare.py"],
        env=os.environ | {"COUPLET_FRESH": "1", "COUPLET_WORKERS": "2"},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert outputs() == expected


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_running_again_gives_the_same_bytes_without_decoding(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], codec: str
) -> None:
    write_settings(image__codec=codec)
    prepare()
    first = outputs()

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_decode_as_listed", refuse)
        prepare()
    assert outputs() == first
    monkeypatch.setenv("COUPLET_FRESH", "1")
    prepare()
    assert outputs() == first
    monkeypatch.setenv("COUPLET_SCRATCH", "elsewhere")
    prepare()
    assert outputs() == first
    assert str(project.parent) not in capsys.readouterr().out


def test_nothing_that_names_this_machine_is_written(project: Path, tmp_path: Path) -> None:
    (project / "train1" / TRAIN[1]).write_bytes(b"broken")
    scan_source("grand_xray_slam")
    prepare()
    for content in outputs().values():
        assert str(tmp_path).encode() not in content


def break_images(project: Path, *names: str) -> None:
    for name in names:
        path = project / ("train1" if name in TRAIN else "test1") / name
        path.write_bytes(path.read_bytes()[:400])
    scan_source("grand_xray_slam")


def test_unreadable_images_are_quarantined(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_images(project, TEST[0])  # one of six: 0.167 of at most 0.2
    prepare()
    quarantine = pd.read_csv(HERE.quarantine).to_dict("records")
    assert len(quarantine) == 1 and quarantine[0]["reason"].startswith("image file is truncated")
    assert quarantine[0] | {"reason": ""} == {
        "image_id": TEST[0], "part": "test", "path": f"test1/{TEST[0]}", "reason": "",
    }  # fmt: skip
    assert (
        "quarantine: 1 of 6 images cannot be read: test1/00000021_001_001.jpg (image"
        in capsys.readouterr().out
    )
    labels = json.loads(HERE.labels.read_text())
    assert (labels["n_images"], labels["n_quarantined"]) == (5, 1)
    # It is not in the manifest, but the submission still needs its row.
    assert TEST[0] not in read_manifest().ids
    assert HERE.submission_rows.read_text().splitlines()[1:] == [f"{name},{name}" for name in TEST]
    assert ImageStore(HERE.prepared).n_images == 5


def test_too_many_unreadable_images_stop_the_stage(project: Path) -> None:
    prepare()
    before = outputs()
    break_images(project, TRAIN[0], TEST[0])
    message = refused(prepare)
    assert message.startswith(
        "2 of 6 images cannot be read and data.max_unreadable = 0.2 allows 1: "
        "train1/00000007_001_001.jpg (image file is truncated"
    )
    assert "\n" not in message and "couplet scan" in message
    listing = HERE.scratch / "prepare" / "quarantine.csv"
    assert str(listing) in message
    assert pd.read_csv(listing)["image_id"].tolist() == sorted([TRAIN[0], TEST[0]])
    assert outputs() == before  # nothing half-written
    assert not HERE.prepared.with_name("prepared.unfinished").exists()

    write_settings(data__max_unreadable=2 / 6)  # exactly what there is
    prepare()
    assert len(read_manifest().ids) == 4


def test_without_a_single_training_image_it_stops_whatever_is_allowed(project: Path) -> None:
    break_images(project, *TRAIN)
    write_settings(data__max_unreadable=1.0)
    with pytest.raises(
        UserError, match=r"^4 of 6 images cannot be read and no training image is left: train1/"
    ):
        prepare()
    assert not HERE.prepared.exists()


def change_pixels(project: Path) -> str:
    path = project / "train1" / TRAIN[2]
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    return rf"train1/{TRAIN[2]} changed since data/inventory\.json was written: restore it, or run `couplet scan`"


def change_label(project: Path) -> str:
    path = project / "train1.csv"
    path.write_text(path.read_text()[:-2] + "0\n")
    return r"train1\.csv has changed since data/inventory\.json was written"


def add_file(project: Path) -> str:
    draw(project / "train1" / "new.jpg", 5)
    return r"train1/new\.jpg is new since"


def remove_image(project: Path) -> str:
    (project / "test1" / TEST[1]).unlink()
    return rf"test1/{TEST[1]} is gone since"


@pytest.mark.parametrize("change", [change_pixels, change_label, add_file, remove_image])
def test_raw_data_that_is_not_the_inventorys_is_refused(project: Path, change: Callable[[Path], str]) -> None:
    message = change(project)
    with pytest.raises(UserError, match=message):
        prepare()
    assert not HERE.prepared.exists()


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
@pytest.mark.parametrize("stop_after", [1, 2, 3, 5, 6])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int, codec: str
) -> None:
    monkeypatch.setattr("couplet.stages.prepare.SHARD_SIZE", 2)
    write_settings(image__codec=codec)
    prepare()
    straight = outputs()
    assert len([name for name in straight if name.endswith(".npy")]) == 3
    monkeypatch.setenv("COUPLET_SCRATCH", "other_scratch")

    original, seen = packing._decode_as_listed, []

    def stop(*args: Any) -> Any:
        seen.append(args)
        if len(seen) > stop_after:
            raise KeyboardInterrupt
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_decode_as_listed", stop)
        if stop_after < 6:
            with pytest.raises(KeyboardInterrupt):
                prepare()
            assert outputs() == straight  # what was there before is untouched
        else:
            prepare()

    seen.clear()
    monkeypatch.setattr(packing, "_decode_as_listed", lambda *args: (seen.append(args), original(*args))[1])
    prepare()
    assert len(seen) == 6 - stop_after // 2 * 2  # the finished shards of two were kept
    assert outputs() == straight


@pytest.mark.parametrize(
    ("edit", "written"),
    [
        ({"image__store_size": 34}, False),
        ({"image__codec": "jpeg"}, False),
        ({"data__unmentioned": "ones"}, False),
        ({}, True),
    ],
)
def test_settings_edited_meanwhile_write_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, edit: dict[str, Any], written: bool
) -> None:
    """A prepare whose DVC was killed must not write over what a run with other settings has made."""
    monkeypatch.setattr(
        "couplet.stages.prepare.refuse_unreadable", lambda *_: write_settings(image__size=34, **edit)
    )
    if written:
        prepare()
    else:
        with pytest.raises(UserError, match=r"params.yaml changed while prepare ran, so nothing was written"):
            prepare()
    assert HERE.prepared.exists() is written


def test_several_shards_with_a_gap_read_back_right(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("couplet.stages.prepare.SHARD_SIZE", 2)
    break_images(project, sorted([*TRAIN, *TEST])[2])
    prepare()
    table, store = read_manifest(), ImageStore(HERE.prepared)
    assert table.positions.tolist() == [0, 1, 4096, 8192, 8193]
    for image_id, image in zip(table.ids, store.read(table.positions), strict=True):
        part = "train1" if image_id in TRAIN else "test1"
        np.testing.assert_array_equal(image, decode(project / part / image_id, 36, 1)[0])


def test_a_data_set_without_a_submission_of_its_own_lists_its_test_images(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = HERE.raw("csv")
    rows = ["image,part,Edema,Nodule"]
    for i, part in enumerate(["test", "train", "train", "test"]):
        draw(raw / "images" / f"{9 - i}.jpg", i)
        rows.append(f"{9 - i}.jpg,{part},{i % 2},{'' if i == 3 else 1}")
    write_text(raw / "labels.csv", "\n".join(rows) + "\n")
    write_settings(data__source="csv")
    scan_source("csv")
    prepare()
    assert HERE.submission_rows.read_text() == "image_id,image_id\n6.jpg,6.jpg\n9.jpg,9.jpg\n"
    labels = json.loads(HERE.labels.read_text())
    assert (labels["labels"], labels["test_labelled"]) == (["Edema", "Nodule"], True)
    lines = HERE.manifest.read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["6.jpg", "7.jpg", "8.jpg", "9.jpg"]
    assert re.search(r",0,0,[0-9a-f]{16},1,$", lines[1]) and re.search(r",0,3,[0-9a-f]{16},0,1$", lines[4])


def csv_data_set(rows: list[str], **settings: Any) -> Path:
    """labels.csv as given, with a picture of its own for each image; not scanned yet."""
    raw = HERE.raw("csv")
    for i, row in enumerate(rows[1:]):
        draw(raw / "images" / row.split(",")[0], i)
    write_text(raw / "labels.csv", "\n".join(rows) + "\n")
    write_settings(data__source="csv", **settings)
    return raw


def test_a_test_row_that_is_blank_in_every_label_is_hidden_whatever_the_policy(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        "image,patient,part,A,B",
        "0.jpg,p,train,1,0",
        "1.jpg,q,train,,",
        "2.jpg,r,test,,",
        "3.jpg,s,test,1,",
    ]
    csv_data_set(rows, data__unmentioned="zeros")
    scan_source("csv")
    prepare()
    np.testing.assert_array_equal(read_manifest().truth, [[1, 0], [0, 0], [np.nan, np.nan], [1, 0]])
    assert "csv: 4 images, 2 labels, test images without labels: 1\n" in capsys.readouterr().out
    about = json.loads(HERE.labels.read_text())
    assert about["notes"] == {"test_images_without_labels": 1} and about["test_labelled"] is True


def test_files_that_are_the_same_are_counted_and_said(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["image,patient,part,A", "0.jpg,p0,train,0", "1.jpg,p1,train,1", "2.jpg,p2,test,1", "3.jpg,p3,test,0",
            "4.jpg,p1,train,1", "5.jpg,p5,train,0"]  # fmt: skip
    raw = csv_data_set(rows)
    for copy, original in (("2", "0"), ("4", "1"), ("5", "0")):
        shutil.copy(raw / f"images/{original}.jpg", raw / f"images/{copy}.jpg")
    scan_source("csv")
    prepare()
    assert (
        "warning: 5 images are only 2 pictures: the files are identical (first: images/0.jpg and images/2.jpg); of "
        "different patients: 1 picture, in train and in test: 1 picture\n"
    ) in capsys.readouterr().out
    assert json.loads(HERE.labels.read_text())["notes"] == {"images_with_identical_files": 5}
    a, b, c = (read_manifest().pictures[i] for i in (0, 1, 3))
    assert read_manifest().pictures.tolist() == [a, b, a, c, b, a] and len({a, b, c}) == 3


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_a_picture_is_what_is_stored_whatever_its_file_is(project: Path, codec: str) -> None:
    """A copy of another format and size becomes the same bytes in the store; a blank one has no digest."""
    raw = csv_data_set(["image,patient,A", *(f"{i}.png,p{i},{i % 2}" for i in range(6))], image__codec=codec)
    grey = np.random.default_rng(0).integers(0, 256, (36, 36)).astype(np.uint8)
    Image.fromarray(grey).save(raw / "images/0.png", "PNG")
    Image.fromarray(grey).save(raw / "images/1.png", "TIFF")
    Image.fromarray(np.zeros((50, 60), np.uint8)).save(raw / "images/2.png", "PNG")
    Image.fromarray(np.zeros((90, 20), np.uint8)).save(raw / "images/3.png", "PNG")
    (raw / "images/4.png").write_bytes(b"no picture")
    write_settings(data__source="csv", data__max_unreadable=0.5, image__codec=codec)
    scan_source("csv")
    prepare()
    manifest, store = read_manifest(), ImageStore(HERE.prepared)
    first, copy, black, other_black, last = manifest.pictures
    assert manifest.ids.tolist() == ["0.png", "1.png", "2.png", "3.png", "5.png"]
    assert re.fullmatch("[0-9a-f]{16}", first) and copy == first != last
    assert (black, other_black) == ("", "")
    assert (store.read(manifest.positions[:1]) == store.read(manifest.positions[1:2])).all()
    assert json.loads(HERE.labels.read_text())["notes"] == {"blank_images": 2}


def test_empty_files_are_not_the_same_picture() -> None:
    table = pd.DataFrame({"path": ["a", "b", "c"], "patient_id": ["p", "q", "r"], "part": "train"})
    files = [RawImage(name, md5="d41d8cd98f00b204e9800998ecf8427e", size=0) for name in "ab"]
    assert identical_files(table, [*files, RawImage("c", md5="0", size=5)]) == {}


def test_blank_images_are_counted_and_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = csv_data_set(["image,patient,A", *(f"{i}.jpg,p{i},{i % 2}" for i in range(5))])
    for i, value in ((1, 0), (2, 255), (4, 0)):
        Image.fromarray(np.full((20 + i, 30), value, np.uint8)).save(raw / f"images/{i}.jpg", "JPEG")
    scan_source("csv")
    prepare()
    said = (
        "warning: blank images, of one value only: 3 (first: images/1.jpg): nothing is learnt from them, take them "
        "out of the label table\n"
    )
    assert said in capsys.readouterr().out
    assert json.loads(HERE.labels.read_text())["notes"] == {"blank_images": 3}
    assert [picture == "" for picture in read_manifest().pictures] == [False, True, True, False, True]


def test_labels_that_have_one_value_are_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        "image,patient,part,A,B,C,D",
        "0.jpg,p0,train,1,1,0,-1",
        "1.jpg,p1,train,0,,0,",
        "2.jpg,p2,test,0,0,1,1",
    ]
    csv_data_set(rows)
    scan_source("csv")
    prepare()
    said = (
        "warning: labels of one value only, which nothing can be learned of: B (no negative), C (no positive), "
        "D (never known)\n"
    )
    assert said in capsys.readouterr().out
    write_settings(data__source="csv", data__unmentioned="zeros", data__uncertain="ones")
    prepare()
    assert (
        "warning: labels of one value only, which nothing can be learned of: C (no positive)\n"
        in capsys.readouterr().out
    )


def test_columns_of_groups_reach_the_manifest(project: Path) -> None:
    rows = ["image,patient,device,A", "0.jpg,p0,07,1", "1.jpg,p1,7,0", "2.jpg,p2,,1"]
    csv_data_set(rows, data__source_args={"group_columns": ["device"]})
    scan_source("csv")
    prepare()
    manifest = read_manifest()
    assert manifest.group_columns == ("device",) and manifest.labels == ["A"]
    assert manifest.table["device"].tolist() == ["07", "7", ""]
    refuse_unknown_groups(manifest, ["device", "width"])
    with pytest.raises(UserError, match="name some of device, width, height, keep more columns"):
        refuse_unknown_groups(manifest, ["shard"])
    write_settings(data__source="csv")
    prepare()
    assert "device" not in read_manifest().table
    assert "group_columns" not in json.loads(HERE.labels.read_text())


def test_the_real_x_rays(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("COUPLET_DATA_ROOT", "COUPLET_SCRATCH"):
        monkeypatch.delenv(variable, raising=False)
    raw = HERE.raw("nih")
    raw.mkdir(parents=True)
    source = shared_data / "nih_cxr14"
    table = pd.read_csv(source / "labels.csv", dtype=str, keep_default_na=False).head(40)
    table.to_csv(raw / "labels.csv", index=False)
    (raw / "images").mkdir()
    for name in table["Image Index"]:
        (raw / "images" / name).write_bytes((source / "images" / name).read_bytes())
    write_settings(data__source="nih", image__size=128, image__store_size=144)
    scan_source("nih")
    prepare()
    manifest = read_manifest()
    assert len(manifest.ids) == 40 and (manifest.table[["width", "height"]] == 256).all(axis=None)
    images = ImageStore(HERE.prepared).read(manifest.positions)
    assert images.shape == (40, 1, 144, 144) and (images.std(axis=(1, 2, 3)) > 10).all()


def test_the_stage_never_imports_torch() -> None:
    code = "import sys, couplet.stages.prepare; print(sorted(m for m in ('torch', 'timm', 'torchvision') if m in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.fixture
def covid(shared_data: Path, project: Path) -> Path:
    """Copies of 53 odd real X-ray files: links would leave the data folder."""
    raw = HERE.raw("csv")
    shutil.copytree(shared_data / "covid_cxr", raw)
    write_settings(data__source="csv", data__max_unreadable=0.0)
    return raw


def test_odd_real_files_all_go_through(covid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PNGs named .jpg, RGBA although grey, upper-case extensions, up to 4000 pixels: nothing is quarantined."""
    scan_source("csv")
    prepare()
    assert (
        "labels.csv: columns that are not read: offset, finding, license\n"
        "warning: labels of one value only, which nothing can be learned of: SARS (no positive), "
        "Varicella (no positive), Streptococcus (no positive), Mycoplasma (no positive), E.Coli (no positive), "
        "Chlamydophila (no positive), Lipoid Pneumonia (no positive)\n"
        "csv: 53 images, 18 labels, repeated rows: 5\n"
    ) in capsys.readouterr().out
    labels = json.loads(HERE.labels.read_text())
    assert (labels["n_images"], labels["n_quarantined"], labels["notes"]) == (53, 0, {"repeated_rows": 5})
    table, store = read_manifest(), ImageStore(HERE.prepared)
    odd = {"another format than its name": 0, "RGBA": 0, "upper case": 0}
    for image_id, row in table.table.set_index("image_id").iterrows():
        with Image.open(covid / "images" / str(image_id)) as image:
            ending = str(image_id).rsplit(".", 1)[1]
            odd["another format than its name"] += image.format == "PNG" and ending.lower() in ("jpg", "jpeg")
            odd["RGBA"] += image.mode == "RGBA"
            odd["upper case"] += ending != ending.lower()
            assert {row["width"], row["height"]} == set(image.size)
    assert odd["RGBA"] == 20 and odd["another format than its name"] > 0 and odd["upper case"] > 0
    assert (store.read(table.positions).std(axis=(1, 2, 3)) > 5).all()  # pictures, not blanks


def test_a_missing_real_file_is_named_before_anything_is_decoded(covid: Path) -> None:
    (covid / "images" / "16745_2_1.PNG").unlink()
    scan_source("csv")
    with pytest.raises(
        UserError,
        match=r"labels.csv, row \d+, column 'filename': images/16745_2_1.PNG is not in .*: put the file",
    ):
        prepare()
    assert not HERE.prepared.exists()
