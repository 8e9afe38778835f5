"""Calibration, power, false discoveries and time of the tests of normality, and a figure of them.

    python analysis/benchmarks/normality.py [--replicates 2000]

Calibration: the share of p < 0.05 of normal samples; beside it what the usual chi-squared limits
would give for the two statistics of moments. Power: the same share for four laws that are not
normal. False discoveries: of 1,000 units of 200 values 800 are normal, with and without a common
cause; the others are gamma(4). Time: 1,000 columns of 5,000 values, one thread, against scipy and
statsmodels, called on the whole where they take columns and in a loop where they do not.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats import diagnostic

from distfit_nn.stats.l_moments import l_moments_of_rows
from distfit_nn.stats.multiplicity import adjusted
from distfit_nn.stats.normality.tests import QUICK, TESTS, normality_of_rows
from distfit_nn.stats.rows import sorted_rows

SIZES = (50, 500, 5000)
POWER_SIZES = (20, 35, 50, 100, 200, 500)
LEVEL = 0.05
COLUMNS = 100  # replicates drawn at once
NAMES = {
    "jarque_bera": "Jarque-Bera",
    "dagostino": "D'Agostino K²",
    "anderson_darling": "Anderson-Darling",
    "lilliefors": "Lilliefors",
    "shapiro_wilk": "Shapiro-Wilk",
}
LIMITS = {"jarque_bera": "Jarque-Bera, χ² limit", "dagostino": "D'Agostino K², χ² limit"}
UNITS, FALSE, UNIT_SIZE = 1000, 800, 200

Draw = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]


def mixture(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Two normal laws in equal shares, three standard deviations apart."""
    return rng.normal(size=shape) + 3 * (rng.random(shape) < 0.5)


LAWS: dict[str, Draw] = {
    "Student t(5)": lambda rng, shape: rng.standard_t(5, shape),
    "gamma(4)": lambda rng, shape: rng.gamma(4, size=shape),
    "uniform": lambda rng, shape: rng.random(shape),
    "two normals 3 sd apart": mixture,
}


