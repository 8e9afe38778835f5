"""What maps on tensors ask of their target: `arrays` for tensors, with a gradient.

Points and masses are float64 of shape (m, d), one target for each of the d columns or one for all.
A mass is that below a point, or that above it where `above` is set. Values come from closed forms,
or from what the target itself offers, and the gradient of a quantile from the implicit function
theorem: F(y) = q gives dy = (dq - d_theta F(y)) / p(y).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from distfit_nn.errors import InputError
from distfit_nn.maxent.solution import Status
from distfit_nn.maxent.tensors.density import TensorDensity
from distfit_nn.targets.arrays import Marginal, as_marginal

DOUBLINGS = 200  # of the distance from the mean in search of a quantile
BISECTIONS = 1100  # of what that leaves, at most: between any two numbers of float64
LOG_ROOT_2_PI = 0.5 * math.log(2 * math.pi)


class Target:
    """A distribution, seen from both of its tails."""

    exact_upper = True  # whether small masses above a point keep their digits

    def mass(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mass of a tail that ends at y, and whether it is that above y."""
        raise NotImplementedError

    def quantile(self, mass: Tensor, above: Tensor) -> Tensor:
        """Return the point with the mass above it where `above` is set, below it elsewhere."""
        raise NotImplementedError

    def logpdf(self, y: Tensor) -> Tensor:
        """Return the log density."""
        raise NotImplementedError

    def ends(self) -> tuple[Tensor | float, Tensor | float]:
        """Return the ends of the support, without graph: numbers or (d,)."""
        return -math.inf, math.inf


