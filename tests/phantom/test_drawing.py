"""The drawn data set: its layout, its statistics, its bytes, and that each finding shows where it belongs."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from couplet.datasets.grand_xray_slam import LABELS
from couplet.datasets.inventory import scan
from couplet.datasets.phantom import draw_missing
from couplet.phantom import drawing as phantom
from couplet.phantom.cohort import PREVALENCE, draw_cohort
from couplet.phantom.drawing import draw_image, draw_phantom
from couplet.project.errors import UserError
from couplet.project.files import read_json
from couplet.project.project import HERE
from couplet.settings.params import load_params

SEEDS = range(12)
COLUMNS = ["Image_name", "Patient_ID", "Study", "Sex", "Age", "ViewCategory", "ViewPosition", *LABELS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "phantom"
    draw_phantom(folder, n_patients=60, size=48)
    return folder


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / name, dtype=str, keep_default_na=False)


def test_layout_is_that_of_grand_xray_slam(folder: Path) -> None:
    train, test = table(folder, "train2.csv"), table(folder, "test2.csv")
    assert list(train.columns) == COLUMNS and list(test.columns) == COLUMNS
    for part, rows in (("train2", train), ("test2", test)):
        assert sorted(rows["Image_name"]) == sorted(path.name for path in (folder / part).iterdir())
    assert train["Image_name"].str.fullmatch(r"\d{8}_\d{3}_\d{3}\.jpg").all()
    assert (train["Image_name"].str[:8].astype(int) == train["Patient_ID"].astype(int)).all()
    assert not set(train["Patient_ID"]) & set(test["Patient_ID"])
    assert set(train["ViewPosition"]) == {"PA", "AP", "Lateral"}
    with Image.open(folder / "train2" / train["Image_name"][0]) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "L", (48, 48))


def test_the_sample_submission_lists_the_test_images_in_no_order(folder: Path) -> None:
    sample, test = table(folder, "sample_submission_2.csv"), table(folder, "test2.csv")
    assert list(sample.columns) == ["Image_name", *LABELS]
    assert sorted(sample["Image_name"]) == sorted(test["Image_name"])
    assert list(sample["Image_name"]) != sorted(sample["Image_name"])


def test_views_of_a_study_share_their_labels(folder: Path) -> None:
    train = table(folder, "train2.csv")
    views = train.groupby(["Patient_ID", "Study"])
    assert (views[list(LABELS)].nunique() == 1).all().all()
    assert (views.size() > 1).mean() > 0.3  # splitting by image would leak


def test_two_drawings_have_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    draw_phantom(tmp_path / "again", n_patients=60, size=48)
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(files) > 100
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


def test_helpers_draw_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom, "WORTH_HELPERS", 0)
    for processes in (1, 3):
        monkeypatch.setattr(phantom, "_processes", lambda processes=processes: processes)
        draw_phantom(tmp_path / str(processes), n_patients=20, size=32)
    one, three = (
        {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.*"))}
        for root in (tmp_path / "1", tmp_path / "3")
    )
    assert len(one) > 40 and one == three


def test_a_helper_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    parent = os.getpid()

    def broken(*_: object) -> bytes:
        if os.getpid() != parent:
            raise MemoryError
        return b""

    monkeypatch.setattr(phantom, "WORTH_HELPERS", 0)
    monkeypatch.setattr(phantom, "_processes", lambda: 2)
    monkeypatch.setattr(phantom, "_jpeg", broken)
    with pytest.raises(UserError, match="a process that drew the phantom ended early"):
        draw_phantom(tmp_path / "phantom", n_patients=20, size=32)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_has_the_same_bytes_on_every_machine() -> None:
    """One picture stands for all: `prepare` checks every file against data/inventory.json."""
    picture = draw_image(frozenset({"Cardiomegaly", "Edema"}), "PA", seed=3, size=64)
    assert hashlib.sha256(picture.tobytes()).hexdigest() == PICTURE_SHA256


PICTURE_SHA256 = "eedba3bdf4bd22ec21c03dd043524899439952486981cd49ab95ab73ce0e4da8"


def test_the_whole_drawing_is_that_of_the_committed_inventory(project_root: Path, tmp_path: Path) -> None:
    """A change of the drawing needs `couplet scan`, or the first `dvc repro` of a fresh clone is refused."""
    draw_missing(tmp_path / "phantom", load_params(project_root / HERE.params).data.source_args)
    assert scan("phantom", tmp_path / "phantom").summary == read_json(project_root / HERE.inventory)


def test_a_folder_with_files_is_never_drawn_over(folder: Path) -> None:
    with pytest.raises(UserError, match="is not empty: remove it to have the phantom drawn again"):
        draw_phantom(folder)


def test_prevalences_and_companions_are_like_division_bs() -> None:
    studies = [study for patient in draw_cohort(4000, seed=7) for study in patient.studies]
    present = pd.DataFrame(
        [[label in study.positives for label in LABELS] for study in studies], columns=LABELS
    )
    weights = np.array([len(study.views) for study in studies])
    share = present.mul(weights, axis=0).sum() / weights.sum()
    for label in LABELS:
        assert share[label] == pytest.approx(PREVALENCE[label], abs=0.05), label
    correlation = present.astype(float).corr()
    for pair in (
        ("Pleural Effusion", "Atelectasis"),
        ("Cardiomegaly", "Edema"),
        ("Pneumonia", "Consolidation"),
        ("Fracture", "Pneumothorax"),
        ("Consolidation", "Lung Opacity"),
        ("Support Devices", "Pleural Effusion"),
    ):
        assert correlation.loc[pair] > 0.1, pair
    pathology = present.drop(columns=["No Finding", "Support Devices"])
    assert (present["No Finding"] == ~pathology.any(axis=1)).all()
    assert present.loc[present["No Finding"], "Support Devices"].mean() > 0.05


def pair(finding: str, seed: int, view: str = "PA", size: int = 112) -> tuple[np.ndarray, np.ndarray]:
    """The same person with and without one finding, in [0, 1]."""
    present = draw_image(frozenset({finding}), view, seed, size).astype(float) / 255
    return present, draw_image(frozenset(), view, seed, size).astype(float) / 255


@pytest.mark.parametrize("finding", [label for label in LABELS if label != "No Finding"])
@pytest.mark.parametrize("view", ["PA", "AP", "Lateral"])
def test_every_finding_shows_in_every_view(finding: str, view: str) -> None:
    """Also at the 56 pixels of the phantom preset: several pixels differ by more than the film's grain."""
    visible = [np.abs(np.subtract(*pair(finding, seed, view, 56))) > 0.05 for seed in SEEDS]
    seen = [v.sum() >= 4 for v in visible]
    # A broken rib and a pleural plaque hide behind the other side in a lateral view more often than not.
    assert np.mean(seen) >= (0.5 if view == "Lateral" else 0.9), np.array([v.sum() for v in visible])


