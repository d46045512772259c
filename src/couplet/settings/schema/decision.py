"""Settings of operating points and prediction sets: `decision` in params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from couplet.settings.schema.section import COUPLET, Positive, Section

Share = Annotated[float, Field(gt=0, lt=1)]


class DecisionParams(Section):
    """From probabilities to decisions: one threshold per label and rule, and sets that may abstain."""

    rule: Literal["youden", "f1", "cost", "prevalence", "sensitivity", "specificity"] = Field(
        "youden",
        description="the rule whose thresholds lead the report; all six are in plots/thresholds.csv",
        json_schema_extra=COUPLET,
    )
    sensitivity: Share = Field(
        0.9,
        description="share of a label's positives that the rule `sensitivity` finds",
        json_schema_extra=COUPLET,
    )
    specificity: Share = Field(
        0.9,
        description="share of a label's negatives that the rule `specificity` leaves alone",
        json_schema_extra=COUPLET,
    )
    cost_ratio: Positive = Field(
        1.0,
        description="harm of a miss / harm of a false alarm; the rule `cost` calls q >= 1 / (1 + ratio)",
        json_schema_extra=COUPLET,
    )
    alpha: float = Field(
        0.1,
        gt=0,
        lt=0.5,
        description="share of patients whose true class a prediction set may miss, per label and class",
        json_schema_extra=COUPLET,
    )
    within: Literal["view", "none"] = Field(
        "view",
        description="view: sets keep their promise in each view; none: over all images together",
        json_schema_extra=COUPLET,
    )
