"""The fitted density, with the methods of a SciPy distribution, for d columns at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn._checks import to_numpy, whole_number
from distfit_nn.errors import InputError
from distfit_nn.maxent import basis
from distfit_nn.maxent.solution import Solution, Status

Array = NDArray[np.float64]

# Newton has converged after a step of this share of its panel, over which log p changes little: the
# error left is the square of it.
LAST_STEP = 1e-9
NEWTON_STEPS = 60  # of a quantile; bisection alone needs 53
# In the tails, where a panel's error is small only against the whole mass, panels are halved until
# log p changes by no more than this from end to end, as far down as float64 reaches.
TAIL_STEP, TAIL_DEPTH, TAIL_ROUNDS = 4.0, 760.0, 24


@dataclass(frozen=True)
class _Column:
    """One density in standardised coordinates, with the mass of each of its panels."""

    coefficients: Array
    log_normaliser: float
    panels: Array  # edges that integrate the density as a whole

    def log_density(self, z: Array) -> Array:
        """Return log p(z) inside the support."""
        h = basis.hermite(z, len(self.coefficients))
        return np.tensordot(self.coefficients, h[1:], 1) - self.log_normaliser

    def integral(self, left: Array, right: Array) -> Array:
        """Return the mass between pairs of points of one panel."""
        nodes, weights = basis.legendre_rule()
        half = (right - left) / 2
        z = (left + half)[..., None] + half[..., None] * nodes
        return half * (np.exp(self.log_density(z)) @ weights)

    @cached_property
    def edges(self) -> Array:
        """Edges that integrate the tails, too, with small relative error."""
        edges = self.panels
        for _ in range(TAIL_ROUNDS):
            log_p = self.log_density(edges)
            higher = np.maximum(log_p[:-1], log_p[1:])
            steep = np.abs(np.diff(log_p)) > TAIL_STEP
            steep &= (higher > log_p.max() - TAIL_DEPTH) & (np.diff(edges) > 1e-12)
            if not steep.any():
                break
            edges = basis.halved(edges, steep)
        return edges

    @cached_property
    def masses(self) -> tuple[Array, Array]:
        """The mass to the left and to the right of each edge, each summed from its own tail."""
        panels = self.integral(self.edges[:-1], self.edges[1:])
        panels = panels / panels.sum()
        left = np.concatenate([[0.0], np.cumsum(panels)])
        right = np.concatenate([np.cumsum(panels[::-1])[::-1], [0.0]])
        return left, right

    def tail(self, z: Array, upper: bool) -> Array:
        """Return the mass left of z, or right of it, without differences of masses near 1."""
        inside = np.clip(z, self.edges[0], self.edges[-1])
        panel = np.clip(np.searchsorted(self.edges, inside, "right") - 1, 0, len(self.edges) - 2)
        left, right = self.masses
        if upper:
            out = right[panel + 1] + self.integral(inside, self.edges[panel + 1])
        else:
            out = left[panel] + self.integral(self.edges[panel], inside)
        return np.where(np.isnan(z), np.nan, np.minimum(out, 1.0))

    def quantile(self, q: Array, upper: bool) -> Array:
        """Return z with mass q left of it, or right of it, by Newton kept within its panel."""
        left, right = self.masses
        known = np.where((q >= 0) & (q <= 1), q, 0.5)
        if upper:
            panel = len(self.edges) - 1 - np.searchsorted(right[::-1], known, "left")
        else:
            panel = np.searchsorted(left, known, "left") - 1
        panel = np.clip(panel, 0, len(self.edges) - 2)
        low, high = self.edges[panel], self.edges[panel + 1]
        width = high - low
        z = (low + high) / 2
        for _ in range(NEWTON_STEPS):
            excess = self.tail(z, upper) - known
            too_far = (excess < 0) if upper else (excess > 0)
            high, low = np.where(too_far, z, high), np.where(too_far, low, z)
            slope = np.exp(self.log_density(z)) * (-1.0 if upper else 1.0)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                trial = z - excess / slope
            middle = (low + high) / 2
            trial = np.where((trial >= low) & (trial <= high), trial, middle)
            step, z = np.abs(trial - z), trial
            if np.all(step <= LAST_STEP * width):
                break
        start, end = self.edges[0], self.edges[-1]
        if upper:
            start, end = end, start
        z = np.where(known == 0, start, np.where(known == 1, end, z))
        return np.where((q >= 0) & (q <= 1), z, np.nan)


@dataclass(frozen=True, eq=False)
class Density:
    """Maximum-entropy densities of d columns, as `fit` and `fit_moments` return them.

    With z = (x - loc) / scale, column j is

        p_j(x) = exp(sum_i lambda_ij h_i(z) - log Z_j) / scale_j   on its support, 0 elsewhere,

    where h_i = He_i / sqrt(i!), i = 1..order. Every method works on all columns: points t of shape
    (m,) give (m, d), points of shape (m, d) are taken column by column. A density fitted to one
    column of shape (n,), and `density[j]`, keep the shape of t and have scalars for attributes.
    Columns that are DEGENERATE or INVALID give NaN.

    Attributes
    ----------
    solution : Solution
        The dual optimum in standardised coordinates, with the numbers that tell its quality.
    loc, scale : (d,)
        Mean and standard deviation (divisor n) of the data.
    single : bool
        Whether this stands for one column of shape (n,).
    """

    solution: Solution
    loc: Array
    scale: Array
    single: bool = False

    # Columns and their quality

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.loc)

    def __getitem__(self, j: int | slice) -> Density:
        """Return column j as a density of one column, or a slice of the columns."""
        if self.single:
            raise InputError("this density has one column and cannot be indexed")
        if isinstance(j, slice):
            return Density(self.solution[j], self.loc[j], self.scale[j])
        if not -len(self) <= j < len(self):
            raise IndexError(f"column {j} of {len(self)}")
        part = slice(j, j + 1) if j != -1 else slice(j, None)
        return Density(self.solution[part], self.loc[part], self.scale[part], single=True)

    def __iter__(self) -> Iterator[Density]:
        """Iterate over the columns."""
        return (self[j] for j in range(len(self)))

    def __repr__(self) -> str:
        counts = np.bincount(self.solution.status, minlength=len(Status))
        ended = ", ".join(f"{n} {s.name}" for s, n in zip(Status, counts, strict=True) if n)
        return f"<Density of order {self.order}: {len(self)} columns, {ended}>"

    def _per_column(self, values: NDArray[np.generic]):  # type: ignore[no-untyped-def]
        return values[0].item() if self.single else values

    @property
    def order(self) -> int:
        """Number of moments matched."""
        return self.solution.order

    @property
    def status(self) -> NDArray[np.int8] | Status:
        """How the fit ended, per column: see `Status`."""
        if self.single:
            return Status(int(self.solution.status[0]))
        return self.solution.status

    @property
    def ok(self) -> NDArray[np.bool_] | bool:
        """Where the status is OK."""
        return self._per_column(self.solution.status == Status.OK)

    @property
    def residual(self) -> Array | float:
        """max_i abs(E_p z^i - m_i) / max(1, abs(m_i)) in standardised moments m_i of the data."""
        return self._per_column(self.solution.residual)

    @property
    def iterations(self) -> NDArray[np.int64] | int:
        """Newton steps taken."""
        return self._per_column(self.solution.iterations)

    @property
    def epsilon(self) -> Array | float:
        """0 where OK; how far a REGULARISED column was drawn from its moments: see `Status`."""
        return self._per_column(self.solution.epsilon)

    @property
    def decrement(self) -> Array | float:
        """Newton decrement at the last evaluation."""
        return self._per_column(self.solution.decrement)

    @property
    def quadrature_error(self) -> Array | float:
        """Largest change of an integral E_p h_i when a panel of the quadrature is halved."""
        return self._per_column(self.solution.quadrature_error)

    def support(self) -> tuple[Array, Array] | tuple[float, float]:
        """Return the ends (a, b) of the support, per column."""
        with np.errstate(over="ignore"):
            lower = self.loc + self.scale * self.solution.lower
            upper = self.loc + self.scale * self.solution.upper
        return self._per_column(lower), self._per_column(upper)

    # Values at points

    def logpdf(self, t: ArrayLike) -> Array:
        """Return log p(t), -inf outside the support."""

        def one(column: _Column, z: Array, scale: float) -> Array:
            inside = (z >= column.panels[0]) & (z <= column.panels[-1])
            values = column.log_density(np.where(inside, z, 0.0)) - math.log(scale)
            return np.where(np.isnan(z), np.nan, np.where(inside, values, -np.inf))

        return self._at_points(t, one)

    def pdf(self, t: ArrayLike) -> Array:
        """Return p(t), 0 outside the support."""
        with np.errstate(over="ignore"):
            return np.exp(self.logpdf(t))

    def cdf(self, t: ArrayLike) -> Array:
        """Return P(X <= t)."""
        return self._at_points(t, lambda column, z, _: column.tail(z, upper=False))

    def sf(self, t: ArrayLike) -> Array:
        """Return P(X > t), summed from the upper tail."""
        return self._at_points(t, lambda column, z, _: column.tail(z, upper=True))

    def ppf(self, q: ArrayLike) -> Array:
        """Return the quantile of q, the inverse of `cdf`; NaN for q outside [0, 1]."""
        return self._quantile(q, upper=False)

    def isf(self, q: ArrayLike) -> Array:
        """Return the point with mass q above it, the inverse of `sf`."""
        return self._quantile(q, upper=True)

    def rvs(
        self,
        size: int = 1,
        random_state: np.random.Generator | int | None = None,
    ) -> Array:
        """Draw `size` values of every column, by inversion; (size, d), or (size,) for one."""
        size = whole_number(size, "size")
        generator = np.random.default_rng(random_state)
        uniform = generator.random(size if self.single else (size, len(self)))
        return self.ppf(uniform)

    # Numbers of a density

    def entropy(self) -> Array | float:
        """Return the differential entropy -E log p in nats.

        It is log Z - sum_i lambda_i E_p h_i + log scale.
        """
        solution = self.solution
        value = solution.log_normaliser - (solution.coefficients * solution.moments).sum(axis=0)
        with np.errstate(divide="ignore"):
            return self._per_column(value + np.log(self.scale))

    def mean(self) -> Array | float:
        """Return E_p x."""
        return self._per_column(self.loc + self.scale * self.solution.moments[0])

    def var(self) -> Array | float:
        """Return E_p (x - E_p x)^2."""
        with np.errstate(over="ignore"):
            return self._per_column(np.square(np.atleast_1d(self.std())))

    def std(self) -> Array | float:
        """Return the square root of `var`."""
        first, second = self.solution.moments[:2]
        return self._per_column(self.scale * np.sqrt(1 + math.sqrt(2) * second - first**2))

    def mass_outside(self) -> Array | float:
        """Return the mass that lies outside the range of the data; NaN if only moments were given.

        Heavy tails with an even order let the density rise at the ends of its support: legitimate,
        but a shape that the data do not show.
        """
        out = np.full(len(self), np.nan)
        for j, column in self._columns():
            below = np.minimum(column.panels, self.solution.data_lower[j])
            above = np.maximum(column.panels, self.solution.data_upper[j])
            left = np.concatenate([below[:-1], above[:-1]])
            right = np.concatenate([below[1:], above[1:]])
            out[j] = column.integral(left, right).sum()
        return self._per_column(out)

    # How the above reaches the columns

    @cached_property
    def _ready(self) -> list[_Column | None]:
        solution = self.solution
        return [
            _Column(solution.coefficients[:, j], float(solution.log_normaliser[j]), edges)
            if len(edges)
            else None
            for j, edges in enumerate(solution.edges)
        ]

    def _columns(self) -> Iterator[tuple[int, _Column]]:
        """Iterate over the columns that have a density."""
        return ((j, column) for j, column in enumerate(self._ready) if column is not None)

    def _spread(self, t: ArrayLike) -> tuple[Array, tuple[int, ...]]:
        """Return the points as (m, d), and the shape of the result."""
        points = to_numpy(t, "t").astype(np.float64)
        if self.single:
            return points.reshape(-1, 1), points.shape
        if points.ndim < 2:
            wide = np.broadcast_to(points[..., None], (*points.shape, len(self)))
            return wide.reshape(points.size, len(self)), wide.shape
        if points.ndim != 2 or points.shape[1] != len(self):
            raise InputError(
                f"t must have shape (m,) or (m, {len(self)}) for {len(self)} columns, "
                f"got {points.shape}"
            )
        return points, points.shape

    def _at_points(self, t: ArrayLike, one: Callable[[_Column, Array, float], Array]) -> Array:
        points, shape = self._spread(t)
        out = np.full(points.shape, np.nan)
        lower, upper = (np.atleast_1d(end) for end in self.support())
        for j, column in self._columns():
            with np.errstate(over="ignore", under="ignore"):
                z = (points[:, j] - self.loc[j]) / self.scale[j]
                # Rounding must not move a point of the support, as `support` gives it, outside.
                inside = (points[:, j] >= lower[j]) & (points[:, j] <= upper[j])
                z = np.where(inside, np.clip(z, column.panels[0], column.panels[-1]), z)
                out[:, j] = one(column, z, float(self.scale[j]))
        return out.reshape(shape)[()]

    def _quantile(self, q: ArrayLike, *, upper: bool) -> Array:
        points, shape = self._spread(q)
        out = np.full(points.shape, np.nan)
        for j, column in self._columns():
            out[:, j] = self.loc[j] + self.scale[j] * column.quantile(points[:, j], upper)
        return out.reshape(shape)[()]
