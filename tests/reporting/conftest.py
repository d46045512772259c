"""A small, coherent project as the stages before the report leave it, made up without training anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from couplet.inference.calibrate import calibrate, headline_range
from couplet.inference.ensemble import read_predicted
from couplet.project.files import write_csv
from couplet.project.project import HERE, Project
from couplet.results.calibrated import write_calibrated
from couplet.results.calibration_scores import calibration_scores
from couplet.results.calibration_tables import DIGITS, tables_by_path
from couplet.results.manifest import write_manifest
from couplet.results.model_record import ModelRecord, trained_on, trained_params, write_model_record
from couplet.results.scores import write_calibration_scores, write_coupling_scores
from couplet.results.shard_list import StoredFile, write_shard_list
from couplet.settings.params import parse_params
from couplet.settings.presets import load_preset, params_yaml

LABELS = [
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
]
ONE_CLASS = "Fracture"  # has no positive image


def write_project(
    folder: Path,
    labels: list[str] | None = None,
    n_images: int = 240,
    folds: int = 3,
    test: bool = True,
    test_labelled: bool = True,
    changes: dict[str, Any] | None = None,
    channels: int = 1,
) -> None:
    """Write every file that the report reads; the same arguments give the same project.

    The last image is unknown for the first label; label number 5 has no positive.
    """
    labels = labels or LABELS
    random = np.random.default_rng(7)
    project = Path(__file__).resolve().parents[2]
    if not (folder / "presets").exists():
        (folder / "presets").symlink_to(project / "presets")
    content = _settings(changes or {}, folds)
    params = parse_params(content, "params.yaml")
    (folder / "params.yaml").write_text(params_yaml(params))

    ids = [f"{i // 3:08d}_001_{i % 3 + 1:03d}.jpg" for i in range(n_images)]
    patients = np.arange(n_images) // 3
    n_labels = len(labels)
    truth = _truth(random, n_images, n_labels)
    is_test = (patients % 7 == 6) & test
    fold_of = np.where(is_test, "test", (patients // 2 % folds).astype(str))
    scored = np.where(np.isin(labels, params.inference.unscored), np.nan, truth)
    hidden = truth.copy()
    if not test_labelled:
        hidden[is_test] = np.nan
    table = pd.DataFrame(
        {
            "image_id": ids,
            "part": np.where(is_test, "test", "train"),
            "patient_id": patients.astype(str),
            "study_id": "1",
            "view": "AP",
            "sex": "F",
            "age": "50",
            "width": 100,
            "height": 120,
            "shard": 0,
            "row": np.arange(n_images),
            "picture": [f"{i:016x}" for i in range(n_images)],
        }
    ).join(pd.DataFrame(hidden, columns=labels))
    (folder / HERE.prepared).mkdir(parents=True, exist_ok=True)
    write_manifest(folder / HERE.prepared, table, labels)
    images = _images(truth, params.image.store_size, channels)
    shard = folder / HERE.prepared / "images-00000.npy"
    np.save(shard, images)
    write_shard_list(folder / HERE.prepared, [StoredFile(shard.name, shard.stat().st_size, "5" * 64)])
    _json(
        folder / HERE.labels,
        {
            "source": "phantom",
            "labels": labels,
            "image": {"store_size": params.image.store_size, "channels": channels, "shards": [n_images]},
            "n_images": n_images,
            "n_quarantined": 2,
            "notes": {"repeated_rows": 4},
            "test_labelled": test and test_labelled,
        },
    )
    _csv(
        folder / HERE.quarantine,
        pd.DataFrame(
            {
                "image_id": ["secret_001.jpg", "secret_002.jpg"],
                "part": ["train", "test"],
                "path": ["train/secret_001.jpg", "test/secret_002.jpg"],
                "reason": ["truncated file train/secret_001.jpg", "truncated file test/secret_002.jpg"],
            }
        ),
    )
    wanted = [i for i, held in zip(ids, is_test, strict=True) if held]
    _csv(folder / HERE.submission_rows, pd.DataFrame({"Image_name": wanted, "image_id": wanted}))
    _csv(folder / HERE.folds, pd.DataFrame({"image_id": ids, "fold": fold_of}))
    _json(
        folder / HERE.split_metrics,
        {
            "n_images": n_images,
            "n_patients": int(patients.max()) + 1,
            "n_test_images": int(is_test.sum()),
            "patients_in_two_folds": 0,
            "patients_in_train_and_test": 0,
            "pictures_in_two_folds": 0,
            "pictures_in_train_and_test": 0,
            "patients_sharing_a_picture": 0,
            "label_distribution_deviation": 0.0123,
            "label_pair_distribution_deviation": 0.0456,
            "splitter": "stratified_group",
        },
    )

    raw = params.as_dict()
    oof = np.full((n_images, n_labels), np.nan)
    for k in range(folds):
        rows = np.flatnonzero(fold_of == str(k))
        predicted = _probabilities(random, truth[rows]).round(6)
        oof[rows] = predicted
        scores = _scores(scored[rows], predicted, labels)
        best = int(raw["schedule"]["epochs"])
        model = folder / HERE.model(k)
        record: dict[str, Any] = {
            "fold": k,
            "labels": labels,
            "best_epoch": best,
            "val_auc_macro": scores["auc_macro"],
            "epochs_run": best,
            "steps": 40 * best,
            "skipped_batches": 2 if k == 1 else 0,
            "n_parameters": 1_500_000,
            "device": "cpu",
            "precision": "bf16",
            "arithmetic": {
                "name": "native",
                "processor": "GenuineIntel family 6 model 143",
                "instruction_sets": "AVX512 with bf16",
            },
            "params": trained_params(params),
            "data": trained_on(Project(folder)),
            "code": "c0de" * 8,
            "weights": "none",
            "versions": {"torch": "2.15.0", "timm": "1.0.31"},
        }
        model.mkdir(parents=True, exist_ok=True)
        write_model_record(model, ModelRecord(**record))
        matrix = np.round(couplings(k, n_labels), 8) if params.refiner.trained else np.zeros((0, n_labels))
        coupled = pd.DataFrame(matrix, columns=labels)
        coupled.insert(0, "source", labels[: len(matrix)])
        _csv(model / "couplings.csv", coupled)
        epochs = np.arange(1, best + 1)
        history = pd.DataFrame(
            {
                "epoch": epochs,
                "train_loss": 1.4 - 0.2 * epochs + 0.02 * k,
                "val_auc_macro": 0.6 + 0.05 * epochs + 0.01 * k,
                "lr": 2e-3 * epochs / best,
                "mean_abs_coupling": 1e-3 * epochs,
                "skipped_batches": 0,
            }
        )
        _csv(model / "history.csv", history)
        _csv(folder / HERE.fold_predictions(k), _predictions(ids, rows, predicted, labels))
        _json(folder / HERE.fold_metrics(k), scores)

    rows = np.flatnonzero(np.isfinite(oof).all(axis=1))
    ensemble = {"oof": _scores(scored[rows], oof[rows], labels)}
    rows = np.flatnonzero(is_test)
    by_fold = np.stack([_probabilities(random, truth[rows]) for _ in range(folds)]).round(6)
    by_fold = (0.7 * by_fold.mean(axis=0) + 0.3 * by_fold).round(6)
    mean = by_fold.mean(axis=0).round(6)
    for k in range(folds):
        _csv(
            folder / HERE.test_predictions(k),
            _predictions(ids, rows, by_fold[k], labels),
        )
    _csv(folder / HERE.ensemble / "test.csv", _predictions(ids, rows, mean, labels))
    if test and test_labelled:
        ensemble["test"] = _scores(scored[rows], mean, labels)
    _json(folder / HERE.ensemble_metrics, ensemble)
    predicted = read_predicted(Project(folder), params.split.folds)
    calibrated = calibrate(predicted, params)
    write_calibrated(predicted.manifest, predicted.oof_rows, predicted.test_rows, calibrated)
    write_calibration_scores(Project(folder), calibration_scores(predicted, calibrated))
    write_coupling_scores(Project(folder), _coupling_scores(params.refiner.enabled, test_labelled))
    spread = headline_range(predicted, calibrated, params.seed)
    for path, rows_of_plot in tables_by_path(predicted, calibrated, spread).items():
        write_csv(path, rows_of_plot, DIGITS)


def take_over_data(folder: Path) -> None:
    """Make the models' records name the tables as they are now, as if they had been trained on them."""
    for path in (folder / HERE.models).glob("fold_*/config.json"):
        _json(path, json.loads(path.read_text()) | {"data": trained_on(Project(folder))})


