"""The submission in the sample's own order, and what the stage makes of the folds' predictions."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import log_loss

from couplet.datasets.grand_xray_slam import LABELS
from couplet.evaluation.calibration.inverse import posterior_of, priors_of
from couplet.evaluation.decisions import RULES, Point
from couplet.evaluation.jackknife import auc_estimates
from couplet.evaluation.metrics import auc_per_label
from couplet.evaluation.sets import BOTH, PRESENT
from couplet.inference.ensemble import read_predicted
from couplet.project.errors import UserError
from couplet.project.project import HERE, Project
from couplet.results.calibrated import Calibrated, read_calibrated
from couplet.results.manifest import read_manifest, write_manifest
from couplet.results.predicted import Predicted
from couplet.settings.params import LossParams, load_params
from couplet.stages.ensemble_predict import submission
from tests.bad_inputs.healthy import slam_project
from tests.support.in_process import InProcessProject
from tests.support.params import change_params
from tests.support.predicted import LABELS as THREE
from tests.support.predicted import run_stage, write_predicted, written

TEST = ["00000051_001_001.jpg", "00000052_001_001.jpg", "00000053_001_001.jpg"]  # as the manifest sorts them
SAMPLE_ROWS = ["00000053_001_001.jpg", "00000051_001_001.jpg", "00000052_001_001.jpg"]
PROBABILITIES = np.arange(3 * 14).reshape(3, 14) / 100  # of TEST and LABELS


def prepared(folder: Path, header: list[str] | None = None) -> InProcessProject:
    """The data set in miniature after prepare, its sample submission with this header."""
    project = slam_project(folder)
    if header is not None:
        path = project.raw / "sample_submission_2.csv"
        pd.read_csv(path)[header].to_csv(path, index=False)
    for command in ("scan", "prepare"):
        outcome = project.run(command)
        assert outcome.code == 0, outcome
    return project


def submitted(project: InProcessProject) -> pd.DataFrame:
    with contextlib.chdir(project.folder):
        return submission(read_manifest(), np.array(TEST), PROBABILITIES, oof=np.full((4, 14), 0.5))


@pytest.mark.parametrize(
    "header",
    [
        ["Image_name", *reversed(LABELS)],
        ["Image_name", *sorted(LABELS, key=lambda name: name[::-1])],
        [LABELS[3], "Image_name", *(name for name in LABELS if name != LABELS[3])],
    ],
)
def test_the_submission_has_the_samples_columns_in_its_order(tmp_path: Path, header: list[str]) -> None:
    table = submitted(prepared(tmp_path / "project", header))
    assert list(table.columns) == header
    assert table["Image_name"].tolist() == SAMPLE_ROWS
    by_id = table.set_index("Image_name")
    for i, name in enumerate(TEST):
        assert by_id.loc[name, list(LABELS)].tolist() == PROBABILITIES[i].tolist()


def test_a_test_part_that_was_dealt_anew_has_its_own_rows(tmp_path: Path) -> None:
    project = prepared(tmp_path / "project", ["Edema", "Image_name", *(x for x in LABELS if x != "Edema")])
    with contextlib.chdir(project.folder):
        dealt = np.array(["00000001_001_001.jpg", "00000051_001_001.jpg"])
        table = submission(read_manifest(), dealt, PROBABILITIES[:2], np.full((4, 14), 0.5), own_test=False)
    assert list(table.columns) == ["image_id", *LABELS] and table["image_id"].tolist() == dealt.tolist()
    np.testing.assert_array_equal(table[list(LABELS)], PROBABILITIES[:2])


def test_a_sample_in_the_labels_order_leaves_nothing_behind(tmp_path: Path) -> None:
    project = prepared(tmp_path / "project")
    assert "submission_columns" not in json.loads((project.folder / HERE.labels).read_text())
    assert list(submitted(project).columns) == ["Image_name", *LABELS]


def test_columns_that_are_not_the_labels_are_refused(tmp_path: Path) -> None:
    project = prepared(tmp_path / "project", ["Image_name", *reversed(LABELS)])
    path = project.folder / HERE.labels
    content = json.loads(path.read_text())
    content["submission_columns"][2] = "Hernia"
    path.write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"labels.json: submission_columns are not 'Image_name' and the labels"
    ):
        submitted(project)


# --- the stage on made-up predictions ------------------------------------------------------------------------------

FILES = {
    "data/predictions/ensemble/test.csv",
    "data/predictions/ensemble/submission.csv",
    "data/predictions/ensemble/calibrated.csv",
    "data/predictions/ensemble/oof_calibrated.csv",
    "data/predictions/ensemble/decisions.csv",
    "data/predictions/ensemble/calibration.json",
    "data/predictions/ensemble/conformal.npz",
    "data/predictions/ensemble/suspicious.csv",
    "metrics/calibration.json",
    "metrics/couplings.json",
    "metrics/external.json",
    "metrics/ensemble.json",
    "plots/reliability.csv",
    "plots/risk_coverage.csv",
    "plots/sets.csv",
    "plots/thresholds.csv",
}
FITTED = [f"data/predictions/ensemble/{name}" for name in ("calibration.json", "conformal.npz")]
ONE_FOLD = {"split.folds": [0], "split.holdout": 0.2}
NO_LABELS_NEEDED = [
    *FITTED,
    *(
        f"data/predictions/ensemble/{name}"
        for name in ("calibrated.csv", "decisions.csv", "oof_calibrated.csv")
    ),
]


def read_back(project: Project) -> tuple[Predicted, Calibrated]:
    """What the stage read, and what it wrote."""
    params = load_params(project.params)
    predicted = read_predicted(project, params.split.folds)
    return predicted, read_calibrated(
        predicted.manifest, predicted.fold_of, predicted.oof_rows, predicted.test_rows, params
    )


def scores(project: Project) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(project.calibration_metrics.read_text())
    return content


def all_metrics(project: Project) -> dict[str, Any]:
    files = {
        "ensemble": project.ensemble_metrics,
        "calibration": project.calibration_metrics,
        "couplings": project.couplings_metrics,
    }
    return {name: json.loads(path.read_text()) for name, path in files.items()}


def test_all_files_are_written_and_the_same_twice(tmp_path: Path) -> None:
    project = write_predicted(tmp_path)
    run_stage(project)
    first = written(project)
    assert set(first) == FILES
    run_stage(project)
    assert written(project) == first


def test_calibration_makes_probabilities_of_scores(tmp_path: Path) -> None:
    """The outputs are the loss's of noisy posteriors, so the loss's inverse and a slope below 1 are what is right."""
    project = write_predicted(tmp_path, n_patients=400)
    run_stage(project)
    found = scores(project)
    assert list(found) == ["oof", "test"]
    probability = ["log_loss", "log_loss_raw", "brier", "calibration_error", "labels_miscalibrated"]
    assert list(found["oof"]) == probability
    assert list(found["test"]) == [*probability, "coverage_present", "coverage_absent", "singletons"]
    for part in found.values():
        assert part["log_loss"] < part["log_loss_raw"] - 0.04
    predicted, calibrated = read_back(project)
    for truth, p, q in (
        (predicted.oof_truth, predicted.oof, calibrated.oof_q),
        (predicted.test_truth, predicted.test, calibrated.test_q),
    ):
        # Cut off between 1e-12 and the float below 1 nothing is, so scikit-learn's log loss is ours.
        known = ~np.isnan(truth)
        per_label = [log_loss(truth[k, i], q[k, i], labels=[0, 1]) for i, k in enumerate(known.T)]
        name = "oof" if len(truth) == len(predicted.oof_rows) else "test"
        assert found[name]["log_loss"] == pytest.approx(np.mean(per_label), abs=5e-5)
        observed = [truth[k, i].sum() / q[k, i].sum() for i, k in enumerate(known.T)]
        assert observed == pytest.approx([1] * 3, abs=0.15)
        assert max(truth[k, i].sum() / p[k, i].sum() for i, k in enumerate(known.T)) < 0.8


@pytest.mark.parametrize(
    "changes", [{}, {"calibration.method": "inverse"}, ONE_FOLD, {"split.folds": [0, 1]}]
)
def test_the_auc_of_each_label_is_the_same_to_the_last_digit(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Of the test part on the files; out of fold each part has a map of its own, so within parts."""
    project = write_predicted(tmp_path, changes)
    run_stage(project)
    predicted, calibrated = read_back(project)
    before, after = (auc_per_label(predicted.test_truth, p) for p in (predicted.test, calibrated.test_q))
    assert before.tolist() == after.tolist()
    for part in np.unique(calibrated.parts):
        own = calibrated.parts == part
        before = auc_per_label(predicted.oof_truth[own], predicted.oof[own])
        after = auc_per_label(predicted.oof_truth[own], calibrated.oof_q[own])
        np.testing.assert_array_equal(before, after)


