"""Time of normal scores of a matrix, beside scikit-learn's quantile transform and SciPy's ranks.

Run it as ``python analysis/benchmarks/scores.py``. For float32 and float64 matrices of 10,000 rows
and 100 columns, of normal values and of half-zero ones, it times `normal_scores` and
`CopulaTransformer` with its table of 1,000 values, and what one does without them:

- ``QuantileTransformer(output_distribution="normal")``, also with a table of 1,000 values a column;
- ``ndtri((rankdata(x, axis=0) - 0.5) / n)``, the exact normal scores.

All are called in turn, by the clock on the wall, with as many threads as each takes by itself;
each ratio is the median over rounds. The limit is what cannot be spared: a sort of every column
(and for the exact scores one that says where each value came from), from rows and back to rows; it
is one thread of NumPy's. Everyone's scores are compared with SciPy's.

It writes results/scores.json, with the machine that it ran on.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import machine
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.preprocessing import QuantileTransformer

from distfit_nn.copula import inverse_scores, normal_scores
from distfit_nn.transforms import CopulaTransformer

Floats = NDArray[np.floating[Any]]

ROWS, COLUMNS = 10_000, 100
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 9
GOAL = 2.0  # times as fast as either peer


def half_zero(x: Floats) -> Floats:
    """Return the values as a ReLU leaves them."""
    return np.maximum(x, 0)


DATA: dict[str, Callable[[Floats], Floats]] = {"normal": np.asarray, "half zero": half_zero}


def ranked(x: Floats) -> Floats:
    """Return normal scores by SciPy's ranks."""
    return ndtri((rankdata(x, axis=0) - 0.5) / len(x))


def sorted_columns(x: Floats) -> Floats:
    """Sort the columns and return them as rows of a matrix again."""
    return np.sort(x.T, axis=1).T.copy()


def ordered_columns(x: Floats) -> Floats:
    """Sort the columns with their places, and return the places as rows of a matrix again."""
    return np.argsort(np.ascontiguousarray(x.T), axis=1).T.copy()


def calls(x: Floats) -> dict[str, Callable[[], Any]]:
    """Return what is timed."""
    ours = CopulaTransformer().fit(x)
    theirs = QuantileTransformer(output_distribution="normal").fit(x)
    y, z = ours.transform(x), theirs.transform(x)
    return {
        "normal_scores": lambda: normal_scores(x),
        "inverse_scores": lambda: inverse_scores(y, x),
        "CopulaTransformer.fit_transform": lambda: CopulaTransformer().fit_transform(x),
        "CopulaTransformer.transform": lambda: ours.transform(x),
        "CopulaTransformer.inverse_transform": lambda: ours.inverse_transform(y),
        "QuantileTransformer.fit_transform": lambda: QuantileTransformer(
            output_distribution="normal"
        ).fit_transform(x),
        "QuantileTransformer.transform": lambda: theirs.transform(x),
        "QuantileTransformer.inverse_transform": lambda: theirs.inverse_transform(z),
        "rankdata and ndtri": lambda: ranked(x),
        "limit: sorts": lambda: sorted_columns(x),
        "limit: sorts with places": lambda: ordered_columns(x),
    }


# What is to be faster, than what, by the goal.
PAIRS = (
    ("normal_scores", "rankdata and ndtri"),
    ("normal_scores", "QuantileTransformer.fit_transform"),
    ("CopulaTransformer.fit_transform", "QuantileTransformer.fit_transform"),
    ("CopulaTransformer.fit_transform", "rankdata and ndtri"),
    ("CopulaTransformer.transform", "QuantileTransformer.transform"),
    ("CopulaTransformer.transform", "rankdata and ndtri"),
    ("CopulaTransformer.inverse_transform", "QuantileTransformer.inverse_transform"),
)
LIMITS = (
    ("normal_scores", "limit: sorts with places"),
    ("CopulaTransformer.fit_transform", "limit: sorts"),
)


def figures(x: Floats) -> dict[str, Any]:
    """Return the times of one matrix, their ratios, and how far the scores are from SciPy's."""
    times = machine.interleaved(calls(x), ROUNDS)
    exact = ranked(x)
    scores = {
        "normal_scores": normal_scores(x),
        "CopulaTransformer": CopulaTransformer().fit_transform(x),
        "QuantileTransformer": QuantileTransformer(output_distribution="normal").fit_transform(x),
    }
    return {
        "ms": {name: round(1e3 * statistics.median(taken), 2) for name, taken in times.items()},
        "faster": {f"{ours} than {peer}": machine.ratio(times, peer, ours) for ours, peer in PAIRS},
        "over_limit": {
            f"{ours} over {peer}": machine.ratio(times, ours, peer) for ours, peer in LIMITS
        },
        "largest_difference_from_exact_scores": {
            name: float(f"{np.abs(score - exact).max():.2g}") for name, score in scores.items()
        },
    }


def main() -> None:
    """Measure and write the figures."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(ROWS, COLUMNS))
    out: dict[str, Any] = {
        "rows": ROWS,
        "columns": COLUMNS,
        "scikit-learn": version("scikit-learn"),
    }
    for name, make in DATA.items():
        for dtype in (np.float32, np.float64):
            out[f"{name}, {dtype.__name__}"] = figures(make(values).astype(dtype))
    slowest = min(min(part["faster"].values()) for part in out.values() if isinstance(part, dict))
    out["least_ratio"] = {"goal": GOAL, "found": slowest}
    machine.write("scores", out)


if __name__ == "__main__":
    main()
