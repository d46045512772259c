"""couplet export on a trained project of 24 images, and what others do with the bundle."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from safetensors.numpy import load_file, save_file

import couplet
from couplet.commands import export as story
from couplet.images.decoding.dicom_header import MODALITIES
from couplet.images.loading.store import ImageStore
from couplet.project.project import Project as Paths
from couplet.results.bundle import read_bundle
from couplet.results.folds import read_folds
from couplet.results.manifest import read_manifest
from couplet.results.predictions import read_predictions
from couplet.running.arithmetic import NUMPY_CAP, TORCH_CAP
from tests.bad_inputs.healthy import trained_project
from tests.support.in_process import InProcessProject
from tests.support.projects import ROOT

EXPORT = ("export", "--onnx", "--openvino")


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    """What commands set for their libraries is put back afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", *NUMPY_CAP, *TORCH_CAP):
            patch.setenv(name, "1")
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def trained(environment: None, tmp_path_factory: pytest.TempPathFactory) -> InProcessProject:
    """A trained project with its bundle; nobody may change it."""
    project = trained_project(tmp_path_factory.mktemp("trained") / "project")
    outcome = project.run(*EXPORT)
    assert (outcome.code, outcome.err) == (0, [])
    assert outcome.out[-1].startswith("data/bundle: 2 models, 3 labels, ")
    return project


@pytest.fixture
def bundle(trained: InProcessProject) -> Path:
    return trained.folder / "data/bundle"


@pytest.fixture
def copy(trained: InProcessProject, tmp_path: Path) -> InProcessProject:
    """The project once more, to be spoiled, with its bundle."""
    shutil.copytree(trained.folder, tmp_path / "project", symlinks=True)
    return InProcessProject(tmp_path / "project", trained.source)


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def refused(project: InProcessProject, *arguments: str) -> str:
    """The line of the error, after which the old bundle is as it was and nothing half-written lies beside it."""
    before = content(project.folder / "data/bundle")
    outcome = project.run(*(arguments or EXPORT))
    assert outcome.code == 1 and len(outcome.err) == 1, outcome
    assert content(project.folder / "data/bundle") == before
    assert not [path for path in (project.folder / "data").iterdir() if path.name.endswith(".tmp")]
    return outcome.err[0].removeprefix("error: ")


# --- what is in it ------------------------------------------------------------------------------------------------


def test_its_files_and_their_record(bundle: Path, trained: InProcessProject) -> None:
    fold = ("config.json", "model.safetensors", "refiner.safetensors")
    others = ("README.md", "conformal.npz", "model.onnx", "openvino/model.bin", "openvino/model.xml")
    record = read_bundle(bundle)
    assert sorted(record.files) == sorted([*others, *(f"fold_{k}/{name}" for k in (0, 1) for name in fold)])
    assert record.labels == ["Edema", "Nodule", "Rare"] and record.source == "csv"
    assert record.license == "other" and "NOT A MEDICAL DEVICE" in record.intended_use
    params = yaml.safe_load((trained.folder / "params.yaml").read_text())
    assert (record.image["size"], record.image["store_size"]) == (32, 36)
    assert record.model["backbone_args"] == params["model"]["backbone_args"]
    written = json.loads((trained.folder / "data/predictions/ensemble/calibration.json").read_text())
    assert record.calibration == written
    assert record.metrics["ensemble"] == json.loads((trained.folder / "metrics/ensemble.json").read_text())
    assert (bundle / "conformal.npz").read_bytes() == (
        trained.folder / "data/predictions/ensemble/conformal.npz"
    ).read_bytes()


def test_what_it_suits_is_what_prepare_takes() -> None:
    assert tuple(story.MODALITIES) == MODALITIES


def test_torch_from_the_bundle_gives_the_pipelines_own_predictions(
    bundle: Path, trained: InProcessProject
) -> None:
    paths = Paths(trained.folder)
    manifest = read_manifest(paths)
    rows = np.flatnonzero(read_folds(manifest) == "test")
    images = ImageStore(paths.prepared).read(manifest.positions[rows])
    expected = read_predictions(paths.ensemble / "test.csv", manifest.labels, manifest.ids[rows])
    assert len(expected) > 3
    assert np.array_equal(couplet.load(bundle).predict(images), expected)
    for engine in ("onnx", "openvino"):
        assert np.abs(couplet.load(bundle, engine).predict(images) - expected).max() < 1e-5


