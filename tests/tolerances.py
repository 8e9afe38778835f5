"""Every tolerance of the tests, with its derivation. eps is the rounding unit of the dtype."""

from __future__ import annotations

import numpy as np


def eps(dtype: object = np.float64) -> float:
    """Rounding unit of a floating dtype."""
    return float(np.finfo(dtype).eps)


def sum_error(n: int, dtype: object = np.float64) -> float:
    """Worst relative error of a naive sum of n terms of one sign: n roundings of eps/2, doubled."""
    return max(n, 1) * eps(dtype)


def power_sum_error(n: int, order: int) -> float:
    """Error of a float64 sum of (x - mean)**order over n values, relative to that of |x - mean|.

    Each term costs `order` roundings and, by the rounding of the mean, `order` more; the sum at
    most n; all are doubled for the recentring of the blocks that are merged.
    """
    return 2 * (n + 2 * order) * eps()


DIP = 1e-12
"""Two exact algorithms for the dip differ by roundings of heights up to n, over 2n: a few eps; the
bound leaves room for the division of nearly equal values (a chord of slope up to 1/eps)."""

DIP_LINEAR_PROGRAM = 1e-8
"""The primal and dual feasibility that the linear programs are solved to is 1e-7 at the most,
1e-9 by experience, on constraints of unit size."""

STANDARD_ERRORS = 4.0
"""Simulated shares may be off by this many standard errors: one seed in 16,000 fails by chance,
and the seeds are fixed."""

FEW_ROUNDINGS = 16 * eps()
"""For closed forms of about ten float64 operations without cancellation."""

QUADRATURE = 1e-8
"""The error that scipy.integrate.quad is asked for (1.5e-8 absolute by default) on smooth
integrands, which it surpasses by far."""


def batch_norm_error(dtype: object = np.float64) -> float:
    """Relative error of x / sqrt(1 + eps) against batch norm's own order of operations.

    Both round a sum, a root, a quotient or reciprocal, and a product: at most four roundings of
    eps/2 each, hence four eps between the two.
    """
    return 4 * eps(dtype)


def float16_rounding() -> float:
    """Largest relative error of storing a normal number as float16: half its rounding unit."""
    return eps(np.float16) / 2
