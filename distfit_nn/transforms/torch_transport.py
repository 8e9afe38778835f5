"""Optimal transport in one dimension on tensors, y = F2^{-1}(F1(x)), with a gradient.

F1 is the fitted density of the data, F2 the target. Above the median of the source the survival
functions take the place of F1 and F2, so that both tails keep their digits. The fit is
differentiated at its optimum (`maxent.tensors.implicit`), the target by

    d y = (d F1 - d_theta F2(y)) / p2(y),

theta its parameters: neither an iteration nor a quadrature is recorded.
"""

from __future__ import annotations

import math
import reprlib
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from distfit_nn._checks import one_of
from distfit_nn.errors import InputError
from distfit_nn.maxent.solution import Status
from distfit_nn.maxent.tensors import fit as torch_fit
from distfit_nn.maxent.tensors.checks import on_device
from distfit_nn.maxent.tensors.density import TensorDensity
from distfit_nn.targets.tensors import Normal, Target, as_target
from distfit_nn.transforms.knots import CONSTANT, END_SHARE, OUTSIDE, TAILS, WITHIN, Knots

NORMAL = Normal()


class TensorTransport:
    """The increasing map that carries fitted densities to a target, column by column, on tensors.

    With F1 the source's and F2 the target's distribution function, column j of x goes to
    y_j = F2^{-1}(F1_j(x_j)), with the derivative p1_j(x_j) / p2(y_j). It is `QuantileMap` for
    tensors, and can be differentiated once: in x, in what the source was fitted to, and in the
    parameters of the target.

    Parameters
    ----------
    source : TensorDensity
        What `maxent.fit` returns for a tensor.
    target
        "normal", "uniform" (on [0, 1]), a `torch.distributions.Distribution` with `cdf`, `icdf` and
        `log_prob` (batch shape () or (d,)), another `TensorDensity`, or any object with `cdf` and
        `ppf` that take NumPy arrays, for instance a frozen SciPy distribution.
    within, outside
        What happens to x beyond the data or the support: see `QuantileMap`.
    loc, scale : (d,), optional
        Mean and standard deviation of the columns whose density is not OK. Such a column counts as
        N(loc, scale^2): for the target "normal" its map is affine. By default those of the density,
        and a scale of 1 where that is 0.

    Raises
    ------
    InputError
        A target without `cdf` and a quantile function, or with columns that have no density.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.maxent.tensors.fit import fit
    >>> from distfit_nn.transforms.torch_transport import TensorTransport
    >>> x = torch.linspace(0.5, 9.5, 100).log()
    >>> to_normal = TensorTransport(fit(x, order=4))
    >>> y = to_normal.forward(x)
    >>> bool(y.mean().abs() < 0.05), bool((to_normal.inverse(y) - x).abs().max() < 1e-5)
    (True, True)
    """

    def __init__(
        self,
        source: TensorDensity,
        target: Any = "normal",
        *,
        within: str = "support",
        outside: str = "extrapolate",
        loc: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> None:
        if not isinstance(source, TensorDensity):
            raise InputError(f"source must be a TensorDensity, got {reprlib.repr(source)}")
        self.source, self.target = source, target
        self.within = one_of(within, WITHIN, "within")
        self.outside = one_of(outside, OUTSIDE, "outside")
        self._target: Target = as_target(target, self.columns, source.device)
        self._ok = source.solution.status == Status.OK
        means = source.loc if loc is None else self._constants(loc, "loc")
        stds = source.scale if scale is None else self._constants(scale, "scale")
        # An OK column is moved to z by its own constants, another by its mean and deviation.
        self._loc = torch.where(self._ok, source.loc, means)
        self._scale = torch.where(self._ok, source.scale, torch.where(stds > 0, stds, 1.0))

    @property
    def columns(self) -> int:
        """Number of columns, d."""
        return len(self.source)

    def forward(self, x: Tensor) -> Tensor:
        """Return F2^{-1}(F1(x)): x (m, d) column by column, (m,) to (m, d); NaN stays NaN.

        For one column of shape (n,), x has any shape and keeps it.
        """
        points, shape = self._points(x, "x")
        z = (points - self._loc) / self._scale
        return self._forward(z).reshape(shape).to(self.source.dtype_for(x))

    __call__ = forward

    def inverse(self, y: Tensor) -> Tensor:
        """Return F1^{-1}(F2(y)), the inverse of `forward`; shapes as there.

        Points beyond the ends of the target count as these ends.
        """
        points, shape = self._points(y, "y")
        lower, upper = self._target.ends()
        z = self._inverse(
            torch.where(points < lower, lower, torch.where(points > upper, upper, points))
        )
        return (self._loc + self._scale * z).reshape(shape).to(self.source.dtype_for(y))

    def log_derivative(self, x: Tensor) -> Tensor:
        """Return the logarithm of the derivative of `forward`, log p1(x) - log p2(y).

        Shapes as there; beyond the knots that of the slope, -inf where the map is flat.
        """
        points, shape = self._points(x, "x")
        z = (points - self._loc) / self._scale
        known = torch.where(z.isnan(), 0.0, z)
        out = self._log_density(known) - self._target.logpdf(self._forward(known))
        if self.outside != "exact":
            below, above = self._beyond(known, self._limits.at)
            slope = self._limits.slope.log()
            out = torch.where(below, slope[0], torch.where(above, slope[1], out))
        out = torch.where(z.isnan(), z, out) - self._scale.log()
        return out.reshape(shape).to(self.source.dtype_for(x))

    # The formula, in z, of shape (m, d)

    def _tail(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mass of a tail that ends at z, and whether it is that above z."""
        mass, above = (part.T for part in self.source.tail(z.T))
        other, right = NORMAL.mass(z)
        return torch.where(self._ok, mass, other), torch.where(self._ok, above, right)

    def _quantile(self, mass: Tensor, above: Tensor) -> Tensor:
        """Return the point of the source with that tail."""
        own = self.source.quantile(mass.T, above.T).T
        return torch.where(self._ok, own, NORMAL.quantile(mass, above))

    def _log_density(self, z: Tensor) -> Tensor:
        """Return log p1 in z."""
        return torch.where(self._ok, self.source.log_density(z.T).T, NORMAL.logpdf(z))

    def _forward(self, z: Tensor) -> Tensor:
        known = torch.where(z.isnan(), 0.0, z)
        if self.outside == "exact":
            y = self._target.quantile(*self._tail(known))
        else:
            sides = self._beyond(known, self._limits.at)
            y = self._target.quantile(*self._tail(_held(known, sides, self._limits.at)))
            y = self._continued(known, y, sides, inverse=False)
            lower, upper = self._target.ends()
            y = torch.where(y < lower, lower, torch.where(y > upper, upper, y))
        return torch.where(z.isnan(), z, y)

    def _inverse(self, y: Tensor) -> Tensor:
        known = torch.where(y.isnan(), self._limits.middle_to, y)
        if self.outside == "exact":
            z = self._quantile(*self._target.mass(known))
        else:
            sides = self._beyond(known, self._limits.to)
            z = self._quantile(*self._target.mass(_held(known, sides, self._limits.to)))
            z = self._continued(known, z, sides, inverse=True)
        return torch.where(y.isnan(), y, z)

    # How the map goes on where the formula ends

    @staticmethod
    def _beyond(points: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        return points < limits[0], points > limits[1]

    def _continued(
        self, points: Tensor, out: Tensor, sides: tuple[Tensor, Tensor], *, inverse: bool
    ) -> Tensor:
        """Return `out` with the points beyond the knots on the lines there."""
        if not bool((sides[0] | sides[1]).any()):
            return out
        knots = self._knots()  # once more, with the graph
        if inverse:
            knots = knots.reversed()
        for side, beyond in enumerate(sides):
            line = knots.to[side] + knots.slope[side] * (points - knots.at[side])
            out = torch.where(beyond, line, out)
        return out

    @cached_property
    def _limits(self) -> Knots[Tensor]:
        with torch.no_grad():
            return self._knots()

    def _knots(self) -> Knots[Tensor]:
        """Return the ends of the formula: of the data, or short of the support's; (2, d) each."""
        tail = TAILS[0 if self._target.exact_upper else -1]
        q = self._loc.new_tensor([0.5, tail, tail])[:, None].expand(-1, self.columns)
        above = torch.tensor([False, False, True], device=q.device)[:, None].expand(q.shape)
        middle, *limits = self._quantile(q, above)
        targets = self._target.quantile(q, above)
        solution = self.source.solution
        ends = (solution.lower, solution.upper)
        data = (solution.data_lower, solution.data_upper)
        at = []
        for side, (limit, end, seen) in enumerate(zip(limits, ends, data, strict=True)):
            inner = torch.minimum if side else torch.maximum
            own = inner(limit, end - END_SHARE * (end - middle))
            if self.within == "data":
                own = torch.where(seen.isnan(), own, inner(own, seen))
            at.append(torch.where(self._ok, own, limit))
        place = torch.stack(at)
        mass, side_of = self._tail(place)
        to = self._target.quantile(mass, side_of)
        slope = (to - targets[0]) / (place - middle)
        good = slope.isfinite() & (slope > 0)
        slope = torch.where(good, slope, 1.0) if self.outside == "extrapolate" else 0 * place
        return Knots(place, to, slope, middle, targets[0])

    def _constants(self, values: Any, name: str) -> Tensor:
        """Return means or deviations, one of each column, as given."""
        constants = on_device(values, name, self.source.device).to(torch.float64)
        if constants.shape != (self.columns,):
            raise InputError(
                f"{name} must have shape ({self.columns},), got {tuple(constants.shape)}"
            )
        return constants

    def _points(self, values: Tensor, name: str) -> tuple[Tensor, torch.Size]:
        """Return the points as (m, d) of float64, and the shape of the result."""
        _tensor(values, name)
        points = on_device(values, name, self.source.device).to(torch.float64)
        if self.source.single:
            return points.reshape(-1, 1), points.shape
        if points.ndim < 2:
            shape = torch.Size([*points.shape, self.columns])
            return points.reshape(-1, 1).expand(-1, self.columns), shape
        if points.ndim != 2 or points.shape[1] != self.columns:
            raise InputError(
                f"{name} must have shape (m,) or (m, {self.columns}) for {self.columns} columns, "
                f"got {tuple(points.shape)}"
            )
        return points, points.shape


def _tensor(values: Any, name: str) -> None:
    """Raise unless that is a tensor."""
    if not isinstance(values, Tensor):
        raise InputError(f"{name} must be a tensor, got {reprlib.repr(values)}")


def _held(points: Tensor, sides: tuple[Tensor, Tensor], limits: Tensor) -> Tensor:
    """Return the points, and the limits in place of those beyond."""
    return torch.where(sides[0], limits[0], torch.where(sides[1], limits[1], points))


def transport(
    x: Tensor,
    order: int = 6,
    support: Any = 3.0,
    target: Any = "normal",
    weights: Any = None,
    *,
    backend: str = "auto",
) -> Tensor:
    """Fit a density to each column of x and carry the column to the target: F2^{-1}(F1(x)).

    The gradient in x has all its parts: x moves as a point, it moves the moments that the density
    is fitted to, and, where `support` is a factor, the ends of the support. With H = Cov_p(h),
    C(z) the integral of (h - mu) p up to z, g the incoming gradient, v_j = g_j / p2(y_j) and
    r = H^{-1} sum_j v_j C(z_j),

        dL/dz_l = v_l p1(z_l) + (1/n) h'(z_l) . r,

    and for the ends a, b of the support

        L_a = -p(a) sum_j v_j (1 - F_j) + p(a) r . (h(a) - mu),
        L_b = -p(b) sum_j v_j F_j - p(b) r . (h(b) - mu).

    Parameters
    ----------
    x : (n,) or (n, d)
        Samples, on any device. The work is in float64.
    order, support, weights, backend
        As for `maxent.tensors.fit.fit`; the ends of a support may be tensors with a gradient.
    target
        As for `TensorTransport`.

    Returns
    -------
    Tensor
        Of the shape, dtype and device of x. A column whose density is not OK is taken as normal
        with its mean and standard deviation: for the target "normal" it is standardised, a constant
        becomes 0. A column with NaN or inf becomes NaN; its neighbours do not notice.

    Raises
    ------
    InputError
        As for `maxent.fit` and `TensorTransport`.
    """
    _tensor(x, "x")
    if not x.is_floating_point():
        raise InputError(f"x must be a tensor of a floating dtype, got {x.dtype}")
    density = torch_fit.fit(x, order, support, backend=backend, weights=weights)
    loc, scale = _mean_and_std(x, density, weights)
    # The data lie well within a support that is wider than they are: nothing is beyond the formula,
    # except where a normal distribution has to serve.
    wider = isinstance(support, (int, float)) and support > 1 + 4 * END_SHARE
    outside = "exact" if wider and loc is density.loc else "extrapolate"
    return TensorTransport(density, target, outside=outside, loc=loc, scale=scale).forward(x)


def _mean_and_std(x: Tensor, density: TensorDensity, weights: Any) -> tuple[Tensor, Tensor]:
    """Return the constants of the density; of columns that are not OK mean and deviation of x."""
    poor = (density.solution.status != Status.OK).nonzero()[:, 0]
    if len(poor) == 0:
        return density.loc, density.scale
    columns = (x[:, None] if x.ndim == 1 else x)[:, poor].to(torch.float64)
    finite = density.loc[poor].isfinite()
    columns = torch.where(finite, columns, 0.0)
    low, high = columns.detach().amin(dim=0), columns.detach().amax(dim=0)
    size = torch.maximum(low.abs(), high.abs())
    constant = high / 2 - low / 2 <= CONSTANT * size
    unit = torch.where(size > 0, size, 1.0)  # keeps squares within range
    scaled = columns / unit
    share = torch.full_like(scaled, 1 / len(x))
    if weights is not None:
        given = torch.as_tensor(weights, device=x.device).to(torch.float64)
        given = given[:, poor] if given.ndim == 2 else given[:, None].expand(scaled.shape)
        share = given / given.sum(dim=0)
    mean = (scaled * share).sum(dim=0)
    variance = ((scaled - mean).square() * share).sum(dim=0)
    std = torch.where(constant, 1.0, variance).sqrt()
    middle = (low / 2 + high / 2) / unit
    mean = torch.where(constant, middle + (mean - mean.detach()), mean)
    loc = torch.where(finite, mean * unit, math.nan)
    scale = torch.where(constant, 1.0, std * unit)
    return density.loc.index_copy(0, poor, loc), density.scale.index_copy(0, poor, scale)
