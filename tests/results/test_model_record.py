"""What a fold's record names: the settings that DVC invalidates it on, and the data as it lay on the disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from couplet.project.project import HERE, Project
from couplet.results.model_record import ModelRecord, refuse_other_data, trained_on, trained_params
from couplet.results.shard_list import StoredFile, refuse_other_shards, write_shard_list
from couplet.settings.params import Params, flatten
from tests.support.errors import refused

TABLES = {
    "data/prepared/manifest.csv": b"image_id,part\n00.png,train\n",
    "data/prepared/labels.json": b'{"labels": ["Edema"]}\n',
    "data/splits/folds.csv": b"image_id,fold\n00.png,0\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    for name, content in TABLES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    Path("data/prepared/images-00000.npy").write_bytes(b"12345")
    write_shard_list(HERE.prepared, [StoredFile("images-00000.npy", 5, "ab" * 32)])
    return HERE


def record_of(data: dict[str, str]) -> ModelRecord:
    some: dict[str, Any] = dict.fromkeys(ModelRecord.__dataclass_fields__)
    return ModelRecord(**some | {"fold": 1, "data": data})


def test_the_shard_list_is_a_row_per_file(project: Project) -> None:
    assert project.shards.read_text() == f"file,size,sha256\nimages-00000.npy,5,{'ab' * 32}\n"


def test_a_record_names_the_md5_of_every_table_and_of_the_list_that_stands_for_the_images(
    project: Project,
) -> None:
    contents = TABLES | {"data/prepared/shards.csv": project.shards.read_bytes()}
    assert trained_on() == {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}


def test_a_project_elsewhere_gives_the_same_names(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    here, root = trained_on(), Path.cwd()
    monkeypatch.chdir("/")
    assert trained_on(Project(root)) == here


@pytest.mark.parametrize("name", [*TABLES, "data/prepared/shards.csv"])
def test_a_model_of_another_table_is_refused_by_its_name(project: Project, name: str) -> None:
    record = record_of(trained_on())
    refuse_other_data(record, project, "dvc repro")
    path = Path(name)
    path.write_bytes(path.read_bytes() + b"\n")
    assert refused(refuse_other_data, record, project, "dvc repro train_fold@1") == (
        f"data/models/fold_1 was trained on another {path.name} than {name}: run `dvc repro train_fold@1`"
    )


def test_a_record_that_names_its_data_in_another_way_is_refused(project: Project) -> None:
    record = record_of({"data/prepared": "0123.dir", "data/splits/folds.csv": "4567"})
    assert "was trained on another manifest.csv" in refused(refuse_other_data, record, project, "dvc repro")


@pytest.mark.parametrize(("content", "found"), [(b"123456", "6 bytes"), (b"", "0 bytes"), (None, "no bytes")])
def test_a_shard_of_another_size_than_its_list_says_is_refused(
    project: Project, content: bytes | None, found: str
) -> None:
    path = project.prepared / "images-00000.npy"
    path.unlink() if content is None else path.write_bytes(content)
    remedy = "restore it with `dvc checkout data/prepared`, or make it again with `dvc repro -f prepare`"
    assert refused(refuse_other_shards) == (
        f"data/prepared/images-00000.npy has {found}, not 5 as shards.csv says: {remedy}"
    )


def test_a_store_without_its_list_is_refused(project: Project) -> None:
    project.shards.unlink()
    assert refused(trained_on).startswith("data/prepared/shards.csv is not there: run `dvc repro`")


def test_the_records_settings_are_exactly_those_that_dvc_invalidates_a_fold_on(project_root: Path) -> None:
    """One more, and the run cache would bring back a fold with the record of other settings, for ever."""
    tracked = yaml.safe_load((project_root / "dvc.yaml").read_text())["stages"]["train_fold"]["do"]["params"]
    everything = flatten(Params().as_dict())
    wanted = {key for key in everything if any(key == name or key.startswith(f"{name}.") for name in tracked)}
    recorded = flatten(trained_params(Params()))
    assert set(recorded) == wanted
    assert all(recorded[key] == everything[key] for key in recorded)
    # What changes no result of a fold (tests/stages/test_train_fold.py, tests/pipeline/test_other_data.py).
    section = {key for key in everything if key.startswith("train.")}
    assert section - wanted == {"train.checkpoint_minutes"}
    # An epoch is chosen in the view and by the labels that predictions are scored by; the rest comes after training.
    section = {key for key in everything if key.startswith("inference.")}
    assert section - wanted == {"inference.tta", "inference.batch_size"}
    # Couplings are fitted out of fold without training again.
    assert {key for key in everything if key.startswith("refiner.")} - wanted == {"refiner.strictness"}


def test_no_random_or_absolute_name_is_in_the_digests(project: Project) -> None:
    assert trained_on() == trained_on()
    assert not any(Path(name).is_absolute() for name in trained_on())
    assert np.unique([len(md5) for md5 in trained_on().values()]).tolist() == [32]
