"""dvc.yaml against the code: what each stage lists is what its launcher imports, and what it reads is tracked."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from couplet.project.project import HERE
from couplet.settings.params import Params, all_keys
from couplet.settings.schema.plugins import HEADS, LOSSES, SOURCES

STAGES = ("prepare", "split_mis", "train_fold", "evaluate_fold", "ensemble_predict", "report")
# Where a head or a loss is imported by its name: dvc.yaml names its file by the setting that names it.
PLUG_INS = ("settings/schema/plugins.py", "models/head.py", "training/loss.py")
CHOSEN = {
    "src/couplet/heads/${model.head}.py": ("train_fold", "evaluate_fold"),
    "src/couplet/settings/heads/${model.head}.py": ("train_fold", "evaluate_fold"),
    "src/couplet/losses/${loss.name}.py": ("train_fold", "evaluate_fold"),
    "src/couplet/settings/losses/${loss.name}.py": ("train_fold", "evaluate_fold", "ensemble_predict"),
}
# The report compares the settings with their preset's, whose head and loss may be others.
COMPARED = "src/couplet/settings"
# These run no network, so they list whole folders: a change beside what they import costs no training.
BY_FOLDER = ("ensemble_predict", "report")
TORCH_FREE = ("prepare", "split_mis", "ensemble_predict", "report")


@pytest.fixture(scope="module")
def graph(project_root: Path) -> dict[str, Any]:
    stages = yaml.safe_load((project_root / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


def module_file(root: Path, module: str) -> Path | None:
    if module == "launcher":
        return root / "stages/launcher.py"
    if module.startswith("couplet.phantom"):
        return None  # what it draws is checked against data/inventory.json, which is a dependency
    if module.split(".")[0] != "couplet":
        return None
    path = root / "src" / Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def imported(root: Path, file: Path) -> set[Path]:
    """Files of this project that `file` imports, anywhere in it: late imports count too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            known = file.relative_to(root / "src/couplet").as_posix() in PLUG_INS
            assert known, f"{file}: import_module hides an import from this test"
        found |= {path for module in modules if (path := module_file(root, module))}
    return found


def closure(root: Path, launcher: Path) -> set[str]:
    seen, left = set(), [launcher]
    while left:
        file = left.pop()
        if file not in seen:
            seen.add(file)
            left += imported(root, file)
    # An __init__.py that only has a docstring cannot change a result.
    code = {file for file in seen if file.name != "__init__.py" or len(ast.parse(file.read_text()).body) > 1}
    return {file.relative_to(root).as_posix() for file in code}


def listed(root: Path, stage: dict[str, Any]) -> set[str]:
    """The code files that a stage lists; a folder stands for every file in it."""
    files = set()
    for dependency in stage["deps"]:
        path = root / dependency
        if dependency.startswith(("src/", "stages/")) and dependency not in CHOSEN:
            assert path.exists(), f"{dependency} is not there"
            files |= {file.relative_to(root).as_posix() for file in code_of(path)}
    return {file for file in files if file.endswith(".py")}


def code_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*.py") if file.name != "__init__.py"]


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_lists_the_code_it_imports(project_root: Path, graph: dict[str, Any], stage: str) -> None:
    needed = closure(project_root, project_root / "stages" / f"{stage}.py")
    declared = listed(project_root, graph[stage])
    assert sorted(needed - declared) == [], f"dvc.yaml, {stage}: these are imported but not listed"
    # What several heads or losses share is listed for all of them: a stage depends on the chosen one by its name alone.
    shared = {
        file
        for path, stages in CHOSEN.items()
        if stage in stages
        for plug_in in (project_root / path).parent.glob("[a-z]*.py")
        for file in closure(project_root, plug_in) - {plug_in.relative_to(project_root).as_posix()}
    }
    if stage in BY_FOLDER:
        for folder in filter(Path.is_dir, (project_root / dependency for dependency in graph[stage]["deps"])):
            beside = {file.relative_to(project_root).as_posix() for file in code_of(folder)}
            shared |= beside if beside & needed else set()
    assert sorted(declared - needed - shared) == [], f"dvc.yaml, {stage}: these are listed but not imported"


def test_only_the_chosen_head_and_loss_are_dependencies(project_root: Path, graph: dict[str, Any]) -> None:
    for path, stages in CHOSEN.items():
        assert [name for name in STAGES if path in graph[name]["deps"]] == list(stages), path
    assert COMPARED in graph["report"]["deps"]
    for name in ("train_fold", "evaluate_fold"):
        declared = listed(project_root, graph[name])
        plug_ins = [f"heads/{head}" for head in HEADS.names()]
        plug_ins += [f"losses/{loss}" for loss in LOSSES.names()]
        for plug_in in plug_ins:
            file = project_root / f"src/couplet/{plug_in}.py"
            own = {file.relative_to(project_root).as_posix()}
            missing = closure(project_root, file) - declared - own
            assert missing == set(), f"{plug_in} imports what {name} does not list"


def test_what_an_adapter_takes_concerns_prepare_alone(project_root: Path, graph: dict[str, Any]) -> None:
    """A combined set may have members of any source, so prepare lists all; the report lists its settings as a whole."""
    folder = "src/couplet/settings/sources/"
    declared = {name: listed(project_root, graph[name]) for name in STAGES}
    assert [name for name in STAGES if any(file.startswith(folder) for file in declared[name])] == [
        "prepare",
        "report",
    ]
    assert {f"{folder}{source}.py" for source in SOURCES.names()} <= declared["prepare"]


