"""KL from a target after each transformation, of rows that it was not fitted to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri

from distfit_nn.advice.candidates import CANDIDATES, Candidate
from distfit_nn.errors import InputError
from distfit_nn.stats.divergence.estimates import kl_estimate
from distfit_nn.stats.divergence.reference import as_law
from distfit_nn.targets.arrays import Marginal, as_target

Float = NDArray[np.float64]

Z = float(ndtri(0.975))  # of the intervals
PARAMETERS = ("log_shift_b", "log_shift_c", "sqrt_shift_a", "sqrt_shift_b")
HUGE = 1e150  # whose square overflows
GAINS = [0, 2]  # of these, in units of 1 / x


class Estimates(NamedTuple):
    """KL from the target, in nats, for K transformations of d units, each (K, d).

    Attributes
    ----------
    kl : less its bias, and so sometimes below 0; inf where values lie beyond the target's ends;
        NaN where a transformation could not be computed.
    error : its standard error.
    low, high : 95% interval, cut at 0.
    parameters : (4, d), of the shifts: see `PARAMETERS`.
    """

    kl: Float
    error: Float
    low: Float
    high: Float
    parameters: Float


class Goal:
    """The target, as what brings values to scores that are N(0, 1) if the values have its law.

    The divergence is the same for both, as the map between them has an inverse.
    """

    def __init__(self, target: Any) -> None:
        self.is_normal = isinstance(target, str) and target == "normal"
        self.law: Marginal = as_target(target)
        if self.law.columns() is not None:
            raise InputError("target must be one distribution for all units, got one for each")
        law = as_law(target)
        self.mean, var = float(law.mean[0]), float(law.var[0])
        if not (np.isfinite(self.mean) and np.isfinite(var) and var > 0):
            raise InputError("target must have a finite mean and variance, or no line leads to it")
        self.std = float(np.sqrt(var))

    def scores(self, values: Float, gives: str) -> Float:
        """Return the scores of what a transformation gives: see `Candidate.gives`."""
        if gives == "scores" or self.is_normal:
            return values
        if gives == "standard":
            values = self.mean + self.std * values
        upper = values > self.mean
        mass = np.asarray(self.law.mass(values, upper), np.float64)
        with np.errstate(divide="ignore"):
            deep = ndtri(mass)
        return np.where(upper, -deep, deep)


def cross_fitted(values: Float, goal: Goal) -> Estimates:
    """Return the estimates for columns (n, d) of finite values, in random order.

    Each transformation is fitted to the first half of the rows and measured on the second, then the
    other way round; the two divergences are averaged.
    """
    rows = torch.from_numpy(np.ascontiguousarray(values, np.float64))
    largest = rows.abs().amax(0)
    unit = torch.where(largest > 0, largest, 1.0)  # or squares would overflow, or vanish
    parameters = np.full((len(PARAMETERS), rows.shape[1]), np.nan)
    found = [
        _candidate(
            candidate, rows if candidate.gives == "values" else rows / unit, goal, parameters
        )
        for candidate in CANDIDATES
    ]
    with np.errstate(over="ignore", under="ignore"):
        parameters[GAINS] /= unit.numpy()
    kl, error = (np.stack(part) for part in zip(*found, strict=True))
    with np.errstate(invalid="ignore"):
        low, high = np.maximum(kl - Z * error, 0.0), np.maximum(kl, 0.0) + Z * error
    return Estimates(kl, error, low, high, parameters)


def _candidate(
    candidate: Candidate, rows: torch.Tensor, goal: Goal, parameters: Float
) -> tuple[Float, Float]:
    """Return KL and standard error of one transformation; write the parameters that it has."""
    kls, errors, logs = [], [], []
    middle = len(rows) // 2
    halves = (rows[:middle], rows[middle:])
    with torch.no_grad():
        for fitted_to, other in (halves, halves[::-1]):
            fitted = candidate.fit(fitted_to)
            scores = goal.scores(fitted.apply(other).numpy(), candidate.gives)
            found = kl_estimate(scores)
            kls.append(_beyond(scores, found.statistic - found.bias))
            errors.append(found.standard_error)
            logs.append({name: value.log().numpy() for name, value in fitted.parameters.items()})
    for name in logs[0]:
        place = PARAMETERS.index(f"{candidate.name}_{name}")
        parameters[place] = np.exp((logs[0][name] + logs[1][name]) / 2)
    with np.errstate(over="ignore", invalid="ignore"):
        return (kls[0] + kls[1]) / 2, np.hypot(*errors) / 2


def _beyond(scores: Float, kl: Float) -> Float:
    """Return the divergences, but inf where scores are, or their squares, NaN where one is."""
    kl = np.where((np.abs(scores) > HUGE).any(axis=0), np.inf, kl)
    return np.where(np.isnan(scores).any(axis=0), np.nan, kl)