def test_no_test_label_is_fitted_on(tmp_path: Path) -> None:
    """The test part's labels are dealt anew among its images: what is fitted and decided keeps its bytes."""
    project = write_predicted(tmp_path)
    run_stage(project)
    first = written(project)
    table = pd.read_csv(
        project.manifest, dtype={"patient_id": str, "study_id": str, "age": str, "sex": str, "picture": str}
    )
    rows = np.flatnonzero(table["part"] == "test")
    dealt = np.random.default_rng(0).permutation(rows)
    table.loc[rows, THREE] = table.loc[dealt, THREE].to_numpy()
    write_manifest(project.prepared, table, THREE)
    run_stage(project)
    second = written(project)
    assert {path: second[path] == first[path] for path in NO_LABELS_NEEDED} == dict.fromkeys(
        NO_LABELS_NEEDED, True
    )
    assert (
        second["data/predictions/ensemble/suspicious.csv"]
        == first["data/predictions/ensemble/suspicious.csv"]
    )
    assert second["plots/thresholds.csv"] == first["plots/thresholds.csv"]
    assert second["metrics/calibration.json"] != first["metrics/calibration.json"]
    assert second["plots/sets.csv"] != first["plots/sets.csv"]


def test_labels_out_of_fold_change_every_other_folds_map_and_not_their_own(tmp_path: Path) -> None:
    project = write_predicted(tmp_path)
    run_stage(project)
    predicted, before = read_back(project)
    table = pd.read_csv(
        project.manifest, dtype={"patient_id": str, "study_id": str, "age": str, "sex": str, "picture": str}
    )
    rows = predicted.oof_rows[before.parts == 1]
    table.loc[rows, "Common"] = np.random.default_rng(0).permutation(table.loc[rows, "Common"])
    write_manifest(project.prepared, table, THREE)
    run_stage(project)
    _, after = read_back(project)
    same = (before.oof_q == after.oof_q)[:, 0]
    assert [bool(same[before.parts == part].all()) for part in (0, 1, 2)] == [False, True, False]
    assert [bool(same[before.parts == part].any()) for part in (0, 2)] == [False, False]
    assert (before.oof_q == after.oof_q)[:, 1:].all()


