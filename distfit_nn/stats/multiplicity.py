"""Many tests at once: control of the false discovery rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError

CORRECTIONS = ("bh", "by")


def benjamini_hochberg(pvalues: ArrayLike) -> NDArray[np.float64]:
    """Return the q-values of Benjamini and Hochberg: p-values adjusted for their number.

    Of m p-values, sorted ascending, the i-th has q_(i) = min over j >= i of min(1, m p_(j) / j).
    To reject where q <= alpha bounds the expected share of false rejections by alpha, for
    independent or positively dependent tests; for any others, see `benjamini_yekutieli`.

    Parameters
    ----------
    pvalues : array-like of float, any shape
        All values are one family. NaN marks a test that was not done: it stays NaN and does not
        count in m.

    Returns
    -------
    float64 array of the same shape
        Each at least its p-value and at most 1.

    Raises
    ------
    InputError
        If a p-value is outside [0, 1].

    References
    ----------
    Y. Benjamini and Y. Hochberg, Controlling the false discovery rate, J. R. Statist. Soc. B 57
    (1995).
    """
    return adjusted(pvalues, "bh")


def benjamini_yekutieli(pvalues: ArrayLike) -> NDArray[np.float64]:
    """Return the q-values of Benjamini and Yekutieli, valid whatever the tests' dependence.

    Those of `benjamini_hochberg` times 1 + 1/2 + ... + 1/m, at most 1: a factor of 7.5 at
    m = 1,000, which is what the absence of any assumption costs.

    Parameters
    ----------
    pvalues : array-like of float, any shape
        As in `benjamini_hochberg`.

    Returns
    -------
    float64 array of the same shape
        Each at least its p-value and at most 1.

    Raises
    ------
    InputError
        If a p-value is outside [0, 1].

    References
    ----------
    Y. Benjamini and D. Yekutieli, The control of the false discovery rate in multiple testing
    under dependency, Annals of Statistics 29 (2001).
    """
    return adjusted(pvalues, "by")


def adjusted(pvalues: ArrayLike, correction: str = "bh") -> NDArray[np.float64]:
    """Return the q-values of one family of tests.

    Parameters
    ----------
    pvalues : array-like of float, any shape
        See `benjamini_hochberg`.
    correction : {"bh", "by"}, default "bh"
        `benjamini_hochberg` or `benjamini_yekutieli`.

    Returns
    -------
    float64 array of the same shape
        As those functions give it; none for no p-values.

    Raises
    ------
    InputError
        If a p-value is outside [0, 1] or `correction` is neither of the two.

    References
    ----------
    Those of `benjamini_hochberg` and `benjamini_yekutieli`.
    """
    _checks.one_of(correction, CORRECTIONS, "correction")
    p = _checks.to_numpy(pvalues, "pvalues").astype(np.float64)
    outside = (p < 0) | (p > 1)
    if np.any(outside):
        raise InputError(f"pvalues must be in [0, 1], got {p[outside].flat[0]}")
    done = ~np.isnan(p)
    q = np.full(p.shape, np.nan)
    q[done] = _stepped_up(p[done], correction == "by")
    return q


def _stepped_up(p: NDArray[np.float64], any_dependence: bool) -> NDArray[np.float64]:
    """Q-values of p-values (m,): the least over all that are not smaller."""
    order = np.argsort(p)
    ranks = np.arange(1, len(p) + 1)
    factor = np.sum(1 / ranks) if any_dependence else 1.0
    scaled = p[order] * (len(p) * factor / ranks)
    q = np.empty_like(p)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
