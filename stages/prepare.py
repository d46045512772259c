from launcher import run

from couplet.stages.prepare import prepare

run(prepare)
