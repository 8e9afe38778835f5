"""What a layer may make of its columns: y = F^-1(Phi(z)) of their normal scores z, F its target."""

from __future__ import annotations

import copy
import math
import reprlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor, nn
from torch.distributions import Distribution

from distfit_nn._checks import positive_int
from distfit_nn.errors import InputError
from distfit_nn.maxent.tensors.density import TensorDensity
from distfit_nn.nn.targets.mixture import GaussianMixture
from distfit_nn.nn.targets.quantile_table import EDGE, Source, TableTarget, tabulate
from distfit_nn.targets import arrays, tensors

__all__ = ["BIMODAL", "GaussianMixture", "UniformTarget", "as_target"]

BIMODAL = ((0.6, 0.4), (-0.7, 1.05), (0.3, math.sqrt(0.5275)))  # weights, means, scales
"""The shape that the thesis saw behind batch norm: a higher, narrower peak just below zero (0.80
high at -0.70) and a lower, wider one above (0.22 high at 1.04). Its mean is 0 and its variance 1,
0.6 (0.3^2 + 0.7^2) + 0.4 (0.5275 + 1.05^2), as those of the normal scores that it replaces."""

LEVELS = (np.arange(31) + 0.5) / 31  # at which a distribution must take its quantiles back
OFF = 1e-3  # how far a level may come back from itself,
SEVERAL = 3  # in fewer cases than these

ROUNDED_EDGE = 6.0  # of z: beyond, 1 - cdf has too few digits left for TOLERANCE

Array = NDArray[np.float64]


class UniformTarget(nn.Module):
    """Phi(z), the uniform distribution on [0, 1]."""

    learnable = False
    columns = 1

    def forward(self, z: Tensor) -> Tensor:
        """Return y of the shape of z, exact near 0, too."""
        return torch.erfc(z / -math.sqrt(2)) / 2


