from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import pipeline
from benchmarks.harness import ROOT, Section, run_command
from couplet.project.project import Project as Paths
from couplet.settings.params import load_params
from couplet.settings.presets import load_preset


@pytest.fixture(scope="module")
def section() -> Section:
    return pipeline.run("tiny")


def test_where_the_seconds_go(section: Section) -> None:
    stages, whole = section.tables
    seconds = {str(row[0]): float(row[1]) for row in whole.rows}
    imports, work, dvc, all_of_it = list(seconds.values())[:4]
    assert imports + work + dvc == pytest.approx(all_of_it)
    assert imports == pytest.approx(sum(row[3] for row in stages.rows))
    assert work == pytest.approx(sum(row[4] for row in stages.rows))
    assert [claim.what for claim in section.claims] == [
        "`dvc repro` of the phantom in a fresh checkout",
        "`dvc repro` with nothing to do",
    ]


def test_each_stage_has_a_row(section: Section) -> None:
    table = section.tables[0]
    assert [row[:2] for row in table.rows] == [["prepare", 1], ["split_mis", 1], ["train_fold", 1]]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert all(row[2] == pytest.approx(row[3] + row[4]) for row in table.rows)
    assert ["torch" in str(row[-1]) for row in table.rows] == [False, False, True]


def test_seconds_of_imports_by_hand() -> None:
    stderr = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       100 |        100 |   zipimport\n"
        "couplet: a line of the stage itself\n"
        "import time:   2000000 |    2000000 |     torch.nn\n"
        "import time:    500000 |    2500000 |   torch\n"
        "import time:      1000 |    2501000 | couplet.stages.train_fold\n"
    )
    assert pipeline.import_seconds(stderr) == pytest.approx(
        {"zipimport": 1e-4, "torch": 2.5, "couplet": 1e-3}
    )


def test_the_stopwatch_sees_memory_and_passes_failures_on(tmp_path: Path) -> None:
    watch = pipeline.stopwatch(tmp_path)
    hold = "import time; held = bytearray(b'x') * (200 * 2**20); time.sleep(0.3); import wave"
    run_command([*watch, "-c", hold], tmp_path)
    (run,) = pipeline.read_log(tmp_path)
    assert 200 <= run.own_mb < 230 and run.own_mb < run.peak_mb < 260
    assert run.seconds > 0.3 and "wave" in run.imports and run.work < run.seconds
    with pytest.raises(RuntimeError, match="exit 3\n(?s:.*)why"):
        run_command([*watch, "-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"], tmp_path)


def test_the_full_run_is_the_committed_phantom(project_root: Path) -> None:
    assert project_root == ROOT and pipeline.CHANGES["full"] == {}
    args = load_params(ROOT / "params.yaml").data.source_args
    assert pipeline.committed_cohort() == {"n_patients": args["patients"], "size": args["size"]}
    assert pipeline.cohort_of(load_preset("phantom_large", Paths(ROOT))) == {"n_patients": 800, "size": 112}
