"""Stage split_mis: deal the images to a test part and stratified folds, and measure how even the deal is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.project.files import write_csv
from couplet.project.project import Project
from couplet.results.folds import write_folds
from couplet.results.group_columns import refuse_unknown_groups
from couplet.results.manifest import Manifest, read_manifest
from couplet.results.scores import SplitMetrics, write_split_metrics
from couplet.running.stale import refuse_stale_folds
from couplet.settings.params import load_params
from couplet.settings.schema.split import SplitParams
from couplet.splits.fallback import GROUPED, stratified_folds
from couplet.splits.mis import stratified_group_parts
from couplet.splits.quality import (
    label_distribution_deviation,
    label_pair_distribution_deviation,
    patients_in_two_folds,
)
from couplet.splits.sharing import (
    linked_patients,
    pictures_in_two_parts,
    refuse_too_many_linked,
    shared_between,
    shared_pictures,
)
from couplet.splits.usable import one_valued_line, refuse_untrainable


def split_mis() -> None:
    """Write the fold of every image: a number, `test`, or `train` (never held out, with split.holdout)."""
    params = load_params()
    refuse_stale_folds(params.split.folds)
    manifest = read_manifest(Project())
    refuse_unknown_groups(manifest, params.report.groups)  # not after hours of training, in the report
    people = linked_patients(manifest.patients, manifest.pictures)
    groups = groups_to_keep_together(manifest, people, params.split)
    fold = choose_test_part(manifest, people, params.split, params.seed)
    splitter = deal_folds(fold, manifest, groups, params.split, params.seed)
    scored_truth = manifest.scored_truth(params.inference.unscored)
    refuse_untrainable(scored_truth, fold, params.split.folds, params.train.batch_size)
    metrics = split_metrics(fold, manifest, splitter)
    torn = metrics.patients_in_two_folds, metrics.pictures_in_two_folds
    if params.split.group_by == "patient" and any(torn):
        raise AssertionError(f"(patients, pictures) in two folds: {torn}: nothing was written")

    write_folds(manifest, fold)
    write_split_metrics(manifest.project, metrics)
    write_csv(manifest.project.split_plot, positives_per_part(fold, manifest), float_format="%.6f")
    parts, counts = np.unique(fold, return_counts=True)
    say(
        f"split by {splitter}: "
        + ", ".join(f"{part} {count:,}" for part, count in zip(parts, counts, strict=True))
        + f" images; patients in two folds: {_or_unknown(metrics.patients_in_two_folds)}, "
        + f"in train and test: {_or_unknown(metrics.patients_in_train_and_test)}"
    )
    say_who_shares(metrics, manifest, params.split)
    say_what_is_idle(fold, manifest, params.split)


def say_who_shares(metrics: SplitMetrics, manifest: Manifest, split: SplitParams) -> None:
    """Say how many pictures different patients share, if any, and where these images are."""
    shared = shared_pictures(manifest.patients, manifest.pictures)
    if not shared.any():
        return
    patients, pictures = (len(pd.unique(column[shared])) for column in (manifest.patients, manifest.pictures))
    torn = metrics.pictures_in_two_folds + metrics.pictures_in_train_and_test
    together = ", who are dealt together" if split.group_by == "patient" and not torn else ""
    say(
        f"warning: {pictures:,} picture{'' if pictures == 1 else 's'} of {patients:,} patients{together}; in two "
        f"folds: {metrics.pictures_in_two_folds:,}, in train and test: {metrics.pictures_in_train_and_test:,}"
    )


def say_what_is_idle(fold: np.ndarray, manifest: Manifest, split: SplitParams) -> None:
    """Say which labels nothing can be learned of, and which chosen settings of the test part change nothing."""
    if idle := one_valued_line(manifest.truth[fold != "test"], manifest.labels):
        say(f"warning: {idle}")
    own = bool((manifest.table["part"] == "test").any())
    if not own and not split.own_test:
        say("split.own_test = false changes nothing: the data set has no test part of its own")
    if own and split.own_test and split.test_fraction != SplitParams.model_fields["test_fraction"].default:
        say(f"split.test_fraction = {split.test_fraction} is not used: the data set has its own test part")


def groups_to_keep_together(manifest: Manifest, people: np.ndarray, split: SplitParams) -> np.ndarray:
    """(N,) what must not be torn apart: `people`, or each image by itself (group_by: none).

    Args:
        manifest: all images.
        people: (N,) the patient of each image, those that share a picture as one.
        split: how they are dealt.

    Raises:
        UserError: an image to split has no patient.
    """
    if split.group_by == "none":
        return manifest.ids
    patients = manifest.table["patient_id"].to_numpy()
    blank = np.flatnonzero((patients == "") & ~own_test_part(manifest, split))
    if len(blank):
        raise UserError(
            f"{manifest.project.manifest}: {len(blank)} of {len(patients)} images have no patient_id (first: "
            f"{manifest.ids[blank[0]]}): name their patients, or set split.group_by: none"
        )
    return people


def own_test_part(manifest: Manifest, split: SplitParams) -> np.ndarray:
    """(N,) which images are the data set's own test part; none are with split.own_test: false.

    Raises:
        UserError: it should be dealt anew, and none of its labels is known: nothing could be trained on it.
    """
    own = manifest.table["part"].to_numpy() == "test"
    if split.own_test or not own.any():
        return own
    if not np.isfinite(manifest.truth[own]).any():
        raise UserError(
            f"{manifest.project.params}: split.own_test is false, but no label of the data set's own test part is "
            f"known in {manifest.project.manifest}: set it to true"
        )
    return np.zeros_like(own)


def choose_test_part(manifest: Manifest, people: np.ndarray, split: SplitParams, seed: int) -> np.ndarray:
    """(N,) "test" or "": the data set's own test part (split.own_test), else split.test_fraction of it, stratified.

    Also where the folds are dealt by image (split.group_by: none, as the paper does) the test part is dealt by
    patient, those that share a picture as one, so that its score does not leak.

    Raises:
        UserError: no labelled image is left for the folds, or the fraction gives an empty test part.
    """
    test = own_test_part(manifest, split)
    if not (np.isfinite(manifest.truth) & ~test[:, None]).any():
        raise UserError(
            f"{manifest.project.manifest}: none of its {(~test).sum()} train images has a label: check the label "
            "table, data.uncertain and data.unmentioned"
        )
    if not test.any() and split.test_fraction > 0:
        shares = [split.test_fraction, 1 - split.test_fraction]
        test = stratified_group_parts(manifest.truth, people, shares, seed) == 0
        n_groups = len(pd.unique(people))
        if not test.any() or test.all():
            raise UserError(
                f"split.test_fraction = {split.test_fraction} of {_count(n_groups, split)} leaves "
                f"{'no image for the folds' if test.any() else 'the test part empty'}: "
                "set it to 0 or bring more data"
            )
    return np.where(test, "test", "").astype(object)


def deal_folds(
    fold: np.ndarray, manifest: Manifest, groups: np.ndarray, split: SplitParams, seed: int
) -> str:
    """Fill the empty cells of `fold` in place with 0 .. K-1, or 0 and "train"; return the splitter's name.

    Raises:
        UserError: too few patients (images) for the folds, a fold would be empty, or patients who share pictures
            have more images than a part holds.
    """
    rows = np.flatnonzero(fold == "")
    rows = rows[np.argsort(manifest.ids[rows], kind="stable")]  # the image splitters depend on the order
    labels, together, n_folds = manifest.truth[rows], groups[rows], len(split.folds)
    n_groups = len(pd.unique(together))
    if split.group_by == "patient":
        largest = max(split.holdout, 1 - split.holdout) if split.holdout > 0 else 1 / n_folds
        refuse_too_many_linked(
            manifest.ids[rows], manifest.patients[rows], manifest.pictures[rows], together, largest
        )
    if split.holdout > 0:
        names, splitter = ["0", "train"], GROUPED
        part = stratified_group_parts(labels, together, [split.holdout, 1 - split.holdout], seed)
        setting = f"split.holdout = {split.holdout}"
    else:
        names = [str(k) for k in split.folds]
        setting = f"split.folds = {split.folds}"
        if n_groups < n_folds:
            raise UserError(
                f"{setting} needs at least {_count(n_folds, split)}, and {n_groups} can be dealt to them: "
                "list fewer folds, lower split.test_fraction or bring more data"
            )
        by_patient = together if split.group_by == "patient" else None
        part, splitter = stratified_folds(labels, by_patient, n_folds, seed)
    size = np.bincount(part, minlength=len(names))
    if (size == 0).any():
        raise UserError(
            f"{setting} leaves part {names[int(size.argmin())]!r} empty, of {len(rows)} images of "
            f"{_count(n_groups, split)}: change it or bring more data"
        )
    fold[rows] = np.array(names, dtype=object)[part]
    return splitter


def split_metrics(fold: np.ndarray, manifest: Manifest, splitter: str) -> SplitMetrics:
    """How even the split is; None where patients or labels are too few to say.

    The deviations, and who and which pictures are in two folds, are those of the folds, without the test part.
    """
    patients, pictures = manifest.patients, manifest.pictures
    rest = fold != "test"
    # An image without a patient stands for one of its own: then nobody knows who is in two folds.
    named = bool((manifest.table["patient_id"] != "").all())
    known = named and "images_without_patient" not in manifest.notes
    shared = shared_pictures(patients, pictures)
    return SplitMetrics(
        n_images=len(fold),
        n_test_images=int((~rest).sum()),
        n_patients=len(pd.unique(patients)) if known else None,
        patients_in_two_folds=patients_in_two_folds(patients[rest], fold[rest]) if known else None,
        patients_in_train_and_test=patients_in_two_folds(patients, rest) if known else None,
        pictures_in_two_folds=pictures_in_two_parts(patients[rest], pictures[rest], fold[rest]),
        pictures_in_train_and_test=pictures_in_two_parts(patients, pictures, rest),
        patients_sharing_a_picture=len(pd.unique(patients[shared])) if known else None,
        label_distribution_deviation=_six_digits(
            label_distribution_deviation(manifest.truth[rest], fold[rest])
        ),
        label_pair_distribution_deviation=_six_digits(
            label_pair_distribution_deviation(manifest.truth[rest], fold[rest])
        ),
        splitter=splitter,
        shared_between=shared_between(manifest.table["source"].to_numpy(dtype=str), patients, pictures)
        if manifest.members
        else None,
    )


def positives_per_part(fold: np.ndarray, manifest: Manifest) -> pd.DataFrame:
    """label, fold, positives and their share of the images whose label is known; empty where none is."""
    parts = sorted(set(fold), key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    rows = []
    for label, truth in zip(manifest.labels, manifest.truth.T, strict=True):
        for part in parts:
            known = truth[(fold == part) & np.isfinite(truth)]
            positives = int(known.sum()) if len(known) else None
            rows.append((label, part, positives, known.mean(dtype=float) if len(known) else np.nan))
    table = pd.DataFrame(rows, columns=["label", "fold", "positives", "share"])
    return table.astype({"positives": "Int64"})  # whole numbers beside empty cells


def _six_digits(deviation: float) -> float | None:
    # Six significant digits: the last ones of a sum may differ between machines.
    return float(f"{deviation:.6g}") if np.isfinite(deviation) else None


def _count(number: int, split: SplitParams) -> str:
    unit = "patient" if split.group_by == "patient" else "image"
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def _or_unknown(number: object) -> str:
    return "not known" if number is None else f"{number:,}"