@pytest.mark.parametrize("stage", TORCH_FREE)
def test_stages_without_weights_never_import_torch(project_root: Path, stage: str) -> None:
    for file in closure(project_root, project_root / "stages" / f"{stage}.py"):
        for node in ast.walk(ast.parse((project_root / file).read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("torch", "timm", "torchvision") for name in names), file


def test_stage_names_and_commands(graph: dict[str, Any]) -> None:
    assert tuple(graph) == STAGES
    for name, stage in graph.items():
        fold = " ${item}" if name in ("train_fold", "evaluate_fold") else ""
        assert stage["cmd"] == f"python stages/{name}.py{fold}"


def test_folds_come_from_params(project_root: Path) -> None:
    stages = yaml.safe_load((project_root / "dvc.yaml").read_text())["stages"]
    for name in ("train_fold", "evaluate_fold"):
        assert stages[name]["foreach"] == "${split.folds}"


def test_tracked_params_exist(graph: dict[str, Any]) -> None:
    keys = all_keys()
    for stage in graph.values():
        for wanted in stage["params"]:
            if isinstance(wanted, str):
                assert any(key == wanted or key.startswith(f"{wanted}.") for key in keys), wanted
    assert graph["report"]["params"] == [{"params.yaml": None}]


def test_a_new_calibrator_or_decision_runs_no_network(graph: dict[str, Any]) -> None:
    """The report depends on the whole of params.yaml."""
    for section, stages in (
        ("calibration", ["ensemble_predict"]),
        ("decision", ["ensemble_predict"]),
        ("refiner.strictness", ["ensemble_predict"]),
        ("report", ["split_mis"]),  # which refuses unknown groups; the folds stay the same bytes
    ):
        tracked = [
            name
            for name in STAGES
            if any(
                key == section or key.startswith(f"{section}.") or section.startswith(f"{key}.")
                for key in map(str, graph[name]["params"])
            )
        ]
        assert tracked == stages, section
    outputs = {
        "data/predictions/ensemble",
        "metrics/ensemble.json",
        "metrics/calibration.json",
        "metrics/couplings.json",
    }
    for name in STAGES[: STAGES.index("ensemble_predict")]:
        assert not outputs & set(graph[name]["deps"]), name


def test_an_external_test_is_not_seen_in_training(graph: dict[str, Any]) -> None:
    """Neither its images nor a setting of its, nor which data set the run itself is of but by what is stored."""
    for name in ("split_mis", "train_fold"):
        assert not any("external" in dependency for dependency in graph[name]["deps"]), name
        assert not any(key == "data" or key.startswith("data.") for key in graph[name]["params"]), name
    assert graph["prepare"]["outs"] == ["data/prepared", "data/external"]
    for name in ("evaluate_fold", "ensemble_predict"):
        assert "data.external" in graph[name]["params"]


def test_training_stages_keep_the_run_cache(graph: dict[str, Any]) -> None:
    """An out with cache: false would make DVC retrain every fold of a repeated experiment."""
    for stage in graph.values():
        assert all(isinstance(out, str) for out in stage["outs"])


def test_every_declared_path_is_one_of_ours(graph: dict[str, Any]) -> None:
    outputs = set()
    for stage in graph.values():
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                outputs.add(out if isinstance(out, str) else next(iter(out)))
    item = "${item}"
    assert outputs == {
        HERE.prepared.as_posix(),
        HERE.external.as_posix(),
        HERE.folds.as_posix(),
        HERE.split_metrics.as_posix(),
        HERE.split_plot.as_posix(),
        HERE.model(item).as_posix(),  # type: ignore[arg-type]
        HERE.fold_predictions(item).as_posix(),  # type: ignore[arg-type]
        HERE.test_predictions(item).as_posix(),  # type: ignore[arg-type]
        HERE.external_predictions(item).as_posix(),  # type: ignore[arg-type]
        HERE.explanations(item).as_posix(),  # type: ignore[arg-type]
        HERE.fold_metrics(item).as_posix(),  # type: ignore[arg-type]
        HERE.per_label(item).as_posix(),  # type: ignore[arg-type]
        HERE.history(item).as_posix(),  # type: ignore[arg-type]
        HERE.ensemble.as_posix(),
        HERE.ensemble_metrics.as_posix(),
        HERE.calibration_metrics.as_posix(),
        HERE.couplings_metrics.as_posix(),
        HERE.external_metrics.as_posix(),
        HERE.reliability_plot.as_posix(),
        HERE.thresholds_plot.as_posix(),
        HERE.sets_plot.as_posix(),
        HERE.risk_coverage_plot.as_posix(),
        HERE.report.as_posix(),
        HERE.figures.as_posix(),
        HERE.couplings_plot.as_posix(),
        HERE.subgroups_plot.as_posix(),
        HERE.shortcuts_plot.as_posix(),
    }


def test_what_a_fold_is_trained_with_is_what_its_record_says(graph: dict[str, Any]) -> None:
    """config.json records these sections; each must be tracked by train_fold, or the record could be wrong."""
    from couplet.results.model_record import trained_params

    tracked = graph["train_fold"]["params"]
    for section in trained_params(Params()):
        assert section in tracked or any(name.startswith(f"{section}.") for name in tracked), section
