"""Silverman's critical bandwidth: how much smoothing does it take to leave k modes?"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats.bimodality.bandwidths import FINE, MOST_POINTS
from distfit_nn.stats.bimodality.critical_bandwidth_kernel import count_valleys, grid_shares
from distfit_nn.stats.bimodality.dip_kernel import spread_ties
from distfit_nn.stats.rows import Axis, Float, Int, RandomState, Rows, per_column

_MARGIN = 6.0  # bandwidths beyond the interval that the grid holds on either side
_PRECISION = 1e-4  # of the critical bandwidth, relative
_LEVELS = np.linspace(0.0, 0.98, 197)
# Hall and York (2001): lambda is a ratio of two cubics in the level, highest power first.
_HALL_YORK = ((0.94029, -1.59914, 0.17695, 0.48971), (1.0, -1.77793, 0.36162, 0.42423))
_BATCH = 1 << 20  # grid values of replicates at once


class CriticalBandwidth(NamedTuple):
    """The critical bandwidth of each column.

    Attributes
    ----------
    statistic : float64 array
        The bandwidth h, in units of x.
    pvalue : float64 array
        By the smoothed bootstrap; never 0.
    n : int64 array
        Finite values.
    relative : float64 array
        h over the standard deviation of the values.
    """

    statistic: Float
    pvalue: Float
    n: Int
    relative: Float


class _Grid(NamedTuple):
    """An even grid around an interval: its step, its size, and the interval's end points."""

    start: float
    step: float
    size: int
    first: int
    last: int


def critical_bandwidth_test(
    x: ArrayLike,
    axis: Axis = 0,
    *,
    modes: int = 1,
    replicates: int = 199,
    random_state: RandomState = None,
    calibration: str = "hall-york",
    interval: tuple[float, float] = (0.05, 0.95),
    ties: str = "spread",
) -> CriticalBandwidth:
    """Test whether each column has at most `modes` modes, by Silverman's critical bandwidth.

    The statistic h is the least bandwidth at which a Gaussian kernel estimate has no more than
    `modes` modes in the interval; with this kernel their number on the line falls as the bandwidth
    grows. A distribution with more modes needs a large h. The reference is the smoothed bootstrap:
    B samples from the kernel estimate at h, rescaled to the variance s^2 of the data, each with a
    critical bandwidth h* of its own.

    Silverman's p-value is the share of h* above h. It is conservative, even for large n: Hall and
    York showed that for one mode the level is right, in the limit, if the test rejects at level a
    where the share of h* above lambda(a) h is at most a, with lambda(.05) = 1.13 and

        lambda(a) = (0.94029 a^3 - 1.59914 a^2 + 0.17695 a + 0.48971)
                    / (a^3 - 1.77793 a^2 + 0.36162 a + 0.42423).

    The p-value here is the least such a, with (b + 1) / (B + 1) for the share: never 0.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Read as float64; NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.
    modes : int, default 1
        The number k of modes under the null hypothesis.
    replicates : int, default 199
        B, the number of bootstrap samples of each column.
    random_state : int, numpy Generator or None, default None
        Seed of the bootstrap; the result of a column depends on it, on n and on the values only.
        Columns of the same n share the random numbers.
    calibration : {"hall-york", "none"}, default "hall-york"
        Hall and York's, derived for one mode, or Silverman's own p-value, conservative, for any
        number of modes. With modes > 1 the default is Silverman's as well.
    interval : pair of float, default (0.05, 0.95)
        The levels of the quantiles between which modes are counted: valleys there, plus one. A
        single value far out makes a mode of its own until h is about its distance, so that on the
        whole line, (0, 1), h tells of outliers, and Hall and York's law does not hold for
        unbounded laws. The default does not see a mode that holds less than 5% of the values.
    ties : {"spread", "atoms"}, default "spread"
        As in `dip_test`; by default values on a grid are taken as rounded, not as many modes.
        Atoms, such as the zeros that a ReLU leaves, stay: they are a mode here.

    Returns
    -------
    CriticalBandwidth
        `statistic` h in units of x, `pvalue`, `n`, and `relative` = h / s, of the shape of the
        kept axes.

        ==============================  ==========================================
        column                          result
        ==============================  ==========================================
        n = 0                           NaN
        all values equal, or n = 1      statistic 0, p-value 1, relative NaN
        n = 2 or two distinct values    as any other column
        NaN and inf among the values    left out
        ==============================  ==========================================

    Raises
    ------
    InputError
        If x is not an array of real numbers, or an argument is not one of those above.

    Notes
    -----
    The curves are taken on a grid of at least 8 points in a bandwidth, by fast Fourier transforms,
    and turning points between grid points are found from parabolas: h is good to 0.4%. Bandwidths
    below 1/4096 of the interval are not told apart. Bootstrap samples are drawn as counts on the
    grid. With 199 replicates a column takes 5 to 20 ms, whatever n is: for use on request. Within a
    bounded interval the number of modes need not fall steadily with h; h is then where the
    bisection ends.

    Calibration: Hall and York's level is that of the limit. Of 600 samples each, these shares had
    p <= 0.05, give or take 0.009: normal 0.03 (n = 50), 0.05 (100); t with 4 degrees of freedom
    0.04, 0.04; gamma of shape 3 0.07, 0.07. The limit takes a curved mode and smooth sides: of 100
    uniform samples of 500 values 49 had, of triangular ones 18.

    References
    ----------
    B. W. Silverman, Journal of the Royal Statistical Society B 43 (1981), 97-99;
    P. Hall and M. York, Statistica Sinica 11 (2001), 515-536.
    """
    _checks.one_of(calibration, ("hall-york", "none"), "calibration")
    modes = _checks.positive_int(modes, "modes")
    measure = partial(
        critical_bandwidth_of_rows,
        modes=modes,
        replicates=_checks.positive_int(replicates, "replicates"),
        seed=_checks.seed(random_state),
        calibrated=calibration == "hall-york" and modes == 1,
        levels=_levels(interval),
        spread=_checks.one_of(ties, ("spread", "atoms"), "ties") == "spread",
    )
    return CriticalBandwidth(*per_column(x, axis, measure))


