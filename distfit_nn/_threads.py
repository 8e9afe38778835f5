"""How many threads to work in, no more than the user lets Numba and torch have; and these."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def threads() -> int:
    """Return how many threads Numba is set to use, and torch: the fewer, of those that are loaded.

    Numba starts its threads when it is first asked for them, and that sets the number of OpenMP,
    which is torch's as well: it is put back.
    """
    torch, numba = sys.modules.get("torch"), sys.modules.get("numba")
    allowed = None if torch is None else int(torch.get_num_threads())
    most = (os.cpu_count() or 1) if numba is None else int(numba.get_num_threads())
    if torch is None or allowed is None:
        return most
    if torch.get_num_threads() != allowed:
        torch.set_num_threads(allowed)
    return min(most, allowed)


def share(work: Callable[[], object], workers: int) -> None:
    """Call work() in up to so many threads at once, this one among them.

    Each call is to take of what there is to do until nothing is left; so that those that found no
    free thread until then are left out. The threads are kept: to start one takes as long as it
    takes to work on ten thousand values.
    """
    others = [_pool(os.getpid()).submit(work) for _ in range(workers - 1)]
    work()
    for other in others:
        if not other.cancel():
            other.result()


@cache
def _pool(_process: int) -> ThreadPoolExecutor:
    """Return the threads of a process; one that was forked has none of its parent's."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="distfit_nn")
