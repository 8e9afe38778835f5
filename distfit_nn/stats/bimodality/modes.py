"""Where the modes of each column are, how high and wide, and how deep the valleys between them."""

from __future__ import annotations

import math
import reprlib
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats.bimodality.bandwidths import RULES, bandwidth_of
from distfit_nn.stats.bimodality.dip_kernel import spread_ties
from distfit_nn.stats.rows import Axis, Float, Rows, sorted_rows

Records = NDArray[np.void]

ATOM = np.dtype([("position", float), ("share", float)])
_ATOM_COPIES = 5  # times the copies of the values next to it
_ATOM_SHARE = 0.02  # of all values, at least
_FINE = 8  # grid points in a bandwidth
_MOST_POINTS = 1 << 15
_CUT = 6.0  # bandwidths that the grid reaches beyond the data
_ROUGHNESS = 0.5 / math.sqrt(math.pi)  # integral of the squared Gaussian kernel


def find_modes(
    x: ArrayLike,
    axis: Axis = 0,
    *,
    method: str = "kde",
    order: int = 6,
    bandwidth: str | float = "isj",
    significance: float = 2.5,
) -> Records | list[Records]:
    """Find the modes of each column of x, in a kernel estimate or a maximum-entropy density.

    "kde" is a Gaussian kernel estimate on a grid of eight points in a bandwidth (statsmodels, by
    fast Fourier transforms), whose maxima are refined by parabolas. Many of its bumps are noise:
    the difference between a maximum f1 and the level f0 it rises from has a standard error of at
    most sqrt((f1 + f0) R / (n h)), R = 1 / (2 sqrt(pi)), and a mode is kept if its prominence is at
    least `significance` times that. The highest one is always kept. With the default, four stray
    values are no mode, and normal samples hardly ever show two, though samples with an edge
    (uniform, exponential) may, a few in 100. It is strict: two normal laws of equal weight, three
    deviations apart, show both modes in one of three samples of n = 500.

    "maxent" fits the density with the moments up to `order`, which has at most order / 2 modes and
    no noise bumps, but can show modes of its own making, in heavy tails above all.

    Atoms, values that many share beside others that few or none share, are point masses and not
    modes of a density: they are left out, and heights are those of the density of the rest times
    its share. `find_atoms` tells them. Equal values on a grid are spread over its cells, as in
    `dip_test` with ties="spread".

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Read as float64; NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.
    method : {"kde", "maxent"}, default "kde"
    order : int, default 6
        Of the maximum-entropy density.
    bandwidth : {"isj", "silverman", "scott"} or float, default "isj"
        Of the kernel: the improved Sheather-Jones rule of Botev, Grotowski and Kroese, the normal
        rules, which smooth over modes that are far apart, or a number in units of x.
    significance : float, default 2.5
        The least prominence of a mode of the kernel estimate in standard errors; 0 keeps all.

    Returns
    -------
    structured array, or a list of them if axes are kept, in the order of their flat index
        From left to right, with the fields of `Density.modes`: `position`, `height`, `prominence`,
        `width` at half the prominence (the full width at half maximum of a mode that rises from
        0), `valley` and `valley_height`, the lowest point before the next mode, NaN for the last,
        and `at_boundary`, never set for the kernel. All in units of x.

        ==========================================  ====================================
        no value, or all of them in atoms           empty (constants, two distinct values)
        n = 1; n = 2                                empty
        a maximum-entropy fit that fails            empty
        ==========================================  ====================================

    Raises
    ------
    InputError
        If x is not an array of real numbers, or an argument is not one of those above.

    Notes
    -----
    The grid has at most 32,768 points about the median; values beyond it make no mode. A column
    of n = 5,000 takes 5 ms, and 0.6 ms by a normal rule.

    References
    ----------
    Z. I. Botev, J. F. Grotowski and D. P. Kroese, Annals of Statistics 38 (2010), 2916-2957.
    """
    _checks.one_of(method, ("kde", "maxent"), "method")
    _check_number(significance, "significance", 0.0)
    if not isinstance(bandwidth, str):
        _check_number(bandwidth, "bandwidth", np.finfo(float).tiny)
    else:
        _checks.one_of(bandwidth, RULES, "bandwidth")
    order = _checks.positive_int(order, "order")
    table, single = _table(x, axis)
    out = []
    for j in range(table.shape[1]):
        values, share = _without_atoms(_column(table, j))
        if method == "maxent":
            out.append(_maxent_modes(values, share, order))
        else:
            out.append(_kernel_modes(values, share, bandwidth, float(significance)))
    return out[0] if single else out


def find_atoms(x: ArrayLike, axis: Axis = 0) -> Records | list[Records]:
    """Find the atoms of each column: values that many share, beside others that few share.

    An atom holds at least 2% of the values, and five times as many copies as the most frequent of
    the two values next to it on either side, as do the zeros that a ReLU leaves; where no more than
    two distinct values are repeated and no other is there, both are atoms. The levels of a grid,
    whose neighbours are as frequent, are none.

    Parameters
    ----------
    x, axis
        As in `find_modes`.

    Returns
    -------
    structured array, or a list of them if axes are kept, in the order of their flat index
        `position` and `share` of all finite values, from left to right.

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.
    """
    table, single = _table(x, axis)
    out = [_atoms(_column(table, j)) for j in range(table.shape[1])]
    return out[0] if single else out


# Columns


def _check_number(value: Any, name: str, least: float) -> None:
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or isinstance(value, bool) or not least <= value < math.inf:
        raise InputError(
            f"{name} must be a finite number of at least {least:g}, got {reprlib.repr(value)}"
        )


