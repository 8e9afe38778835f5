"""The fitted density on tensors: the methods of `Density`, on the tensor's own device.

Inside, everything is float64 whatever the dtype of the tensors that come and go: in the sum
lambda_1 h_1 + ... + lambda_k h_k large terms cancel, and float32 would lose the digits that count.
"""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from distfit_nn._checks import whole_number
from distfit_nn.errors import InputError
from distfit_nn.maxent.density import MOST_POWER
from distfit_nn.maxent.solution import Status
from distfit_nn.maxent.tensors import panels as torch_panels
from distfit_nn.maxent.tensors.borrowed import Borrowed
from distfit_nn.maxent.tensors.checks import on_device
from distfit_nn.maxent.tensors.hard import HardColumns
from distfit_nn.maxent.tensors.implicit import LogDensity, LogNormaliser, Quantile, Tail
from distfit_nn.maxent.tensors.table import Table

# A column whose log Z by its panels is this far from the solver's has a spike that they miss.
MISSED = 1e-8
WITHIN = 1e-6  # rounding moves the ends of the data by less than this share of their range


@dataclass(frozen=True, eq=False, repr=False)
class TensorDensity(Borrowed):
    """Maximum-entropy densities of d columns, as `maxent.fit` returns them for a tensor.

    With z = (x - loc) / scale, column j is

        p_j(x) = exp(sum_i lambda_ij h_i(z) - log Z_j) / scale_j   on its support, 0 elsewhere,

    where h_i = He_i / sqrt(i!), i = 1..order. Points t of shape (m,) give (m, d), points of shape
    (m, d) are taken column by column; a density of one column of shape (n,), and `density[j]`, keep
    the shape of t. Results have the dtype of t where that is a floating one. Columns that are
    DEGENERATE or INVALID give NaN.

    Every method but those of `Borrowed` (modes, kl_divergence, mass_outside and what leads to other
    tools) can be differentiated once, in t or q: d logpdf / dt = u'(z) / scale, d cdf / dt = pdf,
    d ppf / dq = 1 / pdf. If the density was fitted to a tensor that requires grad, so in that
    tensor, by the implicit function theorem (`implicit`), for the columns that are OK. Others are
    taken as constants, and so are the few that need double-double or have spikes that only
    `Density` finds (`hard`): it evaluates them on the CPU, log p without a gradient in t.

    Attributes
    ----------
    solution : TensorSolution
        The dual optimum in standardised coordinates, with the numbers that tell its quality.
    loc, scale : (d,)
        Mean and standard deviation of the data (at order 1 another scale), of float64, constants.
    dtype : torch.dtype
        Of the samples; of results that no argument gives a dtype.
    single : bool
        Whether this stands for one column of shape (n,).
    """

    # Panels and hard columns

    @cached_property
    def hard(self) -> Tensor:
        """Indices of the columns that only `Density` can evaluate.

        Their multipliers are held in double-double, or they have a spike that the panels miss, as
        the solver's log Z tells.
        """
        missed = (self.table.log_z - self.solution.log_normaliser.detach()).abs() > MISSED
        return (self.low | (self.exists & missed)).nonzero()[:, 0]

    @property
    def differentiable(self) -> Tensor:
        """Which columns (d,) are functions of what they were fitted to, and not constants."""
        return (self.solution.status == Status.OK).index_fill(0, self.hard, False)

    @property
    def table(self) -> Table:
        """Panels and their masses, with tails that are exact over the range of the data.

        Of a column without a density, those of a uniform one.
        """
        return self._table("seen")

    def _table(self, name: str) -> Table:
        """Return the table "seen", or the "deep" one whose tails are exact on all of the support.

        The latter has several times the panels: it is made when a point beyond the data needs it.
        """
        if name not in self._tables:
            multipliers = self._multipliers().detach()
            lower, upper = (end.detach() for end in self._ends())
            seen = name == "seen"
            window = self._window() if seen else (lower, upper)
            start = None if seen else self._table("seen").edges
            self._tables[name] = Table.build(multipliers, lower, upper, window, start)
        return self._tables[name]

    def _window(self) -> tuple[Tensor, Tensor]:
        """Return the range of the data, the support where only moments were given, (d,) each."""
        data = (self.solution.data_lower, self.solution.data_upper)
        ends = (end.detach() for end in self._ends())
        low, high = (
            torch.where(seen.isnan() | ~self.exists, end, seen)
            for seen, end in zip(data, ends, strict=True)
        )
        return low, high

    # Values at points

    def support(self) -> tuple[Tensor, Tensor]:
        """Return the ends (a, b) of the support, per column."""
        lower, upper = (self.loc + self.scale * end for end in self._ends(masked=False))
        return self._number(lower), self._number(upper)

    def logpdf(self, t: Any) -> Tensor:
        """Return log p(t), -inf outside the support."""
        z, result = self._standardised(t)
        return result(self.log_density(z) - self._safe(self.scale, 1.0).log()[:, None])

    def pdf(self, t: Any) -> Tensor:
        """Return p(t), 0 outside the support."""
        return self.logpdf(t).exp()

    def cdf(self, t: Any) -> Tensor:
        """Return P(X <= t)."""
        z, result = self._standardised(t)
        mass, above = self.tail(z)
        return result(torch.where(above, 1 - mass, mass))

    def sf(self, t: Any) -> Tensor:
        """Return P(X > t), summed from the upper tail."""
        z, result = self._standardised(t)
        mass, above = self.tail(z)
        return result(torch.where(above, mass, 1 - mass))

    def logcdf(self, t: Any) -> Tensor:
        """Return log P(X <= t)."""
        z, result = self._standardised(t)
        mass, above = self.tail(z)
        return result(_log_of_tail(mass, ~above))

    def logsf(self, t: Any) -> Tensor:
        """Return log P(X > t)."""
        z, result = self._standardised(t)
        mass, above = self.tail(z)
        return result(_log_of_tail(mass, above))

    def ppf(self, q: Any) -> Tensor:
        """Return the quantile of q, the inverse of `cdf`; NaN for q outside [0, 1]."""
        points, result = self._spread(q, "q")
        above = points > 0.5
        return result(self._quantile(torch.where(above, 1 - points, points), above))

    def isf(self, q: Any) -> Tensor:
        """Return the point with mass q above it, the inverse of `sf`."""
        points, result = self._spread(q, "q")
        above = points <= 0.5
        return result(self._quantile(torch.where(above, points, 1 - points), above))

    def median(self) -> Tensor:
        """Return the quantile of 1/2."""
        return self.ppf(0.5)

    def interval(self, confidence: Any) -> tuple[Tensor, Tensor]:
        """Return the ends of the interval with mass `confidence` and equal tails."""
        share = on_device(confidence, "confidence", self.device).to(torch.float64)
        if not bool(((share >= 0) & (share <= 1)).all()):
            raise InputError(f"confidence must lie in [0, 1], got {reprlib.repr(confidence)}")
        tail, dtype = (1 - share) / 2, self.dtype_for(confidence)
        return self.ppf(tail).to(dtype), self.isf(tail).to(dtype)

    def rvs(
        self, size: int | tuple[int, ...] = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw `size` values of every column, by inversion; (size, d), or (size,) for one."""
        sizes = size if isinstance(size, tuple) else (size,)
        shape = tuple(whole_number(n, "size") for n in sizes)
        if not isinstance(generator, (torch.Generator, type(None))):
            raise InputError(f"generator must be a torch.Generator, got {generator!r}")
        shape = shape if self.single else (*shape, len(self))
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=self.device)
        return self.ppf(uniform.reshape(-1, len(self))).reshape(shape).to(self.dtype)

    # Numbers of a density

    def entropy(self) -> Tensor:
        """Return the differential entropy -E log p in nats.

        It is log Z - sum_i lambda_i E_p h_i + log scale.
        """
        terms = self._multipliers() * self._means()
        value = self._log_z() - terms.sum(dim=1) + self._safe(self.scale, 1.0).log()
        return self._number(self._or_numpy(value, "entropy"))

    def mean(self) -> Tensor:
        """Return E_p x."""
        return self._number(self.loc + self.scale * self._means()[:, 0])

    def var(self) -> Tensor:
        """Return E_p (x - E_p x)^2."""
        return self._number(self._std().square())

    def std(self) -> Tensor:
        """Return the square root of `var`."""
        return self._number(self._std())

    def skewness(self) -> Tensor:
        """Return E_p (x - E_p x)^3 / std^3."""
        value = self._central(3) / self._central(2) ** 1.5
        return self._number(self._or_numpy(value, "skewness"))

    def kurtosis(self) -> Tensor:
        """Return the excess kurtosis E_p (x - E_p x)^4 / var^2 - 3: 0 for a normal law."""
        value = self._central(4) / self._central(2) ** 2 - 3
        return self._number(self._or_numpy(value, "kurtosis"))

    def moment(self, r: int) -> Tensor:
        """Return E_p x^r, r a whole number from 0 to 200."""
        r = whole_number(r, "r")
        if r > MOST_POWER:
            raise InputError(f"r must be at most {MOST_POWER}, got {r}")
        loc, scale = self._safe(self.loc, 0.0), self._safe(self.scale, 1.0)
        value = self._expectation(lambda z: (loc[:, None] + scale[:, None] * z) ** r)
        return self._number(self._or_numpy(value, "moment", r))

    def _std(self) -> Tensor:
        means = self._means()
        if self.order > 1:
            second = 1 + math.sqrt(2) * means[:, 1]
        else:
            second = self._expectation(torch.square)
        value = self._safe(self.scale, 1.0) * (second - means[:, 0].square()).sqrt()
        return self._or_numpy(value, "std")

    def _central(self, power: int) -> Tensor:
        """Return E_p (z - E_p z)^power, (d,)."""
        mean = self._means()[:, :1]
        return self._expectation(lambda z: (z - mean) ** power)

    def _expectation(self, function: Any) -> Tensor:
        """Return E_p f(z), (d,), with its gradient to the multipliers and the ends."""
        table = self.table
        z, w = (grid.flatten(1) for grid in torch_panels.panel_nodes(table.edges))
        p = (LogDensity.apply(z, self._multipliers()) - self._log_z()[:, None]).exp() * w
        value = (p * function(z)).sum(dim=1)
        for end, rate in zip(self._ends(), (-1.0, 1.0), strict=True):
            if end.requires_grad:  # the panels stand still: a moving end adds p(end) f(end)
                at = end.detach()[:, None]
                height = rate * table.log_density(at).exp() * function(at)
                value = value + height[:, 0] * (end - end.detach())
        return value

    # How the above reaches the columns; a column without a density counts as uniform on [-1, 1]

    def _safe(self, values: Tensor, instead: float) -> Tensor:
        exists = self.exists if values.ndim == 1 else self.exists[:, None]
        return torch.where(exists, values, instead)

    def _multipliers(self) -> Tensor:
        """Return lambda (d, k); 0, a uniform density, where none fits into float64."""
        known = self.exists & ~self.low
        return torch.where(known[:, None], self.solution.coefficients, 0.0)

    def _or_numpy(self, values: Tensor, name: str, *arguments: int) -> Tensor:
        """Return the values, (d,), with those of `Density` in the hard columns."""
        if not len(self.hard):
            return values
        return values.index_copy(0, self.hard, HardColumns(self).number(name, *arguments))

    def _means(self) -> Tensor:
        return self._safe(self.solution.moments, 0.0)

    def _ends(self, *, masked: bool = True) -> tuple[Tensor, Tensor]:
        lower, upper = self.solution.lower, self.solution.upper
        return (self._safe(lower, -1.0), self._safe(upper, 1.0)) if masked else (lower, upper)

    def _log_z(self) -> Tensor:
        return LogNormaliser.apply(self._multipliers(), *self._ends(), self.table)

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density in z (d, m), -inf outside the support."""
        lower, upper = self._ends()
        inside = (z >= lower[:, None]) & (z <= upper[:, None])
        u = LogDensity.apply(torch.where(inside, z, 0.0), self._multipliers())
        out = torch.where(inside, u - self._log_z()[:, None], -math.inf)
        if len(self.hard):
            part = HardColumns(self)
            out = out.index_copy(0, self.hard, part.log_density(z[self.hard]))
        return out

    def tail(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mass of a tail that ends at z (d, m), and whether it is that above z."""
        low, high = (end[:, None] for end in self._window())
        slack = WITHIN * (high - low)
        beyond = (z < low - slack) | (z > high + slack)
        table = self._table("deep" if bool(beyond.any()) else "seen")
        mass, upper = Tail.apply(z, self._multipliers(), *self._ends(), table)
        if len(self.hard):
            part = HardColumns(self).tail(z[self.hard])
            mass, upper = (
                whole.index_copy(0, self.hard, own)
                for whole, own in zip((mass, upper), part, strict=True)
            )
        return mass, upper

    def quantile(self, mass: Tensor, above: Tensor) -> Tensor:
        """Return z (d, m) with the mass above it where `above` is set, below it elsewhere."""
        least = self.table.tail(torch.stack(self._window(), dim=1))[0] * (1 - WITHIN)
        beyond = mass < torch.where(above, least[:, 1:], least[:, :1])
        table = self._table("deep" if bool(beyond.any()) else "seen")
        out = Quantile.apply(mass, above, self._multipliers(), *self._ends(), table)
        if len(self.hard):
            own = HardColumns(self).quantile(mass[self.hard], above[self.hard])
            out = out.index_copy(0, self.hard, own)
        return out

    def _quantile(self, mass: Tensor, above: Tensor) -> Tensor:
        valid = (mass >= 0) & (mass <= 1)
        z = self.quantile(torch.where(valid, mass, 0.5), above)
        x = self._safe(self.loc, 0.0)[:, None] + self._safe(self.scale, 1.0)[:, None] * z
        return torch.where(valid, x, math.nan)

    def _number(self, values: Tensor) -> Tensor:
        """Return one number per column in the dtype of the density, NaN where there is none."""
        return self._per_column(torch.where(self.exists, values, math.nan).to(self.dtype))

    def dtype_for(self, t: Any) -> torch.dtype:
        """Return the dtype of results for t: that of a tensor of floats, else the density's."""
        return t.dtype if isinstance(t, Tensor) and t.is_floating_point() else self.dtype

    def _spread(self, t: Any, name: str = "t") -> tuple[Tensor, Any]:
        """Return the points (d, m) of float64, and what turns such values into the result."""
        given, dtype = on_device(t, name, self.device), self.dtype_for(t)
        points, shape = given.to(torch.float64), given.shape
        columns = len(self)
        if self.single:
            points = points.reshape(1, -1)
        elif points.ndim < 2:
            points = points.reshape(1, -1).expand(columns, -1)
            shape = torch.Size([*shape, columns])
        elif points.ndim == 2 and points.shape[1] == columns:
            points = points.T
        else:
            raise InputError(
                f"{name} must have shape (m,) or (m, {columns}) for {columns} columns, "
                f"got {tuple(points.shape)}"
            )

        known = self.exists[:, None] & ~points.isnan()

        def result(values: Tensor) -> Tensor:
            return torch.where(known, values, math.nan).T.reshape(shape).to(dtype)

        return torch.where(points.isnan(), 0.5, points), result

    def _standardised(self, t: Any) -> tuple[Tensor, Any]:
        """Return z (d, m) of the points, within the support where the points are."""
        points, result = self._spread(t)
        loc, scale = self._safe(self.loc, 0.0)[:, None], self._safe(self.scale, 1.0)[:, None]
        lower, upper = (end.detach()[:, None] for end in self._ends())
        z = (points - loc) / scale
        # Rounding must not move a point of the support, as `support` gives it, outside.
        inside = (points >= loc + scale * lower) & (points <= loc + scale * upper)
        within = torch.minimum(torch.maximum(z, lower), upper)
        return torch.where(inside, z + (within - z).detach(), z), result


def _log_of_tail(mass: Tensor, same: Tensor) -> Tensor:
    """Return log of the mass where it is that of the tail in question, else of the rest."""
    small = torch.where(same, mass, 0.5)
    rest = torch.where(same, 0.5, mass)
    return torch.where(same, small.log(), torch.log1p(-rest))