def test_method_none_leaves_the_probabilities_and_still_decides(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, {"calibration.method": "none", "decision.rule": "cost"})
    run_stage(project)
    predicted, calibrated = read_back(project)
    assert calibrated.test_q.tolist() == predicted.test.tolist()
    assert calibrated.oof_q.tolist() == predicted.oof.tolist()
    assert [(one.beta, one.kappa) for one in calibrated.calibrators] == [(None, 1.0)] * 3
    for part in scores(project).values():
        assert part["log_loss"] == part["log_loss_raw"]
    table = pd.read_csv(project.thresholds_plot).query("rule == 'cost'")
    assert table[["threshold", "low", "high"]].eq(0.5).all(axis=None)  # nothing was fitted, so it is known
    with_beta = write_predicted(tmp_path / "beta")
    run_stage(with_beta)
    assert (read_back(with_beta)[1].decisions == calibrated.decisions).all()  # sets are of ranks


def test_the_exact_inverse_needs_no_fit(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, {"calibration.method": "inverse", "calibration.sharpen": False})
    run_stage(project)
    predicted, calibrated = read_back(project)
    expected = posterior_of(LossParams())(predicted.test, 0.1)
    assert calibrated.test_q == pytest.approx(expected, rel=1e-8)


def test_sharpening_moves_the_ensemble_away_from_the_prevalence(tmp_path: Path) -> None:
    plain, sharp = (
        write_predicted(tmp_path / str(on), {"calibration.sharpen": on}, noise=1.2) for on in (False, True)
    )
    for project in (plain, sharp):
        run_stage(project)
    (_, without), (_, with_kappa) = read_back(plain), read_back(sharp)
    kappas = [one.kappa for one in with_kappa.calibrators]
    assert min(kappas) > 1.05 and max(kappas) < 2
    for label, one in enumerate(with_kappa.calibrators):
        middle = logit(one.prevalence)
        stretched = middle + one.kappa * (logit(without.test_q[:, label]) - middle)
        assert with_kappa.test_q[:, label] == pytest.approx(expit(stretched), rel=1e-6)
    assert (without.oof_q == with_kappa.oof_q).all()  # single models


