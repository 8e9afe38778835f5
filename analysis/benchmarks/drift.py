"""Drift: its false alarms, its power, a million rows, and its speed, with one figure.

    python analysis/benchmarks/drift.py --replicates 2000

Without drift the share of p <= .05 is to be .05 within 3 standard errors, whatever the law and the
dependence of units: two recordings of four correlated units are drawn from normal laws, from t with
2 degrees of freedom, and from what a ReLU leaves of a normal. (With 99 permutations p takes the
values .01, .02, ..., so that .05 itself belongs to the level.) The p-value of the shape is only as
good as the estimates of both standard deviations: with an infinite variance it is wrong, and shown.
Then: shifts of 0 to 0.5 standard deviations with 50 units; a million rows a side.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any

import machine
import numpy as np
from numpy.typing import NDArray

from distfit_nn.stats.drift import LEAST_EFFECT, drift

Array = NDArray[np.float64]

SIZES = (50, 500, 5000)
LAWS = ("normal", "t, 2 d.f.", "after a ReLU")
SHIFTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
MILLION = 1_000_000
UNITS = 4
_TOP = 0.1  # of the axis of false alarms
POWER_UNITS = 50


def correlated(rng: np.random.Generator, n: int, d: int, law: str) -> Array:
    """Return n rows of d units that share half of their variance, or of their scale."""
    z = np.sqrt(0.5) * (rng.standard_normal((n, 1)) + rng.standard_normal((n, d)))
    if law == "t, 2 d.f.":
        z /= np.sqrt(rng.chisquare(2, (n, 1)) / 2)
    if law == "after a ReLU":
        z = np.maximum(z - 1.0, 0.0)
    return z


def null_shares(rng: np.random.Generator, law: str, n: int, replicates: int) -> dict[str, Any]:
    """Shares of p <= .05 over replicates without drift, with their standard errors.

    The units of a replicate are correlated: the errors are those of means over replicates.
    """
    unit, shape, layer, called = [], [], [], []
    for _ in range(replicates):
        x, y = correlated(rng, n, UNITS, law), correlated(rng, n, UNITS, law)
        found = drift(x, y, random_state=rng)
        unit.append(np.mean(found.wasserstein.pvalue <= 0.05))
        shape.append(np.mean(found.shape.pvalue <= 0.05))
        layer.append(found.layer.pvalue <= 0.05)
        called.append(np.any(found.wasserstein.qvalue < 0.05))
    names = ("unit", "shape", "layer", "any_q_below_.05")
    figures: dict[str, Any] = {"law": law, "n": n, "replicates": replicates}
    for name, values in zip(names, (unit, shape, layer, called), strict=True):
        share = float(np.mean(values))
        error = max(float(np.std(values)), math.sqrt(0.05 * 0.95 / UNITS)) / math.sqrt(replicates)
        figures[name] = round(share, 4)
        figures[f"{name}_errors_from_.05"] = round((share - 0.05) / error, 1)
    return figures


def power(rng: np.random.Generator, n: int, replicates: int) -> list[dict[str, Any]]:
    """Share of units called drifted, and mean distance with and without its baseline, by shift."""
    figures = []
    for shift in SHIFTS:
        called, effect, excess = [], [], []
        for _ in range(replicates):
            x = correlated(rng, n, POWER_UNITS, "normal")
            y = correlated(rng, n, POWER_UNITS, "normal") + shift
            found = drift(x, y, random_state=rng)
            called.append(found.drifted.mean())
            effect.append(found.wasserstein.effect.mean())
            excess.append(found.wasserstein.excess.mean())
        figures.append(
            {
                "n": n,
                "shift": shift,
                "replicates": replicates,
                "called": round(float(np.mean(called)), 4),
                "effect": round(float(np.mean(effect)), 4),
                "excess": round(float(np.mean(excess)), 4),
            }
        )
    return figures


def million(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Twenty units with a million rows a side: what scipy's test calls different, and what is."""
    from scipy import stats

    figures = []
    for shift in (0.0, 0.001, 0.005, 0.02, 0.2):
        x, y = rng.standard_normal((MILLION, 20)), rng.standard_normal((MILLION, 20)) + shift
        ks = [stats.ks_2samp(x[:, j], y[:, j], method="asymp").pvalue for j in range(20)]
        found = drift(x, y, random_state=rng)
        figures.append(
            {
                "shift": shift,
                "units": 20,
                "ks_pvalue_below_.05": int(np.sum(np.array(ks) < 0.05)),
                "called_drifted": int(found.drifted.sum()),
                "excess_largest": round(float(found.wasserstein.excess.max()), 4),
                "rows_used": found.rows[0],
            }
        )
    x, y = rng.standard_normal((MILLION, 2)), rng.standard_normal((MILLION, 2)) + 0.005
    found = drift(x, y, random_state=rng, max_rows=None)
    figures.append(
        {
            "shift": 0.005,
            "units": 2,
            "qvalues": found.wasserstein.qvalue.round(4).tolist(),
            "called_drifted": int(found.drifted.sum()),
            "excess_largest": round(float(found.wasserstein.excess.max()), 4),
            "rows_used": found.rows[0],
        }
    )
    return figures