def _table(x: ArrayLike, axis: Axis) -> tuple[NDArray[Any], bool]:
    """Return x as (n, d), and whether no axis is kept."""
    view, reduced = _checks.reduced_first(_checks.to_numpy(x), axis)
    length = math.prod(view.shape[:reduced])
    columns = math.prod(view.shape[reduced:])
    return view.reshape(length, columns), view.ndim == reduced


def _column(table: NDArray[Any], j: int) -> Float:
    return sorted_rows(table[:, j : j + 1]).of(0)


def _atoms(values: Float) -> Records:
    """Return the atoms of ascending values."""
    distinct, copies = np.unique(values, return_counts=True)
    if len(distinct) <= 2:
        frequent = copies > 1
    else:
        padded = np.concatenate([[0, 0], copies, [0, 0]])
        m = len(copies)
        near = np.max([padded[k : k + m] for k in (0, 1, 3, 4)], axis=0)
        frequent = (copies >= _ATOM_COPIES * near) & (copies >= _ATOM_SHARE * len(values))
    out = np.empty(int(frequent.sum()), ATOM)
    out["position"] = distinct[frequent]
    out["share"] = copies[frequent] / max(1, len(values))
    return out


def _without_atoms(values: Float) -> tuple[Float, float]:
    """Return the other values, those on a grid spread over its cells, and their share."""
    rest = values[~np.isin(values, _atoms(values)["position"])]
    share = len(rest) / max(1, len(values))
    rows = Rows(rest[None].copy(), np.array([len(rest)]))
    spread_ties(*rows)
    return rows.values[0], share


# Maximum entropy


def _maxent_modes(values: Float, share: float, order: int) -> Records:
    from distfit_nn import maxent
    from distfit_nn.maxent.modes import MODE

    if len(values) < 3:
        return np.empty(0, MODE)
    density = maxent.fit(values, order)
    found: Any = density.modes() if density.ok else np.empty(0, MODE)
    for name in ("height", "prominence", "valley_height"):
        found[name] *= share
    return found


# Kernel estimate


def _kernel_modes(
    values: Float, share: float, bandwidth: str | float, significance: float
) -> Records:
    """Return the significant modes of a kernel estimate of the values, in a unit of its own."""
    from distfit_nn.maxent.modes import MODE

    if len(values) < 3 or values[0] == values[-1]:
        return np.empty(0, MODE)
    unit = max(values[-1] / 2 - values[0] / 2, np.finfo(float).tiny)
    origin = values[len(values) // 2]
    scaled = values / unit - origin / unit
    h = bandwidth_of(scaled, bandwidth) if isinstance(bandwidth, str) else bandwidth / unit
    if not (0 < h < math.inf):
        return np.empty(0, MODE)
    grid, curve = _kernel_estimate(scaled, h)
    least = significance * math.sqrt(_ROUGHNESS / (len(values) * h))
    out = _modes_of_curve(grid, curve, least)
    with np.errstate(over="ignore", under="ignore"):
        for name in ("position", "valley"):
            out[name] = origin + unit * out[name]
        out["width"] *= unit
        for name in ("height", "prominence", "valley_height"):
            out[name] *= share / unit
    return out


def _kernel_estimate(values: Float, h: float) -> tuple[Float, Float]:
    """Return an even grid and the estimate there, which integrates to the share of values on it."""
    from statsmodels.nonparametric.kde import KDEUnivariate

    middle, reach = values[len(values) // 2], h * _MOST_POINTS / _FINE / 2
    first, last = np.searchsorted(values, [middle - reach, middle + reach])
    near = values[first:last]
    points = math.ceil((near[-1] - near[0] + 2 * _CUT * h) / h * _FINE)
    size = 1 << max(7, math.ceil(math.log2(points)))
    estimate = KDEUnivariate(near)
    estimate.fit(kernel="gau", bw=h, fft=True, gridsize=size, cut=_CUT)
    grid: Float = estimate.support
    return grid, np.maximum(estimate.density, 0) * (len(near) / len(values))


def _modes_of_curve(grid: Float, curve: Float, least: float) -> Records:
    """Return the maxima of a curve that rise by `least` times sqrt(height + base), and the highest.

    As in `Density.modes`, the base is the higher of the lowest points on either side, up to higher
    ground.
    """
    from scipy.signal import find_peaks, peak_prominences, peak_widths

    from distfit_nn.maxent.modes import MODE

    peaks = find_peaks(curve)[0]
    parts = peak_prominences(curve, peaks)
    noise = least * np.sqrt(2 * curve[peaks] - parts[0])
    kept = (parts[0] >= noise) | (peaks == curve.argmax())
    parts = tuple(part[kept] for part in parts)
    peaks, step = peaks[kept], grid[1] - grid[0]
    out = np.empty(len(peaks), MODE)
    shift, out["height"] = _vertices(curve, peaks)
    out["position"] = grid[peaks] + step * shift
    out["prominence"] = out["height"] - (curve[peaks] - parts[0])
    out["width"] = step * peak_widths(curve, peaks, 0.5, parts)[0]
    out["valley"] = out["valley_height"] = np.nan
    out["at_boundary"] = False
    if len(peaks) > 1:
        low = np.array([a + curve[a:b].argmin() for a, b in pairwise(peaks)])
        shift, out["valley_height"][:-1] = _vertices(curve, low)
        out["valley"][:-1] = grid[low] + step * shift
    return out


def _vertices(curve: Float, places: NDArray[np.intp]) -> tuple[Float, Float]:
    """Return shift, in grid steps, and height of the extremes of parabolas through neighbours."""
    before, here, after = curve[places - 1], curve[places], curve[places + 1]
    bend = before - 2 * here + after
    bend = np.where(bend == 0, np.inf, bend)
    shift = (before - after) / (2 * bend)
    return shift, here - (before - after) ** 2 / (8 * bend)