def pvalues_of(draw: Draw, n: int, replicates: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Return the p-values of every test, and those by the limits, of samples of a law."""
    rng = np.random.default_rng([seed, n])
    found: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, replicates, COLUMNS):
        x = draw(rng, (n, min(COLUMNS, replicates - start)))
        for name, result in normality_of_rows(sorted_rows(x), TESTS).items():
            found.setdefault(NAMES[name], []).append(result.pvalue)
            if name in LIMITS:
                found.setdefault(LIMITS[name], []).append(np.exp(-result.statistic / 2))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def calibration(replicates: int) -> pd.DataFrame:
    """Share of p-values below levels of normal samples."""
    lines = []
    for n in SIZES:
        pvalues = pvalues_of(lambda rng, shape: rng.normal(size=shape), n, replicates, 1)
        for name, p in pvalues.items():
            lines += [(name, n, level, np.mean(p < level)) for level in (0.1, LEVEL, 0.01)]
    return pd.DataFrame(lines, columns=["test", "n", "level", "share"])


def power(replicates: int) -> pd.DataFrame:
    """Share of p < LEVEL of samples that are not normal, by the calibrated p-values."""
    lines = []
    for number, (law, draw) in enumerate(LAWS.items()):
        for n in POWER_SIZES:
            pvalues = pvalues_of(draw, n, replicates, 10 + number)
            shares = {name: np.mean(pvalues[name] < LEVEL) for name in NAMES.values()}
            lines += [(law, name, n, share) for name, share in shares.items()]
    return pd.DataFrame(lines, columns=["law", "test", "n", "power"])


def units(rng: np.random.Generator, shared: float) -> NDArray[np.float64]:
    """Draw normal units with a common cause of share `shared`, then gamma(4) ones."""
    x = np.sqrt(1 - shared) * rng.normal(size=(UNIT_SIZE, UNITS))
    x += np.sqrt(shared) * rng.normal(size=(UNIT_SIZE, 1))
    x[:, FALSE:] = stats.gamma(4).ppf(stats.norm.cdf(x[:, FALSE:]))
    return x


def discoveries(replicates: int) -> pd.DataFrame:
    """False discovery rate and share of non-normal units found, by test and correction."""
    lines = []
    for shared in (0.0, 0.8):
        rng = np.random.default_rng([2, int(10 * shared)])
        for _ in range(replicates):
            results = normality_of_rows(sorted_rows(units(rng, shared)), QUICK)
            for name, result in results.items():
                for correction in ("none", "bh", "by"):
                    p = result.pvalue
                    rejected = (p if correction == "none" else adjusted(p, correction)) <= LEVEL
                    false = rejected[:FALSE].sum() / max(rejected.sum(), 1)
                    found = rejected[FALSE:].mean()
                    lines.append((NAMES[name], shared, correction, false, found))
    columns = ["test", "shared", "correction", "false_discovery_rate", "found"]
    table = pd.DataFrame(lines, columns=columns)
    keys = ["test", "shared", "correction"]
    grouped = table.groupby(keys, sort=False)
    summary = grouped.mean()
    summary["standard_error"] = grouped["false_discovery_rate"].sem()
    return summary.reset_index()


def times() -> dict[str, dict[str, float]]:
    """Seconds of processor time for 1,000 columns of 5,000 values; the least of three."""
    x = np.random.default_rng(0).normal(size=(5000, 1000))
    rows = sorted_rows(x)
    own: dict[str, Callable[[], object]] = {"sort": lambda: sorted_rows(x)}
    for name in TESTS:
        own[name] = lambda name=name: normality_of_rows(rows, (name,))
    own["jarque_bera, anderson_darling, lilliefors"] = lambda: normality_of_rows(rows, QUICK)
    own["all five"] = lambda: normality_of_rows(rows, TESTS)
    own["l_moments"] = lambda: l_moments_of_rows(rows)
    peers: dict[str, Callable[[], object]] = {
        "jarque_bera": lambda: stats.jarque_bera(x, axis=0),
        "dagostino": lambda: stats.normaltest(x, axis=0),
        "anderson_darling": lambda: [stats.anderson(column) for column in x.T],
        "lilliefors": lambda: [diagnostic.lilliefors(column) for column in x.T],
        "shapiro_wilk": lambda: [stats.shapiro(column) for column in x.T],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, about changes to come
        return {
            "sorted rows": _least(own, 3),
            "scipy or statsmodels, sorting included": _least(peers, 1),
        }


def _least(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    taken = machine.interleaved(calls, repeats, time.process_time)
    return {name: round(min(seconds), 4) for name, seconds in taken.items()}


def draw_calibration(ax: Any, shares: pd.DataFrame, replicates: int) -> None:
    """Dots in the band of three standard errors; hollow where the limits are used."""
    at_level = shares[shares["level"] == LEVEL]
    order = [*NAMES.values(), *LIMITS.values()]
    band = 3 * np.sqrt(LEVEL * (1 - LEVEL) / replicates)
    ax.axvspan(100 * (LEVEL - band), 100 * (LEVEL + band), color="0.92", lw=0)
    ax.axvline(100 * LEVEL, color="0.6", lw=0.8)
    shades = sns.color_palette("crest", len(SIZES))
    for k, n in enumerate(SIZES):
        part = at_level[at_level["n"] == n].set_index("test").loc[order]
        y = np.arange(len(order)) + 0.22 * (k - 1)
        ax.plot(100 * part["share"], y, "o", ms=5, color=shades[k], label=f"n = {n:,}")
    ax.axhline(len(NAMES) - 0.5, color="0.8", lw=0.8, ls=":")
    ax.set(
        yticks=range(len(order)), yticklabels=order, xlim=(2.5, 8.2), ylim=(len(order) - 0.5, -0.5)
    )
    ax.set_xlabel("normal samples with p < 0.05 (%)")
    ax.set_title(f"Calibration: {replicates:,} samples, band 3 s.e.", loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper right", handletextpad=0.1, borderpad=0)


def draw_discoveries(ax: Any, rates: pd.DataFrame, replicates: int) -> None:
    """False discovery rate by correction, one dot for each test and dependence."""
    order = ["none", "bh", "by"]
    colors = dict(zip(NAMES.values(), sns.color_palette("colorblind"), strict=False))
    for k, (test, part) in enumerate(rates.groupby("test", sort=False)):
        for shared, marker in ((0.0, "o"), (0.8, "D")):
            chosen = part[part["shared"] == shared].set_index("correction").loc[order]
            y = np.arange(3) + 0.18 * (k - 1) + (0.06 if shared else -0.06)
            face = colors[test] if shared == 0 else "white"
            rate = 100 * chosen["false_discovery_rate"]
            ax.plot(rate, y, marker, ms=5, mfc=face, mec=colors[test], clip_on=False, zorder=3)
    ax.axvline(100 * LEVEL, color="0.6", lw=0.8)
    ax.text(100 * LEVEL + 0.4, 2.42, "level", color="0.4", fontsize=8, va="center")
    ax.set(
        yticks=range(3),
        yticklabels=["uncorrected", "Benjamini-\nHochberg", "Benjamini-\nYekutieli"],
    )
    ax.set(ylim=(2.6, -0.5), xlim=(0, 20), xticks=range(0, 21, 5))
    ax.set_xlabel(f"false discovery rate (%), {UNITS - FALSE} of {UNITS:,} units gamma(4)")
    ax.set_title(f"False discoveries: {replicates} times {UNITS:,} units", loc="left", fontsize=10)
    for shared, marker in (("independent", "o"), ("correlation 0.8", "D")):
        fill = "0.3" if marker == "o" else "white"
        ax.plot([], [], marker, ms=5, mec="0.3", mfc=fill, label=shared)
    ax.legend(frameon=False, fontsize=8, loc="lower right", handletextpad=0.1, borderpad=0)


def draw_power(ax: Any, table: pd.DataFrame, law: str) -> None:
    """One line a test, over n."""
    part = table[table["law"] == law]
    for color, name in zip(sns.color_palette("colorblind"), NAMES.values(), strict=False):
        line = part[part["test"] == name]
        ax.plot(line["n"], 100 * line["power"], "o-", ms=3.5, lw=1.5, color=color, label=name)
    ax.axhline(100 * LEVEL, color="0.6", lw=0.8)
    ax.set_xscale("log")
    ax.set(ylim=(0, 102), xticks=POWER_SIZES, xticklabels=POWER_SIZES, xlabel="n")
    ax.minorticks_off()
    ax.set_title(f"Power: {law}", loc="left", fontsize=10)


def draw(
    shares: pd.DataFrame, table: pd.DataFrame, rates: pd.DataFrame, replicates: tuple[int, int]
) -> None:
    """Write the figure, results/normality.png."""
    sns.set_theme(style="ticks", font_scale=0.85)
    figure = Figure(figsize=(12, 7), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(1.15, 1, 1))
    draw_calibration(figure.add_subplot(grid[0, 0]), shares, replicates[0])
    draw_discoveries(figure.add_subplot(grid[1, 0]), rates, replicates[1])
    for k, law in enumerate(LAWS):
        ax = figure.add_subplot(grid[k // 2, 1 + k % 2])
        draw_power(ax, table, law)
        if k % 2 == 0:
            ax.set_ylabel(f"of {replicates[0]:,} samples, p < 0.05 (%)")
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncol=5, frameon=False)
    sns.despine(figure)
    figure.savefig(machine.RESULTS / "normality.png", dpi=120)


def main() -> None:
    """Measure, write the figures and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=2000)
    replicates = parser.parse_args().replicates
    few = max(2, replicates // 20)
    shares, table, rates = calibration(replicates), power(replicates), discoveries(few)
    draw(shares, table, rates, (replicates, few))
    figures = {
        "replicates": replicates,
        "three_standard_errors_of_share_0.05": round(
            3 * (LEVEL * (1 - LEVEL) / replicates) ** 0.5, 4
        ),
        "calibration": shares.round(4).to_dict("records"),
        "power": table.round(4).to_dict("records"),
        "false_discoveries": {"replicates": few, "rates": rates.round(4).to_dict("records")},
        "seconds (5,000 x 1,000)": times(),
    }
    machine.write("normality", figures)


if __name__ == "__main__":
    main()