@pytest.fixture
def trained_on_this() -> Callable[[Path], None]:
    """`take_over_data`, for a test that has changed a table of its project."""
    return take_over_data


def couplings(fold: int, n_labels: int) -> np.ndarray:
    """The made-up masked A of one fold: most entries small, a few not."""
    random = np.random.default_rng(100 + fold)
    matrix = random.normal(0, 3e-4, (n_labels, n_labels))
    strong = np.random.default_rng(99).random((n_labels, n_labels)) < 0.08
    matrix += strong * np.random.default_rng(98).normal(0, 0.15, (n_labels, n_labels))
    np.fill_diagonal(matrix, 0.0)
    return matrix


@pytest.fixture(scope="session")
def make_project() -> Callable[..., None]:
    """`write_project`, for fixtures that outlive a test."""
    return write_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a project into a temporary folder and go there: `project(labels=[...])`."""

    def make(**options: Any) -> Path:
        write_project(tmp_path, **options)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return make


def _settings(changes: dict[str, Any], folds: int) -> dict[str, Any]:
    content = load_preset("phantom").as_dict()
    content["split"]["folds"] = list(range(folds))
    for key, value in changes.items():
        *sections, last = key.split(".")
        inside = content
        for section in sections:
            inside = inside[section]
        inside[last] = value
    return content


def _truth(random: np.random.Generator, n: int, n_labels: int) -> np.ndarray:
    common = random.normal(size=(n, 1))
    prevalence = np.linspace(0.45, 0.06, n_labels)
    score = 0.7 * common * np.sign(np.sin(np.arange(n_labels) * 2 + 1)) + random.normal(size=(n, n_labels))
    truth = (score > np.quantile(score, 1 - prevalence, axis=0).diagonal()).astype(float)
    if n_labels > 5:
        truth[:, 5] = 0
    truth[-1, 0] = np.nan
    return truth


def _probabilities(random: np.random.Generator, truth: np.ndarray) -> np.ndarray:
    logit = -0.8 + 1.6 * np.nan_to_num(truth) + random.normal(0, 0.9, truth.shape)
    return 1 / (1 + np.exp(-logit))


def _images(truth: np.ndarray, size: int, channels: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    chest = (
        60
        + 70 * np.exp(-((x / 0.12) ** 2))
        - 35 * np.exp(-(((np.abs(x) - 0.24) / 0.13) ** 2) - (y / 0.35) ** 2)
    )
    images = np.repeat(chest[None, None], len(truth), axis=0).repeat(channels, axis=1)
    for i, row in enumerate(np.nan_to_num(truth)):
        for label in np.flatnonzero(row):
            cx, cy = 0.3 * np.cos(label * 1.7), 0.3 * np.sin(label * 1.7)
            images[i] += 70 * np.exp(-(((x - cx) / 0.07) ** 2) - ((y - cy) / 0.07) ** 2)
    # From a generator of its own: the made-up scores do not depend on the pictures' size.
    noise = np.random.default_rng(8).normal(0, 6, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def _scores(truth: np.ndarray, predicted: np.ndarray, labels: list[str]) -> dict[str, Any]:
    per_label = _per_label(truth, predicted, labels)
    auc = per_label["auc"].mean()
    rest = {"cp": 0.51, "cr": 0.52, "cf1": 0.53, "op": 0.54, "or": 0.55, "of1": 0.56}
    return {
        "auc_macro": None if np.isnan(auc) else round(float(auc), 4),
        "auc_macro_low": None if np.isnan(auc) else round(float(auc) - 0.03, 4),
        "auc_macro_high": None if np.isnan(auc) else round(float(auc) + 0.03, 4),
        "map": round(float(per_label["average_precision"].mean()), 4),
        **rest,
        "top3": {key: value - 0.1 for key, value in rest.items()},
        "n_images": len(truth),
        "labels_skipped": list(per_label.loc[per_label["auc"].isna(), "label"]),
    }


def _coupling_scores(enabled: bool, test_labelled: bool) -> dict[str, Any]:
    """Of couplings that are trained with the network; a test of others runs the stage."""
    unknown = {f"{name}_gain{end}": None for name in ("auc", "log_loss") for end in ("", "_low", "_high")}
    return {
        "fit": "joint" if enabled else "off",
        "verdict": "not known from one run" if enabled else "off",
        "oof": unknown,
        **({"test": unknown} if test_labelled else {}),
        "permutation_p": None,
        "revealed": {"auc": 0.0123, "log_loss": 0.0456},
        "agreement": {"support": 0.5, "sign": 0.75},
        "asymmetry": 1.2,
        "largest": 0.04,
        "zeros": 0.0,
        "spectral_radius": 0.01,
    }


def _per_label(truth: np.ndarray, predicted: np.ndarray, labels: list[str]) -> pd.DataFrame:
    rows = []
    for i, label in enumerate(labels):
        known = np.isfinite(truth[:, i])
        y, p = truth[known, i], predicted[known, i]
        both = len(np.unique(y)) == 2
        rows.append(
            {
                "label": label,
                "auc": roc_auc_score(y, p) if both else np.nan,
                "average_precision": average_precision_score(y, p) if y.sum() else np.nan,
                "positives": int(y.sum()),
                "negatives": int((y == 0).sum()),
            }
        )
    return pd.DataFrame(rows)


def _predictions(ids: list[str], rows: np.ndarray, values: np.ndarray, labels: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(values, columns=labels)
    table.insert(0, "image_id", [ids[row] for row in rows])
    return table


def _csv(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, lineterminator="\n")


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))
