"""What maps ask of a distribution: both tails, their quantiles, log density and ends.

Every method takes and returns arrays of shape (m, d), one distribution for each of the d columns or
one for all of them.
"""

from __future__ import annotations

import math
import reprlib
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from distfit_nn._checks import to_numpy
from distfit_nn.errors import InputError
from distfit_nn.maxent.density import Density
from distfit_nn.maxent.solution import Status

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

LOG_ROOT_2_PI = 0.5 * math.log(2 * math.pi)
NAMED = ("normal", "uniform")


class Marginal:
    """A distribution, seen from both of its tails.

    A mass is that below a point, or that above it where `upper` is set: each is accurate in
    relative terms when it is small, which the difference of the other from 1 is not.
    """

    has_logpdf = True

    def columns(self) -> int | None:
        """Return of how many columns these are the distributions, None for one that is for all."""
        shape = np.shape(self.quantile(np.asarray(0.5), np.asarray(False)))
        return None if shape in ((), (1,)) else int(np.prod(shape))

    def mass(self, t: Array, upper: Mask) -> Array:
        """Return P(X > t) where `upper` is set and P(X <= t) elsewhere."""
        raise NotImplementedError

    def quantile(self, q: Array, upper: Mask) -> Array:
        """Return the point with mass q above it where `upper` is set, below it elsewhere."""
        raise NotImplementedError

    def logpdf(self, t: Array) -> Array:
        """Return the log density."""
        raise NotImplementedError

    def ends(self) -> tuple[Array, Array]:
        """Return the ends of the support, numbers or (d,)."""
        raise NotImplementedError

    def seen(self) -> tuple[Array, Array]:
        """Return the range of the data that a distribution was fitted to, infinite without data."""
        return np.asarray(-np.inf), np.asarray(np.inf)

    def point(self, q: float, upper: bool, columns: int) -> Array:
        """Return one quantile of each column, (columns,)."""
        shape = (1, columns)
        return np.asarray(self.quantile(np.full(shape, q), np.full(shape, upper)))[0]


class Normal(Marginal):
    """Normal distributions with means `loc` and standard deviations `scale`, numbers or (d,)."""

    def __init__(self, loc: Array | float = 0.0, scale: Array | float = 1.0) -> None:
        self.loc, self.scale = np.asarray(loc, float), np.asarray(scale, float)

    def mass(self, t: Array, upper: Mask) -> Array:
        """See `Marginal`."""
        z = (t - self.loc) / self.scale
        return ndtr(np.where(upper, -z, z))

    def quantile(self, q: Array, upper: Mask) -> Array:
        """See `Marginal`."""
        z = ndtri(q)
        return self.loc + self.scale * np.where(upper, -z, z)

    def logpdf(self, t: Array) -> Array:
        """See `Marginal`."""
        z = (t - self.loc) / self.scale
        return -0.5 * z * z - LOG_ROOT_2_PI - np.log(self.scale)

    def ends(self) -> tuple[Array, Array]:
        """See `Marginal`."""
        return np.asarray(-np.inf), np.asarray(np.inf)


class Uniform(Marginal):
    """The uniform distribution on [0, 1]."""

    def mass(self, t: Array, upper: Mask) -> Array:
        """See `Marginal`."""
        return np.clip(np.where(upper, 1 - t, t), 0.0, 1.0)

    def quantile(self, q: Array, upper: Mask) -> Array:
        """See `Marginal`."""
        return np.where(upper, 1 - q, q)

    def logpdf(self, t: Array) -> Array:
        """See `Marginal`."""
        return np.where(np.isnan(t), np.nan, np.where((t >= 0) & (t <= 1), 0.0, -np.inf))

    def ends(self) -> tuple[Array, Array]:
        """See `Marginal`."""
        return np.asarray(0.0), np.asarray(1.0)


# What SciPy's newer distributions call these.
NEWER = {"ppf": "icdf", "sf": "ccdf", "isf": "iccdf"}


def method(law: Any, name: str) -> Any:
    """Return the method of a distribution under its older or newer name in SciPy, or None."""
    return getattr(law, name, None) or getattr(law, NEWER.get(name, name), None)


