from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from couplet.evaluation.calibration.beta import BetaMap
from couplet.evaluation.couplings.fit import Fitted, LabelCouplings, Line
from couplet.inference.graph import FittedCouplings, resampling_matrix
from couplet.models.backbone import normalisation
from couplet.settings.schema.inference import View
from couplet.settings.schema.plugins import HEADS
from tests.support.bundles import SIZE, graph, images, networks, predictors, settings
from tests.support.errors import refused


@pytest.mark.parametrize(("stored", "size"), [(72, 64), (416, 380), (36, 32), (97, 33), (33, 32)])
def test_two_products_with_the_matrix_are_torchs_antialiased_resize(stored: int, size: int) -> None:
    matrix = resampling_matrix(stored, size)
    assert matrix.shape == (size, stored) and matrix.dtype == torch.float32
    assert (matrix >= 0).all() and (matrix.double().sum(dim=1) - 1).abs().max() < 1e-6
    pixels = torch.randint(
        0, 256, (2, 1, stored, stored), generator=torch.Generator().manual_seed(0)
    ).double()
    resized = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    found = matrix @ pixels.float() @ matrix.T
    assert (found - resized).abs().max() < 1e-4  # of 255 grey levels


@pytest.mark.parametrize("view", ["centre", "five"])
@pytest.mark.parametrize("tta", [True, False])
def test_crops_of_the_stored_picture_are_averaged_as_probabilities(view: View, tta: bool) -> None:
    params = settings(tta=tta, changes={"inference.view": view})
    folds = predictors(params, 1)
    given = images(3, params)
    with torch.inference_mode():
        _, by_fold = graph(params, folds)(torch.from_numpy(given))
        mean, std = normalisation(folds[0].backbone)
        corners = [(0, 0), (0, 8), (8, 0), (8, 8)] if view == "five" else []
        total = torch.zeros(3, 3)
        for top, left in [*corners, (4, 4)]:
            crop = torch.from_numpy(given[:, :, top : top + 64, left : left + 64]).float() / 255
            seen = (crop - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
            for mirrored in (seen, seen.flip(-1)) if tta else (seen,):
                total += folds[0](mirrored).sigmoid()
    expected = (total / ((len(corners) + 1) * (1 + tta))).numpy()
    assert np.abs(networks(params, folds).by_fold(given)[0] - expected).max() < 2e-6
    assert np.abs(by_fold.numpy()[:, 0] - expected).max() < 2e-6
    whole = networks(settings(tta=tta), folds).by_fold(given)[0]
    assert np.abs(whole - expected).max() > 1e-3


def test_no_map_covers_a_picture_of_which_parts_are_seen() -> None:
    params = settings(changes={"inference.view": "centre"})
    assert refused(networks(params, predictors(params, 1)).maps, images(1, params)) == (
        "--maps: these models were made with inference.view = centre and see parts of a picture, so no map covers it: "
        "leave --maps out"
    )


@pytest.mark.parametrize("head", ["linear", "gmp", "db_dgcn"])
@pytest.mark.parametrize("tta", [True, False])
def test_it_gives_what_the_pipelines_own_functions_give(head: str, tta: bool) -> None:
    params = settings(head=head, tta=tta)
    folds = predictors(params)
    given = images(3, params)
    with torch.inference_mode():
        mean, by_fold = graph(params, folds)(torch.from_numpy(given))
    expected = networks(params, folds).by_fold(given)
    assert by_fold.shape == (3, 2, 3) and mean.shape == (3, 3)
    assert np.abs(by_fold.numpy().swapaxes(0, 1) - expected).max() < 2e-6
    assert np.abs(mean.numpy() - expected.mean(axis=0)).max() < 2e-6
    assert np.ptp(expected, axis=(0, 1)).min() > 1e-3, "images and folds must not all give the same"


@pytest.mark.parametrize(
    "changes",
    [{"channels": 3}, {"refiner": False}, {"stored": SIZE}],
    ids=["colour", "ablation", "no resize"],
)
def test_colour_the_ablation_and_a_store_of_the_views_size(changes: dict[str, int]) -> None:
    params = settings(**changes)
    folds = predictors(params)
    given = images(2, params)
    with torch.inference_mode():
        _, by_fold = graph(params, folds)(torch.from_numpy(given))
    assert np.abs(by_fold.numpy().swapaxes(0, 1) - networks(params, folds).by_fold(given)).max() < 2e-6


@pytest.mark.parametrize("head", HEADS.names())
def test_of_every_head_the_number_of_images_stays_free(head: str) -> None:
    """`len` of a tensor is a plain number, which an exporter fixes to that of its example; `shape[0]` is none."""
    params = settings(head=head)
    example = torch.from_numpy(images(2, params))
    n = torch.export.Dim("n", min=1, max=4096)
    with torch.no_grad():
        program = torch.export.export(
            graph(params, predictors(params, 1)), (example,), dynamic_shapes={"images": {0: n}}, strict=False
        )
    (found,) = program.range_constraints.values()
    assert (found.lower, found.upper) == (1, 4096)


def test_an_overflow_is_no_certainty() -> None:
    params = settings(refiner=False)
    folds = predictors(params)
    with torch.no_grad():
        folds[1].head.classifier.bias[2] = torch.inf
        mean, by_fold = graph(params, folds)(torch.from_numpy(images(1, params)))
    assert by_fold[0].isnan().tolist() == [[False, False, False], [False, False, True]]
    assert mean[0].isnan().tolist() == [False, False, True]


def test_couplings_fitted_after_training_are_those_of_the_pipeline() -> None:
    random = np.random.default_rng(0)
    A = random.normal(size=(3, 3)) * (1 - np.eye(3))
    line = Line(random.normal(size=3), random.random(3) + 0.5)
    fitted = Fitted(A, line, random.random(3) + 0.5, line, line, np.zeros(3))
    # Of ASL, BCE, focal.
    links = [
        BetaMap(5.72, 0.338, 1.8),
        BetaMap(1.0, 1.0, -2.3),
        BetaMap(2.7, 2.6, 0.06),
    ]
    couplings = LabelCouplings(links, fitted)
    p = random.random((50, 2, 3)).astype(np.float32)
    p[0], p[1] = 0, 1
    found = FittedCouplings(couplings)(torch.from_numpy(p)).numpy()
    assert np.abs(found - couplings.refined(p.astype(np.float64))).max() < 1e-6
    assert np.ptp(found) > 0.9
    p[2, 0, 1] = np.nan
    assert np.isnan(FittedCouplings(couplings)(torch.from_numpy(p)).numpy()).sum() == 3