def as_target(
    value: Any,
    num_features: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module | None:
    """Return what makes a target's values of normal scores, None for the normal law itself.

    Parameters
    ----------
    value : str or distribution
        One of:

        - "normal": N(0, 1);
        - "uniform": the uniform law on [0, 1];
        - "bimodal": the mixture `BIMODAL`, a higher, narrower peak just below zero and a lower,
          wider one above, of mean 0 and variance 1;
        - any distribution with cdf, ppf and a density, not a discrete one: a frozen one of SciPy,
          one of torch.distributions, what `maxent.fit` or `maxent.fit_moments` gives; one for all
          features or one for each;
        - a `GaussianMixture`, fixed or learnable;
        - the target of another layer.
    num_features : int
        Number of features of the layer.
    device, dtype
        Of the layer.

    Returns
    -------
    nn.Module or None
        Its forward takes blocks z (N, C, L) to F^-1(Phi(z)), entry by entry, with gradients in z
        and its parameters, once. Its `learnable` tells whether it has such. It is a copy: what it
        was made from is left alone and may serve several layers.

    Raises
    ------
    InputError
        The value is no such target, has no density or no finite median, or its columns are not
        as many as the features.

    Notes
    -----
    A fixed distribution is tabulated in z, see `quantile_table`: where its quantile function is
    smooth within 1e-6 of y, relative to abs(y) or the distance of a median from the quartiles'
    neighbours y(-1), y(1), whichever is larger, in float32 and float64, for abs(z) <= 8.5 (6 where
    the distribution tells masses above a point as 1 - cdf only); beyond on straight lines. Tables
    do not enter the state_dict. Parameters of torch distributions are taken as constants.

    A layer with a target gives one row, whose scores are 0, weight * (median of the target) + bias.
    """
    columns = positive_int(num_features, "num_features")
    if isinstance(value, str) and value == "normal":
        return None
    if isinstance(value, str) and value == "uniform":
        return UniformTarget()
    name = value if isinstance(value, str) else _name(value)
    if isinstance(value, str) and value == "bimodal":
        value = GaussianMixture(*BIMODAL, dtype=torch.float64)
    if isinstance(value, (UniformTarget, TableTarget)):
        _check_columns(value.columns, columns)
        return copy.deepcopy(value).to(device=device, dtype=dtype)
    if isinstance(value, GaussianMixture) and value.learnable:
        return _own_mixture(value, columns).to(device=device, dtype=dtype)
    if not _is_distribution(value):
        raise InputError(
            'target must be "normal", "uniform", "bimodal" or a distribution with cdf and ppf, '
            f"got {reprlib.repr(value)}"
        )
    if isinstance(value, GaussianMixture):
        value = copy.deepcopy(value).double()
    if _is_discrete(value):
        raise InputError(f"target must have a density, got the discrete {name}")
    # Whatever device is the default, that of the table included, numbers are worked out on the CPU.
    with torch.device("cpu"):
        source, count = _source(value)
        _check_columns(count, columns)
        cubics = tabulate(source)
    return TableTarget(cubics, name, device, dtype)


def _is_distribution(value: Any) -> bool:
    if isinstance(value, (Distribution, TensorDensity)):
        return True
    methods = arrays.method(value, "cdf"), arrays.method(value, "ppf")
    return not isinstance(value, (str, type)) and all(map(callable, methods))


def _name(value: Any) -> str:
    """Return what a target is called in print."""
    made_by = type(value).__module__.split(".")[0]
    own = str(getattr(getattr(value, "dist", None), "name", type(value).__name__))
    return f"{made_by} {own}" if made_by in ("scipy", "torch") else own


def _is_discrete(value: Any) -> bool:
    """Return whether a distribution tells that it is one of points."""
    if isinstance(value, Distribution):
        try:
            return bool(getattr(value.support, "is_discrete", False))
        except NotImplementedError:
            return False
    return hasattr(value, "pmf") and not (hasattr(value, "pdf") or hasattr(value, "logpdf"))


def _check_density(below: Array) -> None:
    """Refuse a distribution whose masses below its quantiles of `LEVELS` (31, d) are not these.

    NaN is another rule's.
    """
    off = np.abs(below - LEVELS[:, None]) > OFF
    bad = np.flatnonzero(off.sum(axis=0) >= SEVERAL)
    if len(bad):
        level = int(np.argmax(off[:, bad[0]]))
        raise InputError(
            f"target must have a density, with cdf(ppf(q)) = q, got {below[level, bad[0]]:.4g} at "
            f"q = {LEVELS[level]:.4g} in column {bad[0]}"
        )


def _check_columns(count: int | None, columns: int) -> None:
    if count not in (1, columns):
        raise InputError(
            f"target must be one distribution, or {columns} for as many features, got {count}"
        )


def _own_mixture(mixture: GaussianMixture, columns: int) -> GaussianMixture:
    """Return a copy with parameters for each feature where their number was left open."""
    own = copy.deepcopy(mixture)
    if own.num_features is None:
        for name, shared in list(own.named_parameters()):
            setattr(own, name, nn.Parameter(shared.detach().repeat(columns, 1)))
    _check_columns(own.num_features, columns)
    return own


def _source(value: Any) -> tuple[Source, int]:
    """Return what a table is made from, and of how many columns."""
    if isinstance(value, (Distribution, TensorDensity)):
        return _source_of_tensors(value)
    law = arrays.as_target(value)
    count = law.columns() or 1

    def quantile(z: Array) -> Array:
        mass, upper = _tails(z, count)
        return law.quantile(mass, upper)

    with np.errstate(all="ignore"):
        points = np.broadcast_to(LEVELS[:, None], (len(LEVELS), count))
        lower = np.zeros(points.shape, bool)
        at = law.quantile(points.copy(), lower)
        _check_density(np.where(np.isfinite(at), law.mass(at, lower), np.nan))
    exact = getattr(law, "exact_upper", True)
    return Source(quantile, -EDGE, EDGE if exact else ROUNDED_EDGE, law.ends()), count


def _source_of_tensors(value: Any) -> tuple[Source, int]:
    if isinstance(value, TensorDensity):
        count, device = len(value), value.loc.device
    else:
        count, device = math.prod(value.batch_shape + value.event_shape), _device(value)
    if device.type == "meta":
        raise InputError(f"target must have numbers, got a {_name(value)} on the meta device")
    law = tensors.as_target(value, count, device)

    @torch.no_grad()
    def quantile(z: Array) -> Array:
        mass, above = (torch.as_tensor(part, device=device) for part in _tails(z, count))
        return np.asarray(law.quantile(mass, above).double().cpu())

    with torch.no_grad():
        q = torch.as_tensor(LEVELS, device=device)[:, None].repeat(1, count)
        at = law.quantile(q, torch.zeros_like(q, dtype=torch.bool))
        mass, above = law.mass(at)
        below = torch.where(at.isfinite(), torch.where(above, 1 - mass, mass), torch.nan)
    _check_density(np.asarray(below.double().cpu()))
    edge = EDGE if law.exact_upper else ROUNDED_EDGE
    lower, upper = (np.asarray(torch.as_tensor(end).double().cpu()) for end in law.ends())
    return Source(quantile, -edge, edge, (lower, upper)), count


def _device(law: Distribution) -> torch.device:
    """Return where the parameters of a distribution are."""
    held = [part for part in vars(law).values() if isinstance(part, Tensor)]
    return held[0].device if held else torch.device("cpu")


def _tails(z: Array, count: int) -> tuple[Array, NDArray[np.bool_]]:
    """Return the masses of normal tails that end at z (m,), and whether they are upper ones."""
    shape = (len(z), count)
    mass = np.broadcast_to(ndtr(-np.abs(z))[:, None], shape)
    return mass.copy(), np.broadcast_to((z > 0)[:, None], shape).copy()
