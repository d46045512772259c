"""Forests, reliability curves and the risk-coverage curve: marks stand where the numbers are; same bytes twice."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from couplet.evaluation.calibration.error import ReliabilityBin
from couplet.evaluation.estimate import Estimate
from couplet.evaluation.risk import risk_coverage
from couplet.reporting import style
from couplet.reporting.figures_calibration import BEFORE, Curve, _stretched, reliability
from couplet.reporting.figures_calibration import risk_coverage as draw_risk_coverage
from couplet.reporting.figures_forest import Column, Series, ends, forest


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def close_to(image: np.ndarray, colour: str, within: int = 12) -> np.ndarray:
    """(H, W) where a picture has a colour."""
    return np.abs(image - np.array(to_rgb(colour)) * 255).max(axis=-1) < within


def test_marks_stand_at_their_values_and_bars_reach_to_the_ends() -> None:
    series = Series(np.array([[0.25, 0.1, 0.4], [0.75, 0.5, 1.0]]))
    with style.house_style():
        png = forest(["a", "b"], [Column("Sensitivity", [series])]).result()
        assert png == forest(["a", "b"], [Column("Sensitivity", [series])]).result()
    image = pixels(png)
    assert image.shape[1] == style.SCALE * style.FULL_WIDTH
    left, right = style.margin(["a", "b"]), style.FULL_WIDTH - 14
    for row, (value, low, high) in enumerate(series.values):
        y = round(style.SCALE * (46 + 21 * (row + 0.5)))
        columns = np.flatnonzero(np.abs(image[y] - 255).max(axis=-1) > 60)

        def x(share: float) -> float:
            return style.SCALE * (left + (share + 0.02) / 1.04 * (right - left))

        inside = columns[(columns > style.SCALE * left - 4)]
        assert inside.min() == pytest.approx(x(low), abs=5) and inside.max() == pytest.approx(x(high), abs=12)
        blue = np.flatnonzero(close_to(image[y - 4], style.BLUE, 40))
        assert blue.mean() == pytest.approx(x(value), abs=3), "the mark is higher than its bar"


def test_a_number_without_an_interval_is_hollow_and_groups_have_their_colours() -> None:
    whole, hollow = Estimate(0.5, 0.4, 0.6), Estimate(0.5, reason="one patient")
    with style.house_style():
        filled, empty = (
            pixels(forest(["a"], [Column("x", [Series(ends([one]))])]).result()) for one in (whole, hollow)
        )
        several = pixels(
            forest(
                ["a"],
                [
                    Column(
                        "sex",
                        [
                            Series(ends([whole]), "F", style.FOLD_COLOURS[0]),
                            Series(ends([whole]), "M", "#e69f00", "s"),
                        ],
                        line=1.0,
                        log=True,
                        limits=(0.2, 5.0),
                    )
                ],
            ).result()
        )
        nothing = forest(["a"], [Column("x", [Series(ends([None]))])]).result()
    assert close_to(filled, style.BLUE).sum() > 2 * close_to(empty, style.BLUE).sum() > 0
    assert close_to(several, style.BLUE).sum() > 50 and close_to(several, "#e69f00").sum() > 50
    assert close_to(pixels(nothing), style.BLUE).sum() == 0


def curve(too_few: bool) -> Curve:
    bins = [
        ReliabilityBin(p, Estimate(o, o / 2, (o + 1) / 2)) for p, o in ((0.01, 0.01), (0.2, 0.3), (0.9, 0.8))
    ]
    before = [ReliabilityBin(p, Estimate(o, reason="one patient")) for p, o in ((0.4, 0.02), (0.6, 0.9))]
    return Curve("Edema", bins, before, too_few)


def test_a_curve_that_is_too_few_to_judge_is_grey() -> None:
    with style.house_style():
        judged, grey = (reliability([curve(few)]).result() for few in (False, True))
        assert judged == reliability([curve(False)]).result()
    below = slice(2 * 30, None)  # without the key above
    assert (
        close_to(pixels(judged)[below], style.BLUE).sum()
        > 100
        < close_to(pixels(judged)[below], BEFORE).sum()
    )
    assert close_to(pixels(grey)[below], style.BLUE).sum() == 0 == close_to(pixels(grey)[below], BEFORE).sum()


def test_reliability_grows_by_lines_of_five_panels() -> None:
    with style.house_style():
        heights = [pixels(reliability([curve(False)] * n).result()).shape[0] for n in (1, 5, 6, 20)]
    assert heights[0] == heights[1] < heights[2] < heights[3] < 2 * 1200


def test_the_scale_is_stretched_at_both_ends_and_symmetric() -> None:
    at = [_stretched(share, 0.001) for share in (0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1)]
    assert at == sorted(at) and (at[0], at[4], at[-1]) == (0.0, 0.5, 1.0)
    assert [a + b for a, b in zip(at, at[::-1], strict=True)] == pytest.approx([1.0] * 9)
    assert at[2] - at[1] > at[4] - at[3], "a step from 0.1 to 1 % is wider than one from 10 to 50 %"


def test_the_risk_curve_is_drawn_with_no_error_and_with_errors() -> None:
    random = np.random.default_rng(0)
    q = random.random((200, 1))
    truth = (random.random((200, 1)) < q).astype(float)
    with style.house_style():
        for labels in (truth, (q >= 0.5).astype(float)):
            png = draw_risk_coverage(risk_coverage(labels, q)).result()
            assert png == draw_risk_coverage(risk_coverage(labels, q)).result()
            assert close_to(pixels(png), style.BLUE).sum() > 200
