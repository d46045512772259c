"""The custom plot templates, filled by DVC itself in a temporary project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

STAGE = {
    "cmd": "echo",
    "plots": [
        {
            "plots/couplings.csv": {
                "cache": False,
                "template": "coupling_heatmap",
                "x": "target",
                "y": "source",
                "title": "Mean label couplings",
            }
        },
        {
            "plots/per_label/fold_0.csv": {
                "cache": False,
                "template": "label_dots",
                "x": "auc",
                "y": "label",
                "title": "AUC per label, fold 0",
            }
        },
    ],
}


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plots(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> dict[str, Any]:
    """`dvc plots diff` of a run with couplings and the ablation, whose couplings table has no rows."""
    folder = tmp_path_factory.mktemp("plots")
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    run(folder, *git, "init", "-q")
    run(folder, sys.executable, "-m", "dvc", "init", "-q")
    (folder / ".dvc/plots").mkdir()
    for template in (project_root / ".dvc/plots").glob("*.json"):
        (folder / ".dvc/plots" / template.name).write_text(template.read_text())
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"report": STAGE}}))
    (folder / "plots/per_label").mkdir(parents=True)
    header = "source,target,coupling,fold\n"
    (folder / "plots/couplings.csv").write_text(header)
    (folder / "plots/per_label/fold_0.csv").write_text(
        "label,auc,average_precision\nEdema,0.7,0.1\nFracture,,\n"
    )
    run(folder, *git, "add", "-A")
    run(folder, *git, "commit", "-qm", "ablation")
    (folder / "plots/couplings.csv").write_text(
        header + "a,b,0.25,0\nb,a,-0.05,0\na,b,0.2,mean\nb,a,-0.1,mean\n"
    )
    (folder / "plots/per_label/fold_0.csv").write_text(
        "label,auc,average_precision\nEdema,0.8,0.2\nFracture,,\n"
    )
    run(folder, *git, "commit", "-qam", "couplings")
    shown: dict[str, Any] = json.loads(
        run(folder, sys.executable, "-m", "dvc", "plots", "diff", "--json", "HEAD~1", "HEAD")
    )
    return shown["data"]


def filled(plots: dict[str, Any], name: str) -> dict[str, Any]:
    """The Vega-Lite specification as a viewer would draw it."""
    (plot,) = plots[name]
    spec: dict[str, Any] = plot["content"]
    assert "<DVC_METRIC" not in json.dumps(spec), "an anchor that DVC does not know"
    return spec


def test_the_heat_map_is_drawn_per_revision_on_one_symmetric_scale(plots: dict[str, Any]) -> None:
    spec = filled(plots, "plots/couplings.csv")
    assert spec["title"]["text"] == "Mean label couplings"
    assert spec["facet"]["column"]["field"] == "rev"
    inner = spec["spec"]
    assert inner["encoding"]["x"]["field"] == "target" and inner["encoding"]["y"]["field"] == "source"
    assert inner["transform"][0] == {"filter": "datum.fold == 'mean'"}
    # The layers share one scale: the couplings, and unseen its two ends.
    assert [layer["encoding"]["color"]["field"] for layer in inner["layer"]] == ["top", "bottom", "value"]
    assert inner["transform"][2] == {"calculate": "max(abs(datum.value), 0.01)", "as": "top"}
    assert inner["transform"][3] == {"calculate": "-datum.top", "as": "bottom"}
    rows = [row for row in spec["data"]["values"] if row["fold"] == "mean"]
    assert [(row["rev"], row["source"], row["target"], float(row["coupling"])) for row in rows] == [
        ("HEAD", "a", "b", 0.2),
        ("HEAD", "b", "a", -0.1),
    ]


def test_label_dots_compare_revisions(plots: dict[str, Any]) -> None:
    spec = filled(plots, "plots/per_label/fold_0.csv")
    assert spec["encoding"]["y"]["field"] == "label"
    assert spec["transform"][1] == {"calculate": "toNumber(datum['auc'])", "as": "value"}
    colour = spec["layer"][1]["encoding"]["color"]
    assert colour["field"] == "rev" and set(colour["scale"]["domain"]) == {"HEAD~1", "HEAD"}
    edema = {row["rev"]: float(row["auc"]) for row in spec["data"]["values"] if row["label"] == "Edema"}
    assert edema == {"HEAD~1": 0.7, "HEAD": 0.8}
