"""Small healthy projects that the cases break."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from couplet.datasets.grand_xray_slam import LABELS, PEOPLE
from couplet.datasets.ranzcr_clip import LABELS as RANZCR_LABELS
from tests.support.in_process import InProcessProject
from tests.support.projects import ROOT

SETTINGS: dict[str, Any] = {
    "preset": "phantom",
    "data": {"max_unreadable": 0.25},
    "image": {"size": 32, "store_size": 36},
    "split": {"folds": [0, 1], "test_fraction": 0.25},
    "model": {
        "backbone": "resnet10t",
        "pretrained": False,
        "backbone_args": {"channels": [8, 8, 16, 16], "stem_width": 8},
        "dropout": 0.0,
    },
    "optimizer": {"lr": 0.002},
    "schedule": {"epochs": 2, "warmup_epochs": 1},
    "train": {"batch_size": 4, "device": "cpu", "precision": "float32"},
}


EXTERNAL: dict[str, Any] = {
    "source": "csv",
    "folder": "other",
    "label_map": {"Edema": "Edema", "Nodule": "lump"},
}


def unfilled_project(folder: Path, source: str) -> InProcessProject:
    """Settings, code and presets; no data yet."""
    folder.mkdir(parents=True)
    for name in ("presets", "src", "stages", "dvc.yaml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "params.yaml").write_text(yaml.safe_dump(SETTINGS, sort_keys=False))
    project = InProcessProject(folder, source)
    project.set({"data.source": source})
    project.raw.mkdir(parents=True)
    return project


def picture(seed: int) -> Image.Image:
    """A smooth grey picture of 40 x 40."""
    rows = np.random.default_rng(seed).integers(40, 216, (5, 5)).astype(np.uint8)
    return Image.fromarray(rows).resize((40, 40), Image.Resampling.BICUBIC)


def csv_project(folder: Path) -> InProcessProject:
    """24 images of 12 patients with the labels Edema, Nodule and Rare, which has a single positive."""
    project = unfilled_project(folder, "csv")
    (project.raw / "images").mkdir()
    rows = ["image,patient,sex,Edema,Nodule,Rare"]
    for i in range(24):
        picture(i).save(project.raw / f"images/{i:02d}.png")
        rows.append(f"{i:02d}.png,p{i // 2},F,{i // 2 % 2},{i // 4 % 2},{int(i == 5)}")
    (project.raw / "labels.csv").write_text("\n".join(rows) + "\n")
    return project


def external_project(folder: Path) -> InProcessProject:
    """24 images to train on, and eight others of another table to test on, where Nodule is called lump."""
    project = csv_project(folder)
    other = project.raw.with_name("other")
    (other / "images").mkdir(parents=True)
    rows = ["image,patient,sex,Edema,lump"]
    for i in range(8):
        picture(500 + i).save(other / f"images/{i}.png")
        rows.append(f"{i}.png,x{i // 2},M,{i // 2 % 2},{i % 2}")
    (other / "labels.csv").write_text("\n".join(rows) + "\n")
    project.set({"data.external": EXTERNAL})
    return project


def externally_tested_project(folder: Path) -> InProcessProject:
    """The same after a whole run."""
    return finished(external_project(folder))


def trained_project(folder: Path) -> InProcessProject:
    """The same after a whole run."""
    return finished(csv_project(folder))


def finished(project: InProcessProject) -> InProcessProject:
    """Run every stage by hand, without DVC."""
    folds = [(command, fold) for command in ("train-fold", "evaluate-fold") for fold in ("0", "1")]
    for arguments in (("scan",), ("prepare",), ("split-mis",), *folds, ("ensemble-predict",), ("report",)):
        outcome = project.run(*arguments)
        assert outcome.code == 0, outcome
    return project


def slam_project(folder: Path) -> InProcessProject:
    """Grand X-Ray SLAM in miniature: twelve training images, three test images and a sample submission."""
    project = unfilled_project(folder, "grand_xray_slam")
    (project.raw / "train2").mkdir()
    (project.raw / "test2").mkdir()
    train, sample = [[*PEOPLE, *LABELS]], [["Image_name", *LABELS]]
    for i in range(12):
        name = f"{i // 2 + 1:08d}_001_{i % 2 + 1:03d}.jpg"
        picture(i).save(project.raw / "train2" / name)
        people = [name, str(i // 2 + 1), "1", "Male", "41.0", "Frontal", "AP"]
        train.append([*people, *(str((i + j) // 2 % 2) for j in range(14))])
    for i in (53, 51, 52):
        name = f"{i:08d}_001_001.jpg"
        picture(i).save(project.raw / "test2" / name)
        sample.append([name, *["0"] * 14])
    for path, rows in (("train2.csv", train), ("sample_submission_2.csv", sample)):
        (project.raw / path).write_text("".join(",".join(row) + "\n" for row in rows))
    return project


def coco_project(folder: Path) -> InProcessProject:
    """MS-COCO in miniature: eight train and four val images of cats and dogs."""
    project = unfilled_project(folder, "coco")
    (project.raw / "annotations").mkdir()
    for part, numbers in (("train2017", range(1, 9)), ("val2017", range(101, 105))):
        (project.raw / part).mkdir()
        for number in numbers:
            picture(number).save(project.raw / part / f"{number:012d}.jpg")
        content = {
            "images": [{"id": number, "file_name": f"{number:012d}.jpg"} for number in numbers],
            "annotations": [
                {"id": number, "image_id": number, "category_id": 1 + number % 2} for number in numbers
            ],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        }
        (project.raw / f"annotations/instances_{part}.json").write_text(json.dumps(content))
    return project


def nih_project(folder: Path) -> InProcessProject:
    """NIH ChestX-ray14 in miniature: eight images, six in the train list and two in the test list."""
    project = unfilled_project(folder, "nih")
    (project.raw / "images").mkdir()
    rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"]
    names = [f"{i:08d}_000.png" for i in range(1, 9)]
    for i, name in enumerate(names):
        picture(i).save(project.raw / "images" / name)
        rows.append(f"{name},{('Mass', 'No Finding', 'Edema|Mass')[i % 3]},0,{i + 1},50,F,PA")
    (project.raw / "Data_Entry_2017_v2020.csv").write_text("\n".join(rows) + "\n")
    (project.raw / "train_val_list.txt").write_text("\n".join(names[:6]) + "\n")
    (project.raw / "test_list.txt").write_text("\n".join(names[6:]) + "\n")
    return project


def padchest_project(folder: Path) -> InProcessProject:
    """PadChest in miniature: eight images of four patients."""
    project = unfilled_project(folder, "padchest")
    project.set({"data.source_args": {"labels": ["nodule", "cardiomegaly"]}})
    (project.raw / "0").mkdir()
    rows = [",ImageID,ImageDir,StudyID,PatientID,Projection,Labels"]
    for i in range(8):
        picture(i).save(project.raw / f"0/{i}.png")
        found = ("['nodule']", "['cardiomegaly']", "['normal']")[i % 3]
        rows.append(f"{i},{i}.png,0,s{i},p{i // 2},{'L' if i % 2 else 'PA'},{found}")
    (project.raw / "PADCHEST.csv").write_text("\n".join(rows) + "\n")
    return project


def brax_project(folder: Path) -> InProcessProject:
    """BRAX in miniature: eight images of four patients."""
    project = unfilled_project(folder, "brax")
    (project.raw / "images").mkdir()
    rows = [f"PngPath,PatientID,AccessionNumber,ViewPosition,{','.join(LABELS)}"]
    for i in range(8):
        picture(i).save(project.raw / f"images/{i}.png")
        values = ",".join(str((i + j) // 2 % 2) for j in range(14))
        rows.append(f"images/{i}.png,id_{i // 2},a{i},PA,{values}")
    (project.raw / "master_spreadsheet_update.csv").write_text("\n".join(rows) + "\n")
    return project


def openi_project(folder: Path) -> InProcessProject:
    """The XML release of Open-i in miniature: eight images of four reports."""
    project = unfilled_project(folder, "openi")
    project.set({"data.source_args": {"labels": ["Mass", "Opacity"]}})
    (project.raw / "ecgen-radiology").mkdir()
    (project.raw / "NLMCXR_png").mkdir()
    for i in range(4):
        names = [f"CXR{i}_IM-{view}" for view in (1, 2)]
        for view, name in enumerate(names):
            picture(2 * i + view).save(project.raw / f"NLMCXR_png/{name}.png")
        images = "".join(f'<parentImage id="{name}"/>' for name in names)
        term = ("Mass/lung", "Opacity")[i % 2]
        (project.raw / f"ecgen-radiology/{i}.xml").write_text(
            f'<eCitation><uId id="CXR{i}"/><MeSH><major>{term}</major></MeSH>{images}</eCitation>\n'
        )
    return project


def ranzcr_project(folder: Path) -> InProcessProject:
    """RANZCR CLiP in miniature: eight training images of four patients, two test images and a sample submission."""
    project = unfilled_project(folder, "ranzcr_clip")
    header = f"StudyInstanceUID,{','.join(RANZCR_LABELS)}"
    train, sample = [f"{header},PatientID"], [header]
    for part, numbers in (("train", range(8)), ("test", (9, 8))):
        (project.raw / part).mkdir()
        for i in numbers:
            picture(i).save(project.raw / f"{part}/1.2.{i}.jpg")
            values = ",".join(str((i + j) // 2 % 2) for j in range(11))
            if part == "train":
                train.append(f"1.2.{i},{values},p{i // 2}")
            else:
                sample.append(f"1.2.{i}{',0' * 11}")
    (project.raw / "train.csv").write_text("\n".join(train) + "\n")
    (project.raw / "sample_submission.csv").write_text("\n".join(sample) + "\n")
    return project


def combined_project(folder: Path) -> InProcessProject:
    """NIH ChestX-ray14 in miniature and six images of a table of one's own, as one data set."""
    project = unfilled_project(folder, "combined")
    nih_project(folder / "other")
    (folder / "other/data/raw/nih").rename(folder / "nih")
    shutil.rmtree(folder / "other")
    (project.raw / "nih").symlink_to(folder / "nih")
    (project.raw / "own").mkdir()
    rows = ["image,patient,Edema,Mass"]
    for i in range(6):
        picture(100 + i).save(project.raw / f"own/{i}.png")
        rows.append(f"{i}.png,{i},{i % 2},{i // 2 % 2}")
    (project.raw / "own/labels.csv").write_text("\n".join(rows) + "\n")
    project.set({"data.source_args": {"members": {"nih": {}, "own": {"source": "csv"}}}})
    return project


BASES: dict[str, Callable[[Path], InProcessProject]] = {
    "csv": csv_project,
    "trained": trained_project,
    "external": external_project,
    "externally tested": externally_tested_project,
    "slam": slam_project,
    "coco": coco_project,
    "nih": nih_project,
    "padchest": padchest_project,
    "brax": brax_project,
    "openi": openi_project,
    "ranzcr": ranzcr_project,
    "combined": combined_project,
}
