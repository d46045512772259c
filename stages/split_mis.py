from launcher import run

from couplet.stages.split_mis import split_mis

run(split_mis)
