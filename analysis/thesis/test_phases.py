"""What stands for the batch in the test phase: four behaviours compared, on MNIST.

The thesis approximates the copula transform by the regression of its output on its input in the
test phase, and leaves a test phase of moment matching to future work. Compared here, in an MLP
784-100-100-100-10 (ReLU, SGD at a rate of .07, batches of 50):

- batch norm: running mean and variance;
- copula, linear: the regression, as in the thesis; copula, table: a running table of the transform;
- MomentNorm of order 4: running moments, and one density that is fitted to them.

Of each, after little and after much training, with a momentum of 0.1 and of 0.01:

- the accuracy by the running statistics, and by those of test batches of up to 2,000 images;
- the error of the test phase: each layer's output in eval mode against its transform of all test
  inputs as one batch, root mean square, in standard deviations of the latter, mean of the layers.

Part of that error is no fault of the test phase: weights go on while running statistics follow, and
these are noisy. So the error is also taken once training has ended and running statistics were
taken anew from training images with the final weights (`recalibrate`): it is "settled".

At last the test images' contrast is cut to 0.3 of itself, and the accuracy taken by the running
statistics, by those of test batches, and by running statistics of the changed images, without
labels (`recalibrate`).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from lab import paired, script, style, training
from lab.copula.phases import GAIN, RATE, Run, phases
from lab.data import Source
from lab.findings import Finding
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PHASES = {  # layer: its test phase
    "BatchNorm": "batch norm: running mean and variance",
    "Copula": "copula: running table",
    "Copula, linear test": "copula: linear regression",
    "MomentNorm 4": "moments: running moments, a fit",
}
PEER, *OTHERS = PHASES
MOMENTA = (0.1, 0.01)
SAMPLES, QUICK_SAMPLES = (1_000, 25_000), (500, 2_000)
CLOSE = 0.5  # points of accuracy
TRUE = 2  # times batch norm's settled error, which is that of mean and variance of a sample
CHANGED = {
    "running": "running statistics",
    "batch": "statistics of\ntest batches",
    "own": "running statistics\nof the changed images",
}


def measured(lab: script.Script, source: Source, samples: tuple[int, ...]) -> dict[str, Any]:
    """Run all, and return means and standard deviations over seeds."""
    wanted = [
        Run(layer, momentum, seed, samples)
        for layer in PHASES
        for momentum in MOMENTA
        for seed in range(lab.seeds)
    ]
    runs = list(zip(wanted, lab.each(phases, wanted, source), strict=True))
    return {
        layer: {
            f"{momentum:g}": described(
                [one for run, one in runs if (run.layer, run.momentum) == (layer, momentum)]
            )
            for momentum in MOMENTA
        }
        for layer in PHASES
    }


def described(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the seeds of one layer and momentum have in common."""
    marks = zip(*(run["marks"] for run in runs), strict=True)
    return {
        "marks": [_described_mark(list(seeds)) for seeds in marks],
        "settled": _described_mark([run["settled"] for run in runs]),
        "changed": {
            name: training.spread([run["changed"][name] for run in runs])
            for name in ("running", "batch", "own")
        },
        "changed_loss": _lost([run["changed"] for run in runs]),
    }


