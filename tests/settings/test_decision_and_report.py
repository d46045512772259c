from __future__ import annotations

import pytest
from pydantic import ValidationError

from couplet.settings.schema.decision import DecisionParams
from couplet.settings.schema.messages import one_line
from couplet.settings.schema.report import ReportParams


def test_defaults() -> None:
    assert DecisionParams().model_dump() == {
        "rule": "youden",
        "sensitivity": 0.9,
        "specificity": 0.9,
        "cost_ratio": 1.0,
        "alpha": 0.1,
        "within": "view",
    }
    assert ReportParams().model_dump() == {"groups": []}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rule": "yuden"}, "rule = 'yuden' is not allowed: it should be 'youden', 'f1', 'cost', 'prevalence', "
            "'sensitivity' or 'specificity'"),
        ({"sensitivity": 1.0}, "sensitivity = 1.0 is not allowed: it should be less than 1"),
        ({"specificity": 0.0}, "specificity = 0.0 is not allowed: it should be greater than 0"),
        ({"cost_ratio": 0.0}, "cost_ratio = 0.0 is not allowed: it should be greater than 0"),
        ({"alpha": 0.5}, "alpha = 0.5 is not allowed: it should be less than 0.5"),
        ({"alpha": 0.0}, "alpha = 0.0 is not allowed: it should be greater than 0"),
        ({"within": "sex"}, "within = 'sex' is not allowed: it should be 'view' or 'none'"),
        ({"alfa": 0.1}, "unknown key alfa: allowed here: rule, sensitivity, specificity, cost_ratio, alpha, within"),
    ],
)  # fmt: skip
def test_decisions_that_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        DecisionParams.model_validate(given)
    assert one_line(error.value, DecisionParams, []) == message


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["view"], "report.groups names 'view', which is always shown: leave it out"),
        (["source", "source"], "report.groups names a column twice: ['source', 'source']"),
        ([""], "groups.0 = '' is not allowed: it should be"),
        ("source", "groups = 'source' is not allowed: it should be a list"),
    ],
)
def test_groups_that_are_refused(groups: object, message: str) -> None:
    with pytest.raises(ValidationError) as error:
        ReportParams.model_validate({"groups": groups})
    assert one_line(error.value, ReportParams, []).startswith(message)


def test_columns_of_the_data_set_are_groups() -> None:
    assert ReportParams.model_validate({"groups": ["source", "device"]}).groups == ["source", "device"]
