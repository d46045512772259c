from launcher import run

from couplet.stages.train_fold import train_fold

run(train_fold)
