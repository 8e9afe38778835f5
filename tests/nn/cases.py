"""The layers, each as the tests over all of them take it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import distfit_nn.nn as dnn


@dataclass(frozen=True)
class Case:
    """A layer and what holds for it.

    `normalises`: its training output does not change with the location and scale of a column.
    `fixed`: it has one map, whatever the batch. `order`: what a batch needs more rows than.
    """

    name: str
    make: Callable[..., nn.Module]
    dims: int = 1
    normalises: bool = True
    fixed: bool = False
    order: int = 2

    def __call__(self, features: int, **options: Any) -> nn.Module:
        return self.make(features, **options)


def _with(layer: Callable[..., nn.Module], **own: Any) -> Callable[..., nn.Module]:
    return lambda features, **options: layer(features, **own, **options)


CASES = [
    Case("log_shift", dnn.LogShift, normalises=False, fixed=True),
    Case("sqrt_shift", dnn.SqrtShift, normalises=False, fixed=True),
    Case("frozen_shift", _with(dnn.SqrtShift, learnable=False), normalises=False, fixed=True),
    Case("kl", dnn.KLNorm1d, normalises=False),
    Case("kl_closed", _with(dnn.KLNorm1d, form="closed")),
    Case("mle", dnn.MLENorm1d, normalises=False),
    Case("trimmed", dnn.TrimmedNorm1d),
    Case("moment2", _with(dnn.MomentNorm1d, order=2)),
    Case("moment4", _with(dnn.MomentNorm1d, order=4), order=4),
    Case("moment6", _with(dnn.MomentNorm1d, order=6), order=6),
    Case("moment4_bimodal", _with(dnn.MomentNorm1d, order=4, target="bimodal"), order=4),
    Case("copula", dnn.CopulaNorm1d),
    Case("copula50", _with(dnn.CopulaNorm1d, strength=50.0)),
    Case("copula_linear", _with(dnn.CopulaNorm1d, test_phase="linear")),
    Case("copula_bimodal", _with(dnn.CopulaNorm1d, target="bimodal")),
]
PLANES = [
    Case("log_shift", dnn.LogShift, 2, normalises=False, fixed=True),
    Case("kl", dnn.KLNorm2d, 2, normalises=False),
    Case("trimmed", dnn.TrimmedNorm2d, 2),
    Case("moment4", dnn.MomentNorm2d, 2, order=4),
    Case("copula", dnn.CopulaNorm2d, 2),
]
EVERY = CASES + PLANES


def name_of(case: Any) -> str | None:
    """Return the id of a parameter of a test."""
    return f"{case.name}_{case.dims}d" if isinstance(case, Case) else None


def batch(case: Case, rows: int = 24, features: int = 3, dtype: Any = torch.float32) -> Tensor:
    """Return a batch with columns of several shapes: normal, skewed, bimodal, ..."""
    generator = torch.Generator().manual_seed(17)
    z = torch.randn(rows, features, generator=generator, dtype=torch.float64)
    z[:, 1::3] = z[:, 1::3].exp()
    z[:, 2::3] += torch.where(torch.rand(rows, 1, generator=generator) < 0.5, -2.0, 2.0)
    z = 1.5 * z + 0.3
    if case.dims == 1:
        return z.to(dtype)
    return z.reshape(rows // 6, 2, 3, features).permute(0, 3, 1, 2).to(dtype).contiguous()


def rows_of(y: Tensor) -> Tensor:
    """Return (N, C, ...) as rows of features."""
    return y.movedim(1, -1).reshape(-1, y.shape[1])


def trained(layer: nn.Module, x: Tensor, steps: int = 3) -> nn.Module:
    """Return the layer after it has seen a batch some times."""
    layer.train()
    with torch.no_grad():
        for _ in range(steps):
            layer(x)
    return layer
