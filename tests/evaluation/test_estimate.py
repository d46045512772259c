from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from couplet.evaluation.estimate import FLAGS, Estimate, Source, around, few, in_order, source_of
from tests.support.pages import text_of


def test_one_rendering_with_interval_reason_and_flags() -> None:
    whole = Estimate(0.83771, 0.82449, 0.8513)
    assert whole.text() == str(whole) == "0.8377 [0.824, 0.851]"
    assert whole.text(2) == "0.84 [0.8, 0.9]"
    assert whole.flagged("few", "selected").text() == "0.8377 [0.824, 0.851] (selected, few)"
    assert Estimate(0.83771, reason="one patient").text() == "0.8377, no interval: one patient"
    assert Estimate(None, reason="no positive image").text() == "undefined, no interval: no positive image"
    assert Estimate(-0.00001, -0.1, 0.1).text() == "0.0000 [-0.100, 0.100]"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"value": 0.5}, "either an interval or a reason"),
        ({"value": 0.5, "low": 0.4, "high": 0.6, "reason": "none"}, "either an interval or a reason"),
        ({"value": 0.5, "low": 0.4}, "both ends"),
        ({"value": 0.5, "low": 0.6, "high": 0.7}, "does not enclose 0.5"),
        ({"value": 0.5, "low": 0.4, "high": 0.45}, "does not enclose 0.5"),
        ({"value": None, "low": 0.4, "high": 0.45}, "is not finite"),
        ({"value": 0.5, "low": float("nan"), "high": 0.6}, "is not finite"),
        ({"value": float("nan"), "reason": "x"}, "nan is no estimate"),
        ({"value": 0.5, "reason": "x", "level": 1.0}, "level must be between 0 and 1, not 1.0"),
        ({"value": 0.5, "reason": "x", "flags": ("sure",)}, "flag 'sure' is none of"),
        ({"value": 0.5, "reason": "x", "flags": ("few", "selected")}, "in that order"),
    ],
)
def test_what_is_no_estimate_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Estimate(**fields)


def test_the_cell_names_the_md5_of_its_files(tmp_path: Path) -> None:
    path = tmp_path / "data/folds/fold_0.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"image_id,a\n")
    source = source_of(path, tmp_path)
    assert source == Source("data/folds/fold_0.csv", hashlib.md5(b"image_id,a\n").hexdigest())
    estimate = Estimate(
        0.5, 0.4, 0.6, method="a < b", n_images=9, n_patients=4, n_positive_patients=2, flags=("few",)
    )
    cell = estimate.of(source, Source("b", "1234")).cell()
    assert cell.startswith(f'<td class="estimate" data-source="{source.md5} 1234" title="')
    parts = '<span class="value">0.5000</span> <span class="interval">[0.400, 0.600]</span> '
    assert cell.endswith(f'>{parts}<span class="flags">(few)</span></td>')
    assert 'title="95 % interval, a &lt; b; 9 images of 4 patients, 2 with a positive image; few: ' in cell
    assert "from data/folds/fold_0.csv, b" in cell
    assert text_of(cell) == estimate.text()
    nothing = Estimate(0.5, reason="<one>").cell(tag="p")
    assert nothing.endswith('<span class="reason">no interval: &lt;one&gt;</span></p>')
    assert text_of(nothing) == "0.5000, no interval: <one>"


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.816, 0.798, 0.832, "0.816 [0.80, 0.83]"),
        (-0.00145, -0.0039, 0.0010, "-0.001 [-0.004, 0.001]"),  # one digit less: [0.00, 0.00]
        (0.0006, -0.0019, 0.0048, "0.001 [-0.002, 0.005]"),  # the same, both ends 0.00
        (0.004, 0.0003, 0.0062, "0.004 [0.00, 0.01]"),
        (0.9988, 0.9961, 1.0, "0.999 [0.996, 1.000]"),
        (0.1449, 0.1448, 0.1551, "0.145 [0.14, 0.16]"),
        (0.1549, 0.1448, 0.1549, "0.155 [0.145, 0.155]"),  # one digit less: [0.14, 0.15], beside the value
        (0.0, 0.0, 0.0, "0.000 [0.000, 0.000]"),
    ],
)
def test_a_printed_interval_has_two_ends_and_the_value_between(
    value: float, low: float, high: float, text: str
) -> None:
    assert Estimate(value, low, high).text(3) == text


def test_as_json() -> None:
    content = Estimate(0.5, 0.4, 0.6, source=(Source("a", "b"),), flags=("leak",)).as_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["source"] == [{"path": "a", "md5": "b"}]
    assert content["flags"] == ["leak"]


def test_flags_and_few() -> None:
    assert in_order(tuple(reversed(FLAGS))) == tuple(FLAGS)
    assert (few(None), few(9), few(10)) == ((), ("few",), ())


def test_an_interval_without_width_is_none() -> None:
    assert around(2.0, 0.5, np.log, np.exp).high == pytest.approx(2 * np.exp(0.5))
    assert around(0.3, 1e-17, float, float).text() == (
        "0.3000, no interval: it is the same without any one patient"
    )
