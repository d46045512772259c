"""The label couplings: whether they do anything, how to read them, the strongest ones, and how far they agree."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from couplet.evaluation.couplings.evidence import AUC, HELP, HURT, LOG_LOSS, Gain
from couplet.evaluation.couplings.matrix import log_odds_ratios, strength
from couplet.evaluation.estimate import Estimate, source_of
from couplet.reporting import analysis
from couplet.reporting.gates import judge_gates
from couplet.reporting.section import Drawn
from couplet.reporting.tables import legend
from couplet.results.run import Run
from couplet.settings.schema.refiner import RefinerParams

TITLE = "Label couplings"
STRONGEST = 12  # couplings in the table
NO_SHIFT = 0.05  # of log odds: it takes a probability of 0.5 to 0.5125
WHAT = "Couplings let what the network believes of one label raise or lower the others."
PART_NAMES = {"oof": "Out of fold, each fold by couplings of the others", "test": "Test part"}


class Coupling(NamedTuple):
    """One entry of A over the folds: every fold's model is a refiner of its own, and none has the mean matrix.

    Of couplings that were fitted after training there is one matrix: `folds` has one value.
    """

    source: str
    target: str
    mean: float
    folds: list[float]
    largest: float  # the fold's value that is furthest from 0 ...
    fold: int  # ... and that fold
    same_sign: str
    shift: float  # the most that it adds to the target's logit in that fold's model
    back: float  # the same pair the other way round, in the mean
    log_odds_ratio: float  # of the two labels in the truth, whatever the pictures show
    correlation: float | None  # of the two labels, in the truth


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """The verdict first; then what it rests on, the matrix, and the strongest entries."""
    gains = _gains(run)
    return {
        "verdict": verdict(run),
        "gains": gains,
        "legend": legend(one for _, *gained in gains for one in gained),
        "evidence": run.coupling_scores,
        "matrix": drawn.gallery.couplings,
        "strongest": strongest_couplings(run),
        "largest_shift": largest_shift(run),
        "no_shift": NO_SHIFT,
        "small": analysis.SMALL,
        "gates": judge_gates(run),
        **computed(run.params.refiner),
    }


def computed(refiner: RefinerParams) -> dict[str, Any]:
    """What a refiner that is trained with the network computes, and how it was trained, as the page says it."""
    gated, calibrated, several = (
        refiner.conditional == "gate",
        refiner.message == "calibrated",
        refiner.steps > 1,
    )
    source, target = "<sub>source</sub>", "<sub>target</sub>"
    says = f"<i>z</i>{'<sup>(t)</sup>' if several else ''}{source}"
    said = f"{f'<i>g</i>{source} ' if gated else ''}{'<i>m</i>' if calibrated else 'σ'}({says})"
    refined = f"<i>z</i><sup>(t+1)</sup>{target}" if several else f"<i>z</i>′{target}"
    explained = []
    if several:
        explained.append(f"z<sup>(0)</sup> = z and z′ = z<sup>({refiner.steps})</sup>: messages of messages")
    if calibrated:
        explained.append("m(z) the probability that the loss means by a logit z")
    if gated:
        explained.append("g between 0 and 2, how loudly the source speaks in this picture")
    trained_with = []
    if refiner.teach:
        trained_with.append(
            f"the truth in the place of the messages in {refiner.teach:.0%} of the training images"
        )
    if refiner.lr_factor != 1:
        trained_with.append(f"A learned at {refiner.lr_factor:g} times the head’s learning rate")
    return {
        "usual": not (explained or trained_with or refiner.sparsity == "proximal"),
        "formula": f"{refined} = <i>z</i>{target} + <i>α</i> Σ{source} {said} <i>A</i><sub>source, target</sub>",
        "explained": explained,
        "trained_with": trained_with,
        "proximal": refiner.sparsity == "proximal",
        "gated": gated,
        "taught": refiner.teach,
    }


def verdict(run: Run) -> tuple[str, str]:
    """The section's first sentence, and what follows from it."""
    if run.fitted is not None:
        gain = run.coupling_gains["oof"]
        beside = f"macro-AUC {_gained(gain.auc, 'higher', 'lower')}, "
        beside += f"log loss per image {_gained(gain.log_loss, 'lower', 'higher')}"
        words = {
            HELP: "The couplings help.",
            HURT: "The couplings hurt.",
        }.get(run.coupling_scores["verdict"], _in_part(gain))
        within = [name for name in (AUC, LOG_LOSS) if name not in gain.better]
        rule = ""
        if within:
            rule = f" They are said to help where both intervals exclude 0; that of {' and of '.join(within)} does not."
        return words, f"Against each label’s own calibration alone, out of fold: {beside}.{rule} {WHAT}"
    if run.couplings is None:
        return "The refiner is off in this run", ""
    if largest_shift(run) < NO_SHIFT:
        return (
            "The couplings have no effect.",
            f"All of them together move no logit of any fold’s model by {NO_SHIFT} or more: in this run the refiner "
            "changes next to nothing.",
        )
    return (
        "Whether the couplings help is not known from one run.",
        "They were trained with the network, and the same network without them is another training: three repeats with "
        f"refiner.enabled true and false, and couplet compare, can tell. {WHAT}",
    )


