"""What a sample is compared with: a law with its integrated distribution function, or a sample."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.maxent.density import Density
from distfit_nn.stats.divergence.distances_kernel import normal_integral
from distfit_nn.stats.rows import (
    Axis,
    Float,
    Rows,
    columns_of,
    joined,
    per_column,
    sorted_rows,
)
from distfit_nn.targets.arrays import Marginal, as_marginal, method

_BATCH = 1 << 20  # values of two samples that are sorted at once
_NODES = 6  # of the Gauss rule on a panel
_DEEPEST = 460.0  # -log of the smallest tail mass that is looked at: quantiles of many laws end
_NEGLIGIBLE = 1e-8  # what a tail beyond the deepest may hold of a moment, relative to the centre's

# The integral of sqrt(Phi (1 - Phi)) over the line, by quadrature in 25 digits.
_NORMAL_ROOT_AREA = 1.614743853429669


class Cells(NamedTuple):
    """A law cut into n cells of mass 1/n, for c = 1 or d columns.

    Attributes
    ----------
    edges : (c, n + 1)
        Quantiles of i/n, i = 0, ..., n; the outer two are not used.
    integral : (c, n + 1)
        The integral of the distribution function up to each of them.
    means : (c, n)
        Mean of the law within each cell.
    rest : (c,)
        Mean variance within the cells: what no n values can match.
    """

    edges: Float
    integral: Float
    means: Float
    rest: Float


class Law:
    """A law in the form that distances ask for; c = 1 where it serves all columns.

    Attributes
    ----------
    columns : int or None
        Of how many columns these are the laws; None for one that is for all.
    mean, var, gap, root_area : (c,)
        Mean, variance, the mean distance of two independent values, and the integral of
        sqrt(F (1 - F)) over the line.
    """

    columns: int | None = None
    mean: Float
    var: Float
    gap: Float
    root_area: Float

    def cdf(self, rows: Float) -> Float:
        """Return F at the points (d, m)."""
        raise NotImplementedError

    def integral(self, rows: Float, cdf: Float) -> Float:
        """Return the integral of F up to each of the points (d, m), where F is `cdf`."""
        raise NotImplementedError

    def quantiles(self, q: Float) -> Float:
        """Return the quantiles (c, m) of the masses (m,)."""
        raise NotImplementedError

    def cells(self, n: int) -> Cells:
        """Return the cells of mass 1/n."""
        share = np.arange(n + 1) / n
        edges = np.repeat(self.mean[:, None], n + 1, axis=1)
        edges[:, 1:-1] = self.quantiles(share[1:-1])
        inner = np.repeat(share[None], len(edges), axis=0)
        integral = self.integral(edges, inner) if n > 1 else np.zeros_like(edges)
        return Cells(edges, integral, *self._means(edges, integral, n))

    def _means(self, edges: Float, integral: Float, n: int) -> tuple[Float, Float]:
        """Return the means of the cells and the mean variance within them.

        A cell's mean is its upper edge less n times the area that F encloses with the mass below
        the cell; the uppermost's is its lower edge plus n times the area above F.
        """
        means = np.repeat(self.mean[:, None], n, axis=1)
        if n > 1:
            means[:, 0] = edges[:, 1] - n * integral[:, 1]
            below = np.arange(1, n - 1) / n * np.diff(edges[:, 1:-1])
            means[:, 1:-1] = edges[:, 2:-1] - n * (np.diff(integral[:, 1:-1]) - below)
            last = edges[:, -2]
            means[:, -1] = last + n * (self.mean - last + integral[:, -2])
        between = np.mean((means - self.mean[:, None]) ** 2, axis=1)
        return means, np.maximum(self.var - between, 0.0)


class StandardNormal(Law):
    """N(0, 1): everything in closed form; the integral of Phi is t Phi(t) + phi(t)."""

    mean = np.zeros(1)
    var = np.ones(1)
    gap = np.full(1, 2 / math.sqrt(math.pi))
    root_area = np.full(1, _NORMAL_ROOT_AREA)

    def cdf(self, rows: Float) -> Float:
        """See `Law`."""
        return ndtr(rows)

    def integral(self, rows: Float, cdf: Float) -> Float:
        """See `Law`."""
        return normal_integral(rows, cdf)

    def quantiles(self, q: Float) -> Float:
        """See `Law`."""
        return ndtri(q)[None]

    def cells(self, n: int) -> Cells:
        """See `Law`; the last few sizes are kept."""
        return _normal_cells(n)


@lru_cache(maxsize=8)
def _normal_cells(n: int) -> Cells:
    return Law.cells(StandardNormal(), n)


class Integrated(Law):
    """Any continuous law with `cdf` and `ppf`, integrated by a Gauss rule on panels.

    The panels end at quantiles, graded into both tails down to a mass of 1e-200. Moments that do
    not converge there are infinite. Columns without a density give NaN.
    """

    def __init__(self, marginal: Marginal, columns: int | None) -> None:
        self.marginal, self.columns = marginal, columns
        base, weight = np.polynomial.legendre.leggauss(_NODES)
        self._rule = (base + 1) / 2, weight / 2
        with np.errstate(all="ignore"):
            self._edges = self._tail_points(_grading())
            self._areas, self.root_area = self._integrate()
            self._set_moments()

    def cdf(self, rows: Float) -> Float:
        """See `Law`."""
        return self._mass(rows.T, False).T

    def quantiles(self, q: Float) -> Float:
        """See `Law`."""
        shape = (len(q), self._width)
        below = np.broadcast_to(np.minimum(q, 1 - q)[:, None], shape)
        upper = np.broadcast_to((q > 0.5)[:, None], shape)
        return np.asarray(self.marginal.quantile(below, upper), np.float64).T.copy()

    def integral(self, rows: Float, cdf: Float) -> Float:  # noqa: ARG002  closed forms need cdf
        """See `Law`."""
        points = rows.T
        panel = self._panel(points)
        column = np.arange(self._width)[None]  # of one law, it broadcasts
        start, area = self._edges[panel, column], self._areas[panel, column]
        width = points - start
        for node, part in zip(*self._rule, strict=True):
            area = area + part * width * self._mass(start + node * width, False)
        beyond = points - self._edges[-1]
        area = np.where(points < self._edges[0], 0.0, area)
        area = np.where(beyond > 0, self._areas[-1] + beyond, area)
        return np.ascontiguousarray(area.T)

    @property
    def _width(self) -> int:
        return 1 if self.columns is None else self.columns

    def _mass(self, points: Float, upper: bool) -> Float:
        return np.asarray(self.marginal.mass(points, np.full(points.shape, upper)), np.float64)

    def _panel(self, points: Float) -> NDArray[np.intp]:
        """Return the number of the panel of each point (m, d)."""
        if self.columns is None:
            panel = np.searchsorted(self._edges[:, 0], points, "right")
        else:
            pairs = zip(self._edges.T, points.T, strict=True)
            found = [np.searchsorted(edges, column, "right") for edges, column in pairs]
            panel = np.stack(found, axis=1)
        return np.clip(panel - 1, 0, len(self._edges) - 1)

    def _tail_points(self, depth: Float) -> Float:
        """Return quantiles with the mass exp(-depth) below, then above them, (2 depths, c)."""
        shape = (len(depth), self._width)
        tail = np.broadcast_to(np.exp(-depth)[:, None], shape)
        below = self.marginal.quantile(tail, np.zeros(shape, bool))
        above = self.marginal.quantile(tail, np.ones(shape, bool))
        return np.concatenate([below[::-1], above[1:]])  # both hold the median

    def _integrate(self) -> tuple[Float, Float]:
        """Return the integral of F up to each edge, and that of sqrt(F (1 - F)) over all."""
        widths = np.diff(self._edges, axis=0)
        areas, roots = np.zeros_like(widths), np.zeros_like(widths)
        for node, part in zip(*self._rule, strict=True):
            points = self._edges[:-1] + node * widths
            below = self._mass(points, False)
            areas += part * widths * below
            roots += part * widths * np.sqrt(below * self._mass(points, True))
        start = np.zeros((1, widths.shape[1]))
        return np.concatenate([start, np.cumsum(areas, axis=0)]), roots.sum(axis=0)

    def _set_moments(self) -> None:
        """Integrate over both tails in the logarithm of their mass."""
        depth, weight = self._deep_rule
        points = self._tail_points(depth)
        weights = np.concatenate([weight[::-1], weight[1:]])[:, None]
        middle = self.quantiles(np.full(1, 0.5))[:, 0]
        far = points - middle
        shift = np.sum(weights * far, axis=0)
        var = np.sum(weights * (far - shift) ** 2, axis=0)
        self.gap = 2 * np.sum(weights * self.integral(points.T, points.T).T, axis=0)
        size = np.abs(self._edges[[0, -1]] - middle).max(axis=0)
        mass, scale = math.exp(-_DEEPEST), np.abs(self.quantiles(np.full(1, 0.25))[:, 0] - middle)
        heavy = mass * size > _NEGLIGIBLE * scale
        wild = mass * size * (size / scale) > _NEGLIGIBLE * scale
        self.mean = np.where(heavy, np.inf, middle + shift)
        self.var = np.where(wild, np.inf, var)
        self.root_area = np.where(wild, np.inf, self.root_area)

    @cached_property
    def _deep_rule(self) -> tuple[Float, Float]:
        """Return depths s and the weights exp(-s) ds, after a depth log 2 of no weight."""
        edges = _grading()
        node, part = self._rule
        width = np.diff(edges)[:, None]
        depth = (edges[:-1, None] + width * node).ravel()
        weight = (width * part).ravel() * np.exp(-depth)
        return np.append(edges[0], depth), np.append(0.0, weight)


def _grading() -> Float:
    """Return -log of tail masses from 1/2 down to 1e-200."""
    near = np.arange(0.125, 4, 0.125)
    far = np.geomspace(4, _DEEPEST - math.log(2), 48)
    return math.log(2) + np.concatenate([[0.0], near, far])


def as_law(reference: Any) -> Law:
    """Return "normal", "uniform", a fitted density or a distribution as a `Law`.

    Raises
    ------
    InputError
        If it is none of these.
    """
    if isinstance(reference, str) and reference == "normal":
        return StandardNormal()
    if isinstance(reference, Density) and len(reference) == 1 and not reference.single:
        reference = reference[0]
    marginal = as_marginal(reference, "reference")
    return Integrated(marginal, marginal.columns())


def is_sample(reference: Any) -> bool:
    """Return whether the reference is an array rather than a law or the name of one."""
    return not isinstance(reference, (str, type)) and not method(reference, "cdf")


def compared(
    x: ArrayLike,
    axis: Axis,
    reference: Any,
    to_law: Callable[[Rows, Law], tuple[NDArray[Any], ...]],
    to_sample: Callable[[Rows, Rows], tuple[NDArray[Any], ...]],
) -> tuple[NDArray[Any], ...]:
    """Measure every column of x against its reference: see `rows.per_column`.

    Parameters
    ----------
    x, axis
        As in `per_column`.
    reference : "normal", "uniform", distribution, Density, or array
        A law for all columns or one for each; or a second sample: of one axis, for all columns, or
        with as many axes as x, reduced over the same ones.
    to_law, to_sample : callable
        Take the rows of x, and a law or as many rows of the reference.

    Raises
    ------
    InputError
        If x or the reference breaks its rule, or their columns do not match.
    """
    if is_sample(reference):
        return _paired(x, axis, reference, to_sample)
    law = as_law(reference)
    if law.columns is None:
        return per_column(x, axis, lambda rows: to_law(rows, law))
    table, kept = columns_of(x, axis)
    _same_columns(law.columns, table.shape[1])
    return joined([to_law(sorted_rows(table), law)], kept)


def _paired(
    x: ArrayLike,
    axis: Axis,
    reference: Any,
    to_sample: Callable[[Rows, Rows], tuple[NDArray[Any], ...]],
) -> tuple[NDArray[Any], ...]:
    """Measure the columns of x against those of another sample, or against its only one."""
    table, kept = columns_of(x, axis)
    other = _checks.to_numpy(reference, "reference")
    if other.ndim not in (1, _checks.to_numpy(x).ndim):
        raise InputError(
            "reference must have one axis or as many as x, "
            f"got {other.ndim} of shape {reprlib.repr(other.shape)}"
        )
    one = other.ndim == 1
    against, _ = columns_of(other, 0 if one else axis, "reference")
    if against.shape[1] != 1:
        _same_columns(against.shape[1], table.shape[1])
    single = sorted_rows(against) if against.shape[1] == 1 else None
    step = max(1, _BATCH // max(1, len(table), len(against)))
    parts = []
    for start in range(0, max(table.shape[1], 1), step):
        rows = sorted_rows(table[:, start : start + step])
        if single is None:
            second = sorted_rows(against[:, start : start + step])
        else:
            columns = len(rows.counts)
            second = Rows(
                np.repeat(single.values, columns, axis=0), np.repeat(single.counts, columns)
            )
        parts.append(to_sample(rows, second))
    return joined(parts, kept)


def _same_columns(given: int, columns: int) -> None:
    if given != columns:
        raise InputError(f"reference must have one column or the {columns} of x, got {given}")
