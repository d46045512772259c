"""What a loss asks for where an image says nothing: the one output that is best for every image of a label.

Only for a proper loss is it the label's prevalence. Where it is not, outputs are scores and no risks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from couplet.settings.params import LossParams

EXAMPLE = 0.02  # the prevalence at which the page shows what the loss does


def no_information_output(loss: LossParams, prevalence: float) -> float:
    """The probability that minimises the expected loss of a label that nothing is known of.

    Args:
        loss: the section `loss` of params.yaml. Its smoothing counts. The weights of `bce` on positives are those
            of training images with this prevalence.
        prevalence: share of positives, in (0, 1).

    Returns:
        In (0, 1]; NaN for another prevalence.

    See Also:
        couplet.evaluation.calibration.inverse.output_of: the same for any posterior.

    The first paper's settings, the same prevalence under cross-entropy, and positives weighted 9 to 1:

    >>> round(no_information_output(LossParams(name="asl"), 0.02), 4)
    0.359
    >>> round(no_information_output(LossParams(name="bce", args={"pos_weight": False}), 0.02), 4)
    0.02
    >>> round(no_information_output(LossParams(name="bce", args={"pos_weight": True}), 0.1), 4)
    0.5
    """
    return float(no_information_outputs(loss, np.array([prevalence]))[0])


def no_information_outputs(loss: LossParams, prevalences: np.ndarray) -> np.ndarray:
    """(L,) the same of labels with these prevalences (L,)."""
    # Late: it imports scipy, which takes longer than all that the stage imports before it has read its inputs.
    from couplet.evaluation.calibration.inverse import output_of, posterior_of

    known = (prevalences > 0) & (prevalences < 1)
    inside = np.where(known, prevalences, EXAMPLE)
    return np.where(known, output_of(inside, posterior_of(loss), inside), np.nan)


def states_the_risk(loss: LossParams) -> bool:
    """Whether the loss is least where an output is the risk. A loss that brings no inverse counts as such."""
    return abs(no_information_output(loss, EXAMPLE) - EXAMPLE) < 1e-6


def loss_in_words(loss: LossParams) -> str:
    """The loss with all that its minimiser follows from.

    >>> loss_in_words(LossParams(name="asl"))
    'asl, gamma_pos 0, gamma_neg 4, clip 0.05'
    """
    settings = [f"{key} {_in_words(value)}" for key, value in loss.args.items()]
    return ", ".join([loss.name, *settings, *([f"smoothing {loss.smoothing:g}"] if loss.smoothing else [])])


def _in_words(value: Any) -> str:
    """A setting of a loss: a switch, a name, a number, or a number per label."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_in_words, value))}]"
    return value if isinstance(value, str) else f"{value:g}"
