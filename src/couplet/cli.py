"""The `couplet` command: what is done by hand around `dvc repro`, and the six stages."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from couplet.project.console import say, stage
from couplet.project.files import read_record, write_text
from couplet.project.project import HERE
from couplet.running.launch import guarded, prepare_process, run_app

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train, compare and explain multi-label image classifiers with learned label couplings.",
)
SETTINGS, COMPARE, CARE = "Settings", "Compare", "Care"
STAGES = "Stages (dvc repro runs these)"
Fold = Annotated[int, typer.Argument(help="number of the fold, from split.folds")]

# Every command imports what it runs when it runs: `couplet check` must not wait for torch.


@app.command("preset", rich_help_panel=SETTINGS)
@stage
def preset_command(
    name: Annotated[str | None, typer.Argument(help="a file in presets/; without it they are listed")] = None,
) -> None:
    """Write params.yaml from the schema's defaults and presets/NAME.yaml."""
    from couplet.settings.presets import load_preset, params_yaml, preset_names

    if name is None:
        return say("\n".join(preset_names()))
    params = load_preset(name)
    source = params.data.source
    scanned = HERE.inventory.exists() and read_record(HERE.inventory, source=str)["source"] == source
    write_text(HERE.params, params_yaml(params))
    say(f"{HERE.params} now holds the preset {name} and nothing else; `dvc params diff` shows what changed")
    if not scanned:
        where = "" if source == "phantom" else f" once {HERE.raw(source)} is there (docs/datasets.md)"
        say(f"next: `couplet scan`{where}, because {HERE.inventory} describes another data set")


@app.command("check", rich_help_panel=SETTINGS)
@stage
def check_command() -> None:
    """Validate params.yaml and say what differs from its preset."""
    from couplet.settings.params import load_params
    from couplet.settings.presets import differences_from_preset

    params = load_params()
    differences = differences_from_preset(params)
    for key, theirs, ours in differences:
        say(f"{key}: {ours} (preset {params.preset}: {theirs})")
    say(f"{HERE.params} is valid: preset {params.preset}, {len(differences)} settings differ from it")


@app.command("scan", rich_help_panel=SETTINGS)
@stage
def scan_command() -> None:
    """Take the inventory of data/raw/<source>; run it whenever the raw files change."""
    from couplet.datasets.inventory import scan_source
    from couplet.settings.params import load_params

    scan_source(load_params().data.source)


@app.command("committed", rich_help_panel=COMPARE)
@stage
def committed_command() -> None:
    """Say whether the results here are those of the last commit, and if not, why."""
    from couplet.running.committed import committed

    say(committed())


@app.command("prune", rich_help_panel=CARE)
@stage
def prune_command() -> None:
    """Remove outputs of folds that split.folds no longer lists, and old scratch."""
    from couplet.running.stale import stale_fold_outputs
    from couplet.running.workspace import collect
    from couplet.settings.params import load_params

    folds = load_params().split.folds
    for path in stale_fold_outputs(folds):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        say(f"removed {path}")
    for parent in sorted(HERE.scratch.glob("*/")):
        collect(parent)
    say(f"folds kept: {', '.join(map(str, folds))}")


@app.command("recover", rich_help_panel=CARE)
@stage
def recover_command() -> None:
    """Mend dvc.lock and DVC's own locks where a killed DVC left them half-written."""
    from couplet.running.recover import recover

    recover()


@app.command("prepare", rich_help_panel=STAGES)
def prepare_command() -> None:
    """Stage 1: decode the raw images into the packed store."""
    prepare_process()
    from couplet.stages.prepare import prepare

    guarded(prepare)()


@app.command("split-mis", rich_help_panel=STAGES)
def split_mis_command() -> None:
    """Stage 2: stratified folds, grouped by patient."""
    prepare_process()
    from couplet.stages.split_mis import split_mis

    guarded(split_mis)()


@app.command("train-fold", rich_help_panel=STAGES)
def train_fold_command(fold: Fold) -> None:
    """Stage 3: train one fold."""
    prepare_process()
    from couplet.stages.train_fold import train_fold

    guarded(train_fold)(fold)


@app.command("evaluate-fold", rich_help_panel=STAGES)
def evaluate_fold_command(fold: Fold) -> None:
    """Stage 4: score one fold's held-out images, predict the test part."""
    prepare_process()
    from couplet.stages.evaluate_fold import evaluate_fold

    guarded(evaluate_fold)(fold)


@app.command("ensemble-predict", rich_help_panel=STAGES)
def ensemble_predict_command() -> None:
    """Stage 5: average the folds on the test part."""
    prepare_process()
    from couplet.stages.ensemble_predict import ensemble_predict

    guarded(ensemble_predict)()


@app.command("report", rich_help_panel=STAGES)
def report_command() -> None:
    """Stage 6: figures and the HTML page."""
    prepare_process()
    from couplet.stages.report import report

    guarded(report)()


def main(arguments: list[str] | None = None) -> None:
    """Run the command on `arguments`, or on the command line's."""
    run_app(app, arguments, "couplet")
