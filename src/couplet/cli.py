"""The `couplet` command: what is done by hand around `dvc repro`, and the six stages."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated, Literal

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
SETTINGS, USE, COMPARE, CARE = "Settings", "Use", "Compare", "Care"
STAGES = "Stages (dvc repro runs these)"
Fold = Annotated[int, typer.Argument(help="number of the fold, from split.folds")]

# Every command imports what it runs when it runs: `couplet check` must not wait for torch.


@app.command("preset", rich_help_panel=SETTINGS)
@stage
def preset_command(
    name: Annotated[str | None, typer.Argument(help="a file in presets/; without it they are listed")] = None,
    kept: Annotated[
        str,
        typer.Option(
            "--keep",
            help="sections and settings that stay as they are in params.yaml: data,image,model.backbone",
        ),
    ] = "",
) -> None:
    """Write params.yaml from the schema's defaults and presets/NAME.yaml; remove outputs of folds it has not."""
    from couplet.running.stale import prune
    from couplet.settings.params import load_params
    from couplet.settings.presets import keep, load_preset, params_yaml, preset_names
    from couplet.settings.source_args import refuse_wrong_source_args

    if name is None:
        return say("\n".join(preset_names()))
    params, origin = load_preset(name), f"{HERE.presets}/{name}.yaml"
    if kept:
        origin += " with --keep"
        params = keep(params, load_params(), kept.split(","), origin)
    refuse_wrong_source_args(params.data, origin)
    source = params.data.source
    scanned = HERE.inventory.exists() and read_record(HERE.inventory, source=str)["source"] == source
    write_text(HERE.params, params_yaml(params))
    rest = f"but for what stays: {kept}" if kept else "and nothing else"
    say(f"{HERE.params} now holds the preset {name} {rest}; `dvc params diff` shows what changed")
    pruned = prune(params.split.folds)
    for path in pruned:
        say(f"removed {path}")
    if pruned:
        # Else the last stages would refuse them, after all folds have been trained.
        say(
            f"they are of folds that split.folds = {params.split.folds} does not have; git and DVC bring them back"
        )
    if not scanned:
        where = "" if source == "phantom" else f" once {HERE.raw(source)} is there (docs/datasets.md)"
        say(f"next: `couplet scan`{where}, because {HERE.inventory} describes another data set")


@app.command("check", rich_help_panel=SETTINGS)
@stage
def check_command() -> None:
    """Validate params.yaml, and say what differs from its preset and which settings do nothing."""
    from couplet.results.weights import unlisted_weights
    from couplet.running.stale import refuse_stale_folds
    from couplet.settings.idle import idle_lines
    from couplet.settings.params import load_params
    from couplet.settings.presets import differences_from_preset, load_preset
    from couplet.settings.source_args import refuse_wrong_source_args

    params = load_params()
    refuse_wrong_source_args(params.data)
    unlisted = unlisted_weights(params.model)
    differences = differences_from_preset(params)
    for key, theirs, ours in differences:
        say(f"{key}: {ours} (preset {params.preset}: {theirs})")
    for line in idle_lines(params, load_preset(params.preset)):
        say(f"does nothing: {line}")
    refuse_stale_folds(params.split.folds)
    say(f"{HERE.params} is valid: preset {params.preset}, {len(differences)} settings differ from it")
    if unlisted:
        say(f"before the first run: {unlisted}")


@app.command("scan", rich_help_panel=SETTINGS)
@stage
def scan_command(
    weights_only: Annotated[
        bool, typer.Option("--weights-only", help="only the pretrained weights: the images need not be here")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(help="also write what is there as one page, with label frequencies and pairs"),
    ] = None,
) -> None:
    """Take the inventory of data/raw/<source> and of pretrained weights, and say what is there.

    Run it whenever one of them changes.
    """
    from couplet.commands.scan import scan
    from couplet.results.weights import list_weights
    from couplet.settings.params import load_params

    params = load_params()
    weights = {}
    if params.model.pretrained:
        from couplet.models.pretrained import pretrained_digest  # torch: only if there are weights to look at

        weights[params.model.backbone] = pretrained_digest(params.model, HERE.weights)
    if not weights_only:
        scan(params.data, html)
    list_weights(weights)
    for name, sha256 in weights.items():
        say(f"{HERE.weights_list}: {name}, sha256 {sha256}")


