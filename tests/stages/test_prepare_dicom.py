"""DICOM through `prepare`: the store, the manifest, the quarantine, and what is done again when."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from pydicom.datadict import dictionary_keyword, dictionary_VR
from pydicom.dataset import Dataset

from couplet.datasets.inventory import scan_source
from couplet.datasets.mimic_cxr_jpg import LABELS as MIMIC_LABELS
from couplet.datasets.registry import ADAPTERS, body_parts
from couplet.images.decoding import dicom_version, packing
from couplet.images.decoding.picture import CHEST, MissingExtra
from couplet.images.loading.store import ImageStore
from couplet.project.files import write_text
from couplet.project.project import HERE, Project
from couplet.results.model_record import trained_params
from couplet.settings.params import Params
from couplet.settings.presets import load_preset, params_yaml
from couplet.settings.schema.plugins import SOURCES
from couplet.stages.prepare import prepare
from tests.support.dicoms import dicom
from tests.support.errors import refused
from tests.support.params import params_with, set_dotted

Table = Callable[..., None]


def settings(**changes: Any) -> None:
    small = {"data.source": "csv", "data.max_unreadable": 0.9, "image.size": 32, "image.store_size": 36, "model.pretrained": False}  # fmt: skip
    write_text(
        HERE.params, params_yaml(params_with(small | {k.replace("__", "."): v for k, v in changes.items()}))
    )


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """table({name: content}) makes a csv data set of these files, scanned; views are those of the table."""
    monkeypatch.chdir(tmp_path)
    for variable in ("COUPLET_DATA_ROOT", "COUPLET_SCRATCH", "COUPLET_WORKERS", "COUPLET_FRESH"):
        monkeypatch.delenv(variable, raising=False)
    settings()
    raw = HERE.raw("csv")
    (raw / "images").mkdir(parents=True)

    def make(files: dict[str, bytes], views: dict[str, str] | None = None) -> None:
        for name, content in files.items():
            (raw / "images" / name).write_bytes(content)
        rows = [
            f"{name},{i},{(views or {}).get(name, '')},{i % 2},{i % 3 % 2}" for i, name in enumerate(files)
        ]
        write_text(raw / "labels.csv", "\n".join(["image,patient,view,Mass,Edema", *rows]) + "\n")
        scan_source("csv")

    return make


def films(n: int, dtype: Any = np.uint8) -> list[np.ndarray]:
    draws = np.random.default_rng(0)
    return [draws.integers(0, np.iinfo(dtype).max, (50 + i, 40)).astype(dtype) for i in range(n)]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def shards() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(HERE.prepared.glob("images-*"))}


def manifest() -> pd.DataFrame:
    return pd.read_csv(HERE.manifest, dtype=str, keep_default_na=False).set_index("image_id")


def quarantine() -> dict[str, str]:
    listed = pd.read_csv(HERE.quarantine, dtype=str, keep_default_na=False)
    return dict(zip(listed["image_id"], listed["reason"], strict=True))


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_a_store_of_dicom_files_is_that_of_pngs_of_the_same_pixels(table: Table, codec: str) -> None:
    settings(image__codec=codec)
    pixels = films(6)
    table({f"{i}.png": png(film) for i, film in enumerate(pixels)})
    prepare()
    expected, sizes = shards(), manifest()[["width", "height", "picture"]].to_numpy().tolist()
    # One of them keeps its wrong name: files are told by their content.
    names = [f"{i}.{'png' if i == 2 else 'dcm'}" for i in range(6)]
    table({name: dicom(film) for name, film in zip(names, pixels, strict=True)})
    prepare()
    assert shards() == expected
    assert manifest()[["width", "height", "picture"]].to_numpy().tolist() == sizes


def test_the_view_is_the_tags_where_the_table_has_none(table: Table) -> None:
    pixels = films(5)
    positions = ["PA", "AP", "LL", "LLD", ""]
    files = {
        f"{i}.dcm": dicom(film, ViewPosition=p)
        for i, (film, p) in enumerate(zip(pixels, positions, strict=True))
    }
    table(files, {"0.dcm": "AP"})
    prepare()
    assert manifest()["view"].to_dict() == {
        "0.dcm": "AP",
        "1.dcm": "AP",
        "2.dcm": "LL",
        "3.dcm": "",
        "4.dcm": "",
    }


def test_what_cannot_be_read_or_does_not_suit_is_quarantined(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = films(6)
    table(
        {
            "0.dcm": dicom(pixels[0]),
            "1.dcm": dicom(pixels[1], Columns=41),
            "2.dcm": dicom(pixels[2], Modality="CT"),
            "3.dcm": dicom(pixels[3], BodyPartExamined="HAND"),
            "4.dcm": dicom(pixels[4])[132:],
            "5.png": png(pixels[5]),
        }
    )
    prepare()
    assert quarantine() == {
        "1.dcm": "the pixel data has 2040 bytes, 2091 are needed",
        "2.dcm": "modality CT",
        "4.dcm": "no DICOM preamble: rewrite the file with dcmconv",
    }
    assert list(manifest().index) == ["0.dcm", "3.dcm", "5.png"]  # a table of one's own may be of hands
    assert "quarantine: 3 of 6 images cannot be read" in capsys.readouterr().out
    assert body_parts("csv") is None


def test_sets_of_chest_films_hold_no_others() -> None:
    assert set(SOURCES.names()) == set(ADAPTERS)
    assert {source for source in SOURCES.names() if body_parts(source) is None} == {"csv", "coco"}
    assert body_parts("mimic_cxr_jpg") == body_parts("combined", "nih", "mimic_cxr_jpg") == CHEST
    assert body_parts("combined", "nih", "csv") is None


def test_burned_in_text_is_counted_and_said(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    table(
        {f"{i}.dcm": dicom(film, BurnedInAnnotation="YES" if i else "NO") for i, film in enumerate(films(3))}
    )
    prepare()
    assert "2 images have text in their pixels (BurnedInAnnotation)" in capsys.readouterr().out
    assert '"images_with_burned_in_text": 2' in HERE.labels.read_text()


# --- what is done again -----------------------------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    original = packing._decode_as_listed

    def count(*arguments: Any) -> Any:
        names.append(Path(arguments[-1].path).name)
        return original(*arguments)

    monkeypatch.setattr(packing, "_decode_as_listed", count)
    return names


def two_shards(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of two: PNG, PNG | a picture of 12 bits, and one that is refused."""
    monkeypatch.setattr("couplet.stages.prepare.SHARD_SIZE", 2)
    pixels, wide = films(2), films(2, np.uint16)
    files = {"0.png": png(pixels[0]), "1.png": png(pixels[1]), "2.dcm": dicom(wide[0] >> 4, 12), "3.dcm": dicom(wide[1], Modality="CT")}  # fmt: skip
    table(files)
    prepare()


