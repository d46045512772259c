"""Heat map, component, box and crop against scipy, slices and plain interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from couplet.models.attention_crop import attention_box, bounding_box, crop, heat_map, largest_component

EIGHT = np.ones((3, 3))


def blob(rows: slice, columns: slice, size: int = 7, channels: int = 5) -> torch.Tensor:
    """A map that is small noise but for one channel in a rectangle, where it is large and negative."""
    features = 0.1 * torch.rand(1, channels, size, size)
    features[0, 3, rows, columns] = -2.0 - torch.rand(1).item()
    return features


def test_the_heat_map_is_the_largest_absolute_value_over_channels_between_0_and_1() -> None:
    features = torch.randn(4, 6, 5, 3)
    largest = features.numpy().__abs__().max(axis=1)
    low, high = (edge(largest, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    torch.testing.assert_close(heat_map(features), torch.from_numpy((largest - low) / (high - low)))
    assert heat_map(features.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(("height", "width", "share"), [(7, 7, 0.3), (7, 7, 0.55), (14, 9, 0.4), (1, 6, 0.6)])
def test_the_component_is_one_of_scipys_largest_and_of_these_the_first(
    height: int, width: int, share: float
) -> None:
    masks = torch.rand(300, height, width) < share
    masks = masks[masks.flatten(1).any(dim=1)]
    ties = 0
    for mask, found in zip(masks.numpy(), largest_component(masks).numpy(), strict=True):
        names, _ = ndimage.label(mask, structure=EIGHT)
        sizes = np.bincount(names.ravel())[1:]
        largest = 1 + np.flatnonzero(sizes == sizes.max())
        ties += len(largest) > 1
        # scipy numbers components in the order in which they begin.
        np.testing.assert_array_equal(found, names == largest[0])
    assert ties > 3 or share > 0.5


def test_a_snake_that_fills_the_map_is_one_component() -> None:
    """The longest way there is: the first cell's number travels through every second row from end to end."""
    snake = torch.zeros(9, 9, dtype=torch.bool)
    snake[::2] = True
    snake[[1, 5], 8] = snake[[3, 7], 0] = True
    assert ndimage.label(snake.numpy(), structure=EIGHT)[1] == 1
    assert torch.equal(largest_component(snake[None])[0], snake)


def test_the_box_covers_the_components_cells_and_no_more() -> None:
    for _ in range(50):
        mask = torch.rand(1, 7, 5) < 0.4
        mask[0, 3, 2] = True
        names = ndimage.find_objects(mask[0].numpy().astype(int))[0]
        rows, columns = names
        assert bounding_box(mask, 70).tolist() == [
            [rows.start * 10, rows.stop * 10, columns.start * 14, columns.stop * 14]
        ]


def test_edges_between_pixels_are_rounded_outwards() -> None:
    cells = torch.zeros(1, 3, 3, dtype=torch.bool)
    cells[0, 1, 1] = True
    assert bounding_box(cells, 64).tolist() == [[21, 43, 21, 43]]  # 21.3 to 42.7


def test_one_cell_of_seven_is_32_pixels_of_224() -> None:
    box = attention_box(blob(slice(2, 3), slice(5, 6)), 224, 0.7)
    assert box.tolist() == [[64, 96, 160, 192]]


@pytest.mark.parametrize("value", [0.0, 3.0, float("nan"), float("inf")])
def test_a_map_that_says_nothing_gives_the_whole_image(value: float) -> None:
    assert attention_box(torch.full((2, 4, 7, 7), value), 224, 0.7).tolist() == [[0, 224, 0, 224]] * 2


def test_a_map_of_one_place_gives_the_whole_image() -> None:
    assert attention_box(torch.randn(3, 4, 1, 1), 224, 0.7).tolist() == [[0, 224, 0, 224]] * 3


def test_the_box_moves_with_what_it_is_around() -> None:
    boxes = [
        attention_box(blob(slice(1 + y, 3 + y), slice(x, 3 + x)), 224, 0.7)[0]
        for y, x in ((0, 0), (2, 0), (0, 4))
    ]
    assert boxes[0].tolist() == [32, 96, 0, 96]
    assert (boxes[1] - boxes[0]).tolist() == [64, 64, 0, 0]
    assert (boxes[2] - boxes[0]).tolist() == [0, 0, 128, 128]


def test_a_lower_threshold_never_gives_a_smaller_box_of_the_same_peak() -> None:
    features = torch.zeros(1, 1, 7, 7)
    features[0, 0] = 1 - ((torch.arange(7)[:, None] - 3) ** 2 + (torch.arange(7) - 3) ** 2) / 18
    boxes = [attention_box(features, 70, tau)[0].tolist() for tau in (0.0, 0.5, 0.7, 0.9, 0.99)]
    # The middle of an edge is exactly 0.5, not above it.
    sides = [
        (0, 70),
        (10, 60),
        (10, 60),
        (20, 50),
        (30, 40),
    ]
    assert boxes == [[*side, *side] for side in sides]


@pytest.mark.parametrize("side", [32, 33])
def test_the_crop_is_what_is_cut_out_and_interpolated(side: int) -> None:
    images = torch.rand(40, 3, side, side, dtype=torch.float64)
    boxes = torch.stack([torch.sort(torch.randperm(side + 1)[:2]).values for _ in range(80)]).view(40, 4)
    boxes[0] = torch.tensor([0, side, 0, side])
    boxes[1] = torch.tensor([5, 6, side - 1, side])
    found = crop(images, boxes)
    for image, (top, bottom, left, right), cut in zip(images, boxes.tolist(), found, strict=True):
        expected = functional.interpolate(
            image[None, :, top:bottom, left:right], size=(side, side), mode="bilinear", align_corners=False
        )[0]
        torch.testing.assert_close(cut, expected, atol=6e-15, rtol=0)
    assert torch.equal(found[0], images[0])
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert crop(images.float(), boxes).dtype == torch.float32


def test_under_autocast_the_crop_keeps_float32() -> None:
    images, boxes = torch.rand(2, 3, 16, 16), torch.tensor([[2, 9, 0, 16], [0, 3, 4, 8]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = crop(images, boxes)
    assert torch.equal(found, crop(images, boxes))
