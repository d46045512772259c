from launcher import run

from couplet.stages.ensemble_predict import ensemble_predict

run(ensemble_predict)
