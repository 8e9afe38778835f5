"""Optimal transport in one dimension on tensors, y = F2^{-1}(F1(x)), with a gradient.

F1 is the fitted density of the data, F2 the target. Above the median of the source the survival
functions take the place of F1 and F2, so that both tails keep their digits. The fit is
differentiated at its optimum (`maxent.implicit`), the target by

    d y = (d F1 - d_theta F2(y)) / p2(y),

theta its parameters: neither an iteration nor a quadrature is recorded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from distfit_nn._checks import one_of
from distfit_nn.errors import InputError
from distfit_nn.maxent import torch_fit
from distfit_nn.maxent.solution import Status
from distfit_nn.maxent.torch_density import TensorDensity
from distfit_nn.transforms.torch_targets import Target, as_target

# See `transforms.quantile`, whose rules for points outside these are.
WITHIN = ("data", "support")
OUTSIDE = ("extrapolate", "clip", "exact")
TAILS = {True: 1e-300, False: 1e-12}  # by whether small masses above a point keep their digits
END_SHARE = 1e-6


@dataclass(frozen=True)
class _Knots:
    """Where the formula ends, and by which lines the map goes on: (2, d) each, lower end first."""

    at: Tensor
    to: Tensor
    slope: Tensor


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
    >>> from distfit_nn import maxent
    >>> from distfit_nn.transforms.torch_transport import TensorTransport
    >>> x = torch.distributions.Exponential(1.0).sample((1000,))
    >>> to_normal = TensorTransport(maxent.fit(x))  # doctest: +SKIP
    >>> y = to_normal.forward(x)  # doctest: +SKIP
    """

    def __init__(
        self,
        source: TensorDensity,
        target: Any = "normal",
        *,
        within: str = "data",
        outside: str = "extrapolate",
        loc: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> None:
        self.source, self.target = source, target
        self.within = one_of(within, WITHIN, "within")
        self.outside = one_of(outside, OUTSIDE, "outside")
        self._target: Target = as_target(target, source.device)
        self._ok = source.solution.status == Status.OK
        means = source.loc if loc is None else loc
        stds = source.scale if scale is None else scale
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
        return self._forward(z).reshape(shape).to(x.dtype)

    __call__ = forward

    def inverse(self, y: Tensor) -> Tensor:
        """Return F1^{-1}(F2(y)), the inverse of `forward`; shapes as there."""
        points, shape = self._points(y, "y")
        lower, upper = self._target.ends()
        points = points.clamp(lower, upper)
        z = self._to_source(points)
        return (self._loc + self._scale * z).reshape(shape).to(y.dtype)

    def log_derivative(self, x: Tensor) -> Tensor:
        """Return the logarithm of the derivative of `forward`, log p1(x) - log p2(y).

        Shapes as there; the logarithm of the slope beyond the knots, -inf where the map is flat.
        """
        points, shape = self._points(x, "x")
        z = (points - self._loc) / self._scale
        y = self._forward(z)
        own = self._log_density(z) - self._scale.log()
        out = own - self._target.logpdf(y)
        for knots, beyond in self._beyond(z):
            slope = (knots / self._scale).log()
            out = torch.where(beyond, slope, out)
        return out.reshape(shape).to(x.dtype)

    # The formula, in z, (m, d)

    def _tail(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mass of a tail that ends at z, and whether it is that above z."""
        mass, above = (part.T for part in self.source.tail(z.T))
        normal, right = torch.special.ndtr(-z.abs()), z > 0
        return torch.where(self._ok, mass, normal), torch.where(self._ok, above, right)

    def _quantile(self, mass: Tensor, above: Tensor) -> Tensor:
        """Return the point of the source with that tail."""
        own = self.source.quantile(mass.T, above.T).T
        normal = torch.special.ndtri(mass) * torch.where(above, -1.0, 1.0)
        return torch.where(self._ok, own, normal)

    def _log_density(self, z: Tensor) -> Tensor:
        """Return log p1 in z."""
        source = self.source
        own = source.log_density(z.T).T
        normal = -z.square() / 2 - math.log(2 * math.pi) / 2
        return torch.where(self._ok, own, normal)

    def _formula(self, z: Tensor) -> Tensor:
        return self._target.quantile(*self._tail(z))

    def _forward(self, z: Tensor) -> Tensor:
        if self.outside == "exact":
            return self._formula(z)
        known = self._knots
        y = self._formula(torch.minimum(torch.maximum(z, known.at[0]), known.at[1]))
        below, above = z < known.at[0], z > known.at[1]
        if bool((below | above).any()):
            knots = self._with_graph()
            for side, beyond in enumerate((below, above)):
                line = knots.to[side] + (z - knots.at[side]) * knots.slope[side]
                y = torch.where(beyond, line, y)
            y = y.clamp(*self._target.ends())
        return torch.where(z.isnan(), z, y)
