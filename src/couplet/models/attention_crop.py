"""Where a network looked, and that part of its image, enlarged: the attention crop of AG-CNN.

Guan et al., "Diagnose like a radiologist", arXiv:1801.09927, equations 3 and 4. The text never says on which scale its
threshold is; that the heat map is brought to [0, 1] first is our own reading, and that of two re-implementations.

B images, F channels, H and W height and width of the feature map, N = H W places, S side of the image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def heat_map(features: Tensor) -> Tensor:
    """max over channels of |X|, brought to [0, 1] per image: (B, F, H, W) to (B, H, W), float32 at least.

    A flat map is 1 everywhere.

    >>> heat_map(torch.tensor([[[[1.0, -3.0]], [[0.0, 2.0]]]]))
    tensor([[[0., 1.]]])
    """
    heat = features.to(torch.promote_types(features.dtype, torch.float32)).abs().amax(dim=1)
    low, high = heat.amin(dim=(1, 2), keepdim=True), heat.amax(dim=(1, 2), keepdim=True)
    return torch.where(high > low, (heat - low) / (high - low), 1.0)


def largest_component(mask: Tensor) -> Tensor:
    """The largest 8-connected component of each mask (B, H, W) bool; of equally large ones the one that begins first.

    Cells have the numbers N, N - 1 .. 1 in reading order. In N sweeps each takes the largest number among its
    neighbours in the mask, so that in the end a component has that of its first cell: exact, and nothing that the host
    waits for.

    >>> largest_component(torch.tensor([[[True, False, True], [False, False, True]]])).int()
    tensor([[[0, 0, 1],
             [0, 0, 1]]], dtype=torch.int32)
    """
    n, (height, width) = mask.shape[1] * mask.shape[2], mask.shape[1:]
    # Max pooling has no whole numbers; float32 is exact up to 2^24, and runtimes agree about it.
    numbers = torch.arange(n, 0, -1, device=mask.device, dtype=torch.float32)
    inside = mask[:, None].float()
    component = numbers.view(1, 1, height, width) * inside
    for _ in range(n):
        component = functional.max_pool2d(component, 3, stride=1, padding=1) * inside
    sizes = (component.flatten(1)[:, :, None] == numbers).float().sum(dim=1)
    largest = sizes == sizes.amax(dim=1, keepdim=True)
    first = torch.where(largest, numbers, 0.0).amax(dim=1)
    return mask & (component[:, 0] == first[:, None, None])


def bounding_box(cells: Tensor, side: int) -> Tensor:
    """What cells (B, H, W) of a map cover of its image: (B, 4) top, bottom, left, right, whole pixels in float32.

    Rows r0..r1 of H are the pixels r0 S / H to (r1 + 1) S / H, S = `side`, rounded outwards; bottom and right are the
    first ones beyond the box.

    >>> bounding_box(torch.eye(7).bool()[None, 2:3].expand(1, 7, 7), 224)
    tensor([[  0., 224.,  64.,  96.]])
    """
    edges = []
    for axis, n in ((2, cells.shape[1]), (1, cells.shape[2])):
        line, number = cells.any(dim=axis), torch.arange(n, device=cells.device, dtype=torch.float32)
        first = torch.where(line, number, float(n)).amin(dim=1)
        end = torch.where(line, number + 1, 0.0).amax(dim=1)
        # Exact: a quotient that is no whole number is at least 1 / n away from one.
        edges += [(first * side / n).floor(), (end * side / n).ceil()]
    return torch.stack(edges, dim=1)


def attention_box(features: Tensor, side: int, threshold: float) -> Tensor:
    """Where a map (B, F, H, W) is large: the box (B, 4), see `bounding_box`, of its largest hot component.

    The whole image where the map is flat, or not finite.

    Args:
        features: X.
        side: S.
        threshold: tau in [0, 1); hot is where the heat map is above it.
    """
    hot = heat_map(features) > threshold
    hot = hot | ~hot.any(dim=2).any(dim=1)[:, None, None]
    return bounding_box(largest_component(hot), side)


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """What is in the boxes (B, 4) of images (B, C, S, S), enlarged to S x S, channels_last.

    Bilinear, as `functional.interpolate` (align_corners=False) enlarges what is cut out: samples stay between the box's
    own pixels. Sampling is one matrix product along the columns and one along the rows, which exporters and runtimes
    agree about.
    """
    with torch.autocast(images.device.type, enabled=False):
        top, bottom, left, right = boxes.to(images.dtype)[:, :, None, None].unbind(dim=1)
        rows, columns = (_samples(*ends, images.shape[-1]) for ends in ((top, bottom), (left, right)))
        cut = rows[:, None] @ images @ columns[:, None].transpose(2, 3)
    return cut.contiguous(memory_format=torch.channels_last)


def _samples(start: Tensor, end: Tensor, side: int) -> Tensor:
    """(B, S, S): the share of each pixel in each of S samples between `start` and `end` (B, 1, 1)."""
    pixels = torch.arange(side, device=start.device, dtype=start.dtype)
    places = (pixels[:, None] + 0.5) * ((end - start) / side) - 0.5
    places = start + torch.minimum(places.clamp(min=0), end - start - 1)
    return (1 - (places - pixels).abs()).clamp(min=0)
