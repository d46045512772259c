"""The training loop of one fold: resumable at any batch, with the same bytes at its end.

Nothing here depends on what ran before: the order of an epoch, each image's view and each step's dropout follow
from (seed, repeat, fold, epoch, batch or image), so a resumed run repeats exactly what an undisturbed one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from couplet.images.loading.feed import image_batches
from couplet.models.device import explained_out_of_memory
from couplet.models.predictor import Predictor
from couplet.project.console import progress, say
from couplet.project.errors import Stopped, UserError
from couplet.settings.params import Params
from couplet.training.batches import Batches
from couplet.training.boost import boosts, image_weights
from couplet.training.checkpoint import (
    Tensors,
    load_shared_checkpoint,
    load_training_tensors,
    save_checkpoint,
    training_tensors,
)
from couplet.training.ema import EMA
from couplet.training.loss import build_loss
from couplet.training.optimizer import build_optimizer
from couplet.training.parts import Parts, refuse_other_weights
from couplet.training.processes import ALONE, Processes
from couplet.training.schedule import learning_rate_factor
from couplet.training.state import FoldData, Progress
from couplet.training.step import Batch, Outcome, Step
from couplet.training.validation import REMEDY, predicted, validation_auc


class Trainer:
    """Trains a predictor on one fold. After `run`, `best` holds the weights of the best epoch.

    `processes` share the steps' parts, and all end with the same bytes; the first alone prints and writes.
    """

    def __init__(
        self,
        predictor: Predictor,
        params: Params,
        fold: int,
        data: FoldData,
        precision: str,
        processes: Processes = ALONE,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.params, self.fold, self.data, self.precision = params, fold, data, precision
        self.who = f"fold {fold}" + (f", level {predictor.level}" if predictor.n_levels > 1 else "")
        self.device = next(predictor.parameters()).device
        self.predictor = predictor
        averaged = (params.ema.decay, predictor.sparse_tensors(), predictor.own_state().keys())
        self.ema = EMA(predictor, *averaged) if params.ema.enabled else None
        self.optimizer = build_optimizer(predictor, params.optimizer)
        self.batches = Batches(predictor, params, fold, data)
        self.processes, self.parts = processes, Parts(params.train.parts, processes, asked_to_stop)
        self._stopping = False
        self.loss = build_loss(params.loss, data.train_truth).to(self.device)
        self.step = Step(
            predictor,
            self.loss,
            self.optimizer,
            self.ema,
            precision=precision,
            max_grad_norm=params.optimizer.max_grad_norm,
            on_outcome=self._count,
            learning_rate_factor=lambda: self._learning_rate_factor(self.progress.steps),
            parts=self.parts,
        )
        self.progress = Progress(self.batches.first_epoch)
        self.earlier: list[Progress] = []  # of the phases before
        self.best: Tensors = {}

    # --- the story --------------------------------------------------------------------------------------------

    def run(self, folder: Path) -> None:
        """Train to the last epoch or until patience ends, going on from a checkpoint in `folder`."""
        self._resume(folder)
        if boosts(self.predictor, self.params) and not self._finished() and self.batches.weights is None:
            self.batches.weights = image_weights(
                self.predictor, self.params, self.data, self.precision, self.processes, self.who
            )
        while not self._finished():
            with explained_out_of_memory("train.batch_size"):
                self._train_epoch(folder)
            refuse_other_weights(self.processes, self.predictor, self.progress.number)
            self._validate()
            self.progress.epoch += 1
            self.progress.batch = 0
            self._save(folder)
        if self.progress.lost and not self.progress.steps:
            raise UserError(
                f"{self.who}: all {self.progress.lost} batches gave a loss or gradient that is not finite"
                f"{self.progress.overflows}, so nothing was learned: {REMEDY}"
            )

    def _finished(self) -> bool:
        waited = self.progress.epoch - 1 - self.progress.best_epoch
        patient = self.progress.epoch == 0 or waited < self.params.train.patience
        return self.progress.epoch >= self.params.schedule.epochs or not patient

    def _train_epoch(self, folder: Path) -> None:
        state, size = self.progress, self.params.train.batch_size
        order = self.batches.order(state.epoch)
        left = order[state.batch * size :]
        if state.batch == 0:
            state.begin_epoch()
        own = self.parts.of_this_process(self.data.train_positions[self.batches.rows[left]], size)
        images = image_batches(self.data.store, own, size // self.processes.size, self.device)
        name = f"{self.who}, epoch {state.number}/{self.predictor.n_levels * self.params.schedule.epochs}"
        saved = time.monotonic()
        self.predictor.train()
        self.loss.begin_epoch(state.epoch)
        for stored in progress(images, name, self.batches.per_epoch - state.batch):
            self._train_step(stored, order[state.batch * size : (state.batch + 1) * size])
            state.batch += 1
            # Before the clock is asked, which is each process's own: what it makes one read earlier must not stop that
            # process a step earlier than the others.
            self._stop_if_asked(folder)
            if time.monotonic() - saved > 60 * self.params.train.checkpoint_minutes:
                self.step.read_outcome()
                self._save(folder)
                saved = time.monotonic()
        self.step.read_outcome()
        self._stop_if_asked(folder)

    def _train_step(self, stored: torch.Tensor, turns: np.ndarray) -> None:
        if self.parts.n == 1:
            self.step(self.batch(stored, turns))
            return
        truth = self.data.train_truth[self.batches.rows[turns]]
        shares = self.parts.shares(stored, turns, truth, self.params.loss.reduction)
        parts = (self.batch(part.stored, part.rows, part.number, part.weight) for part in shares)
        self.step.in_parts(self.progress.batch, parts)

    def batch(
        self, stored: torch.Tensor, turns: np.ndarray, part: int | None = None, weight: float = 1.0
    ) -> Batch:
        """The coming batch: see `Batches.batch`."""
        return self.batches.batch(stored, turns, self.progress.epoch, self.progress.batch, part, weight)

    def _count(self, outcome: Outcome) -> None:
        """Take in what became of a batch."""
        state = self.progress
        self._stopping = self._stopping or outcome.stop
        state.count(outcome, self.precision)
        if state.skipped_in_a_row > self.params.train.max_skipped_in_a_row:
            raise UserError(
                f"{self.who}: {state.skipped_in_a_row} batches in a row gave a loss or gradient that is not "
                f"finite (epoch {state.number}, batch {outcome.batch + 1}): {REMEDY}"
            )

    def _stop_if_asked(self, folder: Path) -> None:
        """After SIGTERM: write a checkpoint and raise `Stopped`, in all processes after the same step."""
        if self._stopping:
            self.step.read_outcome()
            self._save(folder)
            where = f"epoch {self.progress.number}, batch {self.progress.batch + 1}"
            raise Stopped(f"{self.who}: stopped by SIGTERM at {where}: run `dvc repro` to go on")

    def _learning_rate_factor(self, step: int) -> float:
        scores = [epoch["val_auc_macro"] for epoch in self.progress.history]
        return learning_rate_factor(self.params.schedule, step, self.batches.per_epoch, scores)

    def _validate(self) -> None:
        """Validation macro-AUC of the averaged weights, without TTA; the best epoch is kept (ties: the earlier)."""
        with self.ema.applied() if self.ema else nullcontext():
            auc, diagnostics = self._score()
            if auc > self.progress.best_auc:
                self.progress.best_auc, self.progress.best_epoch = auc, self.progress.epoch
                self.best = {key: tensor.clone() for key, tensor in self.predictor.own_state().items()}
        self._record(auc, diagnostics)

    def _score(self) -> tuple[float, dict[str, float | None]]:
        """Validation macro-AUC and the predictor's diagnostics, of the weights now."""
        data, how = self.data, (self.precision, self.processes, f"{self.who}, validation")
        probabilities = predicted(self.predictor, self.params, data, data.val_positions, *how)
        return validation_auc(probabilities, data, self.who, self.progress), self.predictor.diagnostics()

    def _record(self, auc: float, diagnostics: dict[str, float | None]) -> None:
        """One row of the history, and one line for whoever watches."""
        state = self.progress
        mean_loss = state.loss_sum / state.loss_batches if state.loss_batches else None
        # The rate of the last update done: `steps` counts updates, so the last one has the number steps - 1.
        lr = self.params.optimizer.lr * self._learning_rate_factor(max(state.steps - 1, 0))
        state.history.append(
            {
                "epoch": state.number,
                **({"level": self.predictor.level} if self.predictor.n_levels > 1 else {}),
                "train_loss": mean_loss,
                "val_auc_macro": auc,
                "lr": lr,
                **diagnostics,
                "skipped_batches": state.skipped_in_epoch,
                **({"overflowed_batches": state.overflowed_in_epoch} if self.precision == "fp16" else {}),
            }
        )
        shown = "none (every batch was skipped)" if mean_loss is None else f"{mean_loss:.4f}"
        result = f"train loss {shown}, validation macro-AUC {auc:.4f}{state.lost_in_epoch}"
        say(f"{self.who}, epoch {state.number}: {result}")
        for warning in self.predictor.warnings(diagnostics):
            say(f"{self.who}, epoch {state.number}: {warning}")

    # --- checkpoints ------------------------------------------------------------------------------------------

    def _save(self, folder: Path) -> None:
        if not self.processes.first:
            return
        state = self.progress
        state.scaler = self.step.scaler.state_dict()
        groups: dict[str, tuple[str, Tensors]] = {}
        # A finished run is never resumed, so what it would go on from (up to a gigabyte) is not written.
        if not self._finished():
            groups["state"] = (
                f"{state.epoch}.{state.batch}",
                training_tensors(self.predictor, self.ema, self.optimizer),
            )
            if self.batches.weights is not None:
                groups["weights"] = ("0", {"weights": torch.from_numpy(self.batches.weights)})
        if self.best:
            groups["best"] = (f"{state.best_epoch}", self.best)
        save_checkpoint(folder, asdict(state), groups)

    def _resume(self, folder: Path) -> None:
        checkpoint = load_shared_checkpoint(folder, self.processes)
        if checkpoint is None:
            return
        self.progress = Progress(**checkpoint.progress)
        self.best = checkpoint.groups.get("best", {})
        if self._finished():
            say(f"{self.who}: going on from its finished run")
            return
        if "weights" in checkpoint.groups:
            self.batches.weights = checkpoint.groups["weights"]["weights"].numpy()
        load_training_tensors(checkpoint.groups["state"], self.predictor, self.ema, self.optimizer)
        if self.progress.scaler:
            self.step.scaler.load_state_dict(self.progress.scaler)
        say(f"{self.who}: going on from epoch {self.progress.number}, batch {self.progress.batch + 1}")
