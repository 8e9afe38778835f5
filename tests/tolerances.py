"""Every tolerance of the tests, with its derivation. eps is the rounding unit of the dtype."""

from __future__ import annotations

import numpy as np


def eps(dtype: object = np.float64) -> float:
    """Rounding unit of a floating dtype."""
    return float(np.finfo(dtype).eps)


# The step between numbers below 2.2e-308: no result is nearer than this to an exact one.
SUBNORMAL = float(np.finfo(np.float64).smallest_subnormal)


def sum_error(n: int, dtype: object = np.float64) -> float:
    """Worst relative error of a naive sum of n terms of one sign: n roundings of eps/2, doubled."""
    return max(n, 1) * eps(dtype)


def power_sum_error(n: int, order: int) -> float:
    """Error of a float64 sum of (x - mean)**order over n values, relative to that of |x - mean|.

    Each term costs `order` roundings and, by the rounding of the mean, `order` more; the sum at
    most n; all are doubled for the recentring of the blocks that are merged.
    """
    return 2 * (n + 2 * order) * eps()


UNDERFLOW = float(np.finfo(np.float64).smallest_normal)
"""Absolute error of a product that underflows."""

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


MAXENT_RESIDUAL = 1e-8
"""What Status.OK promises of the moments, checked by a quadrature of the test's own."""

MAXENT_AGREEMENT = 1e-10
"""Two Newton iterations that end below a decrement of 1e-9 and take one full step more are within
1e-18 of the optimum of their quadrature; panels differ from their halves by 1e-13 relative, which
up to 256 panels and the conditioning of cdf and entropy (below 10 in all cases) leave at 1e-10."""

MAXENT_MULTIPLIERS = 1e-9
"""As above, times the square root of the condition of the Hessian, below 1e2 for the columns that
are called well conditioned."""

MAXENT_POLISHED = 1e-11
"""Residual of easy columns after the last full Newton step: panels exact to 1e-13 relative, times
the monomials' amplification, below 100 at order 6. Without that step it is up to 1e-9."""

MAXENT_CDF = 1e-12
"""Masses between points: panels exact to 1e-13, added over the few that hold the mass."""

MAXENT_EQUIVARIANCE = 1e-9
"""Rounding a x + b moves z by eps (1 + |b| / (|a| std)), here at most 1e3 eps, on the data; moments
of order 6 multiply it by 6 max|z|^5, below 1e3, and the inverse Hessian by 1e3 at the most."""


def maxent_moments(n: int) -> float:
    """Error of a mean of h_i(z) over n values with max|z| below 10: rounding of the sum and of z,
    the latter multiplied by |h_6'|, below 1e5 there and below 1e3 on average."""
    return 1e3 * sum_error(n)


# KL of a fitted density: its moments are exact to 1e-13 (quadrature) times the multipliers, which
# the tests keep below 1e2 in standardised coordinates; a rule of 2,000 nodes adds less.
KL_BY_QUADRATURE = 1e-10

TRANSPORT_MASS = 1e-11
"""Relative error of a tail mass carried from one distribution to another: panels of a fitted density
are exact to 1e-13 and up to 60 of them are added; special functions are exact to 1e-14 in their
argument y, which the tail of a normal distribution multiplies by y^2, below 1.4e3 at 1e-300."""

TRANSPORT_EXACT_TAIL = 1e-10
"""As above, against 40 digits: log p is a sum of terms below 1e5 in the cases taken, each rounded,
so that p is exact to 1e5 eps; with the error of the mass, which y divides by y^2."""

KOLMOGOROV = 2.3
"""sqrt(n) times the Kolmogorov distance of n draws exceeds this with probability 2 exp(-2 2.3^2), one
seed in 20,000; the seeds are fixed."""

AFFINE = 1e-13
"""A standardisation: the mean of n values is rounded by at most n eps/2 = 2e-14 at n = 200, relative to
the largest, which is below 4 standard deviations here."""