def critical_bandwidth_of_rows(
    rows: Rows,
    *,
    modes: int,
    replicates: int,
    seed: int,
    calibrated: bool,
    levels: tuple[float, float],
    spread: bool,
) -> tuple[Any, ...]:
    """Return the fields of `CriticalBandwidth` for each row, of which it works on copies."""
    out = np.full((3, len(rows.counts)), np.nan)
    for j, n in enumerate(rows.counts.tolist()):
        if n == 0:
            continue
        values, unit = _unit_values(rows.of(j), spread)
        if values[0] == values[-1]:
            out[:, j] = 0.0, 1.0, np.nan
            continue
        deviation = float(values.std())
        low, high = np.quantile(values, levels).tolist()
        ends = (low, high) if low < high else (float(values[0]), float(values[-1]))
        h, grid = _critical_bandwidth(values, ends, modes)
        generator = np.random.default_rng([seed, n])
        pvalue = _pvalue(values, h, grid, modes, replicates, calibrated, generator)
        out[:, j] = h * unit, pvalue, h / deviation
    return out[0], out[1], rows.counts, out[2]


def _levels(interval: Any) -> tuple[float, float]:
    try:
        low, high = (float(level) for level in interval)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 <= low < high <= 1:
        raise InputError(f"interval must be two ascending levels in [0, 1], got {interval!r}")
    return low, high


def _unit_values(row: Float, spread: bool) -> tuple[Float, float]:
    """Return a copy of the row divided by half its range, centred, and that half."""
    half = max(row[-1] / 2 - row[0] / 2, np.finfo(float).tiny)
    values = row / half - (row[0] / 2 + row[-1] / 2) / half
    if spread:
        spread_ties(values[None], np.array([len(values)]))
    return values, float(half)


# The critical bandwidth of the data


def _critical_bandwidth(
    values: Float, ends: tuple[float, float], modes: int
) -> tuple[float, _Grid]:
    """Return the critical bandwidth, and the grid on which bandwidths near it are fine.

    Components with equal variances whose means lie within twice their deviation have one mode: the
    search starts there, and each grid serves until it is too coarse.
    """
    high = (values[-1] - values[0]) / 2
    while True:
        grid = _grid_for(ends, high / 4, high)
        shares = np.empty(grid.size)
        grid_shares(values, grid.start, grid.step, shares)
        spectrum = rfft(shares)[None]
        low = high / 4
        if _valleys(spectrum, grid, low)[0] >= modes:
            break
        high = low
        if high < (ends[1] - ends[0]) * FINE / MOST_POINTS:
            return high, grid
    while high - low > _PRECISION * high:
        middle = math.sqrt(low * high)
        if _valleys(spectrum, grid, middle)[0] >= modes:
            low = middle
        else:
            high = middle
    return high, _grid_for(ends, high * 0.8, high * 1.7)


