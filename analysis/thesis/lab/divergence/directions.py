"""Columns measured by KL(p || q) and by KL(q || p): what is told of many of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

import distfit_nn as dn
from lab import training

Array = NDArray[np.float64]

SHAPES = ("near normal", "skewed", "heavy-tailed", "short-tailed", "bounded")
STRONG = 0.5  # a skewness, or an excess kurtosis, that gives a column its name
WORST = 0.1  # share of the columns that are called the worst


def joined(runs: Sequence[Mapping[str, Any]], *, bounded: bool) -> dict[str, Array]:
    """Return the columns of several networks as one, each with the name of its shape."""
    names = ("skewness", "kurtosis", "raw", "raw_reverse", "standard", "standard_reverse")
    found = {
        name: np.concatenate([run[name] for run in runs])
        for name in (*names, "mu", "sigma", "by_line", "by_map")
    }
    found["shape"] = shapes(found["skewness"], found["kurtosis"], bounded)
    found["ratio"] = found["standard_reverse"] / found["standard"]
    chosen, start = [], 0
    for run in runs:
        chosen.append(np.array(run["chosen"]) + start)
        start += len(run["raw"])
    found["mapped_shape"] = found["shape"][np.concatenate(chosen)]
    return found


def together(groups: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    """Return the columns of several groups as those of one."""
    listed = list(groups)
    return {name: np.concatenate([group[name] for group in listed]) for name in listed[0]}


def shapes(skewness: Array, kurtosis: Array, bounded: bool) -> NDArray[np.str_]:
    """Return what each column is called; skewness comes first."""
    if bounded:
        return np.full(len(skewness), "bounded", dtype="<U12")
    rules = [abs(skewness) > STRONG, kurtosis > STRONG, kurtosis < -STRONG]
    return np.select(rules, ["skewed", "heavy-tailed", "short-tailed"], "near normal")


def of_group(runs: Sequence[Mapping[str, Any]], pooled: Mapping[str, Array]) -> dict[str, Any]:
    """Return ratios over all columns, and how the directions rank them, network by network."""

    def ranked(first: str, second: str) -> dict[str, Any]:
        return training.spread([float(spearmanr(run[first], run[second])[0]) for run in runs])

    def shared(first: str, second: str) -> dict[str, Any]:
        return training.spread([worst_shared(run[first], run[second]) for run in runs])

    return {
        "columns": len(pooled["raw"]),
        "ratio_raw": quantiles(pooled["raw_reverse"] / pooled["raw"]),
        "ratio_standardised": quantiles(pooled["ratio"]),
        "rank_raw": ranked("raw", "raw_reverse"),
        "rank_standardised": ranked("standard", "standard_reverse"),
        "worst_raw": shared("raw", "raw_reverse"),
        "worst_standardised": shared("standard", "standard_reverse"),
        "rank_by_order": ranked("standard", "lower"),
        "rank_by_order_reverse": ranked("standard_reverse", "lower_reverse"),
    }


def worst_shared(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the share of the worst tenth by one measure that is in that by the other."""
    count = max(1, round(WORST * len(first)))
    worst = [set(np.argsort(-np.array(each))[:count].tolist()) for each in (first, second)]
    return len(worst[0] & worst[1]) / count


def of_lines(mu: Array, sigma: Array) -> dict[str, Any]:
    """Return the lines that the second direction chooses, and what they cost in the first."""
    cost = dn.stats.kl_from_moments(mu / sigma, 1 / sigma**2)
    return {
        "mu": quantiles(np.abs(mu)),
        "sigma": quantiles(sigma),
        "off": float(np.median(np.abs(sigma - 1))),
        "cost": quantiles(cost),
    }


def of_shape(columns: Mapping[str, Array], shape: str) -> dict[str, Any]:
    """Return the asymmetry of the columns of one shape."""
    own = columns["shape"] == shape
    return {
        "columns": int(own.sum()),
        "ratio": quantiles(columns["ratio"][own]),
        "forward": float(np.nanmedian(columns["standard"][own])),
        "reverse": float(np.nanmedian(columns["standard_reverse"][own])),
        "sigma": quantiles(columns["sigma"][own]),
    }


def of_map(straight: Array, curved: Array) -> dict[str, Any]:
    """Return the divergences of held-out rows, by a line and by the map."""
    return {
        "columns": len(straight),
        "by_line": float(np.median(straight)),
        "by_map": float(np.median(curved)),
        "removed": float(100 * (1 - curved.mean() / straight.mean())),
        "better": float(100 * np.mean(curved < straight)),
    }


def quantiles(values: Array) -> dict[str, float]:
    """Return the 5th, the 50th and the 95th percentile of the finite values."""
    low, middle, high = np.percentile(values[np.isfinite(values)], (5, 50, 95))
    return {"low": float(low), "median": float(middle), "high": float(high)}