def test_no_finding_changes_nothing() -> None:
    present, healthy = pair("No Finding", 1)
    assert np.array_equal(present, healthy)


def heart_width(picture: np.ndarray) -> float:
    """Share of bright columns in the band of the heart, between the lungs."""
    rows = picture[62:74, 20:92]
    return float((rows.mean(axis=0) > 0.72 * rows.max()).mean())


def mean_change(finding: str, region: tuple[slice, slice]) -> float:
    return float(np.mean([np.subtract(*pair(finding, seed))[region].mean() for seed in SEEDS]))


UPPER, LOWER = slice(18, 42), slice(66, 92)
MIDDLE, WHOLE = slice(46, 66), slice(18, 95)
LUNGS = slice(14, 98)
CENTRE = slice(46, 66)


def test_cardiomegaly_widens_the_heart() -> None:
    wider = []
    for seed in SEEDS:
        present, healthy = pair("Cardiomegaly", seed)
        wider.append(heart_width(present) - heart_width(healthy))
    assert np.mean(wider) > 0.05 and np.min(wider) >= 0


def test_effusion_fills_the_bases_and_leaves_the_apices() -> None:
    base, apex = (
        mean_change("Pleural Effusion", (LOWER, LUNGS)),
        mean_change("Pleural Effusion", (UPPER, LUNGS)),
    )
    assert base > 0.03
    assert abs(apex) < base / 4


