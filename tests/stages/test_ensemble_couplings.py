"""The stage with `refiner.fit: out_of_fold`: everything is of refined probabilities, and none knows its own labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from couplet.evaluation.calibration.inverse import posterior_of
from couplet.evaluation.couplings.fit import fit_label_couplings
from couplet.evaluation.metrics import auc_per_label, macro_auc
from couplet.inference.couple import couple, largest_shift, slopes
from couplet.inference.ensemble import read_predicted
from couplet.models.refiner import LabelGraphRefiner
from couplet.project.project import Project
from couplet.results.calibrated import Calibrated, read_calibrated
from couplet.results.fitted_couplings import read_fitted
from couplet.results.manifest import write_manifest
from couplet.results.predicted import Predicted
from couplet.results.predictions import as_read_back, read_predictions
from couplet.settings.params import load_params
from couplet.training.loss import build_loss
from tests.support.errors import refused
from tests.support.params import change_params, params_with
from tests.support.predicted import LABELS, run_stage, write_predicted, written

AFTERWARDS = {"refiner.fit": "out_of_fold", "refiner.strictness": 1.0}
TEXT = {"patient_id": str, "study_id": str, "age": str, "sex": str, "picture": str}
FOLDER = "data/predictions/ensemble"


def read_back(project: Project) -> tuple[Predicted, np.ndarray, Calibrated]:
    """The networks' predictions, the refined ones out of fold, and what was made of them."""
    params = load_params(project.params)
    predicted = read_predicted(project, params.split.folds)
    ids = predicted.manifest.ids[predicted.oof_rows]
    calibrated = read_calibrated(
        predicted.manifest, predicted.fold_of, predicted.oof_rows, predicted.test_rows, params
    )
    return predicted, read_predictions(project.refined_oof, LABELS, ids), calibrated


def alter(project: Project, rows: np.ndarray) -> None:
    """Turn every known label of these rows round."""
    table = pd.read_csv(project.manifest, dtype=TEXT)
    table.loc[rows, LABELS] = 1 - table.loc[rows, LABELS]
    write_manifest(project.prepared, table, LABELS)


def metrics(project: Project) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(project.couplings_metrics.read_text())
    return content


def test_files_and_the_same_bytes_twice(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, AFTERWARDS)
    run_stage(project)
    first = written(project)
    more = {f"{FOLDER}/{name}" for name in ("couplings.csv", "couplings.json", "oof_refined.csv")}
    more |= {f"{FOLDER}/test_refined_{fold}.csv" for fold in range(3)}
    joint = write_predicted(tmp_path / "joint")
    run_stage(joint)
    assert set(first) == set(written(joint)) | more
    run_stage(project)
    assert written(project) == first


def test_everything_is_of_the_refined_probabilities(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, AFTERWARDS)
    run_stage(project)
    predicted, refined, calibrated = read_back(project)
    ids, test_ids = (predicted.manifest.ids[rows] for rows in (predicted.oof_rows, predicted.test_rows))
    others = predicted.oof_folds != 1
    posterior = posterior_of(load_params(project.params).loss)
    of_1 = fit_label_couplings(predicted.oof_truth[others], predicted.oof[others], posterior, 1.0)
    np.testing.assert_array_equal(refined[~others], as_read_back(of_1.refined(predicted.oof[~others])))

    couplings, gains = read_fitted(project, LABELS)
    of_all = fit_label_couplings(predicted.oof_truth, predicted.oof, posterior, 1.0)
    np.testing.assert_array_equal(couplings.fitted.A, of_all.fitted.A)
    by_fold = as_read_back(couplings.refined(predicted.test_by_fold))
    for fold in range(3):
        found = read_predictions(project.refined_test(fold), LABELS, test_ids)
        np.testing.assert_array_equal(found, by_fold[fold])
    mean = read_predictions(project.ensemble / "test.csv", LABELS, test_ids)
    np.testing.assert_allclose(mean, by_fold.mean(axis=0), atol=1e-7)
    scores = json.loads(project.ensemble_metrics.read_text())
    assert scores["oof"]["auc_macro"] == round(macro_auc(predicted.oof_truth, refined)[0], 4)
    # Nothing of the loss is left to undo: the calibrator starts from the identity.
    assert [(c.prior.a, c.prior.b) for c in calibrated.calibrators if c.prior] == [(1, 1)] * 3
    assert abs(calibrated.oof_q - refined).mean() < 0.03
    assert read_predictions(project.ensemble / "oof_calibrated.csv", LABELS, ids).shape == refined.shape
    found = metrics(project)
    assert found["oof"]["log_loss_gain"] == round(gains["oof"].log_loss.value or 0.0, 4)
    assert found["oof"]["coverage_gain"] == round(gains["oof"].coverage.value or 0.0, 4)
    assert found["fit"] == "out_of_fold" and 1 / 201 <= found["permutation_p"] <= 1
    assert found["zeros"] == pytest.approx((couplings.fitted.A[~np.eye(3, dtype=bool)] == 0).mean(), abs=5e-5)


