"""The steps of the GitHub workflow, as they are written there: what can be seen of them away from GitHub."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.projects import ROOT, Project


def steps() -> list[dict[str, Any]]:
    """The steps of its one job."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


def commands() -> list[str]:
    """What its steps run."""
    return [step["run"] for step in steps() if "run" in step]


def step_that_compares() -> dict[str, Any]:
    """The step that writes a pull request's summary."""
    (found,) = [step for step in steps() if "GITHUB_STEP_SUMMARY" in step.get("run", "")]
    return found


def test_the_commands_of_its_steps_exist() -> None:
    assert [shlex.split(command)[0] for command in commands()] == [".ci/run", "make", ".ci/compare"]
    for script in (".ci/run", ".ci/compare"):
        subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)
        mode = subprocess.run(
            ["git", "ls-files", "-s", script], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert mode.stdout.startswith("100755 "), "a clone on GitHub can run it"
    called = [*commands(), *(ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()]
    targets = [word for line in called if line.startswith("make ") for word in shlex.split(line)[1:]]
    assert targets == ["repro", ".venv", "check", "test"]
    # A dry run: a target that does not exist, or needs one that does not, fails.
    subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, check=True)


def test_the_base_commit_is_there_when_it_is_asked_for() -> None:
    """The commit comes by a variable of the step, and the checkout has the history that it is in."""
    step = step_that_compares()
    assert step["env"] == {"BASE": "${{ github.event.pull_request.base.sha }}"}
    assert step["if"] == "${{ github.event_name == 'pull_request' }}"
    (checkout,) = [one for one in steps() if one.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"]["fetch-depth"] == 0


@pytest.fixture
def pull_request(tmp_path: Path, finished: Project) -> Project:
    """A run that has another calibrator than its base, the commit before; both are committed."""
    project = finished.copy_to(tmp_path / "project")
    shutil.copytree(ROOT / ".ci", project.folder / ".ci")
    project.commit("the scripts of CI")
    project.set_params({"calibration.method": "inverse"})
    project.run("dvc", "repro", "ensemble_predict")
    project.commit("another calibrator")
    return project


def summary_of(project: Project, base: str) -> str:
    """Run the step as GitHub does, and give back what it adds to the job's summary."""
    summary = project.folder.parent / "summary.md"
    summary.write_text("what an earlier step wrote\n", encoding="utf-8")
    project.variables |= {"BASE": base, "GITHUB_STEP_SUMMARY": str(summary)}
    ran = project.run("bash", "-e", "-c", step_that_compares()["run"])
    assert ran.stdout == ""
    before, after = summary.read_text(encoding="utf-8").split("\n", 1)
    assert before == "what an earlier step wrote"
    return after


def test_the_summary_compares_the_run_with_its_base(pull_request: Project) -> None:
    base = pull_request.run("git", "rev-parse", "HEAD~").stdout.strip()
    said = summary_of(pull_request, base)
    title, _, rest = said.partition("\n\n```\n")
    assert title == "### This run (A) against the base (B), both of this machine"
    compared, _, table = rest.partition("\n```\n\n")
    words = " ".join(compared.split())
    assert words.startswith(
        "A: workspace (seed 42, train.repeat 0) B: base-run (seed 42, train.repeat 0) oof: "
    )
    assert "settings that differ: calibration.method: A inverse, B beta device, precision, " in words
    assert (
        "A - B 0.00000, no interval: the two give the same on every patient (selected), p = 1.0000" in words
    )
    assert words.endswith("nothing about the method (one repeat)")
    header, line, *rows = table.splitlines()
    assert [cell.strip() for cell in header.split("|")[1:3]] == ["Path", "Metric"] and set(line) <= set("|-")
    before, after = (
        yaml.safe_load(pull_request.run("git", "show", f"{revision}:metrics/calibration.json").stdout)
        for revision in (base, "HEAD")
    )
    (losses,) = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows if "| test.log_loss " in row]
    assert losses[0] == "metrics/calibration.json"
    assert [float(cell) for cell in losses[2:4]] == [one["test"]["log_loss"] for one in (before, after)]
    assert not any("ensemble.json" in row for row in rows), "scores of ranks are the same"
    # Nothing of it stays behind.
    assert pull_request.run("git", "status", "--porcelain").stdout == ""
    assert pull_request.run("git", "branch", "--format=%(refname:short)").stdout == "main\n"


def test_a_base_that_does_not_run_is_said_and_is_no_failure(pull_request: Project) -> None:
    pull_request.set_params({"calibration.method": "isotonic"})
    pull_request.commit("a base that is refused")
    base = pull_request.run("git", "rev-parse", "HEAD").stdout.strip()
    pull_request.run("git", "reset", "-q", "--hard", "HEAD~")
    assert summary_of(pull_request, base) == "The base's own run fails: there is nothing to compare with.\n"
