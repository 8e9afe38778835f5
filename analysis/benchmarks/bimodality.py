"""Which test of bimodality lies when: power, false alarms, calibration and false discoveries.

    python analysis/benchmarks/bimodality.py [--replicates 300] [--dear 100] [--rounds 50]

Figure: the share of samples of n = 500 that each method calls bimodal, of an equal mixture of two
unit normal laws (one mode up to a separation of 2), of gamma laws of growing skewness (one mode),
and of other laws with one mode. `--dear` is the number of samples for Silverman's test, whose
bootstrap takes 6 ms or more each; `--replicates` that of all others.

Calibration: the share of p < 0.05 of the dip, n = 50, 500 and 5,000, for uniform samples, for which
it is exact, and normal ones, for which it is conservative. False discoveries: of 1,000 units of 500
values 100 have two modes, the others are uniform; the mean share of false ones among those called
bimodal at q < 0.05, over `--rounds` rounds.
"""

from __future__ import annotations

import argparse
import textwrap
import time
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from distfit_nn import maxent
from distfit_nn.stats import bimodality_coefficient, dip_test
from distfit_nn.stats.bimodality.classify import Evidence, classify, evidence_of_rows, judge
from distfit_nn.stats.bimodality.critical_bandwidth import critical_bandwidth_test
from distfit_nn.stats.bimodality.mixture import MixtureTest, NullStatistics, mixture_test_of_rows
from distfit_nn.stats.bimodality.modes import find_modes
from distfit_nn.stats.bimodality.peaks import peaks_of_density
from distfit_nn.stats.rows import sorted_rows

Table = NDArray[np.float64]
Calls = NDArray[np.bool_]
Draw = Callable[[np.random.Generator, tuple[int, int]], Table]

N, LEVEL, SEED = 500, 0.05, 5
SEPARATIONS = np.linspace(0, 4, 17)
SKEWNESSES = np.linspace(0, 4, 13)
UNITS, BIMODAL_UNITS = 1000, 100
DEAR = "Silverman p < .05"
LABEL_STEP = 0.066  # between the names of curves
INK, FAINT = "#222222", "#8a8a8a"


def mixture_of(separation: float) -> Draw:
    """Return how to draw from two unit normal laws in equal shares."""
    return lambda rng, shape: rng.normal(size=shape) + separation * (rng.random(shape) < 0.5)


def gamma_of(skewness: float) -> Draw:
    """Return how to draw from the gamma law of this skewness; 0 is its limit, the normal law."""
    if skewness == 0:
        return lambda rng, shape: rng.normal(size=shape)
    return lambda rng, shape: rng.gamma(4 / skewness**2, size=shape)


def post_relu(rng: np.random.Generator, shape: tuple[int, int]) -> Table:
    """Draw max(X, 0), X from N(1, 1): an atom of 0.16 beside a hump."""
    return np.maximum(rng.normal(1, 1, size=shape), 0)


ONE_MODE: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "uniform": lambda rng, shape: rng.random(shape),
    "triangle": lambda rng, shape: rng.triangular(0, 0, 1, shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "lognormal σ = ½": lambda rng, shape: rng.lognormal(0, 0.5, shape),
    "lognormal σ = 1": lambda rng, shape: rng.lognormal(0, 1, shape),
    "Laplace": lambda rng, shape: rng.laplace(size=shape),
    "Student t₃": lambda rng, shape: rng.standard_t(3, shape),
    "Cauchy": lambda rng, shape: rng.standard_cauchy(shape),
    "normal, rounded to ½ sd": lambda rng, shape: np.round(2 * rng.normal(size=shape)) / 2,
    "N(1,1) after ReLU": post_relu,
}


def kernel_modes(x: Table) -> Calls:
    """Return where a kernel estimate with Silverman's rule of thumb has two maxima or more."""
    found = find_modes(x, bandwidth="silverman", significance=0)
    return np.array([len(modes) > 1 for modes in found])


