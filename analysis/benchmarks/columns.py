"""Time per column of the statistics and of the maximum-entropy fit, each against a peer.

    python analysis/benchmarks/columns.py

Peers: numpy.std and scipy.stats.kurtosis for the moments; the PyPI package diptest, column by
column, for the dip; SciPy's trust-exact on the same dual for the fit (a fixed rule of 240
Gauss-Legendre nodes on the support, warm, vectorised over nodes, analytic Hessian, to a gradient of
1e-6 where ours goes to a Newton decrement of 1e-9).
"""

from __future__ import annotations

import statistics
from typing import Any

import diptest
import machine
import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy import stats as scipy_stats
from threadpoolctl import threadpool_limits

from distfit_nn import maxent, stats
from distfit_nn.maxent import basis, problem

Array = NDArray[np.float64]
ROWS, COLUMNS, PEER_COLUMNS = 1000, 400, 20
ROUNDS = 7


def mixed_columns(rng: np.random.Generator) -> Array:
    """Normal, skewed, heavy-tailed, bimodal and half-zero columns in turn."""
    kinds = [
        lambda: rng.normal(size=ROWS),
        lambda: rng.gamma(2.0, size=ROWS),
        lambda: rng.standard_t(5, size=ROWS),
        lambda: rng.normal(size=ROWS) + 2.5 * rng.choice([-1, 1], ROWS),
        lambda: np.maximum(rng.normal(size=ROWS), 0),
    ]
    return np.stack([kinds[j % len(kinds)]() for j in range(COLUMNS)], axis=1)


def trust_exact(x: Array, order: int) -> optimize.OptimizeResult:
    """Fit one column with SciPy, from the same start as ours."""
    given = problem.from_samples(x[:, None], order, 3.0, False).problem
    target = given.targets[:, 0]
    nodes, weights = np.polynomial.legendre.leggauss(240)
    half = (given.upper[0] - given.lower[0]) / 2
    h = basis.hermite((given.lower[0] + half) + half * nodes, order)[1:]
    log_weights = np.log(half * weights)

    def dual(coefficients: Array) -> tuple[float, Array, Array]:
        u = coefficients @ h + log_weights
        top = u.max()
        p = np.exp(u - top)
        total = p.sum()
        p /= total
        mean = h @ p
        return (
            top + np.log(total) - coefficients @ target,
            mean - target,
            (h * p) @ h.T - np.outer(mean, mean),
        )

    return optimize.minimize(
        lambda c: dual(c)[:2],
        basis.decaying_start(order, given.data_lower[0], given.data_upper[0]),
        jac=True,
        hess=lambda c: dual(c)[2],
        method="trust-exact",
        options={"gtol": 1e-6, "maxiter": 500},
    )


def statistics_figures(x: Array) -> dict[str, Any]:
    """Ratios of moments and dip to their peers."""
    times = machine.interleaved(
        {
            "moments to order 6": lambda: stats.moments(x),
            "numpy.std": lambda: x.std(axis=0),
            "scipy kurtosis": lambda: scipy_stats.kurtosis(x),
            "dip": lambda: stats.dip_test(x),
            "diptest": lambda: [diptest.diptest(column) for column in x.T],
        },
        ROUNDS,
    )
    each = {name: round(1e6 * statistics.median(t) / COLUMNS, 2) for name, t in times.items()}
    return {
        "us_per_column": each,
        "scipy_kurtosis_over_moments": machine.ratio(times, "scipy kurtosis", "moments to order 6"),
        "numpy_std_over_moments": machine.ratio(times, "numpy.std", "moments to order 6"),
        "diptest_over_dip": machine.ratio(times, "diptest", "dip"),
    }


def fit_figures(x: Array, order: int) -> dict[str, Any]:
    """Time per column of the fit, and of SciPy on the first columns."""
    part = x[:, :PEER_COLUMNS]
    times = machine.interleaved(
        {
            "all": lambda: maxent.fit(x, order),
            "part": lambda: maxent.fit(part, order),
            "peer": lambda: [trust_exact(column, order) for column in part.T],
        },
        ROUNDS,
    )
    density = maxent.fit(x, order)
    converged = sum(trust_exact(column, order).success for column in part.T)
    return {
        "us_per_column": round(1e6 * statistics.median(times["all"]) / COLUMNS, 1),
        "median_iterations": float(np.median(density.iterations)),
        "ok": f"{int(np.sum(density.ok))} of {COLUMNS}",
        "worst_residual": float(density.residual.max()),
        "trust_exact_over_ours": machine.ratio(times, "peer", "part"),
        "trust_exact_converged": f"{converged} of {PEER_COLUMNS}",
    }


def main() -> None:
    """Measure and write the figures."""
    x = mixed_columns(np.random.default_rng(0))
    figures = {"rows": ROWS, "columns": COLUMNS, "statistics": statistics_figures(x)}
    with threadpool_limits(1):  # threads of BLAS only slow down products this small
        figures["fit"] = {f"order {order}": fit_figures(x, order) for order in (2, 4, 6)}
    machine.write("columns", figures)


if __name__ == "__main__":
    main()