def test_another_rendering_decodes_the_shards_with_dicom_and_no_others(
    table: Table, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    two_shards(table, monkeypatch)
    before = shards()
    decoded.clear()
    settings(image__dicom="equalize")
    prepare()
    assert decoded == ["2.dcm", "3.dcm"]
    after = shards()
    assert after["images-00000.npy"] == before["images-00000.npy"]
    assert after["images-00001.npy"] != before["images-00001.npy"]
    decoded.clear()
    prepare()
    assert decoded == []
    equalized = ImageStore(HERE.prepared).read(np.array([4096]))
    assert abs(float(equalized.mean()) - 127.5) < 4


def test_another_decoder_decodes_the_shards_with_dicom_and_no_others(
    table: Table, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    two_shards(table, monkeypatch)
    before = shards()
    decoded.clear()
    monkeypatch.setattr(dicom_version, "version", lambda _: "another")
    prepare()
    assert decoded == ["2.dcm", "3.dcm"]
    assert shards() == before
    decoded.clear()
    prepare()
    assert decoded == []


def test_a_shard_of_refused_dicom_alone_is_decoded_again_too(
    table: Table, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    monkeypatch.setattr("couplet.stages.prepare.SHARD_SIZE", 1)
    table({"0.png": png(films(1)[0]), "1.dcm": dicom(films(1)[0], Modality="CT")})
    prepare()
    decoded.clear()
    monkeypatch.setattr(dicom_version, "version", lambda _: "another")
    prepare()
    assert decoded == ["1.dcm"]


SCRIPT = """
import sys
from couplet.images.decoding import packing
from couplet.stages.prepare import prepare
import couplet.stages.prepare as stage
stage.SHARD_SIZE = 2
original = packing._decode_as_listed
def slow(*arguments):
    print(arguments[-1].path, flush=True)
    if arguments[-1].path.endswith("5.dcm"):
        sys.stdin.read()
    return original(*arguments)
packing._decode_as_listed = slow
prepare()
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    table: Table, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    """Compressed films, so that the killed process has a helper, which must not stay behind."""
    monkeypatch.setattr("couplet.stages.prepare.SHARD_SIZE", 2)
    files = {}
    for i, film in enumerate(films(8)):
        file = io.BytesIO()
        Image.fromarray(film).save(file, "JPEG", quality=90)
        height, width = film.shape
        files[f"{i}.dcm"] = dicom(file.getvalue(), 8, "1.2.840.10008.1.2.4.50", Rows=height, Columns=width)
    table(files)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"COUPLET_WORKERS": "1"},
    )  # fmt: skip
    assert process.stdout is not None and process.stdin is not None
    for line in process.stdout:
        if line.rstrip().endswith("5.dcm"):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not HERE.prepared.exists()
    monkeypatch.setenv("COUPLET_WORKERS", "1")
    prepare()
    assert sorted(decoded) == [f"{i}.dcm" for i in range(4, 8)]
    resumed = shards()
    monkeypatch.setenv("COUPLET_SCRATCH", "elsewhere")
    monkeypatch.setenv("COUPLET_WORKERS", "3")
    prepare()
    assert shards() == resumed and len(decoded) == 12


def test_dicom_of_mimic_becomes_what_the_release_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project_root: Path
) -> None:
    """As its makers write: stretched, rounded down to 8 bits, MONOCHROME1 inverted, equalised as OpenCV does it."""
    monkeypatch.chdir(tmp_path)
    preset = load_preset("mimic_cxr_jpg", Project(project_root))
    assert (preset.image.dicom, preset.data.unmentioned) == ("equalize", "zeros")
    assert load_preset("chexpert", Project(project_root)).image.dicom == "equalize"
    small = {
        "image.size": 32,
        "image.store_size": 36,
        "image.codec": "raw",
        "model.pretrained": False,
        "data.source_args": {"files": "dcm"},
    }
    params = Params.model_validate(set_dotted(preset.as_dict(), small))
    write_text(HERE.params, params_yaml(params))
    raw, draws = HERE.raw("mimic_cxr_jpg"), np.random.default_rng(0)
    y, x = np.mgrid[0:36, 0:36]
    studies, split, metadata, expected = [], [], [], []
    for i in range(4):
        stored = (1000 + 40 * y + 9 * i * x + draws.integers(0, 50, (36, 36))).astype(np.uint16)
        photometric = f"MONOCHROME{1 + i % 2}"
        folder = raw / f"files/p10/p1000000{i}/s5000000{i}"
        folder.mkdir(parents=True)
        content = dicom(stored, 12, PhotometricInterpretation=photometric, WindowCenter=2000, WindowWidth=500)
        (folder / f"film{i}.dcm").write_bytes(content)
        studies.append(f"1000000{i},5000000{i},{i % 2}{',' * 13}")
        split.append(f"film{i},5000000{i},1000000{i},train")
        metadata.append(f"film{i},1000000{i},5000000{i},AP")
        values = stored.astype(float) - stored.min()
        eight = (values / values.max() * 255).astype(np.uint8)
        if photometric == "MONOCHROME1":
            eight = 255 - eight
        histogram = np.bincount(eight.ravel(), minlength=256)
        lowest = int(np.flatnonzero(histogram)[0])
        sums, n = np.cumsum(histogram), eight.size - histogram[lowest]
        expected.append(np.rint((sums - histogram[lowest]).clip(0) * 255 / n).astype(np.uint8)[eight])
    for name, head, rows in (
        ("chexpert", f"subject_id,study_id,{','.join(MIMIC_LABELS)}", studies),
        ("split", "dicom_id,study_id,subject_id,split", split),
        ("metadata", "dicom_id,subject_id,study_id,ViewPosition", metadata),
    ):
        write_text(raw / f"mimic-cxr-2.0.0-{name}.csv", "\n".join([head, *rows]) + "\n")
    scan_source("mimic_cxr_jpg")
    prepare()
    found = manifest()
    store = ImageStore(HERE.prepared).read(np.arange(4))
    assert found.index.tolist() == [f"film{i}" for i in range(4)] and found["view"].tolist() == ["AP"] * 4
    for i in range(4):
        assert np.array_equal(store[i, 0], expected[i]), i


def test_a_model_records_the_rendering_and_follows_from_it(project_root: Path) -> None:
    params = params_with({"image.dicom": "equalize", "image.size": 32})
    assert trained_params(params)["image"] == {"size": 32, "dicom": "equalize"}
    stages = yaml.safe_load((project_root / "dvc.yaml").read_text())["stages"]
    assert "image.dicom" in stages["prepare"]["params"]
    assert "image.dicom" in stages["train_fold"]["do"]["params"]


# --- what is missing --------------------------------------------------------------------------------------------


def test_without_the_extra_prepare_stops_and_says_what_to_install(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: Any, **__: Any) -> None:
        raise MissingExtra('DICOM needs pydicom: pip install "couplet[dicom]"')

    table({"0.png": png(films(1)[0]), "1.dcm": dicom(films(1)[0])})
    monkeypatch.setattr("couplet.images.decoding.dicom.read_dicom", absent)
    message = refused(prepare)
    assert message.endswith('images/1.dcm: DICOM needs pydicom: pip install "couplet[dicom]"')
    assert not HERE.prepared.exists()


# --- privacy ----------------------------------------------------------------------------------------------------

MARKER = "Marker7f3"
# What the standard fills with a word of its own, and what identifies the file.
MEANT = {"SOPClassUID", "SOPInstanceUID", "Modality", "PhotometricInterpretation", "PixelData"}


def marked(pixels: np.ndarray, **tags: Any) -> bytes:
    """A file in which every tag of text of the whole dictionary holds the marker, those of its sequences too."""
    from pydicom._dicom_dict import DicomDictionary

    values = {"DA": "20010203", "TM": "112233", "DT": "20010203112233", "AS": "077Y", "UI": "1.2.826.77777"}
    text = {*("LO", "SH", "ST", "LT", "UT", "PN", "CS", "AE", "UC", "UR"), *values}
    filled: dict[str, Any] = {}
    for tag in DicomDictionary:
        if tag >> 16 not in (0, 2, 4) and dictionary_VR(tag) in text and (name := dictionary_keyword(tag)):
            filled[name] = values.get(dictionary_VR(tag), MARKER)
    item = Dataset()
    item.PatientName = item.PatientComments = MARKER
    filled |= {"OtherPatientIDsSequence": [item], "SpecificCharacterSet": "ISO_IR 100"}
    return dicom(pixels, **({k: v for k, v in filled.items() if k not in MEANT} | tags))


SECRETS = [MARKER.encode(), b"20010203", b"112233", b"077Y", b"1.2.826.77777"]


def test_nothing_that_a_header_says_of_people_is_written(
    table: Table, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = marked(films(1)[0])
    assert content.count(MARKER.encode()) > 1500
    files = {f"{i}.dcm": marked(film, PresentationLUTShape="") for i, film in enumerate(films(3))}
    files["3.dcm"] = marked(films(1)[0], Modality="XA")
    files["4.dcm"] = marked(films(1)[0], Modality=MARKER)
    files["5.dcm"] = marked(films(1)[0], PhotometricInterpretation=MARKER)
    files["6.dcm"] = marked(films(1)[0])[:900]
    files["7.dcm"] = marked(films(1)[0], Columns=4000)
    files["8.png"] = png(films(2)[1])
    table(files)
    prepare()
    assert set(quarantine()) == {f"{i}.dcm" for i in range(3, 8)}
    written = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and HERE.raw("csv").resolve() not in path.parents
    ]
    assert len(written) > 8
    said = "".join(capfd.readouterr()).encode()
    for secret in SECRETS:
        assert secret not in said
        for path in written:
            assert secret not in path.read_bytes(), (path, secret)


def test_tags_of_patients_are_never_in_memory() -> None:
    from couplet.images.decoding.dicom_header import read_header

    header, _ = read_header(marked(films(1)[0]), with_study=False)
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "InstitutionName", "StudyInstanceUID", "OtherPatientIDsSequence"):  # fmt: skip
        assert name not in header
