"""Explanations in the report: which maps and graphs are shown, and what is said of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from couplet.project.errors import UserError
from couplet.project.files import write_bytes, write_npz
from couplet.project.project import HERE
from couplet.reporting.explanations import SHOWN_FOLD, read_explanations
from couplet.reporting.picture import Picture
from couplet.settings.heads import csra
from couplet.stages.report import report
from tests.support.pages import text_of

FILE = HERE.explanations(SHOWN_FOLD)
SECOND_PAPER = {"model.head": "db_dgcn", "loss.name": "bce", "loss.args": {"pos_weight": False}}


def explanations(n_labels: int, channels: int = 1) -> dict[str, Any]:
    """Two images; the second has labels 3 and 11, the last label is unknown for it."""
    random, n = np.random.default_rng(0), 2
    truth = np.zeros((n, n_labels), dtype=np.float32)
    truth[1, [3, 11]], truth[1, -1] = 1, np.nan
    return {
        "image": random.integers(0, 255, (n, channels, 24, 24), dtype=np.uint8),
        "probabilities": 0.8 * random.random((n, n_labels)).astype(np.float32),
        "truth": truth,
        "maps": random.random((n, n_labels, 6, 6)).astype(np.float16) - 1,
        "adjacency_main": 0.5 * random.random((n, n_labels, n_labels)),
        "adjacency_auxiliary": 0.5 * random.random((n, n_labels, n_labels)),
        "static_adjacency": np.eye(n_labels),
    }


def write(folder: Path, arrays: dict[str, Any]) -> None:
    (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
    np.savez(folder / FILE, **arrays)


def drawn(pictures: list[Picture] | None) -> None:
    """Wait until the thread beside has drawn all of them, one after the other."""
    assert pictures is not None
    assert all(picture.png for picture in pictures)


def test_the_page_has_the_second_papers_numbers_and_pictures(project: Callable[..., Path]) -> None:
    folder = project(n_images=90, changes=SECOND_PAPER)
    write(folder, explanations(14))
    report()
    page = (folder / "plots/report.html").read_text()
    text = text_of(page)
    assert "DB-DGCN, the second paper db_dgcn mAP 82.9 val; the second paper not run here" in text
    assert "What fold 0’s model made of 2 images of the test part" in text
    assert "Labels: Edema, Pneumonia." in text and "Labels: none." in text
    assert "(max over positions)" in text and "started from the labels that occur together" in text
    assert "not calibrated" not in text.split("What the papers leave open")[1]  # [0] is the navigation
    section = page[page.index('id="explanations"') : page.index('id="folds"')]
    assert section.count("data:image/png;base64,") == 4
    names = sorted(path.stem for path in (folder / "plots/figures").glob("explanation_*"))
    assert names == [f"explanation_{i:02d}_{kind}" for i in (0, 1) for kind in ("graphs", "maps")]


def test_a_head_without_graphs_shows_its_maps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = {key: value for key, value in explanations(14).items() if "adjacency" not in key}
    write(tmp_path, arrays)
    pictures = read_explanations([f"L{i}" for i in range(14)])
    assert pictures is not None
    assert [picture.name for picture in pictures] == ["explanation_00_maps", "explanation_01_maps"]
    arrays["adjacency_main"] = explanations(14)["adjacency_main"]
    write(tmp_path, arrays)
    with pytest.raises(UserError, match=r"explanations/fold_0.npz is damaged \(.*adjacency_auxiliary"):
        read_explanations([f"L{i}" for i in range(14)])


def test_the_page_says_what_the_maps_of_another_head_are(project: Callable[..., Path]) -> None:
    folder = project(n_images=90, changes={"model.head": "csra", "model.head_args": {}})
    write(folder, {key: value for key, value in explanations(14).items() if "adjacency" not in key})
    report()
    section = text_of((folder / "plots/report.html").read_text()).split("What the model looks at")[2]
    assert "What fold 0’s model made of 2 images of the test part" in section
    assert csra.Settings().maps_mean() in section and "Label graphs" not in section


def test_other_heads_have_none(project: Callable[..., Path]) -> None:
    project(n_images=90)
    assert read_explanations([f"label {i}" for i in range(14)]) is None


def test_up_to_16_labels_the_graphs_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = explanations(14)
    arrays["probabilities"][0, 5] = 0.97
    arrays["adjacency_main"][0, 5, [2, 9, 5]] = [0.81, 0.92, 0.99]
    arrays["adjacency_auxiliary"][0, 5, [0, 1, 2]] = [0.7, 0.6, 0.9]
    arrays["static_adjacency"][5, 7] = 0.12
    write(tmp_path, arrays)
    pictures = read_explanations([f"L{i}" for i in range(14)])
    assert pictures is not None
    assert [picture.title for picture in pictures[:2]] == ["Image 1", "Image 1, label graphs"]
    caption = pictures[1].caption
    assert caption.startswith("Strongest sources of L5, of all 14 labels: main: L9 0.92, L2 0.81, L")
    assert "; auxiliary: L2 0.90, L0 0.70, L1 0.60; static: L7 0.12." in caption


def test_of_many_labels_the_graphs_show_the_images_most_probable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = explanations(80, channels=3)
    arrays["probabilities"][1] = np.linspace(0.01, 0.9, 80)
    write(tmp_path, arrays)
    seen: list[Any] = []
    monkeypatch.setattr(
        "couplet.reporting.matrices.label_graphs",
        lambda labels, graphs: seen.append((labels, graphs)) or png(10, 10),
    )
    labels = [f"L{i}" for i in range(80)]
    pictures = read_explanations(labels)
    assert pictures is not None
    shown, graphs = seen[1]
    assert shown == [f"L{i}" for i in range(79, 69, -1)]
    assert list(graphs) == ["Dynamic graph, main branch", "Dynamic graph, auxiliary branch", "Static graph"]
    main = arrays["adjacency_main"][1]
    assert graphs["Dynamic graph, main branch"][0, 3] == main[79, 76]  # rows targets, columns sources
    assert pictures[3].caption.startswith("Its 10 most probable labels. Strongest sources of L79, of all 80")
    assert pictures[3].caption.endswith("static: none.")


def test_maps_are_of_the_most_probable_labels_with_verdict_and_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = explanations(14, channels=3)
    arrays["probabilities"][1, [13, 3, 6]] = [0.99, 0.95, 0.91]
    arrays["maps"][1, 3] = np.linspace(-4, 2, 36).reshape(6, 6)
    write(tmp_path, arrays)
    seen: list[Any] = []
    monkeypatch.setattr(
        "couplet.reporting.pictures.montage",
        lambda tiles, captions, *rest: seen.append((tiles, captions)) or png(10, 10),
    )
    drawn(read_explanations([f"L{i}" for i in range(14)]))
    tiles, captions = seen[1]
    np.testing.assert_array_equal(tiles[0], arrays["image"][1])
    assert captions[2] == "L3 0.95\npresent, map −4.0 to 2.0"
    assert [caption.split(",")[0] for caption in captions[1:]] == [
        "L13 0.99\nnot known",
        "L3 0.95\npresent",
        "L6 0.91\nabsent",
    ]
    arrays["maps"] = np.full((2, 14, 1, 1), -1.5, dtype=np.float16)  # images of 32 pixels leave one place
    write(tmp_path, arrays)
    drawn(read_explanations([f"a-{i}" for i in range(14)]))
    assert seen[-1][1][2] == "a-3 0.95\npresent, 1 × 1 map, −1.50"
    # The map rises from top to bottom: so does the light that it throws on its image.
    light = tiles[2].astype(float).sum(axis=0)
    assert light[-40:].mean() > 1.5 * light[:40].mean()


def test_damaged_explanations_are_refused(project: Callable[..., Path]) -> None:
    folder = project(n_images=90)
    write_bytes(folder / FILE, b"no archive")
    with pytest.raises(UserError, match=r"explanations/fold_0.npz is damaged"):
        report()


def test_a_head_that_explains_nothing_has_no_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_npz(FILE, {})
    assert read_explanations(["a", "b"]) is None


def test_explanations_of_other_labels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, explanations(14))
    with pytest.raises(
        UserError, match=r"explanations/fold_0.npz has 14 labels, .*labels.json has 3: run `dvc repro`"
    ):
        read_explanations(["a", "b", "c"])


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, format="PNG")
    return buffer.getvalue()
