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
# What ensemble_predict writes, as the project's own dvc.yaml shows it: two labels, the second without a threshold.
ENSEMBLE = {
    "plots/reliability.csv": (
        "part,label,bin,predicted,observed,low,high,images,enough\n"
        "oof,Edema,1,0.1,0.2,0.1,0.4,50,1\n"
        "test,Edema,1,0.02,0,,,9,0\ntest,Edema,2,0.7,0.8,0.5,0.95,9,0\n"
    ),
    "plots/thresholds.csv": (
        "label,rule,threshold,low,high,reason\n"
        "Edema,youden,0.2,0.15,0.25,\nEdema,cost,0.5,,,\nFracture,youden,,,,no positive image\n"
    ),
    "plots/sets.csv": (
        "label,class,category,patients,promised,expected_low,expected_high,coverage,low,high,test_patients\n"
        "Edema,present,AP,90,0.9,0.83,0.95,0.85,0.7,0.95,20\nEdema,absent,AP,8,0.9,1,1,,,,0\n"
    ),
    "plots/risk_coverage.csv": (
        "part,coverage,kept,errors,risk,generalised_risk\n"
        "oof,0,0,0,,0\noof,0.05,10,1,0.1,0.005\noof,1,200,30,0.15,0.15\n"
    ),
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
    graph = yaml.safe_load((project_root / "dvc.yaml").read_text())["stages"]
    ours = {"cmd": "echo", "plots": graph["ensemble_predict"]["plots"]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"report": STAGE, "ensemble_predict": ours}}))
    (folder / "plots/per_label").mkdir(parents=True)
    for path, content in ENSEMBLE.items():
        (folder / path).write_text(content)
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


def rows_of(spec: dict[str, Any], revision: str = "HEAD") -> list[dict[str, Any]]:
    return [row for row in spec["data"]["values"] if row["rev"] == revision]


def test_every_plot_of_the_ensemble_is_drawn_by_a_template_of_ours(plots: dict[str, Any]) -> None:
    """The fields that each template reads are columns of its table, or computed by itself."""
    for path, table in ENSEMBLE.items():
        spec = filled(plots, path)
        columns = {*table.splitlines()[0].split(","), "rev"}
        columns |= {step["as"] for step in spec["transform"] if "as" in step}
        columns |= {one["as"] for step in spec["transform"] for one in step.get("joinaggregate", [])}
        assert used_fields(spec) <= columns, path
        assert len(rows_of(spec)) == len(rows_of(spec, "HEAD~1")) == len(table.splitlines()) - 1


def used_fields(part: Any) -> set[str]:
    """Every "field" of a specification."""
    if isinstance(part, list):
        return {name for inner in part for name in used_fields(inner)}
    if not isinstance(part, dict):
        return set()
    own = {part["field"]} if isinstance(part.get("field"), str) else set()
    return own.union(*(used_fields(inner) for key, inner in part.items() if key != "data"))


def test_reliability_is_on_a_stretched_scale_per_label(plots: dict[str, Any]) -> None:
    spec = filled(plots, "plots/reliability.csv")
    assert spec["facet"]["field"] == "label"
    computed = {step["as"]: step["calculate"] for step in spec["transform"] if "calculate" in step}
    assert computed["predicted_share"] == "clamp(toNumber(datum['predicted']), 0.003, 0.997)"
    assert computed["x"] == "log(datum.predicted_share / (1 - datum.predicted_share))"
    # The test part if there is one.
    assert {"filter": "datum.of_test === datum.any_test"} in spec["transform"]
    points = spec["spec"]["layer"][2]["encoding"]
    assert points["opacity"]["scale"]["domain"] == ["yes", "too few to judge"]
    assert points["x"]["scale"] == points["y"]["scale"]


def test_thresholds_have_a_panel_per_rule_and_their_range(plots: dict[str, Any]) -> None:
    spec = filled(plots, "plots/thresholds.csv")
    assert spec["facet"]["field"] == "rule"
    assert spec["transform"][0]["filter"].startswith("isValid(datum['threshold'])")
    line, point = spec["spec"]["layer"]
    assert (line["encoding"]["x"]["field"], line["encoding"]["x2"]["field"]) == ("range_low", "range_high")
    assert point["encoding"]["x"]["field"] == "value"


def test_coverage_stands_over_what_a_run_can_expect(plots: dict[str, Any]) -> None:
    spec = filled(plots, "plots/sets.csv")
    assert (spec["facet"]["row"]["field"], spec["facet"]["column"]["field"]) == ("class", "category")
    band, promise, interval, point = spec["spec"]["layer"]
    assert (band["encoding"]["x"]["field"], band["encoding"]["x2"]["field"]) == ("range_low", "range_high")
    assert promise["encoding"]["x"]["field"] == "promise"
    assert interval["encoding"]["x"]["field"] == "interval_low" and point["encoding"]["x"]["field"] == "value"


def test_risk_is_a_line_per_part_and_revision(plots: dict[str, Any]) -> None:
    spec = filled(plots, "plots/risk_coverage.csv")
    assert spec["encoding"]["strokeDash"]["field"] == "part"
    assert spec["encoding"]["color"]["field"] == "rev"
    assert spec["transform"][0]["filter"] == "isValid(datum['risk']) && datum['risk'] !== ''"
