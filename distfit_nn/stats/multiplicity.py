"""Many tests at once: control of the false discovery rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError


def benjamini_hochberg(pvalues: ArrayLike) -> NDArray[np.float64]:
    """Return the q-values of Benjamini and Hochberg: p-values adjusted for their number.

    Of m p-values, sorted ascending, the i-th has q_(i) = min over j >= i of min(1, m p_(j) / j).
    To reject where q <= alpha bounds the expected share of false rejections by alpha, for
    independent or positively dependent tests.

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
    (1995). Computed by statsmodels.
    """
    p = _checks.to_numpy(pvalues, "pvalues").astype(np.float64)
    outside = (p < 0) | (p > 1)
    if np.any(outside):
        raise InputError(f"pvalues must be in [0, 1], got {p[outside].flat[0]}")
    q = np.full(p.shape, np.nan)
    done = ~np.isnan(p)
    if np.any(done):
        from statsmodels.stats.multitest import multipletests  # slow to import

        q[done] = multipletests(p[done], method="fdr_bh")[1]
    return q
