"""What the refiner can do beyond the first paper: calibrated messages, known labels, several steps, a gate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from couplet.heads.gmp import MaxPoolHead
from couplet.losses.asl import AsymmetricLoss
from couplet.losses.bce import WeightedBCE
from couplet.models.backbone import Backbone
from couplet.models.gate import SourceGate
from couplet.models.predictor import Predictor
from couplet.models.refiner import LabelGraphRefiner, build_refiner
from couplet.settings.params import LossParams
from couplet.training.loss import build_loss
from tests.support.params import params_with

NAN = float("nan")


def refiner_with(couplings: list[list[float]], alpha: float = 1.0, **more: object) -> LabelGraphRefiner:
    refiner = LabelGraphRefiner(len(couplings), alpha, **more)  # type: ignore[arg-type]
    with torch.no_grad():
        refiner.A.copy_(torch.tensor(couplings))
    return refiner


def random_refiner(n_labels: int = 5, **more: object) -> LabelGraphRefiner:
    generator = np.random.default_rng(0)
    return refiner_with(generator.normal(size=(n_labels, n_labels)).tolist(), **more)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


# --- the message ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gamma_pos", "gamma_neg", "clip"), [(0, 4, 0.05), (1, 4, 0.05), (0, 2, 0), (2, 2, 0.1)]
)
@pytest.mark.parametrize("eta", [0.02, 0.1, 0.5, 0.9])
def test_the_probability_of_a_logit_is_found_by_brute_force(
    gamma_pos: float, gamma_neg: float, clip: float, eta: float
) -> None:
    """Of all logits, the one with the least expected loss at P(y = 1) = eta says eta."""
    loss = AsymmetricLoss(gamma_pos, gamma_neg, clip)
    z = torch.linspace(-8, 8, 320_001, dtype=torch.float64)[:, None]
    expected = eta * loss.cells(z, torch.ones_like(z)) + (1 - eta) * loss.cells(z, torch.zeros_like(z))
    best = z[expected.argmin()]
    assert loss.probability(best).item() == pytest.approx(eta, abs=1e-4)


def test_a_calibrated_message_is_the_probability_that_the_loss_means() -> None:
    loss = AsymmetricLoss()
    refiner = refiner_with([[0.0, 2.0], [0.0, 0.0]], alpha=0.3, loss=loss)
    half = math.log(0.684 / 0.316)  # where ASL means 1/2
    moved = refiner(torch.tensor([[half, 0.0]]))
    assert moved[0, 1].item() == pytest.approx(0.3 * 0.5 * 2, abs=1e-3)
    assert moved[0, 0].item() == pytest.approx(half)


def test_weights_of_positives_are_saved_with_the_message_and_come_back() -> None:
    params = params_with(
        {"refiner.message": "calibrated", "loss.name": "bce", "loss.args": {"pos_weight": True}}
    )
    truth = np.array([[1.0, 0], [0, 0], [0, 1], [0, 0]])
    refiner = build_refiner(params.refiner, params.loss, 2, 4, truth)
    assert refiner is not None and set(refiner.state_dict()) == {"A", "loss.pos_weight"}
    torch.testing.assert_close(refiner.message(torch.zeros(1, 2)), torch.tensor([[0.25, 0.25]]))
    loaded = build_refiner(params.refiner, params.loss, 2, 4)
    assert loaded is not None
    loaded.load_state_dict(refiner.state_dict())
    torch.testing.assert_close(loaded.message(torch.zeros(1, 2)), torch.tensor([[0.25, 0.25]]))


def test_under_a_proper_loss_both_messages_are_one() -> None:
    logits = torch.linspace(-20, 20, 60).view(12, 5)
    plain, calibrated = random_refiner(), random_refiner(loss=WeightedBCE(None))
    torch.testing.assert_close(plain(logits), calibrated(logits))


# --- known labels -----------------------------------------------------------------------------------------------


def test_known_labels_are_their_own_messages_and_unknown_ones_are_not() -> None:
    refiner = refiner_with([[0.0, 2.0, 0.0], [0.0, 0.0, 1.0], [4.0, 0.0, 0.0]], alpha=0.5)
    logits = torch.zeros(3, 3)
    known = torch.tensor([[1.0, 0.0, NAN], [NAN, NAN, NAN], [0.0, 1.0, 1.0]])
    expected = [[0.5 * 0.5 * 4, 0.5 * 2, 0.0], [1.0, 0.5, 0.25], [2.0, 0.0, 0.5]]
    assert refiner(logits, known=known).tolist() == expected
    untold = refiner(logits, known=torch.full((3, 3), NAN))
    assert torch.equal(untold, refiner(logits))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_no_target_hears_its_own_truth(steps: int) -> None:
    """Also when some labels are unknown, whose messages follow from what they heard."""
    refiner, logits = random_refiner(steps=steps), torch.randn(1, 5)
    known = torch.tensor([[1.0, 0.0, NAN, 1.0, 0.0]])
    before = refiner(logits, known=known)
    for target in range(5):
        other = known.clone()
        other[0, target] = 1 - other[0, target]
        assert refiner(logits, known=other)[0, target] == before[0, target]


def test_the_head_learns_through_untaught_messages_and_a_from_all() -> None:
    refiner, logits = random_refiner(n_labels=2), torch.zeros(2, 2, requires_grad=True)
    known = torch.tensor([[NAN, NAN], [1.0, 1.0]])
    refiner(logits, known=known)[:, 1].sum().backward()
    assert logits.grad is not None and refiner.A.grad is not None
    slope = refiner.A[0, 1].item() / 4
    torch.testing.assert_close(logits.grad, torch.tensor([[slope, 1.0], [0.0, 1.0]]))
    torch.testing.assert_close(refiner.A.grad, torch.tensor([[0.0, 1.5], [0.0, 0.0]]))


# --- several steps ----------------------------------------------------------------------------------------------


def test_one_step_has_the_bits_of_the_first_paper() -> None:
    refiner, logits = random_refiner(alpha=0.3), torch.randn(7, 5)
    paper = logits + 0.3 * (torch.sigmoid(logits) @ (refiner.A * (1 - torch.eye(5))))
    assert torch.equal(random_refiner(alpha=0.3, steps=1)(logits), paper)


def test_a_chain_of_three_by_hand() -> None:
    refiner = refiner_with([[0.0, 3.0, 0.0], [0.0, 0.0, -2.0], [0.0, 0.0, 0.0]], alpha=0.5, steps=2)
    found = refiner(torch.tensor([[1.0, -1.0, 0.5]]))[0].tolist()
    middle = -1 + 0.5 * 3 * sigmoid(1)
    assert found == pytest.approx([1.0, middle, 0.5 - 0.5 * 2 * sigmoid(middle)], abs=1e-6)
    once = refiner_with(refiner.A.tolist(), alpha=0.5)(torch.tensor([[1.0, -1.0, 0.5]]))[0].tolist()
    assert once == pytest.approx([1.0, middle, 0.5 - 0.5 * 2 * sigmoid(-1)], abs=1e-6)


def test_without_a_circle_all_is_said_after_l_steps() -> None:
    couplings = (20 * torch.randn(5, 5)).triu(1).tolist()
    after = [refiner_with(couplings, steps=steps)(torch.ones(1, 5)) for steps in (5, 50)]
    assert torch.equal(*after)
    assert refiner_with(couplings).spectral_radius() == 0


def test_below_a_radius_of_one_steps_come_to_a_fixed_point() -> None:
    refiner = random_refiner(steps=50)
    with torch.no_grad():
        refiner.A.mul_(0.9 / refiner.spectral_radius())
    assert refiner.spectral_radius() == pytest.approx(0.9)
    logits = torch.randn(20, 5)
    found = refiner(logits)
    again = logits + torch.sigmoid(found) @ refiner.couplings
    assert (found - again).abs().max() < 1e-5
    other = refiner_with(refiner.A.tolist(), steps=49)(logits)
    assert (found - other).abs().max() < 1e-5


@pytest.mark.parametrize("alpha", [0.3, -0.3])
def test_the_radius_is_that_of_the_eigenvalues(alpha: float) -> None:
    for loss, steepest in ((None, 0.25), (AsymmetricLoss(), 0.540)):
        refiner = random_refiner(alpha=alpha, loss=loss)
        strength = 0.3 * steepest * refiner.couplings.abs().detach().numpy()
        assert refiner.spectral_radius() == pytest.approx(abs(np.linalg.eigvals(strength)).max(), rel=2e-3)
    gated = random_refiner(alpha=alpha, gate=SourceGate(3, 5))
    assert gated.spectral_radius() == pytest.approx(2 * random_refiner(alpha=alpha).spectral_radius())
    assert LabelGraphRefiner(1, 0.3).spectral_radius() == 0


def test_a_predictor_warns_of_a_radius_above_one_only_with_several_steps() -> None:
    network = torch.nn.Flatten()
    for steps, warned in ((1, False), (2, True)):
        backbone = Backbone(network, 4, channels_last=False, weights="none")
        predictor = Predictor(backbone, torch.nn.Identity(), random_refiner(alpha=40, steps=steps))  # type: ignore[arg-type]
        said = predictor.diagnostics()
        assert ("spectral_radius" in said) == warned
        lines = predictor.warnings(said)
        assert [line.split(" is ")[0] for line in lines] == ["the couplings' spectral radius"] * warned


# --- the gate ---------------------------------------------------------------------------------------------------


def test_a_new_gate_changes_no_bit_and_v_has_no_gradient_while_a_is_zero() -> None:
    logits, features = torch.randn(6, 5), torch.randn(6, 3)
    gated, plain = random_refiner(gate=SourceGate(3, 5)), random_refiner()
    assert torch.equal(gated(logits, features), plain(logits))
    start = LabelGraphRefiner(5, 0.3, gate=SourceGate(3, 5))
    assert torch.equal(start(logits, features), logits)
    start(logits, features).square().sum().backward()
    assert start.gate is not None and start.gate.V.grad is not None and start.A.grad is not None
    assert start.gate.V.grad.count_nonzero() == 0 and start.A.grad.count_nonzero() == 20


def test_a_gate_by_hand() -> None:
    refiner = refiner_with([[0.0, 2.0], [5.0, 0.0]], alpha=0.5, gate=SourceGate(1, 2))
    assert refiner.gate is not None
    with torch.no_grad():
        refiner.gate.V.copy_(torch.tensor([[1.0], [0.0]]))
        refiner.gate.c.copy_(torch.tensor([0.5, -1.0]))
    found = refiner(torch.zeros(1, 2), torch.tensor([[2.0]]))[0].tolist()
    loud = [2 * sigmoid(2.5), 2 * sigmoid(-1)]
    assert found == pytest.approx([0.5 * 0.5 * loud[1] * 5, 0.5 * 0.5 * loud[0] * 2], rel=1e-6)


def test_a_gate_reads_the_mean_of_a_feature_map_in_float32_under_autocast() -> None:
    gate = SourceGate(3, 2)
    with torch.no_grad():
        gate.V.normal_()
    features = torch.randn(4, 3, 2, 5)
    expected = gate(features.mean(dim=(2, 3)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        refiner = LabelGraphRefiner(2, 1.0, gate=gate)
        assert refiner(torch.zeros(4, 2), features.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(gate(features), expected)
    backbone = Backbone(torch.nn.Identity(), 3, channels_last=False, weights="none")
    predictor = Predictor(backbone, MaxPoolHead(3, 2), LabelGraphRefiner(2, 1.0, gate=gate)).eval()
    assert predictor(features).shape == (4, 2)


def test_a_gate_without_features_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the image's features"):
        LabelGraphRefiner(2, 0.3, gate=SourceGate(3, 2))(torch.zeros(1, 2))


def test_settings_make_the_refiner() -> None:
    params = params_with(
        {
            "refiner.message": "calibrated",
            "refiner.conditional": "gate",
            "refiner.steps": 3,
            "refiner.sparsity": "proximal",
            "refiner.teach": 0.5,
            "refiner.lr_factor": 30.0,
        }
    )
    refiner = build_refiner(params.refiner, params.loss, 3, 7)
    assert refiner is not None and refiner.gate is not None and refiner.gate.V.shape == (3, 7)
    assert (refiner.steps, refiner.proximal, refiner.teach, refiner.lr_factor) == (3, True, 0.5, 30.0)
    assert isinstance(refiner.loss, AsymmetricLoss) and refiner.loss_terms() == {}
    paper = build_refiner(params_with({}).refiner, LossParams(), 3, 7)
    assert (
        paper is not None and list(paper.state_dict()) == ["A"] and list(paper.loss_terms()) == ["couplings"]
    )
    assert paper.loss is None and paper.gate is None
    assert isinstance(build_loss(LossParams(), np.zeros((1, 3))), AsymmetricLoss)
