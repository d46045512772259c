from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import combined_1m
from benchmarks.combined_tables import MEMBERS, PADCHEST, READ, WRITTEN, prepare_tables, write_raw_tables
from couplet.results.manifest import read_manifest


def test_the_tables_are_read_by_a_label_map_and_what_a_set_does_not_know_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_raw_tables("3001", json.dumps(combined_1m.SETTINGS))
    prepare_tables()
    steps = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(steps) == [READ, WRITTEN]
    manifest = read_manifest()
    assert manifest.group_columns == ("source",) and list(manifest.members) == ["nih", "chexpert", "padchest"]
    source = manifest.table["source"].to_numpy()
    assert {name: int((source == name).sum()) for name in MEMBERS} == {
        "nih": 1001,
        "chexpert": 1000,
        "padchest": 1000,
    }
    assert len(np.unique(manifest.patients)) == 251 + 250 + 250
    assert set(manifest.table["sex"]) == {"F", "M"} and set(manifest.table["view"]) == {"AP", "PA", "Lateral"}
    known = {name: np.isfinite(manifest.truth[source == name]).mean(axis=0) for name in MEMBERS}
    assert len(manifest.labels) == 24
    for label, *shares in zip(manifest.labels, *known.values(), strict=True):
        nih, chexpert, padchest = shares
        assert nih in (0, 1) and padchest == (label in PADCHEST)
        assert chexpert == 0 or 0.9 < chexpert < 1  # uncertain cells are unknown
    share = np.nanmean(manifest.truth, axis=0, dtype=float)
    assert 0.02 < share.min() < 0.1 and 0.15 < share.max() < 0.45


@pytest.mark.slow
def test_every_step_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(combined_1m.ROWS, "tiny", (1_500,))
    section = combined_1m.run("tiny")
    steps, files = section.tables
    assert [row[0] for row in steps.rows] == [READ, WRITTEN, "split_mis", "ensemble_predict", "report"]
    assert all(row[1] == 1_500 and min(row[2:]) > 0 for row in steps.rows)
    assert files.rows[0][:2] == [1_500, 24]
    assert [claim.promised for claim in section.claims] == ["at most 1,200 MB", "at most 1.1x"]
