from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from couplet.reporting import figures, matrices, pictures, style
from couplet.reporting.analysis import fold_agreement
from couplet.reporting.picture import Picture


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def colours(png: bytes) -> np.ndarray:
    return np.asarray(opened(png).convert("RGB")).astype(int)


@pytest.mark.parametrize("n_labels", [1, 14, 80])
def test_matrices_grow_with_the_labels_and_stay_on_the_page(n_labels: int) -> None:
    labels = [f"label number {i}" for i in range(n_labels)]
    random = np.random.default_rng(0)
    matrix = random.uniform(-1, 1, (n_labels, n_labels))
    np.fill_diagonal(matrix, np.nan)
    with style.house_style():
        png = matrices.correlations(labels, matrix, matrix).result()
        coupling = matrices.coupling_matrix(labels, np.nan_to_num(matrix)).result()
    assert opened(png).width == style.SCALE * style.FULL_WIDTH
    assert opened(coupling).width <= style.SCALE * style.FULL_WIDTH
    if n_labels == 80:
        # A cell must hold its label's line of text: at least ten CSS pixels.
        assert opened(png).height > 2 * 80 * 10 * style.SCALE


def test_names_beside_a_matrix_never_grow_with_the_number_of_labels() -> None:
    """At 25 labels they had 22 points, and at 40 they covered each other; a row has 72 / 100 points per pixel."""
    sizes = [matrices.label_size(n) for n in range(1, 81)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 8.6
    for n, size in enumerate(sizes, start=1):
        assert n <= matrices.WITH_VALUES or size <= 0.72 * 780 / n, n


def test_the_coupling_scale_is_symmetric() -> None:
    """Equal couplings of either sign are equally far from white, and zero is nearly white."""
    couplings = np.array([[0, 0.2, 0], [-0.2, 0, 0], [0, 0, 0]])
    with style.house_style():
        cmap = matplotlib.colormaps[style.DIVERGING]
        png = matrices.coupling_matrix(["a", "b", "c"], couplings).result()
    ends = [np.array(cmap(x)[:3]) * 255 for x in (0.0, 1.0)]
    pixels = colours(png).reshape(-1, 3)
    for end in ends:
        share = (np.abs(pixels - end).max(axis=1) < 8).mean()
        assert share > 0.02, "a strongest coupling of each sign has the scale's end colour"


def test_agreement_bars_have_the_lengths_of_the_shares() -> None:
    probabilities = np.array([[[0.9], [0.9], [0.1], [0.1]], [[0.9], [0.1], [0.1], [0.1]]])
    with style.house_style():
        png = figures.fold_agreement(["Edema"], fold_agreement(probabilities), [0, 1]).result()
    middle = colours(png)[2 * (30 + 75)]  # a line through the one bar
    counts = [
        (np.abs(middle - np.array(matplotlib.colors.to_rgb(colour)) * 255).max(axis=1) < 6).sum()
        for colour in (style.BLUE, "#e69f00", style.RULE)
    ]
    np.testing.assert_allclose(np.array(counts) / sum(counts), [0.25, 0.25, 0.5], atol=0.02)


def test_a_dollar_sign_is_no_formula_and_a_rc_file_no_influence() -> None:
    values = np.array([0.1, 0.2])
    with matplotlib.rc_context({"font.size": 20, "figure.facecolor": "red"}):
        with style.house_style():
            one = figures.fold_spread(["$\\broken{", "b"], values).result()
        assert matplotlib.rcParams["font.size"] == 20, "the user's settings come back"
    with style.house_style():
        assert figures.fold_spread(["$\\broken{", "b"], values).result() == one


def test_png_has_no_metadata() -> None:
    with style.house_style():
        png = figures.fold_spread(["a"], np.array([0.1])).result()
    assert opened(png).info.keys() <= {"transparency"}


def test_a_figure_that_cannot_be_compressed_fails_where_its_bytes_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Image.Image, "save", full)
    picture = Picture("spread", style.to_png(style.new_figure(10, 10)), "", "")
    with pytest.raises(OSError, match="no space left"):
        _ = picture.png


