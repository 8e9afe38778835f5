"""What drift measures of units, for all groupings of the rows at once, and judges by these."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn._threads import threads
from distfit_nn.stats import drift_kernel as kernel
from distfit_nn.stats.drift_baseline import Effect, LayerDrift, compared, over_layer
from distfit_nn.stats.rows import Float, Int

WASSERSTEIN, KOLMOGOROV, ENERGY, SHIFT, SPREAD, SHAPE = range(6)
MEASURES = ("wasserstein", "kolmogorov", "energy", "shift", "spread", "shape")

_BLOCK = 16  # units that one thread measures at a time
_TIED = 0.75  # share of distinct values below which levels, not places, are what a unit has
_CANCELLED = 1e-13  # a variance below this share of the mean square is 0 but for rounding


class UnitMeasures(NamedTuple):
    """What was measured of d units: see `compared`.

    `tables` has the shape (measures, d, groupings), in units of the standard deviation of x and y
    together; `unit` (d,) is the pooled standard deviation in these. Grouping 0 is that of the data.
    """

    tables: Float
    unit: Float
    shift: Float
    spread: Float
    correlation: Float
    n: Int
    m: Int


def judged_units(
    parts: UnitMeasures, alpha: float, least_effect: float
) -> tuple[dict[str, Effect], NDArray[np.bool_], LayerDrift]:
    """Compare all effects with their baselines, and return them with the verdicts."""
    one = np.ones_like(parts.unit)
    units = {
        WASSERSTEIN: parts.unit,
        KOLMOGOROV: one,
        ENERGY: np.sqrt(parts.unit),
        SHIFT: parts.unit,
        SPREAD: one,
        SHAPE: one,
    }
    signed = {SHIFT: parts.shift, SPREAD: parts.spread}
    effects = {
        name: compared(parts.tables[k], signed.get(k), units[k], alpha)
        for k, name in enumerate(MEASURES)
    }
    distance = effects["wasserstein"]
    drifted = (distance.qvalue < alpha) & (distance.excess >= least_effect)
    layer = over_layer(parts.tables[WASSERSTEIN], parts.unit, int(np.count_nonzero(drifted)), alpha)
    return effects, drifted, layer


def measured_units(
    x: NDArray[Any], y: NDArray[Any], labels: NDArray[np.uint8], paired: bool
) -> UnitMeasures:
    """Measure all units, a few at a time in each thread."""
    d = x.shape[1]
    result = UnitMeasures(
        np.full((len(MEASURES), d, labels.shape[1]), np.nan),
        *(np.full(d, np.nan) for _ in range(4)),
        *(np.zeros(d, np.int64) for _ in range(2)),
    )
    by_grouping = np.ascontiguousarray(labels.T)

    def part(first: int) -> None:
        some = slice(first, first + _BLOCK)
        with np.errstate(over="ignore"):  # a long double may become inf: left out
            values = np.array(np.concatenate([x[:, some], y[:, some]]).T, np.float64, order="C")
        for j, column in enumerate(values, first):
            _measure_unit(column, len(x), labels, by_grouping, paired, result, j)

    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(part, range(0, d, _BLOCK)))
    return result


def _measure_unit(
    column: Float,
    split: int,
    labels: NDArray[np.uint8],
    by_grouping: NDArray[np.uint8],
    paired: bool,
    result: UnitMeasures,
    j: int,
) -> None:
    """Fill place j of the result from the values of a unit, those of x before `split`."""
    finite = np.isfinite(column)
    if paired:
        finite &= np.concatenate([finite[split:], finite[:split]])
    rows = np.flatnonzero(finite)
    n = int(np.count_nonzero(finite[:split]))
    result.n[j], result.m[j] = n, len(rows) - n
    if not 0 < n < len(rows):
        return
    z, constant = _standardised(column[rows])
    x, y = z[:n], z[n:]
    if constant:
        result.tables[:SPREAD, j] = result.shift[j] = result.unit[j] = 0.0
        return
    x_std, y_std = _std(x), _std(y)
    unit = np.sqrt((n * x_std**2 + len(y) * y_std**2) / len(z))
    shift, spread = y.mean() - x.mean(), _log_ratio(x_std, y_std)
    with np.errstate(divide="ignore"):
        result.shift[j] = np.divide(shift, unit)
    result.unit[j], result.spread[j] = unit, spread
    order = np.argsort(z)
    result.tables[:SHAPE, j] = _distances(z[order], kernel.walk(rows[order], z[order], labels))
    result.tables[SHIFT, j, 0], result.tables[SPREAD, j, 0] = abs(shift), abs(spread)
    if x_std > 0 and y_std > 0:
        own = np.concatenate([(x - x.mean()) / x_std, (y - y.mean()) / y_std])
        # Standardised first, the levels of x and y would never meet but in an exchange.
        exchanged = z if np.count_nonzero(np.diff(z[order])) < _TIED * len(z) else own
        order = np.argsort(exchanged)
        result.tables[SHAPE, j] = kernel.shapes(rows[order], exchanged[order], by_grouping)
        if paired:
            result.correlation[j] = np.clip(np.mean(own[:n] * own[n:]), -1.0, 1.0)


def _standardised(values: Float) -> tuple[Float, bool]:
    """Return the values less their mean over their standard deviation, and if they are all equal.

    They are brought near 1 by a power of two before, so that no square overflows.
    """
    if values.min() == values.max():
        return values, True
    z = np.ldexp(values, -int(np.frexp(np.abs(values).max())[1]))
    z -= z.mean()
    return z / np.sqrt(np.mean(z * z)), False


def _std(values: Float) -> float:
    """Standard deviation, exactly 0 for equal values."""
    return float(values.std()) if values.min() < values.max() else 0.0


def _distances(z: Float, sums: Float) -> Float:
    """Return the measures up to SPREAD of all groupings from the sums of `walk`."""
    n, m = sums[kernel.COUNT], len(z) - sums[kernel.COUNT]
    with np.errstate(divide="ignore", invalid="ignore"):
        x_mean, y_mean = sums[kernel.SUM] / n, (z.sum() - sums[kernel.SUM]) / m
        x_square = sums[kernel.SQUARES] / n
        y_square = (np.sum(z * z) - sums[kernel.SQUARES]) / m
        spread = _log_ratio(_root_var(x_square, x_mean), _root_var(y_square, y_mean))
    return np.stack(
        [
            sums[kernel.AREA],
            sums[kernel.LARGEST],
            np.sqrt(2 * sums[kernel.SQUARED_AREA]),
            np.abs(y_mean - x_mean),
            np.abs(spread),
        ]
    )


def _root_var(square: Float, mean: Float) -> Float:
    """Root of the mean square less the square of the mean; 0 where these cancel."""
    var = square - mean * mean
    return np.sqrt(np.where(var > _CANCELLED * square, var, 0.0))


def _log_ratio(x: Any, y: Any) -> Any:
    """Return log(y / x), infinite where one of the two is 0, NaN where both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(y) - np.log(x)
