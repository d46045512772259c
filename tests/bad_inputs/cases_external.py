"""The typical mistakes with an external test."""

from __future__ import annotations

from couplet.settings.schema.messages import one_of
from couplet.settings.schema.plugins import SOURCES
from tests.bad_inputs.case import Case, after_scan, both, file, removed, replaced, setting

KEY = "data.external"
OTHER = "{project}/data/raw/other/labels.csv"
STORED = "data/external/labels.json"
IDS = "data/external/manifest.csv"


def read(
    name: str, key: str, value: object, refused: str, run: str = "scan, prepare", **more: object
) -> Case:
    others = {f"{KEY}.{other}": given for other, given in more.items()}
    return Case(name, setting(f"{KEY}.{key}", value, **others), run=run, base="external", refused=refused)


CASES = [
    read(
        "An external test of the data set itself",
        "folder",
        "csv",
        "params.yaml: data.external would read data/raw/csv, which is the data set itself: set data.external.folder to the name of another folder in data/raw",
        run="scan",
    ),
    read(
        "An external test of a source that there is not",
        "source",
        "nihh",
        f"params.yaml: data.external.source = 'nihh' is not allowed: it should be {one_of(['none', *SOURCES.names()])}",
        run="scan",
    ),
    read(
        "An external test in a folder outside of data/raw",
        "folder",
        "../other",
        "params.yaml: data.external.folder = '../other' is not allowed: it should be text that matches ^([A-Za-z0-9_][A-Za-z0-9._-]*)?$",
        run="scan",
    ),
    read(
        "An external test that is not there",
        "folder",
        "others",
        "{project}/data/raw/others is not there: link the data with `ln -s /path/to/the/data {project}/data/raw/others` (docs/datasets.md, csv), or set COUPLET_DATA_ROOT",
        run="scan",
    ),
    read(
        "An external test: a misspelled setting of its adapter",
        "source_args",
        {"tabel": "labels.csv"},
        "unknown key data.external.source_args.tabel for data.external.source: csv: did you mean 'table'? (allowed: table, image_folder, label_columns, image_column, patient_column, study_column, view_column, sex_column, age_column, part_column, group_columns)",
        run="check",
    ),
    read(
        "An external test: a misspelled setting of a member",
        "source",
        "combined",
        "unknown key data.external.source_args.members.nih.source_args.no_findings for data.external.source_args.members.nih.source: nih: did you mean 'no_finding'? (allowed: no_finding)",
        run="check",
        source_args={"members": {"nih": {"source_args": {"no_findings": True}}}},
    ),
    Case(
        "An external test: a setting of its adapter of the wrong kind",
        after_scan(setting(f"{KEY}.source_args", {"label_columns": "Edema"})),
        run="prepare",
        base="external",
        refused="data.external.source_args.label_columns = 'Edema' is not allowed: it should be a list",
    ),
    read(
        "An external test: a label that the run does not have",
        "label_map",
        {"Nodul": "lump"},
        "data.external.label_map has 'Nodul', which is no label of this run: did you mean 'Nodule'? (allowed: Edema, Nodule, Rare)",
    ),
    read(
        "An external test: a column that it does not have",
        "label_map",
        {"Nodule": "lumps"},
        "data.external.label_map.Nodule names 'lumps', which is no label of that set: did you mean 'lump'? (allowed: Edema, lump)",
    ),
    Case(
        "An external test that was added after the inventory was taken",
        both(
            setting(f"{KEY}.source", "none"),
            lambda project: project.run("scan"),
            setting(f"{KEY}.source", "csv"),
        ),
        run="prepare",
        base="external",
        refused="data/inventory.json does not describe data/raw/other: run `couplet scan`",
    ),
    Case(
        "An external test whose labels changed after the inventory was taken",
        both(lambda project: project.run("scan"), replaced(OTHER, "0.png,x0,M,0,0", "0.png,x0,M,1,0")),
        run="prepare",
        base="external",
        refused="{project}/data/raw/other/labels.csv has changed since data/inventory.json was written: run `couplet scan`",
    ),
    Case(
        "An external test none of whose images can be read",
        both(
            setting("data.max_unreadable", 1.0),
            *(file(f"{{project}}/data/raw/other/images/{i}.png", "no picture") for i in range(8)),
        ),
        base="external",
        refused="8 of 8 images cannot be read and no image of the external test is left: images/0.png (the file is no image of a known format (JPEG, PNG, TIFF, BMP, GIF, WEBP, JPEG2000, PPM, DICOM)); images/1.png (the file is no image of a known format (JPEG, PNG, TIFF, BMP, GIF, WEBP, JPEG2000, PPM, DICOM)); images/2.png (the file is no image of a known format (JPEG, PNG, TIFF, BMP, GIF, WEBP, JPEG2000, PPM, DICOM)); ... (all of them, with reasons: {project}/.scratch/prepare/quarantine.csv): replace them or take them out of the label table, then run `couplet scan`, or raise data.max_unreadable",
    ),
    Case(
        "An external test that was stored with other settings",
        setting(f"{KEY}.part", "test"),
        run="evaluate-fold 0",
        base="externally tested",
        refused="params.yaml: data/external was made with other settings than data.external: run `dvc repro`, or restore params.yaml",
    ),
    Case(
        "An external test whose predictions are missing",
        removed("data/predictions/external/fold_1.csv"),
        run="ensemble-predict",
        base="externally tested",
        refused="data/predictions/external/fold_1.csv is not there: run `dvc repro` (or `dvc checkout`) to make it",
    ),
    Case(
        "An external test whose predictions are not those of the folds",
        replaced("data/predictions/ensemble/external/external.csv", ",0.", ",0.9", 3),
        run="report",
        base="externally tested",
        refused="data/predictions/ensemble/external/external.csv is not the mean of the folds in data/predictions/external: run `dvc repro`",
    ),
    Case(
        "An external test with predictions of other images",
        replaced("data/predictions/external/fold_0.csv", "0.png", "00.png", 1),
        run="ensemble-predict",
        base="externally tested",
        refused="data/predictions/external/fold_0.csv has other images than data/external/manifest.csv gives it: run `dvc repro`",
    ),
    Case(
        "An external test whose record is damaged",
        replaced(STORED, '"same_ids": [', '"same_ids": [1, '),
        run="ensemble-predict",
        base="externally tested",
        refused="data/external/labels.json is not ours: restore it with `dvc checkout` or git, or make it again with `dvc repro`",
    ),
    Case(
        "An external test that was taken out again",
        setting(f"{KEY}.source", "none"),
        run="ensemble-predict",
        base="externally tested",
        happens="its predictions go, and metrics/external.json says that there is none",
        finds={("entry", "metrics/external.json", "n_images"): 0},
    ),
    Case(
        "An external test that has images and a patient of the training data",
        both(
            replaced(OTHER, "0.png,x0,", "0.png,p0,"),
            lambda project: (project.raw.with_name("other") / "images/1.png").write_bytes(
                (project.raw / "images/01.png").read_bytes()
            ),
        ),
        run="scan, prepare, split-mis, train-fold 0, train-fold 1, evaluate-fold 0, evaluate-fold 1, ensemble-predict",
        base="external",
        happens="counted, and the report's first screen asks for attention",
        finds={
            ("entry", "metrics/external.json", "patients_in_training"): 1,
            ("entry", "metrics/external.json", "pictures_in_training"): 1,
        },
    ),
]