class Normal(Target):
    """N(loc, scale^2); loc and scale are numbers or tensors, which may have a graph."""

    def __init__(self, loc: Tensor | float = 0.0, scale: Tensor | float = 1.0) -> None:
        self.loc, self.scale = loc, scale

    def mass(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Target`."""
        z = (y - self.loc) / self.scale
        # special.ndtr takes a difference from 1 and has no digits left below -8.
        return torch.special.erfc(torch.where(z > 0, z, -z) / math.sqrt(2)) / 2, z > 0

    def quantile(self, mass: Tensor, above: Tensor) -> Tensor:
        """See `Target`."""
        z = torch.special.ndtri(mass)
        return self.loc + self.scale * torch.where(above, -z, z)

    def logpdf(self, y: Tensor) -> Tensor:
        """See `Target`."""
        scale = torch.as_tensor(self.scale, dtype=y.dtype, device=y.device)
        z = (y - self.loc) / scale
        return -z.square() / 2 - LOG_ROOT_2_PI - scale.log()


class Uniform(Target):
    """The uniform distribution on [0, 1]."""

    def mass(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Target`."""
        above = y > 0.5
        return torch.where(above, 1 - y, y).clamp(0, 1), above

    def quantile(self, mass: Tensor, above: Tensor) -> Tensor:
        """See `Target`."""
        return torch.where(above, 1 - mass, mass)

    def logpdf(self, y: Tensor) -> Tensor:
        """See `Target`."""
        inside = (y >= 0) & (y <= 1)
        return torch.where(y.isnan(), y, torch.where(inside, 0.0, -math.inf))

    def ends(self) -> tuple[float, float]:
        """See `Target`."""
        return 0.0, 1.0


class Fitted(Target):
    """Fitted densities, one for all columns or one each."""

    def __init__(self, density: TensorDensity) -> None:
        status = density.solution.status
        bad = (status > Status.REGULARISED).nonzero()[:, 0].tolist()
        if bad:
            raise InputError(
                f"target must have a density in every column, column {bad[0]} is "
                f"{Status(int(status[bad[0]])).name}"
            )
        self.density = density

    def _rows(self, values: Tensor) -> Tensor:
        """Return (m, d) as the density takes it: (columns, points)."""
        return values.reshape(1, -1) if len(self.density) == 1 else values.T

    @staticmethod
    def _back(values: Tensor, like: Tensor) -> Tensor:
        return values.reshape(like.shape) if len(values) == 1 else values.T

    def mass(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Target`."""
        z = (self._rows(y) - self.density.loc[:, None]) / self.density.scale[:, None]
        mass, above = self.density.tail(z)
        return self._back(mass, y), self._back(above, y)

    def quantile(self, mass: Tensor, above: Tensor) -> Tensor:
        """See `Target`."""
        density = self.density
        z = density.quantile(self._rows(mass), self._rows(above))
        return self._back(density.loc[:, None] + density.scale[:, None] * z, mass)

    def logpdf(self, y: Tensor) -> Tensor:
        """See `Target`."""
        density = self.density
        z = (self._rows(y) - density.loc[:, None]) / density.scale[:, None]
        return self._back(density.log_density(z) - density.scale.log()[:, None], y)

    def ends(self) -> tuple[Tensor, Tensor]:
        """See `Target`."""
        density, solution = self.density, self.density.solution
        lower = density.loc + density.scale * solution.lower.detach()
        return lower, density.loc + density.scale * solution.upper.detach()


class Law(Target):
    """A `torch.distributions.Distribution`, with a gradient to its parameters.

    Its upper tail is 1 - cdf: digits are lost there, and the formula ends at 1 - 1e-12. Where it
    has no `icdf`, quantiles come from its `cdf` by bisection.
    """

    exact_upper = False

    def __init__(self, law: Distribution) -> None:
        self.law = law
        self._icdf: Callable[[Tensor], Tensor] = law.icdf
        try:
            point = law.mean
            try:
                point = law.icdf(torch.full_like(point, 0.5))
            except NotImplementedError:
                self._icdf = self._bisected
            law.cdf(point)
        except (NotImplementedError, ValueError):
            raise InputError(f"target must have cdf, and icdf or a mean, got {law!r}") from None

    def mass(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Target`."""
        below = self.law.cdf(y)
        return torch.where(below > 0.5, 1 - below, below), below > 0.5

    def quantile(self, mass: Tensor, above: Tensor) -> Tensor:
        """See `Target`."""
        q = torch.where(above, 1 - mass, mass)
        with torch.no_grad():
            y = self._icdf(q).to(q.dtype)
            near = bounded(y)  # the quantile of a heavy tail may be infinite
            rate = _rate(self.logpdf(near))
        share = q - self.law.cdf(near)
        return torch.where(y.isinf(), y, y + (share - share.detach()) * rate)

    def _bisected(self, q: Tensor) -> Tensor:
        """Return the quantiles by bisection, to the last digit of the cdf."""
        ends = self.ends()
        low, high = (self._reached(end, side, q) for side, end in zip((-1, 1), ends, strict=True))
        for _ in range(BISECTIONS):
            middle = low / 2 + high / 2
            if bool(((middle <= low) | (middle >= high)).all()):
                break
            below = self.law.cdf(middle) < q
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return high

    def _reached(self, end: Tensor | float, side: int, q: Tensor) -> Tensor:
        """Return points beyond all quantiles on a side, at `end` or a multiple of stds away."""
        mean, std = (value.to(q.dtype) for value in (self.law.mean, self.law.stddev))
        point = mean + torch.zeros_like(q)
        for k in range(DOUBLINGS):
            short = self.law.cdf(point) < q if side > 0 else self.law.cdf(point) > q
            if not bool(short.any()):
                break
            further = mean + side * 2.0**k * std
            further = torch.clamp(further, max=end) if side > 0 else torch.clamp(further, min=end)
            point = torch.where(short, further, point)
        return point

    def logpdf(self, y: Tensor) -> Tensor:
        """See `Target`."""
        return self.law.log_prob(y)

    def ends(self) -> tuple[Tensor | float, Tensor | float]:
        """See `Target`."""
        support = self.law.support
        support = getattr(support, "base_constraint", support)  # of mixtures and of vectors
        lower = getattr(support, "lower_bound", -math.inf)
        upper = getattr(support, "upper_bound", math.inf)
        return _constant(lower), _constant(upper)


class Arrays(Target):
    """A distribution that takes and gives NumPy arrays, as `arrays` knows it: no parameters."""

    def __init__(self, law: Marginal, device: torch.device) -> None:
        self.law, self.device = law, device
        self.exact_upper = bool(getattr(law, "exact_upper", True))

    def _call(self, function: Callable[..., Any], *arguments: Tensor) -> Tensor:
        arrays = (argument.detach().cpu().numpy() for argument in arguments)
        return torch.as_tensor(np.array(function(*arrays)), device=self.device)

    def mass(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Target`."""
        middle = self._call(lambda: self.law.point(0.5, False, y.shape[1]))
        above = y.detach() > middle
        mass = self._call(self.law.mass, y, above)
        if not y.requires_grad:
            return mass, above
        rate = self.logpdf(y).exp() * torch.where(above, -1.0, 1.0)
        return mass + (y - y.detach()) * rate, above

    def quantile(self, mass: Tensor, above: Tensor) -> Tensor:
        """See `Target`."""
        y = self._call(self.law.quantile, mass, above)
        if not mass.requires_grad:
            return y
        rate = _rate(self.logpdf(y)) * torch.where(above, -1.0, 1.0)
        return y + (mass - mass.detach()) * rate

    def logpdf(self, y: Tensor) -> Tensor:
        """See `Target`: a constant, since the slope of the density is not known."""
        if not self.law.has_logpdf:
            raise InputError("target must have logpdf or pdf for a gradient")
        return self._call(self.law.logpdf, y)

    def ends(self) -> tuple[Tensor, Tensor]:
        """See `Target`."""
        lower, upper = self.law.ends()
        return self._call(lambda: lower), self._call(lambda: upper)


class InArrays(Marginal):
    """A `torch.distributions.Distribution` for arrays."""

    exact_upper = False

    def __init__(self, law: Distribution) -> None:
        columns = max(1, math.prod(law.batch_shape + law.event_shape))
        self.target = as_target(law, columns, torch.device("cpu"))

    @staticmethod
    def _tensor(values: Any) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values))

    @torch.no_grad()
    def mass(self, t: NDArray[np.float64], upper: NDArray[np.bool_]) -> NDArray[np.float64]:
        """See `Marginal`."""
        mass, above = self.target.mass(self._tensor(t))
        own = torch.where(above == self._tensor(upper), mass, 1 - mass)
        return own.to(torch.float64).numpy()

    @torch.no_grad()
    def quantile(self, q: NDArray[np.float64], upper: NDArray[np.bool_]) -> NDArray[np.float64]:
        """See `Marginal`."""
        known = np.where(np.isnan(q), 0.5, q)
        out = self.target.quantile(self._tensor(known), self._tensor(upper))
        return np.where(np.isnan(q), np.nan, out.to(torch.float64).numpy())

    @torch.no_grad()
    def logpdf(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Marginal`."""
        return self.target.logpdf(self._tensor(t)).to(torch.float64).numpy()

    def ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `Marginal`."""
        lower, upper = (torch.as_tensor(end, dtype=torch.float64) for end in self.target.ends())
        return lower.numpy(), upper.numpy()


def _constant(value: Tensor | float) -> Tensor | float:
    return value.detach() if isinstance(value, Tensor) else value


def _rate(logpdf: Tensor) -> Tensor:
    """Return 1 / p, a finite one; 0 where p is 0: at an end of the support no gradient passes."""
    return torch.where(logpdf > -math.inf, bounded((-logpdf).exp()), 0.0)


def bounded(values: Tensor) -> Tensor:
    """Return values with infinite ones as the largest number of their dtype."""
    largest = torch.finfo(values.dtype).max
    return values.clamp(-largest, largest)


def as_target(value: Any, columns: int, device: torch.device) -> Target:
    """Return what stands for a target of so many columns: see `TensorTransport`."""
    if isinstance(value, TensorDensity):
        _check_shape((len(value),), columns)
        return Fitted(value)
    if isinstance(value, Distribution):
        _check_shape(tuple(value.batch_shape + value.event_shape), columns)
        if isinstance(value, torch.distributions.Normal):
            return Normal(value.loc, value.scale)
        return Law(value)
    if isinstance(value, str) and value in ("normal", "uniform"):
        return Normal() if value == "normal" else Uniform()
    return Arrays(as_marginal(value, "target"), device)


def _check_shape(shape: tuple[int, ...], columns: int) -> None:
    if shape not in ((), (1,), (columns,)):
        raise InputError(
            f"target must be one distribution, or {columns} for as many columns, got shape {shape}"
        )