def clear_kernel_modes(x: Table) -> Calls:
    """Return where two modes or more rise by three standard errors, at the default bandwidth."""
    return np.array([len(modes) > 1 for modes in find_modes(x)])


def verdicts(x: Table) -> Calls:
    """Return which columns classify calls bimodal, each a family of its own."""
    fields = evidence_of_rows(sorted_rows(x))
    return np.array(
        [judge(Evidence(*(f[j] for f in fields))).verdict == "bimodal" for j in range(x.shape[1])]
    )


NULL = NullStatistics(False, 399, SEED)  # one normal law: serves all samples of one size


def mixtures(x: Table) -> MixtureTest:
    """Return the mixture test of each column."""
    fields: list[Any] = list(mixture_test_of_rows(NULL, sorted_rows(x)))
    return MixtureTest(*fields)


METHODS: dict[str, Callable[[Table], Calls]] = {
    "classify": verdicts,
    "dip p < .05": lambda x: dip_test(x, ties="spread").pvalue < LEVEL,
    DEAR: lambda x: critical_bandwidth_test(x, replicates=99, random_state=1).pvalue <= LEVEL,
    "kernel modes, 3 SE": clear_kernel_modes,
    "kernel modes, all": kernel_modes,
    "density modes": lambda x: np.array(
        [len(peaks.position) > 1 for peaks in peaks_of_density(maxent.fit(x))]
    ),
    "Sarle BC > 5/9": lambda x: bimodality_coefficient(x) > 5 / 9,
    "Ashman D > 2": lambda x: mixtures(x).ashman_d > 2,
    "mixture p < .05": lambda x: mixtures(x).pvalue <= LEVEL,
}
PALETTE = (INK, *(sns.color_palette("colorblind")[k] for k in (0, 9, 5, 1, 2, 3, 4, 7)))
COLOURS = dict(zip(METHODS, PALETTE, strict=True))
WIDTHS = {"classify": 2.0, "dip p < .05": 5.0}  # one lies upon the other


def shares(draw: Draw, replicates: int, dear: int, seed: int) -> dict[str, float]:
    """Return, for each method, the share of samples that it calls bimodal."""
    x = draw(np.random.default_rng([SEED, seed]), (N, replicates))
    taken = {name: x[:, :dear] if name == DEAR else x for name in METHODS}
    return {name: float(np.mean(call(taken[name]))) for name, call in METHODS.items()}


def curve(
    law: Callable[[float], Draw], values: Table, replicates: int, dear: int
) -> dict[str, list[float]]:
    """Return the shares along a family of laws."""
    rows = [shares(law(float(v)), replicates, dear, k) for k, v in enumerate(values)]
    return {name: [row[name] for row in rows] for name in METHODS}


def calibration(replicates: int) -> dict[str, Any]:
    """Return the share of p < 0.05 of the dip under laws with one mode."""
    rng = np.random.default_rng(SEED)
    error = np.sqrt(LEVEL * (1 - LEVEL) / replicates)
    figures: dict[str, Any] = {"replicates": replicates, "standard_error": round(error, 4)}
    for name in ("uniform", "normal"):
        figures[name] = {
            str(n): float(np.mean(dip_test(ONE_MODE[name](rng, (n, replicates))).pvalue < LEVEL))
            for n in (50, 500, 5000)
        }
    return figures


