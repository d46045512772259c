from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from couplet.project.errors import UserError
from couplet.results.bundle import Bundle, digests, read_bundle, replacing_bundle, write_bundle

SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of two files."""
    folder = tmp_path / "bundle"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "fold_0/model.safetensors").write_bytes(b"abc")
    (folder / "model.onnx").write_bytes(b"a graph")
    write_bundle(folder, record(folder))
    return folder


def record(folder: Path) -> Bundle:
    return Bundle(
        format=1, couplet="0.1.0", license="other", intended_use="", source="csv", labels=["Edema"], image={},
        mean=[0.5] * 3, std=[0.5] * 3, model={}, refiner={}, inference={}, train={}, suits={}, folds=[], data={}, calibration={},
        metrics={}, versions={}, files=digests(folder),
    )  # fmt: skip


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        read_bundle(folder)
    return str(error.value).replace(str(folder), "bundle")


def test_it_is_read_as_it_was_written(folder: Path) -> None:
    bundle = read_bundle(folder)
    assert bundle == record(folder)
    assert list(bundle.files) == ["fold_0/model.safetensors", "model.onnx"]
    assert bundle.files["fold_0/model.safetensors"] == SHA256_OF_ABC


@pytest.mark.parametrize("name", ["fold_0/model.safetensors", "model.onnx"])
def test_one_flipped_bit_is_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[1] ^= 1
    (folder / name).write_bytes(content)
    assert refused(folder) == f"bundle/{name} is not the file that config.json names: export again"
    (folder / name).unlink()
    assert refused(folder) == f"bundle/{name} is not there, but config.json names it: export again"


def test_other_formats_and_other_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    newer = replace(record(folder), format=2)
    write_bundle(folder, newer)
    assert refused(folder) == "bundle: this bundle is of format 2, this couplet reads 1: update couplet"
    write_bundle(folder, replace(newer, format=0))
    assert refused(folder) == "bundle: this bundle is of format 0, this couplet reads 1: export again"
    (folder / "config.json").write_text('{"fold": 0}')
    assert (
        refused(folder)
        == "bundle/config.json does not describe a bundle: export again, or name the folder of one"
    )
    (folder / "config.json").unlink()
    assert (
        refused(folder) == "bundle is no exported bundle: it has no config.json: `couplet export` makes one"
    )


def test_a_record_that_lacks_something_or_leads_outside_is_refused(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    del content["labels"]
    (folder / "config.json").write_text(json.dumps(content))
    assert refused(folder).startswith("bundle/config.json: 'labels' is missing or of another kind")
    for name in ("../secret", "/etc/passwd"):
        write_bundle(folder, replace(record(folder), files={name: SHA256_OF_ABC}))
        assert refused(folder) == f"bundle/config.json: {name} lies outside of the bundle: export again"


# --- the folder's place -------------------------------------------------------------------------------------------


def test_a_new_bundle_takes_the_place_of_the_old_one_whole(folder: Path) -> None:
    with replacing_bundle(folder) as new:
        (new / "README.md").write_text("new")
        assert read_bundle(folder)
    assert [path.name for path in folder.iterdir()] == ["README.md"]
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_after_an_error_the_old_one_is_as_it_was_and_nothing_else_is_there(folder: Path) -> None:
    with pytest.raises(RuntimeError), replacing_bundle(folder) as new:
        (new / "README.md").write_text("new")
        raise RuntimeError
    assert read_bundle(folder) == record(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_what_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/config.json").write_text("{}")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for name, why in (
        ("photos", "holds other files than a bundle's"),
        ("file", "is there and is no folder"),
        ("link", "is there and is no folder"),
    ):
        with pytest.raises(UserError, match=f"{name} {why}: choose another place with --to"):
            replacing_bundle(tmp_path / name).__enter__()
    (tmp_path / "empty").mkdir()
    with replacing_bundle(tmp_path / "empty") as new:
        (new / "README.md").write_text("new")
    assert (tmp_path / "empty/README.md").is_file()
