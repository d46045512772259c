"""What could make a run's numbers too good: somebody in two parts, models of other data, epochs that were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from couplet.datasets.derived import what_is_shared
from couplet.project.project import Project
from couplet.results.model_record import ModelRecord, other_tables, read_model_record
from couplet.results.scores import SplitMetrics, read_split_metrics
from couplet.results.tables import read_table
from couplet.settings.params import Params


class Line(NamedTuple):
    """One sentence of the record; `attention` where numbers may be too good because of it."""

    text: str
    attention: bool = False


@dataclass(frozen=True)
class Leaks:
    """The leak record of a run: counts, and the sentences that the report prints.

    Attributes:
        split: who and which pictures are in two parts (metrics/split.json).
        by_patient: whether folds were dealt by patient.
        other_data: fold to the tables that its model was trained on and that are not those that are here.
        chosen: fold to val_auc_macro of the epoch that was kept minus that of the last: an upper bound of what the
            choice adds to the fold's out-of-fold score; None where one of them is undefined.
        sharpened: whether the ensemble's calibration reads the predictions of the test part.
        made_of: of a combined set, why people may be in two of its members under other names, in words.
    """

    split: SplitMetrics
    by_patient: bool
    other_data: dict[int, list[str]]
    chosen: dict[int, float | None]
    sharpened: bool
    made_of: tuple[str, ...] = ()

    @property
    def patients_known(self) -> bool:
        """Whether patients are named; otherwise nobody knows who is in two parts."""
        return self.split.n_patients is not None

    @property
    def clean(self) -> bool:
        """Whether patients are known, none of them and no picture is in two parts, and all models are of this data."""
        return not any(line.attention for line in self.lines())

    def flags_of(self, part: str) -> tuple[str, ...]:
        """Flags of every estimate of a part.

        Args:
            part: "oof" or "test".

        Returns:
            Keys of `evaluation.estimate.FLAGS`, in that order: `selected` out of fold, because the epoch was chosen
            there; `leak` where somebody or some picture of the part was, or may have been under another name, in the
            training of its models.
        """
        split = self.split
        if part == "oof":
            counts = (split.patients_in_two_folds, split.pictures_in_two_folds)
        elif part == "test":
            counts = (split.patients_in_train_and_test, split.pictures_in_train_and_test)
        else:
            raise ValueError(f"part must be oof or test, not {part!r}")
        leak = any(counts) or bool(self.other_data or self.made_of)
        return ("selected",) * (part == "oof") + ("leak",) * leak

    @property
    def summary(self) -> str:
        """The record in one line."""
        split = self.split
        counts = {
            "in two folds": (split.patients_in_two_folds, split.pictures_in_two_folds),
            "in folds and test part": (split.patients_in_train_and_test, split.pictures_in_train_and_test),
        }
        found = [
            f"{_count(n, what)} {where}"
            for where, both in counts.items()
            for n, what in zip(both, ("patient", "picture"), strict=True)
            if n
        ]
        found += [
            f"fold {fold} trained on another {', '.join(files)}" for fold, files in self.other_data.items()
        ]
        found += self.made_of
        if not self.patients_known:
            found.append("patients are not named")
        return (
            "; ".join(found) or "no patient and no picture is in two parts, and every model is of this split"
        )

    def lines(self) -> list[Line]:
        """The whole record, a sentence each."""
        return [
            *self._patient_lines(),
            *self._picture_lines(),
            *self._model_lines(),
            self._chosen_line(),
            *self._fitted_lines(),
        ]

    # --- sentences ------------------------------------------------------------------------------------------------

    def _patient_lines(self) -> list[Line]:
        in_folds, in_test = self.split.patients_in_two_folds, self.split.patients_in_train_and_test
        if in_folds is None or in_test is None:
            return [
                Line(
                    "No patients are named: nobody can say who is in two folds, or in folds and test part.",
                    True,
                )
            ]
        why = "" if self.by_patient else ", because split.group_by is none"
        lines = [
            Line(
                f"{_nobody(in_folds, 'patient')} images in two folds{why if in_folds else ''}.", in_folds > 0
            )
        ]
        if self.split.n_test_images:
            where = "in the folds and in the test part"
            lines.append(Line(f"{_nobody(in_test, 'patient')} images {where}.", in_test > 0))
        return lines

    def _picture_lines(self) -> list[Line]:
        split = self.split
        n = split.pictures_in_two_folds
        lines = [Line(f"{_is_in(n)} two folds.", n > 0)]
        if split.n_test_images:
            n = split.pictures_in_train_and_test
            lines.append(Line(f"{_is_in(n)} the folds and in the test part.", n > 0))
        if split.patients_sharing_a_picture:
            torn = split.pictures_in_two_folds + split.pictures_in_train_and_test
            together = " and are dealt together" if self.by_patient and not torn else ""
            what = f"{_count(split.patients_sharing_a_picture, 'patient')} share a picture with another"
            lines.append(Line(f"{what}{together}."))
        lines += self._pair_lines()
        lines.append(
            Line(
                "Only pictures that are stored as the same bytes count as one: near-duplicates are not searched."
            )
        )
        return lines

    def _pair_lines(self) -> list[Line]:
        """Of a combined set, which two members share pictures, or people under other names."""
        pairs = self.split.shared_between
        if pairs is None:
            return []
        found = [
            Line(
                f"{_count(counts['pictures'], 'picture')} of {_count(counts['patients'], 'patient')} "
                f"{'is' if counts['pictures'] == 1 else 'are'} in both {pair}."
            )
            for pair, counts in pairs.items()
            if counts["pictures"]
        ]
        made_of = [Line(f"{why}.", True) for why in self.made_of]
        return [*(found or [Line("No two of the combined data sets share a picture.")]), *made_of]

    def _model_lines(self) -> list[Line]:
        if not self.other_data:
            return [Line("Every model was trained on the split and the store that are here.")]
        return [
            Line(f"The model of fold {fold} was trained on another {', '.join(files)} than is here.", True)
            for fold, files in self.other_data.items()
        ]

    def _chosen_line(self) -> Line:
        known = {fold: gain for fold, gain in self.chosen.items() if gain is not None}
        what = "Each model's epoch was chosen on the images that it is scored on out of fold"
        if not known:
            return Line(f"{what}; what that adds to its macro-AUC is not known.")
        most = max(known, key=lambda fold: known[fold])
        if known[most] == 0 and len(known) == len(self.chosen):
            return Line(f"{what}; the choice adds nothing, since the last epoch is as good in every fold.")
        return Line(
            f"{what}; that adds at most {known[most]:.4f} to its macro-AUC (fold {most}, against its last epoch)."
        )

    def _fitted_lines(self) -> list[Line]:
        if not self.split.n_test_images:
            return []
        lines = [Line("Nothing is fitted on labels of the test part.")]
        if self.sharpened:
            lines.append(
                Line(
                    "How far the folds' models disagree is measured on the predictions of the test part, without its "
                    "labels; a later image is corrected by the same factor."
                )
            )
        return lines


def read_leaks(project: Project, params: Params, members: Mapping[str, str] | None = None) -> Leaks:
    """The leak record of the run below a root.

    Args:
        project: where metrics/split.json, and each model's config.json and history.csv are. Tables that are missing
            are not compared with what the models were trained on.
        params: the settings of the run.
        members: of a combined set, as `Manifest.members`.

    Raises:
        UserError: a file is missing or damaged.
    """
    pairs = combinations((members or {}).items(), 2)
    shared = [what_is_shared(one, other, name, other_name) for (name, one), (other_name, other) in pairs]
    records = {fold: read_model_record(project.model(fold)) for fold in params.split.folds}
    others = {fold: other_tables(record, project) for fold, record in records.items()}
    return Leaks(
        split=read_split_metrics(project),
        by_patient=params.split.group_by == "patient",
        other_data={fold: files for fold, files in others.items() if files},
        chosen={fold: gain_of_choice(record, project) for fold, record in records.items()},
        sharpened=params.calibration.method != "none" and params.calibration.sharpen and len(records) > 1,
        made_of=tuple(filter(None, shared)),
    )


def gain_of_choice(record: ModelRecord, project: Project) -> float | None:
    """val_auc_macro of the epoch that was kept minus that of the last one; None where one is undefined."""
    path = project.model(record.fold) / "history.csv"
    history = read_table(path, (), ("epoch", "val_auc_macro")).apply(pd.to_numeric, errors="coerce")
    kept = history.loc[history["epoch"] == record.best_epoch, "val_auc_macro"]
    gain = float(kept.iloc[0] - history["val_auc_macro"].iloc[-1]) if len(kept) else np.nan
    return gain if np.isfinite(gain) else None


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _nobody(n: int, what: str) -> str:
    return f"{_count(n, what)} {'has' if n == 1 else 'have'}" if n else f"No {what} has"


def _is_in(n: int) -> str:
    found = f"{_count(n, 'picture')} of different patients {'is' if n == 1 else 'are'}"
    return f"{found if n else 'No picture of different patients is'} in"
