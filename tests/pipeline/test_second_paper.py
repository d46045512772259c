"""The second paper through the real graph: MS-COCO, its head on X-rays, and the parts of both papers together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from couplet.images.loading.draws import image_keys
from tests.support.projects import MODEL, Project, kill_trainer, new_project, rows, untrained

# What makes the preset db_dgcn small enough for a test: the recipe stays.
SMALL = {
    "image.size": 72,
    "image.store_size": 72,
    "split.holdout": 0.2,  # the preset's 5 % of 69 images would be three
    "model.backbone": "resnet26d",
    "model.pretrained": False,
    "model.backbone_args": {
        "layers": [1, 1, 1, 1],
        "channels": [16, 32, 64, 128],
        "stem_width": 16,
        "output_stride": 16,
    },
    "model.head_args.dim": 64,
    "schedule.epochs": 4,
    "schedule.milestones": [2, 3],
    "train.batch_size": 16,
    "train.checkpoint_minutes": 1e-6,  # one after every batch, for the run that is killed
}
SCORES = ("cp", "cr", "cf1", "op", "or", "of1")


def values(table: list[dict[str, str]], labels: list[str]) -> np.ndarray:
    return np.array([[float(row[label]) for label in labels] for row in table])


@pytest.fixture(scope="module")
def coco(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The preset db_dgcn after `dvc repro` on 128 images of COCO 2017; data/raw/coco is a link."""
    folder = tmp_path_factory.mktemp("coco")
    (folder / "raw").mkdir()
    (folder / "raw/coco").symlink_to(shared_data / "coco")
    project = new_project(folder / "project", "db_dgcn", folder / "raw", SMALL)
    project.run("dvc", "repro")
    project.commit("results")
    return project


