from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from couplet.images.loading import views
from couplet.images.loading.draws import image_keys, uniforms
from couplet.images.loading.views import N_DRAWS, crop_boxes, evaluation_crops, evaluation_view, training_view
from couplet.settings.schema.augment import AugmentParams

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = {"crop": "none", "flip": 0.0, "rotation": 0.0}


def augment(**changes: Any) -> AugmentParams:
    return AugmentParams.model_validate(changes)


def some_draws(n: int, epoch: int = 0) -> np.ndarray:
    return uniforms(image_keys(f"image {i}" for i in range(n)), 42, 0, epoch, N_DRAWS)


def smooth_images(n: int, channels: int, side: int) -> Tensor:
    """Random pictures without energy above a few pixels, as X-rays are: bilinear kernels agree on them."""
    random = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (n, channels, 9, 9))).float()
    large = torch.nn.functional.interpolate(random, size=(side, side), mode="bicubic")
    return large.clamp(0, 255).round().to(torch.uint8)


def unnormalised(view: Tensor) -> Tensor:
    """Back to values in [0, 1]."""
    return view * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]


def boxed(draws: np.ndarray, side: int, settings: AugmentParams, row: int = 0) -> list[int]:
    """left, top, width, height of one image."""
    return [int(x) for x in crop_boxes(draws, side, side, settings)[row]]


# --- the crop ---------------------------------------------------------------------------------------------