def test_edema_is_brighter_near_the_hila_than_at_the_edge() -> None:
    hila = mean_change("Edema", (MIDDLE, slice(26, 86)))
    assert hila > 0.03
    assert mean_change("Edema", (UPPER, LUNGS)) < hila


def test_the_wide_mediastinum_is_in_the_middle_above_the_heart() -> None:
    middle = mean_change("Enlarged Cardiomediastinum", (slice(24, 46), slice(40, 72)))
    assert middle > 0.03
    assert abs(mean_change("Enlarged Cardiomediastinum", (LOWER, slice(14, 30)))) < middle / 3


def test_pneumothorax_darkens_an_apex_and_takes_its_markings() -> None:
    assert mean_change("Pneumothorax", (slice(18, 36), LUNGS)) < -0.005


@pytest.mark.parametrize(
    "finding", ["Consolidation", "Pneumonia", "Lung Opacity", "Lung Lesion", "Atelectasis"]
)
def test_opacities_brighten_the_lungs(finding: str) -> None:
    assert mean_change(finding, (WHOLE, LUNGS)) > 0.002


def test_faint_findings_are_fainter_than_plain_ones() -> None:
    """The label graph can only help where the picture alone leaves room."""

    def strength(finding: str) -> float:
        return float(np.mean([np.abs(np.subtract(*pair(finding, seed))).mean() for seed in SEEDS]))

    faint = max(strength(label) for label in ("Fracture", "Lung Lesion", "Pleural Other", "Pneumonia"))
    plain = min(strength(label) for label in ("Cardiomegaly", "Edema", "Pleural Effusion"))
    assert faint < plain


def test_mistakes_of_the_caller_are_named() -> None:
    with pytest.raises(ValueError, match="unknown finding 'Gout'"):
        draw_image(frozenset({"Gout"}), "PA", seed=1)
    with pytest.raises(ValueError, match="unknown view 'LL'"):
        draw_image(frozenset(), "LL", seed=1)


def test_what_a_killed_process_left_is_removed_and_a_folder_that_another_drew_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_process = 2**22 + 1
    left = tmp_path / f".phantom.{platform.node()}.{no_process}.drawing"
    elsewhere, old = (
        tmp_path / f".phantom.{host}.{no_process}.drawing" for host in ("b.example", "c.example")
    )
    for unfinished in (left, elsewhere, old):
        unfinished.mkdir()
    os.utime(old, (0, 0))
    draw_phantom(tmp_path / "phantom", n_patients=5, size=32)
    # A process of another host cannot be asked whether it lives.
    assert sorted(path.name for path in tmp_path.iterdir()) == [elsewhere.name, "phantom"]
    elsewhere.rmdir()

    # Two processes draw at once: the second finds the first one's folder at its end.
    write_tables = phantom._write_tables
    other = tmp_path / "other"

    def meanwhile(folder: Path, *arguments: object) -> None:
        write_tables(folder, *arguments)  # type: ignore[arg-type]
        shutil.copytree(folder, other)

    monkeypatch.setattr(phantom, "_write_tables", meanwhile)
    draw_phantom(other, n_patients=5, size=32)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "phantom"]
    assert (other / "train2.csv").read_bytes() == (tmp_path / "phantom/train2.csv").read_bytes()


def test_a_full_disk_is_named_whichever_process_met_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    main = os.getpid()

    def full(*_: object) -> bytes:
        if os.getpid() != main:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return b""

    monkeypatch.setattr(phantom, "WORTH_HELPERS", 0)
    monkeypatch.setattr(phantom, "_processes", lambda: 2)
    monkeypatch.setattr(phantom, "_jpeg", full)
    with pytest.raises(OSError, match="No space left") as caught:
        draw_phantom(tmp_path / "phantom", n_patients=20, size=32)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr().err == ""
