"""Tables as competitions ship them: ids without an ending, other folders, other tables beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from couplet.datasets.registry import read_dataset
from tests.support.errors import refused


@pytest.fixture
def ranzcr(put, raw):
    """RANZCR CLiP: ids full of dots and without an ending, images in train/, two tables beside the labels."""
    put("train.csv", "StudyInstanceUID,ETT - Normal,PatientID\n1.2.3.0,0,p0\n1.2.3.1,1,p0\n1.2.3.11,1,p1\n")
    put("sample_submission.csv", "StudyInstanceUID,ETT - Normal\n1.2.3.99,0\n")
    put("train_annotations.csv", "StudyInstanceUID,label,data\n1.2.3.1,ETT - Normal,x\n")
    for name in ("0", "1", "11"):
        put(f"train/1.2.3.{name}.jpg")
    put("test/1.2.3.99.jpg")
    return raw


def test_ids_without_an_ending_in_a_folder_of_another_name(ranzcr, capsys):
    images = read_dataset("csv", ranzcr).table
    assert images["image_id"].tolist() == ["1.2.3.0", "1.2.3.1", "1.2.3.11"]
    assert images["path"].tolist() == ["train/1.2.3.0.jpg", "train/1.2.3.1.jpg", "train/1.2.3.11.jpg"]
    assert images["patient_id"].tolist() == ["p0", "p0", "p1"]
    assert capsys.readouterr().out.splitlines() == [
        "train.csv: column 'StudyInstanceUID' names the images",
        "train.csv: 1 label: ETT - Normal",
        "train.csv: images are looked for in train/",
    ]


def test_rsna_boxes_that_agree_and_siim_names(put, raw):
    put("train.csv", "patientId,x,y,width,height,Target\na1,,,,,0\nb2,2.5,3,4,5,1\nb2,6.5,3,4,5,1\n")
    for name in ("a1", "b2"):
        put(f"train/{name}.png")
    dataset = read_dataset("csv", raw)
    assert dataset.labels == ["Target"]
    assert dataset.table["path"].tolist() == ["train/a1.png", "train/b2.png"]
    assert dataset.notes == {"repeated_rows": 1}
    put("train.csv", "ImageId,A\na1,0\nb2,1\n")
    assert read_dataset("csv", raw).table["path"].tolist() == ["train/a1.png", "train/b2.png"]


def test_a_settings_folder_and_mixed_endings(put, raw):
    put("labels.csv", "image,A\na,1\nb.png,0\nc,1\n")
    for name in ("a.JPG", "b.png", "c.tif"):
        put(f"pics/{name}")
    images = read_dataset("csv", raw, {"image_folder": "pics"}).table
    assert images["image_id"].tolist() == ["a", "b.png", "c"]
    assert images["path"].tolist() == ["pics/a.JPG", "pics/b.png", "pics/c.tif"]


def test_two_files_of_one_id_need_a_choice(ranzcr, put):
    put("train/1.2.3.1.png")
    assert refused(read_dataset, "csv", ranzcr) == (
        f"{ranzcr}/train.csv, row 3, column 'StudyInstanceUID': train/1.2.3.1 could be train/1.2.3.1.jpg or "
        "train/1.2.3.1.png: remove one of them, or write the name with its ending"
    )


def test_a_missing_image_is_still_named_as_the_table_has_it(ranzcr):
    (ranzcr / "train/1.2.3.1.jpg").unlink()
    assert refused(read_dataset, "csv", ranzcr) == (
        f"{ranzcr}/train.csv, row 3, column 'StudyInstanceUID': train/1.2.3.1 is not in {ranzcr}: put the file there "
        "or take the row out of the table"
    )


def test_the_column_of_file_names_is_named_where_it_is_not_found(put, raw):
    put("labels.csv", "pic,A\na.png,1\nb.png,0\n")
    put("images/a.png")
    put("images/b.png")
    assert refused(read_dataset, "csv", raw) == (
        f"{raw}/labels.csv, row 1: no image column: set data.source_args.image_column to its name ('pic' holds names "
        "of files)"
    )


@pytest.mark.parametrize("name", ["val", "valid", "validate", "validation"])
def test_a_validation_part_counts_as_train(put, raw, name, capsys):
    put("labels.csv", f"image,patient,split,A\na.png,1,train,1\nb.png,2,{name},0\nc.png,3,test,0\n")
    for image in "abc":
        put(f"{image}.png")
    assert read_dataset("csv", raw).table["part"].tolist() == ["train", "train", "test"]
    assert f"labels.csv: 1 row of the part '{name}' counts as train: couplet makes its own folds\n" in (
        capsys.readouterr().out
    )


def test_without_a_patient_a_study_stays_together(put, raw, capsys):
    put("labels.csv", "image,Study ID,A\na.png,s1,1\nb.png,s1,0\nc.png,s2,0\nd.png,,1\n")
    for image in "abcd":
        put(f"{image}.png")
    dataset = read_dataset("csv", raw)
    assert dataset.table["patient_id"].tolist() == ["s1", "s1", "s2", "d.png"]
    assert dataset.notes == {"images_without_patient": 4}
    assert (
        "labels.csv: no patient column, the images of a study ('Study ID') stay together: other studies of a patient "
        "may land in another fold, scores may be too good\n"
    ) in capsys.readouterr().out


@pytest.mark.parametrize("cell", ["./=1+1.png", "./@SUM(1).png"])
def test_what_is_taken_off_a_name_uncovers_no_formula(put, raw, cell):
    put("labels.csv", f"image,A\n{cell},1\nb.png,0\n")
    assert refused(read_dataset, "csv", raw) == (
        f"{raw}/labels.csv, row 2, column 'image': {cell[2:]!r} would be a formula in a spreadsheet: rename it, "
        "without = + - or @ in front"
    )


@pytest.fixture
def looks(monkeypatch):
    """Paths that were looked up one by one."""
    seen = []
    is_file = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: seen.append(path) or is_file(path))
    return seen


@pytest.fixture
def patients(put, raw):
    """300 folders of one patient each."""
    for i in range(300):
        put(f"patient{i:05}/a.png")
    return raw


def test_a_folder_for_each_patient_is_not_searched(patients, put, looks):
    rows = [f"patient{i:05}/a.png,{i},{i % 2}" for i in range(300)]
    put("labels.csv", "\n".join(["path,patient,Edema", *rows]))
    dataset = read_dataset("csv", patients)
    assert dataset.table["path"].tolist() == [row.split(",")[0] for row in rows]
    assert len(looks) < 5


def test_columns_of_other_names_are_looked_at_within_bounds(patients, put, looks):
    labels = [f"L{i}" for i in range(50)]
    rows = [f"patient{i:05}/a.png,patient{i:05}{f',{i % 2}' * 50}" for i in range(300)]
    put("labels.csv", "\n".join([",".join(["pic", "folder", *labels]), *rows]))
    assert refused(read_dataset, "csv", patients) == (
        f"{patients}/labels.csv, row 1: no image column: set data.source_args.image_column to its name ('pic' holds "
        "names of files)"
    )
    assert len(looks) < 3000  # of a folder of 101 places and 27 endings, and not of 52 columns


def test_ids_are_looked_for_in_the_first_folders_alone(patients, put, looks):
    put("labels.csv", "id,Edema\nx,1\ny,0\n")
    assert "row 1: no image column" in refused(read_dataset, "csv", patients)
    assert len(looks) < 3000


def test_ids_of_dicom_files_are_found_as_rsna_ships_them(put, raw):
    put("stage_2_train_labels.csv", "patientId,x,y,width,height,Target\na1,,,,,0\nb2,2.5,3,4,5,1\n")
    for name in ("a1.dcm", "b2.DICOM"):
        put(f"stage_2_train_images/{name}")
    folder = "stage_2_train_images"
    dataset = read_dataset("csv", raw)
    assert dataset.table["path"].tolist() == [f"{folder}/a1.dcm", f"{folder}/b2.DICOM"]
    put(f"{folder}/a1.png")  # converted beside the original
    assert read_dataset("csv", raw).table["path"].tolist() == [f"{folder}/a1.png", f"{folder}/b2.DICOM"]