def speed(rng: np.random.Generator) -> dict[str, float]:
    """Seconds for 1,000 units with 5,000 rows a side and 99 permutations."""
    x, y = rng.standard_normal((5000, 1000)), rng.standard_normal((5000, 1000))
    drift(x[:50], y[:50])  # compiled
    start = time.perf_counter()
    processor = machine.seconds(lambda: drift(x, y, random_state=0), time.process_time)
    return {
        "processor_seconds": round(processor, 2),
        "seconds": round(time.perf_counter() - start, 2),
    }


def draw(null: list[dict[str, Any]], curves: list[dict[str, Any]]) -> None:
    """Draw false alarms, distances and calls beside each other."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="ticks", font_scale=1.05)
    colours = dict(zip(SIZES, sns.color_palette("crest", len(SIZES)), strict=True))
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(15, 5), gridspec_kw={"width_ratios": (1.05, 1, 1)}, layout="constrained"
    )
    _draw_null(left, null, colours)
    for n in SIZES:
        rows = [row for row in curves if row["n"] == n]
        shift, effect, excess, called = (
            [row[key] for row in rows] for key in ("shift", "effect", "excess", "called")
        )
        middle.plot(shift, effect, "--", color=colours[n], lw=1.5)
        middle.plot(shift, excess, "o-", color=colours[n], label=f"n = {n:,}", ms=5)
        right.plot(shift, called, "o-", color=colours[n], ms=5)
    middle.plot([], [], "--", color="0.4", label="as measured")
    middle.plot([], [], "o-", color="0.4", label="less its baseline")
    middle.plot((0, 0.5), (0, 0.5), color="0.8", lw=4, zorder=0, label="true distance")
    middle.legend(frameon=False, loc="upper left", fontsize=11)
    middle.set(
        title="The baseline takes the noise out",
        xlabel="true shift (standard deviations)",
        ylabel="Wasserstein distance (pooled std)",
    )
    right.axvline(LEAST_EFFECT, color="0.6", ls=":", lw=1.5)
    right.text(0.092, 0.97, "least\neffect", color="0.4", va="top", ha="right", fontsize=11)
    replicates = curves[0]["replicates"]
    for n in SIZES:
        right.plot([], [], "o-", color=colours[n], label=f"n = {n:,}", ms=5)
    right.legend(frameon=False, loc="lower right", fontsize=11)
    right.set(
        title=f"What is called drifted ({replicates} times {POWER_UNITS} units)",
        xlabel="true shift (standard deviations)",
        ylabel="share of units called drifted",
        ylim=(-0.03, 1.03),
    )
    sns.despine(figure)
    figure.savefig(machine.RESULTS / "drift.png", dpi=110)
    plt.close(figure)


def _draw_null(axes: Any, null: list[dict[str, Any]], colours: dict[int, Any]) -> None:
    """Draw the shares of false alarms, with the band they are to be in."""
    tests = (("unit", "o", "a unit"), ("shape", "s", "its shape"), ("layer", "D", "the layer"))
    axes.axhline(0.05, color="0.6", lw=1)
    for row in null:
        place = LAWS.index(row["law"]) + 0.26 * (SIZES.index(row["n"]) - 1)
        band = 3 * math.sqrt(0.05 * 0.95 / row["replicates"])
        axes.fill_between((place - 0.12, place + 0.12), 0.05 - band, 0.05 + band, color="0.92")
        for k, (name, marker, _) in enumerate(tests):
            x, y, colour = place + 0.06 * (k - 1), row[name], colours[row["n"]]
            axes.plot(x, min(y, _TOP), marker, color=colour, ms=7)
            if y > _TOP:  # beyond the axis: said in words
                axes.text(x, _TOP + 0.003, f"{y:.2f}", color=colour, ha="center", fontsize=10)
                axes.plot(x, _TOP - 0.005, "^", color=colour, ms=4)
    for _, marker, label in tests:
        axes.plot([], [], marker, color="0.4", label=label)
    axes.legend(frameon=False, loc="lower right", ncols=3, fontsize=11, columnspacing=1.0)
    most, least = (f(row["replicates"] for row in null) for f in (max, min))
    note = f"grey: ± 3 standard errors of {most:,} replicates\n({least:,} where n = {max(SIZES):,})"
    axes.text(-0.42, 0.123, note, va="top", fontsize=11, color="0.4")
    axes.set(
        title="No drift: false alarms at 5%",
        xticks=range(len(LAWS)),
        xticklabels=LAWS,
        xlim=(-0.45, 2.45),
        ylim=(0.0, 0.125),
        ylabel="share of p ≤ .05",
        xlabel="law of four correlated units",
    )


def main() -> None:
    """Measure, write the figures and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--redraw", action="store_true", help="only draw what was measured")
    options = parser.parse_args()
    if options.redraw:
        figures = json.loads((machine.RESULTS / "drift.json").read_text("utf-8"))["figures"]
        draw(figures["null"], figures["power"])
        return
    replicates = options.replicates
    rng = np.random.default_rng(0)
    large = max(replicates // 4, 1)  # of the dearest size
    null = [
        null_shares(rng, law, n, large if n == max(SIZES) else replicates)
        for law in LAWS
        for n in SIZES
    ]
    curves = [row for n in SIZES for row in power(rng, n, max(replicates // 100, 1))]
    machine.write(
        "drift", {"null": null, "power": curves, "million": million(rng), "speed": speed(rng)}
    )
    draw(null, curves)


if __name__ == "__main__":
    main()
