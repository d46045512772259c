"""The training loop of one fold: resumable at any batch, with the same bytes at its end.

Nothing here depends on what ran before: the order of an epoch, each image's view and each step's dropout follow
from (seed, repeat, fold, epoch, batch or image), so a resumed run repeats exactly what an undisturbed one does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from couplet.evaluation.metrics import macro_auc
from couplet.images.draws import dropout_seed, epoch_order, image_keys, taught, uniforms
from couplet.images.feed import image_batches
from couplet.images.views import N_DRAWS, training_view
from couplet.inference.predict import predict_probabilities
from couplet.models.device import explained_out_of_memory
from couplet.models.predictor import Predictor, normalisation
from couplet.project.console import progress, say
from couplet.project.errors import Stopped, UserError
from couplet.settings.params import Params
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
from couplet.training.parts import Parts, predicted_together, refuse_other_weights
from couplet.training.processes import ALONE, Processes
from couplet.training.schedule import learning_rate_factor
from couplet.training.state import FoldData, Progress
from couplet.training.step import Batch, Outcome, Step

REMEDY = "lower optimizer.lr or optimizer.max_grad_norm, or set train.precision to float32"


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
        self.device = next(predictor.parameters()).device
        self.predictor = predictor
        averaged = (params.ema.decay, predictor.sparse_tensors())
        self.ema = EMA(predictor, *averaged) if params.ema.enabled else None
        self.optimizer = build_optimizer(predictor, params.optimizer)
        self.mean_std = normalisation(predictor.backbone)
        self.keys = image_keys(data.train_ids)
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
        self.batches_per_epoch = len(data.train_ids) // params.train.batch_size
        if self.batches_per_epoch == 0:
            raise UserError(
                f"fold {fold} trains on {len(data.train_ids)} images, fewer than train.batch_size = "
                f"{params.train.batch_size}: lower train.batch_size"
            )
        self.progress = Progress()
        self.best: Tensors = {}

    # --- the story --------------------------------------------------------------------------------------------

    def run(self, folder: Path) -> None:
        """Train to the last epoch or until patience ends, going on from a checkpoint in `folder`."""
        self._resume(folder)
        while not self._finished():
            with explained_out_of_memory("train.batch_size"):
                self._train_epoch(folder)
            refuse_other_weights(self.processes, self.predictor, self.progress.epoch + 1)
            self._validate()
            self.progress.epoch += 1
            self.progress.batch = 0
            self._save(folder)
        if self.progress.lost and not self.progress.steps:
            raise UserError(
                f"fold {self.fold}: all {self.progress.lost} batches gave a loss or gradient that is not finite"
                f"{self.progress.overflows}, so nothing was learned: {REMEDY}"
            )

    def _finished(self) -> bool:
        waited = self.progress.epoch - 1 - self.progress.best_epoch
        patient = self.progress.epoch == 0 or waited < self.params.train.patience
        return self.progress.epoch >= self.params.schedule.epochs or not patient

    def _train_epoch(self, folder: Path) -> None:
        state, size = self.progress, self.params.train.batch_size
        seed, repeat = self.params.seed, self.params.train.repeat
        order = epoch_order(len(self.keys), seed, self.fold, state.epoch, repeat)
        order = order[: self.batches_per_epoch * size]  # the last incomplete batch is dropped
        left = order[state.batch * size :]
        if state.batch == 0:
            state.begin_epoch()
        own = self.parts.of_this_process(self.data.train_positions[left], size)
        batches = image_batches(self.data.store, own, size // self.processes.size, self.device)
        name = f"fold {self.fold}, epoch {state.epoch + 1}/{self.params.schedule.epochs}"
        saved = time.monotonic()
        self.predictor.train()
        self.loss.begin_epoch(state.epoch)
        for stored in progress(batches, name, self.batches_per_epoch - state.batch):
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

    def _train_step(self, stored: torch.Tensor, rows: np.ndarray) -> None:
        if self.parts.n == 1:
            self.step(self.batch(stored, rows))
            return
        shares = self.parts.shares(stored, rows, self.data.train_truth[rows], self.params.loss.reduction)
        parts = (self.batch(part.stored, part.rows, part.number, part.weight) for part in shares)
        self.step.in_parts(self.progress.batch, parts)

    def batch(
        self, stored: torch.Tensor, rows: np.ndarray, part: int | None = None, weight: float = 1.0
    ) -> Batch:
        """The coming batch: this epoch's views of `stored` images (B, C, S', S'), which are `rows` of the fold.

        Of a step made of parts, the part of this number, whose loss has this weight.
        """
        params, state = self.params, self.progress
        repeat = params.train.repeat
        draws = uniforms(self.keys[rows], params.seed, self.fold, state.epoch, N_DRAWS, repeat)
        images = training_view(stored, draws, params.image.size, params.augment, *self.mean_std)
        truth = torch.from_numpy(self.data.train_truth[rows]).to(self.device, non_blocking=True)
        seed = dropout_seed(params.seed, self.fold, state.epoch, state.batch, repeat, part)
        metadata = self._metadata(self.data.train_positions[rows])
        told = None if metadata is None else torch.from_numpy(metadata).to(self.device, non_blocking=True)
        return Batch(images, truth, rows, state.epoch, state.batch, seed, weight, self._known(rows), told)

    def _metadata(self, positions: np.ndarray) -> np.ndarray | None:
        return None if self.data.metadata is None else self.data.metadata[positions]

    def _known(self, rows: np.ndarray) -> torch.Tensor | None:
        """The labels that the predictor is told in this epoch: all that are known of the taught images (B, L)."""
        share, params = self.predictor.taught_share, self.params
        if not share:
            return None
        told = taught(
            self.keys[rows], params.seed, self.fold, self.progress.epoch, share, params.train.repeat
        )
        known = np.where(told[:, None], self.data.train_truth[rows], np.float32("nan"))
        return torch.from_numpy(known).to(self.device, non_blocking=True)

    def _count(self, outcome: Outcome) -> None:
        """Take in what became of a batch."""
        state = self.progress
        self._stopping = self._stopping or outcome.stop
        if outcome.finite:
            state.steps += 1
            state.loss_sum += outcome.loss
            state.loss_batches += 1
            state.skipped_in_a_row = 0
        elif self.precision == "fp16" and math.isfinite(outcome.loss) and outcome.scale > 1:
            # fp16 begins with a scale that is too large, on purpose: that says nothing about the training.
            state.overflowed += 1
            state.overflowed_in_epoch += 1
        else:
            state.skipped += 1
            state.skipped_in_epoch += 1
            state.skipped_in_a_row += 1
        if state.skipped_in_a_row > self.params.train.max_skipped_in_a_row:
            raise UserError(
                f"fold {self.fold}: {state.skipped_in_a_row} batches in a row gave a loss or gradient that is not "
                f"finite (epoch {state.epoch + 1}, batch {outcome.batch + 1}): {REMEDY}"
            )

    def _stop_if_asked(self, folder: Path) -> None:
        """After SIGTERM: write a checkpoint and raise `Stopped`, in all processes after the same step."""
        if self._stopping:
            self.step.read_outcome()
            self._save(folder)
            where = f"epoch {self.progress.epoch + 1}, batch {self.progress.batch + 1}"
            raise Stopped(f"fold {self.fold}: stopped by SIGTERM at {where}: run `dvc repro` to go on")

    def _learning_rate_factor(self, step: int) -> float:
        scores = [epoch["val_auc_macro"] for epoch in self.progress.history]
        return learning_rate_factor(self.params.schedule, step, self.batches_per_epoch, scores)

    def _validate(self) -> None:
        """Validation macro-AUC of the averaged weights, without TTA; the best epoch is kept (ties: the earlier)."""
        with self.ema.applied() if self.ema else nullcontext():
            auc, diagnostics = self._score()
            if auc > self.progress.best_auc:
                self.progress.best_auc, self.progress.best_epoch = auc, self.progress.epoch
                self.best = {key: tensor.clone() for key, tensor in self.predictor.state_dict().items()}
        self._record(auc, diagnostics)

    def _score(self) -> tuple[float, dict[str, float | None]]:
        """Validation macro-AUC and the predictor's diagnostics, of the weights now."""
        data = self.data
        # Not inference.batch_size: kernels add in another order for another size, so that the last digits, and
        # with them the best epoch, would follow from it, and a fold would have to be trained again for it.
        batch_size = self.params.train.batch_size
        probabilities = predicted_together(
            lambda positions: predict_probabilities(
                self.predictor,
                data.store,
                positions,
                size=self.params.image.size,
                batch_size=batch_size,
                size_setting="train.batch_size",
                tta=False,
                view=self.params.inference.view,
                metadata=self._metadata(positions),
                precision=self.precision,
                description=f"fold {self.fold}, validation",
            ),
            data.val_positions,
            batch_size,
            self.processes,
        )
        broken = int((~np.isfinite(probabilities)).sum())
        if broken:
            raise UserError(
                f"fold {self.fold}: after epoch {self.progress.epoch + 1} {broken} of {probabilities.size} validation "
                f"probabilities are not finite ({self.progress.skipped} batches were skipped): the training "
                f"diverged, {REMEDY}"
            )
        auc, _ = macro_auc(data.val_truth, probabilities)
        if math.isnan(auc):
            raise UserError(
                f"fold {self.fold}: no label has both positives and negatives among the {len(data.val_truth)} "
                "validation images, so no epoch can be chosen: use fewer split.folds or more data"
            )
        return auc, self.predictor.diagnostics()

    def _record(self, auc: float, diagnostics: dict[str, float | None]) -> None:
        """One row of the history, and one line for whoever watches."""
        state = self.progress
        mean_loss = state.loss_sum / state.loss_batches if state.loss_batches else None
        # The rate of the last update done: `steps` counts updates, so the last one has the number steps - 1.
        lr = self.params.optimizer.lr * self._learning_rate_factor(max(state.steps - 1, 0))
        state.history.append(
            {
                "epoch": state.epoch + 1,
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
        say(f"fold {self.fold}, epoch {state.epoch + 1}: {result}")
        for warning in self.predictor.warnings(diagnostics):
            say(f"fold {self.fold}, epoch {state.epoch + 1}: {warning}")

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
            say(f"fold {self.fold}: going on from its finished run")
            return
        load_training_tensors(checkpoint.groups["state"], self.predictor, self.ema, self.optimizer)
        if self.progress.scaler:
            self.step.scaler.load_state_dict(self.progress.scaler)
        say(
            f"fold {self.fold}: going on from epoch {self.progress.epoch + 1}, batch {self.progress.batch + 1}"
        )
