from launcher import run

from couplet.stages.report import report

run(report)
