"""The compiled look-up of `quantile_table`, on one thread."""

from __future__ import annotations

import numpy as np
from numba import njit

from distfit_nn.nn.targets.quantile_table import FAR


@njit(cache=True, nogil=True)
def look_up(z, of_row, of_column, places, table, inverse, half, y, slope, keep):  # type: ignore[no-untyped-def]
    """Write the cubics at z (m, w) to y and, if told to keep them, their slopes to `slope`.

    The cell of an entry is counted from of_row[i] + of_column[j] in `places` (2 cells,): its first
    row in `table` (4 rows,), and its number of parts.
    """
    number = z.dtype.type
    one, far, most = number(1), number(FAR), number(half)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            u = z[i, j] * inverse
            u = far if u > far else u
            u = -far if u < -far else u
            cell = most if u > most else u
            cell = np.floor(cell) if cell >= -most else -most - one  # of NaN, too
            at = np.uint64(of_row[i] + of_column[j] + 2 * (np.int64(cell) + half + 1))
            parts = number(places[at + np.uint64(1)])
            t = (u - cell) * parts
            part = np.floor(t) if parts > one else number(0)
            t -= part
            k = np.uint64(4 * (places[at] + np.int64(part)))
            c1, c2 = table[k + np.uint64(1)], table[k + np.uint64(2)]
            c3 = t * table[k + np.uint64(3)]
            y[i, j] = table[k] + t * (c1 + t * (c2 + c3))
            if keep:
                slope[i, j] = inverse * parts * (c1 + t * (c2 + c2 + c3 + c3 + c3))
