"""Small healthy projects that the cases break, how a command is run in them, and what is seen afterwards."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import yaml
from PIL import Image

from couplet.cli import main
from couplet.datasets.grand_xray_slam import LABELS, PEOPLE
from couplet.images.store import ImageStore
from couplet.results.manifest import SHARD_STRIDE

ROOT = Path(__file__).resolve().parents[2]
# What stages write: a refused case must leave all of it as it was.
OUTPUTS = (
    "params.yaml",
    "data/inventory.json",
    "data/prepared",
    "data/prepared.unfinished",
    "data/splits",
    "data/models",
    "data/predictions",
    "metrics",
    "plots",
)
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


@dataclass
class Outcome:
    """How a command ended, and what it printed, without what differs from machine to machine."""

    code: int
    out: list[str]
    err: list[str]


@dataclass
class Project:
    """A couplet project in a folder of its own, which is the current directory while commands run."""

    folder: Path
    source: str

    @property
    def raw(self) -> Path:
        """The raw folder."""
        return self.folder / "data/raw" / self.source

    def run(self, *arguments: str) -> Outcome:
        """Run `couplet ...` in this process."""
        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(list(arguments))
            except SystemExit as end:
                code = int(end.code or 0)
        return Outcome(code, *(self._stable(stream.getvalue()).splitlines() for stream in (out, err)))

    def _stable(self, printed: str) -> str:
        """What differs from machine to machine, replaced by what it is."""
        printed = printed.replace(str(self.folder), "{project}").replace(timm.__version__, "{version}")
        printed = re.sub(r"[\d.]+ GB left", "{free} GB left", printed)
        printed = re.sub(r"best-\d+\.", "best-{epoch}.", printed)
        printed = re.sub(r"predictions give \d\.\d+", "predictions give {auc}", printed)
        printed = re.sub(r"line \d+ column \d+ \(char \d+\)", "{place}", printed)
        return re.sub(r"/[0-9a-f]{20,32}\b", "/{key}", printed)

    def set(self, changes: dict[str, Any]) -> None:
        """Change params.yaml: {"refiner.enabled": "maybe"}. Nothing is validated."""
        path = self.folder / "params.yaml"
        content = yaml.safe_load(path.read_text())
        for dotted, value in changes.items():
            *sections, key = dotted.split(".")
            inside = content
            for section in sections:
                inside = inside.setdefault(section, {})
            inside[key] = value
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def outputs(self) -> dict[str, bytes]:
        """Content of every file that commands write, half-written ones included."""
        places = [self.folder / name for name in OUTPUTS]
        files = [path for place in places for path in (place, *place.rglob("*")) if path.is_file()]
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}

    # --- what is seen ---------------------------------------------------------------------------------------

    def entry(self, path: str, dotted: str) -> Any:
        """A value in a JSON file."""
        content = json.loads((self.folder / path).read_text())
        for key in dotted.split("."):
            content = content[key]
        return content

    def row(self, path: str, first_cell: str) -> dict[str, str]:
        """The row of a CSV file that begins with `first_cell`, as text."""
        table = pd.read_csv(self.folder / path, dtype=str, keep_default_na=False)
        return dict(table[table.iloc[:, 0] == first_cell].iloc[0])

    def cell(self, path: str, first_cell: str, column: str) -> str:
        """A cell of that row."""
        return self.row(path, first_cell)[column]

    def column(self, path: str, name: str) -> list[str]:
        """A column of a CSV file, as text."""
        return pd.read_csv(self.folder / path, dtype=str, keep_default_na=False)[name].tolist()

    def quarantine(self) -> dict[str, str]:
        """Reason of every quarantined image."""
        path = "data/prepared/quarantine.csv"
        return dict(zip(self.column(path, "image_id"), self.column(path, "reason"), strict=True))

    def size(self, image_id: str) -> str:
        """Original size of an image."""
        row = self.row("data/prepared/manifest.csv", image_id)
        return f"{row['width']} x {row['height']}"

    def quarters(self, image_id: str) -> list[int]:
        """Median grey level of the stored image's quarters: top left, top right, bottom left, bottom right."""
        row = self.row("data/prepared/manifest.csv", image_id)
        position = int(row["shard"]) * SHARD_STRIDE + int(row["row"])
        image = ImageStore(self.folder / "data/prepared").read(np.array([position]))[0, 0]
        half = len(image) // 2
        parts = (image[:half, :half], image[:half, half:], image[half:, :half], image[half:, half:])
        return [int(np.median(part)) for part in parts]

    def report_says(self, sentence: str) -> bool:
        """Whether the report's first screen holds this text."""
        page = (self.folder / "plots/report.html").read_text().split('id="compare"')[0]
        return sentence in " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


