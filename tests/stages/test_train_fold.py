"""Training by hand: on the files that are here and on nothing else, whatever was trained before."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file
from scipy.special import logit

from couplet.heads.csra import ResidualAttention
from couplet.running.arithmetic import NUMPY_CAP, TORCH_CAP
from tests.bad_inputs.healthy import csv_project, finished, picture
from tests.support.in_process import InProcessProject
from tests.support.params import change_params

FOLDS = "data/splits/folds.csv"
MODEL = "data/models/fold_0"
TAG = "resnet10t.c3_in1k"
GOING_ON = "fold 0: going on from its finished run"


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> InProcessProject:
    """A project after its six stages were run one by one, without DVC; nobody may change it."""
    return finished(csv_project(tmp_path_factory.mktemp("by_hand") / "project"))


@pytest.fixture
def project(by_hand: InProcessProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcessProject:
    """A copy of it; what commands put into the environment is put back afterwards."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", *NUMPY_CAP, *TORCH_CAP):
        monkeypatch.setenv(variable, "1")
    for variable in (*NUMPY_CAP, *TORCH_CAP, "COUPLET_SCRATCH", "COUPLET_FRESH"):
        monkeypatch.delenv(variable, raising=False)
    shutil.copytree(by_hand.folder, tmp_path / "project", symlinks=True)
    return InProcessProject(tmp_path / "project", by_hand.source)


def model(project: InProcessProject) -> dict[str, bytes]:
    """Every file of fold 0's model."""
    return {path.name: path.read_bytes() for path in sorted((project.folder / MODEL).iterdir())}


def edit_table(project: InProcessProject, path: str, change: Callable[[pd.DataFrame], object]) -> None:
    """Change a table as a person would, with an editor."""
    table = pd.read_csv(project.folder / path, dtype=str, keep_default_na=False)
    change(table)
    table.to_csv(project.folder / path, index=False)


def swap_folds(table: pd.DataFrame) -> None:
    """Fold 0 becomes fold 1, and the other way round."""
    table["fold"] = table["fold"].replace({"0": "1", "1": "0"})


def turn_labels(table: pd.DataFrame) -> None:
    """Every label of Edema is turned round."""
    table["Edema"] = table["Edema"].replace({"0": "1", "1": "0"})


def refused(project: InProcessProject, *command: str) -> str:
    """The one line of a command that is refused and changes nothing."""
    before = project.outputs()
    outcome = project.run(*command)
    assert (outcome.code, len(outcome.err)) == (1, 1), outcome
    assert project.outputs() == before
    return outcome.err[0].removeprefix("error: ")


def test_six_stages_run_by_hand_reach_a_report(by_hand: InProcessProject) -> None:
    assert not (by_hand.folder / "dvc.lock").exists()
    assert by_hand.report_says("Macro-AUC, out of fold")
    first, second = (by_hand.entry(f"data/models/fold_{fold}/config.json", "data") for fold in (0, 1))
    assert first == second
    names = ("data/prepared/manifest.csv", "data/prepared/labels.json", "data/prepared/shards.csv", FOLDS)
    assert first == {name: hashlib.md5((by_hand.folder / name).read_bytes()).hexdigest() for name in names}


@pytest.mark.parametrize(
    ("table", "change"), [(FOLDS, swap_folds), ("data/prepared/manifest.csv", turn_labels)]
)
def test_an_edited_table_never_gets_the_finished_run_of_another(
    project: InProcessProject, table: str, change: Callable[[pd.DataFrame], object]
) -> None:
    before = model(project)
    edit_table(project, table, change)
    outcome = project.run("train-fold", "0")
    assert outcome.code == 0 and GOING_ON not in outcome.out
    assert model(project)["predictor.safetensors"] != before["predictor.safetensors"]
    md5 = hashlib.md5((project.folder / table).read_bytes()).hexdigest()
    assert json.loads(model(project)["config.json"])["data"][table] == md5

    edit_table(project, table, change)  # as it was
    outcome = project.run("train-fold", "0")
    assert outcome.code == 0 and GOING_ON in outcome.out
    assert model(project) == before


def test_a_lock_of_other_data_changes_nothing(project: InProcessProject) -> None:
    before = model(project)
    lock = "schema: '2.0'\nstages: {split_mis: {outs: [{path: data/splits/folds.csv, md5: other}]}}\n"
    (project.folder / "dvc.lock").write_text(lock)
    assert GOING_ON in project.run("train-fold", "0").out
    assert model(project) == before


