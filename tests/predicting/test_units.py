"""The parts of `couplet predict` by themselves, against values worked out by hand or by another way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from couplet.images.decoding.decode import decode_picture
from couplet.images.loading.store import ImageStore
from couplet.images.loading.views import evaluation_view
from couplet.images.sniff import is_picture
from couplet.inference.engine import TorchEngine, class_maps
from couplet.inference.trained import ImageWay
from couplet.models.predictor import Predictor, build_predictor, normalisation
from couplet.predicting.inputs import find_inputs, refuse_overwriting
from couplet.predicting.rows import Row, stored_pixels
from couplet.predicting.studies import study_rows
from couplet.project.errors import UserError
from couplet.project.project import Project
from couplet.results.manifest import read_manifest
from couplet.settings.params import Params
from tests.bad_inputs.healthy import csv_project
from tests.support.in_process import InProcessProject

LABELS = ["Edema", "Nodule", "Mass"]


def predictor(head: str, seed: int = 3, **head_args: object) -> Predictor:
    params = Params.model_validate(
        {
            "image": {"size": 64, "store_size": 72},
            "model": {
                "backbone": "resnet10t",
                "pretrained": False,
                "backbone_args": {"channels": [8, 8, 16, 16], "stem_width": 8},
                "head": head,
                "head_args": head_args,
            },
        }
    )
    built = build_predictor(params, LABELS, seed).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    return built


def pictures(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 1, 72, 72)).astype(np.uint8)


def view_of(model: Predictor, images: np.ndarray) -> torch.Tensor:
    return evaluation_view(torch.from_numpy(images), 64, *normalisation(model.backbone))


@torch.no_grad()
def test_the_mean_of_a_linear_heads_map_is_its_logit() -> None:
    model = predictor("linear")
    view = view_of(model, pictures())
    maps = class_maps(model, view, "float32")
    assert maps is not None and maps.shape == (3, 3, 2, 2)
    logits = model.head(model.backbone(view))
    torch.testing.assert_close(maps.mean(dim=(2, 3)), logits, rtol=0, atol=2e-6)
    features = model.backbone.network.forward_features(view)
    weight, bias = model.head.classifier.weight, model.head.classifier.bias
    by_hand = sum(weight[1, f] * features[2, f, 1, 0] for f in range(features.shape[1])) + bias[1]
    assert float(maps[2, 1, 1, 0]) == pytest.approx(float(by_hand), abs=1e-5)


@torch.no_grad()
def test_a_max_pool_heads_map_bounds_its_logit_only_where_one_place_has_all_maxima() -> None:
    """Each channel is pooled at its own place: the map's maximum is the logit if those places are one."""
    head = predictor("gmp").head
    features = torch.rand(1, 16, 3, 3)
    features[:, :, 1, 2] += 1
    maps = head.class_maps(features)
    torch.testing.assert_close(maps[:, :, 1, 2], head(features))


@torch.no_grad()
def test_the_graph_heads_map_is_its_attentions() -> None:
    model = predictor("db_dgcn", dim=8, static_init="random")
    view = view_of(model, pictures())
    maps = class_maps(model, view, "float32")
    assert torch.equal(maps, model.head.explain(model.backbone(view))[1]["maps"])


@torch.no_grad()
def test_maps_of_an_ensemble_are_means_over_folds_and_mirror_images_mirrored_back() -> None:
    models, images = [predictor("linear", seed) for seed in (1, 2)], pictures()
    engine = TorchEngine(models, ["float32"] * 2, 64, True, torch.device("cpu"))
    expected = np.zeros((3, 3, 2, 2))
    for model in models:
        for mirrored in (False, True):
            view = view_of(model, images)
            found = class_maps(model, view.flip(-1) if mirrored else view, "float32").numpy()
            expected += (found[..., ::-1] if mirrored else found) / 4
    np.testing.assert_allclose(engine.maps(images), expected, rtol=0, atol=1e-6)
    alone = TorchEngine(models[:1], ["float32"], 64, False, torch.device("cpu")).maps(images)
    np.testing.assert_array_equal(alone, class_maps(models[0], view_of(models[0], images), "float32").numpy())


