from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from couplet.project.errors import UserError
from couplet.project.project import HERE
from couplet.reporting.checks import settings
from couplet.results.model_record import read_model_record
from couplet.results.refusals import refuse_other_inputs
from couplet.results.run import read_run
from couplet.results.weights import list_weights
from couplet.settings.params import load_params


def change_config(project: Path, fold: int, change: Callable[[dict[str, Any]], None]) -> None:
    path = project / f"data/models/fold_{fold}/config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def test_a_run_is_read_as_it_was_written(project: Callable[..., Path]) -> None:
    folder = project()
    run = read_run()
    table = pd.read_csv(folder / "data/prepared/manifest.csv", dtype={"image_id": str})
    fold_of = pd.read_csv(folder / "data/splits/folds.csv", dtype=str)["fold"].to_numpy()

    assert [fold.fold for fold in run.folds] == [0, 1, 2]
    np.testing.assert_array_equal(run.oof_rows, np.flatnonzero(fold_of != "test"))
    np.testing.assert_array_equal(run.test_rows, np.flatnonzero(fold_of == "test"))
    np.testing.assert_array_equal(run.truth, table[run.labels].to_numpy())
    row = int(np.flatnonzero(fold_of == "1")[4])
    predicted = pd.read_csv(folder / "data/predictions/folds/fold_1.csv", dtype={"image_id": str})
    np.testing.assert_array_equal(
        run.oof_probabilities[list(run.oof_rows).index(row)],
        predicted.set_index("image_id").loc[table["image_id"][row]],
    )
    assert run.test_by_fold.shape == (3, len(run.test_rows), 14)
    couplings = [pd.read_csv(folder / f"data/models/fold_{k}/couplings.csv", index_col=0) for k in range(3)]
    assert run.mean_couplings is not None
    np.testing.assert_allclose(run.mean_couplings, np.mean(couplings, axis=0))
    assert run.differences == []
    assert list(run.patients[:4]) == ["0", "0", "0", "1"]


def test_an_image_without_patient_stands_for_itself(
    project: Callable[..., Path], trained_on_this: Callable[[Path], None]
) -> None:
    folder = project()
    path = folder / "data/prepared/manifest.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[1, "patient_id"] = ""
    table.to_csv(path, index=False)
    trained_on_this(folder)
    assert list(read_run().patients[:3]) == ["0", table["image_id"][1], "0"]


def test_no_refiner_means_no_couplings(project: Callable[..., Path]) -> None:
    project(changes={"refiner.enabled": False})
    run = read_run()
    assert run.mean_couplings is None
    assert run.differences == [("refiner.enabled", True, False)]


def test_settings_of_a_preset_of_ones_own(project: Callable[..., Path]) -> None:
    project(changes={"preset": "my_own"})
    run = read_run()
    assert run.differences is None
    assert settings(run).detail == "there is no presets/my_own.yaml to compare with"


