"""The limit of what reads memory: the sum of an array, compiled, in some threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, fastmath=True)
def plain_sum(values: NDArray[np.float32]) -> float:
    """Return the sum of an array: nothing reads memory with less to do."""
    total = np.float32(0)
    for i in range(len(values)):
        total += values[i]
    return total


def plain_read(x: NDArray[np.float32], threads: int) -> None:
    """Sum equal parts of x in threads of their own."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(plain_sum, np.array_split(x.reshape(-1), threads)))
