"""The preset `cohen` on tables of a row or two in the shape of each of its seven sets, read by the real adapters."""

from __future__ import annotations

import numpy as np
import pytest

from couplet.datasets import chexpert, mimic_cxr_jpg, vindr_cxr
from couplet.datasets.external import read_external
from couplet.datasets.registry import read_dataset
from couplet.settings.params import Params
from couplet.settings.presets import load_preset
from tests.support.projects import ROOT


def row_of(filled: dict[str, str], labels: tuple[str, ...]) -> str:
    """The label cells of a row, blank but for those that are filled."""
    return ",".join(filled.get(label, "") for label in labels)


TABLES = {
    "nih/Data_Entry_2017_v2020.csv": (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
        "1.png,Effusion|Mass,0,1,57,M,PA\n"
    ),
    "padchest/PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv": (
        "ImageID,ImageDir,StudyID,PatientID,Projection,Labels\n"
        "a.png,0,s1,p1,PA,\"['alveolar pattern', 'laminar atelectasis', 'hiatal hernia']\"\n"
    ),
    "chexpert/train.csv": (
        f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(chexpert.LABELS)}\n"
        "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,"
        + row_of({"Pleural Effusion": "1.0", "Edema": "-1.0", "Fracture": "0.0"}, chexpert.LABELS)
        + "\n"
    ),
    "mimic_cxr_jpg/mimic-cxr-2.0.0-chexpert.csv": (
        f"subject_id,study_id,{','.join(mimic_cxr_jpg.LABELS)}\n"
        f"10000032,50414267,{row_of({'Lung Lesion': '1.0'}, mimic_cxr_jpg.LABELS)}\n"
    ),
    "mimic_cxr_jpg/mimic-cxr-2.0.0-split.csv": (
        "dicom_id,study_id,subject_id,split\n02aa804e,50414267,10000032,train\n"
    ),
    "mimic_cxr_jpg/mimic-cxr-2.0.0-metadata.csv": (
        "dicom_id,subject_id,study_id,ViewPosition\n02aa804e,10000032,50414267,PA\n"
    ),
    "openi/indiana_reports.csv": "uid,MeSH,Problems\n1,Opacity/lung/base/left;Infiltrate,Opacity\n",
    "openi/indiana_projections.csv": "uid,filename,projection\n1,1_IM-0001-4001.dcm.png,Frontal\n",
    "rsna_pneumonia/stage_2_train_labels.csv": "patientId,x,y,width,height,Target\nr1,1,1,2,2,1\nr2,,,,,0\n",
}
# Of each set's first row: what it says; the labels that it knows and that are not named are 0, or unknown.
SAYS = {
    "nih": {"Effusion": 1, "Mass": 1},
    "padchest": {"Infiltration": 1, "Atelectasis": 1, "Hernia": 1},
    "chexpert": {"Effusion": 1, "Fracture": 0},
    "mimic_cxr_jpg": {"Lung Lesion": 1},
    "openi": {"Lung Opacity": 1, "Infiltration": 1},
    "rsna_pneumonia": {"Pneumonia": 1, "Lung Opacity": 1},
}
ELSE_UNKNOWN = ("chexpert", "mimic_cxr_jpg")
KNOWS = {"nih": 14, "padchest": 15, "openi": 15, "rsna_pneumonia": 2}


@pytest.fixture
def params(monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(ROOT)
    return load_preset("cohen")


def test_six_sets_are_one_table_of_eighteen_labels(put, raw, params: Params) -> None:
    for path, text in TABLES.items():
        put(path, text)
    dataset = read_dataset("combined", raw, params.data.source_args, check_files=False)
    assert len(dataset.labels) == 18
    table = dataset.table
    assert table["source"].value_counts().to_dict() == {**dict.fromkeys(SAYS, 1), "rsna_pneumonia": 2}
    for source, says in SAYS.items():
        first = table[table["source"] == source].iloc[0]
        cells = first[dataset.labels].astype(float)
        assert cells[list(says)].to_dict() == says, source
        others = cells.drop(list(says))
        if source in ELSE_UNKNOWN:
            assert others.isna().all(), source
        else:
            assert (others == 0).sum() == KNOWS[source] - len(says), source
            assert others.isna().sum() == 18 - KNOWS[source], source
    second = table[table["source"] == "rsna_pneumonia"].iloc[1]
    assert second[["Pneumonia", "Lung Opacity"]].tolist() == [0, 0]


def test_vindr_is_the_external_test_as_any_reader_sees_it(put, raw, params: Params) -> None:
    for path, text in TABLES.items():
        put(path, text)
    run = read_dataset("combined", raw, params.data.source_args, check_files=False)
    head = f"image_id,rad_id,{','.join(vindr_cxr.LABELS)}\n"
    one_reader = row_of(dict.fromkeys(vindr_cxr.LABELS, "0") | {"Pleural effusion": "1"}, vindr_cxr.LABELS)
    nobody = row_of(dict.fromkeys(vindr_cxr.LABELS, "0"), vindr_cxr.LABELS)
    put(
        "vindr/annotations/image_labels_train.csv",
        f"{head}v1,R1,{one_reader}\nv1,R2,{nobody}\nv1,R3,{nobody}\n",
    )
    put("vindr/train/v1.dicom")
    found = read_external(params.data.external, raw / "vindr", run, "combined")
    row = found.dataset.table.iloc[0]
    assert row["Effusion"] == 1 and row["Cardiomegaly"] == 0 and row["Pleural_Thickening"] == 0
    known = [label for label in run.labels if not np.isnan(row[label])]
    assert sorted(known) == sorted(params.data.external.label_map)
