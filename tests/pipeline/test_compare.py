"""Repeats of two arms as experiments of a real graph, and what `couplet compare` says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.projects import COUPLET, TINY, Project, new_project

SETTINGS = TINY | {"split.folds": [0], "split.holdout": 0.4, "schedule.epochs": 2}
ONE = "on patients like these; nothing about the method (one repeat)"


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Project:
    """Three repeats of each arm, on-1 to on-3 and off-1 to off-3, without their reports."""
    project = new_project(tmp_path_factory.mktemp("repeated") / "project", "phantom", raw, SETTINGS)
    for repeat in (1, 2, 3):
        for name, enabled in (("on", "true"), ("off", "false")):
            settings = ("-S", f"train.repeat={repeat}", "-S", f"refiner.enabled={enabled}")
            said = project.run(
                "dvc", "exp", "run", "-n", f"{name}-{repeat}", *settings, "ensemble_predict"
            ).stdout
            # A repeat redraws neither the split nor the test part.
            assert (name, repeat) == ("on", 1) or "Stage 'split_mis' didn't change, skipping" in said
            assert "Running stage 'train_fold@0'" in said
    return project


def compared(project: Project, *arguments: str) -> str:
    """What `couplet compare` prints, on one line."""
    return " ".join(project.run(*COUPLET, "compare", *arguments).stdout.split())


def in_json(project: Project, *arguments: str) -> dict[str, Any]:
    """What it prints for scripts."""
    content: dict[str, Any] = json.loads(project.run(*COUPLET, "compare", *arguments, "--json").stdout)
    return content


def test_what_three_two_and_one_repeats_allow_one_to_say(repeated: Project) -> None:
    found = in_json(repeated, "on-*", "off-*")
    p, smallest = found["auc"]["macro"]["p"], found["auc"]["macro"]["detectable"]
    assert list(found["secondary"]) == ["mAP", "log loss", "Brier score"]
    higher = f"{'A' if found['auc']['macro']['estimate']['value'] > 0 else 'B'} is higher"
    expected = f"not distinguishable; a difference of {smallest:.4f} would have been found"
    assert found["verdict"] == (higher if p < 0.05 else expected)
    assert compared(repeated, "on-*", "off-*").endswith(f"verdict: {found['verdict']}")
    assert compared(repeated, "on-[12]", "off-[12]").endswith("verdict: two repeats: not a test")
    assert compared(repeated, "on-1", "off-1").endswith(ONE)
    same = compared(repeated, "on-*", "on-*")
    assert same.endswith("verdict: not distinguishable: the two give the same on every patient")


def test_each_repeat_is_another_training_on_the_same_images(repeated: Project) -> None:
    said = compared(repeated, "on-*", "off-*")
    assert said.startswith(
        "A: on-1, on-2, on-3 (seed 42, train.repeat 1, 2, 3) B: off-1, off-2, off-3 (seed 42, train.repeat 1, 2, 3) "
    )
    assert "settings that differ: refiner.enabled: A true, B false device, precision, arithmetic" in said
    test = ("--part", "test")
    each = in_json(repeated, "on-*", "off-*", *test)["auc"]["macro"]["each"]
    arms = [in_json(repeated, f"on-{repeat}", f"off-{repeat}", *test) for repeat in (1, 3)]
    assert [each[0], each[2]] == pytest.approx([one["auc"]["macro"]["estimate"]["value"] for one in arms])
    assert arms[0]["a"]["auc_macro"]["value"] != arms[1]["a"]["auc_macro"]["value"]


def test_unequal_sets_of_repeats_are_refused(repeated: Project) -> None:
    refused = repeated.run(*COUPLET, "compare", "on-*", "off-[12]", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        "error: the arms have other repeats, by (seed, train.repeat) A: (42, 1), (42, 2), (42, 3); B: (42, 1), (42, 2): "
    )
    assert "; not paired " in compared(repeated, "on-*", "off-[12]", "--unpaired")