def test_one_fold_is_cross_fitted_over_five_parts_of_its_patients(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, ONE_FOLD, n_patients=240)
    run_stage(project)
    predicted, calibrated = read_back(project)
    assert sorted(set(calibrated.parts.tolist())) == [0, 1, 2, 3, 4]
    assert [one.kappa for one in calibrated.calibrators] == [1, 1, 1]
    patients = predicted.manifest.patients[predicted.oof_rows]
    assert all(len(set(calibrated.parts[patients == one].tolist())) == 1 for one in np.unique(patients))
    assert np.isfinite(calibrated.oof_thresholds["youden"]).all()
    assert calibrated.part_thresholds["youden"].shape == (5, 3)
    assert scores(project)["test"]["log_loss"] < scores(project)["test"]["log_loss_raw"]


def test_without_a_test_part_there_are_empty_tables(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, test=False)
    run_stage(project)
    _, calibrated = read_back(project)
    assert calibrated.test_q.shape == calibrated.decisions.shape == (0, 3)
    assert [one.kappa for one in calibrated.calibrators] == [1, 1, 1]
    assert list(scores(project)) == ["oof"] == list(json.loads(project.ensemble_metrics.read_text()))
    sets = pd.read_csv(project.sets_plot)
    assert sets["coverage"].isna().all() and (sets["patients"] > 0).all()
    assert set(pd.read_csv(project.reliability_plot)["part"]) == {"oof"}


def test_hidden_test_labels_leave_only_the_measures_out(tmp_path: Path) -> None:
    known, hidden = (
        write_predicted(tmp_path / "known"),
        write_predicted(tmp_path / "hidden", test_labelled=False),
    )
    for project in (known, hidden):
        run_stage(project)
    for path in NO_LABELS_NEEDED:
        assert (known.root / path).read_bytes() == (hidden.root / path).read_bytes(), path
    assert list(scores(hidden)) == ["oof"] and scores(hidden)["oof"] == scores(known)["oof"]
    assert pd.read_csv(hidden.sets_plot)["coverage"].isna().all()


def test_a_label_of_one_class_keeps_the_prior_and_has_no_threshold(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, one_class=("Rare",))
    run_stage(project)
    _, calibrated = read_back(project)
    rare = calibrated.calibrators[1]
    assert rare.flags == ("not checked", "few") and rare.beta == rare.prior and rare.kappa == 1
    points = {rule: points[1] for rule, points in calibrated.points.items()}
    assert points["youden"] == Point(None, "no positive image")
    assert points["sensitivity"].reason == "not reachable: 0 patients have an image of the class, 9 needed"
    assert points["cost"] == Point(0.5)
    assert np.isin(calibrated.decisions[:, 1], (BOTH, PRESENT)).all()  # it can never be ruled out
    assert (calibrated.suspicious["label"] != "Rare").all()
    written_points = pd.read_csv(project.thresholds_plot).query("label == 'Rare' and rule == 'youden'")
    assert written_points["threshold"].isna().all() and written_points["reason"].tolist() == [
        "no positive image"
    ]
    ensemble = json.loads(project.ensemble_metrics.read_text())
    for part in ensemble.values():
        assert part["labels_skipped"] == ["Rare"]
        assert part["auc_macro_low"] < part["auc_macro"] < part["auc_macro_high"]


def test_views_that_nobody_knows_are_one_category_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, alike = (
        write_predicted(tmp_path / "unknown", views=("",)),
        write_predicted(tmp_path / "none", {"decision.within": "none"}),
    )
    run_stage(project)
    assert (
        "no view is known: prediction sets keep their promise over all images together"
        in capsys.readouterr().out
    )
    run_stage(alike)
    assert "no view is known" not in capsys.readouterr().out
    assert read_back(project)[1].categories == ["all images"] == read_back(alike)[1].categories
    assert (read_back(project)[1].decisions == read_back(alike)[1].decisions).all()


