"""A pool of decoding threads: results in order, and only a few of them in memory.

Threads are enough: Pillow and hashlib let go of the interpreter's lock while they work, and unlike processes
threads start at once and hand over their pixels without copying them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def ordered_map(
    function: Callable[[Item], Result], workers: int
) -> Iterator[Callable[[Iterable[Item]], Iterator[Result]]]:
    """A map of `function`, in order, that looks only a few items ahead; one worker is this thread itself."""
    if workers == 1:
        yield partial(map, function)
        return
    with ThreadPoolExecutor(workers, "decode") as pool:
        try:
            yield partial(_map_ahead, pool, function, 8 * workers)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _map_ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], ahead: int, items: Iterable[Item]
) -> Iterator[Result]:
    # Executor.map would submit all of them and keep whatever is finished early in memory.
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