class Wrapped(Marginal):
    """Any object with `cdf` and `ppf`; its `sf`, `isf`, `logpdf` or `pdf`, `support` if there."""

    def __init__(self, law: Any) -> None:
        self.law = law
        self.exact_upper = self._has("sf") and self._has("isf")  # not 1 - cdf, which loses digits
        self.has_logpdf = self._has("logpdf") or self._has("pdf")

    def _has(self, name: str) -> bool:
        return method(self.law, name) is not None

    def _call(self, name: str, t: Array) -> Array:
        with np.errstate(all="ignore"):
            return to_numpy(method(self.law, name)(t), name).astype(np.float64)

    def mass(self, t: Array, upper: Mask) -> Array:
        """See `Marginal`."""
        if not self._has("sf"):
            below = self._call("cdf", t)
            return np.where(upper, 1 - below, below)
        return self._by_side("cdf", "sf", t, upper)

    def quantile(self, q: Array, upper: Mask) -> Array:
        """See `Marginal`."""
        if not self._has("isf"):
            return self._call("ppf", np.where(upper, 1 - q, q))
        return self._by_side("ppf", "isf", q, upper)

    def _by_side(self, below: str, above: str, values: Array, upper: Mask) -> Array:
        """Call one method where `upper` is set and another elsewhere; NaN costs them nothing."""
        out = np.full(values.shape, np.nan)
        for name, here in ((below, ~upper), (above, upper)):
            if here.any():
                out = np.where(here, self._call(name, np.where(here, values, np.nan)), out)
        return out

    def logpdf(self, t: Array) -> Array:
        """See `Marginal`."""
        if self._has("logpdf"):
            return self._call("logpdf", t)
        with np.errstate(divide="ignore"):
            return np.log(self._call("pdf", t))

    def ends(self) -> tuple[Array, Array]:
        """See `Marginal`."""
        if self._has("support"):
            lower, upper = self.law.support()
        else:
            lower, upper = self._call("ppf", np.zeros(1)), self._call("ppf", np.ones(1))
        lower, upper = to_numpy(lower, "support"), to_numpy(upper, "support")
        return (
            np.where(np.isnan(lower), -np.inf, lower),
            np.where(np.isnan(upper), np.inf, upper),
        )


class Fitted(Marginal):
    """Fitted densities; a column that is not OK counts as normal with `loc` and `scale`."""

    def __init__(self, density: Density, loc: Array, scale: Array) -> None:
        self.law = Wrapped(density)
        self.density = density
        self.poor = np.flatnonzero(density.solution.status != Status.OK)
        self.normal = Normal(loc[self.poor], scale[self.poor])

    def _filled(self, out: Array, name: str, *args: Array | Mask) -> Array:
        if len(self.poor):
            out[:, self.poor] = getattr(self.normal, name)(*(a[:, self.poor] for a in args))
        return out

    def mass(self, t: Array, upper: Mask) -> Array:
        """See `Marginal`."""
        return self._filled(self.law.mass(t, upper), "mass", t, upper)

    def quantile(self, q: Array, upper: Mask) -> Array:
        """See `Marginal`."""
        return self._filled(self.law.quantile(q, upper), "quantile", q, upper)

    def logpdf(self, t: Array) -> Array:
        """See `Marginal`."""
        return self._filled(self.law.logpdf(t), "logpdf", t)

    def ends(self) -> tuple[Array, Array]:
        """See `Marginal`."""
        lower, upper = (np.atleast_1d(end).copy() for end in self.law.ends())
        lower[self.poor], upper[self.poor] = -np.inf, np.inf
        return lower, upper

    def seen(self) -> tuple[Array, Array]:
        """See `Marginal`."""
        loc, scale, solution = self.density.loc, self.density.scale, self.density.solution
        lower, upper = loc + scale * solution.data_lower, loc + scale * solution.data_upper
        lower[self.poor], upper[self.poor] = -np.inf, np.inf
        return (
            np.where(np.isnan(lower), -np.inf, lower),
            np.where(np.isnan(upper), np.inf, upper),
        )


def as_marginal(value: Any, name: str) -> Marginal:
    """Return "normal", "uniform" or an object with `cdf` and `ppf` as a `Marginal`."""
    if isinstance(value, str) and value in NAMED:
        return Normal() if value == "normal" else Uniform()
    if isinstance(value, (str, type)) or not (method(value, "cdf") and method(value, "ppf")):
        raise InputError(
            f'{name} must be "normal", "uniform" or a distribution with cdf and ppf, '
            f"got {reprlib.repr(value)}"
        )
    torch = sys.modules.get("torch")  # its distribution can only come from a torch that is loaded
    if torch is not None and isinstance(value, torch.distributions.Distribution):
        from distfit_nn.targets.tensors import InArrays

        return InArrays(value)
    law = Wrapped(value)
    try:
        law.quantile(np.asarray(0.5), np.asarray(False))
    except (TypeError, NotImplementedError) as error:
        raise InputError(
            f"{name} must have cdf and ppf of NumPy arrays, got {reprlib.repr(value)}: {error}"
        ) from None
    return law


def as_target(value: Any) -> Marginal:
    """Return what stands for a target, as `as_marginal`; fitted densities must all exist."""
    if isinstance(value, Density):
        bad = np.flatnonzero(value.solution.status > Status.REGULARISED)
        if len(bad):
            name = Status(int(value.solution.status[bad[0]])).name
            raise InputError(
                f"target must have a density in every column, column {bad[0]} is {name}"
            )
    return as_marginal(value, "target")