def _in_part(gain: Gain) -> str:
    """What is said where couplings neither help nor hurt in both."""
    if gain.better and gain.worse:
        return f"The couplings gain {gain.better[0]} and lose {gain.worse[0]}."
    return {
        LOG_LOSS: "The couplings make better probabilities; a better ranking of images is not seen.",
        AUC: "The couplings rank images better; better probabilities are not seen.",
    }.get("".join(gain.better), "No effect of the couplings is seen.")


def strongest_couplings(run: Run) -> list[Coupling]:
    """The STRONGEST couplings by what any single fold has, if that is not small, with what all folds say."""
    folds = run.couplings
    if folds is None:
        return []
    sizes, mean, strengths = np.abs(folds), folds.mean(axis=0), _strengths(run)
    ratios = log_odds_ratios(run.truth[run.oof_rows])
    rows = []
    for flat in np.argsort(-sizes.max(axis=0), axis=None, kind="stable")[:STRONGEST]:
        i, j = divmod(int(flat), len(run.labels))
        values, k = folds[:, i, j], int(sizes[:, i, j].argmax())
        if i == j or sizes[k, i, j] < analysis.SMALL:
            continue
        same = max(int((values > 0).sum()), int((values < 0).sum()))
        together = analysis.pearson(run.truth[np.ix_(run.oof_rows, np.array([i, j]))])[0, 1]
        rows.append(
            Coupling(
                source=run.labels[i],
                target=run.labels[j],
                mean=float(values.mean()),
                folds=values.tolist(),
                largest=float(values[k]),
                fold=run.folds[k].fold,
                same_sign=f"{same} of {len(folds)}",
                shift=float(strengths[j]) * float(values[k]),
                back=float(mean[j, i]),
                log_odds_ratio=float(ratios[i, j]),
                correlation=None if np.isnan(together) else float(together),
            )
        )
    return rows


def largest_shift(run: Run) -> float:
    """The most by which all sources together can move any target's logit, either way, in any fold's model.

    0 without a refiner. The folds' mean would understate it: couplings of opposite sign cancel there and act in
    each model.
    """
    if run.couplings is None:
        return 0.0
    moved = run.couplings * _strengths(run)
    up, down = np.maximum(moved, 0).sum(axis=1), np.maximum(-moved, 0).sum(axis=1)
    return float(max(up.max(), down.max()))


def _strengths(run: Run) -> np.ndarray:
    """(L,) what a target's couplings are multiplied by at most: alpha (with a gate twice that), or its own kappa."""
    if run.fitted is not None:
        return run.fitted.fitted.kappa
    return np.full(len(run.labels), strength(run.params.refiner))


def _gains(run: Run) -> list[tuple[str, Estimate, Estimate, Estimate]]:
    """Of each part its name and what couplings gain there, with the files that it follows from."""
    project = run.manifest.project
    files = {
        "oof": [*(project.fold_predictions(fold.fold) for fold in run.folds), project.refined_oof],
        "test": [*(project.test_predictions(fold.fold) for fold in run.folds), project.ensemble / "test.csv"],
    }
    rows = []
    for part, gain in run.coupling_gains.items():
        sources = [source_of(path, project.root) for path in files[part]]
        flags = (*run.leaks.flags_of(part), *(("cross-fitted",) if part == "oof" else ()))
        auc, log_loss, coverage = (
            one.of(*sources).flagged(*flags) for one in (gain.auc, gain.log_loss, gain.coverage)
        )
        rows.append((PART_NAMES[part], auc, log_loss, coverage))
    return rows


def _gained(estimate: Estimate, better: str, worse: str) -> str:
    """The size of a gain and its direction in words; its interval stands in the table."""
    value = estimate.value or 0.0
    return f"{abs(value):.4f} {worse if value < 0 else better}"