# --- healthy projects --------------------------------------------------------------------------------------


def new_project(folder: Path, source: str) -> Project:
    """Settings, code and presets; no data yet."""
    folder.mkdir(parents=True)
    for name in ("presets", "src", "stages", "dvc.yaml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "params.yaml").write_text(yaml.safe_dump(SETTINGS, sort_keys=False))
    project = Project(folder, source)
    project.set({"data.source": source})
    project.raw.mkdir(parents=True)
    return project


def picture(seed: int) -> Image.Image:
    """A smooth grey picture of 40 x 40."""
    rows = np.random.default_rng(seed).integers(40, 216, (5, 5)).astype(np.uint8)
    return Image.fromarray(rows).resize((40, 40), Image.Resampling.BICUBIC)


def csv_project(folder: Path) -> Project:
    """24 images of 12 patients with the labels Edema, Nodule and Rare, which has a single positive."""
    project = new_project(folder, "csv")
    (project.raw / "images").mkdir()
    rows = ["image,patient,sex,Edema,Nodule,Rare"]
    for i in range(24):
        picture(i).save(project.raw / f"images/{i:02d}.png")
        rows.append(f"{i:02d}.png,p{i // 2},F,{i // 2 % 2},{i // 4 % 2},{int(i == 5)}")
    (project.raw / "labels.csv").write_text("\n".join(rows) + "\n")
    return project


def trained_project(folder: Path) -> Project:
    """The same after a whole run."""
    return finished(csv_project(folder))


def finished(project: Project) -> Project:
    """Run every stage, with a dvc.lock as DVC would have written it."""
    for command in ("scan", "prepare", "split-mis"):
        outcome = project.run(command)
        assert outcome.code == 0, outcome
    outs = [
        {"path": "data/prepared", "md5": "0123456789abcdef0123456789abcdef.dir"},
        {"path": "data/splits/folds.csv", "md5": "0123456789abcdef0123456789abcdef"},
    ]
    lock = {"schema": "2.0", "stages": {"prepare": {"outs": outs}}}
    (project.folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    folds = [(command, fold) for command in ("train-fold", "evaluate-fold") for fold in ("0", "1")]
    for arguments in (*folds, ("ensemble-predict",), ("report",)):
        outcome = project.run(*arguments)
        assert outcome.code == 0, outcome
    return project


def slam_project(folder: Path) -> Project:
    """Grand X-Ray SLAM in miniature: twelve training images, three test images and a sample submission."""
    project = new_project(folder, "grand_xray_slam")
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


def coco_project(folder: Path) -> Project:
    """MS-COCO in miniature: eight train and four val images of cats and dogs."""
    project = new_project(folder, "coco")
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


def nih_project(folder: Path) -> Project:
    """NIH ChestX-ray14 in miniature: eight images, six in the train list and two in the test list."""
    project = new_project(folder, "nih")
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


BASES: dict[str, Callable[[Path], Project]] = {
    "csv": csv_project,
    "trained": trained_project,
    "slam": slam_project,
    "coco": coco_project,
    "nih": nih_project,
}