def test_other_pictures_of_the_same_size_are_another_store(project: InProcessProject) -> None:
    """The size of every file stays as it was; the list's digest does not, and the picture's in the manifest."""
    picture(99).save(project.raw / "images/00.png")
    path = project.folder / "data/prepared/manifest.csv"
    manifest, before = path.read_bytes(), project.row("data/prepared/manifest.csv", "00.png")
    assert project.run("scan").code == project.run("prepare").code == 0
    after = project.row("data/prepared/manifest.csv", "00.png")
    assert {name for name in before if before[name] != after[name]} == {"picture"}
    assert refused(project, "evaluate-fold", "0").startswith(f"{MODEL} was trained on another manifest.csv")
    path.write_bytes(manifest)
    message = f"{MODEL} was trained on another shards.csv than data/prepared/shards.csv: run `dvc repro train_fold@0`"
    assert refused(project, "evaluate-fold", "0") == message
    outcome = project.run("train-fold", "0")
    assert outcome.code == 0 and GOING_ON not in outcome.out
    assert project.run("evaluate-fold", "0").code == 0


def test_a_store_that_is_not_the_one_of_its_list_is_refused(project: InProcessProject) -> None:
    path = project.folder / "data/prepared/images-00000.npy"
    path.write_bytes(path.read_bytes() + b"x")
    size = path.stat().st_size
    assert refused(project, "train-fold", "0") == (
        f"data/prepared/images-00000.npy has {size} bytes, not {size - 1} as shards.csv says: restore it with "
        "`dvc checkout data/prepared`, or make it again with `dvc repro -f prepare`"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"inference.batch_size": 1},
        {"inference.batch_size": 5},  # 9 images to validate: a short last batch
        {"inference.batch_size": 7},
        {"train.checkpoint_minutes": 1e-6},  # after every batch
        {"refiner.strictness": 0.5},  # of couplings that are fitted afterwards
    ],
    ids=str,
)
def test_settings_that_change_no_model_are_not_part_of_it(
    project: InProcessProject, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = model(project)
    project.set(changes)
    outcome = project.run("train-fold", "0")
    assert GOING_ON in outcome.out and model(project) == before  # it is the same work
    monkeypatch.setenv("COUPLET_SCRATCH", str(tmp_path / "scratch"))
    outcome = project.run("train-fold", "0")
    assert outcome.code == 0 and GOING_ON not in outcome.out
    assert model(project) == before  # and it gives the same bytes


def test_before_couplings_are_fitted_out_of_fold_the_ablation_is_trained(project: InProcessProject) -> None:
    trained = {}
    for name, changes in (
        ("ablation", {"refiner.enabled": False}),
        ("out of fold", {"refiner.enabled": True, "refiner.fit": "out_of_fold"}),
    ):
        project.set(changes)
        assert project.run("train-fold", "0").code == 0
        trained[name] = model(project)
    names = ("predictor.safetensors", "history.csv", "couplings.csv")
    assert all(trained["ablation"][file] == trained["out of fold"][file] for file in names)


# --- pretrained weights -----------------------------------------------------------------------------------------


def weights(project: InProcessProject, seed: int, tag: str = TAG) -> str:
    """Made-up weights in data/weights; their SHA-256."""
    path = project.folder / f"data/weights/{tag}.safetensors"
    path.parent.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    save_file(timm.create_model("resnet10t", channels=(8, 8, 16, 16), stem_width=8).state_dict(), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_without_pretrained_weights_a_scan_lists_none(project: InProcessProject) -> None:
    """Weights of a backbone that was tried in between would make finished folds stale."""
    path = project.folder / "data/weights.json"
    assert path.read_bytes() == b"{}\n"  # made by the first scan
    path.write_text('{"a.b": {"file": "a.b.safetensors", "sha256": "12"}}')
    assert project.run("scan").code == 0
    assert path.read_bytes() == b"{}\n"


def test_weights_are_listed_where_the_images_are_not(project: InProcessProject) -> None:
    project.set({"model.backbone": TAG, "model.pretrained": True})
    digest = weights(project, 1)
    project.raw.rename(project.raw.with_name("elsewhere"))
    assert project.run("scan").code == 1
    assert project.run("scan", "--weights-only").out == [f"data/weights.json: {TAG}, sha256 {digest}"]


def test_weights_that_were_not_scanned_are_refused_by_the_first_stage_and_by_training(
    project: InProcessProject,
) -> None:
    weights(project, 1)
    project.set({"model.backbone": TAG, "model.pretrained": True})
    message = (
        f"data/weights.json does not list the weights of {TAG}, and model.pretrained is true: run `couplet scan`, "
        "or set model.pretrained=false"
    )
    assert refused(project, "prepare") == message
    assert refused(project, "train-fold", "0") == message
    assert project.run("check").out[-1] == f"before the first run: {message}"


def test_a_scan_that_finds_no_weights_writes_nothing(
    project: InProcessProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: 1 / 0)
    project.set({"model.backbone": TAG, "model.pretrained": True})
    assert refused(project, "scan").startswith(
        f"pretrained weights of {TAG}: the timm hub did not give them (ZeroDivisionError): put the file"
    )


def test_replaced_weights_are_refused_until_they_are_scanned(project: InProcessProject) -> None:
    project.set({"model.backbone": TAG, "model.pretrained": True})
    old = weights(project, 1)
    (project.folder / "data/weights.json").write_text('{"z.z": {"file": "z.z.safetensors", "sha256": "12"}}')
    assert project.run("scan").out[-1] == f"data/weights.json: {TAG}, sha256 {old}"
    content = json.dumps({TAG: {"file": f"{TAG}.safetensors", "sha256": old}}, indent=2) + "\n"
    assert (project.folder / "data/weights.json").read_text() == content
    assert "before the first run" not in project.run("check").out[-1]
    assert project.run("train-fold", "0").code == 0
    first = model(project)
    assert json.loads(first["config.json"])["weights"] == old

    new = weights(project, 2)
    assert refused(project, "train-fold", "0") == (
        f"the weights of {TAG} have the sha256 {new[:12]}..., not {old[:12]}... as data/weights.json says: restore "
        "the file, or run `couplet scan` to take it as it is"
    )
    assert project.run("scan").code == 0
    outcome = project.run("train-fold", "0")
    assert outcome.code == 0 and GOING_ON not in outcome.out
    assert json.loads(model(project)["config.json"])["weights"] == new
    assert model(project)["predictor.safetensors"] != first["predictor.safetensors"]


def test_a_list_of_weights_that_is_none_is_refused(project: InProcessProject) -> None:
    project.set({"model.backbone": TAG, "model.pretrained": True})
    for content in ("[]", '{"resnet10t.c3_in1k": "12"}', '{"resnet10t.c3_in1k": {"sha256": 12}}'):
        (project.folder / "data/weights.json").write_text(content)
        assert refused(project, "check") == (
            "data/weights.json is no list of weights' files and their sha256: restore it from git, or run `couplet scan`"
        )


def test_a_bias_starts_at_the_best_constant_of_the_loss_in_the_training_fold(
    project: InProcessProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[torch.Tensor] = []
    original = ResidualAttention.start_without_information
    monkeypatch.setattr(
        ResidualAttention,
        "start_without_information",
        lambda self, logits: (told.append(logits), original(self, logits))[1],
    )
    loss = {"loss.name": "bce", "loss.args": {"pos_weight": False}}
    project.set({"model.head": "csra", "model.head_args": {}, **loss})
    outcome = project.run("train-fold", "0")
    assert outcome.code == 0, outcome
    manifest = pd.read_csv(project.folder / "data/prepared/manifest.csv")
    folds = pd.read_csv(project.folder / FOLDS, dtype=str).set_index("image_id")["fold"]
    labels = json.loads((project.folder / "data/prepared/labels.json").read_text())["labels"]
    rows = manifest[~manifest["image_id"].map(folds).isin(["0", "test"])]
    expected = logit(rows[labels].mean(skipna=True))
    np.testing.assert_allclose(told[0].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(("key", "value", "there"), [("store_size", 40, 36), ("codec", "jpeg", "raw")])
def test_another_store_is_asked_for_than_is_there(
    project: InProcessProject, key: str, value: object, there: object
) -> None:
    """A stage by itself does not make the store first, and would train on the old one."""
    change_params(project.folder, {f"image.{key}": value})
    assert refused(project, "train-fold", "0") == (
        f"params.yaml: image.{key} is {value!r}, but data/prepared was made with {there!r}: run `dvc repro`, or "
        "restore params.yaml"
    )
