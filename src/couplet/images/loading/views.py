"""What the network sees: training views with augmentation, evaluation views without, on the images' device.

Crop, flip, rotation and shift are ONE affine, bilinear resampling per image, in the order of the first paper's
transforms: crop and resize, then flip, then rotate about the centre, then shift; what the last two bring in from
outside the crop is black, as there. Grey stays one channel until the normalisation, which comes last. Every draw is
given from outside (`couplet.images.loading.draws`), so that a view depends on nothing but (seed, fold, epoch,
image_id).

B batch, C channels of the store (1 or 3), S side of stored images, s side of the view.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from couplet.settings.schema.augment import AugmentParams
from couplet.settings.schema.inference import View

# Columns of the uniform draws. A kind of augmentation keeps its columns when another is switched on or off.
ATTEMPTS = 10
AREA, RATIO = slice(0, ATTEMPTS), slice(ATTEMPTS, 2 * ATTEMPTS)
TOP, LEFT, FLIP, ANGLE, BRIGHTNESS, CONTRAST, ORDER, ACROSS, DOWN = range(2 * ATTEMPTS, 2 * ATTEMPTS + 9)
N_DRAWS = 2 * ATTEMPTS + 9
SIDES, OFFSET = 0, 1  # of MultiScaleCrop, in place of AREA

LARGEST_STEP = 1.25  # above this ratio of S to s bilinear samples of 2 x 2 pixels would skip some
PIXELS_AT_ONCE = 2**17  # on a CPU, about: the work goes through the cache in pieces

MULTI_SCALES = (1, 0.875, 0.75, 0.66, 0.5)
# MultiScaleCrop's offsets (left, top) in quarters of the room: corners, centres of edges, centre, quarter points.
MULTI_OFFSETS = [(x, y) for x in range(5) for y in range(5) if x % 2 == y % 2]

Three = tuple[float, float, float]


def training_view(
    images: Tensor, uniforms: np.ndarray, size: int, augment: AugmentParams, mean: Three, std: Three
) -> Tensor:
    """Augment and normalise a batch.

    A store that is much larger than the view is first reduced, antialiased, to 1.25 times the view.

    Args:
        images: (B, C, S, S) uint8, on any device.
        uniforms: (B, N_DRAWS) float64 in [0, 1).
        size: side s of the view, in pixels.
        augment: what to do; see params.yaml.
        mean: of each of the 3 channels, in [0, 1].
        std: likewise.

    Returns:
        (B, 3, s, s) float32 in channels_last memory format, on the images' device.
    """
    side = min(images.shape[-1], int(LARGEST_STEP * size))
    boxes = crop_boxes(uniforms, side, size, augment)
    flips = np.where(uniforms[:, FLIP] < augment.flip, -1.0, 1.0)
    angles = np.deg2rad((2 * uniforms[:, ANGLE] - 1) * augment.rotation)
    shifts = 2 * (2 * uniforms[:, ACROSS : DOWN + 1] - 1) * augment.translate  # the side is from -1 to 1
    moved = augment.rotation > 0 or augment.translate > 0
    maps = _to_device(affine_maps(boxes, flips, angles, side, shifts), images.device)
    factors = None
    if augment.brightness or augment.contrast:
        factors = _to_device(jitter_factors(uniforms, augment), images.device)

    views = _empty_views(len(images), size, images.device)
    for part in _parts(views):
        pixels = _antialiased(images[part].float(), side).mul_(1 / 255)
        pixels = _resample(pixels, maps[part], size, moved)
        if factors is not None:
            pixels = _jitter(pixels, factors[part])
        _normalise_into(views[part], pixels, mean, std)
    return views


def evaluation_view(images: Tensor, size: int, mean: Three, std: Three) -> Tensor:
    """Resize a batch to (s, s), antialiased, and normalise it; arguments and result as in `training_view`."""
    views = _empty_views(len(images), size, images.device)
    for part in _parts(views):
        _normalise_into(views[part], _antialiased(images[part].float(), size).mul_(1 / 255), mean, std)
    return views


def evaluation_crops(images: Tensor, size: int, view: View) -> list[Tensor]:
    """The parts of stored images (B, C, S, S) whose `evaluation_view`s are averaged (inference.view).

    Nothing is copied. Those of `centre` and `five` are s x s, in the order of torchvision's FiveCrop: top left, top
    right, bottom left, bottom right, centre. With the mirror images of inference.tta five become its ten crops.
    """
    if view == "whole":
        return [images]
    end = images.shape[-1] - size
    middle = round(end / 2)  # of two middles the even one, as torchvision takes it
    corners = [(0, 0), (0, end), (end, 0), (end, end)] if view == "five" else []
    places = [*corners, (middle, middle)]
    return [images[..., top : top + size, left : left + size] for top, left in places]


# --- geometry, in float64 on the host: a handful of numbers per image ---------------------------------------


def crop_boxes(uniforms: np.ndarray, side: int, size: int, augment: AugmentParams) -> np.ndarray:
    """Crop boxes (B, 4) on a square of `side` pixels: left, top, width, height, whole numbers as float64."""
    if augment.crop == "random_resized":
        return _random_resized_boxes(uniforms, side, augment)
    if augment.crop == "multi_scale":
        return _multi_scale_boxes(uniforms, side, size)
    return np.tile([0.0, 0.0, side, side], (len(uniforms), 1))


def _random_resized_boxes(uniforms: np.ndarray, side: int, augment: AugmentParams) -> np.ndarray:
    """torchvision's RandomResizedCrop: the first of ten (area, log-uniform ratio) draws that fits.

    If none does (3 % of square images at scale 0.84-1): the whole image, cut to the nearest allowed ratio.
    """
    area = side**2 * (augment.scale_min + uniforms[:, AREA] * (augment.scale_max - augment.scale_min))
    low, high = np.log([augment.ratio_min, augment.ratio_max])
    ratio = np.exp(low + uniforms[:, RATIO] * (high - low))
    widths, heights = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (widths > 0) & (widths <= side) & (heights > 0) & (heights <= side)

    first = fits.argmax(axis=1)[:, None]
    width, height = (np.take_along_axis(x, first, axis=1)[:, 0] for x in (widths, heights))
    left = np.floor(uniforms[:, LEFT] * (side - width + 1))
    top = np.floor(uniforms[:, TOP] * (side - height + 1))
    found = np.stack([left, top, width, height], axis=1)

    # The image's own ratio is 1, which may lie below or above what is allowed.
    across, down = min(side, round(side * augment.ratio_max)), min(side, round(side / augment.ratio_min))
    centre = [(side - across) // 2, (side - down) // 2, across, down]
    return np.where(fits.any(axis=1)[:, None], found, np.array(centre, dtype=np.float64))


def _multi_scale_boxes(uniforms: np.ndarray, side: int, size: int) -> np.ndarray:
    """MultiScaleCrop of ADD-GCN and, before it, the two-stream networks (Wang et al. 2015, arXiv:1507.02159).

    Width and height are two of five fractions of the image, at most two steps apart (19 pairs, equally likely; within
    2 pixels of the view's side they are that side), at one of 13 offsets.
    """
    lengths = np.array([int(side * scale) for scale in MULTI_SCALES])
    lengths[abs(lengths - size) < 3] = size
    steps = range(len(lengths))
    pairs = np.array([(lengths[i], lengths[j]) for i in steps for j in steps if abs(i - j) <= 2])
    chosen = pairs[(uniforms[:, SIDES] * len(pairs)).astype(int)]
    quarters = np.array(MULTI_OFFSETS)[(uniforms[:, OFFSET] * len(MULTI_OFFSETS)).astype(int)]
    return np.concatenate([quarters * ((side - chosen) // 4), chosen], axis=1).astype(np.float64)


def affine_maps(
    boxes: np.ndarray, flips: np.ndarray, angles: np.ndarray, side: int, shifts: np.ndarray
) -> np.ndarray:
    """Where a view's pixels come from, in two steps and in coordinates from -1 to 1 (edge to edge).

    Args:
        boxes: (B, 4) left, top, width, height in pixels.
        flips: (B,) -1 for mirrored, 1 otherwise.
        angles: (B,) in radians, counter-clockwise.
        side: of the image, in pixels.
        shifts: (B, 2) of the turned crop across and down, the view's side being 2.

    Returns:
        (B, 8) float32: the shifts; cos, sin of the turn from view to flipped crop; from there to the image: scale x,
        shift x, scale y, shift y.
    """
    across, down = shifts.T
    left, top, width, height = boxes.T
    columns = [
        across,
        down,
        np.cos(angles),
        np.sin(angles),
        flips * width / side,
        (2 * left + width) / side - 1,
        height / side,
        (2 * top + height) / side - 1,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def jitter_factors(uniforms: np.ndarray, augment: AugmentParams) -> np.ndarray:
    """(B, 3) float32: brightness before contrast, contrast, brightness after it (first or last is 1)."""
    brightness = 1 + (2 * uniforms[:, BRIGHTNESS] - 1) * augment.brightness
    contrast = 1 + (2 * uniforms[:, CONTRAST] - 1) * augment.contrast
    first = uniforms[:, ORDER] < 0.5
    columns = [np.where(first, brightness, 1), contrast, np.where(first, 1, brightness)]
    return np.stack(columns, axis=1).astype(np.float32)


# --- pixels, on the images' device --------------------------------------------------------------------------


def _resample(pixels: Tensor, maps: Tensor, size: int, moved: bool) -> Tensor:
    """Bilinear samples (B, C, s, s) of pixels (B, C, S, S) at the places that `maps` (B, 8) gives.

    `moved`: whether a view may show what lies outside of its crop.
    """
    across, down, cos, sin, scale_x, shift_x, scale_y, shift_y = maps[:, :, None, None].unbind(1)
    centres = (torch.arange(size, device=pixels.device, dtype=torch.float32) * 2 + 1) / size - 1
    x, y = centres[None, None, :] - across, centres[None, :, None] - down
    crop_x, crop_y = cos * x - sin * y, sin * x + cos * y
    # Written in place: stacking the two would copy them across memory, a fifth of a view's time on a CPU.
    grid = torch.empty((*crop_x.shape, 2), device=pixels.device)
    torch.add(crop_x * scale_x, shift_x, out=grid[..., 0])
    torch.add(crop_y * scale_y, shift_y, out=grid[..., 1])
    views = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if moved:
        # Outside the crop is black; at its edge the share of the pixel that lies inside.
        outward = torch.maximum(crop_x.abs_(), crop_y.abs_())
        inside = outward.mul_(-size / 2).add_(size / 2 + 0.5).clamp_(0, 1)
        views *= inside[:, None]
    return views


def _jitter(pixels: Tensor, factors: Tensor) -> Tensor:
    """torchvision's ColorJitter of brightness and contrast, in either order, on values in [0, 1]."""
    before, contrast, after = factors[:, :, None, None, None].unbind(1)
    pixels = (pixels * before).clamp_(0, 1)
    grey = pixels
    if pixels.shape[1] == 3:
        weights = np.array([0.2989, 0.587, 0.114], dtype=np.float32)  # as torchvision has them
        grey = (pixels * _to_device(weights[:, None, None], pixels.device)).sum(dim=1, keepdim=True)
    average = grey.mean(dim=(1, 2, 3), keepdim=True)
    pixels = (contrast * pixels + (1 - contrast) * average).clamp_(0, 1)
    return (pixels * after).clamp_(0, 1)


def _antialiased(pixels: Tensor, side: int) -> Tensor:
    if pixels.shape[-1] == side:
        return pixels
    return F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def _normalise_into(views: Tensor, pixels: Tensor, mean: Three, std: Three) -> None:
    """Write (pixels - mean) / std, pixels in [0, 1]; a single channel is spread over the three."""
    scale = 1 / np.array(std, dtype=np.float32)[:, None, None]
    shift = -np.array(mean, dtype=np.float32)[:, None, None] * scale
    torch.addcmul(_to_device(shift, pixels.device), pixels, _to_device(scale, pixels.device), out=views)


def _to_device(values: np.ndarray, device: torch.device) -> Tensor:
    # Without `non_blocking` the host would wait for all that the GPU has to do before.
    return torch.from_numpy(values).to(device, non_blocking=True)


def _empty_views(n: int, size: int, device: torch.device) -> Tensor:
    # The layout that the networks run in: written so at once, the batch is not copied again.
    return torch.empty((n, 3, size, size), device=device, memory_format=torch.channels_last)


def _parts(views: Tensor) -> Iterator[slice]:
    """Slices of a batch: all of it on a GPU, what fits the cache on a CPU."""
    n, size = len(views), views.shape[-1]
    step = n if views.device.type != "cpu" else max(1, PIXELS_AT_ONCE // size**2)
    for start in range(0, n, max(step, 1)):
        yield slice(start, start + step)