@pytest.mark.parametrize("changes", [{}, {"split.folds": [0], "split.holdout": 0.2}, {"split.folds": [0, 1]}])
def test_no_number_of_a_part_follows_from_its_labels(tmp_path: Path, changes: dict[str, Any]) -> None:
    project = write_predicted(tmp_path, AFTERWARDS | changes)
    run_stage(project)
    predicted, refined, before = read_back(project)
    own = before.parts == 1
    alter(project, predicted.oof_rows[own])
    run_stage(project)
    _, again, after = read_back(project)
    np.testing.assert_array_equal(refined[own], again[own])
    np.testing.assert_array_equal(before.oof_q[own], after.oof_q[own])
    for rule, table in before.part_thresholds.items():
        np.testing.assert_array_equal(table[1], after.part_thresholds[rule][1])
    assert (refined[~own] != again[~own]).any() and (before.oof_q[~own] != after.oof_q[~own]).any()


def test_no_test_label_is_fitted_on(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, AFTERWARDS)
    run_stage(project)
    first, (predicted, *_) = written(project), read_back(project)
    alter(project, predicted.test_rows)
    run_stage(project)
    second = written(project)
    names = [
        "test.csv",
        "oof_refined.csv",
        "couplings.csv",
        "calibrated.csv",
        "oof_calibrated.csv",
        "decisions.csv",
    ]
    assert all(first[f"{FOLDER}/{name}"] == second[f"{FOLDER}/{name}"] for name in names)
    assert first["metrics/couplings.json"] != second["metrics/couplings.json"]


def test_without_end_strict_no_ranking_changes(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, AFTERWARDS | {"refiner.strictness": 1e9})
    run_stage(project)
    predicted, refined, _ = read_back(project)
    for fold in range(3):
        own = predicted.oof_folds == fold
        truth = predicted.oof_truth[own]
        np.testing.assert_array_equal(
            auc_per_label(truth, refined[own]), auc_per_label(truth, predicted.oof[own])
        )
    found = metrics(project)
    assert found["zeros"] == 1 and found["verdict"] == "no effect seen" and found["largest"] == 0
    assert found["oof"]["auc_gain"] == 0 == found["oof"]["log_loss_gain"]
    assert found["oof"]["auc_gain_low"] is None and found["permutation_p"] == 1
    assert found["agreement"] == {"support": None, "sign": None} and found["asymmetry"] is None


def test_couplings_of_the_network_say_how_large_they_are_and_what_they_could_be(tmp_path: Path) -> None:
    project = write_predicted(tmp_path)
    run_stage(project)
    found = metrics(project)
    # 0.3 * (0.003 + 0.003) moves nothing.
    assert found["fit"] == "joint" and found["verdict"] == "no effect seen"
    assert found["oof"] == dict.fromkeys(found["oof"]) and found["permutation_p"] is None
    assert found["largest"] == round(0.3 * 0.003, 4) and found["zeros"] == 0 and found["asymmetry"] == 0
    assert isinstance(found["revealed"]["auc"], float)
    assert found["spectral_radius"] == round(0.25 * 0.3 * 0.003 * 2, 4)
    assert largest_shift(np.array([[[0.0, 2.0], [-3.0, 0.0]]]), 0.5) == 1.5
    change_params(tmp_path, {"refiner.alpha": 100.0})
    run_stage(project)
    assert metrics(project)["verdict"] == "not known from one run"
    change_params(tmp_path, {"refiner.enabled": False})
    run_stage(project)
    found = metrics(project)
    assert (found["fit"], found["verdict"], found["zeros"]) == ("off", "off", None)


