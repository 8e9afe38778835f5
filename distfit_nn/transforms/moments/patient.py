"""Densities that rules laid once for all do not find: by `numba_kernel`, column by column."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis, numba_kernel, rule_kernel, tables
from distfit_nn.transforms.moments.solve_kernel import LEFT, NONE

Array = NDArray[np.float64]

SHARES = (0.0, 0.02, 0.1, 0.3)  # of N(0, 1) in the moments: the first that helps is taken
NORMAL = np.array([1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 15.0, 0.0, 105.0])  # its moments


@cache
def _bases(order: int) -> tuple[Array, Array]:
    """Return h_i in powers of z, and the reverse; (k + 1, k + 1) each. Read only."""
    return tables.hermite_in_monomials(order)[:, :, 0], basis.monomials_in_hermite(order)


def solve_rest(moments: Array, ranges: Array, shares: Array, c: Array, factors: Array) -> None:
    """Solve the columns that are LEFT, as `solve_kernel.solve` does the others.

    `ranges` (d, 3) hold half the width of the support, and the range of the data. A column without
    a density keeps NONE.
    """
    left = np.flatnonzero(shares == LEFT)
    if len(left) == 0:
        return
    order = moments.shape[1] - 1
    tools = (
        numba_kernel.new_work(order),
        rule_kernel.new_rule(order),
        rule_kernel.new_rule(order),
    )
    for j in left:
        shares[j] = NONE
        for share in SHARES:
            target = (1 - share) * moments[j] + share * NORMAL[: order + 1]
            found = _solved(target, ranges[j], tools)
            if found is not None:
                shares[j], (c[j], factors[j]) = share, found
                break


def _solved(target: Array, ends: Array, tools: tuple[Any, ...]) -> tuple[Array, Array] | None:
    """Return coefficients of powers of z and the factors of the Hessian, or None."""
    order = len(target) - 1
    to_powers, powers = _bases(order)
    radius, low, high = ends
    multipliers, reached, report = (
        np.zeros((1, order + 1)),
        np.empty((1, order + 1)),
        np.empty((1, 4)),
    )
    numba_kernel._columns(
        (to_powers @ target)[None],
        np.array([[-radius, radius, low, high]]),
        *tools,
        multipliers,
        reached,
        report,
    )
    if not report[0, numba_kernel.SUCCESS] > 0:
        return None
    lower = np.tril(tools[0].system.hessian[1:, 1:])
    hessian = lower + np.tril(lower, -1).T
    try:
        root = np.linalg.cholesky(powers[1:, 1:] @ hessian @ powers[1:, 1:].T)
    except np.linalg.LinAlgError:
        return None
    multipliers[0, 0] = 0.0
    size = root.diagonal()
    factors = np.zeros((order + 1, order + 1))
    factors[1:, 1:] = np.tril(root / size, -1) + np.diag(size**-2)
    return multipliers[0] @ to_powers, factors