def test_images_of_an_unknown_view_are_a_category_of_their_own(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, views=("AP", "", "AP"))
    run_stage(project)
    _, calibrated = read_back(project)
    assert calibrated.categories == ["AP", "unknown"]
    assert (calibrated.test_categories == "unknown").sum() == len(calibrated.test_categories) // 3


def test_images_without_a_patient_stand_for_themselves(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, named_patients=False)
    run_stage(project)
    _, calibrated = read_back(project)
    assert calibrated.calibrators[0].n_patients == calibrated.calibrators[0].n_images == 270
    assert calibrated.conformal.patients()[0].sum() == 270


@pytest.mark.parametrize(
    "changes",
    [
        {"loss.name": "bce", "loss.args": {"pos_weight": False}},
        {"loss.name": "bce", "loss.args": {"pos_weight": True}},
        {"loss.args": {"gamma_pos": 2.0, "gamma_neg": 2.0, "clip": 0.0}, "loss.smoothing": 0.1},
        {"model.head": "db_dgcn", "model.head_args": {}, "loss.name": "bce", "loss.args": {}},
    ],
)
def test_other_losses_are_undone_by_their_own_inverse(tmp_path: Path, changes: dict[str, Any]) -> None:
    project = write_predicted(tmp_path, changes)
    run_stage(project)
    predicted, calibrated = read_back(project)
    loss = load_params(project.params).loss
    assert calibrated.loss == loss
    one = calibrated.calibrators[0]
    expected = priors_of(posterior_of(loss), [one.prevalence or 0])[0]
    assert one.prior is not None
    assert [one.prior.a, one.prior.b, one.prior.c] == pytest.approx(
        [expected.a, expected.b, expected.c], rel=1e-7, abs=1e-7
    )
    found = scores(project)
    assert found["test"]["log_loss"] < found["test"]["log_loss_raw"] + 0.01
    before, after = (auc_per_label(predicted.test_truth, p) for p in (predicted.test, calibrated.test_q))
    assert before.tolist() == after.tolist()


def test_the_macro_auc_has_the_jackknifes_interval_by_patient(tmp_path: Path) -> None:
    project = write_predicted(tmp_path)
    run_stage(project)
    predicted, _ = read_back(project)
    content = json.loads(project.ensemble_metrics.read_text())
    for name, rows, p in (
        ("oof", predicted.oof_rows, predicted.oof),
        ("test", predicted.test_rows, predicted.test),
    ):
        macro = auc_estimates(predicted.manifest.truth[rows], p, predicted.manifest.patients[rows]).macro
        ends = [content[name][key] for key in ("auc_macro", "auc_macro_low", "auc_macro_high")]
        assert ends == [round(end, 4) for end in (macro.value, macro.low, macro.high) if end is not None]


@pytest.mark.parametrize("fit", ["joint", "out_of_fold"])
def test_a_label_that_is_not_scored_is_predicted_and_calibrated_and_in_no_mean(
    tmp_path: Path, fit: str
) -> None:
    changes = {"refiner.enabled": fit == "out_of_fold", "refiner.fit": fit}
    project = write_predicted(tmp_path / "all", changes)
    run_stage(project)
    of_all, files = all_metrics(project), written(project)
    change_params(project.root, {"inference.unscored": [THREE[1]]})
    run_stage(project)
    of_two = all_metrics(project)
    predicted, calibrated = read_back(project)
    for part, truth, p, q in (
        ("oof", predicted.oof_truth, predicted.oof, calibrated.oof_q),
        ("test", predicted.test_truth, predicted.test, calibrated.test_q),
    ):
        assert of_all["ensemble"][part]["labels_skipped"] == []
        assert of_two["ensemble"][part]["labels_skipped"] == [THREE[1]]
        if fit == "joint":  # else it is of refined probabilities, which `read_back` does not read
            auc = auc_per_label(truth, p)
            assert of_two["ensemble"][part]["auc_macro"] == round((auc[0] + auc[2]) / 2, 4)
        known = ~np.isnan(truth)
        losses = [log_loss(truth[known[:, i], i], q[known[:, i], i]) for i in range(3)]
        assert of_all["calibration"][part]["log_loss"] == pytest.approx(np.mean(losses), abs=1e-4)
        of_kept = (losses[0] + losses[2]) / 2
        assert of_two["calibration"][part]["log_loss"] == pytest.approx(of_kept, abs=1e-4)
    if fit == "out_of_fold":
        one, other = of_all["couplings"]["oof"], of_two["couplings"]["oof"]
        assert one["log_loss_gain"] == other["log_loss_gain"], "it is an image's, of all its labels"
        assert of_all["couplings"]["revealed"]["auc"] != of_two["couplings"]["revealed"]["auc"]
    moved = {Path(path).name for path, content in written(project).items() if content != files[path]}
    assert moved <= {"ensemble.json", "calibration.json", "couplings.json"}