def test_it_names_no_patient_image_date_or_path(bundle: Path, trained: InProcessProject) -> None:
    manifest = read_manifest(Paths(trained.folder))
    paths = [str(trained.folder), str(ROOT), str(Path.home())]
    # Two letters and digits stand in weights by chance: patients' names are looked for in text alone.
    patients = "|".join(rf"\b{re.escape(name)}\b" for name in set(manifest.table["patient_id"]))
    for name, data in content(bundle).items():
        assert not [one for one in (*manifest.ids, *paths) if str(one).encode() in data], name
        if name.endswith((".json", ".md", ".xml")):
            assert not re.search(patients, data.decode()), name
            assert not re.search(r"\b20\d\d-\d\d-\d\d\b", data.decode()), name


def test_exported_again_it_has_the_same_bytes(copy: InProcessProject, bundle: Path) -> None:
    assert copy.run(*EXPORT).code == 0
    assert content(copy.folder / "data/bundle") == content(bundle)


def test_without_options_the_folds_alone_and_another_place(copy: InProcessProject) -> None:
    assert copy.run("export", "--to", "elsewhere/b", "--license", "cc-by-4.0").code == 0
    record = read_bundle(copy.folder / "elsewhere/b")
    assert not any(name.startswith(("model.onnx", "openvino")) for name in record.files)
    card = (copy.folder / "elsewhere/b/README.md").read_text()
    assert "license: cc-by-4.0\n" in card and "onnxruntime" not in card and "local-dir:" in card


# --- what is refused ----------------------------------------------------------------------------------------------


def test_folds_that_are_left_over_or_of_other_settings(copy: InProcessProject) -> None:
    shutil.copytree(copy.folder / "data/models/fold_1", copy.folder / "data/models/fold_2")
    assert refused(copy) == (
        "data/models/fold_2 belongs to a fold that split.folds = [0, 1] does not have: run `couplet prune`, then "
        "`dvc repro`"
    )
    shutil.rmtree(copy.folder / "data/models/fold_2")
    config = copy.folder / "data/models/fold_1/config.json"
    config.write_text(config.read_text().replace('"lr": 0.002', '"lr": 0.004'))
    assert refused(copy) == (
        "data/models/fold_1/config.json has other settings than fold 0: params.optimizer.lr is 0.004, there 0.002; "
        "folds of different runs cannot be mixed: run `dvc repro`"
    )


def test_a_weight_that_is_not_the_one_that_predicted(copy: InProcessProject) -> None:
    path = copy.folder / "data/models/fold_1/predictor.safetensors"
    tensors = load_file(path)
    tensors["head.classifier.bias"][1] += 0.01
    save_file(tensors, path)
    assert re.fullmatch(
        r"data/models/fold_1 gives other probabilities than those in data/predictions \(largest difference 0\.00\d+\): "
        "the model is damaged or another: run `dvc checkout`, or `dvc repro`",
        refused(copy),
    )
    tensors["head.classifier.bias"][1] = np.nan
    save_file(tensors, path)
    assert "(largest difference nan)" in refused(copy)


def test_a_graph_with_a_corrupted_weight(copy: InProcessProject, monkeypatch: pytest.MonkeyPatch) -> None:
    write = story.write_onnx

    def corrupted(folder: Path, *arguments: object) -> None:
        write(folder, *arguments)  # type: ignore[arg-type]
        model = onnx.load(folder / "model.onnx")
        (bias,) = (
            one for one in model.graph.initializer if one.name.endswith("predictors.1.head.classifier.bias")
        )
        bias.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(1e-4), bias.name)
        )
        onnx.save(model, folder / "model.onnx")

    monkeypatch.setattr(story, "write_onnx", corrupted)
    assert re.fullmatch(
        r"the exported file for onnx is [12]\.\d+e-05 off torch's probabilities, more than 1e-05: nothing was written; "
        "please report the versions of torch, onnx and the runtime",
        refused(copy),
    )


