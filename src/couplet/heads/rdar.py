"""RDAR: Wang et al., "Multi-label Image Recognition by Recurrently Discovering Attentional Regions", ICCV 2017.

Names carry shapes: B images, L labels, F channels, H and W height and width, S samples along a side, D width.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from couplet.models.head import Head, HeadInputs

# Where each window is pulled to, (x, y) in [-1, 1]: the middle, then the four quarters. The paper has them on a circle
# of radius 0.5 sqrt 2, the same points turned; it defines no order.
ANCHORS = ((0.0, 0.0), (0.5, 0.5), (0.5, -0.5), (-0.5, 0.5), (-0.5, -0.5))
LARGEST, SMALLEST = 0.5, 0.1  # scales of a window that cost nothing
ANCHOR_WEIGHT, POSITIVE_WEIGHT = 0.01, 0.1


class RecurrentRegions(Head):
    """An LSTM looks at the whole map, then at K windows that it chooses; a label's logit is its highest score there.

    For k = 0..K, with the window M_k = (s_x, s_y, t_x, t_y) and M_0 the whole map: f_k = `sample`(x, M_k),
    u_k = relu(W_u maxpool_2(f_k) + b_u), (h_k, c_k) = LSTMCell(u_k; h_k-1, c_k-1), v_k = relu(W_v h_k + b_v), scores
    s_k = W_s v_k + b_s where k >= 1, next window M_k+1 = W_m v_k + b_m, which starts as the whole map.

    `loss_terms` holds windows small, near their anchors and upright: see `window_penalty`.

    Args:
        in_features: F.
        n_labels: L.
        dim: D.
        samples: S.
        windows: K, 1 to 5.
        penalty: weight of the windows' penalty.

    >>> head = RecurrentRegions(in_features=8, n_labels=3, dim=4)
    >>> head(torch.zeros(2, 8, 5, 6)).shape, list(head.loss_terms())
    (torch.Size([2, 3]), ['windows'])
    """

    reads: ClassVar[Literal["vector", "map"]] = "map"

    def __init__(
        self,
        in_features: int,
        n_labels: int,
        dim: int = 512,
        samples: int = 7,
        windows: int = 5,
        penalty: float = 0.1,
    ) -> None:
        super().__init__()
        self.samples, self.windows, self.penalty = samples, windows, penalty
        self.look = nn.Linear(in_features * (samples // 2) ** 2, dim)
        self.lstm = nn.LSTMCell(dim, dim)
        self.view = nn.Linear(dim, dim)
        self.score = nn.Linear(dim, n_labels)
        self.move = nn.Linear(dim, 4)
        with torch.no_grad():
            self.move.weight.zero_()
            self.move.bias.copy_(torch.tensor([1.0, 1.0, 0.0, 0.0]))
        self._penalty: Tensor | None = None

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> RecurrentRegions:
        """Build it from settings/heads/rdar.py."""
        return cls(inputs.in_features, inputs.n_labels, **settings.model_dump())

    def start_without_information(self, logits: Tensor) -> None:
        """Start the scores' bias there."""
        with torch.no_grad():
            self.score.bias.copy_(logits)

    def loss_terms(self) -> dict[str, Tensor]:
        """0.1 times the windows' penalty of the last forward pass: mean over images, sum over windows."""
        if self._penalty is None:
            return {}
        return {"windows": self.penalty * self._penalty}

    def forward(self, features: Tensor) -> Tensor:
        """A feature map (B, F, H, W) to logits (B, L), in float32 even under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            scores_KBL, windows_KB4 = self.look_around(features.to(self.score.weight.dtype))
            self._penalty = window_penalty(windows_KB4)
            return scores_KBL.amax(dim=0)

    def look_around(self, features_BFHW: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (K, B, L) in the K windows, and the windows (K, B, 4): s_x, s_y, t_x, t_y."""
        window_B4 = features_BFHW.new_tensor([1.0, 1.0, 0.0, 0.0]).expand(features_BFHW.shape[0], -1)
        state, scores, windows = None, [], []
        for k in range(self.windows + 1):
            seen = functional.max_pool2d(sample(features_BFHW, window_B4, self.samples), 2)
            state = self.lstm(functional.relu(self.look(seen.flatten(1))), state)
            view_BD = functional.relu(self.view(state[0]))
            if k > 0:
                scores.append(self.score(view_BD))
            if k < self.windows:
                window_B4 = self.move(view_BD)
                windows.append(window_B4)
        return torch.stack(scores), torch.stack(windows)


def sample(features_BFHW: Tensor, window_B4: Tensor, samples: int) -> Tensor:
    """Bilinear samples (B, F, S, S) of a map in a window whose sides are parallel to the map's, zero outside it.

    -1 and 1 are the middles of the first and last position, so that S = H = W samples of the whole map are the map
    itself (the spatial transformer's original coordinates). Since the window is not turned, sampling is one matrix
    product along the rows and one along the columns, with hat functions as weights: grid_sample gives the same, but
    its backward pass on a GPU does not repeat.
    """
    scale_B2, shift_B2 = window_B4.split(2, dim=1)
    steps_S = torch.linspace(-1, 1, samples, dtype=window_B4.dtype, device=window_B4.device)
    places_B2S = scale_B2[..., None] * steps_S + shift_B2[..., None]

    def weights(places_BS: Tensor, n: int) -> Tensor:
        position_BS1 = ((places_BS + 1) * ((n - 1) / 2))[..., None]
        offset = position_BS1 - torch.arange(n, device=places_BS.device)
        # With the slope to the right where a sample hits a position, as the whole map's first samples may do: that of
        # 1 - |offset| would be 0 there, and the window would stay.
        left, right = (offset >= -1) & (offset < 0), (offset >= 0) & (offset < 1)
        return torch.where(right, 1 - offset, torch.where(left, 1 + offset, 0))

    across_BSW = weights(places_B2S[:, 0], features_BFHW.shape[3])
    down_BSH = weights(places_B2S[:, 1], features_BFHW.shape[2])
    return down_BSH[:, None] @ features_BFHW @ across_BSW[:, None].transpose(2, 3)


def window_penalty(windows_KB4: Tensor) -> Tensor:
    """Mean over images of the sum over windows of S + 0.01 A + 0.1 P, a scalar.

    S = max(|s_x| - 0.5, 0)^2 and the same of s_y: not larger than half the map. A = half the squared distance to the
    window's anchor. P = max(0.1 - s_x, 0) and the same of s_y: neither mirrored nor a point. The paper sums over images
    what its loss sums too; with loss.reduction: batchmean the two keep that proportion.

    >>> window_penalty(torch.tensor([[[0.6, -0.2, 0.3, 0.4]]]))  # 0.01 + 0.01 * 0.125 + 0.1 * 0.3
    tensor(0.0413)
    """
    scale_KB2, shift_KB2 = windows_KB4.split(2, dim=2)
    anchors_K12 = windows_KB4.new_tensor(ANCHORS[: len(windows_KB4)])[:, None]
    large = functional.relu(scale_KB2.abs() - LARGEST).square().sum(dim=2)
    far = (shift_KB2 - anchors_K12).square().sum(dim=2) / 2
    small = functional.relu(SMALLEST - scale_KB2).sum(dim=2)
    return (large + ANCHOR_WEIGHT * far + POSITIVE_WEIGHT * small).sum(dim=0).mean()


HEAD = RecurrentRegions
