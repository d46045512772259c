from __future__ import annotations

from pathlib import Path

import pytest
import torch

from couplet.training.checkpoint import load_checkpoint, save_checkpoint


def save(folder: Path, step: int) -> None:
    state = {"weight": torch.full((2, 3), float(step)), "half": torch.tensor([1.5], dtype=torch.bfloat16)}
    best = {"weight": torch.zeros(2, 3)}
    progress = {"step": step, "auc": 0.1 + 0.2}
    save_checkpoint(folder, progress, {"state": (str(step), state), "best": ("0", best)})


def test_what_is_saved_is_loaded_exactly(tmp_path: Path) -> None:
    save(tmp_path, 7)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.progress == {"step": 7, "auc": 0.1 + 0.2}
    assert torch.equal(checkpoint.groups["state"]["weight"], torch.full((2, 3), 7.0))
    assert checkpoint.groups["state"]["half"].dtype == torch.bfloat16
    assert set(checkpoint.groups) == {"state", "best"}


def test_a_newer_checkpoint_replaces_the_older_and_keeps_what_did_not_change(tmp_path: Path) -> None:
    save(tmp_path, 1)
    unchanged = (tmp_path / "best-0.safetensors").stat().st_mtime_ns
    save(tmp_path, 2)
    assert (tmp_path / "best-0.safetensors").stat().st_mtime_ns == unchanged
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best-0.safetensors",
        "checkpoint.json",
        "state-2.safetensors",
    ]


def test_a_crash_between_tensors_and_index_leaves_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("couplet.training.checkpoint.write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.progress["step"] == 1


@pytest.mark.parametrize("name", ["state-1.safetensors", "best-0.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_damage_is_noticed_and_said(
    tmp_path: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1)
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes({"flip": bytes(data), "truncate": bytes(data[:-9]), "empty": b""}[damage])
    assert load_checkpoint(tmp_path) is None
    removed_index = damage == "remove" and name == "checkpoint.json"
    assert ("starting afresh" in capsys.readouterr().out) is not removed_index


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None


@pytest.mark.parametrize("name", ["state-1.safetensors", "best-0.safetensors", "checkpoint.json"])
def test_after_damage_the_next_checkpoint_is_whole_again(tmp_path: Path, name: str) -> None:
    """A damaged file of the same version must not be taken over as unchanged."""
    save(tmp_path, 1)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    assert load_checkpoint(tmp_path) is None
    save(tmp_path, 1)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.progress["step"] == 1