def test_thresholds_are_judged_by_the_other_parts_and_have_a_range(tmp_path: Path) -> None:
    project = write_predicted(tmp_path)
    run_stage(project)
    predicted, calibrated = read_back(project)
    for part in (0, 1, 2):
        others = predicted.oof_truth[calibrated.parts != part]
        expected = np.nanmean(others, axis=0)  # youden: the prevalence of the other folds
        assert calibrated.part_thresholds["youden"][part] == pytest.approx(expected, rel=1e-6)
    table = pd.read_csv(project.thresholds_plot).set_index(["rule", "label"])
    assert (table.loc["youden", "low"] <= table.loc["youden", "threshold"]).all()
    assert (table.loc["youden", "threshold"] <= table.loc["youden", "high"]).all()
    others = [rule for rule in RULES if rule != "youden"]
    assert table.loc[others, ["low", "high"]].isna().all(axis=None)
    assert table.loc["cost", "threshold"].tolist() == [0.5] * 3


@pytest.mark.parametrize("rule", ["f1", "cost", "prevalence", "sensitivity", "specificity"])
def test_every_rule_can_lead(tmp_path: Path, rule: str) -> None:
    """The range of the cost rule encloses 1/2 also where the ensemble is stretched away from the prevalence."""
    project = write_predicted(tmp_path, {"decision.rule": rule}, noise=1.2)
    run_stage(project)
    table = pd.read_csv(project.thresholds_plot).set_index(["rule", "label"])
    assert np.isfinite(table.loc[rule, ["low", "high"]].to_numpy()).all()
    assert (table.loc[rule, "low"] <= table.loc[rule, "high"]).all()
    if rule == "cost":
        assert (table.loc["cost", "low"] < 0.5).all() and (table.loc["cost", "high"] > 0.5).all()


def test_coverage_is_the_mean_over_patients(tmp_path: Path) -> None:
    """By plain loops over patients; the file's own row of one view, and the metric's over all images."""
    project = write_predicted(tmp_path)
    run_stage(project)
    predicted, calibrated = read_back(project)

    def covered(label: int, y: int, rows: np.ndarray) -> float:
        shares = []
        for patient in np.unique(predicted.test_patients):
            own = rows & (predicted.test_patients == patient) & (predicted.test_truth[:, label] == y)
            if own.any():
                kept = np.isin(calibrated.decisions[own, label], (y, BOTH))
                shares.append(kept.mean())
        return float(np.mean(shares))

    sets = pd.read_csv(project.sets_plot).set_index(["label", "class", "category"])
    pa, everything = calibrated.test_categories == "PA", np.ones(len(predicted.test_rows), bool)
    assert sets.loc[("Common", "present", "PA"), "coverage"] == pytest.approx(covered(0, 1, pa), rel=1e-5)
    assert sets.loc[("Common", "absent", "PA"), "coverage"] == pytest.approx(covered(0, 0, pa), rel=1e-5)
    found = scores(project)["test"]
    for y, name in enumerate(("coverage_absent", "coverage_present")):
        expected = np.mean([covered(label, y, everything) for label in range(3)])
        assert found[name] == pytest.approx(expected, abs=5e-5)
    known = ~np.isnan(predicted.test_truth)
    single = calibrated.decisions[known] < 2
    assert found["singletons"] == pytest.approx(single.mean(), abs=5e-5)
    assert (sets["expected_low"] < sets["promised"]).all() and (sets["promised"] == 0.9).all()


def test_a_cached_result_of_other_settings_is_refused_by_its_reader(tmp_path: Path) -> None:
    project = write_predicted(tmp_path)
    run_stage(project)
    change_params(tmp_path, {"decision.alpha": 0.2})
    with pytest.raises(
        UserError, match=r"decision.alpha is 0.2, but .*ensemble was made with 0.1: run `dvc repro`"
    ):
        read_back(project)
