"""The copula transform of five numbers, step by step, and a check of each step of the slides.

The slides define x_hat = Phi^-1((SortIndex(x) + 0.5) / n), with SortIndex counted from 0, and show
it for a column of length 5. They then count the index as the number of positive entries in a row
of x 1^T - 1 x^T, put sigmoids in the place of that indicator and take I / 2 off their matrix; the
final formula does not take it off. Five numbers of our own go through all of it here (the slides'
are in a picture). Then each step is put to columns drawn from N(0, 1), with and without ties (ties
by rounding to one digit). As gamma only matters against differences, it is told as gamma times
the least difference of a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from lab import script, style
from lab.findings import Finding
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import expit, ndtri
from scipy.stats import norm

import distfit_nn as dn

Array = NDArray[np.float64]

X = (2.1, -0.4, 0.7, 5.3, 1.2)
STRENGTHS = (1.0, 3.0, 10.0, 30.0)
STEPS = (1.0, 10.0, 30.0)  # gamma times the least difference
N = 50
COLUMNS, QUICK_COLUMNS = 400, 50
RELATIVE = 5.0  # gamma times the scale, as a layer starts
EXACT = 1e-12
HUES = (style.BLUE, style.RED, style.GREEN, style.PURPLE, style.ORANGE)


def sort_index(x: Array) -> NDArray[np.intp]:
    """Return the index of each value of x (n,) in x sorted, from 0; ties in their order."""
    index = np.empty(len(x), np.intp)
    index[np.argsort(x, kind="stable")] = np.arange(len(x))
    return index


def differences(x: Array) -> Array:
    """Return the slides' x 1^T - 1 x^T."""
    ones = np.ones((len(x), 1))
    return x[:, None] @ ones.T - ones @ x[None]


def positive(x: Array) -> NDArray[np.intp]:
    """Return the number of positive values in each row of the differences."""
    return (differences(x) > 0).sum(1)


def soft(x: Array, gamma: float) -> Array:
    """Return the row sums of sigmoid(gamma (x 1^T - 1 x^T)): the final formula's, nothing off."""
    return expit(gamma * differences(x)).sum(1)


def example() -> dict[str, Any]:
    """Return every step of the five numbers."""
    x = np.array(X)
    index = sort_index(x)
    share = (index + 0.5) / len(x)
    return {
        "x": x,
        "sort_index": index,
        "share": share,
        "score": ndtri(share),
        "soft_rank": {f"{g:g}": soft(x, g) for g in STRENGTHS},
        "soft_score": {f"{g:g}": ndtri(soft(x, g) / len(x)) for g in STRENGTHS},
    }


def checked(columns: Sequence[Array]) -> dict[str, Any]:
    """Return how the slides' steps agree on columns."""
    found: dict[str, Any] = {
        "columns": len(columns),
        "with_ties": sum(len(np.unique(x)) < len(x) for x in columns),
        "same_index": 100 * float(np.mean([(positive(x) == sort_index(x)).all() for x in columns])),
        "middle": float(np.mean([(sort_index(x) + 0.5).mean() / len(x) for x in columns])),
    }
    for step in STEPS:
        index_error, score_error, package_error, infinite = [], [], [], []
        for x in columns:
            n, gamma = len(x), step / np.diff(np.unique(x)).min()
            rank, index = soft(x, gamma), sort_index(x)
            with np.errstate(divide="ignore"):
                taken_off = ndtri(np.clip(rank - 0.5, 0, n) / n)
            index_error.append(np.abs(rank - 0.5 - index).max())
            score_error.append(np.abs(ndtri(rank / n) - ndtri((index + 0.5) / n)).max())
            package_error.append(np.abs(dn.copula.soft_rank(x, gamma) - rank).max() / n)
            infinite.append(np.isinf(taken_off).sum() if step == STEPS[-1] else 0)
        found[f"{step:g}"] = {
            "index_error": float(max(index_error)),
            "score_error": float(max(score_error)),
            "package_error": float(max(package_error)),
            "infinite": float(np.mean(infinite)),
        }
    return found


