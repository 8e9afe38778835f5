"""Columns for Newton's method, and how it does on them: tasks for `Script.each`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import distfit_nn as dn
from lab import data
from lab.data import Source
from lab.matching import moments, newton
from lab.matching.newton import BASES

Array = NDArray[np.float64]

ORDERS = (2, 4, 6, 8)
NODES = 256
FEWER = (32, 64, 128, 256, 512)
BATCH = 50
DRAWS = 2000  # values of a hard column
DTYPES = ("float64", "float32")
WHAT = ("residual", "steps")
PACKAGE = "maxent.fit"


@dataclass(frozen=True)
class Columns:
    """Which columns to fit: a group, how many, and after how much training."""

    group: str
    columns: int
    rows: int
    seen: int
    seed: int
    orders: tuple[int, ...] = ORDERS


def hard(columns: int, seed: int) -> Array:
    """Return skewed, bimodal and heavy-tailed columns in turn, (draws, columns)."""
    rng = np.random.default_rng(seed)
    signs = rng.choice((-1.0, 1.0), (DRAWS, columns), p=(0.3, 0.7))
    kinds = (
        rng.gamma(0.5, size=(DRAWS, columns)),
        rng.lognormal(0.0, 1.0, (DRAWS, columns)),
        3 * signs + rng.normal(size=(DRAWS, columns)),
        8 * signs + rng.normal(size=(DRAWS, columns)),
        rng.standard_t(3, (DRAWS, columns)),
    )
    return np.stack([kinds[j % len(kinds)][:, j] for j in range(columns)], axis=1)


def columns_of(setting: Columns, source: Source) -> Array:
    """Return the columns of a group, (rows, columns)."""
    if setting.group == "hard":
        return hard(setting.columns, setting.seed)
    seen = 0 if setting.group == "before training" else setting.seen
    model = moments.network(source, "Regular", seen, setting.seed)
    x = moments.pre_activations(model, data.images(source).test.pixels[: setting.rows])
    x = x[:, np.linspace(0, x.shape[1] - 1, setting.columns).astype(int)]
    if setting.group == "batches of 50":
        return x[:BATCH]
    if setting.group == "range 100":
        return 100 * x / np.ptp(x, axis=0)
    if setting.group == "mean 10 std":
        return x + 10 * x.std(axis=0) - x.mean(axis=0)
    return x


def solved(setting: Columns, source: Source) -> dict[str, Any]:
    """Fit all columns at all orders in all bases: a task for `Script.each`.

    {order: {name: {number: [column by column]}}}, the names those of the bases and the package.
    """
    with threadpool_limits(1):
        x = columns_of(setting, source)
        return {str(order): at_order(x, order) for order in setting.orders}


def at_order(x: Array, order: int) -> dict[str, dict[str, list[Any]]]:
    """Return residuals, steps and conditions of each basis and of the package, column by column."""
    fitted = dn.maxent.fit(x, order=order)
    found: dict[str, dict[str, list[Any]]] = {
        name: {"condition": [], **{f"{what} {dtype}": [] for what in WHAT for dtype in DTYPES}}
        for name in BASES
    }
    found[PACKAGE] = {"residual float64": [], "steps float64": fitted.iterations.tolist()}
    for j, column in enumerate(x.T):
        rule = newton.fine_rule(newton.support(column))
        density = fitted[j].pdf(rule[0])
        own = newton.residual(column, order, rule, density)
        found[PACKAGE]["residual float64"].append(own)
        for name in BASES:
            basis = newton.basis_of(name, column)
            found[name]["condition"].append(newton.condition(order, basis, rule, density))
            for dtype in DTYPES:
                end = newton.newton(column, order, basis, NODES, getattr(np, dtype))
                reached = newton.density_at(rule[0], order, basis, end.gamma)
                error = newton.residual(column, order, rule, reached)
                found[name][f"residual {dtype}"].append(error)
                found[name][f"steps {dtype}"].append(end.steps)
    return found


def by_nodes(setting: Columns, source: Source) -> dict[str, Any]:
    """Fit all columns in the last basis with fewer and more nodes: a task for `Script.each`.

    {order: {nodes: [residual, column by column]}}.
    """
    found: dict[str, Any] = {}
    with threadpool_limits(1):
        x = columns_of(setting, source)
        for order in setting.orders:
            errors: dict[str, list[float]] = {str(nodes): [] for nodes in FEWER}
            for column in x.T:
                rule = newton.fine_rule(newton.support(column))
                basis = newton.basis_of(BASES[-1], column)
                for nodes in FEWER:
                    gamma = newton.newton(column, order, basis, nodes).gamma
                    density = newton.density_at(rule[0], order, basis, gamma)
                    errors[str(nodes)].append(newton.residual(column, order, rule, density))
            found[str(order)] = errors
    return found
