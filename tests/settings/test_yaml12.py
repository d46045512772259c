"""Reading YAML: a file that did not change is parsed once, and nobody sees what another reader made of it."""

from __future__ import annotations

from pathlib import Path

from couplet.settings.yaml12 import read_settings


def test_what_is_read_is_the_readers_own_to_change(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("split: {folds: [0, 1]}\n")
    read_settings(path)["split"]["folds"].append(2)
    assert read_settings(path) == {"split": {"folds": [0, 1]}}


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    for seed in (1, 2, 1):
        path.write_text(f"seed: {seed}\n")
        assert read_settings(path) == {"seed": seed}
