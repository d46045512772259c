"""How far a run's numbers can be believed: calibration, decisions, prediction sets, subgroups, judged once."""

from __future__ import annotations

from dataclasses import dataclass

from couplet.reporting.judge_calibration import Calibration, judge_calibration
from couplet.reporting.judge_decisions import Decisions, judge_decisions
from couplet.reporting.judge_external import ExternalTest, judge_external
from couplet.reporting.judge_groups import Groups, judge_groups
from couplet.reporting.judge_sets import Sets, judge_sets
from couplet.reporting.parts import parts_of
from couplet.reporting.picture import Picture
from couplet.results.run import Run


@dataclass(frozen=True)
class Trust:
    """What the sections of the same names show."""

    calibration: Calibration
    decisions: Decisions
    sets: Sets
    groups: Groups
    external: ExternalTest | None

    @property
    def pictures(self) -> list[Picture]:
        """In the page's order."""
        single = [
            self.decisions.picture,
            self.sets.coverage_picture,
            self.sets.risk_picture,
            self.groups.picture,
        ]
        return [*self.calibration.curves, *(picture for picture in single if picture is not None)]


def judge(run: Run) -> Trust:
    """Judge a run. To be called in the house style: it draws."""
    parts = parts_of(run)
    return Trust(
        calibration=judge_calibration(run, parts),
        decisions=judge_decisions(run, parts),
        sets=judge_sets(run, parts),
        groups=judge_groups(run, parts),
        external=judge_external(run, parts),
    )