def matched(rng: np.random.Generator, columns: int) -> dict[str, Any]:
    """Return RMS differences of sorted scores from the target's own points, hard and soft."""
    target = ndtri((np.arange(N) + 0.5) / N)[:, None]
    found = {}
    for name, x in {
        "normal": rng.standard_normal((N, columns)),
        "gamma": rng.gamma(0.5, size=(N, columns)),
    }.items():
        low, high = np.quantile(x, (0.1, 0.9), axis=0)
        scores = {
            "hard": dn.copula.normal_scores(x),
            "soft": dn.copula.normal_scores(x, strength=RELATIVE * 2.563 / (high - low)),
        }
        found[name] = {
            kind: float(np.sqrt(np.mean((np.sort(z, axis=0) - target) ** 2)))
            for kind, z in scores.items()
        }
    return found


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return which of the slides' steps hold."""
    plain, tied, last = numbers["no_ties"], numbers["ties"], f"{STEPS[-1]:g}"
    index = Finding(
        claim="The number of positive values in row i of x 1^T - 1 x^T is the sort index of x_i.",
        source="slides, Copula Transform",
        holds=plain["same_index"] == 100 and tied["same_index"] == 100,
        condition="without ties" if plain["same_index"] == 100 else "",
        text=(
            "The same in {plain:.0f}% of {columns} columns without ties, in {tied:.0f}% of the "
            "columns with ties: there the count gives equal values the lowest of their places, "
            "where a sort gives each another one, by order of arrival. Sigmoids give them the "
            "mean of their places, which neither does."
        ),
        numbers={
            "plain": "no_ties/same_index",
            "columns": "no_ties/columns",
            "tied": "ties/same_index",
        },
        figure="copula_example",
    )
    half = Finding(
        claim="The final formula, which takes no I / 2 off, is the definition with its added 0.5.",
        source="slides, Copula Transform",
        holds=plain[last]["score_error"] < EXACT and plain[last]["index_error"] < EXACT,
        text=(
            "sigmoid(0) = 1/2 on the diagonal is the 0.5 that the definition adds: so I / 2 comes "
            "off for the index, and stays for the transform. As gamma grows to "
            f"{STEPS[-1]:g} over the least difference, scores by the two differ by "
            "{score:.1e} at most, index and row sums less I / 2 by {index:.1e}. With I / 2 taken "
            "off in the final formula too, {infinite:.0f} score in a column is minus infinity: "
            "that of the least value. (gamma at 1 over the least difference: ranks off by up to "
            "{early:.2f}.) The package's soft_rank is the formula to {package:.0e} of n."
        ),
        numbers={
            "score": f"no_ties/{last}/score_error",
            "index": f"no_ties/{last}/index_error",
            "infinite": f"no_ties/{last}/infinite",
            "early": f"no_ties/{STEPS[0]:g}/index_error",
            "package": "largest_package_error",
        },
        figure="copula_example",
    )
    match = numbers["match"]
    perfect = Finding(
        claim="The copula transform matches a given distribution perfectly.",
        source="slides, Copula Transform",
        holds=all(entry["soft"] < EXACT for entry in match.values()),
        condition="with ranks, not with sigmoids, and within the n points of a batch"
        if all(entry["hard"] < EXACT for entry in match.values())
        else "",
        text=(
            f"Sorted scores of {N} values against the normal points (i + 1/2) / n: hard ranks "
            "give them exactly, whatever the column (RMS {hard:.0e}). Soft ranks at a strength of "
            f"{RELATIVE:g} over the scale are off by {{normal:.2f}} on normal columns and "
            "{gamma:.2f} on gamma columns of shape 1/2."
        ),
        numbers={
            "hard": "match/gamma/hard",
            "normal": "match/normal/soft",
            "gamma": "match/gamma/soft",
        },
        figure="copula_example",
    )
    return [index, half, perfect]


def draw(steps: dict[str, Any]) -> Figure:
    """Draw the worked table, and under it the way from the numbers to the scores."""
    figure, axes = style.figure(10.5, 8.2, 2, 1, height_ratios=(1, 1.35))
    for ax in axes:
        ax.set_axis_off()
    draw_table(axes[0], steps)
    draw_way(axes[1], steps)
    return figure


def draw_table(ax: Axes, steps: dict[str, Any]) -> None:
    """Write the steps as a table, a row a number, coloured as below."""
    heads = ["x", "sort index t", "(t + ½) / 5", "score Φ⁻¹"]
    heads += [f"s, γ = {g:g}" for g in STRENGTHS] + [f"Φ⁻¹(s / 5), γ = {g:g}" for g in (1, 10)]
    columns = [
        [f"{value:.1f}" for value in steps["x"]],
        [f"{value:d}" for value in steps["sort_index"]],
        [f"{value:.1f}" for value in steps["share"]],
        [f"{value:.3f}" for value in steps["score"]],
        *([f"{value:.3f}" for value in steps["soft_rank"][f"{g:g}"]] for g in STRENGTHS),
        *([f"{value:.3f}" for value in steps["soft_score"][f"{g:g}"]] for g in (1, 10)),
    ]
    at = (0.03, 0.12, 0.23, 0.33, 0.45, 0.54, 0.63, 0.72, 0.84, 0.96)
    for x, head, column in zip(at, heads, columns, strict=True):
        ax.text(x, 5.1, head.replace(", ", "\n"), ha="center", va="bottom", fontsize=9.5)
        for row, (cell, hue) in enumerate(zip(column, HUES, strict=True)):
            colour = hue if x == at[0] else style.INK
            weight = "bold" if x == at[0] else "normal"
            ax.text(
                x,
                4.4 - row,
                cell.replace("-", "−"),
                ha="center",
                va="center",
                color=colour,
                weight=weight,
            )
    for y in (5, 0):
        ax.plot((0, 1), (y, y), color=style.INK, lw=1)
    for row in range(1, 5):
        ax.plot((0, 1), (row - 0.08, row - 0.08), color=style.FAINT, lw=0.8)
    for left, right, label in (
        (0.08, 0.37, "hard"),
        (0.41, 0.76, "soft ranks"),
        (0.79, 1.0, "their scores"),
    ):
        ax.plot((left, right), (6.25, 6.25), color=style.GREY, lw=0.8)
        ax.text((left + right) / 2, 6.35, label, ha="center", va="bottom", color=style.INK)
    ax.set(xlim=(0, 1), ylim=(-0.1, 6.9))


