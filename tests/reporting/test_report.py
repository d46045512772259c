"""The stage as a whole, on made-up projects: files, page, promises."""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from couplet.evaluation.jackknife import auc_estimates, average_precision_estimates
from couplet.evaluation.metrics import all_scores
from couplet.project.errors import UserError
from couplet.reporting.analysis import fold_agreement, small_share
from couplet.reporting.checks import leaks
from couplet.results.folds import read_folds
from couplet.results.manifest import read_manifest
from couplet.results.predictions import read_predictions
from couplet.results.run import read_run
from couplet.results.scores import with_interval
from couplet.stages.report import report, spreadsheet_safe
from tests.support.pages import text_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, make_project: Callable[..., None]) -> Path:
    """A project whose report has been written; read only."""
    folder = tmp_path_factory.mktemp("finished")
    make_project(folder)
    with contextlib.chdir(folder):
        report()
    return folder


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    return (finished / "plots/report.html").read_text()


def page_of(folder: Path) -> str:
    report()
    return (folder / "plots/report.html").read_text()


# --- files -------------------------------------------------------------------------------------------------


def test_every_figure_of_the_paper_is_written_and_on_the_page(finished: Path, page: str) -> None:
    names = sorted(path.stem for path in (finished / "plots/figures").iterdir())
    for start in ("training", "fig2_", "fig4_", "fig5_", "fig6_", "fig7_", "fig8_"):
        assert sum(name.startswith(start) for name in names) == 1
    # One montage per finding; the label without a positive has none.
    assert sum(name.startswith("fig3_") for name in names) == 13
    assert page.count("data:image/png;base64,") == len(names)


def test_the_couplings_table_has_every_fold_and_the_mean(finished: Path) -> None:
    table = pd.read_csv(finished / "plots/couplings.csv", dtype={"fold": str})
    assert list(table.columns) == ["source", "target", "coupling", "fold"]
    assert table["fold"].value_counts().to_dict() == dict.fromkeys(["0", "1", "2", "mean"], 14 * 13)
    assert (table["source"] != table["target"]).all()
    wide = [pd.read_csv(finished / f"data/models/fold_{k}/couplings.csv", index_col=0) for k in range(3)]
    one = table.set_index(["fold", "source", "target"])["coupling"]
    assert one["1", "Edema", "Pneumonia"] == pytest.approx(wide[1].loc["Edema", "Pneumonia"], abs=1e-6)
    mean = np.mean([matrix.loc["Edema", "Pneumonia"] for matrix in wide])
    assert one["mean", "Edema", "Pneumonia"] == pytest.approx(mean, abs=1e-6)


def test_two_runs_give_the_same_bytes(project: Callable[..., Path]) -> None:
    folder = project(n_images=90)
    report()
    first = {path: path.read_bytes() for path in (folder / "plots").rglob("*") if path.is_file()}
    (folder / "plots/figures/fig9_left_over.png").write_bytes(b"old")
    report()
    assert {path: path.read_bytes() for path in (folder / "plots").rglob("*") if path.is_file()} == first