def _described_mark(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    errors = [statistics.fmean(seed["errors"]) for seed in seeds]
    return {
        "running": training.spread([seed["running"] for seed in seeds]),
        "batch": training.spread([seed["batch"] for seed in seeds]),
        "loss": _lost(seeds),
        "error": training.spread(errors),
        "errors_by_layer": [
            statistics.fmean(level)
            for level in zip(*(seed["errors"] for seed in seeds), strict=True)
        ],
    }


def _lost(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the accuracy by statistics of test batches less that by the running ones."""
    return paired.difference([seed["batch"] for seed in seeds], [seed["running"] for seed in seeds])


def lost_early(numbers: dict[str, Any]) -> dict[str, Any]:
    """Return what batch norm loses at the first mark by a small momentum, and how much more."""
    lost = {}
    for layer in PHASES:
        mark = numbers[layer]["0.01"]["marks"][0]
        both = zip(mark["batch"]["seeds"], mark["running"]["seeds"], strict=True)
        lost[layer] = [batch - running for batch, running in both]
    return {
        "batch_norm_lost": sorted(lost[PEER]),
        "batch_norm_lost_more": {
            layer: paired.difference(lost[PEER], lost[layer]) for layer in OTHERS
        },
    }


def findings(numbers: dict[str, Any], samples: Sequence[int]) -> list[Finding]:
    """Return what became of the two test phases, of a small momentum, and of other contrast."""
    return [
        _moments(numbers, samples),
        _linear(numbers),
        _momentum(numbers, samples),
        _other(numbers),
    ]


def _at(layer: str, momentum: float, mark: int | str) -> str:
    """Return the path of one layer, momentum and mark."""
    return f"{layer}/{momentum:g}/" + ("settled" if mark == "settled" else f"marks/{mark}")


def _moments(numbers: dict[str, Any], samples: Sequence[int]) -> Finding:
    """Answer whether moment matching has a test phase."""
    here = numbers["MomentNorm 4"]["0.1"]
    close = [mark["loss"]["mean"] < CLOSE for mark in here["marks"]]
    first, last, settled = (_at("MomentNorm 4", 0.1, mark) for mark in (0, -1, "settled"))
    return Finding(
        claim="A testing behaviour can be defined for moment matching.",
        source="slides, Future work",
        holds=close[-1],
        text=(
            f"By running moments and one fit the accuracy after {samples[-1]:,} samples is "
            "{running:.2f}%, by the statistics of large test batches {batch:.2f}%; batch norm has "
            f"{{bn_running:.2f}}% and {{bn_batch:.2f}}%. After {samples[0]:,} samples, while the "
            "weights move fast, {early:.1f} points are lost, of batch norm's {bn_early:.1f}. The "
            "error is {error:.2f} standard deviations (batch norm {bn_error:.2f}), settled "
            f"{{settled:.3f}} ({{bn_settled:.3f}}). The rule: less than {CLOSE} points lost at the "
            "last mark."
        ),
        numbers={
            "running": f"{last}/running/mean",
            "batch": f"{last}/batch/mean",
            "bn_running": _at("BatchNorm", 0.1, -1) + "/running/mean",
            "bn_batch": _at("BatchNorm", 0.1, -1) + "/batch/mean",
            "early": f"{first}/loss/mean",
            "bn_early": _at("BatchNorm", 0.1, 0) + "/loss/mean",
            "error": f"{last}/error/mean",
            "bn_error": _at("BatchNorm", 0.1, -1) + "/error/mean",
            "settled": f"{settled}/error/mean",
            "bn_settled": _at("BatchNorm", 0.1, "settled") + "/error/mean",
        },
        figure="test_phases",
    )


def _linear(numbers: dict[str, Any]) -> Finding:
    """Answer whether the regression stands for the copula transform."""
    here = numbers["Copula, linear test"]["0.1"]
    accurate = here["marks"][-1]["loss"]["mean"] < CLOSE
    floor = numbers["BatchNorm"]["0.1"]["settled"]["error"]["mean"]
    true = here["settled"]["error"]["mean"] < TRUE * floor
    linear, table = "Copula, linear test", "Copula"
    return Finding(
        claim="Linear regression approximates the copula transform in the test phase.",
        source="slides, Copula Transform",
        holds=accurate and true,
        condition="as far as the accuracy goes" if accurate else "",
        text=(
            "At the last mark the accuracy is {linear:.2f}% by the regression, {table:.2f}% by "
            "the running table and {batch:.2f}% by large test batches. The settled error is "
            "{linear_error:.3f} standard deviations for the regression, {table_error:.3f} for the "
            "table and {floor:.3f} for batch norm, where it is the noise of a sample's mean and "
            "variance; while training goes on {linear_now:.2f} and {table_now:.2f}, as running "
            f"statistics lag behind. The rule: less than {CLOSE} points lost, and a settled error "
            f"less than {TRUE} times batch norm's."
        ),
        numbers={
            "linear": _at(linear, 0.1, -1) + "/running/mean",
            "table": _at(table, 0.1, -1) + "/running/mean",
            "batch": _at(table, 0.1, -1) + "/batch/mean",
            "linear_error": _at(linear, 0.1, "settled") + "/error/mean",
            "table_error": _at(table, 0.1, "settled") + "/error/mean",
            "floor": _at("BatchNorm", 0.1, "settled") + "/error/mean",
            "linear_now": _at(linear, 0.1, -1) + "/error/mean",
            "table_now": _at(table, 0.1, -1) + "/error/mean",
        },
        figure="test_phases",
    )


def _momentum(numbers: dict[str, Any], samples: Sequence[int]) -> Finding:
    """Compare how test phases bear a small momentum."""
    more = numbers["batch_norm_lost_more"]
    ahead = [PHASES[layer] for layer in OTHERS if more[layer]["verdict"] == "ahead"]
    decided = any(more[layer]["verdict"] != "tie" for layer in OTHERS)
    others = dict(zip(("table", "linear", "moments"), OTHERS, strict=True))
    gaps = [
        f"{{{name}_more:+.1f}} ({{{name}_low:+.1f}} to {{{name}_high:+.1f}})" for name in others
    ]
    return Finding(
        claim="Test phases that start from the first batch bear a small momentum; batch norm's, "
        "which starts from mean 0 and variance 1, does not.",
        source="ours",
        holds=len(ahead) == len(OTHERS) if decided else None,
        condition="against " + " and ".join(ahead) if ahead else "",
        text=(
            f"With a momentum of 0.01 and after {samples[0]:,} samples batch norm's running "
            "statistics lose {batch_norm:.1f} points of accuracy against those of large test "
            "batches (by seed {least:.1f} to {most:.1f}), copula's table {table:.1f}, its "
            "regression {linear:.1f}, running moments {moments:.1f}. Batch norm loses more than "
            f"these by {', '.join(gaps)} points (99% intervals, paired by seed). The claim is "
            "taken to hold where all of these intervals lie above 0; it is not decided where all "
            f"have 0 in them. After {samples[-1]:,} samples the losses are "
            "{batch_norm_last:.1f}, {table_last:.1f}, {linear_last:.1f} and {moments_last:.1f}."
        ),
        numbers={
            **{
                name + end: _at(layer, 0.01, mark) + "/loss/mean"
                for name, layer in {"batch_norm": PEER, **others}.items()
                for end, mark in (("", 0), ("_last", -1))
            },
            **{
                f"{name}_{end}": f"batch_norm_lost_more/{layer}/{of}"
                for name, layer in others.items()
                for end, of in (("more", "mean"), ("low", "low"), ("high", "high"))
            },
            "least": "batch_norm_lost/0",
            "most": "batch_norm_lost/-1",
        },
        figure="test_phases",
    )


def _other(numbers: dict[str, Any]) -> Finding:
    """Tell what a change of contrast does to each test phase, and what mends it."""
    here = {layer: numbers[layer]["0.1"] for layer in PHASES}
    before = {layer: each["marks"][-1]["running"]["mean"] for layer, each in here.items()}
    hurt, mended = (
        [
            before[layer] - min(each["changed"][name]["mean"] for name in names)
            for layer, each in here.items()
        ]
        for names in (("running",), ("batch", "own"))
    )
    parts = {"batch_norm": "BatchNorm", "table": "Copula", "linear": "Copula, linear test"}
    parts["moments"] = "MomentNorm 4"
    return Finding(
        claim="No test phase by running statistics bears a change of contrast; statistics of the "
        "changed data mend it.",
        source="ours",
        holds=min(hurt) > 10 * CLOSE and max(mended) < 2 * CLOSE,
        text=(
            f"With {GAIN:g} of the contrast the accuracy by running statistics is "
            "{batch_norm:.1f}% for batch norm, {table:.1f}% for copula's table, {linear:.1f}% for "
            "its regression and {moments:.1f}% for running moments. By the statistics of the test "
            "batches it is {batch_norm_batch:.1f}, {table_batch:.1f}, {linear_batch:.1f} and "
            "{moments_batch:.1f}%, by running statistics of unlabelled changed images "
            "{batch_norm_own:.1f}, {table_own:.1f}, {linear_own:.1f} and {moments_own:.1f}%. The "
            f"rule: more than {10 * CLOSE:g} points lost by all, less than {2 * CLOSE:g} of them "
            "after mending."
        ),
        numbers={
            name + end: f"{layer}/0.1/changed/{of}/mean"
            for name, layer in parts.items()
            for end, of in (("", "running"), ("_batch", "batch"), ("_own", "own"))
        },
        figure="test_phases",
    )


def draw(numbers: dict[str, Any], samples: Sequence[int]) -> Figure:
    """Draw points lost, errors, and accuracy on other contrast, by condition and layer."""
    figure, axes = style.figure(12.5, 7.2, 2, 2)
    early, late = (f"{n / 1000:g}K" for n in samples)
    points = [(f"{m:g}", mark) for m in MOMENTA for mark in (0, -1)]
    names = [f"{early if mark == 0 else late}\n{m}" for m, mark in points]
    lost = {
        layer: [_interval(numbers[layer][m]["marks"][mark]["loss"]) for m, mark in points]
        for layer in PHASES
    }
    _dots(axes[0, 0], lost, names)
    axes[0, 0].axhline(0, color=style.FAINT, lw=0.8, zorder=0)
    axes[0, 0].set(ylabel="points of accuracy", title="lost by running statistics (99% intervals)")
    errors = {
        layer: [
            *(_spread(numbers[layer][m]["marks"][mark]["error"]) for m, mark in points),
            _spread(numbers[layer]["0.1"]["settled"]["error"]),
        ]
        for layer in PHASES
    }
    _dots(axes[0, 1], errors, [*names, "settled"])
    axes[0, 1].set(yscale="log", ylabel="standard deviations", title="error of the test phase, rms")
    for ax in axes[0]:
        ax.set_xlabel("samples seen, and momentum of the running statistics")
    changed = {
        layer: [_spread(numbers[layer]["0.1"]["changed"][name]) for name in CHANGED]
        for layer in PHASES
    }
    _dots(axes[1, 0], changed, list(CHANGED.values()))
    title = f"{GAIN:g} of the contrast, after {late} samples"
    axes[1, 0].set(ylabel="test accuracy, %", title=title)
    axes[1, 1].set_axis_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[1, 1].legend(handles, labels, loc="center left", frameon=False)
    return figure


def _interval(gap: dict[str, Any]) -> tuple[float, float, float]:
    """Return mean and the ends of a difference."""
    mean = gap["mean"]
    low, high = (mean if gap[end] is None else gap[end] for end in ("low", "high"))
    return mean, low, high


def _spread(values: dict[str, Any]) -> tuple[float, float, float]:
    """Return mean and the ends of one standard deviation around it."""
    mean, std = values["mean"], values["std"] or 0.0
    return mean, mean - std, mean + std


def _dots(ax: Axes, groups: dict[str, list[tuple[float, float, float]]], names: list[str]) -> None:
    """Draw a dot with its ends for each layer side by side, a group for each name."""
    for k, (layer, values) in enumerate(groups.items()):
        at = [i + 0.16 * (k - (len(groups) - 1) / 2) for i in range(len(values))]
        middle = [value[0] for value in values]
        colour = style.COLOURS[layer]
        ax.vlines(at, [v[1] for v in values], [v[2] for v in values], color=colour, lw=1.4)
        ax.plot(at, middle, "o", color=colour, ms=5.5, label=PHASES[layer])
    ax.set_xticks(range(len(names)), names, fontsize=9)


def table(numbers: dict[str, Any], samples: Sequence[int]) -> str:
    """Return accuracies by running and by batch statistics, and errors, in Markdown."""
    lines = [
        "| test phase | momentum | samples | running, % | test batches, % | error |",
        "|---" * 6 + "|",
    ]
    for layer, name in PHASES.items():
        for momentum, each in numbers[layer].items():
            names = [*(f"{n / 1000:g}K" for n in samples), "settled"]
            for when, mark in zip(names, [*each["marks"], each["settled"]], strict=True):
                cells = " | ".join(
                    f"{mark[part]['mean']:.{digits}f} ± {mark[part]['std'] or 0:.{digits}f}"
                    for part, digits in (("running", 2), ("batch", 2), ("error", 3))
                )
                lines.append(f"| {name} | {momentum} | {when} | {cells} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, compare and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    settings = {
        "layers": list(PHASES),
        "momenta": MOMENTA,
        "rate": RATE,
        "samples": samples,
        "gain": GAIN,
        "batch": training.BATCH,
    }
    results = lab.results("Test phases", settings, source)
    numbers = measured(lab, source, samples)
    numbers |= lost_early(numbers)
    figures = {
        "test_phases": (
            draw(numbers, samples),
            "Accuracy lost by running statistics against those of large test batches; error of "
            "the layers' test phase; accuracy on test images of other contrast. Means over seeds; "
            "where nothing else is said, lines are one standard deviation.",
        )
    }
    tables = {"Test phases, by momentum and training": table(numbers, samples)}
    results.write(numbers, findings(numbers, samples), figures, tables)


if __name__ == "__main__":
    script.run(main)
