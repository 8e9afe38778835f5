"""Optimal transport in one dimension, y = F2^{-1}(F1(x)), from fitted densities to a target."""

from __future__ import annotations

import reprlib
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn._checks import as_columns, one_of, to_numpy
from distfit_nn.errors import InputError
from distfit_nn.maxent import fit as fit_densities
from distfit_nn.maxent.density import Density
from distfit_nn.maxent.points import spread
from distfit_nn.maxent.problem import Support
from distfit_nn.maxent.solution import Status
from distfit_nn.targets.arrays import Fitted, Marginal, as_marginal, as_target
from distfit_nn.transforms.knots import CONSTANT, END_SHARE, OUTSIDE, TAILS, WITHIN, Knots

Array = NDArray[np.float64]

LARGEST = float(np.finfo(float).max)


class QuantileMap:
    """The increasing map that carries one distribution to another, column by column.

    With F1 the source's and F2 the target's distribution function, column j of x goes to

        y_j = F2^{-1}(F1_j(x_j)),   with derivative   p1_j(x_j) / p2(y_j).

    Among all maps that carry the one distribution to the other it moves the mass by the least
    squared distance: it is the optimal transport in one dimension. Above the median of the source
    1 - F1 takes the place of F1, so that both tails keep their digits.

    Parameters
    ----------
    source : Density or distribution
        Densities that `maxent.fit` returned; or any object with `cdf` and `ppf` that take arrays,
        for instance a frozen SciPy distribution. Parameters of shape (d,) make d columns.
    target : "normal", "uniform", Density or distribution
        N(0, 1); the uniform distribution on [0, 1]; densities, one for all columns or one each; any
        object with `cdf` and `ppf`. Where it has `sf` and `isf`, they serve the upper tail (without
        them the formula ends at 1 - 1e-12); `logpdf` or `pdf`, the derivative.
    within : {"support", "data"}
        Where the formula is used: in the whole support, or in the range of the data that the source
        was fitted to. Between the two the density is a guess of what nobody saw, and its map steep:
        like x^(order/2) where the density decays. A source without data knows its support only.
    outside : {"extrapolate", "clip", "exact"}
        What happens to x beyond. "extrapolate" goes on with the mean slope from the median to the
        last point of the formula: increasing, finite, with an inverse; "clip" treats x as that last
        point; "exact" uses the formula everywhere, whatever `within` says, so that points outside
        the support become the ends of the target, infinite ones for "normal". The first two leave
        the formula at the latest a millionth of the way to the median before an end of the support,
        and where a tail holds 1e-300 of the mass. A target that ends is not left: what lies beyond
        maps to its end.
    loc, scale : (d,), optional
        Mean and standard deviation of the columns whose density is not OK. Such a column counts as
        N(loc, scale^2): for the target "normal" its map is affine. By default those of the density,
        and a scale of 1 where that is 0, so that a constant c goes to the target's median and x to
        x - c if the target is "normal". A mean of NaN (an INVALID column) gives NaN.

    Attributes
    ----------
    source, target, within, outside
        As given.
    columns : int
        Number of columns, d.

    Raises
    ------
    InputError
        A source or target without `cdf` and `ppf`, or without finite quantiles; a target that is
        neither one distribution nor one for each column, or has columns without a density.

    References
    ----------
    F. Santambrogio, Optimal Transport for Applied Mathematicians, Birkhäuser 2015, chapter 2.

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn import maxent
    >>> from distfit_nn.transforms import QuantileMap
    >>> x = np.random.default_rng(0).exponential(size=(1000, 2))
    >>> to_normal = QuantileMap(maxent.fit(x))
    >>> y = to_normal.forward(x)
    >>> bool(np.abs(y.mean(axis=0)).max() < 0.05)
    True
    >>> bool(np.allclose(to_normal.inverse(y), x))
    True
    """

    def __init__(
        self,
        source: Any,
        target: Any = "normal",
        *,
        within: str = "support",
        outside: str = "extrapolate",
        loc: ArrayLike | None = None,
        scale: ArrayLike | None = None,
    ) -> None:
        self.source, self.target = source, target
        self.within = one_of(within, WITHIN, "within")
        self.outside = one_of(outside, OUTSIDE, "outside")
        if isinstance(source, Density):
            self._single, self.columns = source.single, len(source)
            self._source: Marginal = _fitted(source, loc, scale)
        else:
            self._source = as_marginal(source, "source")
            shape = np.shape(self._source.quantile(np.asarray(0.5), np.asarray(False)))
            if len(shape) > 1:
                raise InputError(f"source must be of shape () or (d,), got {shape}")
            self._single, self.columns = shape == (), int(np.prod(shape))
        self._target = as_target(target)
        self._knots = self._find_knots()

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        order: int = 6,
        support: Support = 3.0,
        target: Any = "normal",
        *,
        weights: ArrayLike | None = None,
        within: str = "support",
        outside: str = "extrapolate",
        backend: str = "auto",
        nan_policy: str = "propagate",
    ) -> QuantileMap:
        """Fit densities to the columns of x, and return their map to the target.

        Parameters
        ----------
        x : (n,) or (n, d)
            Samples.
        order, support, weights, backend, nan_policy
            As for `maxent.fit`.
        target, within, outside
            As for `QuantileMap`; columns that are not OK take mean and standard deviation from x.

        Returns
        -------
        QuantileMap
            Its `source` is the fitted density, with the status of each column.
        """
        columns, single = as_columns(x)
        density = fit_densities(
            columns[:, 0] if single else columns,
            order,
            support,
            weights=weights,
            backend=backend,
            nan_policy=nan_policy,
        )
        loc, scale = density.loc.copy(), density.scale.copy()
        shares = np.ones(columns.shape[:1]) if weights is None else to_numpy(weights, "weights")
        for j in np.flatnonzero(density.solution.status != Status.OK):
            share = shares if shares.ndim == 1 else shares[:, j]
            loc[j], scale[j] = _mean_and_std(columns[:, j].astype(float), share, float(loc[j]))
        return cls(density, target, within=within, outside=outside, loc=loc, scale=scale)

    def __repr__(self) -> str:
        return (
            f"QuantileMap({self.source!r}, {self.target!r}, "
            f"within={self.within!r}, outside={self.outside!r})"
        )

    def forward(self, x: ArrayLike) -> Array:
        """Return F2^{-1}(F1(x)): x (m, d) column by column, (m,) to (m, d); NaN stays NaN.

        For one column of shape (n,), x has any shape and keeps it.
        """
        points, shape = self._points(x, "x")
        out = _carry(points, self._source, self._target, self._knots)
        return self._within_target(out).reshape(shape)[()]

    def inverse(self, y: ArrayLike) -> Array:
        """Return F1^{-1}(F2(y)), the inverse of `forward`; shapes as there.

        Points beyond the ends of the target count as these ends.
        """
        points, shape = self._points(y, "y")
        points = self._within_target(points)
        out = _carry(points, self._target, self._source, self._knots.reversed())
        return out.reshape(shape)[()]

    def log_derivative(self, x: ArrayLike) -> Array:
        """Return the logarithm of the derivative of `forward`, log p1(x) - log p2(y).

        Shapes as there. It is -inf where the map is flat. Raises `InputError` if the source or the
        target has neither `logpdf` nor `pdf`.
        """
        for name, law in (("source", self._source), ("target", self._target)):
            if not law.has_logpdf:
                raise InputError(f"{name} must have logpdf or pdf for a derivative of the map")
        points, shape = self._points(x, "x")
        y = _carry(points, self._source, self._target, self._knots)
        above, below = points > self._knots.at[1], points < self._knots.at[0]
        with np.errstate(all="ignore"):
            own = self._source.logpdf(points)
            out = np.where(own == -np.inf, own, own - self._target.logpdf(y))
            lower, upper = np.log(self._knots.slope)
        out = np.where(above, upper, np.where(below, lower, out))
        lower, upper = self._target.ends()
        flat = (above & np.isfinite(upper) & (y >= upper)) | (
            below & np.isfinite(lower) & (y <= lower)
        )
        out = np.where(flat, -np.inf, out)
        return np.where(np.isnan(points), np.nan, out).reshape(shape)[()]

    def _find_knots(self) -> Knots[Array]:
        middle, goal = self._point(self._source, 0.5), self._point(self._target, 0.5)
        tail = self._tail()
        if self.outside == "exact":
            limits = np.array([[-np.inf], [np.inf]]) * np.ones(self.columns)
            return Knots(limits, limits, np.zeros_like(limits), middle, goal)
        lower, upper = (self._end(tail, middle, side) for side in (False, True))
        at, to = np.stack([lower[0], upper[0]]), np.stack([lower[1], upper[1]])
        slope = np.zeros_like(at)
        if self.outside == "extrapolate":
            # Between median and knot; that at the knot, next to an end, would grow without bound.
            with np.errstate(all="ignore"):
                slope = (to - goal) / (at - middle)
            slope = np.where(np.isfinite(slope) & (slope > 0), slope, 1.0)
        return Knots(at, to, slope, middle, goal)

    def _tail(self) -> float:
        """Return the smallest of `TAILS` at which all quantiles are finite.

        Those of a fitted density are, but for INVALID columns.
        """
        tails = TAILS
        laws = {"target": self._target, "source": self._source}
        if isinstance(self._source, Fitted):
            del laws["source"]
        for name, law in laws.items():
            tails = tuple(tail for tail in tails if self._finite(law, tail))
            if not tails:
                raise InputError(
                    f"{name} must have finite quantiles, got {reprlib.repr(getattr(self, name))}"
                )
        return tails[0]

    def _finite(self, law: Marginal, tail: float) -> bool:
        return all(np.isfinite(self._point(law, tail, upper)).all() for upper in (False, True))

    def _end(self, tail: float, middle: Array, upper: bool) -> tuple[Array, Array]:
        """Return the last point at which the formula is used, and where it maps."""
        end = np.broadcast_to(self._source.ends()[upper], self.columns)
        bounded = np.isfinite(end)
        # Where the millionth is lost to rounding, one step of float64 off the end takes its place.
        short = end - END_SHARE * (np.where(bounded, end, middle) - middle)
        nearest = np.where(bounded, np.nextafter(end, middle), end)
        limits = [self._point(self._source, tail, upper), short, nearest]
        if self.within == "data":
            limits.append(np.broadcast_to(self._source.seen()[upper], self.columns))
        at = np.min(limits, axis=0) if upper else np.max(limits, axis=0)
        at = np.clip(at, -LARGEST, LARGEST)
        side = np.full((1, self.columns), upper)
        mass = np.maximum(self._source.mass(at[None], side), tail)
        return at, np.asarray(self._target.quantile(mass, side))[0]

    # Shapes

    def _points(self, values: ArrayLike, name: str) -> tuple[Array, tuple[int, ...]]:
        """Return the points as (m, d), and the shape of the result."""
        points, shape = spread(values, self.columns, self._single, name)
        return np.broadcast_to(points, (len(points), self.columns)), shape

    def _point(self, law: Marginal, q: float, upper: bool = False) -> Array:
        """Return one quantile of each column."""
        try:
            return np.broadcast_to(law.point(q, upper, self.columns), self.columns)
        except ValueError as error:
            raise InputError(
                f"target must be one distribution, or {self.columns} for as many columns: {error}"
            ) from None

    def _within_target(self, y: Array) -> Array:
        """Return y moved to the end of the target where it lies beyond."""
        lower, upper = self._target.ends()
        return np.clip(y, lower, upper)