def boxes_one_by_one(draws: np.ndarray, side: int, settings: AugmentParams) -> list[list[int]]:
    """RandomResizedCrop as a plain loop over attempts, with the same draws."""
    boxes = []
    for u in draws:
        for attempt in range(10):
            area = side * side * (settings.scale_min + u[attempt] * (settings.scale_max - settings.scale_min))
            low, high = np.log(settings.ratio_min), np.log(settings.ratio_max)
            ratio = np.exp(low + u[10 + attempt] * (high - low))
            width, height = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if 0 < width <= side and 0 < height <= side:
                left, top = int(u[21] * (side - width + 1)), int(u[20] * (side - height + 1))
                boxes.append([left, top, width, height])
                break
        else:
            width, height = side, side
            if settings.ratio_min > 1:
                height = round(side / settings.ratio_min)
            elif settings.ratio_max < 1:
                width = round(side * settings.ratio_max)
            boxes.append([(side - width) // 2, (side - height) // 2, width, height])
    return boxes


@pytest.mark.parametrize("ratios", [(0.75, 4 / 3), (1.2, 2.0), (0.5, 0.8), (1.0, 1.0)])
@pytest.mark.parametrize("scales", [(0.84, 1.0), (0.08, 1.0), (1.0, 1.0)])
def test_the_vectorised_rejection_equals_a_loop(
    ratios: tuple[float, float], scales: tuple[float, float]
) -> None:
    settings = augment(ratio_min=ratios[0], ratio_max=ratios[1], scale_min=scales[0], scale_max=scales[1])
    draws = some_draws(500)
    boxes = crop_boxes(draws, 72, 64, settings)
    assert boxes.tolist() == boxes_one_by_one(draws, 72, settings)


def test_boxes_are_distributed_as_torchvisions() -> None:
    n, side = 4000, 416
    ours = crop_boxes(some_draws(n), side, 380, augment())
    torch.manual_seed(0)
    theirs_of = RandomResizedCrop(380, scale=(0.84, 1.0), ratio=(0.75, 4 / 3), antialias=True)
    blank = torch.empty(1, side, side)
    params = [theirs_of.make_params([blank]) for _ in range(n)]
    theirs = np.array([[p["left"], p["top"], p["width"], p["height"]] for p in params])
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3
    areas = [boxes[:, 2] * boxes[:, 3] / side**2 for boxes in (ours, theirs)]
    assert stats.ks_2samp(*areas).pvalue > 1e-3
    whole = [(boxes[:, 2:] == side).all(axis=1).mean() for boxes in (ours, theirs)]
    assert whole == pytest.approx([0.034, 0.034], abs=0.015)  # the fallback, after ten refused draws


def test_multi_scale_boxes_are_the_19_pairs_at_13_offsets() -> None:
    n = 20_000
    draws = np.random.default_rng(0).random((n, N_DRAWS))
    boxes = crop_boxes(draws, 512, 448, augment(crop="multi_scale")).astype(int)
    sides = [512, 448, 384, 337, 256]  # 512 * {1, .875, .75, .66, .5}, rounded down
    pairs, counts = np.unique(boxes[:, 2:], axis=0, return_counts=True)
    wanted = {(a, b) for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) <= 2}
    assert {tuple(pair) for pair in pairs} == wanted and len(wanted) == 19
    assert stats.chisquare(counts).pvalue > 1e-4

    square = boxes[(boxes[:, 2] == 256) & (boxes[:, 3] == 256)]
    offsets, counts = np.unique(square[:, :2], axis=0, return_counts=True)
    corners_edges_centre = {(x, y) for x in (0, 128, 256) for y in (0, 128, 256)}
    quarters = {(64, 64), (192, 64), (64, 192), (192, 192)}
    assert {tuple(offset) for offset in offsets} == corners_edges_centre | quarters
    assert stats.chisquare(counts).pvalue > 1e-4
    assert (boxes[:, 0] + boxes[:, 2] <= 512).all() and (boxes[:, 1] + boxes[:, 3] <= 512).all()
    odd = boxes[boxes[:, 2] == 337]
    assert set(odd[:, 0]) == {0, 43, 86, 129, 172}  # whole steps of (512 - 337) // 4


def test_a_multi_scale_side_that_nearly_fits_is_the_views_side() -> None:
    boxes = crop_boxes(some_draws(500), 72, 64, augment(crop="multi_scale"))
    assert set(boxes[:, 2]) == {72, 64, 54, 47, 36}  # 72 * .875 = 63


def test_whole_image() -> None:
    assert crop_boxes(some_draws(3), 72, 64, augment(crop="none")).tolist() == [[0, 0, 72, 72]] * 3


# --- one resampling, compared with torchvision's separate steps --------------------------------------------


def torchvisions_crop(image: torch.Tensor, box: np.ndarray, size: int, flip: bool) -> torch.Tensor:
    left, top, width, height = (int(x) for x in box)
    crop = tv.resized_crop(image.float() / 255, top, left, height, width, [size, size], antialias=False)
    return tv.hflip(crop) if flip else crop


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("crop", ["random_resized", "multi_scale", "none"])
def test_crop_and_flip_equal_torchvisions(channels: int, crop: str) -> None:
    n, side, size = 12, 104, 96
    images, draws = smooth_images(n, channels, side), some_draws(n)
    settings = augment(crop=crop, flip=0.5, rotation=0.0, scale_min=0.5)
    ours = unnormalised(training_view(images, draws, size, settings, MEAN, STD))
    boxes = crop_boxes(draws, side, size, settings)
    assert 2 < (draws[:, views.FLIP] < 0.5).sum() < 10
    for i in range(n):
        theirs = torchvisions_crop(images[i], boxes[i], size, flip=draws[i, views.FLIP] < 0.5)
        # At the crop's edge torchvision repeats the last pixel; here the picture goes on.
        inner = (slice(None), slice(2, -2), slice(2, -2))
        torch.testing.assert_close(ours[i][inner], theirs.expand(3, -1, -1)[inner], atol=2e-5, rtol=0)
        torch.testing.assert_close(ours[i], theirs.expand(3, -1, -1), atol=0.05, rtol=0)


@pytest.mark.parametrize("crop", ["none", "random_resized"])
def test_rotation_equals_torchvisions_after_crop_and_flip(crop: str) -> None:
    n, side, size = 12, 104, 96
    images, draws = smooth_images(n, 1, side), some_draws(n)
    settings = augment(crop=crop, flip=0.5, rotation=30.0)
    ours = unnormalised(training_view(images, draws, size, settings, MEAN, STD))[:, :1]
    boxes = crop_boxes(draws, side, size, settings)
    for i in range(n):
        theirs = torchvisions_crop(images[i], boxes[i], size, flip=draws[i, views.FLIP] < 0.5)
        angle = (2 * draws[i, views.ANGLE] - 1) * 30
        theirs = tv.rotate(theirs, angle, interpolation=tv.InterpolationMode.BILINEAR)
        difference = (ours[i] - theirs).abs()
        # Two bilinear resamplings are a little softer than one.
        assert difference.mean() < 0.003 and difference.max() < 0.06
        black = (theirs == 0) & (torch.nn.functional.max_pool2d(theirs, 3, 1, 1) == 0)
        assert ours[i][black].abs().max() < 1e-6 and black.float().mean() > 0.01


def test_the_rotation_of_a_single_pixel_goes_counter_clockwise() -> None:
    images = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
    images[0, 0, 16, 28] = 255  # right of the centre
    draws = some_draws(1)
    draws[:, views.ANGLE] = 1.0 - 1e-12
    view = unnormalised(training_view(images, draws, 33, augment(**PLAIN | {"rotation": 90.0}), MEAN, STD))
    assert view[0, 0].argmax().item() == 4 * 33 + 16  # above it
    torch.testing.assert_close(view[0, 0, 4, 16].item(), 1.0, atol=1e-3, rtol=0)


def test_without_augmentation_the_view_is_the_normalised_image() -> None:
    images = torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8)
    expected = tv.normalize(images.float() / 255, list(MEAN), list(STD))
    for view in (
        training_view(images, some_draws(5), 48, augment(**PLAIN), MEAN, STD),
        evaluation_view(images, 48, MEAN, STD),
    ):
        assert view.dtype == torch.float32 and view.shape == (5, 3, 48, 48)
        assert view.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(view, expected, atol=1e-3, rtol=0)