def test_the_stage_never_imports_torch() -> None:
    code = (
        "import sys, couplet.stages.report, couplet.reporting.page, couplet.reporting.explanations;"
        "heavy = ('torch', 'timm', 'torchvision', 'sklearn', 'scipy.stats', 'scipy.optimize', 'scipy.linalg');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- what the page says ------------------------------------------------------------------------------------


def test_the_first_screen_has_the_headline_numbers(finished: Path, page: str) -> None:
    ensemble = json.loads((finished / "metrics/ensemble.json").read_text())
    first = text_of(page[: page.index('id="compare"')])
    assert f"Macro-AUC, out of fold {ensemble['oof']['auc_macro']:.4f} [0." in first
    assert f"Macro-AUC, test part {ensemble['test']['auc_macro']:.4f} [0." in first
    assert "207 images of 69 patients, each scored by the one model that was not trained on it" in first
    assert "33 images of 11 patients, scored by the ensemble: the mean of 3 folds." in first
    assert "Leaks none found no patient and no picture is in two parts" in first
    assert "Images 240 207 predicted out of fold · 33 test · repeated rows: 4 Patients" in first
    assert "Patients 80 all images of one in the same part" in first
    assert "Quarantined images 2 truncated file …: 2 (1 of them in the test part" in first
    assert "13 of 14 scored Atelectasis, Cardiomegaly, Consolidation, Edema, " in first
    assert "Support Devices; no AUC (one class only), left out of every mean: Fracture" in first
    assert "Non-finite batches 2 skipped in training: fold 0: 0, fold 1: 2, fold 2: 0" in first
    assert "Settings as the preset" in first


def test_the_interval_is_clustered_by_patient(finished: Path, page: str) -> None:

    with contextlib.chdir(finished):
        run = read_run()
    truth, patients = run.truth[run.oof_rows], run.patients[run.oof_rows]
    together = auc_estimates(truth, run.oof_probabilities, patients).macro
    alone = auc_estimates(truth, run.oof_probabilities, np.arange(len(truth))).macro
    assert together.low != alone.low
    assert f"{together.value:.4f} [{together.low:.3f}, {together.high:.3f}] (selected)" in text_of(page)


def test_table_i_has_the_published_numbers_and_this_run(finished: Path, page: str) -> None:
    table = text_of(page[page.index('id="compare"') : page.index('id="scores"')])
    oof = json.loads((finished / "metrics/ensemble.json").read_text())["oof"]["auc_macro"]
    assert "0.92603 hidden test labels; its text" in table
    assert "0.94187 hidden test labels; the competition’s leaderboard" in table
    assert "0.9264 split not said; its abstract" in table
    assert "0.810 official test list; its abstract" in table
    first, second = table.split("The second paper’s numbers, and the heads that people use today")
    assert first.count("not run here") == 11 and second.count("not run here") > 8
    assert f"linear + label-graph refiner ASL + 0.001 · |A|₁ {oof:.4f} [0." in table
    assert "(selected) out of fold" in table and "] test part" in table
    assert "nothing about chest X-rays" in table


def test_per_label_numbers_are_on_the_page(finished: Path, page: str) -> None:

    with contextlib.chdir(finished):
        run = read_run()
    truth = run.truth[run.oof_rows]
    given = truth, run.oof_probabilities, run.patients[run.oof_rows]
    auc = auc_estimates(*given).per_label[3]
    within = auc_estimates(*given, strata=run.fold_of[run.oof_rows]).per_label[3]
    precision = average_precision_estimates(*given).per_label[3]
    positives = int((truth[:, 3] == 1).sum())
    section = page[page.index('<section id="labels"') : page.index('<section id="calibration"')]
    row = text_of("<tr" + next(part for part in section.split("<tr") if 'scope="row">Edema<' in part))
    numbers = " ".join(one.flagged("selected").text(3) for one in (auc, within, precision))
    share = f"{positives / len(truth):.1%}"
    start = f"Edema {positives} images {auc.n_positive_patients} patients {share} {numbers} 0."
    assert row.startswith(start), row
    assert "Fracture 0 images 0 patients 0.0% undefined, no interval: no positive image" in text_of(section)
    for fold in run.folds:
        assert f"{fold.auc[3]:.3f} [" in text_of(section.split("AUC of each label in each fold")[1])


def test_agreement_and_couplings_are_stated(finished: Path, page: str) -> None:

    with contextlib.chdir(finished):
        run = read_run()
    result, text = fold_agreement(run.test_by_fold), text_of(page)
    cells = rf"{result.unanimous:.3f} \[0\.\d\d, 0\.\d\d\] of the {33 * 14} image × label cells are unanimous \(3–0\)"
    assert re.search(cells, text)
    interval = r"\[0\.\d+, 0\.\d+\]"
    pair = rf"0 and 2 {result.agreement[0, 2]:.4f} {interval} {result.kappa[0, 2]:.3f} {interval}"
    assert re.search(pair, text)
    assert re.search(rf"2–1 {int(result.votes[2])} {result.votes[2] / (33 * 14):.4f} {interval}", text)
    assert run.mean_couplings is not None
    assert f"|A| < 0.001 in {small_share(run.mean_couplings):.1%} of the off-diagonal" in text
    shifts = []
    for fold in run.folds:
        assert fold.couplings is not None
        up, down = (np.clip(sign * fold.couplings, 0, None).sum(axis=0) for sign in (1, -1))
        shifts.append(0.3 * max(up.max(), down.max()))
    shift = max(shifts)
    assert f"cannot move any logit of any fold’s model by more than {shift:.4f}" in text
    assert f"a probability of 0.5 to {1 / (1 + np.exp(-shift)):.4f}" in text
    assert "These probabilities are not calibrated." in text and "0.36" in text


def test_the_page_needs_nothing_and_names_nobody(page: str) -> None:
    assert not re.search(r"<(script|link(?! rel=\"icon\")|iframe|object)\b", page)
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "url(" not in page and "@import" not in page and "http" not in page
    assert "secret" not in page, "unreadable images are counted, not named"
    assert not re.search(r"\d{8}_\d{3}_\d{3}", page), "no image id"
    assert len(page) < 6e6


def test_provenance_and_settings_are_there(finished: Path, page: str) -> None:
    text = text_of(page)
    folds = hashlib.md5((finished / "data/splits/folds.csv").read_bytes()).hexdigest()
    for word in ("c0dec0de", f"Data: data/splits/folds.csv {folds}", "2.15.0", "1.0.31"):
        assert word in text
    assert (finished / "params.yaml").read_text() in html.unescape(page)


# --- other runs --------------------------------------------------------------------------------------------


def test_a_label_cannot_write_markup(project: Callable[..., Path]) -> None:
    labels = ["<script>alert(1)</script>", "=HYPERLINK(1)", 'a "quoted", label', "$x_$"]
    folder = project(labels=labels, n_images=90)
    page = page_of(folder)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    table = pd.read_csv(folder / "plots/couplings.csv")
    assert set(table["source"]) == {labels[0], "'=HYPERLINK(1)", labels[2], labels[3]}


@pytest.mark.parametrize("label", ["=1", "+1", "-1", "@x"])
def test_a_label_is_no_spreadsheet_formula(label: str) -> None:
    assert spreadsheet_safe(label) == f"'{label}"


def test_one_fold_without_refiner_and_hidden_test_labels(project: Callable[..., Path]) -> None:
    changes = {"split.holdout": 0.2, "refiner.enabled": False}
    folder = project(n_images=90, folds=1, test_labelled=False, changes=changes)
    text = text_of(page_of(folder))
    assert "The refiner is off in this run" in text
    assert "There is one fold, so there is nothing to agree with." in text
    assert "Macro-AUC, test part labels hidden" in text
    assert "Macro-AUC, held-out part" in text
    assert "refiner.enabled true false" in text, "what differs from the preset"
    assert (folder / "plots/couplings.csv").read_text() == "source,target,coupling,fold\n"
    assert not (folder / "plots/figures/fig7_couplings.png").exists()


def test_without_a_test_part_the_page_says_so(project: Callable[..., Path]) -> None:
    text = text_of(page_of(project(n_images=90, test=False)))
    assert "Macro-AUC, test part no test part" in text
    assert "no image was predicted by more than one fold’s model" in text
    assert "out of fold, on 90 images (there is no test part)" in text


def test_a_null_metric_is_explained(
    project: Callable[..., Path], trained_on_this: Callable[[Path], None]
) -> None:
    """No image of fold 1 has any finding: its AUC and mAP do not exist, and are neither 0 nor 0.5."""
    folder = project(n_images=90)
    path = folder / "data/prepared/manifest.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    fold_of = read_folds(read_manifest())
    table.loc[fold_of == "1", read_manifest().labels] = "0"
    table.to_csv(path, index=False)
    trained_on_this(folder)
    manifest = read_manifest()
    rows = [np.flatnonzero(fold_of == str(fold)) for fold in range(3)]
    predicted = [
        read_predictions(
            folder / f"data/predictions/folds/fold_{k}.csv", manifest.labels, manifest.ids[rows[k]]
        )
        for k in range(3)
    ]
    everywhere = np.concatenate(rows), np.concatenate(predicted)
    ensemble = json.loads((folder / "metrics/ensemble.json").read_text())
    scores = all_scores(manifest.truth[everywhere[0]], everywhere[1], manifest.labels)
    ensemble["oof"] = with_interval(scores, None, None)
    (folder / "metrics/ensemble.json").write_text(json.dumps(ensemble))
    fold_1 = all_scores(manifest.truth[rows[1]], predicted[1], manifest.labels)
    (folder / "metrics/fold_1.json").write_text(json.dumps(fold_1))
    assert fold_1["auc_macro"] is None and fold_1["map"] is None and fold_1["cf1"] is None

    text = text_of(page_of(folder))
    row = text.split(f"Fold 1 {len(rows[1])} ")[1].split("Fold 2")[0]
    assert row.startswith("undefined, no interval: no label has both classes (selected)")
    assert "undefined, no interval: no label has a positive here (selected)" in row


def test_metrics_of_other_predictions_are_refused(project: Callable[..., Path]) -> None:

    path = project(n_images=90) / "metrics/ensemble.json"
    metrics = json.loads(path.read_text())
    metrics["oof"]["auc_macro"] = 0.99
    path.write_text(json.dumps(metrics))
    with pytest.raises(UserError, match=r"oof.auc_macro is 0.99, but the predictions give 0\.\d{4}"):
        report()


def test_shared_patients_raise_attention(project: Callable[..., Path]) -> None:
    path = project(n_images=90) / "metrics/split.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "patients_in_two_folds": 17}))
    fact = leaks(read_run())
    assert (fact.value, fact.attention) == ("found", True)
    assert fact.detail == "17 patients in two folds: the numbers may be too good"
    text = text_of(page_of(path.parents[1]))
    assert "Is anything wrong?" in text and "checks need attention: leaks, " in text
    assert re.search(r"Macro-AUC, out of fold 0\.\d{4} \[0\.\d+, 0\.\d+\] \(selected, leak\)", text)
    assert "leak" not in text.split("Macro-AUC, test part")[1].split(" images of")[0], "they are in two folds"
    assert "17 patients have images in two folds." in text
    assert "leak patients or pictures are in two parts, or may be under other names." in text