def false_discoveries(rounds: int) -> dict[str, Any]:
    """Return shares of false discoveries and of units found, of families of 1,000 units."""
    rng = np.random.default_rng(SEED)
    false, found = np.empty((2, rounds)), np.empty((2, rounds))
    for i in range(rounds):
        x = rng.random((N, UNITS))
        x[:, :BIMODAL_UNITS] = mixture_of(3.5)(rng, (N, BIMODAL_UNITS))
        judged = classify(x)
        for k, called in enumerate((judged.qvalue < LEVEL, judged.verdict == "bimodal")):
            false[k, i] = called[BIMODAL_UNITS:].sum() / max(called.sum(), 1)
            found[k, i] = called[:BIMODAL_UNITS].mean()
    figures: dict[str, Any] = {"rounds": rounds, "units": UNITS, "bimodal": BIMODAL_UNITS, "n": N}
    for k, name in enumerate(("dip with q < 0.05", "classify")):
        figures[name] = {
            "false_discovery_rate": round(float(false[k].mean()), 4),
            "standard_error": round(float(false[k].std(ddof=1) / np.sqrt(rounds)), 4),
            "found": round(float(found[k].mean()), 4),
        }
    return figures


def label_ends(ax: Axes, x: float, rates: dict[str, list[float]]) -> None:
    """Write each name beside the end of its curve, at least so far from the next.

    Curves that end together are named in the order of what lies below them.
    """
    names = sorted(rates, key=lambda name: (round(rates[name][-1], 2), np.mean(rates[name])))
    wanted = np.array([rates[name][-1] for name in names])
    steps = LABEL_STEP * np.arange(len(names))
    places = np.maximum.accumulate(wanted - steps) + steps
    top = 1 + LABEL_STEP - LABEL_STEP * np.arange(len(names))[::-1]
    for name, end, place in zip(names, wanted, np.minimum(places, top), strict=True):
        ax.annotate(
            name,
            (x, end),
            (1.07, place),
            textcoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
            color=COLOURS[name],
            fontweight="bold" if name == "classify" else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": COLOURS[name],
                "lw": 0.7,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 2,
            },
            annotation_clip=False,
        )


def draw_curves(ax: Axes, values: Table, rates: dict[str, list[float]]) -> None:
    """Draw one curve for each method, with its name at its end."""
    for name in reversed(METHODS):
        ax.plot(
            values,
            rates[name],
            color=COLOURS[name],
            lw=WIDTHS.get(name, 1.6),
            solid_capstyle="round",
            clip_on=False,
        )
    ax.axhline(LEVEL, color=FAINT, lw=0.8, ls=(0, (4, 3)), zorder=0)
    ax.set(xlim=(values[0], values[-1]), ylim=(0, 1))
    ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
    label_ends(ax, values[-1], rates)
    sns.despine(ax=ax, offset=6)


def draw_table(ax: Axes, table: dict[str, dict[str, float]]) -> None:
    """Draw the shares of false alarms as numbers on colours, laws across, methods down."""
    rates = 100 * np.array([[table[law][name] for law in table] for name in METHODS])
    sns.heatmap(
        rates,
        ax=ax,
        cmap=sns.light_palette("#b2182b", as_cmap=True),
        vmin=0,
        vmax=100,
        annot=True,
        fmt=".0f",
        annot_kws={"fontsize": 9.5},
        cbar=False,
        linewidths=1.5,
        linecolor="white",
        xticklabels=[textwrap.fill(law, 10, break_long_words=False) for law in table],
        yticklabels=list(METHODS),
    )
    ax.tick_params(length=0, labelsize=9.5)
    ax.tick_params(axis="x", rotation=0)
    for label in ax.get_yticklabels():
        label.set(rotation=0, color=COLOURS[label.get_text()])
        label.set_fontweight("bold" if label.get_text() == "classify" else "normal")


SAYS = (
    "Skew sets off Sarle's coefficient and the mixture test, tails on both sides the mixture test "
    "and the bumps of a kernel estimate;\n"
    "Ashman's D is above 2 in half of all normal samples. The dip keeps its level where there is "
    "no point mass; classify, which rests on it, in all cases here."
)
NOTES = (
    "n = {n}; {replicates} samples a point, standard error at most {error:.1f} points; {dear} for "
    "Silverman's test, at most {dear_error:.1f} (99 bootstrap samples each; 399 for the mixture "
    "test).\n"
    "classify: q < .05 and a dip of at least 0.01, point masses set apart. Kernel modes: all "
    "at Silverman's rule of thumb, or those that rise by 3 standard errors at the Sheather-Jones "
    "bandwidth,\n"
    "point masses set apart. Density modes: maximum entropy, 6 moments, two modes or "
    "more with 10% of depth and 5% of mass. Dashed line: 5%."
)


