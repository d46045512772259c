"""`couplet table` in the repository of `couplet compare`'s tests: whose numbers it gives, and what it keeps."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from couplet.cli import main
from couplet.commands.revisions import read_finished_run
from couplet.commands.table import _macro, measure, merged
from couplet.commands.table_text import as_text
from couplet.evaluation.jackknife import auc_estimates, average_precision_estimates
from couplet.evaluation.leave_one_out import leave_one_out_auc
from couplet.results.measured import read_measured
from tests.commands.conftest import Repository
from tests.support.errors import refused
from tests.support.measured import row
from tests.support.predictions import drawn_predictions
from tests.support.projects import ROOT


@pytest.fixture
def here(runs: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository of one's own, with the presets."""
    shutil.copytree(runs.folder, tmp_path / "copy", symlinks=True)
    shutil.copytree(ROOT / "presets", tmp_path / "copy/presets")
    monkeypatch.chdir(tmp_path / "copy")
    return Repository(tmp_path / "copy")


def test_a_row_has_the_scores_that_every_other_page_gives(here: Repository) -> None:
    rows = measure(["no-refiner"])
    assert [one.part for one in rows] == ["oof", "test"]
    for one in rows:
        run = read_finished_run("no-refiner", one.part)
        given = run.truth, run.probabilities, run.patients
        assert one.auc_macro.text() == auc_estimates(*given).macro.flagged(*one.auc_macro.flags).text()
        assert one.map.text() == average_precision_estimates(*given).macro.flagged(*one.map.flags).text()
        assert (one.images, one.patients) == (len(run.rows), len(np.unique(run.patients)))
        assert (one.system, one.source, one.refiner, one.own_test) == ("phantom", "phantom", "off", False)
        assert one.changed == ("split.folds", "refiner.enabled")
        assert one.backbone == "seresnext101_32x4d, untrained"


def test_repeats_are_one_row_with_their_mean(here: Repository) -> None:
    here.save("again", settings={"refiner.enabled": False, "train.repeat": 1}, skill=0.2, draw=3)
    rows = measure(["no-refiner", "again", "main"])
    assert [(one.experiments, one.part) for one in rows] == [
        *((("no-refiner", "again"), part) for part in ("oof", "test")),
        *((("main",), part) for part in ("oof", "test")),
    ]
    each = [measure([name])[0].auc_macro.value for name in ("no-refiner", "again")]
    assert rows[0].auc_macro.value == pytest.approx(np.mean(each), abs=1e-12)
    assert len({one.data for one in rows}) == 1


def test_a_chain_of_networks_is_not_shown_as_one(here: Repository) -> None:
    cascade = {"model.levels.kind": "cascade", "model.levels.count": 4}
    here.save("chain", settings=cascade)
    here.save(
        "crops", settings={"model.head": "gmp", "model.levels.kind": "ag_cnn", "refiner.enabled": False}
    )
    rows = measure(["main", "chain", "crops"])
    assert [(one.levels, one.levels_kind) for one in rows[::2]] == [
        (1, "single"),
        (4, "cascade"),
        (3, "ag_cnn"),
    ]
    assert {"model.levels.kind", "model.levels.count"} <= set(rows[2].changed)
    lines = as_text(rows).splitlines()
    heads = [re.split("  +", line)[1] for line in lines if line.startswith("phantom  ")]
    assert sorted(heads) == [
        "gmp, 3 levels (ag_cnn)",
        "linear + refiner",
        "linear, 4 levels (cascade) + refiner",
    ]


def test_other_folds_are_other_data_and_another_table(here: Repository) -> None:
    here.save("moved", other_folds=True)
    rows = measure(["main", "moved"])
    assert len({one.data for one in rows}) == 2
    assert as_text(rows).count("macro-AUC with 95 %") == 2


