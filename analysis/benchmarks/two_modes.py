"""Level, power and cost of the mixture test, the critical bandwidth and the modes of an estimate.

    python analysis/benchmarks/two_modes.py [--replicates 2000]

Samples of a normal law, one mode, and of two normal laws of weight 1/2 a distance of 3 and 4
deviations apart, and of a skewed law with one mode, gamma(2). Shares carry their standard error.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import machine
import numpy as np

from distfit_nn.stats.bimodality.critical_bandwidth import critical_bandwidth_test
from distfit_nn.stats.bimodality.mixture import mixture_test, two_component_mixture
from distfit_nn.stats.bimodality.modes import find_modes

SIZES = (50, 500, 5000)
LEVEL = 0.05
Sampler = Callable[[np.random.Generator, int, int], np.ndarray]


def apart(distance: float) -> Sampler:
    """Return a sampler of two normal laws of equal weight."""

    def sample(rng: np.random.Generator, n: int, columns: int) -> np.ndarray:
        return rng.normal(size=(n, columns)) + distance * (rng.random((n, columns)) < 0.5)

    return sample


LAWS: dict[str, Sampler] = {
    "normal": apart(0.0),
    "gamma(2)": lambda rng, n, columns: rng.gamma(2.0, size=(n, columns)),
    "distance 3": apart(3.0),
    "distance 4": apart(4.0),
}


def share(hits: np.ndarray) -> dict[str, float]:
    """Return a share with its standard error."""
    p = float(np.mean(hits))
    return {"share": round(p, 4), "error": round(float(np.sqrt(p * (1 - p) / len(hits))), 4)}


def tests(x: np.ndarray, seed: int, bootstrap: int) -> dict[str, Any]:
    """Return for each method how often it says "two" of the columns of x."""
    start = time.perf_counter()
    mixture = mixture_test(x, replicates=bootstrap, random_state=seed)
    middle = time.perf_counter()
    calibrated = critical_bandwidth_test(x, random_state=seed)
    end = time.perf_counter()
    found = find_modes(x)
    last = time.perf_counter()
    return {
        "columns": x.shape[1],
        "mixture_test p <= .05": share(mixture.pvalue <= LEVEL),
        "fitted mixture has two modes": share(mixture.bimodal),
        "both": share((mixture.pvalue <= LEVEL) & mixture.bimodal),
        "Ashman's D > 2": share(mixture.ashman_d > 2),
        "critical bandwidth p <= .05": share(calibrated.pvalue <= LEVEL),
        "find_modes sees two or more": share(np.array([len(modes) > 1 for modes in found])),
        "ms a column": {
            f"mixture_test, {bootstrap} replicates shared": milliseconds(middle - start, x),
            "critical_bandwidth_test": milliseconds(end - middle, x),
            "find_modes": milliseconds(last - end, x),
        },
    }


def milliseconds(seconds: float, x: np.ndarray) -> float:
    """Return the time of a column."""
    return float(f"{1e3 * seconds / x.shape[1]:.3g}")


def main() -> None:
    """Take all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=2000, help="samples under the null")
    replicates = parser.parse_args().replicates
    warm = np.random.default_rng(0).normal(size=(50, 2))
    tests(warm, 0, 9)
    two_component_mixture(warm)
    figures: dict[str, Any] = {}
    for name, sampler in LAWS.items():
        columns = replicates if name == "normal" else max(20, replicates // 20)
        for n in SIZES:
            rng = np.random.default_rng([20260517, n, len(name)])
            # Columns share the replicates, and with few of these the level is off for all alike.
            bootstrap = 1999 if name == "normal" else 199
            figures[f"{name}, n = {n}"] = tests(sampler(rng, n, columns), n, bootstrap)
    rng = np.random.default_rng(7)
    plain = [
        critical_bandwidth_test(rng.normal(size=(n, replicates // 4)), calibration="none").pvalue
        for n in SIZES[:2]
    ]
    figures["Silverman's own p <= .05, normal"] = {
        f"n = {n}": share(p <= LEVEL) for n, p in zip(SIZES, plain, strict=False)
    }
    machine.write("two_modes", figures)


if __name__ == "__main__":
    main()
