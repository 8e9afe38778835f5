"""Kullback-Leibler divergence of a fitted density from any other."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn.errors import InputError
from distfit_nn.maxent.columns import Columns
from distfit_nn.maxent.integrals import expectation
from distfit_nn.maxent.tables import Tables

Array = NDArray[np.float64]
Support = tuple[float, float]

# Supports that differ by less than this share of their width are the same: rounding of their ends.
SAME_SUPPORT = 1e-12


def targets(other: Any) -> list[Any]:
    """Return one-column densities q, each with `logpdf` and `support`."""
    known = all(callable(getattr(other, name, None)) for name in ("logpdf", "support"))
    if not known or isinstance(other, type):
        raise InputError(
            "other must be a Density or a frozen SciPy distribution with a density, "
            f"got {reprlib.repr(other)}"
        )
    if callable(getattr(other, "numpy", None)):  # a density on tensors
        other = other.numpy()
    return list(other) if isinstance(other, Columns) and not other.single else [other]


def kl_divergence(tables: Tables, loc: float, scale: float, support: Support, q: Any) -> float:
    """Return KL(p || q) = E_p [log p - log q] in nats, p the only column of `tables`.

    It is inf where the support of q does not hold that of p, and NaN where there is no density.
    """
    q_support = np.array(q.support(), dtype=np.float64)
    if q_support.shape != (2,):
        raise InputError(f"other must be one distribution, got {q_support[0].size} of them")
    if not len(tables.edges) or np.isnan(q_support).any():
        return np.nan
    (a, b), (q_a, q_b) = support, q_support
    slack = SAME_SUPPORT * (b - a)
    if q_a > a + slack or q_b < b - slack:
        return np.inf

    def excess(z: Array, log_p: Array) -> Array:
        x = np.clip(loc + scale * z, max(a, q_a), min(b, q_b))
        return log_p - np.log(scale) - np.asarray(q.logpdf(x.ravel())).reshape(x.shape)

    # It is never negative; rounding may be, where p is q.
    return max(expectation(tables, excess), 0.0)
