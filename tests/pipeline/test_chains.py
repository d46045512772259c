"""Chains of networks through the real graph: the presets guan and kumar, thin, on a small phantom."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.projects import COUPLET, MODEL, Project, kill_trainer_when, new_project, rows, untrained

pytestmark = pytest.mark.slow

THIN: dict[str, Any] = {
    "data.source": "phantom",
    "data.source_args": {},
    "image.size": 64,
    "image.store_size": 72,
    "split.holdout": 0.2,
    "model.pretrained": False,
    "schedule.epochs": 2,
    "schedule.milestones": [1],
    "train.batch_size": 16,
    "train.checkpoint_minutes": 1e-6,  # one after every batch, for the run that is killed
    "inference.unscored": [],  # drawn pictures have no such label
}
PRESETS: dict[str, dict[str, Any]] = {
    "guan": {
        "model.backbone": "resnet26d",
        "model.backbone_args": {
            "layers": [1, 1, 1, 1],
            "channels": [8, 16, 32, 64],
            "stem_width": 8,
            "output_stride": 16,
        },
    },
    "kumar": {
        "model.backbone": "densenet121",
        "model.backbone_args": {"growth_rate": 8, "block_config": [2, 2, 2, 2]},
        "model.levels.count": 3,
    },
}


@pytest.fixture(scope="module", params=PRESETS)
def chain(
    request: pytest.FixtureRequest, raw: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Project]:
    """A preset after `dvc repro` on a small phantom."""
    preset = request.param
    project = new_project(
        tmp_path_factory.mktemp(preset) / "project", preset, raw, {**THIN, **PRESETS[preset]}
    )
    project.run("dvc", "repro")
    return preset, project


def test_three_levels_are_trained_and_the_last_one_answers(chain: tuple[str, Project]) -> None:
    _, project = chain
    history = rows(project.folder / MODEL / "history.csv")
    assert [(row["level"], row["epoch"]) for row in history] == [
        (str(level), str(2 * level + epoch)) for level in range(3) for epoch in (1, 2)
    ]
    assert [float(row["lr"]) for row in history] == pytest.approx([0.01, 0.001] * 3)
    record = project.json(f"{MODEL}/config.json")
    last = {int(row["epoch"]): float(row["val_auc_macro"]) for row in history[4:]}
    assert record["best_epoch"] == max(last, key=lambda epoch: (last[epoch], -epoch))
    assert record["epochs_run"] == 6
    predicted = rows(project.folder / "data/predictions/ensemble/test.csv")
    labels = project.json("data/prepared/labels.json")["labels"]
    assert predicted and all(0 <= float(row[label]) <= 1 for row in predicted for label in labels)
    assert (project.folder / "plots/report.html").exists()


def test_killed_in_the_second_level_it_goes_on_to_the_same_bytes(
    chain: tuple[str, Project], tmp_path: Path
) -> None:
    _, straight = chain
    project, scratch = untrained(straight, tmp_path / "project"), tmp_path / "scratch"
    kill_trainer_when(project, lambda: any(scratch.glob("train_fold/*/level_1/checkpoint.json")))
    said = project.run("python", "stages/train_fold.py", "0").stdout
    assert "fold 0, level 0: going on from its finished run" in said
    assert "fold 0, level 1: going on from epoch " in said
    assert project.bytes_of(MODEL) == straight.bytes_of(MODEL)


def test_it_is_exported_and_predicts_but_has_no_maps(chain: tuple[str, Project], tmp_path: Path) -> None:
    preset, project = chain
    bundle = tmp_path / "bundle"
    project.run(*COUPLET, "export", "--to", str(bundle))
    assert (bundle / "fold_0/predictor.safetensors").exists()
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    raw = Path(project.variables["COUPLET_DATA_ROOT"])
    for path in [one for one in sorted(raw.rglob("*")) if one.suffix in (".png", ".jpg", ".jpeg")][:3]:
        shutil.copy(path, pictures / path.name)
    outs = []
    for model, name in ((str(bundle), "bundle.csv"), ("data/models", "models.csv")):
        out = tmp_path / name
        project.run(*COUPLET, "predict", str(pictures), "--model", model, "--out", str(out))
        outs.append(rows(out))
    assert len(outs[0]) == 3 and outs[0] == outs[1]
    refused = project.run(
        *(*COUPLET, "predict", str(pictures), "--model", str(bundle)),
        *("--out", str(tmp_path / "maps.csv"), "--maps", str(tmp_path / "maps")),
        check=False,
    )
    # The preset guan sees the centre of a stored picture, which is refused first.
    why = {
        "kumar": "chain of networks (model.levels) has no class activation maps",
        "guan": "inference.view = centre",
    }
    assert refused.returncode == 1 and why[preset] in refused.stderr.splitlines()[-1]