def _grid_for(ends: tuple[float, float], least: float, most: float) -> _Grid:
    """Return a grid for bandwidths between `least` and `most`."""
    step, margin = least / FINE, _MARGIN * most
    before = math.ceil(margin / step)
    inside = math.ceil((ends[1] - ends[0]) / step)
    size = next_fast_len(2 * before + inside + 1, real=True)
    return _Grid(ends[0] - before * step, step, size, before, before + inside)


def _valleys(spectra: Any, grid: _Grid, bandwidth: float) -> Int:
    """Count the minima in the interval of the curves whose shares have these transforms."""
    frequency = 2 * math.pi * rfftfreq(grid.size)
    smooth = 1j * frequency * np.exp(-((frequency * bandwidth / grid.step) ** 2) / 2)
    slopes = irfft(spectra * smooth, grid.size)
    out = np.empty(len(slopes), np.int64)
    count_valleys(slopes, grid.first, grid.last, out)
    return out


# The bootstrap


def _pvalue(
    values: Float,
    h: float,
    grid: _Grid,
    modes: int,
    replicates: int,
    calibrated: bool,
    generator: np.random.Generator,
) -> float:
    """Return the p-value of the critical bandwidth h.

    Rescaled samples would have the critical bandwidth h* / r, r = sqrt(1 + h^2 / s^2): instead, h
    and the interval are scaled by r, and the samples stay as they are.
    """
    mean, variance = float(values.mean()), float(values.var())
    stretch = math.sqrt(1 + h * h / variance)
    ends = [grid.start + i * grid.step for i in (grid.first, grid.last)]
    low, high = (mean + (end - mean) * stretch for end in ends)
    wide = _grid_for((low, high), h * 0.8 * stretch, h * 1.7 * stretch)
    shares = np.empty(wide.size)
    grid_shares(values, wide.start, wide.step, shares)
    frequency = 2 * math.pi * rfftfreq(wide.size)
    smooth = np.exp(-((frequency * h / wide.step) ** 2) / 2)
    density = np.maximum(irfft(rfft(shares) * smooth, wide.size), 0)
    factors = _factors() if calibrated else np.ones(1)
    beyond = np.zeros(replicates, np.int64)
    batch = max(1, _BATCH // wide.size)
    for start in range(0, replicates, batch):
        size = min(batch, replicates - start)
        spectra = rfft(_counts(density, len(values), size, generator))
        beyond[start : start + size] = _first_level(spectra, wide, h * stretch * factors, modes)
    if not calibrated:
        return float(((beyond == 0).sum() + 1) / (replicates + 1))
    return _least_level(_LEVELS, beyond)


def _counts(density: Float, n: int, size: int, generator: np.random.Generator) -> Float:
    """Draw `size` samples of n values from a density on a grid, as counts; the rest is outside."""
    outside = max(0.0, 1 - density.sum())
    cells = np.append(density, outside)
    return generator.multinomial(n, cells / cells.sum(), size)[:, :-1].astype(np.float64)


def _factors() -> Float:
    """Return Hall and York's lambda at `_LEVELS`: descending."""
    above, below = (np.polyval(cubic, _LEVELS) for cubic in _HALL_YORK)
    return above / below


def _first_level(spectra: Any, grid: _Grid, bandwidths: Float, modes: int) -> Int:
    """Return for each sample the first of the descending bandwidths that its own exceeds.

    That is, at which it has more than `modes` modes; the number of bandwidths where there is none.
    """
    first = np.zeros(len(spectra), np.int64)
    last = np.full(len(spectra), len(bandwidths))
    while (first < last).any():
        middle = (first + last) // 2
        open_ = first < last
        for index in np.unique(middle[open_]):
            here = np.flatnonzero(open_ & (middle == index))
            more = _valleys(spectra[here], grid, bandwidths[index]) >= modes
            last[here[more]] = index
            first[here[~more]] = index + 1
    return first


def _least_level(levels: Float, beyond: Int) -> float:
    """Return the least level at which no more than its share of samples lies beyond."""
    samples = len(beyond)
    shares = (np.bincount(beyond, minlength=len(levels) + 1).cumsum()[:-1] + 1) / (samples + 1)
    accepted = np.flatnonzero(shares <= levels)
    if not len(accepted):
        return 1.0
    i = int(accepted[0])
    return float(max(shares[i], levels[i - 1]))
