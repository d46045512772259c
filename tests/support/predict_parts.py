"""`couplet predict` in a process of its own, in parts of six inputs, disturbed as the first argument says.

python tests/support/predict_parts.py killed|workers|undisturbed ARGUMENTS

Ray's processes get these functions by value, because they are of the script itself.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from couplet.cli import main
from couplet.predicting import parts, rows, tasks

PART = 6


def killed_in_batch(number: int) -> None:
    """Kill this process in the place of its batch of this number, counted from 1."""
    filled, done = rows._filled, [0]

    def counted(*arguments: Any) -> Any:
        done[0] += 1
        if done[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return filled(*arguments)

    rows._filled = counted


def part_whose_process_is_killed_once(task: tasks.PartTask, threads: int) -> tasks.PartMade:
    """The process of each of the first two parts is killed in the midst of writing it, the first time."""
    place = task.part.path
    mark = place.parent.with_name(f"{place.stem}.killed")
    if place.stem in ("part-00000", "part-00001") and not mark.exists():
        mark.touch()
        killed_in_batch(2)
    return tasks.make_part(task, threads)


if __name__ == "__main__":
    parts.write_parts.__defaults__ = (PART,)
    if sys.argv[1] == "killed":
        killed_in_batch(6)  # four images each: the second batch of the third part
    elif sys.argv[1] == "workers":
        tasks.make_part = part_whose_process_is_killed_once
    main(sys.argv[2:])
