"""Columns carried to N(0, 1) by their moments, and how near they come: a task for `Script.each`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import distfit_nn as dn
from lab import data
from lab.data import Source
from lab.matching import moments

Array = NDArray[np.float64]

ORDERS = (2, 4, 6)
PICKED = (0.0, 0.5, 0.9, 1.0)  # columns to draw: quantiles of the distance at k = 2


@dataclass(frozen=True)
class Columns:
    """Which columns: pre-activations of a network, or pixels; rows to fit and to judge by."""

    kind: str
    rows: int
    fresh: int
    seen: int
    seed: int


def columns_of(setting: Columns, source: Source) -> tuple[Array, Array]:
    """Return the rows to fit and fresh ones, test images in a random order."""
    pixels = data.images(source).test.pixels
    order = np.random.default_rng(setting.seed).permutation(len(pixels))[
        : setting.fresh + setting.rows
    ]
    chosen = pixels[order]
    if setting.kind == "pixels":
        x = chosen.flatten(1).double().numpy()
    else:
        layer, seen = setting.kind, setting.seen
        if setting.kind == "before training":
            layer, seen = "Regular", 0
        x = moments.pre_activations(moments.network(source, layer, seen, setting.seed), chosen)
    return x[setting.fresh :], x[: setting.fresh]


def fitted(setting: Columns, source: Source) -> dict[str, Any]:
    """Fit and carry all columns at each order: a task for `Script.each`.

    The values of the columns that may be drawn are kept: [number of the column, values].
    """
    x, fresh = columns_of(setting, source)
    orders = {str(order): at_order(x, fresh, order) for order in ORDERS}
    fine = np.all([np.array(found["status"]) == 0 for found in orders.values()], axis=0)
    distance = np.where(fine, orders[str(ORDERS[0])]["distance"], np.inf)
    ranked = np.argsort(distance)[: int(fine.sum())]
    picked = [int(ranked[round(share * (len(ranked) - 1))]) for share in PICKED]
    values = [[j, [float(f"{value:.4g}") for value in x[:, j]]] for j in picked]
    return {"orders": orders, "picked": values}


def at_order(x: Array, fresh: Array, order: int) -> dict[str, list[float]]:
    """Return how each column was fitted, and how near N(0, 1) it was carried."""
    carry = dn.transforms.QuantileMap.fit(x, order)
    density, y, y_fresh = carry.source, carry.forward(x), carry.forward(fresh)
    own = dn.stats.kolmogorov_smirnov(y)
    shape = dn.stats.moments(y_fresh)
    found = {
        "status": density.status,
        "residual": density.residual,
        "iterations": density.iterations,
        "distance": own.statistic,
        "chance": own.chance,
        "fresh": dn.stats.kolmogorov_smirnov(y_fresh).statistic,
        "skewness": shape.skewness,
        "kurtosis": shape.kurtosis,
        "outside": density.mass_outside(),
    }
    return {name: np.broadcast_to(each, x.shape[1:]).tolist() for name, each in found.items()}
