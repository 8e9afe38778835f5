"""The maps that must obey the laws, each with the points at which they are tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from distfit_nn import maxent
from distfit_nn.transforms import QuantileMap
from tests import cases, tolerances

Array = NDArray[np.float64]


class Logistic:
    """A target that has nothing but `cdf` and `ppf`."""

    def cdf(self, t: Array) -> Array:
        return 1 / (1 + np.exp(-t))

    def ppf(self, q: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(q) - np.log1p(-q)


def bumps() -> maxent.Density:
    """A fitted density with two modes, as a target."""
    return maxent.fit(cases.column("bimodal"), 4)


TARGETS: dict[str, Callable[[], Any]] = {
    "normal": lambda: "normal",
    "uniform": lambda: "uniform",
    "gamma": lambda: stats.gamma(3.0),
    "cauchy": lambda: stats.cauchy(1.0, 2.0),
    "beta": lambda: stats.beta(0.7, 2.0),
    "density": bumps,
    "cdf and ppf only": Logistic,
}
SOURCES = ("normal", "exponential", "bimodal", "post_relu", "u_shaped", "offset", "two values")


@dataclass(frozen=True)
class Law:
    """A map of one column, and its points in the source."""

    map: QuantileMap
    points: Array
    mass: Array  # of the tail that a point lies in
    scale: float  # of the source

    @property
    def mass_error(self) -> Array:
        """What the masses are known to on the way there and back."""
        error = tolerances.TRANSPORT_MASS * self.mass
        target = self.map._target
        if target.has_logpdf:  # the rounding of y is a mass, too
            y = self.map.forward(self.points)
            error = error + 2 * tolerances.eps() * np.abs(y) * np.exp(target.logpdf(y))
        one_sided = isinstance(self.map.target, Logistic)
        return error + 4 * tolerances.eps() if one_sided else error

    @property
    def density(self) -> Array:
        """The source's density at the points."""
        return np.exp(self.map._source.logpdf(self.points[:, None])[:, 0])


def column(name: str) -> Array:
    """A named case, or two values, which have no density of order 4."""
    return cases.distinct(2) if name == "two values" else cases.column(name)


def law(source: str, target: str, *, within: str = "support", depth: float = -12) -> Law:
    """Return the map of a source to a target, with points down to masses of 10**depth."""
    x = column(source)
    made = QuantileMap.fit(x, 4, 3.0, TARGETS[target](), within=within)
    tails = np.logspace(depth, np.log10(0.5), 40)
    up = np.zeros(tails.shape, bool)[:, None]
    lower = made._source.quantile(tails[:, None], up)[:, 0]
    upper = made._source.quantile(tails[::-1, None], ~up)[:, 0]
    # Next to an end of the support a point is known to no better than its rounding.
    low, high = (np.atleast_1d(end) for end in made._source.ends())
    step = 1e-5 * x.std()
    points = np.concatenate([lower, upper[1:]])
    mass = np.concatenate([tails, tails[::-1][1:]])
    inside = (points > low + step) & (points < high - step)
    inside &= np.append(True, np.diff(points) > step)
    points, mass = points[inside], mass[inside]
    return Law(made, points, mass, float(x.std()))
