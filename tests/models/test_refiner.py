from __future__ import annotations

import numpy as np
import torch

from couplet.models.refiner import LabelGraphRefiner


def refiner_with(couplings: list[list[float]], alpha: float = 0.3) -> LabelGraphRefiner:
    refiner = LabelGraphRefiner(len(couplings), alpha)
    with torch.no_grad():
        refiner.A.copy_(torch.tensor(couplings))
    return refiner


def test_a_new_refiner_is_the_identity_and_draws_nothing():
    before = torch.random.get_rng_state()
    refiner = LabelGraphRefiner(14, 0.3)
    assert torch.equal(torch.random.get_rng_state(), before)
    logits = torch.randn(5, 14)
    assert torch.equal(refiner(logits), logits)
    assert refiner.l1().item() == 0


def test_forward_is_the_formula_in_plain_loops():
    generator = np.random.default_rng(0)
    couplings, logits = generator.normal(size=(4, 4)), generator.normal(size=(3, 4)) * 3
    refiner = refiner_with(couplings.tolist(), alpha=0.3)
    expected = logits.copy()
    for row in range(3):
        for target in range(4):
            for source in range(4):
                if source != target:
                    weight = 0.3 * couplings[source, target]
                    expected[row, target] += weight / (1 + np.exp(-logits[row, source]))
    got = refiner(torch.tensor(logits, dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_rows_are_sources_and_columns_targets():
    refiner = refiner_with([[0.0, 1.0], [0.0, 0.0]], alpha=1.0)
    moved = refiner(torch.zeros(1, 2)) - torch.zeros(1, 2)
    assert moved.tolist() == [[0.0, 0.5]]


def test_the_diagonal_has_neither_effect_nor_gradient():
    refiner = refiner_with([[7.0, 1.0], [-2.0, -9.0]])
    assert refiner.couplings.tolist() == [[0.0, 1.0], [-2.0, 0.0]]
    assert refiner.l1().item() == 3.0
    (refiner(torch.ones(3, 2)).square().sum() + refiner.l1()).backward()
    assert refiner.A.grad is not None
    assert refiner.A.grad.diagonal().tolist() == [0.0, 0.0]
    assert (refiner.A.grad[0, 1] != 0) and (refiner.A.grad[1, 0] != 0)


def test_a_is_the_only_parameter_and_the_mask_is_not_saved():
    refiner = LabelGraphRefiner(14, 0.3)
    assert [(name, tuple(p.shape)) for name, p in refiner.named_parameters()] == [("A", (14, 14))]
    assert list(refiner.state_dict()) == ["A"]


def test_float32_under_autocast():
    refiner = refiner_with([[0.0, 0.123456789], [0.3, 0.0]])
    logits = torch.tensor([[1.2345678, -0.7654321]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        refined = refiner(logits)
    assert refined.dtype == torch.float32
    assert torch.equal(refined, refiner(logits))


def test_one_label_has_nothing_to_couple():
    refiner = refiner_with([[5.0]])
    assert refiner(torch.tensor([[0.25]])).item() == 0.25
    assert refiner.l1().item() == 0
