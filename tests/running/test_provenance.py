from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from couplet.project.errors import UserError
from couplet.running.provenance import Provenance, refuse_changed_inputs, stage_provenance
from couplet.settings.params import Params
from couplet.settings.presets import params_yaml
from tests.support.params import params_with

DVC_YAML = """\
stages:
  train_fold:
    foreach: ${split.folds}
    do:
      cmd: python stages/train_fold.py ${item}
      deps:
        - data/prepared
        - data/splits/folds.csv
        - src/loop.py
        - src/models
      params:
        - seed
        - refiner
        - image.size
"""
DATA = {"data/prepared/manifest.csv": "aaa", "data/splits/folds.csv": "bbb"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COUPLET_SCRATCH", raising=False)
    monkeypatch.delenv("COUPLET_FRESH", raising=False)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "src/models").mkdir(parents=True)
    (tmp_path / "src/loop.py").write_text("x = 1\n")
    (tmp_path / "src/models/net.py").write_text("y = 1\n")
    return tmp_path


def found(params: Params | None = None, data: dict[str, str] | None = None) -> Provenance:
    return stage_provenance("train_fold", params or Params(), data or DATA)


def test_provenance_has_the_stages_params_its_data_and_one_digest_of_its_code(project: Path) -> None:
    assert found().params == {
        "seed": 42,
        "image.size": 380,
        "refiner.enabled": True,
        "refiner.fit": "joint",
        "refiner.alpha": 0.3,
        "refiner.lambda": 0.001,
        "refiner.message": "sigmoid",
        "refiner.teach": 0.0,
        "refiner.lr_factor": 1.0,
        "refiner.sparsity": "l1",
        "refiner.steps": 1,
        "refiner.conditional": "none",
        "refiner.strictness": 2.0,
    }
    assert found().data == DATA
    content = b"src/loop.py\0x = 1\n\0src/models/net.py\0y = 1\n\0"
    assert found().code == hashlib.sha256(content).hexdigest()[:20]


def test_key_follows_exactly_what_dvc_invalidates_on(project: Path) -> None:
    first = found().key(fold=0)
    assert found().key(fold=0) == first
    assert found(params_with({"inference.tta": False})).key(fold=0) == first  # not one of the stage's params
    assert found(params_with({"image.store_size": 512})).key(fold=0) == first
    assert found(params_with({"refiner.enabled": False})).key(fold=0) != first
    assert found().key(fold=1) != first

    (project / "src/models/net.py").write_text("y = 2\n")
    assert found().key(fold=0) != first
    (project / "src/models/net.py").write_text("y = 1\n")
    assert found().key(fold=0) == first
    assert found(data=DATA | {"data/splits/folds.csv": "ccc"}).key(fold=0) != first


@pytest.mark.parametrize(
    "name", ["net.pyc", "__pycache__/net.nbi", ".gitignore", ".net.py.123.tmp", "inner/.gitignore"]
)
def test_what_dvc_ignores_of_a_folder_is_not_part_of_the_code(
    project: Path, project_root: Path, name: str
) -> None:
    """Else two folds of one run would record different code, and no `dvc repro` would mend it."""
    first = found().code
    path = project / "src/models" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"left by a program")
    assert found().code == first
    ignored = (project_root / ".dvcignore").read_text().splitlines()
    assert {".gitignore", "__pycache__", "*.pyc", ".*.tmp"} <= set(ignored)


def test_dvc_lock_is_not_asked(project: Path) -> None:
    """It says what DVC wrote last, and not what lies here: models of one data set were recorded for another."""
    first = found()
    (project / "dvc.lock").write_text(
        "schema: '2.0'\nstages: {split_mis: {outs: [{path: data/splits/folds.csv}]}}"
    )
    assert found() == first
    (project / "dvc.lock").write_text("<<<<<<< HEAD\n")
    assert found() == first


def test_a_stage_that_tracks_the_whole_of_params_has_every_setting(project: Path) -> None:
    (project / "dvc.yaml").write_text("stages: {report: {deps: [], params: [{params.yaml: }]}}\n")
    assert stage_provenance("report", Params(), {}).params["inference.tta"] is True


def test_a_fold_has_no_data_but_what_its_key_names(project_root: Path) -> None:
    """`trained_on` hashes the tables, the key holds the digest of the weights that were loaded."""
    deps = yaml.safe_load((project_root / "dvc.yaml").read_text())["stages"]["train_fold"]["do"]["deps"]
    data = [path for path in deps if path.startswith("data/")]
    assert data == ["data/prepared", "data/splits/folds.csv", "data/weights.json"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda: None, None),
        (lambda: Path("src/loop.py").write_text("x = 2\n"), "the code"),
        (lambda: Path("data/splits/folds.csv").write_text("b\n"), "data/splits/folds.csv"),
        (lambda: Path("data/prepared/manifest.csv").write_text("b\n"), "data/prepared/manifest.csv"),
        (lambda: Path("data/prepared/labels.json").unlink(), "data/prepared/labels.json"),
        (lambda: edit({"refiner.alpha": 0.5}), "refiner.alpha"),
        (lambda: edit({"inference.tta": False}), None),  # not one of the stage's settings
        (lambda: Path("dvc.lock").write_text("{}\n"), None),  # another stage's result was recorded
    ],
)
def test_a_stage_whose_inputs_change_while_it_runs_fails(
    project: Path, change: Callable[[], object], named: str | None
) -> None:
    """DVC would record the new inputs with the old ones' result."""
    edit({})
    for path in ("data/splits/folds.csv", "data/prepared/manifest.csv", "data/prepared/labels.json"):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("a\n")

    def train_fold() -> str:
        change()
        return "done"

    if named is None:
        assert refuse_changed_inputs(train_fold)() == "done"
    else:
        with pytest.raises(UserError, match=f"^{named} changed while train_fold ran, so its result was not"):
            refuse_changed_inputs(train_fold)()


def edit(changes: dict[str, object]) -> None:
    Path("params.yaml").write_text(params_yaml(params_with(changes)))
