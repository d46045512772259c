"""What couplings fitted out of fold find in the worlds of `tests.couplings_probe`: python -m tests.couplings_experiment

A linear head is trained with paper 1's loss and no refiner on three folds, couplings are fitted on its predictions out
of fold, and fresh images are predicted with them and without. With NIH's table as an argument its label sets too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from couplet.evaluation.calibration.inverse import posterior_of
from couplet.evaluation.couplings.evidence import losses
from couplet.evaluation.couplings.fit import LabelCouplings, fit_label_couplings
from couplet.evaluation.metrics import auc_per_label
from couplet.settings.params import LossParams
from couplet.training.loss import build_loss
from tests.couplings_probe import (
    KnownCouplings,
    LabelSets,
    Sample,
    independent_labels,
    known_couplings,
    label_sets,
    nih_truth,
)

FOLDS = 3
POSTERIOR = posterior_of(LossParams())


def linear_head(train: Sample, steps: int = 60) -> torch.nn.Linear:
    """A head trained to the end with paper 1's loss, no refiner: what a network without couplings gives out."""
    torch.manual_seed(0)
    head = torch.nn.Linear(train.x.shape[1], train.truth.shape[1]).double()
    torch.nn.init.zeros_(head.weight)
    x, truth = torch.tensor(train.x), torch.tensor(train.truth)
    loss = build_loss(LossParams(), train.truth)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(head(x), truth)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)
    return head


def outputs(head: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.sigmoid(head(torch.tensor(x))).numpy()


def fitted(train: Sample, test: Sample, strictness: float) -> tuple[LabelCouplings, np.ndarray, np.ndarray]:
    """Couplings of the training rows out of fold, and the test rows with them and without, mean over the folds."""
    fold = np.arange(len(train.x)) % FOLDS
    oof, by_fold = np.full(train.truth.shape, np.nan), []
    for k in range(FOLDS):
        head = linear_head(train.rows(fold != k))
        oof[fold == k] = outputs(head, train.x[fold == k])
        by_fold.append(outputs(head, test.x))
    couplings = fit_label_couplings(train.truth, oof, POSTERIOR, strictness)
    both = [np.mean([read(p) for p in by_fold], axis=0) for read in (couplings.refined, couplings.alone)]
    return couplings, both[0], both[1]


class Gained(NamedTuple):
    """Of fresh images, against each label's own intercept and scale: AUC of each label (L,), log loss per image."""

    auc: np.ndarray
    most: np.ndarray  # what the best prediction gains
    log_loss: float


def gained(test: Sample, refined: np.ndarray, alone: np.ndarray) -> Gained:
    """What the couplings gain on a test sample, and what there is to gain."""
    auc = [auc_per_label(test.truth, q) for q in (refined, alone, test.best)]
    log_loss = float(np.mean(losses(test.truth, alone) - losses(test.truth, refined)))
    return Gained(auc[0] - auc[1], auc[2] - auc[1], log_loss)


def main(table: Path | None) -> None:
    """Print a line for each world, strictness and seed."""
    worlds: list[tuple[str, KnownCouplings | LabelSets, int, slice]] = []
    for seed in range(3):
        worlds.append(("known couplings, hidden labels", known_couplings(seed), 8_000, slice(8, None)))
        worlds.append(("independent labels", independent_labels(seed), 6_000, slice(None)))
        if table is not None:
            truth = nih_truth(table, without=["Hernia"])[1]
            worlds.append(("NIH's label sets", label_sets(truth, seed), 6_000, slice(None)))
    print("world, strictness: AUC gained (most), log loss gained, share of exact zeros")
    for number, (name, world, n, labels) in enumerate(worlds):
        train, test = world.draw(n, 2 * number), world.draw(n, 2 * number + 1)
        for strictness in (1.0, 2.0):
            couplings, refined, alone = fitted(train, test, strictness)
            one, zero = gained(test, refined, alone), (couplings.fitted.A == 0).mean()
            auc, most = one.auc[labels].mean(), one.most[labels].mean()
            print(
                f"{name}, {strictness:g}: {auc:+.4f} ({most:+.4f}), {one.log_loss:+.4f}, {zero:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