# --- MS-COCO, every stage -------------------------------------------------------------------------------------


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean, over the positives, of the precision among all images that score as high or higher."""
    found = [truth[scores >= score].mean() for score in scores[truth == 1]]
    return float(np.mean(found))


def counted(truth: np.ndarray, chosen: np.ndarray) -> dict[str, float]:
    """The six scores from counts, label by label."""
    precisions, recalls, correct, predicted, true = [], [], 0, 0, 0
    for label in range(truth.shape[1]):
        n_true, n_predicted = int(truth[:, label].sum()), int(chosen[:, label].sum())
        n_correct = int((truth[:, label] * chosen[:, label]).sum())
        if 0 < n_true < len(truth):
            precisions.append(n_correct / max(n_predicted, 1))
            recalls.append(n_correct / n_true)
        correct, predicted, true = correct + n_correct, predicted + n_predicted, true + n_true
    cp, cr, op, or_ = np.mean(precisions), np.mean(recalls), correct / max(predicted, 1), correct / true
    f1 = [2 * p * r / (p + r) if p + r else 0.0 for p, r in ((cp, cr), (op, or_))]
    return dict(zip(SCORES, (cp, cr, f1[0], op, or_, f1[1]), strict=True))


def test_every_score_of_the_paper_is_what_predictions_and_labels_say(
    coco: Project, shared_data: Path
) -> None:
    labels = coco.json("data/prepared/labels.json")["labels"]
    assert len(labels) == 80 and labels[0] == "person" and labels[-1] == "toothbrush"
    predicted = rows(coco.folder / "data/predictions/ensemble/test.csv")
    known = {row["file_name"]: row for row in rows(shared_data / "coco/labels.csv")}
    assert len(predicted) == 58, "the official val is the test part"
    truth = values([known[row["image_id"]] for row in predicted], labels)
    probabilities = values(predicted, labels)
    scores = coco.json("metrics/ensemble.json")["test"]

    both = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
    precision = [average_precision(truth[:, i], probabilities[:, i]) for i in both]
    assert scores["map"] == pytest.approx(np.mean(precision), abs=6e-5)
    chosen = probabilities >= 0.5
    top = np.zeros_like(chosen)
    np.put_along_axis(top, np.argsort(-probabilities, axis=1)[:, :3], True, axis=1)
    for found, expected in (
        (scores, counted(truth, chosen)),
        (scores["top3"], counted(truth, chosen & top)),
    ):
        assert {key: found[key] for key in SCORES} == pytest.approx(expected, abs=6e-5)
    skipped = [label for label, column in zip(labels, truth.T, strict=True) if not 0 < column.sum() < 58]
    assert scores["labels_skipped"] == skipped


def test_val_is_the_test_part_and_a_held_out_part_of_train_chooses_the_epoch(coco: Project) -> None:
    parts = [row["fold"] for row in rows(coco.folder / "data/splits/folds.csv")]
    assert {part: parts.count(part) for part in set(parts)} == {"test": 58, "train": 57, "0": 12}
    assert coco.json("data/prepared/labels.json")["notes"]["images_without_annotations"] == 1
    assert coco.json("metrics/ensemble.json")["oof"]["n_images"] == 12
    history = rows(coco.folder / MODEL / "history.csv")
    assert [float(row["lr"]) for row in history] == pytest.approx([0.05, 0.05, 0.005, 0.0005])


def test_folds_of_train_instead_of_one_held_out_part(coco: Project, tmp_path: Path) -> None:
    project = coco.copy_to(tmp_path / "project")
    project.set_params({"split.holdout": 0.0, "split.folds": [0, 1, 2]})
    project.run("dvc", "repro", "split_mis")
    parts = [row["fold"] for row in rows(project.folder / "data/splits/folds.csv")]
    assert parts.count("test") == 58 and all(20 <= parts.count(fold) <= 26 for fold in "012")


def test_explanations_are_of_the_model_and_the_images_that_were_predicted(coco: Project) -> None:
    with np.load(coco.folder / "data/predictions/explanations/fold_0.npz") as file:
        arrays = dict(file)
    labels = coco.json("data/prepared/labels.json")["labels"]
    predicted = rows(coco.folder / "data/predictions/ensemble/test.csv")
    keys = image_keys(row["image_id"] for row in predicted)
    explained = [predicted[i] for i in np.argsort(keys, kind="stable")[:6]]
    # Without flips, which this preset does not average over, it is the same forward pass in a smaller batch.
    np.testing.assert_allclose(arrays["probabilities"], values(explained, labels), atol=0.02)
    manifest = {row["image_id"]: row for row in rows(coco.folder / "data/prepared/manifest.csv")}
    truth = values([manifest[row["image_id"]] for row in explained], labels)
    np.testing.assert_array_equal(arrays["truth"], truth)


def test_the_report_shows_maps_and_three_graphs_for_each_explained_image(coco: Project) -> None:
    with np.load(coco.folder / "data/predictions/explanations/fold_0.npz") as file:
        arrays = dict(file)
    assert arrays["maps"].shape == (6, 80, 5, 5)
    assert arrays["adjacency_main"].shape == arrays["adjacency_auxiliary"].shape == (6, 80, 80)
    assert not np.array_equal(arrays["adjacency_main"], arrays["adjacency_auxiliary"])
    assert not np.array_equal(arrays["adjacency_main"][0], arrays["adjacency_main"][1]), "of the image itself"
    figures = sorted(path.stem for path in (coco.folder / "plots/figures").glob("explanation_*"))
    assert figures == [f"explanation_{i:02d}_{kind}" for i in range(6) for kind in ("graphs", "maps")]
    page = (coco.folder / "plots/report.html").read_text(encoding="utf-8")
    section = page[page.index('id="explanations"') : page.index('id="folds"')]
    assert section.count("data:image/png;base64,") == 12
    assert section.count("Its 10 most probable labels. Strongest sources of ") >= 6
    assert "images without annotations: 1" in page
    assert page.index("DB-DGCN, the second paper") < page.index("Table I of the first paper")


def test_a_trainer_killed_with_sgd_and_graphs_ends_with_the_same_bytes(coco: Project, tmp_path: Path) -> None:
    project = untrained(coco, tmp_path / "project")
    kill_trainer(project, tmp_path / "scratch", (1, 2))
    said = project.run("python", "stages/train_fold.py", "0").stdout
    assert "going on from epoch 2, batch " in said
    assert project.bytes_of(MODEL) == coco.bytes_of(MODEL)


def test_the_first_papers_head_and_couplings_on_coco(coco: Project, tmp_path: Path) -> None:
    project = coco.copy_to(tmp_path / "project")
    changes = ("-S", "model.head=linear", "-S", "~model.head_args", "-S", "refiner.enabled=true")
    project.run("dvc", "exp", "run", "-n", "first", *changes, "evaluate_fold@0")
    assert [row["source"] for row in rows(project.folder / MODEL / "couplings.csv")] == coco.json(
        "data/prepared/labels.json"
    )["labels"]
    config = project.json(f"{MODEL}/config.json")
    assert config["params"]["model"]["head"] == "linear" and config["params"]["loss"]["name"] == "bce"
    assert project.json("metrics/fold_0.json")["map"] is not None
    assert "metrics/fold_0.json" in project.run("dvc", "metrics", "diff", "HEAD", "first").stdout


# --- X-rays ---------------------------------------------------------------------------------------------------


def test_the_second_papers_head_on_x_rays_with_and_without_couplings(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy_to(tmp_path / "project")
    own = ("-S", "+model.head_args.dim=32", "-S", "+model.head_args.normalize=true")
    changes = ("-S", "model.head=db_dgcn", *own)
    ran = project.run("dvc", "exp", "run", "-n", "graphs", *changes, "evaluate_fold@0").stdout
    assert "Stage 'split_mis' didn't change, skipping" in ran
    both = project.json(f"{MODEL}/config.json")
    couplings = rows(project.folder / MODEL / "couplings.csv")
    assert len(couplings) == 14 and any(float(value) for value in list(couplings[0].values())[1:])
    project.run("dvc", "exp", "run", "-n", "alone", "-S", "refiner.enabled=false", "evaluate_fold@0")
    alone = project.json(f"{MODEL}/config.json")
    assert rows(project.folder / MODEL / "couplings.csv") == []
    assert both["n_parameters"] - alone["n_parameters"] == 14 * 14

    for name in ("graphs", "alone"):
        lines = project.run("dvc", "metrics", "diff", "HEAD", name).stdout.splitlines()
        compared = {line.split()[1] for line in lines if line.startswith("metrics/fold_0.json")}
        assert {"auc_macro", "map"} <= compared
