"""metrics/systems.csv: what is written is read back, and damage is one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from couplet.evaluation.estimate import Estimate
from couplet.project.project import Project
from couplet.results.measured import METHOD, Measured, read_measured, write_measured
from tests.support.errors import refused
from tests.support.measured import row


def test_rows_come_back_in_one_order_whatever_they_came_in(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert read_measured(project) == []
    nothing = Estimate(0.5, reason="all patients, one label", method=METHOD, n_images=40, n_patients=20)
    rows = [row(), row(part="test", own_test=True, images=40, patients=20), row(system="add_gcn")]
    rows += [row(system="kumar", head="linear", levels=6, levels_kind="cascade")]
    rows += [row(part="test", source="nih", images=40, patients=20, map=nothing, experiments=("a", "b"))]
    write_measured(rows, project)
    first = project.systems.read_bytes()
    write_measured(rows[::-1], project)
    assert project.systems.read_bytes() == first and b"\r" not in first
    read = read_measured(project)
    assert read == sorted(rows, key=lambda one: one.key)
    assert read[0].auc_macro.flags == () and read[1].auc_macro.flags == ("selected",)
    write_measured(read, project)
    assert project.systems.read_bytes() == first


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0.800000,", ",nan,", "line 2"),
        (",0.800000,", ",0.990000,", "does not enclose"),
        (",oof,", ",val,", "part oof or test"),
        (",100,", ",many,", "line 2"),
        (",csra,1,", ",csra,several,", "line 2"),
        ("auc_macro_low", "auc_macro_lo", "has no column 'auc_macro_low'"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    project = Project(tmp_path)
    write_measured([row()], project)
    project.systems.write_text(project.systems.read_text().replace(old, new, 1))
    assert message in refused(lambda: read_measured(project))


def test_the_key_is_what_a_later_measurement_replaces() -> None:
    one: Measured = row()
    assert one.key == replace(one, images=7).key
    for other in (row(part="test"), row(system="x"), row(source="x"), row(data="x"), row(experiments=("x",))):
        assert one.key != other.key