def test_what_is_written_is_what_is_shown_later(here: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["table", *arguments])
        assert not end.value.code
        return capsys.readouterr().out

    assert "metrics/systems.csv is not there" in said()
    first = said("no-*", "--write")
    assert said() == first
    assert re.search(
        r"^phantom +linear +asl +0\.5433 +0\.\d{4} \[0\.\d{3}, 0\.\d{3}\] +-$", first, flags=re.MULTILINE
    ), first
    assert "phantom, no interval: one patient has all positives of 1 of 3 labels" in first
    before = Path("metrics/systems.csv").read_bytes()
    said("no-refiner", "--write")
    assert Path("metrics/systems.csv").read_bytes() == before
    said("main", "--write")
    assert [one.experiments for one in read_measured()] == [("main",), ("no-refiner",)] * 2


def test_rows_stand_in_the_published_order_and_are_not_ranked() -> None:
    rows = [row(system=name) for name in ("zebra", "csra_coco", "dokumaci", "paper", "kufel")]
    text = as_text(rows)
    places = [text.index(f"\n{name} ") for name in ("kufel", "paper", "dokumaci", "csra_coco", "zebra")]
    assert places == sorted(places)
    assert "AUC 0.8428, nih" in text and "mAP 0.833, coco" in text
    assert "published numbers, kufel, paper, dokumaci, csra_coco: drawn" in " ".join(text.split())


def test_numbers_of_other_sets_name_their_set() -> None:
    rows = [
        row(system="dokumaci", source="rsna_pneumonia"),
        row(system="norkin", source="ranzcr_clip"),
        row(system="cohen", source="combined"),
    ]
    lines = as_text(rows).splitlines()
    ends = {
        line.split()[0]: re.split("  +", line)[-1]
        for line in lines
        if re.match(r"(doku|nork|cohe)\w+  ", line)
    }
    assert ends == {
        "dokumaci": "AUC 0.881, rsna_pneumonia",
        "norkin": "AUC 0.940, ranzcr_clip",
        "cohen": "AUC 0.852, padchest",
    }
    text = " ".join(" ".join(lines).split())
    assert (
        "any row: other images: the published number is of a random split, not said to be by patient." in text
    )
    assert "any row: other images: the published number is of hidden test labels." in text
    assert "any row: other images." in text


def test_a_published_precision_is_not_called_a_map() -> None:
    """Of RDAR precision, recall and F1 are printed, and no mAP."""
    (line,) = [
        line for line in as_text([row(system="rdar_coco")]).splitlines() if line.startswith("rdar_coco")
    ]
    assert line.endswith("  -") and "0.851" not in line


def test_the_reason_is_the_test_parts() -> None:
    rows = [
        row(system="taslimi", source="nih"),
        row(system="taslimi", source="nih", part="test", own_test=True),
    ]
    text = " ".join(as_text(rows).split())
    assert text.endswith("Not to be set beside the published numbers, any row: 100 of 25,596 images.")


def test_a_new_row_takes_the_old_ones_place() -> None:
    old = [row(), row(part="test")]
    new = row(images=7)
    assert merged(old, [new]) == [new, old[1]]


def test_mistakes_are_one_line(here: Repository) -> None:
    assert "main is named twice" in refused(measure, ["main", "main"])
    shutil.rmtree("presets")
    assert "main: its preset 'phantom' is not in presets/" in refused(measure, ["main"])


@pytest.mark.parametrize("repeats", [1, 3])
def test_labels_that_are_not_scored_are_in_no_mean(repeats: int) -> None:
    """Against scikit-learn: as the report and compare, so that rows of one table are means over the same labels."""
    runs = []
    for seed in range(repeats):
        truth, _, patients = drawn_predictions(0)
        _, p, _ = drawn_predictions(seed)  # another model of the same images
        scored = np.array([True, False, True])
        runs.append(SimpleNamespace(truth=truth, probabilities=p, patients=patients, scored=scored))
    expected = np.mean(
        [
            [
                roc_auc_score(run.truth[known, label], run.probabilities[known, label])
                for label in (0, 2)
                for known in [~np.isnan(run.truth[:, label])]
            ]
            for run in runs
        ]
    )
    found = _macro(runs, leave_one_out_auc, "test")  # type: ignore[arg-type]
    assert found.value == pytest.approx(expected, abs=1e-12)
