from launcher import run

from couplet.stages.evaluate_fold import evaluate_fold

run(evaluate_fold)
