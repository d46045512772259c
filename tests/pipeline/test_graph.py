"""The graph as its users run it: repro, experiments, more folds, mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.projects import TINY, Project, new_project, rows

RESULTS = ("data/prepared", "data/splits", "data/models", "data/predictions", "metrics", "plots")
SCORES = ["auc_macro", "map", "cp", "cr", "cf1", "op", "or", "of1", "top3", "n_images", "labels_skipped"]


def test_every_contract_file_is_there_and_fits(finished: Project) -> None:
    folder = finished.folder
    labels = finished.json("data/prepared/labels.json")["labels"]
    manifest = rows(folder / "data/prepared/manifest.csv")
    folds = rows(folder / "data/splits/folds.csv")
    assert len(labels) == 14
    assert [row["image_id"] for row in manifest] == sorted(row["image_id"] for row in manifest)
    assert [row["image_id"] for row in folds] == [row["image_id"] for row in manifest]
    patients: dict[str, set[str]] = {}
    for image, fold in zip(manifest, folds, strict=True):
        patients.setdefault(image["patient_id"], set()).add(fold["fold"])
    assert all(len(found) == 1 for found in patients.values())
    assert finished.json("metrics/split.json")["patients_in_two_folds"] == 0

    for fold in "012":
        model = folder / f"data/models/fold_{fold}"
        assert sorted(p.name for p in model.iterdir()) == [
            "config.json",
            "couplings.csv",
            "history.csv",
            "predictor.safetensors",
        ]
        couplings = rows(model / "couplings.csv")
        assert [row["source"] for row in couplings] == labels
        assert all(float(row[row["source"]]) == 0 for row in couplings)
        predicted = rows(folder / f"data/predictions/folds/fold_{fold}.csv")
        assert [row["image_id"] for row in predicted] == [
            row["image_id"] for row in folds if row["fold"] == fold
        ]
        assert all(0 <= float(row[label]) <= 1 for row in predicted for label in labels)
        scores = finished.json(f"metrics/fold_{fold}.json")
        assert list(scores) == SCORES
        assert scores["n_images"] == len(predicted)
    ensemble = finished.json("metrics/ensemble.json")
    assert list(ensemble) == ["oof", "test"]
    calibrated = folder / "data/predictions/ensemble"
    assert sorted(path.name for path in calibrated.iterdir()) == [
        "calibrated.csv",
        "calibration.json",
        "conformal.npz",
        "decisions.csv",
        "oof_calibrated.csv",
        "submission.csv",
        "suspicious.csv",
        "test.csv",
    ]
    out_of_fold = [row["image_id"] for row in folds if row["fold"] != "test"]
    assert [row["image_id"] for row in rows(calibrated / "oof_calibrated.csv")] == out_of_fold
    decided = rows(calibrated / "decisions.csv")
    assert [row["image_id"] for row in decided] == [
        row["image_id"] for row in rows(calibrated / "calibrated.csv")
    ]
    assert {row[label] for row in decided for label in labels} <= {"0", "1", "2", "3"}
    assert list(finished.json("metrics/calibration.json")) == ["oof", "test"]
    couplings = finished.json("metrics/couplings.json")
    assert couplings["fit"] == "joint" and couplings["oof"]["auc_gain"] is None
    assert list(ensemble["oof"])[:3] == ["auc_macro", "auc_macro_low", "auc_macro_high"]
    assert ensemble["oof"]["n_images"] == sum(row["fold"] != "test" for row in folds)


def test_the_ensemble_is_the_mean_of_its_folds_in_the_submissions_order(finished: Project, raw: Path) -> None:
    folder = finished.folder / "data/predictions/ensemble"
    by_fold = [rows(finished.folder / f"data/predictions/test/fold_{fold}.csv") for fold in "012"]
    mean = rows(folder / "test.csv")
    for row, *parts in zip(mean, *by_fold, strict=True):
        for label in list(row)[1:]:
            assert float(row[label]) == pytest.approx(sum(float(part[label]) for part in parts) / 3, abs=1e-6)
    sample = rows(raw / "phantom/sample_submission_2.csv")
    submission = rows(folder / "submission.csv")
    assert list(submission[0]) == list(sample[0])
    assert [row["Image_name"] for row in submission] == [row["Image_name"] for row in sample]
    predicted = {row["image_id"]: row for row in mean}
    assert submission[0]["Edema"] == predicted[submission[0]["Image_name"]]["Edema"]


def test_a_second_repro_does_nothing(finished: Project) -> None:
    assert "Data and pipelines are up to date" in finished.run("dvc", "repro").stdout
    assert finished.run("git", "status", "--porcelain").stdout == ""


def test_a_new_alpha_runs_no_network(finished: Project, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path / "project")
    project.set_params({"decision.alpha": 0.2, "calibration.sharpen": False})
    stages = [line for line in project.run("dvc", "status").stdout.splitlines() if line[:1].strip()]
    assert stages == ["ensemble_predict:", "report:"]


def test_an_edit_to_another_head_or_loss_leaves_trained_folds_up_to_date(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy_to(tmp_path / "project")
    code = project.folder / "src/couplet"

    def edit(*files: str) -> str:
        for file in files:
            path = code / file
            path.write_text(path.read_text() + "# edited\n")
        return project.run("dvc", "status").stdout

    others = ("heads/gmp.py", "losses/bce.py", "settings/heads/db_dgcn.py", "phantom/film.py")
    changed = edit(*others)
    assert not any(
        stage in changed for stage in ("prepare", "train_fold", "evaluate_fold", "ensemble_predict")
    )
    assert "train_fold@0" in edit("heads/linear.py")


def test_an_experiment_in_a_temporary_checkout_finds_raw_data_and_scratch(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy_to(tmp_path / "project")
    project.variables.pop("COUPLET_DATA_ROOT")
    (project.folder / "data/raw").symlink_to(finished.variables["COUPLET_DATA_ROOT"])
    changed = ("-S", "image.store_size=34", "-S", "schedule.epochs=2")
    project.run("dvc", "exp", "run", "--temp", "-n", "smaller", *changed, "train_fold@0")
    scratch = sorted(path.name for path in (project.folder / ".scratch").iterdir())
    assert scratch == ["prepare", "train_fold"]
    difference = project.run("dvc", "params", "diff", "HEAD", "smaller").stdout
    assert "image.store_size" in difference and "34" in difference


def test_the_fold_list_grows_the_graph_and_left_overs_are_refused(finished: Project, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path / "project")
    project.run(
        "dvc", "exp", "run", "-n", "five", "-S", "split.folds=[0,1,2,3]", "train_fold@3", "evaluate_fold@3"
    )
    assert (project.folder / "data/models/fold_3/predictor.safetensors").exists()
    project.run("git", "checkout", "--", ".")
    project.run("dvc", "checkout")
    left = project.folder / "data/models/fold_3"
    left.mkdir(exist_ok=True)
    refused = project.run("python", "stages/ensemble_predict.py", check=False)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("error: data/models/fold_3")
    assert "couplet prune" in refused.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+refiner.enabledd=false", "unknown key refiner.enabledd: did you mean refiner.enabled?"),
        ("optimizer.lr=abc", "optimizer.lr = 'abc' is not allowed: it should be a number"),
        ("schedule.warmup_epochs=9", "schedule.warmup_epochs = 9 leaves no step for the cosine"),
    ],
)
def test_mistakes_in_an_experiment_stop_it_in_one_line(
    finished: Project, tmp_path: Path, override: str, message: str
) -> None:
    project = finished.copy_to(tmp_path / "project")
    result = project.run("dvc", "exp", "run", "-S", override, check=False)
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    assert "Traceback" not in result.stdout + result.stderr


def test_two_checkouts_give_the_same_bytes(finished: Project, raw: Path, tmp_path: Path) -> None:
    """To the end of one fold; the committed graph is compared whole by test_committed_run.py."""
    other = new_project(tmp_path / "other", "phantom", raw, TINY)
    other.run("dvc", "repro", "evaluate_fold@0")
    theirs, ours = finished.bytes_of(*RESULTS), other.bytes_of(*RESULTS)
    assert len(ours) > 10
    assert [name for name in ours if theirs[name] != ours[name]] == []
    for name, entry in other.lock()["stages"].items():
        assert finished.lock()["stages"][name] == entry