def test_grey_is_expanded_after_the_resampling() -> None:
    images = smooth_images(6, 1, 72)
    settings = augment(brightness=0.2, contrast=0.2)
    one = training_view(images, some_draws(6), 64, settings, MEAN, STD)
    three = training_view(images.expand(-1, 3, -1, -1), some_draws(6), 64, settings, MEAN, STD)
    torch.testing.assert_close(one, three, atol=1e-4, rtol=0)
    values = unnormalised(one)
    torch.testing.assert_close(values[:, 0], values[:, 2], atol=1e-6, rtol=0)


def test_flips_happen_as_often_as_asked() -> None:
    ramp = torch.arange(32, dtype=torch.uint8).expand(400, 1, 32, 32)
    for probability in (0.0, 0.3, 1.0):
        settings = augment(**PLAIN | {"flip": probability})
        view = training_view(ramp, some_draws(400), 32, settings, MEAN, STD)
        mirrored = (view[:, 0, 0, 0] > view[:, 0, 0, -1]).float().mean().item()
        assert mirrored == pytest.approx(probability, abs=0.07 if probability == 0.3 else 0)


def test_a_much_larger_store_is_reduced_without_aliasing() -> None:
    stripes = torch.zeros(1, 1, 256, 256, dtype=torch.uint8)
    stripes[..., ::2] = 255  # finer than a view of 64 can show: must become an even grey
    view = unnormalised(training_view(stripes, some_draws(1), 64, augment(), MEAN, STD))
    inner = view[0, 0, 16:-16, 16:-16]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5), atol=0.05, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_equals_torchvisions(channels: int) -> None:
    n = 20
    images, draws = smooth_images(n, channels, 40), some_draws(n)
    settings = augment(**PLAIN, brightness=0.4, contrast=0.5)
    ours = unnormalised(training_view(images, draws, 40, settings, MEAN, STD))
    for i in range(n):
        steps = [
            (tv.adjust_brightness, 1 + (2 * draws[i, views.BRIGHTNESS] - 1) * 0.4),
            (tv.adjust_contrast, 1 + (2 * draws[i, views.CONTRAST] - 1) * 0.5),
        ]
        theirs = images[i].float() / 255
        for step, factor in steps if draws[i, views.ORDER] < 0.5 else reversed(steps):
            theirs = step(theirs, factor)
        torch.testing.assert_close(ours[i], theirs.expand(3, -1, -1), atol=2e-4, rtol=0)


def test_jitter_comes_in_both_orders_and_changes_something() -> None:
    orders = some_draws(400)[:, views.ORDER] < 0.5
    assert 0.4 < orders.mean() < 0.6
    images = smooth_images(2, 1, 40)
    plain = training_view(images, some_draws(2), 40, augment(**PLAIN), MEAN, STD)
    for name in ("brightness", "contrast"):
        changed = training_view(images, some_draws(2), 40, augment(**PLAIN, **{name: 0.5}), MEAN, STD)
        assert (changed - plain).abs().mean() > 0.01


# --- what a view may depend on ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [24, 200])
def test_a_view_does_not_depend_on_its_batch(size: int) -> None:
    n = 300 if size == 24 else 5  # more than one piece of work on the CPU
    images, draws = smooth_images(n, 1, size + 8), some_draws(n)
    settings = augment(brightness=0.1, contrast=0.1)
    together = training_view(images, draws, size, settings, MEAN, STD)
    order = torch.from_numpy(np.random.default_rng(0).permutation(n))
    shuffled = training_view(images[order], draws[order.numpy()], size, settings, MEAN, STD)
    torch.testing.assert_close(shuffled, together[order], atol=1e-5, rtol=0)
    alone = training_view(images[3:4], draws[3:4], size, settings, MEAN, STD)
    torch.testing.assert_close(alone[0], together[3], atol=1e-5, rtol=0)


def test_switching_one_augmentation_leaves_the_others_draws_alone() -> None:
    draws = some_draws(50)
    crop = augment(rotation=0.0, flip=0.0)
    assert (crop_boxes(draws, 72, 64, crop) == crop_boxes(draws, 72, 64, augment())).all()
    columns = [*range(20), views.TOP, views.LEFT, views.FLIP, views.ANGLE]
    columns += [views.BRIGHTNESS, views.CONTRAST, views.ORDER, views.ACROSS, views.DOWN]
    assert columns == list(range(N_DRAWS))