def quantile_match(x: Any, order: int = 6, target: Any = "normal", support: Support = 3.0) -> Any:
    """Fit a density to each column and carry it to the target: F2^{-1}(F1(x)).

    Parameters
    ----------
    x : (n,) or (n, d), array-like or torch tensor
        Samples.
    order, support
        As for `maxent.fit`.
    target
        As for `QuantileMap`.

    Returns
    -------
    ndarray of float64, or torch tensor, of the shape of x
        A column whose density is not OK is taken as normal with its mean and standard deviation:
        for the target "normal" it is standardised, a constant becomes 0. A column with NaN or inf
        becomes NaN. For a tensor, on its device, with the gradient that the implicit function
        theorem gives: see `distfit_nn.transforms.torch_transport`.

    See Also
    --------
    QuantileMap, MaxEntTransformer : the map itself; a scikit-learn estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.transforms import quantile_match
    >>> x = np.random.default_rng(0).gamma(2.0, size=1000)
    >>> scores = quantile_match(x)
    >>> abs(round(float(scores.mean()), 1)), round(float(scores.std()), 1)
    (0.0, 1.0)
    """
    torch = sys.modules.get("torch")  # a tensor can only come from a torch that is loaded
    if torch is not None and isinstance(x, torch.Tensor):
        from distfit_nn.transforms.torch_transport import transport

        return transport(x, order=order, support=support, target=target)
    return QuantileMap.fit(x, order, support, target).forward(x)