def test_a_backbone_that_pools_otherwise_has_no_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    model = predictor("linear")
    model.backbone.network.global_pool.pool = torch.nn.AdaptiveMaxPool2d(1)
    with pytest.raises(
        UserError, match="^--maps: this backbone pools its features otherwise than by their mean"
    ):
        class_maps(model, view_of(model, pictures()), "float32")


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_pixels_are_those_of_the_store(codec: str, tmp_path: Path) -> None:
    project = csv_project(tmp_path / "project")
    project.set({"image.codec": codec})
    for command in ("scan", "prepare"):
        assert project.run(command).code == 0
    manifest = read_manifest(Project(project.folder))
    images = ImageStore(project.folder / "data/prepared").read(manifest.positions)
    way = ImageWay(36, 1, codec)  # type: ignore[arg-type]
    changed = 0
    for name, stored in zip(manifest.ids, images, strict=True):
        pixels = decode_picture((project.raw / "images" / name).read_bytes(), 36, 1).pixels
        np.testing.assert_array_equal(stored_pixels(pixels, way), stored)
        changed += (pixels != stored).any()
    assert changed == (24 if codec == "jpeg" else 0)


def row(name: str, raw: list[float] | None, study: str = "", status: str = "ok") -> Row:
    values = None if raw is None else np.array(raw)
    return Row(
        id=name,
        status=status,  # type: ignore[arg-type]
        reason="" if status == "ok" else "why",
        facts={},
        digest=f"d{name}",
        study=study,
        by_fold=None if values is None else np.stack([values - 0.1, values + 0.1]),
        raw=values,
        q=None if values is None else values / 2,
        decision=None if values is None else np.ones(len(values), np.int8),
    )


def test_a_studys_row_is_the_mean_of_its_images() -> None:
    given = [
        row("a", [0.2, 0.4], "s1"),
        row("b", None, status="unreadable"),
        row("c", [0.5, 0.5], "s2"),
        row("d", [0.6, 0.8], "s1"),
        row("e", [0.3, 0.3]),
        row("f", [0.3, 0.3]),
    ]
    found = list(study_rows(given))
    assert [one.id for one in found] == ["s1", "b", "s2", "e", "f"]
    assert [one.status for one in found] == ["ok", "unreadable", "ok", "ok", "ok"]
    np.testing.assert_allclose(found[0].raw, [0.4, 0.6])
    np.testing.assert_allclose(found[0].q, [0.2, 0.3])
    np.testing.assert_allclose(found[0].by_fold, [[0.3, 0.5], [0.5, 0.7]])
    assert found[0].facts == {"n_images": 2}
    assert found[0].decision is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xff\xd8\xff\xe0 cut", True),
        (b"\x89PNG\r\n\x1a\n", True),
        (bytes(128) + b"DICM", True),
        (b"RIFF\0\0\0\0WEBPVP8 ", True),
        (b"RIFF\0\0\0\0WAVEfmt ", False),
        (b"\0\0\0\x18ftypheic", True),
        (b"\0\0\0\x18ftypisom", False),
        (b"P5 2 2 255\n1234", True),
        (b"P5 is the name of a street", False),
        (b"BMW is a make of cars, and this is a long enough text", False),
        (b"a,b\n1,2\n", False),
        (b"", False),
    ],
)
def test_pictures_are_known_by_their_beginning(content: bytes, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert is_picture(tmp_path / "file") is expected


def test_inputs_are_in_the_order_given_and_folders_sorted(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a.png", "b/c/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "outside.png").symlink_to("/etc/hostname")
    (tmp_path / "b/out.png").symlink_to(tmp_path / "a.png")
    found = find_inputs([tmp_path / "b", tmp_path / "a.png"])
    assert [file.name for file in found.files] == ["10.png", "2.png", "c/1.png", "a.png"]
    assert [file.number for file in found.files] == [0, 1, 2, 3]
    assert found.n_skipped == 0
    with pytest.raises(UserError, match="a.png is one of the inputs: write to another file$"):
        refuse_overwriting(found, [tmp_path / "b"], [tmp_path / "a.png"])
    with pytest.raises(UserError, match="maps lies in a folder of inputs"):
        refuse_overwriting(found, [tmp_path / "b"], [tmp_path / "b/maps"])
    refuse_overwriting(found, [tmp_path / "b"], [tmp_path / "maps", tmp_path / "b/predictions.csv"])


def test_maps_are_written_and_have_the_models_logits(project: InProcessProject) -> None:
    folder = project.folder / "new"
    folder.mkdir()
    for name in ("00.png", "01.png"):
        (folder / name).write_bytes((project.raw / "images" / name).read_bytes())
    project.set({"image.size": 36})
    done = project.run("predict", "new", "--maps", "maps", "--overlay", "--out", "p.json")
    assert (done.code, done.err) == (0, [])
    files = sorted(path.name for path in (project.folder / "maps").iterdir())
    assert [Path(name).suffix for name in files] == [".npz", ".png", ".npz", ".png"]
    with np.load(project.folder / "maps" / files[0], allow_pickle=False) as content:
        assert content["labels"].tolist() == ["Edema", "Nodule", "Rare"]
        assert (content["maps"].dtype, content["maps"].shape) == (np.float16, (3, 1, 1))
