"""What the papers leave open, as text: nothing here is computed."""

from __future__ import annotations

from typing import Any

from couplet.reporting.section import Drawn
from couplet.reporting.sections.compare import about_second_paper
from couplet.results.run import Run

TITLE = "What the papers leave open"

FIRST_PAPER = [
    "Its “baseline 92.64%” is above its own full method’s 0.926030, so the paper holds no ablation of the"
    " refiner. `dvc exp run -S refiner.enabled=false` is the missing experiment: same initial weights, "
    "same data order, same augmentation. Three repeats per arm and `couplet compare` answer it; one run does not.",
    "0.926030 is a score of the Kaggle private leaderboard, on hidden test labels. The winner of the "
    "division has 0.94187.",
    "The reduction of the loss is not stated, and it decides whether λ = 0.001 leaves any coupling alive."
    " With the released code’s mean over images and labels A stays below 0.00005 and the refiner does "
    "nothing; `loss.reduction: batchmean` gives the few non-zero couplings of the paper’s Fig. 7.",
    "It splits by image, so that views of one patient land in several folds. Here `split.group_by: "
    "patient` keeps them together; `none` is the paper’s way.",
    "ASL’s probabilities are not calibrated: with the paper’s focusing (0, 4) and margin 0.05 the no-information "
    "output at 2% prevalence is 0.36.",
]

SECOND_PAPER = [
    "Sums over positions and graph rows are not normalised (`normalize: false` is the paper’s lineage, "
    "with a first loss near 35); `true` is what to train with on X-rays, AdamW and mixed precision.",
    "The printed learning rates 0.5 / 0.05 are ten times those of its predecessor’s author; the weight "
    "decay is printed as 1e-3. The presets say which values they use.",
    "“Multi-scale” and “cascade” are never defined; here a cascade is the static graph, then the dynamic "
    "one.",
    "The printed F1 scores do not satisfy 2PR / (P + R): compute them, never aim at them.",
]

TITLES = [
    "Learning Sparse Label Couplings for Multilabel Chest X-Ray Diagnosis (Srivastava, Gupta, Nath, 2025)",
    "Dual-Branch Dynamic Graph Convolutional Network for Robust Multi-Label Image Classification (Wang et al., 2024)",
]


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """(title, lines) of the first paper, and of the second where the run is about it."""
    papers = list(zip(TITLES, [FIRST_PAPER, SECOND_PAPER], strict=True))
    return {"papers": papers if about_second_paper(run) else papers[:1]}