def test_no_test_part(project: Callable[..., Path]) -> None:
    project(test=False)
    run = read_run()
    assert not run.has_test and not run.test_labelled
    assert run.test_probabilities.shape == (0, 14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda config: config["params"]["refiner"].update(alpha=0.5),
            r"fold_2/config.json has other settings than fold 0: params.refiner.alpha is 0.5, there 0.3",
        ),
        (
            lambda config: config["data"].update({"data/prepared": "other.dir"}),
            r"fold_2/config.json has other data than fold 0: data.data/prepared is 'other.dir'",
        ),
        (
            lambda config: config.update(code="new"),
            r"fold_2/config.json has other code than fold 0: code is 'new'",
        ),
        (
            lambda config: config.update(weights="sha256:1"),
            r"fold_2/config.json has other weights than fold 0: weights is 'sha256:1', there 'none'",
        ),
        (lambda config: config["labels"].reverse(), r"fold_2/config.json has other labels than"),
    ],
)
def test_folds_of_different_runs_are_refused(
    project: Callable[..., Path], change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change_config(project(), 2, change)
    with pytest.raises(UserError, match=message):
        read_run()


def test_device_and_versions_may_differ(project: Callable[..., Path]) -> None:
    change_config(project(), 2, lambda config: config.update(device="cuda", precision="fp16"))
    assert read_run().folds[2].record.device == "cuda"


def test_settings_changed_after_training_are_refused(project: Callable[..., Path]) -> None:
    path = project() / "params.yaml"
    path.write_text(path.read_text().replace("enabled: true  # false is the ablation", "enabled: false  #"))
    with pytest.raises(UserError, match=r"refiner.enabled is False, but the models were trained with True"):
        read_run()


def all_configs(project: Path, change: Callable[[dict[str, Any]], None]) -> None:
    for fold in range(3):
        change_config(project, fold, change)


def test_models_of_other_tables_are_refused_although_the_folds_agree(project: Callable[..., Path]) -> None:
    """Somebody dealt the folds anew and trained nothing: two patients changed places."""
    path = project() / "data/splits/folds.csv"
    table = pd.read_csv(path, dtype=str)
    images = table.index[:6]  # of patients 0 and 1
    table.loc[images, "fold"] = "2"
    table.to_csv(path, index=False)
    with pytest.raises(UserError) as caught:
        refuse_other_inputs(load_params(), read_model_record(HERE.model(0)))
    assert str(caught.value) == (
        "data/models/fold_0 was trained on another folds.csv than data/splits/folds.csv: run `dvc repro`"
    )


@pytest.mark.parametrize("name", ["manifest.csv", "labels.json", "shards.csv"])
def test_models_of_another_store_are_refused(project: Callable[..., Path], name: str) -> None:
    path = project() / "data/prepared" / name
    path.write_text(
        path.read_text().replace("\n", "\n\n", 1) if name == "labels.json" else path.read_text() + "\n"
    )
    with pytest.raises(
        UserError, match=f"fold_0 was trained on another {name} than data/prepared/{name}: run"
    ):
        read_run()


def test_a_store_whose_files_are_not_those_of_its_list_is_refused(project: Callable[..., Path]) -> None:
    path = project() / "data/prepared/images-00000.npy"
    path.write_bytes(path.read_bytes() + b"x")
    size = path.stat().st_size
    with pytest.raises(
        UserError, match=f"images-00000.npy has {size} bytes, not {size - 1} as shards.csv says"
    ):
        read_run()


def test_settings_of_the_store_that_is_here_are_compared(project: Callable[..., Path]) -> None:
    """The models do not record them: they are part of the data."""
    path = project() / "params.yaml"
    path.write_text(path.read_text().replace("store_size: 64", "store_size: 80"))
    with pytest.raises(
        UserError, match=r"params.yaml: image.store_size is 80, but data/prepared was made with 64"
    ):
        read_run()


def test_models_of_other_pretrained_weights_are_refused(project: Callable[..., Path]) -> None:
    tag = "seresnext101_32x4d.gluon_in1k"
    folder = project(changes={"model.pretrained": True, "model.backbone": tag})
    all_configs(folder, lambda config: config.update(weights="a" * 64))
    list_weights({tag: "a" * 64})
    assert read_run().folds[0].record.weights == "a" * 64
    list_weights({tag: "b" * 64})
    message = (
        r"fold_0 started from weights with the sha256 aaaaaaaaaaaa..., not those of seresnext101_32x4d.gluon_in1k "
        r"that data/weights.json lists: run `dvc repro`"
    )
    with pytest.raises(UserError, match=message):
        read_run()


def test_left_over_folds_are_refused_by_name(project: Callable[..., Path]) -> None:
    folder = project()
    (folder / "data/models/fold_3").mkdir()
    with pytest.raises(UserError, match=r"data/models/fold_3.*couplet prune"):
        read_run()


@pytest.mark.parametrize(
    "path", ["metrics/fold_1.json", "data/predictions/folds/fold_1.csv", "data/models/fold_1/couplings.csv"]
)
def test_a_missing_file_is_named(project: Callable[..., Path], path: str) -> None:
    (project() / path).unlink()
    with pytest.raises(UserError, match=rf"{path} is not there"):
        read_run()


def test_couplings_of_other_labels_are_refused(project: Callable[..., Path]) -> None:
    path = project() / "data/models/fold_1/couplings.csv"
    path.write_text(path.read_text().replace("Edema", "Oedema"))
    with pytest.raises(UserError, match=r"fold_1/couplings.csv has other labels"):
        read_run()
