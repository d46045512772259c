"""The short form of `make faults`: a fault of each family, then `dvc repro`, then the same bytes."""

from __future__ import annotations

import random
from functools import partial

import pytest

from tests.faults import kinds
from tests.faults.bench import Bench, damage
from tests.faults.campaign import MENDED, SAME, Fault, Outcome, all_faults, draw_faults, inject, judge, table

SHORT = [
    (kinds.kill_stage, "prepare"),
    (kinds.kill_dvc, "split_mis"),
    (kinds.kill_at_commit, "split_mis"),
    (kinds.fail_writes, "prepare"),
    (kinds.edit_under_way, "split_mis"),
    (kinds.limit_size, "report"),
    (partial(kinds.damage_checkpoint, part="state"), "train_fold@0"),
    (kinds.damage_linked_shard, "prepare"),
    (partial(kinds.damage_tracked, name="metrics/fold_0.json"), "report"),
]


@pytest.mark.parametrize(("strike", "stage"), SHORT, ids=lambda value: getattr(value, "__name__", None))
def test_repro_after_a_fault_ends_with_the_same_bytes(bench: Bench, strike: kinds.Strike, stage: str) -> None:
    outcome = next(inject(bench, [Fault("", stage, strike)], seed=7))
    assert (outcome.ended, outcome.why) == (SAME, "")


def test_locks_that_a_killed_dvc_left_half_written_are_mended_by_one_command(bench: Bench) -> None:
    for name in ("dvc.lock", ".dvc/tmp/rwlock"):
        strike = partial(kinds.kill_in_rewrite, name=name, keep=0)
        outcome = next(inject(bench, [Fault("", "split_mis", strike)], seed=7))
        assert outcome.ended == MENDED, outcome


def test_a_wrong_result_is_seen(bench: Bench) -> None:
    """The judge itself: one byte that `dvc repro` has no reason to look at."""
    project = bench.copy()
    (project.folder / "metrics/stray.json").write_text("{}\n")
    assert bench.differences(project) == ["metrics/stray.json"]
    outcome = judge(bench, Fault("", "report", kinds.kill_stage), kinds.Struck(project, "a stray file"))
    assert outcome.ended == "wrong" and "metrics/stray.json" in outcome.why


def test_the_long_form_covers_every_kind_at_every_stage_once_before_it_repeats() -> None:
    every = all_faults(mounts=True)
    drawn = draw_faults(len(every), seed=3, mounts=True)
    assert sorted((f.kind, f.stage) for f in drawn) == sorted((f.kind, f.stage) for f in every)
    assert [f.kind for f in draw_faults(9, 3, True)] == [f.kind for f in drawn[:9]]
    assert [f.kind for f in draw_faults(9, 4, True)] != [f.kind for f in drawn[:9]]


def test_the_table_counts_by_kind_stage_and_end(bench: Bench) -> None:
    fault = Fault("damaged checkpoint", "train_fold@0", kinds.kill_stage)
    outcomes = [Outcome(fault, SAME, "", ""), Outcome(fault, "wrong", "", "x")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(outcomes).splitlines()]
    assert rows[2] == ["damaged checkpoint", "", "", "2", "", "", "", "2", "1", "0", "0", "1"]
    assert rows[3][0] == "all" and rows[3][7] == "2"


def test_damage_changes_a_file_in_place(bench: Bench) -> None:
    file = bench.folder / "file"
    for number in range(20):
        file.write_bytes(bytes(range(200)))
        before = file.stat().st_ino
        how = damage(file, random.Random(number))
        content = file.read_bytes()
        assert file.stat().st_ino == before and content != bytes(range(200))
        assert (len(content) == 200) is (how == "flip") and (len(content) == 0) is (how == "empty")
