"""Bias and coverage of the divergence from N(0, 1), and what distances show by chance.

    python analysis/benchmarks/divergence.py [--replicates 2000]

For four laws and n = 50, 500, 5,000: the bias of KL(p || N(0, 1)) by each method, before and after
the correction that `kl_estimate` states, its spread, and the share of 95% intervals that hold the
target: the law's own divergence for "spacings" and "neighbours", that of the normal law with its
moments for "gaussian", and for "maxent" that with the shape of the density fitted to a million
values. Beside it the share of samples of N(0, 1) whose Kolmogorov-Smirnov p-value is below 0.05,
distances in units of what is given as chance, and the time that 1,000 columns of 5,000 values take.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import machine
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from distfit_nn.stats.divergence.distances import distances, distances_of_rows, kolmogorov_smirnov
from distfit_nn.stats.divergence.entropy import METHODS, estimator
from distfit_nn.stats.divergence.estimates import kl_estimate, kl_estimate_of_rows
from distfit_nn.stats.divergence.gaussian import kl_from_moments
from distfit_nn.stats.divergence.split import split_divergence
from distfit_nn.stats.rows import sorted_rows

Float = NDArray[np.float64]

SIZES = (50, 500, 5000)
BATCH = 1 << 20  # values drawn at once
MILLION = 1_000_000


class Mixture:
    """Two normal laws of unequal weight: bimodal, as channels of convolutional networks are."""

    weights, centres, scale = (0.4, 0.6), (-1.0, 1.0), 0.5

    def rvs(self, size: Any, random_state: np.random.Generator) -> Float:
        """Draw values."""
        second = random_state.random(size) < self.weights[1]
        return np.where(second, *self.centres[::-1]) + self.scale * random_state.normal(size=size)

    def logpdf(self, t: Float) -> Float:
        """Return the log density."""
        parts = [
            np.log(w) + stats.norm.logpdf(t, c, self.scale)
            for w, c in zip(self.weights, self.centres, strict=True)
        ]
        return np.logaddexp(*parts)

    def moments_and_entropy(self) -> tuple[float, float, float]:
        """Return mean, variance and entropy, by a sum over a fine grid."""
        t = np.linspace(-8, 8, 160_001)
        p = np.exp(self.logpdf(t)) * (t[1] - t[0])
        mean = float(p @ t)
        return mean, float(p @ (t - mean) ** 2), -float(p @ self.logpdf(t))


LAWS: dict[str, Any] = {
    "normal (0.3, 1.2)": stats.norm(0.3, 1.2),
    "Laplace": stats.laplace(),
    "gamma (3)": stats.gamma(3.0),
    "bimodal": Mixture(),
}


def targets(law: Any, rng: np.random.Generator) -> dict[str, float]:
    """Return what each method estimates."""
    if isinstance(law, Mixture):
        mean, var, entropy = law.moments_and_entropy()
    else:
        mean, var, entropy = law.mean(), law.var(), law.entropy()
    whole = float(kl_from_moments(mean, var, entropy))
    fitted = split_divergence(law.rvs(MILLION, random_state=rng))  # only its shape: it varies least
    return {
        "gaussian": float(kl_from_moments(mean, var)),
        "maxent": float(kl_from_moments(mean, var) + fitted.shape),
        "spacings": whole,
        "neighbours": whole,
    }


def accuracy(
    law: Any, n: int, aims: dict[str, float], replicates: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return bias, spread and coverage of every method in samples of n values."""
    step = max(1, BATCH // n)
    found: dict[str, list[Any]] = {method: [] for method in METHODS}
    for start in range(0, replicates, step):
        x = law.rvs((n, min(step, replicates - start)), random_state=rng)
        for method in METHODS:
            found[method].append(np.stack(kl_estimate(x, method=method)[:5]))
    return [
        {"n": n, "method": method, **judged(np.concatenate(parts, axis=1), aims[method], n)}
        for method, parts in found.items()
    ]


def judged(estimates: Float, aim: float, n: int) -> dict[str, Any]:
    """Summarise estimates (statistic, low, high, bias, error; replicates) of a target."""
    statistic, low, high, bias, error = estimates
    off = statistic - aim
    return {
        "target": round(aim, 5),
        "bias": round(float(off.mean()), 6),
        "bias_times_n": round(n * float(off.mean()), 2),
        "stated_times_n": round(n * float(bias.mean()), 2),
        "error_of_bias_times_n": round(n * float(off.std()) / len(off) ** 0.5, 2),
        "spread": round(float(off.std()), 5),
        "standard_error": round(float(error.mean()), 5),
        "coverage": round(float(np.mean((low <= aim) & (aim <= high))), 4),
        "replicates": len(off),
    }


def null_figures(n: int, replicates: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return what samples of N(0, 1) show: of one sample and of two, in units of chance."""
    x, y = rng.normal(size=(n, replicates)), rng.normal(size=(n, replicates))
    one, two = distances(x), kolmogorov_smirnov(x, reference=y)
    split = split_divergence(x)
    error = 0.05 * 0.95 / replicates
    return {
        "share_below_0.05": float(np.mean(one.kolmogorov_pvalue < 0.05)),
        "share_below_0.05_two_samples": float(np.mean(two.pvalue < 0.05)),
        "standard_error_of_shares": round(error**0.5, 4),
        "wasserstein_1_over_chance": round(float(np.mean(one.wasserstein_1 / one.chance_1)), 3),
        "wasserstein_2_over_chance": rms(one.wasserstein_2 / one.chance_2),
        "energy_over_chance": rms(one.energy / one.chance_energy),
        "kolmogorov_over_chance": round(float(np.mean(one.kolmogorov / one.chance_kolmogorov)), 3),
        "shape_over_chance": round(float(np.mean(split.shape / split.shape_chance)), 3),
    }


def rms(values: Float) -> float:
    """Root mean square, rounded."""
    return round(float(np.sqrt(np.mean(values**2))), 3)


def seconds(rng: np.random.Generator) -> dict[str, float]:
    """Return the time of everything on 1,000 sorted columns of 5,000 values, at its best of 3."""
    rows = sorted_rows(rng.normal(size=(5000, 1000)))
    calls: dict[str, Any] = {"all distances from N(0, 1)": lambda: distances_of_rows(rows)}
    for method in METHODS:
        chosen = estimator(method)
        calls[f"KL with interval, {method}"] = lambda c=chosen: kl_estimate_of_rows(rows, c)
    taken = machine.interleaved(calls, 3, time.process_time)
    return {name: round(min(times), 3) for name, times in taken.items()}


def draw(table: list[dict[str, Any]], path: Any) -> None:
    """Draw bias and coverage against n, one column of panels for each law."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="whitegrid", font_scale=0.95)
    colours = dict(zip(METHODS, sns.color_palette("colorblind", len(METHODS)), strict=True))
    figure, axes = plt.subplots(
        2, len(LAWS), figsize=(12.5, 6.4), sharex=True, sharey="row", layout="constrained"
    )
    replicates = min(row["replicates"] for row in table)
    band = 3 * (0.05 * 0.95 / replicates) ** 0.5
    for column, law in enumerate(LAWS):
        top, bottom = axes[:, column]
        bottom.axhspan(0.95 - band, 0.95 + band, color="0.85", zorder=0, lw=0)
        bottom.axhline(0.95, color="0.4", lw=1)
        top.axhline(0, color="0.4", lw=1)
        for place, method in enumerate(METHODS):
            rows = [row for row in table if row["law"] == law and row["method"] == method]
            n = np.array([row["n"] for row in rows]) * 1.09 ** (place - 1.5)  # side by side
            style = {"color": colours[method], "marker": "o", "ms": 5.5, "lw": 1.6}
            ratio = [row["bias"] / row["spread"] for row in rows]
            left = [
                (row["bias_times_n"] - row["stated_times_n"]) / row["n"] / row["spread"]
                for row in rows
            ]
            top.plot(n, ratio, label=method, **style)
            top.plot(n, left, **(style | {"mfc": "white", "ls": ":", "lw": 1.2}))
            bottom.plot(n, [row["coverage"] for row in rows], **style)
        top.set_title(law)
        bottom.set(xscale="log", xlabel="n, values in a sample", xticks=SIZES)
        bottom.set_xticks([], minor=True)
        bottom.set_xticklabels([f"{n:,}" for n in SIZES])
    axes[0, 0].set_ylabel("bias / standard deviation\nof the estimate")
    axes[1, 0].set_ylabel("share of 95% intervals\nthat hold the target")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    hollow = plt.Line2D([], [], color="0.3", marker="o", mfc="white", ls=":", lw=1.2)
    figure.legend(
        [*handles, hollow],
        [*labels, "less the bias that is stated"],
        loc="outside lower center",
        ncols=5,
        frameon=False,
    )
    figure.suptitle(
        "KL(p ‖ N(0, 1)) by four methods, each against its own target "
        f"({replicates:,} samples a point; band: 3 standard errors)",
        fontsize="medium",
    )
    sns.despine(figure)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Simulate, write the figures and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=2000)
    replicates = parser.parse_args().replicates
    rng = np.random.default_rng(0)
    table = []
    for name, law in LAWS.items():
        aims = targets(law, rng)
        for n in SIZES:
            table += [{"law": name} | row for row in accuracy(law, n, aims, replicates, rng)]
    figures = {
        "null": {str(n): null_figures(n, replicates, rng) for n in SIZES},
        "seconds_for_1000_columns_of_5000": seconds(rng),
        "divergence": table,
    }
    draw(table, machine.RESULTS / "divergence.png")
    machine.write("divergence", figures)


if __name__ == "__main__":
    main()