def draw(figures: dict[str, Any], replicates: int, dear: int) -> Figure:
    """Draw the three panels."""
    sns.set_theme(style="ticks", rc={"axes.labelsize": 10, "axes.titlesize": 12})
    sns.set_context(rc={"xtick.labelsize": 9.5, "ytick.labelsize": 9.5})
    figure = Figure(figsize=(13, 9.8), dpi=130)
    grid = figure.add_gridspec(
        2, 2, height_ratios=(1.15, 1), left=0.135, right=0.865, top=0.835, bottom=0.145,
        hspace=0.42, wspace=0.62,
    )  # fmt: skip
    left, right = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    below = figure.add_subplot(grid[1, :])
    left.axvspan(0, 2, color="#f0f0f0", zorder=-1, lw=0)
    left.text(1, 1.015, "one mode", ha="center", va="bottom", color=FAINT, fontsize=9)
    left.text(3, 1.015, "two modes", ha="center", va="bottom", color=FAINT, fontsize=9)
    draw_curves(left, SEPARATIONS, figures["mixtures"])
    left.set_xlabel("separation of two unit normal laws in equal shares")
    left.set_ylabel(f"share of samples called bimodal, n = {N}")
    left.set_title("Two modes: who sees them?", loc="left", pad=22)
    right.axvline(2, color=FAINT, lw=0.8, ls=":", zorder=0)
    right.text(2, 1.015, "exponential", ha="center", va="bottom", color=FAINT, fontsize=9)
    draw_curves(right, SKEWNESSES, figures["gamma"])
    right.set_xlabel("skewness of a gamma law, which has one mode")
    right.set_title("Skew: every call is a false alarm", loc="left", pad=22)
    draw_table(below, figures["one_mode"])
    below.set_title("False alarms in % of samples, laws with one mode", loc="left", pad=10)
    figure.suptitle(
        "Which test of bimodality lies when",
        x=0.018,
        ha="left",
        y=0.977,
        fontsize=17,
        weight="bold",
    )
    figure.text(
        0.018,
        0.94,
        SAYS,
        fontsize=11,
        color="#444444",
        va="top",
        linespacing=1.45,
    )
    figure.text(
        0.018,
        0.018,
        NOTES.format(
            n=N,
            replicates=replicates,
            error=50 / np.sqrt(replicates),
            dear=dear,
            dear_error=50 / np.sqrt(dear),
        ),
        fontsize=8.5,
        color=FAINT,
        linespacing=1.5,
    )
    return figure


def main() -> None:
    """Simulate, write the figures, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--dear", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    sizes = (options.replicates, options.dear)
    start = time.perf_counter()
    figures: dict[str, Any] = {
        "n": N,
        "replicates": options.replicates,
        "replicates_silverman": options.dear,
        "calibration_of_the_dip": calibration(max(2_000, options.replicates)),
        "false_discoveries": false_discoveries(options.rounds),
        "separations": SEPARATIONS.tolist(),
        "mixtures": curve(mixture_of, SEPARATIONS, *sizes),
        "skewnesses": SKEWNESSES.tolist(),
        "gamma": curve(gamma_of, SKEWNESSES, *sizes),
        "one_mode": {
            name: shares(law, *sizes, 100 + k) for k, (name, law) in enumerate(ONE_MODE.items())
        },
    }
    figures["seconds"] = round(time.perf_counter() - start)
    machine.write("bimodality", figures)
    figure = draw(figures, *sizes)
    figure.savefig(machine.RESULTS / "bimodality.png")


if __name__ == "__main__":
    main()