def draw_way(ax: Axes, steps: dict[str, Any]) -> None:
    """Draw the numbers, their shares and their scores on three lines, joined; soft ones hollow."""
    low, high = min(X), max(X)

    def place(x: Any, share: Any, score: Any) -> tuple[Any, Any, Any]:
        return 0.08 + 0.84 * (x - low) / (high - low), 0.08 + 0.84 * share, 0.5 + score / 5

    levels = (3.0, 2.0, 0.9)
    above: dict[str, Any] = {
        "ha": "center",
        "va": "bottom",
        "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    }
    soft_share = np.array(steps["soft_rank"]["1"]) / len(X)
    for i, hue in enumerate(HUES):
        hard = place(X[i], steps["share"][i], steps["score"][i])
        near = place(X[i], soft_share[i], steps["soft_score"]["1"][i])
        ax.plot(near, levels, ":", color=hue, lw=1.3)
        ax.plot(near[1:], levels[1:], "o", color=hue, mfc="white", ms=7)
        ax.plot(hard, levels, "-o", color=hue, lw=1.8, ms=7)
        ax.text(hard[0], 3.12, f"{X[i]:.1f}", color=hue, weight="bold", **above)
        ax.text(hard[1], 2.12, f"{steps['share'][i]:.1f}", color=hue, **above)
        ax.text(hard[2], 0.72, f"{steps['score'][i]:.2f}", ha="center", va="top", color=hue)
    for edge in np.linspace(0.08, 0.92, len(X) + 1):
        ax.plot((edge, edge), (1.92, 2.08), color=style.GREY, lw=1)
    for level, label in zip(levels, ("x", "(t + ½) / 5", "Φ⁻¹"), strict=True):
        ax.plot((0.03, 0.97), (level, level), color=style.GREY, lw=1, zorder=0)
        ax.text(-0.01, level, label, ha="right", va="center")
    z = np.linspace(-2.35, 2.35, 200)
    ax.fill_between(0.5 + z / 5, 0.9, 0.9 - 1.6 * norm.pdf(z), color=style.FAINT, zorder=-1, lw=0)
    ax.set(xlim=(-0.12, 1.0), ylim=(0.2, 3.35))


def markdown(steps: dict[str, Any]) -> str:
    """Return the worked table."""
    heads = ["x", "sort index", "(index + 0.5) / n", "score"]
    heads += [f"soft rank, gamma {g:g}" for g in STRENGTHS]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for i, x in enumerate(X):
        cells = [f"{x:.1f}", f"{steps['sort_index'][i]}", f"{steps['share'][i]:.1f}"]
        cells += [f"{steps['score'][i]:.3f}"]
        cells += [f"{steps['soft_rank'][f'{g:g}'][i]:.3f}" for g in STRENGTHS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Work the example, check the steps and write."""
    lab = script.begin(__file__, __doc__, arguments, seeds=1, quick_seeds=1)
    columns = QUICK_COLUMNS if lab.quick else COLUMNS
    settings = {"x": X, "strengths": STRENGTHS, "n": N, "columns": columns, "seed": 0}
    results = lab.results("The copula transform of five numbers", settings)
    rng = np.random.default_rng(0)
    drawn = [rng.standard_normal(N) for _ in range(columns)]
    numbers: dict[str, Any] = {
        "example": example(),
        "no_ties": checked(drawn),
        "ties": checked([x.round(1) for x in drawn]),
        "match": matched(rng, columns),
    }
    numbers["largest_package_error"] = max(
        numbers[kind][f"{step:g}"]["package_error"]
        for kind in ("no_ties", "ties")
        for step in STEPS
    )
    results.write(
        numbers,
        findings(numbers),
        {
            "copula_example": (
                draw(numbers["example"]),
                "Five numbers, their places in the sort, the middles of five equal shares, and "
                "the normal scores of these. Hollow and dotted: soft ranks at gamma = 1. They "
                "tend to t + 1/2 as gamma grows.",
            )
        },
        {"the copula transform of five numbers": markdown(numbers["example"])},
    )


if __name__ == "__main__":
    script.run(main)