def _carry(points: Array, start: Marginal, goal: Marginal, knots: Knots[Array]) -> Array:
    """Return goal^{-1}(start(points)) between the knots, and the lines beyond them."""
    inner = np.clip(points, *knots.at)
    upper = inner > knots.middle_at
    out = np.clip(goal.quantile(start.mass(inner, upper), upper), *knots.to)
    above, below = points >= knots.at[1], points <= knots.at[0]
    for side, beyond in enumerate((below, above)):
        beyond &= knots.slope[side] > 0  # with a slope of 0 the map is flat
        if beyond.any():
            with np.errstate(over="ignore", invalid="ignore"):
                line = knots.to[side] + (points - knots.at[side]) * knots.slope[side]
            out = np.where(beyond, line, out)
    return out


def _fitted(density: Density, loc: ArrayLike | None, scale: ArrayLike | None) -> Fitted:
    """Return the densities with a normal distribution in place of each that is not OK."""
    means = density.loc if loc is None else to_numpy(loc, "loc").astype(np.float64)
    stds = density.scale if scale is None else to_numpy(scale, "scale").astype(np.float64)
    for name, values in (("loc", means), ("scale", stds)):
        if values.shape != (len(density),):
            raise InputError(f"{name} must have shape ({len(density)},), got {values.shape}")
    return Fitted(density, means, np.where(stds > 0, stds, 1.0))


def _mean_and_std(column: Array, weights: Array, loc: float) -> tuple[float, float]:
    """Return mean and standard deviation of the finite values; 0 for the spread of a constant."""
    kept = np.isfinite(column) & (weights > 0)
    if np.isnan(loc) or not kept.any():
        return np.nan, 1.0
    values, share = column[kept], weights[kept] / weights[kept].sum()
    low, high = values.min(), values.max()
    size = max(abs(low), abs(high))
    if high / 2 - low / 2 <= CONSTANT * size:
        return float(low / 2 + high / 2), 0.0
    unit = float(np.ldexp(1.0, int(np.frexp(size)[1]) - 1))  # keeps squares within range, exactly
    values = values / unit
    mean = share @ values
    return float(mean * unit), float(np.sqrt(share @ (values - mean) ** 2) * unit)
