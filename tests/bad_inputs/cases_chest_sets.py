"""The typical mistakes with PadChest, BRAX, Open-i and RANZCR CLiP."""

from __future__ import annotations

from tests.bad_inputs.case import Case, after_scan, both, file, removed, replaced, setting, text

PADCHEST, BRAX = "{raw}/PADCHEST.csv", "{raw}/master_spreadsheet_update.csv"
LABELS = "data.source_args.labels"

CASES = [
    Case(
        "PadChest: a label that no image has",
        setting(LABELS, ["nodul"]),
        base="padchest",
        refused="data.source_args.labels: no image of PADCHEST.csv has 'nodul': correct it (nearest: nodule, normal, cardiomegaly) or take it out",
    ),
    Case(
        "PadChest: labels that are no list",
        after_scan(setting(LABELS, "nodule")),
        run="prepare",
        base="padchest",
        refused="data.source_args.labels = 'nodule' is not allowed: it should be a list of names, or labels with a list of names for each",
    ),
    Case(
        "PadChest: Labels without brackets",
        replaced(PADCHEST, "['normal']", "normal"),
        base="padchest",
        refused="{project}/data/raw/padchest/PADCHEST.csv, row 4, column 'Labels': 'normal' is no list of names: write it like ['nodule', 'scoliosis']",
    ),
    Case(
        "PadChest: a folder that the table does not have",
        setting("data.source_args.folders", [54]),
        base="padchest",
        refused="data.source_args.folders: no row of PADCHEST.csv has ImageDir 54: take it out",
    ),
    Case(
        "PadChest: a part of the images",
        removed("{raw}/0/5.png"),
        base="padchest",
        refused="{project}/data/raw/padchest/PADCHEST.csv, row 7, column 'ImageID': 0/5.png is not in {project}/data/raw/padchest: put the file there or take the row out of the table",
    ),
    Case(
        "PadChest: a table of more folders than are there",
        text(PADCHEST, lambda table: table.replace("5.png,0", "9.png,54")),
        base="padchest",
        refused="{project}/data/raw/padchest/PADCHEST.csv, row 7, column 'ImageDir': the folder 54/ is not in {project}/data/raw/padchest (folders missing: 1): complete the download, or set data.source_args.folders: [0] to read those that are",
    ),
    Case(
        "PadChest: images in another folder than ImageDir says",
        replaced(PADCHEST, ".png,0,", ".png,1,"),
        base="padchest",
        happens="taken by their names, which is said",
        said=("PADCHEST.csv: 8 of 8 images are in another folder than ImageDir says",),
    ),
    Case(
        "PadChest: images that its makers exclude, a suboptimal study, a report without labels",
        both(
            replaced(PADCHEST, "['normal']", "['exclude']", 1),
            replaced(PADCHEST, "['normal']", "['suboptimal study']", 1),
            replaced(PADCHEST, "['cardiomegaly']", "[]", 1),
        ),
        base="padchest",
        happens="left out and counted, in labels.json and in the report",
        finds={
            ("entry", "data/prepared/labels.json", "notes"): {
                "images_excluded": 1,
                "images_of_suboptimal_studies": 1,
                "images_without_labels": 1,
                "image_files_not_listed": 3,
            },
        },
    ),
    Case(
        "BRAX: another hospital's spreadsheet",
        replaced(BRAX, "PngPath", "Path"),
        base="brax",
        refused="{project}/data/raw/brax/master_spreadsheet_update.csv, row 1: column 'PngPath' is missing: add it to the header; in the header did you mean 'Path'? (allowed: Path, PatientID, AccessionNumber, ViewPosition, Atelectasis, Cardiomegaly, Consolidation, Edema, Enlarged Cardiomediastinum, Fracture, Lung Lesion, Lung Opacity, No Finding, Pleural Effusion, Pleural Other, Pneumonia, Pneumothorax, Support Devices)",
    ),
    Case(
        "BRAX: DICOM asked for, of which the table says nothing",
        setting("data.source_args", {"files": "dcm"}),
        base="brax",
        refused="{project}/data/raw/brax/master_spreadsheet_update.csv, row 1: column 'DicomPath' is missing: add it to the header; in the header allowed: PngPath, PatientID, AccessionNumber, ViewPosition, Atelectasis, Cardiomegaly, Consolidation, Edema, Enlarged Cardiomediastinum, Fracture, Lung Lesion, Lung Opacity, No Finding, Pleural Effusion, Pleural Other, Pneumonia, Pneumothorax, Support Devices",
    ),
    Case(
        "Open-i: a report cut short",
        file("{raw}/ecgen-radiology/2.xml", "<eCitation><uId id="),
        base="openi",
        refused="{project}/data/raw/openi/ecgen-radiology/2.xml is not valid XML (unclosed token: line 1, column 11): unpack NLMCXR_reports.tgz again",
    ),
    Case(
        "Open-i: a report that declares entities",
        file(
            "{raw}/ecgen-radiology/2.xml",
            '<!DOCTYPE a [<!ENTITY b "c">]><eCitation><uId id="&b;"/></eCitation>',
        ),
        base="openi",
        refused="{project}/data/raw/openi/ecgen-radiology/2.xml declares entities, as no report does: take it away",
    ),
    Case(
        "Open-i: an image that is not there",
        removed("{raw}/NLMCXR_png/CXR2_IM-1.png"),
        base="openi",
        refused="{project}/data/raw/openi/ecgen-radiology/2.xml: NLMCXR_png/CXR2_IM-1.png is not in {project}/data/raw/openi: put the file there or take the row out of the table",
    ),
    Case(
        "Open-i: both releases in one folder",
        file("{raw}/indiana_reports.csv", "uid,MeSH\n1,normal\n"),
        base="openi",
        refused="{project}/data/raw/openi holds both releases (indiana_reports.csv and ecgen-radiology/0.xml): set data.source_args.release to kaggle or nlm",
    ),
    Case(
        "Open-i: a term that is none",
        setting(LABELS, {"Mass": ["Masses"]}),
        base="openi",
        refused="data.source_args.labels: no image of the XML reports has 'Masses': correct it (nearest: mass, mass/lung, opacity) or take it out",
    ),
    Case(
        "RANZCR: a misspelt label",
        replaced("{raw}/train.csv", "ETT - Abnormal", "ETT-Abnormal"),
        base="ranzcr",
        refused="{project}/data/raw/ranzcr_clip/train.csv, row 1: column 'ETT - Abnormal' is missing: use the competition's own table, or data.source: csv for one with other labels; in the header did you mean 'ETT-Abnormal'? (allowed: StudyInstanceUID, ETT-Abnormal, ETT - Borderline, ETT - Normal, NGT - Abnormal, NGT - Borderline, NGT - Incompletely Imaged, NGT - Normal, CVC - Abnormal, CVC - Borderline, CVC - Normal, Swan Ganz Catheter Present, PatientID)",
    ),
    Case(
        "RANZCR: test images without the sample submission",
        removed("{raw}/sample_submission.csv"),
        base="ranzcr",
        refused="{project}/data/raw/ranzcr_clip/sample_submission.csv is not there, but test/ holds images: put it there, or move test/ elsewhere to draw the test part from the training images",
    ),
    Case(
        "RANZCR: a training image in the sample submission",
        replaced("{raw}/sample_submission.csv", "1.2.9,", "1.2.3,"),
        base="ranzcr",
        refused="{project}/data/raw/ranzcr_clip/sample_submission.csv, row 2, column 'StudyInstanceUID': '1.2.3' is also a training image of train.csv: an image cannot be in both, take it out of one",
    ),
    Case(
        "RANZCR: a test image that cannot be read",
        file("{raw}/test/1.2.9.jpg", b""),
        base="ranzcr",
        happens="quarantined and counted; its row stays in the submission, in its place",
        quarantined={"1.2.9": "the file is empty"},
        finds={("column", "data/prepared/submission_rows.csv", "StudyInstanceUID"): ["1.2.9", "1.2.8"]},
    ),
]
