"""`couplet predict` where couplings were fitted after training: the run's own refined numbers, and known labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest

import couplet
from couplet.images.loading.store import ImageStore
from couplet.inference.graph import FittedCouplings
from couplet.project.project import Project
from couplet.results.fitted_couplings import read_fitted_files
from couplet.results.manifest import read_manifest
from couplet.results.predictions import read_predictions
from tests.support.coupled import couple_afterwards
from tests.support.in_process import InProcessProject

ENSEMBLE = "data/predictions/ensemble"


@pytest.fixture
def coupled(project: InProcessProject) -> InProcessProject:
    """A run with couplings that are not all 0; new/ holds its test images."""
    couple_afterwards(project)
    couplings, _ = read_fitted_files(project.folder / ENSEMBLE, labels(project))
    assert (couplings.fitted.kappa * couplings.fitted.A).any()
    (project.folder / "new").mkdir()
    for name in project.column(f"{ENSEMBLE}/test.csv", "image_id"):
        shutil.copy(project.raw / "images" / name, project.folder / "new")
    return project


def labels(project: InProcessProject) -> list[str]:
    found: list[str] = project.entry("data/prepared/labels.json", "labels")
    return found


def as_bytes(path: Path) -> bytes:
    frame = pd.read_csv(path, dtype=str).drop(columns=["status", "reason"])
    return frame.to_csv(index=False, lineterminator="\n").encode()


def in_json(project: InProcessProject, *arguments: str) -> dict[str, np.ndarray]:
    """raw, calibrated (n, L) and by_fold (n, L, K) of new/."""
    done = project.run("predict", "new", "--out", "p.json", *arguments)
    assert (done.code, done.err) == (0, []), done
    images = json.loads((project.folder / "p.json").read_text())["images"]
    return {
        key: np.array([[image["labels"][name][key] for name in labels(project)] for image in images])
        for key in ("raw", "calibrated", "by_fold", "decision")
    }


def test_the_test_part_gets_the_runs_own_refined_numbers(coupled: InProcessProject) -> None:
    assert coupled.run("predict", "new").code == 0
    own = coupled.folder / ENSEMBLE
    assert as_bytes(coupled.folder / "predictions.csv") == (own / "calibrated.csv").read_bytes()
    found, names = in_json(coupled), labels(coupled)
    ids = np.array(coupled.column(f"{ENSEMBLE}/test.csv", "image_id"))
    np.testing.assert_array_equal(found["raw"], read_predictions(own / "test.csv", names, ids))
    for fold in (0, 1):
        refined = read_predictions(own / f"test_refined_{fold}.csv", names, ids)
        np.testing.assert_array_equal(found["by_fold"][:, :, fold], refined)
        outputs = read_predictions(coupled.folder / f"data/predictions/test/fold_{fold}.csv", names, ids)
        assert np.abs(refined - outputs).max() > 0.01


def test_sets_are_of_the_refined_numbers(coupled: InProcessProject) -> None:
    frame = pd.read_csv(coupled.folder / "data/prepared/manifest.csv", dtype=str)
    views = dict(zip(frame["image_id"], frame["view"], strict=True))
    own = pd.read_csv(coupled.folder / ENSEMBLE / "decisions.csv", index_col=0)
    for view in ("AP", "PA"):
        inputs = [f"new/{name}" for name in own.index if views[name] == view]
        assert coupled.run("predict", *inputs, "--view", view).code == 0
        found = pd.read_csv(coupled.folder / "decisions.csv", index_col=0)
        found.index = [Path(name).name for name in found.index]
        pd.testing.assert_frame_equal(found, own.loc[found.index], check_names=False)


def test_without_calibration_the_refined_mean_is_written(coupled: InProcessProject) -> None:
    own = coupled.folder / ENSEMBLE
    (own / "calibration.json").unlink()
    assert coupled.run("predict", "new").code == 0
    assert as_bytes(coupled.folder / "predictions.csv") == (own / "test.csv").read_bytes()


def test_before_ensemble_predict_the_networks_own_mean_is_written_and_said(coupled: InProcessProject) -> None:
    shutil.rmtree(coupled.folder / ENSEMBLE)
    done = coupled.run("predict", "new", "--out", "p.json")
    assert done.code == 0
    assert f"{ENSEMBLE}/couplings.csv is not there: no couplings refine what the networks say" in done.out
    assert json.loads((coupled.folder / "p.json").read_text())["calibrated"] is False


def test_the_calibrator_is_never_given_what_it_was_not_fitted_on(coupled: InProcessProject) -> None:
    own = coupled.folder / ENSEMBLE
    matrix, content = (own / "couplings.csv").read_bytes(), json.loads((own / "calibration.json").read_text())
    (own / "couplings.csv").unlink()
    done = coupled.run("predict", "new")
    assert done.code == 1 and f"{ENSEMBLE}/couplings.csv is not there" in done.err[0]
    (own / "couplings.csv").write_bytes(matrix)
    del content["refiner"]  # as a run without couplings has it
    (own / "calibration.json").write_text(json.dumps(content))
    done = coupled.run("predict", "new")
    assert (done.code, done.err) == (
        1,
        [
            f"error: {ENSEMBLE}/calibration.json is of models with another refiner than data/models/fold_0: run "
            "`dvc repro`"
        ],
    )
    assert not (coupled.folder / "predictions.csv").exists()


def test_a_known_label_speaks_as_it_is_known_and_is_written_so(coupled: InProcessProject) -> None:
    names = labels(coupled)
    couplings, _ = read_fitted_files(coupled.folder / ENSEMBLE, names)
    fitted, plain = couplings.fitted, in_json(coupled)
    strengths = np.abs(fitted.kappa * fitted.A).max(axis=1)
    source = int(strengths.argmax())
    outputs = np.array(
        [
            pd.read_csv(coupled.folder / f"data/predictions/test/fold_{fold}.csv")[names].to_numpy()
            for fold in (0, 1)
        ]
    )
    for y in (0, 1):
        told = in_json(coupled, "--known", f"{names[source]}={y}")
        for key in ("raw", "calibrated", "by_fold"):
            assert (told[key][:, source] == y).all()
        assert (told["decision"] == None).all()  # noqa: E711  elementwise
        for target in {0, 1, 2} - {source}:
            line = fitted.line
            own = couplings.log_odds(outputs)
            q = 1 / (1 + np.exp(-own))
            q[..., source] = y
            by_hand = line.intercept[target] + line.scale[target] * own[..., target]
            by_hand += fitted.kappa[target] * sum(q[..., i] * fitted.A[i, target] for i in range(3))
            np.testing.assert_allclose(
                told["by_fold"][:, target].T, 1 / (1 + np.exp(-by_hand)), rtol=0, atol=1e-8
            )
            if fitted.A[source, target] and fitted.kappa[target]:
                assert (told["raw"][:, target] != plain["raw"][:, target]).all()
    content = json.loads((coupled.folder / "p.json").read_text())
    assert content["known"] == {names[source]: 1}
    shutil.rmtree(coupled.folder / "metrics")  # what is told has nothing to do with the run's own numbers
    assert coupled.run("predict", "new", "--known", f"{names[source]}=1", "--html", "p.html").code == 0
    assert f"Told of every picture: {names[source]} present;" in (coupled.folder / "p.html").read_text()
    assert not (coupled.folder / "decisions.csv").exists()


def test_parts_of_other_known_labels_are_written_again(coupled: InProcessProject) -> None:
    assert coupled.run("predict", "new", "--out", "parts").code == 0
    done = coupled.run("predict", "new", "--out", "parts", "--known", "Edema=1")
    assert done.code == 0 and not [line for line in done.out if line.endswith("is there already")]
    assert set(pd.read_csv(coupled.folder / "parts/predictions.csv")["Edema"]) == {1}
    done = coupled.run("predict", "new", "--out", "parts", "--known", "Edema=1")
    assert "parts/part-00000.csv is there already" in done.out


def test_known_labels_that_are_not_understood(coupled: InProcessProject) -> None:
    def line(*texts: str) -> str:
        done = coupled.run("predict", "new", *(word for text in texts for word in ("--known", text)))
        assert done.code == 1 and not (coupled.folder / "predictions.csv").exists()
        return done.err[0].removeprefix("error: ")

    form = "write it as 'LABEL=1' (present) or 'LABEL=0' (absent)"
    assert line("Edema") == f"--known 'Edema': {form}"
    assert line("Edema=0.5") == f"--known 'Edema=0.5': {form}"
    assert line("Edma=1").startswith("--known 'Edma=1': no label is called 'Edma': ")
    assert line("Edema=1", "Edema = 0") == "--known names 'Edema' twice: give each label once"


# --- exported -----------------------------------------------------------------------------------------------------


def test_every_engine_of_a_bundle_refines_as_the_models_do(coupled: InProcessProject) -> None:
    done = coupled.run("export", "--onnx", "--openvino")
    assert (done.code, done.err) == (0, []), done
    own, bundle = coupled.folder / ENSEMBLE, coupled.folder / "data/bundle"
    for name in ("couplings.csv", "couplings.json"):
        assert (bundle / name).read_bytes() == (own / name).read_bytes()
    card = (bundle / "README.md").read_text()
    assert "label couplings that were\nfitted afterwards" in card and "refiner.safetensors" not in card
    names, ids = labels(coupled), np.array(coupled.column(f"{ENSEMBLE}/test.csv", "image_id"))
    paths = Project(coupled.folder)
    manifest = read_manifest(paths)
    rows = np.array([np.flatnonzero(manifest.ids == name)[0] for name in ids])
    images = ImageStore(paths.prepared).read(manifest.positions[rows])
    mean = read_predictions(own / "test.csv", names, ids)
    for engine in ("torch", "onnx", "openvino"):
        assert np.abs(couplet.load(bundle, engine).predict(images) - mean).max() < 1e-5
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    assert [one.name for one in session.get_outputs()] == ["probabilities", "by_fold", "unrefined"]
    probabilities, by_fold, unrefined = session.run(None, {"images": images})
    assert np.abs(probabilities - mean).max() < 1e-5
    for fold in (0, 1):
        refined = read_predictions(own / f"test_refined_{fold}.csv", names, ids)
        outputs = read_predictions(paths.test_predictions(fold), names, ids)
        assert np.abs(by_fold[:, fold] - refined).max() < 1e-5
        assert np.abs(unrefined[:, fold] - outputs).max() < 1e-5

    for told in ((), ("--known", "Edema=1")):
        expected = in_json(coupled, *told)
        for engine in ("torch", "onnx", "openvino"):
            found = in_json(coupled, *told, "--model", "data/bundle", "--engine", engine)
            for key in ("raw", "calibrated", "by_fold"):
                np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=2e-5)

    (bundle / "couplings.csv").unlink()  # as another version would have written it
    record = json.loads((bundle / "config.json").read_text())
    del record["files"]["couplings.csv"]
    (bundle / "config.json").write_text(json.dumps(record))
    done = coupled.run("predict", "new", "--model", "data/bundle")
    assert done.err == [
        "error: data/bundle lacks couplings.csv, by which its models' outputs are refined: export again"
    ]


def test_a_graph_that_refines_otherwise_is_not_written(
    coupled: InProcessProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FittedCouplings.forward
    monkeypatch.setattr(FittedCouplings, "forward", lambda self, p: plain(self, p) * (1 - 1e-3))
    done = coupled.run("export", "--onnx")
    assert done.code == 1 and "off torch's probabilities, more than 1e-05: nothing was written" in done.err[0]
    assert not (coupled.folder / "data/bundle").exists()
