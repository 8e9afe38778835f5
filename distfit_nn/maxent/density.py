"""The fitted density, with the methods of a SciPy distribution, for d columns at once."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn._checks import to_numpy, whole_number
from distfit_nn.errors import InputError
from distfit_nn.maxent import archive, divergence, integrals, points
from distfit_nn.maxent.columns import Columns, is_number
from distfit_nn.maxent.modes import REACHED, modes_of
from distfit_nn.maxent.tables import Tables, TableSource

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
Seed = np.random.Generator | int | None

MOST_POWER = 200  # of a raw moment


@dataclass(frozen=True, eq=False, repr=False)
class Density(Columns):
    """Maximum-entropy densities of d columns, as `fit` and `fit_moments` return them.

    With z = (x - loc) / scale, column j is

        p_j(x) = exp(sum_i lambda_ij h_i(z) - log Z_j) / scale_j   on its support, 0 elsewhere,

    where h_i = He_i / sqrt(i!), i = 1..order. Every method works on all columns: points t of shape
    (m,) give (m, d), points of shape (m, d) are taken column by column. A density fitted to one
    column of shape (n,), and `density[j]`, keep the shape of t and have scalars for attributes.
    Columns that are DEGENERATE or INVALID give NaN, and so does a t that is NaN.

    Masses and expectations come from a table of each column, made when it is first needed: panels
    on which a 12-node Gauss rule is exact to 1e-14 relative to the panel's own mass, so that each
    tail keeps all its digits. The table's mass replaces the solver's log Z, so that cdf ends at 1:
    log Z is good to 1e-13 for most columns, but not beside a narrow spike, where it is huge. A
    mass below 1e-40 is integrated on its own, however small it is.

    ppf(cdf(t)) returns t as far as cdf(t), a float64, can tell it: to 1e-10 where the pdf is above
    1e-12 left of the median, and isf(sf(t)) so right of it; across it, to eps / pdf(t).

    Attributes
    ----------
    solution : Solution
        The dual optimum in standardised coordinates, with the numbers that tell its quality.
    loc, scale : (d,)
        Mean and standard deviation (divisor n) of the data.
    single : bool
        Whether this stands for one column of shape (n,).
    """

    # Values at points

    def logpdf(self, t: ArrayLike) -> Array:
        """Return log p(t), -inf outside the support."""
        return self._at("logpdf", t)

    def pdf(self, t: ArrayLike) -> Array:
        """Return p(t), 0 outside the support."""
        return self._at("pdf", t)

    def cdf(self, t: ArrayLike) -> Array:
        """Return P(X <= t); left of the median it is summed from the lower tail."""
        return self._at("cdf", t)

    def sf(self, t: ArrayLike) -> Array:
        """Return P(X > t); right of the median it is summed from the upper tail."""
        return self._at("sf", t)

    def logcdf(self, t: ArrayLike) -> Array:
        """Return log P(X <= t), finite however deep t lies within the support."""
        return self._at("logcdf", t)

    def logsf(self, t: ArrayLike) -> Array:
        """Return log P(X > t), finite however deep t lies within the support."""
        return self._at("logsf", t)

    def ppf(self, q: ArrayLike) -> Array:
        """Return the quantile of q, the inverse of `cdf`; NaN for q outside [0, 1]."""
        return self._quantile(q, upper=False)

    def isf(self, q: ArrayLike) -> Array:
        """Return the point with mass q above it, the inverse of `sf`."""
        return self._quantile(q, upper=True)

    def median(self) -> Array | float:
        """Return the quantile of 1/2."""
        return self.ppf(0.5)

    def interval(self, confidence: ArrayLike) -> tuple[Array, Array]:
        """Return the ends of the interval with mass `confidence` and equal tails."""
        share = to_numpy(confidence, "confidence")
        if not ((share >= 0) & (share <= 1)).all():
            raise InputError(f"confidence must lie in [0, 1], got {reprlib.repr(confidence)}")
        tail = (1 - share) / 2
        return self.ppf(tail), self.isf(tail)

    def rvs(self, size: int | tuple[int, ...] = 1, random_state: Seed = None) -> Array:
        """Draw values of every column by inversion.

        Parameters
        ----------
        size : int or tuple of int
            How many of each column: the result has shape (size, d), or (size,) for one column.
        random_state : numpy Generator or int, optional
            Where the random numbers come from, or a seed; fresh ones by default.
        """
        sizes = size if isinstance(size, tuple) else (size,)
        shape = tuple(whole_number(n, "size") for n in sizes)
        try:
            generator = np.random.default_rng(random_state)
        except (TypeError, ValueError) as error:
            raise InputError(f"random_state must be a Generator or a seed: {error}") from None
        uniform = generator.random(shape if self.single else (*shape, len(self)))
        return self.ppf(uniform.reshape(-1, len(self))).reshape(uniform.shape)

    # Numbers of a density

    def entropy(self) -> Array | float:
        """Return the differential entropy -E log p in nats."""
        with np.errstate(divide="ignore"):
            return self._per_column(self._shape[4] + np.log(self.scale))

    def mean(self) -> Array | float:
        """Return E x."""
        return self._per_column(self.loc + self.scale * self._shape[0])

    def var(self) -> Array | float:
        """Return E (x - E x)^2."""
        with np.errstate(over="ignore", under="ignore"):
            return self._per_column(np.square(self.scale * np.sqrt(self._shape[1])))

    def std(self) -> Array | float:
        """Return the square root of `var`."""
        return self._per_column(self.scale * np.sqrt(self._shape[1]))

    def skewness(self) -> Array | float:
        """Return E (x - E x)^3 / std^3."""
        return self._per_column(self._shape[2] / self._shape[1] ** 1.5)

    def kurtosis(self) -> Array | float:
        """Return the excess kurtosis E (x - E x)^4 / var^2 - 3: 0 for a normal law."""
        return self._per_column(self._shape[3] / self._shape[1] ** 2 - 3)

    def moment(self, order: int) -> Array | float:
        """Return the raw moment E x^order, a whole number from 0 to 200."""
        order = whole_number(order, "order")
        if order > MOST_POWER:
            raise InputError(f"order must be at most {MOST_POWER}, got {order}")
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            unit = np.maximum(np.abs(self.loc), self.scale)
            slope, intercept = self.scale / unit, self.loc / unit
            out = self._by_tables(
                lambda tables: integrals.power_mean(
                    tables, slope[tables.columns], intercept[tables.columns], order
                )
            )
            return self._per_column(out * unit**order)

    def stats(self, moments: str = "mv") -> tuple[Array | float, ...]:
        """Return mean ("m"), variance ("v"), skewness ("s"), kurtosis ("k"), as named."""
        known = {"m": self.mean, "v": self.var, "s": self.skewness, "k": self.kurtosis}
        if not isinstance(moments, str) or not moments or set(moments) - set(known):
            raise InputError(f"moments must be letters of 'mvsk', got {moments!r}")
        return tuple(known[letter]() for letter in moments)

    def expect(self, func: Callable[[Array], ArrayLike]) -> Array | float:
        """Return E f(x) for a function of an array of points.

        The panels are halved where that changes the integral: kinks and jumps do no harm.
        """
        if not callable(func):
            raise InputError(f"func must be a function of an array of points, got {func!r}")
        out = np.full(len(self), np.nan)
        for j, tables in self._each():
            out[j] = integrals.expectation(tables, self._in_z(j, func))
        return self._per_column(out)

    def mass_outside(self) -> Array | float:
        """Return the mass that lies outside the range of the data; NaN if only moments were given.

        Heavy tails with an even order let the density rise at the ends of its support: legitimate,
        but a shape that the data do not show.
        """
        solution = self.solution
        ends = solution.lower, solution.upper
        place = np.stack([np.zeros(len(self)), np.ones(len(self)), *ends], axis=1)
        below = points.evaluate("cdf", self._tables, place, solution.data_lower[None].copy())
        above = points.evaluate("sf", self._tables, place, solution.data_upper[None].copy())
        return self._per_column((below + above)[0])

    def modes(self) -> NDArray[np.void] | list[NDArray[np.void]]:
        """Return the modes of each column: one structured array, from left to right.

        A mode is a maximum within the support. A rise at an end of the support is none, for the
        data do not show it, unless they reach that end (support="data"): then `at_boundary` is set.
        What rises by less than 1e-9 of its height is rounding and left out.

        Returns
        -------
        structured array, or a list of d of them, with the fields
            position, height : where it is, and the pdf there;
            prominence : height above the higher of the lowest points on either side, up to higher
            ground or the end of the support;
            width : of the peak at half its prominence;
            valley, valley_height : lowest point before the next mode; NaN for the last one;
            at_boundary : whether it lies at an end of the support.
        """
        solution = self.solution
        near = REACHED * (solution.upper - solution.lower)
        low = solution.data_lower <= solution.lower + near
        high = solution.data_upper >= solution.upper - near
        out: list[NDArray[np.void]] = []
        for tables in self._tables:
            here = tables.columns
            place = self.loc[here], self.scale[here]
            out += modes_of(tables, place, (low[here], high[here]))
        return out[0] if self.single else out

    def kl_divergence(self, other: Any) -> Array | float:
        """Return KL(p || q) = E_p [log p - log q] in nats, q the density of `other`.

        Parameters
        ----------
        other : Density or frozen SciPy distribution
            A density of d columns, or of one for all; or anything with `logpdf` and `support`.

        Returns
        -------
        (d,), or a float where both are of one column
            Exact to about 1e-12; inf where the support of q does not hold that of p.
        """
        q = divergence.targets(other)
        columns = max(len(self), len(q))
        if not {len(self), len(q)} <= {1, columns}:
            raise InputError(f"other must have {len(self)} columns, or one, got {len(q)}")
        out = np.full(columns, np.nan)
        place = self._place()
        for j, tables in self._each():
            loc, scale, lower, upper = place[j].tolist()
            for i in range(columns) if len(self) == 1 else (j,):
                target = q[i if len(q) > 1 else 0]
                out[i] = divergence.kl_divergence(tables, loc, scale, (lower, upper), target)
        return float(out[0]) if self.single and getattr(other, "single", True) else out

    # To other tools

    def to_scipy(self, j: int | None = None) -> Any:
        """Return column j as a frozen SciPy distribution; j may be left out for one column."""
        from distfit_nn.maxent.scipy_face import MaxEntDistribution

        if (j is None and len(self) != 1) or not (j is None or is_number(j)):
            raise InputError(
                f"to_scipy needs the number of one of the {len(self)} columns, "
                f"got {reprlib.repr(j)}"
            )
        if self.single and j not in (None, 0, -1):
            raise IndexError(f"column {j} of 1")
        column = self if self.single else self[0 if j is None else int(j)]
        if not np.isfinite(column.median()):
            raise InputError("this column has no density: see its status")
        return MaxEntDistribution(column).freeze()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the densities to a file, whole or not at all; `load` reads it. Return the path.

        Raises
        ------
        FileError
            The file cannot be written.
        InputError
            `path` is no path.
        """
        return archive.save(path, self.solution, self.loc, self.scale, self.single)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the densities that `save` wrote; nothing is unpickled.

        Raises
        ------
        FileError
            There is no such file, it is damaged, or it is something else.
        """
        return cls(*archive.load(path))

    def plot(self, ax: Axes | None = None, **line: Any) -> Axes:
        """Draw the pdf of each column into `ax`, the current axes by default; return the axes.

        All but a mass of 1e-4 on either side is shown. `line` goes to matplotlib's `plot`.
        """
        from distfit_nn.maxent import figure

        return figure.plot(self, ax, **line)

    # How the above reaches the columns

    @cached_property
    def _tables(self) -> TableSource:
        return TableSource(self.solution)

    @cached_property
    def _shape(self) -> Array:
        """Mean, central moments 2, 3, 4 and entropy of z, (5, d)."""
        return self._by_tables(integrals.shape)

    def _by_tables(self, numbers: Callable[[Tables], Array]) -> Array:
        """Return numbers of all columns, (..., d), from those of some after the other."""
        return np.concatenate([numbers(tables) for tables in self._tables], axis=-1)

    def _each(self) -> Iterator[tuple[int, Tables]]:
        """Iterate over the columns, each with its own tables."""
        for tables in self._tables:
            for j in range(len(tables.series)):
                yield tables.first + j, tables.column(j)

    def _in_z(self, j: int, func: Callable[[Array], ArrayLike]) -> integrals.Function:
        """Return a function of x as one of z and log p."""

        def in_z(z: Array, _: Array) -> Array:
            values = np.asarray(func(self.loc[j] + self.scale[j] * z))
            if values.shape not in ((), z.shape) or values.dtype.kind not in "fiub":
                raise InputError(
                    "func must return a real number for each point, "
                    f"got {values.dtype} of shape {values.shape} for {z.shape} points"
                )
            return values

        return in_z

    def _place(self) -> Array:
        lower, upper = self.support()
        columns = np.broadcast_arrays(self.loc, self.scale, lower, upper)
        return np.stack(columns, axis=1).astype(np.float64)

    def _at(self, kind: str, t: ArrayLike) -> Array:
        given, shape = points.spread(t, len(self), self.single)
        return points.evaluate(kind, self._tables, self._place(), given).reshape(shape)[()]

    def _quantile(self, q: ArrayLike, *, upper: bool) -> Array:
        given, shape = points.spread(q, len(self), self.single, "q")
        return points.quantiles(upper, self._tables, self._place(), given).reshape(shape)[()]
