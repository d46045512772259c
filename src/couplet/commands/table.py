"""`couplet table`: what runs of several presets scored on the same images, beside what was published.

    couplet table                          # what metrics/systems.csv holds
    couplet table 'sys-*'                  # these experiments
    couplet table 'sys-*' --write          # and keep them in metrics/systems.csv, for the report

An argument names runs as those of `couplet compare` do. Nothing is ranked: rows stand in the published tables' order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from couplet.commands.revisions import PARTS, REPEAT, SEED, FinishedRun, read_finished_run, read_runs
from couplet.evaluation.comparison import mean_of_repeats
from couplet.evaluation.estimate import Estimate
from couplet.evaluation.jackknife import estimates_of
from couplet.evaluation.leave_one_out import LeaveOneOut, leave_one_out_auc
from couplet.evaluation.leave_one_out_precision import leave_one_out_average_precision
from couplet.project.errors import UserError
from couplet.results.measured import Measured, data_key
from couplet.settings.params import flatten
from couplet.settings.presets import load_preset, preset_names
from couplet.settings.schema.levels import LevelsParams
from couplet.settings.schema.plugins import PLUG_INS

NOT_SETTINGS = ("preset", SEED, REPEAT)  # in these a run may differ from its preset and stay what it is


def measure(arguments: Sequence[str]) -> list[Measured]:
    """The rows of the runs that arguments name: out of fold, and of a test part whose labels are known.

    Runs that differ in seed and train.repeat alone are repeats of one another: one row, with their mean.

    Raises:
        UserError: as `read_runs`; a run's preset is not in presets/; a run is named twice.
    """
    runs = [run for argument in arguments for run in read_runs(argument, PARTS[0])]
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name} is named twice: name each run once")
    rows = []
    for arm in _arms(runs):
        rows.append(_row(arm, "oof"))
        test = arm[0].fold_of == "test"
        if np.isfinite(arm[0].manifest.truth[test]).any():
            rows.append(_row([read_finished_run(run.name, "test") for run in arm], "test"))
    return rows


def merged(old: Sequence[Measured], new: Sequence[Measured]) -> list[Measured]:
    """All rows, a new one in the place of an old one of the same experiments, part and data."""
    return list(({row.key: row for row in old} | {row.key: row for row in new}).values())


# --- one row --------------------------------------------------------------------------------------------------


def _arms(runs: Sequence[FinishedRun]) -> list[list[FinishedRun]]:
    arms: dict[str, list[FinishedRun]] = {}
    for run in runs:
        settings = {key: value for key, value in run.settings.items() if key not in (SEED, REPEAT)}
        arms.setdefault(repr((data_key(run.manifest, run.fold_of), sorted(settings.items()))), []).append(run)
    return [sorted(arm, key=lambda run: run.repeat) for arm in arms.values()]


def _row(arm: Sequence[FinishedRun], part: str) -> Measured:
    run = arm[0]
    settings, preset = run.settings, _preset(run)
    name = settings["model.backbone"]
    if settings["model.backbone_args"] != preset["model.backbone_args"]:
        name += ", changed layers"
    if not settings["model.pretrained"]:
        name += ", untrained"
    levels = LevelsParams(kind=settings["model.levels.kind"], count=settings["model.levels.count"])
    fit = settings["refiner.fit"] if settings["refiner.enabled"] else "off"
    parts = run.manifest.table["part"].to_numpy()[run.rows]
    return Measured(
        system=settings["preset"],
        experiments=tuple(one.name for one in arm),
        source=settings["data.source"],
        data=data_key(run.manifest, run.fold_of),
        part=part,
        own_test=part == "test" and bool((parts == "test").all()),
        images=len(run.rows),
        patients=len(np.unique(run.patients)),
        auc_macro=_macro(arm, leave_one_out_auc, part),
        map=_macro(arm, leave_one_out_average_precision, part),
        backbone=name,
        size=settings["image.size"],
        epochs=settings["schedule.epochs"],
        head=settings["model.head"],
        levels=levels.n_levels,
        levels_kind=levels.kind,
        loss=settings["loss.name"],
        refiner=fit,
        changed=tuple(_changed(settings, preset)),
    )


def _macro(arm: Sequence[FinishedRun], statistic: Any, part: str) -> Estimate:
    """The mean over the labels that are scored and have the statistic; of several repeats, over these too."""
    runs: list[list[LeaveOneOut]] = [
        list(statistic(run.truth, run.probabilities, run.patients)) for run in arm
    ]
    flags = ("selected",) if part == "oof" else ()
    if len(runs) == 1:
        return estimates_of(arm[0].truth, runs[0], scored=arm[0].scored).macro.flagged(*flags)
    scored = np.flatnonzero(arm[0].scored).tolist()
    used = [i for i in scored if not any(np.isnan(run[i].value) for run in runs)]
    return mean_of_repeats([[run[i] for i in used] for run in runs]).flagged(*flags)


def _preset(run: FinishedRun) -> dict[str, Any]:
    name = run.settings["preset"]
    if name not in preset_names():
        raise UserError(f"{run.name}: its preset {name!r} is not in presets/, so nobody can say what it is")
    return flatten(load_preset(name).as_dict())


def _changed(settings: dict[str, Any], preset: dict[str, Any]) -> list[str]:
    """Keys whose values are not the preset's; of a head's or loss's own settings each by itself."""
    found = []
    for key in dict.fromkeys((*preset, *settings)):
        ours, theirs = settings.get(key), preset.get(key)
        if key in NOT_SETTINGS or ours == theirs:
            continue
        if key in {kind.args for kind in PLUG_INS} and ours and theirs and ours.keys() == theirs.keys():
            found += [f"{key}.{name}" for name in ours if ours[name] != theirs[name]]
        else:
            found.append(key)
    return found
