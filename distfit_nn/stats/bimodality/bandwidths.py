"""Bandwidths of a Gaussian kernel estimate: the normal rules and the improved Sheather-Jones."""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import dct
from scipy.optimize import brentq

from distfit_nn.stats.rows import Float

RULES = ("isj", "silverman", "scott")
FINE = 8  # points in a bandwidth of the grids on which estimates are taken
MOST_POINTS = 1 << 15  # of such a grid

_CELLS = 1 << 11
_STAGES = 7
_TAIL = 0.002  # share of values on either side that may lie far off, beyond the grid


def bandwidth_of(values: Float, rule: str) -> float:
    """Return the bandwidth of ascending values by one of `RULES`.

    "silverman" is 0.9 A n^(-1/5), "scott" 1.059 A n^(-1/5), A the lesser of the standard deviation
    and the quartile distance / 1.349, whichever is not 0. "isj" is the rule of Botev, Grotowski and
    Kroese (2010): the bandwidth is the root of a fixed-point equation that estimates the functional
    of the unknown density by seven stages of pilot bandwidths, so that no normal law is assumed;
    where that has no root, it is Silverman's.
    """
    n = len(values)
    quartiles = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.349
    deviation = float(values.std(ddof=1))
    size = min(deviation, quartiles) if quartiles > 0 else deviation
    if rule == "scott":
        return 1.059 * size * n**-0.2
    silverman = 0.9 * size * n**-0.2
    return silverman if rule == "silverman" else _improved(values, size) or silverman


def _improved(values: Float, size: float) -> float | None:
    """Return the root of the fixed-point equation, None where there is none.

    The grid covers all but a small share of far values, which would make it too coarse.
    """
    n = len(values)
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    low, high = max(values[0], low - 3 * size), min(values[-1], high + 3 * size)
    width = 1.2 * (high - low)
    start = low - width / 12
    cells = np.histogram(values, _CELLS, (start, start + width))[0]
    squares = (dct(cells / n)[1:] / 2) ** 2
    index = np.square(np.arange(1, _CELLS, dtype=np.float64))
    levels = np.geomspace(1e-7, 0.1, 24)
    gaps = [level - _time(level, n, index, squares) for level in levels]
    crossed = [i for i in range(len(gaps) - 1) if gaps[i] < 0 <= gaps[i + 1]]
    if not crossed:
        return None
    bracket = levels[crossed[0]], levels[crossed[0] + 1]
    root = brentq(lambda t: t - _time(t, n, index, squares), *bracket, rtol=1e-6)
    return float(math.sqrt(root) * width)


def _time(level: float, n: int, index: Float, squares: Float) -> float:
    """Return the time of diffusion, (h / width)^2, that follows from the pilot time `level`."""
    with np.errstate(under="ignore"):
        functional = _functional(_STAGES, level, index, squares)
        for stage in range(_STAGES - 1, 1, -1):
            odd = math.prod(range(1, 2 * stage, 2)) / math.sqrt(2 * math.pi)
            scale = (1 + 0.5 ** (stage + 0.5)) / 3
            if not functional > 0:
                return math.inf
            time = (2 * scale * odd / (n * functional)) ** (2 / (3 + 2 * stage))
            functional = _functional(stage, time, index, squares)
        if not functional > 0:
            return math.inf
        return float((2 * n * math.sqrt(math.pi) * functional) ** -0.4)


def _functional(stage: int, time: float, index: Float, squares: Float) -> float:
    """Return the integral of the squared derivative of order `stage` after diffusion for `time`."""
    size = math.pi**2 * index
    return float(2 * (squares * np.exp(stage * np.log(size) - size * time)).sum())
