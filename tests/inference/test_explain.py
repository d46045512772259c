"""What is explained where the networks see parts of a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from couplet.images.loading.views import evaluation_view
from couplet.inference.explain import explain
from couplet.inference.fold import FoldModel
from couplet.models.predictor import normalisation
from couplet.results.manifest import Manifest
from tests.support.bundles import LABELS, images, predictors, settings
from tests.support.stores import write_store


@pytest.mark.parametrize("view", ["centre", "five"])
def test_it_is_the_middle_that_is_shown_and_explained(view: str, tmp_path: Path) -> None:
    params = settings(head="db_dgcn", refiner=False, changes={"inference.view": view})
    (predictor,), stored = predictors(params, 1), images(4, params)
    model = FoldModel(0, predictor, "float32", write_store(tmp_path / "store", stored), [])
    table = pd.DataFrame({"image_id": [f"{i}" for i in range(4)]})
    manifest = Manifest(table, LABELS, np.zeros((4, 3), np.float32), np.arange(4))
    found = explain(model, params, manifest, np.array([2]))
    middle = stored[[2], :, 4:68, 4:68]
    np.testing.assert_array_equal(found["image"], middle)
    with torch.no_grad():
        seen = evaluation_view(torch.from_numpy(middle), 64, *normalisation(predictor.backbone))
        np.testing.assert_allclose(found["probabilities"], predictor(seen).sigmoid().numpy(), atol=1e-6)