def test_their_size_is_that_of_what_is_computed(tmp_path: Path) -> None:
    """A gate doubles what a label says at most; a calibrated message of ASL is steeper than a sigmoid."""
    project = write_predicted(tmp_path, {"refiner.conditional": "gate", "refiner.message": "calibrated"})
    run_stage(project)
    found = metrics(project)
    assert found["largest"] == round(2 * 0.3 * 0.003, 4)
    assert found["spectral_radius"] == pytest.approx(0.540 * 2 * 0.3 * 0.003 * 2, abs=6e-5)
    truth = np.array([[0, 1, np.nan], [1, 0, np.nan], [0, 0, np.nan]])
    calibrated = params_with({"refiner.message": "calibrated"})
    assert slopes(calibrated, truth) == pytest.approx([0.540] * 3, abs=1e-3)
    refiner = LabelGraphRefiner(3, 0.3, loss=build_loss(calibrated.loss, truth))
    assert slopes(calibrated, truth) == pytest.approx(refiner._steepest().tolist(), abs=1e-3)
    weighted = params_with(
        {"refiner.message": "calibrated", "loss.name": "bce", "loss.args": {"pos_weight": True}}
    )
    assert slopes(weighted, truth) == pytest.approx([0.25] * 3, abs=1e-5)
    assert slopes(params_with({}), truth).tolist() == [0.25] * 3


def test_test_parts_without_labels_or_images(tmp_path: Path) -> None:
    for name, options in (("hidden", {"test_labelled": False}), ("none", {"test": False})):
        project = write_predicted(tmp_path / name, AFTERWARDS, **options)
        run_stage(project)
        assert "test" not in metrics(project) and "oof" in metrics(project)


def test_results_of_another_strictness_are_refused_by_their_reader(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, AFTERWARDS)
    run_stage(project)
    change_params(tmp_path, {"refiner.strictness": 2.0})
    message = refused(read_back, project)
    assert message.endswith("was made with another section refiner: run `dvc repro`, or restore params.yaml")


def test_a_damaged_record_is_one_line(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, AFTERWARDS)
    run_stage(project)
    path = project.ensemble / "couplings.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"labels": content["labels"][:2]}))
    assert "couplings.json has other labels than" in refused(read_fitted, project, LABELS)
    del content["labels"][1]["kappa"]
    path.write_text(json.dumps(content))
    assert "couplings.json is not ours (KeyError: 'kappa')" in refused(read_fitted, project, LABELS)
    table = pd.read_csv(project.ensemble / "couplings.csv")
    table.iloc[::-1].to_csv(project.ensemble / "couplings.csv", index=False)
    assert "couplings.csv has other labels than" in refused(read_fitted, project, LABELS)


def test_the_suspicious_list_is_of_refined_probabilities(tmp_path: Path) -> None:
    project = write_predicted(tmp_path, AFTERWARDS)
    run_stage(project)
    _, _, calibrated = read_back(project)
    first = calibrated.suspicious.iloc[0]
    ids = read_predicted(project, [0, 1, 2]).manifest.ids
    predicted = read_predicted(project, [0, 1, 2])
    row = np.flatnonzero(ids[predicted.oof_rows] == first["image_id"])[0]
    assert float(first["q"]) == pytest.approx(calibrated.oof_q[row, LABELS.index(first["label"])], rel=1e-6)
    params = load_params(project.params)
    assert couple(predicted, params).predicted.oof[row].tolist() == read_back(project)[1][row].tolist()
