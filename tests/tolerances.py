"""Every tolerance of the tests, with its derivation. eps is the rounding unit of the dtype."""

from __future__ import annotations

import numpy as np


def eps(dtype: object = np.float64) -> float:
    """Rounding unit of a floating dtype."""
    return float(np.finfo(dtype).eps)


def sum_error(n: int, dtype: object = np.float64) -> float:
    """Worst relative error of a naive sum of n terms of one sign: n roundings of eps/2, doubled."""
    return max(n, 1) * eps(dtype)