@app.command("predict", rich_help_panel=USE)
@stage
def predict_command(
    inputs: Annotated[list[Path], typer.Argument(help="image files, and folders of them")],
    model: Annotated[
        Path, typer.Option("--model", help="data/models of a project, or an exported bundle")
    ] = HERE.models,
    out: Annotated[
        Path, typer.Option("--out", help=".csv, .json or .jsonl; without an ending a folder of parts")
    ] = Path("predictions.csv"),
    ids: Annotated[
        Literal["name", "digest"], typer.Option("--id", help="rows are called by the file, or by its content")
    ] = "name",
    by: Annotated[
        Literal["image", "study"], typer.Option("--by", help="a row per image, or per study")
    ] = "image",
    maps: Annotated[
        Path | None, typer.Option("--maps", help="a folder for class activation maps, an .npz per image")
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="also draw the maps over the pictures")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="a page to look at pictures, maps, numbers and decisions")
    ] = None,
    unsuitable: Annotated[
        Literal["refuse", "predict"],
        typer.Option("--unsuitable", help="whether pictures of another kind than the model's get numbers"),
    ] = "refuse",
    view: Annotated[
        str, typer.Option("--view", help="view of pictures that do not say theirs: AP, PA, ...")
    ] = "",
    engine: Annotated[
        Literal["torch", "onnx", "openvino"],
        typer.Option("--engine", help="what runs the networks; the last two need a bundle and their extra"),
    ] = "torch",
    known: Annotated[
        list[str] | None,
        typer.Option(
            "--known",
            help="LABEL=1 or LABEL=0, known of all pictures; needs couplings that were fitted after training",
        ),
    ] = None,
) -> None:
    """Predict new images with the trained ensemble. Exit code 3: some inputs got a reason instead of numbers."""
    from couplet.inference.recorded import recorded_train

    prepare_process(lambda: recorded_train(model))
    gc.enable()
    from couplet.commands.predict import Request, predict_or_say_why

    request = Request(inputs, model, out, ids, by, maps, overlay, html, unsuitable, view, engine, known or ())
    code = predict_or_say_why(request, recorded_train(model))
    if code:
        raise typer.Exit(code)


@app.command("committed", rich_help_panel=COMPARE)
@stage
def committed_command() -> None:
    """Say whether the results here are those of the last commit, and if not, why."""
    from couplet.running.committed import committed

    say(committed())


@app.command("compare", rich_help_panel=COMPARE)
@stage
def compare_command(
    a: Annotated[str, typer.Argument(help="a revision, an experiment, names of experiments as 'on-*', or .")],
    b: Annotated[str, typer.Argument(help="what A is compared with, named in the same way")],
    part: Annotated[
        str, typer.Option(help="oof: out-of-fold images, test: the ensemble on the test part")
    ] = "oof",
    unpaired: Annotated[bool, typer.Option("--unpaired", help="allow arms of different repeats")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="everything, for scripts")] = False,
) -> None:
    """Say whether run A is better than run B, and what one may conclude; groups of repeats say most."""
    from couplet.commands import compare_text
    from couplet.commands.compare import as_json as in_json
    from couplet.commands.compare import compare

    answer = compare(a, b, part, unpaired)
    say(in_json(answer) if as_json else compare_text.as_text(answer))


@app.command("table", rich_help_panel=COMPARE)
@stage
def table_command(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="runs named as for compare; without any, what metrics/systems.csv holds"),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="keep the rows in metrics/systems.csv, for the report")
    ] = False,
) -> None:
    """What runs of several presets scored on the same images, beside what was published."""
    from couplet.commands.table import measure, merged
    from couplet.commands.table_text import as_text
    from couplet.results.measured import read_measured, write_measured

    rows = measure(runs) if runs else read_measured()
    if not rows:
        return say(f"{HERE.systems} is not there: name runs, as 'sys-*', and keep them with --write")
    if write and runs:
        write_measured(merged(read_measured(), rows))
    say(as_text(rows))


@app.command("export", rich_help_panel=USE)
@stage
def export_command(
    to: Annotated[Path, typer.Option(help="folder of the bundle; one that is there is replaced")] = Path(
        "data/bundle"
    ),
    onnx: Annotated[bool, typer.Option("--onnx", help="the whole ensemble as one ONNX graph")] = False,
    openvino: Annotated[
        bool, typer.Option("--openvino", help="also for OpenVINO; writes the ONNX graph too")
    ] = False,
    license_name: Annotated[
        str | None,
        typer.Option(
            "--license", help="of the weights, as model hubs name it: apache-2.0 (phantom), else other"
        ),
    ] = None,
) -> None:
    """Write the trained ensemble as a folder that others load without couplet (docs/export.md)."""
    from couplet.running.arithmetic import fix_environment
    from couplet.settings.params import load_params

    params = load_params()
    fix_environment(params.train.threads, params.train.arithmetic)
    from couplet.commands.export import export

    export(to, onnx, openvino, license_name)


@app.command("prune", rich_help_panel=CARE)
@stage
def prune_command() -> None:
    """Remove outputs of folds that split.folds no longer lists, and old scratch."""
    from couplet.running.stale import prune
    from couplet.running.workspace import collect
    from couplet.settings.params import load_params
    from couplet.settings.yaml12 import read_yaml

    folds = load_params().split.folds
    for path in prune(folds):
        say(f"removed {path}")
    # COUPLET_SCRATCH may be a folder that other things share: only the stages' own folders in it are ours.
    for name in read_yaml(HERE.dvc_yaml)["stages"]:
        if (HERE.scratch / name).is_dir():
            collect(HERE.scratch / name)
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