def test_a_network_that_torchs_exporter_cannot_write(
    copy: InProcessProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise RuntimeError("the exporter fixed the number of images of images")

    monkeypatch.setattr(story, "write_onnx", fails)
    assert refused(copy) == (
        "torch's ONNX exporter cannot write these networks, model.head = linear (the exporter fixed the number of images of "
        "images): run `couplet export` without --onnx and --openvino"
    )


def test_another_folder_a_licence_that_is_no_name_and_missing_extras(
    copy: InProcessProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refused(copy, "export", "--to", "presets") == (
        "presets is there and is no folder: choose another place with --to"
    )
    assert refused(copy, "export", "--to", "data/models") == (
        "data/models holds other files than a bundle's: choose another place with --to"
    )
    assert refused(copy, "export", "--license", "my own: yes") == (
        "--license 'my own: yes' is no name of a licence: write it as apache-2.0 or other"
    )
    monkeypatch.setattr(
        "couplet.running.extras.find_spec", lambda name: None if name == "onnxscript" else name
    )
    assert refused(copy, "export", "--onnx") == (
        'couplet export --onnx needs onnxscript: pip install "couplet[export]"'
    )
    monkeypatch.setattr("couplet.running.extras.find_spec", lambda name: None if name == "openvino" else name)
    assert refused(copy, "export", "--openvino") == (
        'couplet export --openvino needs openvino: pip install "couplet[openvino]"'
    )


# --- the card and what others do with it --------------------------------------------------------------------------


def blocks(markdown: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", markdown, flags=re.DOTALL)


def test_the_card_says_what_it_must(bundle: Path) -> None:
    text = (bundle / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    about = yaml.safe_load(head)
    assert (about["license"], about["library_name"]) == ("other", "timm")
    assert about["model-index"][0]["results"][0]["metrics"][0]["type"] == "roc_auc"
    headings = re.findall(r"^## (.+)$", body, flags=re.MULTILINE)
    assert headings == [
        "What it is", "Data", "Results", "Calibration", "Subgroups", "What it was not trained on",
        "How grey values must come", "How to load it",
    ]  # fmt: skip
    assert "**NOT A MEDICAL DEVICE.**" in body
    tables = [line for line in body.splitlines() if line.startswith("|")]
    assert len([line for line in tables if line.startswith(("| Edema ", "| Nodule ", "| Rare "))]) == 3
    assert not re.search(r"\bNone\b|\bnan\b|{{|\n\n\n\n", body.split("## How to load it")[0])


def test_the_document_has_the_cards_own_lines(bundle: Path) -> None:
    """With the sizes of the phantom's run in the place of this project's."""
    card = "\n".join(blocks((bundle / "README.md").read_text()))
    card = card.replace("32, 32", "64, 64").replace("36", "72").replace("(n, 3)", "(n, 14)")
    document = "\n".join(blocks((ROOT / "docs/export.md").read_text()))
    assert card == document


WITHOUT_COUPLET = """
import sys, importlib.util
sys.path = [path for path in sys.path if not __import__("pathlib").Path(path, "couplet").is_dir()]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder)]
assert importlib.util.find_spec("couplet") is None
"""


def test_the_cards_lines_run_where_there_is_no_couplet(
    bundle: Path, trained: InProcessProject, tmp_path: Path
) -> None:
    (tmp_path / "bundle").symlink_to(bundle)
    film = trained.raw / "images/05.png"
    shutil.copy(film, tmp_path / "film.png")
    paths = Paths(trained.folder)
    manifest = read_manifest(paths)
    position = manifest.positions[manifest.ids == "05.png"]
    assert len(position) == 1
    with_onnxruntime, with_timm, _ = blocks((bundle / "README.md").read_text())
    code = WITHOUT_COUPLET + with_onnxruntime + with_timm + "print(p.tolist())"
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    printed, of_fold_0 = ran.stdout.splitlines()
    found = {name: float(value) for name, value in re.findall(r"'(\w+)': np\.float32\(([\d.e-]+)\)", printed)}
    images = ImageStore(paths.prepared).read(position)
    expected = couplet.load(bundle).by_fold(images)
    assert list(found) == manifest.labels
    assert np.abs(np.array(list(found.values())) - expected.mean(axis=0)[0]).max() < 1e-5
    # One fold without the mirror image, from a film that was not squashed to the store's size first.
    assert np.abs(np.array(json.loads(of_fold_0))[0] - expected[0, 0]).max() < 0.05