@pytest.mark.parametrize(("across", "down"), [(0, 0), (3, 0), (-4, 7), (10, -10)])
def test_a_shift_by_whole_pixels_is_a_slice_with_black_outside(across: int, down: int) -> None:
    images, draws = torch.randint(1, 256, (1, 1, 40, 40), dtype=torch.uint8), some_draws(1)
    draws[0, views.ACROSS], draws[0, views.DOWN] = (across / 10 + 1) / 2, (down / 10 + 1) / 2
    found = unnormalised(training_view(images, draws, 40, augment(**PLAIN, translate=0.25), MEAN, STD))
    padded = torch.nn.functional.pad(images[0, 0].float() / 255, (10, 10, 10, 10))
    expected = padded[10 - down : 50 - down, 10 - across : 50 - across]
    torch.testing.assert_close(found[0, 0], expected, atol=2e-5, rtol=0)


def test_a_shift_comes_after_the_turn_and_never_beyond_its_share() -> None:
    images, draws = smooth_images(6, 1, 64), some_draws(6)
    plain = {"crop": "none", "flip": 0.5}
    turned = training_view(images, draws, 64, augment(**plain, rotation=20.0), MEAN, STD)
    both = training_view(images, draws, 64, augment(**plain, rotation=20.0, translate=0.25), MEAN, STD)
    pixels = (2 * draws[:, views.ACROSS : views.DOWN + 1] - 1) * 0.25 * 64
    assert (np.abs(pixels) <= 16).all() and np.ptp(pixels) > 16
    black = -torch.tensor(MEAN)[:, None, None] / torch.tensor(STD)[:, None, None]
    for i, (x, y) in enumerate(pixels):
        theirs = tv.affine(
            turned[i] - black, 0.0, [float(x), float(y)], 1.0, [0.0, 0.0], tv.InterpolationMode.BILINEAR
        )
        # Two resamplings against one: alike where the picture is smooth, apart from where black begins.
        assert (both[i] - black - theirs)[:, 20:44, 20:44].abs().max() < 0.15


def test_epochs_differ() -> None:
    images = smooth_images(4, 1, 72)
    first, second = (training_view(images, some_draws(4, e), 64, augment(), MEAN, STD) for e in (0, 1))
    assert ((first - second).abs().mean(dim=(1, 2, 3)) > 0.05).all()


def test_the_evaluation_view_is_an_antialiased_resize() -> None:
    images = torch.randint(0, 256, (3, 1, 104, 104), dtype=torch.uint8)
    ours = unnormalised(evaluation_view(images, 40, MEAN, STD))
    theirs = tv.resize(images.float() / 255, [40, 40], antialias=True)
    torch.testing.assert_close(ours, theirs.expand(-1, 3, -1, -1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [40, 41, 42, 43, 64])
def test_crops_are_torchvisions_and_share_memory_with_the_images(side: int) -> None:
    images = torch.randint(0, 256, (2, 1, side, side), dtype=torch.uint8)
    assert evaluation_crops(images, 40, "whole")[0] is images
    (centre,) = evaluation_crops(images, 40, "centre")
    assert torch.equal(centre, tv.center_crop(images, [40, 40]))
    five = evaluation_crops(images, 40, "five")
    assert all(torch.equal(a, b) for a, b in zip(five, tv.five_crop(images, [40, 40]), strict=True))
    ten = [*five, *(crop.flip(-1) for crop in five)]
    theirs = tv.ten_crop(images, [40, 40])  # mirrors the picture, then crops: right corners before left ones
    order = [0, 1, 2, 3, 4, 6, 5, 8, 7, 9] if side % 2 == 0 else [0, 1, 2, 3, 6, 5, 8, 7]
    # An odd margin has two middles, which a mirror exchanges.
    same = ten if side % 2 == 0 else [*ten[:4], *ten[5:9]]
    assert all(torch.equal(a, theirs[i]) for a, i in zip(same, order, strict=True))
    assert all(crop.data_ptr() - images.data_ptr() < images.numel() for crop in five)


def test_an_empty_batch() -> None:
    images = torch.zeros(0, 1, 72, 72, dtype=torch.uint8)
    assert training_view(images, some_draws(0), 64, augment(), MEAN, STD).shape == (0, 3, 64, 64)
    assert evaluation_view(images, 64, MEAN, STD).shape == (0, 3, 64, 64)


def test_the_images_are_left_as_they_are() -> None:
    images = smooth_images(3, 1, 64)
    before = images.clone()
    training_view(images, some_draws(3), 64, augment(brightness=0.3), MEAN, STD)
    evaluation_view(images, 64, MEAN, STD)
    assert torch.equal(images, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_views() -> None:
    images, draws = smooth_images(8, 1, 104), some_draws(8)
    settings = augment(brightness=0.1, contrast=0.1)
    here = training_view(images, draws, 96, settings, MEAN, STD)
    there = training_view(images.cuda(), draws, 96, settings, MEAN, STD)
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=0)
