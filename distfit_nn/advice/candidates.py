"""The transformations that `suggest` compares: fitted on some rows of a unit, applied to others.

Each is what a layer of `distfit_nn.nn` does once it is trained: its own code, at its own settings,
followed by the line that brings the fitted rows to mean 0 and variance 1, which its weight and bias
can learn. All work on columns (n, d) of tensors in float64, many units at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distfit_nn.nn import CopulaNorm1d, LogShift, MomentNorm1d, SqrtShift
from distfit_nn.nn.shifts import Shift

Map = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]  # of columns (n, d) and logarithms (2, d)

STRENGTH = 20.0  # the layer's 5 blurs two modes; ranks proper follow the noise of some 500 rows
# The search for a shift's gain and exponent, in logarithms; the gain in units of 1 / scale.
GAINS = (-3.0, -1.0, 1.0, 3.0, 6.0, 10.0)
EXPONENTS = (-0.7, 0.0, 0.7)
STEPS = (1.0, 0.35)  # half the distances above: the first steps from the best of these points
HALVINGS, MOVES = 6, 2
# Along the axes, and those two along which gain and exponent trade.
DIRECTIONS = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (1.0, -1.0), (-1.0, 1.0))


class Fitted(NamedTuple):
    """A transformation that was fitted.

    Attributes
    ----------
    apply : callable
        Takes columns (m, d), returns what becomes of them.
    parameters : dict of str to tensor (d,)
        What a layer would start from, in units of x.
    """

    apply: Map
    parameters: dict[str, Tensor]


Fit = Callable[[Tensor], Fitted]


class Candidate(NamedTuple):
    """One transformation.

    Attributes
    ----------
    name : str
    level : int
        How simple it is, from 0; of two of one level neither is simpler.
    gives : {"values", "standard", "scores"}
        What it gives: values as they are; values of mean 0 and variance 1; or scores that are to be
        N(0, 1) whatever the target is, which the layer's own target takes on from there.
    layer : str or None
        Class of `distfit_nn.nn` that computes it, "BatchNorm" for torch's own.
    options : dict
        Arguments of that class.
    fit : callable
        Takes columns (n, d), returns what is fitted to them.
    """

    name: str
    level: int
    gives: str
    layer: str | None
    options: dict[str, Any]
    fit: Fit


def identity(_: Tensor) -> Fitted:
    """Leave everything as it is."""
    return Fitted(lambda x: x, {})


def affine(x: Tensor) -> Fitted:
    """Standardise: batch norm, without eps."""
    return Fitted(_standardised_by(x), {})


def _standardised_by(x: Tensor) -> Map:
    """Return the line that brings the columns of x to mean 0 and variance 1."""
    mean, std = x.mean(0), x.std(0, correction=0)
    return lambda new: (new - mean) / std


def moment(order: int) -> Fit:
    """Match the first `order` moments: `MomentNorm1d`."""
    return _normed(lambda d: MomentNorm1d(d, order=order, **_LAYER))


def copula(strength: float) -> Fit:
    """Take normal scores of soft ranks: `CopulaNorm1d`."""
    return _normed(lambda d: CopulaNorm1d(d, strength=strength, **_LAYER))


_LAYER: dict[str, Any] = {"momentum": 1.0, "affine": False, "dtype": torch.float64}


def _normed(make: Callable[[int], torch.nn.Module]) -> Fit:
    """Return the test phase of a layer that was trained on x, with the line that fits it."""

    def fit(x: Tensor) -> Fitted:
        first = _standardised_by(
            x
        )  # so that the layer's eps is relative to the scale of the column
        layer = make(x.shape[1])
        layer.train()
        layer(first(x))
        layer.eval()
        return Fitted(_lined(x, lambda new: layer(first(new))), {})

    return fit


def _lined(x: Tensor, apply: Map) -> Map:
    """Return a map followed by the line that standardises its result on x."""
    line = _standardised_by(apply(x))
    return lambda new: line(apply(new))


# Shifts


def shift(kind: type[Shift]) -> Fit:
    """Fit gain, exponent and line of a shift by maximum likelihood of normal scores.

    With S the shift of a gain b and an exponent c, and the line that standardises S(x), the KL
    from N(0, 1) is, but for what b and c do not change,

        log std(S(x)) - E log S'(x),

    which is searched for its least value: on a grid, then in steps that halve.
    """

    def fit(x: Tensor) -> Fitted:
        scale = _size(x)
        rows = (x / scale).float()  # which the layer's compiled kernels take
        logs = _search(partial(_loss, kind), rows).double()
        layer = shift_layer(kind, logs, torch.float64)
        gain, exponent = [*kind.STARTS][-2:]
        found = {gain: logs[0].exp() / scale, exponent: logs[1].exp()}
        return Fitted(_lined(x, lambda new: layer(new / scale)), found)

    return fit


def _size(x: Tensor) -> Tensor:
    """Return the median magnitude of each column, or the largest where that is 0."""
    size = x.abs()
    median = size.median(0).values
    return torch.where(median > 0, median, size.amax(0))


def shift_layer(kind: type[Shift], logs: Tensor, dtype: torch.dtype) -> Shift:
    """Return a shift with the logarithms (2, d) of gain and exponent; its outer gain is 1."""
    layer = kind(logs.shape[1], affine=False, learnable=False, dtype=dtype)
    names = list(kind.STARTS)
    with torch.no_grad():
        for name in names[:-2]:
            getattr(layer, f"log_{name}").zero_()
        for name, log in zip(names[-2:], logs, strict=True):
            getattr(layer, f"log_{name}").copy_(log)
    return layer.eval()


def _loss(kind: type[Shift], x: Tensor, logs: Tensor) -> Tensor:
    """Return log std(S(x)) - E log S'(x) of each column; inf where it cannot be computed."""
    layer = shift_layer(kind, logs, x.dtype)
    points = x.detach().requires_grad_()
    with torch.enable_grad():
        y = layer(points)
        (slope,) = torch.autograd.grad(y.sum(), points)
    spread = y.detach().std(0, correction=0).log()
    loss = spread - slope.clamp(min=torch.finfo(x.dtype).tiny).log().mean(0)
    return torch.where(loss.isfinite(), loss, torch.inf)


