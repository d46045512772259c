"""`couplet compare` in a small git and DVC repository whose runs are written by the product's own writers."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from couplet.cli import main
from couplet.commands.compare import compare
from couplet.commands.compare_tables import differences_table, shown_labels
from couplet.commands.compare_text import as_text
from couplet.commands.revisions import read_finished_run
from couplet.evaluation.comparison import Comparison, Difference
from couplet.evaluation.estimate import Estimate
from couplet.evaluation.jackknife import auc_estimates
from couplet.project.project import Project as Paths
from couplet.results.folds import read_folds
from couplet.results.manifest import read_manifest
from couplet.results.predictions import read_predictions
from couplet.settings.params import load_params
from tests.commands.conftest import Repository, write_calibrated, write_run
from tests.support.errors import refused
from tests.support.projects import ROOT

ONE = "nothing about the method (one repeat)"


@pytest.fixture
def here(runs: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """The shared repository as current directory; not to be changed."""
    monkeypatch.chdir(runs.folder)
    return runs


@pytest.fixture
def copied(runs: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository of one's own."""
    shutil.copytree(runs.folder, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return Repository(tmp_path / "copy")


def said(*arguments: str) -> tuple[int, str, str]:
    """Exit code and what `couplet compare ...` prints."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["compare", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


# --- reading --------------------------------------------------------------------------------------------------


def test_a_revision_is_read_as_the_workspace_is(here: Repository) -> None:
    paths = Paths(here.folder)
    manifest = read_manifest(paths)
    fold_of = read_folds(manifest)
    for name in ("HEAD", "main", ".", "workspace"):
        run = read_finished_run(name, "oof")
        assert run.rows.tolist() == np.flatnonzero(fold_of != "test").tolist()
        for fold in (0, 1):
            path, rows = paths.fold_predictions(fold), np.flatnonzero(fold_of == str(fold))
            expected = read_predictions(path, manifest.labels, manifest.ids[rows])
            np.testing.assert_array_equal(run.probabilities[np.isin(run.rows, rows)], expected)
            md5 = hashlib.md5(path.read_bytes()).hexdigest()
            assert run.sources[fold] == (f"data/predictions/folds/fold_{fold}.csv", md5)
        assert run.repeat == (42, 0)
        np.testing.assert_array_equal(run.truth, manifest.truth[run.rows])
    assert read_finished_run("HEAD", "test").sources[0].path == "data/predictions/ensemble/test.csv"


def test_a_branch_and_an_experiment(here: Repository) -> None:
    answer = compare("other", "no-refiner")
    own = load_params(ROOT / "params.yaml").optimizer.lr
    assert answer.arms.settings == [("refiner.enabled", True, False), ("optimizer.lr", 0.001, own)]
    assert answer.arms.sections == ["refiner", "optimizer"]
    a, b = (read_finished_run(name, "oof") for name in ("other", "no-refiner"))
    expected = [
        auc_estimates(run.truth[:, :2], run.probabilities[:, :2], run.patients).macro for run in (a, b)
    ]
    assert [answer.a.value, answer.b.value] == pytest.approx([one.value for one in expected])
    assert [answer.a.low, answer.b.high] == pytest.approx([expected[0].low, expected[1].high])
    assert answer.auc.macro.estimate.value == pytest.approx(expected[0].value - expected[1].value)  # type: ignore[operator]
    assert answer.auc.macro.estimate.source[0].path == "other:data/predictions/folds/fold_0.csv"
    assert answer.verdict.startswith("these two trained ensembles differ") and answer.verdict.endswith(ONE)


def test_the_workspace_and_head_and_nothing_is_written(here: Repository) -> None:
    before = here.run("git", "status", "--porcelain").stdout, here.bytes_of("data", ".git/refs")
    code, out, err = said(".", "HEAD")
    assert (code, err) == (0, "")
    said_once = " ".join(out.split())
    assert (
        "A - B 0.00000, no interval: the two give the same on every patient (selected), p = 1.0000"
        in said_once
    )
    assert said_once.endswith(
        f"verdict: these two trained ensembles do not differ on patients like these; {ONE}"
    )
    assert (here.run("git", "status", "--porcelain").stdout, here.bytes_of("data", ".git/refs")) == before


def test_a_changed_workspace(copied: Repository) -> None:
    write_run(copied.folder, draw=5)
    answer = compare("workspace", "HEAD")
    assert answer.auc.macro.estimate.value != 0
    assert answer.arms.settings == []


def test_what_is_printed(here: Repository) -> None:
    code, out, _ = said("HEAD", "no-refiner", "--part", "test")
    lines = out.splitlines()
    assert code == 0
    assert lines[:8] == [
        "A: HEAD (seed 42, train.repeat 0)",
        "B: no-refiner (seed 42, train.repeat 0)",
        "test: 32 images of 16 patients, 3 labels; paired by seed and train.repeat",
        "settings that differ:",
        "  refiner.enabled: A true, B false",
        "device, precision, arithmetic, library versions and code: all the same",
        "",
        "macro-AUC",
    ]
    assert "smallest difference that 1 repeat and 16 patients would find with probability 0.8: " in " ".join(
        out.split()
    )
    assert "  labels left out of the mean: Hernia (no positive image)" in lines
    answer = compare("HEAD", "no-refiner", "test")
    a, b = answer.labels_a, answer.labels_b
    start = lines.index("AUC     A                      B")
    assert [line.split("  ")[0] for line in lines[start + 1 : start + 4]] == ["Edema", "Nodule", "Hernia"]
    plain = [one.text().removesuffix(" (few)") for one in (a[0], b[0])]
    assert lines[start + 1] == f"Edema   {plain[0]}  {plain[1]}"
    assert lines[start + 3] == "Hernia  undefined              undefined"
    header, *rows = lines[start + 5 : start + 9]
    assert header.split() == ["AUC", "A", "-", "B", "p", "Holm", "BH"]
    edema = answer.auc.per_label[0]
    assert f"Edema   {edema.estimate.text().removesuffix(' (few)')}  {edema.p:.3f}" in rows[0]
    assert rows[2].split() == ["Hernia", "undefined", "-", "-", "-", "few"]
    assert "  Hernia, no interval: no positive image" in lines
    assert "  few: fewer than 10 patients with a positive image" in lines
    # A label's p-value of one repeat is about two trained ensembles, as the verdict is.
    assert (
        "Holm: p for saying that these two trained ensembles differ in a label (one repeat: nothing about the method);"
        in " ".join(out.split())
    )
    assert "  log loss, Brier score: not all runs have calibrated probabilities" in lines


@pytest.mark.parametrize("arguments", [("HEAD", "no-refiner"), ("other", "no-refiner"), (".", "HEAD")])
@pytest.mark.parametrize("part", ["oof", "test"])
def test_it_fits_80_columns(here: Repository, arguments: tuple[str, str], part: str) -> None:
    lines = said(*arguments, "--part", part)[1].splitlines()
    assert [line for line in lines if len(line) > 80] == []


def test_long_names_and_many_labels_fit_too() -> None:
    """The widest rows: both ends of an interval below zero, the smallest p, a flag; then a name in a line of its own."""
    estimate = Estimate(-0.1234, -0.2, -0.1, flags=("few",))
    one = Difference(estimate, 0.8, 0.9, 3, p=1e-9)
    names = ["Enlarged Cardiomediastinum", "Enlarged Cardiomediastinum again"]
    found = Comparison(one, [one, one], [0, 1])
    lines = differences_table(found, names, [0, 1])
    row = "-0.1234 [-0.200, -0.100]  <.001  <.001  <.001  few"
    assert lines[1] == f"Enlarged Cardiomediastinum  {row}"
    assert lines[2:4] == [names[1], " " * 28 + row]
    assert max(map(len, lines)) == 78
    p = [0.9] * 50 + [0.01] * 30 + [None]
    many = Comparison(one, [replace(one, p=value) for value in p], [0])
    assert shown_labels(many) == [*range(10), *range(50, 80)]


def test_more_than_one_changed_section_is_pointed_out(here: Repository) -> None:
    out = said("other", "no-refiner")[1]
    assert (
        "  attention: 2 sections differ (refiner, optimizer), so a difference cannot be\n"
        "    put down to one of them\n" in out
    )


def test_json_for_scripts(here: Repository) -> None:
    code, out, _ = said("HEAD", "no-refiner", "--json")
    content, answer = json.loads(out), compare("HEAD", "no-refiner")
    assert code == 0
    assert content["settings"] == [{"key": "refiner.enabled", "a": True, "b": False}]
    assert content["auc"]["macro"]["p"] == answer.auc.macro.p
    assert content["auc"]["macro"]["estimate"]["low"] == answer.auc.macro.estimate.low
    assert content["auc"]["labels_used"] == ["Edema", "Nodule"]
    assert content["auc"]["labels"][2]["p"] is None
    assert content["auc"]["labels"][0]["holm"] == answer.auc.adjusted()[0][0]
    assert content["b"]["runs"] == [{"name": "no-refiner", "seed": 42, "repeat": 0}]
    assert content["verdict"] == answer.verdict
    hernia, edema = content["a"]["auc_labels"][2], content["a"]["auc_labels"][0]
    assert (hernia["label"], hernia["low"], hernia["reason"]) == (
        "Hernia",
        None,
        "one patient has all positives",
    )
    run = read_finished_run("HEAD", "oof")
    expected = auc_estimates(run.truth, run.probabilities, run.patients).per_label[0]
    assert (edema["value"], edema["low"], edema["high"]) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert said("HEAD", "no-refiner", "--json")[1] == out


def test_calibrated_probabilities_give_losses(copied: Repository) -> None:
    write_calibrated(copied.folder, 0.2)
    copied.record()
    copied.commit("calibrated")
    write_calibrated(copied.folder, 0.5)
    for part in ("oof", "test"):
        answer = compare("HEAD", ".", part)
        run = read_finished_run("HEAD", part)
        assert run.calibrated is not None
        np.testing.assert_allclose(run.calibrated, 0.5 + 0.8 * (run.probabilities - 0.5), atol=1e-8)
        brier = answer.secondary["Brier score"].macro
        expected = np.nanmean((run.truth - run.calibrated) ** 2, axis=0).mean()
        assert brier.a == pytest.approx(expected)
        assert set(answer.secondary) == {"mAP", "log loss", "Brier score"}
    assert answer.auc.macro.p == 1.0  # the ranks are the same
    assert "Brier score (lower is better): A " in said("HEAD", ".")[1]


def test_other_machines_and_versions_are_named(copied: Repository) -> None:
    versions = {"torch": "2.16.0", "timm": "1.0.31"}
    write_run(copied.folder, record={"device": "cuda", "precision": "bf16", "versions": versions})
    out = said("HEAD", ".")[1]
    assert "attention: the models were not made alike, which alone changes digits:" in out
    assert [
        line for line in out.splitlines() if line.startswith("  ") and "; B " in line and ": A " in line
    ] == [
        "  device: A cpu; B cuda",
        "  precision: A float32; B bf16",
        "  torch: A 2.15.0; B 2.16.0",
    ]


def test_a_label_that_a_run_does_not_score_is_compared_and_in_no_mean(copied: Repository) -> None:
    both = compare("HEAD", "no-refiner").auc
    write_run(copied.folder, {"inference.unscored": ["Edema"]}, draw=5)
    found = compare("workspace", "no-refiner").auc
    assert 0 in both.labels and found.labels == [i for i in both.labels if i != 0]
    each = [found.per_label[i].estimate.value for i in found.labels]
    assert found.macro.estimate.value == pytest.approx(np.mean(each))
    assert found.per_label[0].estimate.value is not None


# --- repeats --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repeated(runs: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Two repeats of each arm, on-1, on-2, off-1, off-2, and a third of the first."""
    folder = tmp_path_factory.mktemp("repeats") / "project"
    shutil.copytree(runs.folder, folder, symlinks=True)
    repository = Repository(folder)
    for name, enabled, repeat in (
        ("on-1", True, 1),
        ("on-2", True, 2),
        ("off-1", False, 1),
        ("off-2", False, 2),
        ("more-3", True, 3),
    ):
        changes = {"refiner.enabled": enabled, "train.repeat": repeat}
        repository.save(name, settings=changes, draw=10 * repeat + enabled)
    return repository


def test_a_group_of_three_repeats_may_be_higher(copied: Repository) -> None:
    for repeat in (1, 2, 3):
        for name, enabled, skill in (("high", True, 1.5), ("low", False, 0.5)):
            changes = {"refiner.enabled": enabled, "train.repeat": repeat}
            copied.save(f"{name}-{repeat}", settings=changes, draw=10 * repeat + enabled, skill=skill)
    higher = compare("high-*", "low-*")
    assert (higher.verdict, higher.auc.macro.repeats) == ("A is higher", 3)
    assert higher.auc.macro.p is not None and higher.auc.macro.p < 0.05
    assert compare("low-*", "high-*", "test").verdict == "B is higher"
    assert compare("high-[12]", "low-[12]").verdict == "two repeats: not a test"
    one = "these two trained ensembles differ on patients like these; nothing about the method (one repeat)"
    assert compare("high-1", "low-1").verdict == one
    out = said("high-*", "low-*")[1]
    assert out.startswith("A: high-1, high-2, high-3 (seed 42, train.repeat 1, 2, 3)\n")
    assert "  Holm: p for saying that a label differs; BH (Benjamini-Hochberg): for\n" in out
    assert out.endswith("\nverdict: A is higher\n")


def test_pairs_within_folds_do_not_see_the_folds_scales(copied: Repository) -> None:
    """Fold 1's scores to the fourth power: each model ranks its images as before, and the pooled AUC falls."""
    paths = Paths(copied.folder)
    table = pd.read_csv(paths.fold_predictions(1))
    table[table.columns[1:]] **= 4
    table.to_csv(paths.fold_predictions(1), index=False)
    answer = compare(".", "HEAD")
    assert answer.auc.macro.estimate.value is not None and answer.auc.macro.estimate.value < -0.02
    assert answer.within is not None and answer.within.macro.estimate.value == 0.0
    run, weights, found = read_finished_run("HEAD", "oof"), np.zeros(2), np.zeros(2)
    for fold in "01":
        own = run.fold_of[run.rows] == fold
        for label in (0, 1):
            truth, score = run.truth[own, label], run.probabilities[own, label]
            known = ~np.isnan(truth)
            pairs = (truth == 1).sum() * (truth == 0).sum()
            weights[label] += pairs
            found[label] += pairs * roc_auc_score(truth[known], score[known])
    assert answer.within.macro.b == pytest.approx((found / weights).mean())
    text = as_text(answer)
    assert f"macro-AUC within folds\n  A {answer.within.macro.a:.4f}, B {answer.within.macro.b:.4f}\n" in text
    said_once = " ".join(text.split())
    assert "attention: within folds: these two trained ensembles do not differ" in said_once
    assert said_once.endswith(f"verdict: these two trained ensembles differ on patients like these; {ONE}")
    content = json.loads(said(".", "HEAD", "--json")[1])
    assert content["auc_within_folds"]["macro"]["a"] == answer.within.macro.a
    assert content["verdict_within_folds"] == answer.verdict_within != content["verdict"]
    assert compare(".", "HEAD", "test").within is None
    assert "attention: within folds" not in said("HEAD", "other")[1]


def test_groups_of_experiments(repeated: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repeated.folder)
    answer = compare("on-*", "off-*")
    assert [run.name for run in answer.arms.a] == ["on-1", "on-2"]
    assert [run.repeat for run in answer.arms.b] == [(42, 1), (42, 2)]
    assert answer.arms.settings == [("refiner.enabled", True, False)]
    assert answer.verdict == "two repeats: not a test"
    each = [compare(f"on-{r}", f"off-{r}").auc.macro.estimate.value for r in (1, 2)]
    assert answer.auc.macro.estimate.value == pytest.approx(np.mean(each))  # type: ignore[arg-type]
    assert answer.auc.macro.between_repeats == pytest.approx(np.var(each, ddof=1))  # type: ignore[arg-type]
    out = as_text(answer)
    assert out.startswith(
        "A: on-1, on-2 (seed 42, train.repeat 1, 2)\nB: off-1, off-2 (seed 42, train.repeat 1, 2)\n"
    )
    assert answer.auc.macro.each == pytest.approx(each)
    assert f"  at each repeat: {each[0]:.5f}, {each[1]:.5f}\n  t " in out
    assert "  sd between repeats " in out
    assert "  Holm: p for saying that a label differs (two repeats: not a test); " in out


def test_unequal_repeats_only_when_they_are_allowed(
    repeated: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repeated.folder)
    assert refused(compare, "on-*", "off-1") == (
        "the arms have other repeats, by (seed, train.repeat) A: (42, 1), (42, 2); B: (42, 1): run those that are "
        "missing, or allow it with `--unpaired`"
    )
    answer = compare("on-*", "more-3", unpaired=True)
    assert (answer.arms.paired, answer.auc.macro.repeats) == (False, 1)
    assert "; not paired\n" in as_text(answer)


def test_what_is_no_group_of_repeats(repeated: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repeated.folder)
    assert refused(compare, "o*-[12]", "on-1") == (
        "off-1 and on-1 are the same repeat, seed 42 and train.repeat 1: name one of them, or repeat with "
        "`-S train.repeat=2`"
    )
    assert refused(compare, "[no][no]-*", "on-1") == (
        "no-refiner and on-1 are in one arm, but refiner.enabled is False and True: an arm's runs may differ in seed and "
        "train.repeat only"
    )
    assert refused(compare, "x-*", "on-1") == (
        "no experiment is named like 'x-*': `dvc exp list -A` names those there are"
    )


# --- what is refused ------------------------------------------------------------------------------------------


def test_an_unknown_revision(here: Repository) -> None:
    assert refused(compare, "HEAD", "nope") == (
        "'nope' is no revision, branch or experiment here: `git branch -a` and `dvc exp list -A` name them"
    )
    assert said("nope", "HEAD")[0] == 1


def test_an_unknown_part(here: Repository) -> None:
    assert refused(compare, "HEAD", "HEAD", "tst") == (
        "--part = 'tst' is not allowed: it should be oof or test"
    )


@pytest.mark.parametrize("inside", [True, False])
def test_outside_a_projects_root(
    inside: bool, runs: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.folder / "data" if inside else tmp_path)
    said_of_both = "this is not the root folder of a DVC project: go there first"
    assert refused(compare, "HEAD", "HEAD") == said_of_both
    assert refused(compare, "on-*", "HEAD") == said_of_both


def test_a_shallow_clone(runs: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = Repository(tmp_path / "clone")
    runs.run("git", "clone", "-q", "--depth", "1", f"file://{runs.folder}", str(clone.folder))
    monkeypatch.chdir(clone.folder)
    # It has the newest commit, and of its results what git has.
    assert refused(compare, "HEAD", "HEAD") == (
        "HEAD: data/prepared/labels.json is not in DVC's cache: `dvc fetch --all-commits` gets it from a remote, "
        "`dvc exp pull` if it is an experiment's; without a remote, run it again"
    )
    assert refused(compare, "other", "HEAD") == (
        "'other' is no revision, branch or experiment here: `git branch -a` and `dvc exp list -A` name them; this clone "
        "is shallow: `git fetch --unshallow` gets its older commits and other branches"
    )
    shutil.copytree(runs.folder / ".dvc/cache", clone.folder / ".dvc/cache")
    assert compare("HEAD", "HEAD").auc.macro.p == 1.0


def missing(repository: Repository, path: str) -> None:
    """Take the blob of a file in the workspace out of the cache."""
    md5 = hashlib.md5((repository.folder / path).read_bytes()).hexdigest()
    (repository.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()


@pytest.mark.parametrize(
    "path",
    ["data/prepared/manifest.csv", "data/predictions/folds/fold_1.csv", "data/models/fold_0/config.json"],
)
def test_a_missing_blob(copied: Repository, path: str) -> None:
    missing(copied, path)
    assert refused(compare, "HEAD", ".") == (
        f"HEAD: {path} is not in DVC's cache: `dvc fetch --all-commits` gets it from a remote, `dvc exp pull` if it is "
        "an experiment's; without a remote, run it again"
    )
    assert compare(".", ".").auc.macro.p == 1.0  # the workspace is read from its own files


def test_a_remote_serves_what_the_cache_lacks(copied: Repository, tmp_path: Path) -> None:
    copied.run("dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    copied.run("dvc", "push", "-q")
    shutil.rmtree(copied.folder / ".dvc/cache")
    assert compare("HEAD", ".").auc.macro.p == 1.0


def test_runs_that_are_not_finished(copied: Repository) -> None:
    copied.set_params({"refiner.enabled": False})
    message = refused(compare, "HEAD", ".")
    assert message.startswith(
        "params.yaml: refiner.enabled is False, but the models were trained with True: "
    )
    copied.commit("settings without their run")
    assert refused(compare, "HEAD", "main~1") == f"HEAD: {message}"
    (copied.folder / "dvc.lock").unlink()
    copied.commit("no run")
    assert refused(compare, "HEAD", "main~2") == (
        "HEAD: data/prepared/labels.json is not there, so the run is not finished: `dvc repro` it and commit dvc.lock"
    )


def test_models_of_other_folds_are_not_of_this_run(copied: Repository) -> None:
    write_run(copied.folder, record={"data": {"data/splits/folds.csv": "0123"}})
    assert refused(compare, ".", "HEAD") == (
        "data/splits/folds.csv is not what the models were trained on, so the run is not finished: run `dvc repro`"
    )


def other_truth(project: Path) -> None:
    path = project / "data/prepared/manifest.csv"
    lines = path.read_text().splitlines()
    lines[5] = lines[5].rsplit(",", 1)[0] + ","
    path.write_text("\n".join(lines) + "\n")


def other_patient(project: Path) -> None:
    path = project / "data/prepared/manifest.csv"
    path.write_text(path.read_text().replace(",p00,", ",p99,", 1))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda project: write_run(project, data_seed=8), "other labels of its images"),
        (other_truth, "other labels of its images"),
        (other_patient, "other patients"),
        (lambda project: write_run(project, labels=["Edema", "Mass", "Hernia"]), "other label names"),
        (lambda project: write_run(project, other_folds=True), "other folds"),
        (lambda project: write_run(project, prefix="j"), "other images"),
    ],
)
def test_unequal_data_is_refused(copied: Repository, change: Callable[[Path], None], what: str) -> None:
    change(copied.folder)
    assert refused(compare, "HEAD", ".") == (
        f"workspace has {what} than HEAD, so nothing can be compared image by image: run one of them again with the "
        "other's data, split and seed"
    )


def test_settings_of_another_version_of_the_code(copied: Repository) -> None:
    copied.set_params({"report.colour": "blue"})
    assert compare(".", "HEAD").arms.settings == [("report.colour", "blue", None)]
