"""DICOM through `couplet predict`: what suits, whose it is, and that nothing of the person comes out."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from couplet.predicting import parts, rendered
from tests.support.in_process import InProcessProject

pydicom = pytest.importorskip("pydicom")

from pydicom.datadict import DicomDictionary  # noqa: E402

from tests.images.test_dicom_files import mutated, path_of  # noqa: E402
from tests.support.dicoms import dicom  # noqa: E402

# Text that people write; codes (CS), dates, numbers and UIDs have values of their own.
TEXT = {"PN", "LO", "SH", "LT", "ST", "UT", "UC", "AE"}
STUDY = "1.2.826.0.1.77777777"


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (44, 40)).astype(np.uint8)


def folder_of(project: InProcessProject, **files: bytes) -> Path:
    folder = project.folder / "new"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def table(project: InProcessProject, path: str = "predictions.csv") -> pd.DataFrame:
    return pd.read_csv(project.folder / path, dtype=str, keep_default_na=False)


def test_dicom_gets_the_numbers_of_a_png_of_the_same_pixels(project: InProcessProject) -> None:
    png = io.BytesIO()
    Image.fromarray(pixels(1)).save(png, "PNG")
    folder_of(project, **{"a.dcm": dicom(pixels(1)), "a.png": png.getvalue(), "without": dicom(pixels(1))})
    assert project.run("predict", "new").code == 0
    values = table(project).drop(columns="image_id")
    assert values.iloc[0].tolist() == values.iloc[1].tolist() == values.iloc[2].tolist()


def test_pictures_of_another_kind_have_a_reason_and_numbers_if_they_are_asked_for(
    project: InProcessProject,
) -> None:
    folder_of(project, **{"ct.dcm": dicom(pixels(1), Modality="CT"), "ok.dcm": dicom(pixels(1))})
    done = project.run("predict", "new")
    assert (done.code, done.out[-1]) == (3, "predictions.csv: 2 rows, 1 ok, 1 unsuitable")
    found = table(project)
    assert found.iloc[0].tolist() == ["ct.dcm", "unsuitable", "modality CT", "", "", ""]
    assert project.run("predict", "new", "--unsuitable", "predict").code == 3
    asked = table(project)
    assert asked.iloc[0, :3].tolist() == ["ct.dcm", "unsuitable", "modality CT"]
    assert asked.iloc[0, 3:].tolist() == asked.iloc[1, 3:].tolist() == found.iloc[1, 3:].tolist()


def test_the_header_says_the_view_of_the_sets(project: InProcessProject) -> None:
    names = {f"{view}.dcm": dicom(pixels(1), ViewPosition=view) for view in ("AP", "PA", "LL")}
    folder_of(project, **names, **{"no.dcm": dicom(pixels(1))})
    assert project.run("predict", "new", "--out", "p.json").code == 3
    images = {
        image["image_id"]: image for image in json.loads((project.folder / "p.json").read_text())["images"]
    }
    assert images["LL.dcm"]["reason"] == "a lateral view, the model has seen frontal ones only"
    assert [images[name]["facts"]["view"] for name in ("AP.dcm", "PA.dcm", "no.dcm")] == ["AP", "PA", None]
    decided = {
        name: [cell["decision"] for cell in images[name]["labels"].values()] for name in ("AP.dcm", "no.dcm")
    }
    assert decided["no.dcm"] == [2, 2, 2]
    # The view that is named is that of files that say none; AP stays AP.
    assert project.run("predict", "new", "--view", "AP", "--out", "p.json").code == 3
    named = {
        image["image_id"]: image for image in json.loads((project.folder / "p.json").read_text())["images"]
    }
    assert [cell["decision"] for cell in named["no.dcm"]["labels"].values()] == decided["AP.dcm"]


def test_a_stream_that_ends_its_decoder_costs_one_row(project: InProcessProject) -> None:
    """The 43rd of the damaged streams of `damage`: an uncaught exception of gdcm 3.2.6 ends its process."""
    whole = path_of("SC_rgb_jpeg_gdcm").read_bytes()
    stream = pydicom.encaps.get_frame(pydicom.dcmread(io.BytesIO(whole)).PixelData, 0, number_of_frames=1)
    draws = np.random.default_rng(15)
    spoilt = [mutated(stream, draws) for _ in range(43)][-1].ljust(len(stream), b"\0")
    folder_of(project, **{"a.dcm": whole.replace(stream, spoilt), "b.dcm": whole, "c.dcm": dicom(pixels(1))})
    done = project.run("predict", "new")
    assert (done.code, done.err) == (3, [])
    assert done.out[-1] == "predictions.csv: 3 rows, 2 ok, 1 unreadable"
    found = table(project)
    assert found["status"].tolist() == ["unreadable", "ok", "ok"]
    assert found["reason"].tolist() == ["the decoder crashed", "", ""]
    assert project.run("predict", "new/b.dcm", "new/c.dcm", "--out", "alone.csv").code == 0
    assert table(project, "alone.csv").to_numpy().tolist() == found.iloc[1:].to_numpy().tolist()


def test_what_is_known_of_the_models_own_pictures_is_said_once_where_there_is_dicom(
    project: InProcessProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    png = io.BytesIO()
    Image.fromarray(pixels(1)).save(png, "PNG")
    folder = folder_of(
        project, **{f"{i}.dcm": dicom(pixels(i)) for i in range(3)}, **{"a.png": png.getvalue()}
    )

    def said(*arguments: str) -> list[str]:
        done = project.run("predict", *arguments)
        assert done.code == 0, done
        return [line for line in done.out if "image.dicom" in line]

    assert said("new") == []  # of a table of one's own nothing is known
    assert project.run("export").code == 0
    bundle = project.folder / "data/bundle/config.json"
    guess = (
        "DICOM is shown by image.dicom = voi, which is a guess: nobody says how the pictures of grand_xray_slam were "
        "made, and the model may do worse on DICOM than on those"
    )
    other = (
        "DICOM is shown by image.dicom = voi, and the released pictures of chexpert were made by equalize: a model that "
        "was trained on those needs image.dicom = equalize"
    )
    for source, lines in (
        ("grand_xray_slam", [guess]),
        ("chexpert", [other]),
        ("nih", []),
        ("vindr_cxr", []),
    ):
        bundle.write_text(json.dumps(json.loads(bundle.read_text()) | {"source": source}))
        assert said("new", "--model", "data/bundle") == lines
        assert said("new/a.png", "--model", "data/bundle") == []
    monkeypatch.setattr(rendered, "NOT_SAID", ("csv",))
    monkeypatch.setattr(parts.write_parts, "__defaults__", (2,))
    assert said(*map(str, sorted(folder.iterdir())), "--out", "parts") == [
        guess.replace("grand_xray_slam", "csv")
    ]


def test_a_row_per_study_is_the_mean_of_its_images(project: InProcessProject) -> None:
    files = {
        f"{i}.dcm": dicom(pixels(i), StudyInstanceUID=f"{STUDY}.{study}") for i, study in enumerate((1, 2, 1))
    }
    folder_of(project, **files)
    assert project.run("predict", "new", "--out", "images.csv").code == 0
    assert project.run("predict", "new", "--by", "study", "--out", "studies.csv").code == 0
    images, studies = table(project, "images.csv"), table(project, "studies.csv")
    assert studies.columns[0] == "study_id" and studies["status"].tolist() == ["ok", "ok"]
    labels = images.columns[3:]
    of_images = images[labels].to_numpy(float)
    expected = [(of_images[0] + of_images[2]) / 2, of_images[1]]
    np.testing.assert_allclose(studies[labels].to_numpy(float), expected, rtol=0, atol=1e-9)
    assert STUDY not in (project.folder / "studies.csv").read_text()
    assert not (project.folder / "studies.decisions.csv").exists()


def test_nothing_that_a_header_says_of_people_is_in_any_output(project: InProcessProject) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        marked = {
            keyword: f"MARK{number}"
            for number, (tag, (vr, vm, _, retired, keyword)) in enumerate(DicomDictionary.items())
            if vr in TEXT and vm.startswith("1") and keyword and not retired and tag >> 16 > 2
        }
        dates = {"PatientBirthDate": "19010203", "StudyDate": "19010203", "AcquisitionDate": "19010203"}
        content = dicom(pixels(1), StudyInstanceUID=f"{STUDY}.1", **marked, **dates)
    assert len(marked) > 500 and content.count(b"MARK") >= len(marked)
    folder_of(
        project, **{"MARKname.dcm": content, "MARKct.dcm": content.replace(b"CS\x02\x00DX", b"CS\x02\x00CT")}
    )
    options = ("--id", "digest", "--maps", "maps", "--overlay", "--html", "page.html")
    printed = []
    for out in ("p.csv", "p.json", "p.jsonl", "s.json"):
        by = ("--by", "study") if out == "s.json" else ()
        done = project.run("predict", "new", "--out", out, *by, *options)
        assert done.code == 3, done
        printed += [*done.out, *done.err]
    written = [path for name in ("p.*", "s.*", "page.html", "maps/*") for path in project.folder.glob(name)]
    assert len(written) >= 8
    for mark in (b"MARK", b"19010203", STUDY.encode()):
        assert [path.name for path in written if mark in path.read_bytes()] == []
        assert not any(mark.decode() in line for line in printed)