def _search(loss: Loss, x: Tensor) -> Tensor:
    """Return the logarithms (2, d) of least loss for the columns of x (n, d)."""
    steps = torch.tensor(STEPS)
    grid = torch.cartesian_prod(torch.tensor(GAINS), torch.tensor(EXPONENTS))
    best = torch.zeros(2, x.shape[1])
    least = torch.full((x.shape[1],), torch.inf)
    best, least = _best_of(loss, x, grid[:, :, None] + best, best, least)
    for halving in range(HALVINGS):
        for _ in range(MOVES):
            moves = torch.tensor(DIRECTIONS) * steps / 2**halving
            best, least = _best_of(loss, x, best + moves[:, :, None], best, least)
    return best


def _best_of(
    loss: Loss, x: Tensor, points: Tensor, best: Tensor, least: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the best of points (P, 2, d) and what was best so far, and its loss.

    All points are tried in one call, side by side.
    """
    several, _, d = points.shape
    losses = loss(x.repeat(1, several), points.movedim(0, 1).reshape(2, -1)).view(several, d)
    lowest, place = losses.min(0)
    point = points.take_along_dim(place.expand(1, 2, d), 0)[0]
    lower = lowest < least
    return torch.where(lower, point, best), torch.where(lower, lowest, least)


CANDIDATES = (
    Candidate("none", 0, "values", None, {}, identity),
    Candidate("affine", 1, "standard", "BatchNorm", {}, affine),
    Candidate("log_shift", 2, "standard", "LogShift", {}, shift(LogShift)),
    Candidate("sqrt_shift", 2, "standard", "SqrtShift", {}, shift(SqrtShift)),
    Candidate("moment_4", 3, "scores", "MomentNorm1d", {"order": 4}, moment(4)),
    Candidate("moment_6", 4, "scores", "MomentNorm1d", {"order": 6}, moment(6)),
    Candidate("copula", 5, "scores", "CopulaNorm1d", {"strength": STRENGTH}, copula(STRENGTH)),
)
