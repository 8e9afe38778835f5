"""How many threads to work in: no more than the user lets Numba and torch have."""

from __future__ import annotations

import os
import sys


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