def test_montage_places_the_tiles() -> None:
    tiles = [np.full((1, 8, 8), value, dtype=np.uint8) for value in (10, 90, 170)]
    page = opened(pictures.montage(tiles, ["a", "b", "c"], columns=2, side=40))
    assert page.mode == "L"
    assert page.size == (2 * 40 + pictures.GAP, 2 * (40 + pictures.STRIP) + pictures.GAP)
    second_row = 40 + pictures.STRIP + pictures.GAP
    found = [page.getpixel((20, 20)), page.getpixel((60, 20)), page.getpixel((20, second_row + 20))]
    assert found == [10, 90, 170]
    assert page.getpixel((60, second_row + 20)) == 255


def test_montage_of_colour_pictures_is_in_colour() -> None:
    red = np.zeros((3, 8, 8), dtype=np.uint8)
    red[0] = 200
    page = opened(pictures.montage([red], ["x"], columns=1, side=16)).convert("RGB")
    assert page.getpixel((8, 8)) == (200, 0, 0)


def test_captions_of_colour_pictures_stay_on_white() -> None:
    photograph = np.random.default_rng(0).integers(60, 200, (3, 64, 64), dtype=np.uint8)
    page = opened(pictures.montage([photograph], ["x"], columns=1, side=64)).convert("RGB")
    assert page.getpixel((60, 64 + pictures.STRIP - 2)) == (255, 255, 255)


def test_overlay_is_bright_where_the_map_is() -> None:
    activation = np.zeros((4, 4), dtype=np.float16)
    activation[0, 0] = 5
    mixed = pictures.overlay(np.full((1, 8, 8), 50, dtype=np.uint8), activation, 32)
    assert mixed.shape == (3, 32, 32) and mixed.dtype == np.uint8
    assert mixed[:, 2, 2].sum() > 2 * mixed[:, 28, 28].sum()
    assert (mixed[:, 28, 28] == 35).all(), "where the map is at its lowest there is only the image, at 70%"


def test_a_colour_image_under_its_map_is_grey() -> None:
    red = np.zeros((3, 8, 8), dtype=np.uint8)
    red[0] = 200
    mixed = pictures.overlay(red, np.zeros((2, 2)), 16)  # a map without places: nothing to colour
    assert len(np.unique(mixed)) == 1 and 0 < mixed[0, 0, 0] < 60


def test_montage_captions_may_have_lines() -> None:
    tile = np.full((1, 8, 8), 10, dtype=np.uint8)
    page = opened(pictures.montage([tile, tile], ["one", "one\ntwo"], columns=2, side=40))
    assert page.size[1] == 40 + 2 * pictures.STRIP
    second = np.asarray(page)[40 + pictures.STRIP :]
    assert (second[:, :40] == 255).all() and (second[:, 46:] < 255).any()


def test_label_graphs_show_links_on_their_own_scale_and_no_diagonal() -> None:
    strong = np.array([[9.0, 0.5, 0.0], [0.0, 9.0, 0.0], [-0.5, 0.0, 9.0]])
    with style.house_style():
        image = opened(matrices.label_graphs(["a", "b", "c"], {"one": strong, "two": 0.01 * strong}).result())
    pixels = np.asarray(image.convert("RGB")).astype(int)
    left, side = style.margin(["a", "b", "c"]), 90

    def colour(graph: int, row: int, column: int) -> np.ndarray:
        x, y = left + graph * (side + 24) + 30 * column + 4, 26 + 30 * row + 4
        return pixels[round(y * style.SCALE), round(x * style.SCALE)]

    for graph in (0, 1):
        red, blue, nothing = colour(graph, 0, 1), colour(graph, 2, 0), colour(graph, 0, 2)
        assert red[0] > 2 * red[2] and blue[2] > 2 * blue[0] and nothing.min() > 235
        own = colour(graph, 1, 1)
        assert np.ptp(own) < 25 and own.max() < 235


def test_many_labels_are_limited_to_the_most_frequent(project: Callable[..., Path]) -> None:
    from couplet.reporting.selection import grid_labels, selection_note
    from couplet.results.run import read_run

    project(labels=[f"l{i:02d}" for i in range(30)], n_images=150)
    run = read_run()
    shown = grid_labels(run)
    positives = (run.truth == 1).sum(axis=0)
    assert len(shown) == 20 and shown == sorted(shown)
    assert positives[shown].min() >= np.delete(positives, shown).max()
    assert selection_note(run, shown) == " Shown: the 20 most frequent of 30 labels."
