"""Networks on tables of raw features: what stands first, training, scores, paired differences."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor, nn

import distfit_nn.nn as dnn
from lab import style
from lab.errors import LabError
from lab.networks import LAYERS, Layer
from lab.training import spread

Table = NDArray[np.float64]
Map = Callable[[Table], Table]

NONE, BATCH_NORM, COPULA, COPULA_50 = "none", "BatchNorm", "Copula", "Copula, strength 50"
TRIMMED, QUANTILES, LOGARITHMS = "TrimmedNorm", "QuantileTransformer", "BatchNorm, log by hand"
TREES = "boosted trees"  # no network at all
# Runs are kept by these names: an entry that changes takes a new one.
FIRST: Mapping[str, Layer] = {
    NONE: LAYERS["Regular"],
    "LayerNorm": LAYERS["LayerNorm"],
    BATCH_NORM: LAYERS[BATCH_NORM],
    "MomentNorm 4": LAYERS["MomentNorm 4"],
    TRIMMED: LAYERS[TRIMMED],
    COPULA: LAYERS[COPULA],
    COPULA_50: partial(dnn.CopulaNorm1d, strength=50.0),
    QUANTILES: LAYERS["Regular"],  # the features are transformed before training
    LOGARITHMS: LAYERS[BATCH_NORM],  # likewise
}
COLOURS: Mapping[str, str] = {
    **style.COLOURS,
    NONE: style.GREY,
    COPULA_50: "#1b4f8a",
    QUANTILES: style.GREEN,
    LOGARITHMS: style.PURPLE,
    TREES: "#8c6d31",
}
WIDTH = 64
AT_ONCE = 500  # rows of a test batch
WORST = -100.0  # of R2 in %: all below is as bad
CONFIDENCE = 0.95
DIFFERENCE = ("mean", "error", "low", "high", "above")  # what `paired` returns


@dataclass(frozen=True)
class Plan:
    """How a network is trained: Adam, a rate that falls to 0 along a cosine."""

    first: str
    outputs: int  # classes; 1 for the regression
    rate: float
    seed: int
    steps: int
    batch: int = 100


def tensor(x: Table) -> Tensor:
    """Return numbers as float32."""
    return torch.as_tensor(x, dtype=torch.float32)


def normal_scores(x: Table) -> Map:
    """Return the map of scikit-learn's QuantileTransformer to normal scores, fitted to x."""
    quantiles = min(1000, len(x))
    fitted = QuantileTransformer(
        n_quantiles=quantiles, output_distribution="normal", random_state=0
    ).fit(x)
    return lambda new: np.asarray(fitted.transform(new))


def network(first: str, features: int, outputs: int) -> nn.Sequential:
    """Return the first layer, 64 ReLU units, 64 more, and the output."""
    body = (nn.Linear(features, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
    return nn.Sequential(FIRST[first](features), *body, nn.Linear(WIDTH, outputs))


def trained(plan: Plan, x: Table, y: Table) -> nn.Module:
    """Return a trained network in eval mode."""
    torch.manual_seed(plan.seed)
    model = network(plan.first, x.shape[1], plan.outputs)
    inputs, regression = tensor(x), plan.outputs == 1
    target = tensor(y)[:, None] if regression else torch.as_tensor(y, dtype=torch.int64)
    loss = nn.functional.mse_loss if regression else nn.functional.cross_entropy
    optimizer = torch.optim.Adam(model.parameters(), lr=plan.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.steps)
    order = torch.Generator().manual_seed(plan.seed)
    for _ in range(plan.steps):
        rows = torch.randint(len(inputs), (plan.batch,), generator=order)
        optimizer.zero_grad()
        loss(model(inputs[rows]), target[rows]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def score(model: nn.Module, plan: Plan, x: Table, y: Table) -> float:
    """Return the accuracy, or R2 but no less than -100, both in %."""
    output = torch.cat([model(rows) for rows in tensor(x).split(AT_ONCE)])
    if plan.outputs > 1:
        return 100 * float(np.mean(output.argmax(1).numpy() == y))
    unexplained = np.mean((output[:, 0].double().numpy() - y) ** 2) / np.var(y)
    return 100 * float(1 - min(np.nan_to_num(unexplained, nan=np.inf), 1 - WORST / 100))


def best_rate(validation: Mapping[float, Sequence[float]]) -> float:
    """Return the rate whose scores in validation are best in the mean."""
    return max(validation, key=lambda rate: statistics.fmean(validation[rate]))


def paired(values: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """Return the mean of paired differences, its standard error, its 95% interval by t, and how
    many are above 0.

    Two pairs at least; see `require_pairs`.
    """
    gains = [ours - theirs for ours, theirs in zip(values, base, strict=True)]
    mean = statistics.fmean(gains)
    error = statistics.stdev(gains) / len(gains) ** 0.5
    half = float(student.ppf((1 + CONFIDENCE) / 2, len(gains) - 1)) * error
    above = sum(gain > 0 for gain in gains)
    return {
        "mean": mean,
        "error": error,
        "low": mean - half,
        "high": mean + half,
        "above": above,
    }


def require_pairs(seeds: int) -> None:
    """Refuse one seed, of which no difference has an error."""
    if seeds < 2:
        raise LabError(f"--seeds must be at least 2, for an error of differences; got {seeds}")


def compared(
    scores: Mapping[str, Sequence[float]], rates: Mapping[str, Any], bases: Sequence[str]
) -> dict[str, Any]:
    """Return for each layer its rate, mean, spread, and differences to some, seed by seed."""
    return {
        layer: {
            "rate": rates[layer],
            **spread(values),
            "over": {base: paired(values, scores[base]) for base in bases if base != layer},
        }
        for layer, values in scores.items()
    }


def ahead(entry: Mapping[str, Any], base: str) -> bool:
    """Return whether the whole interval of the difference to another layer is above 0."""
    return bool(entry["over"][base]["low"] > 0)


def decided(entry: Mapping[str, Any], base: str) -> bool | None:
    """Return whether a layer is ahead (True) or behind (False); None where the interval has 0."""
    low, high = (entry["over"][base][end] for end in ("low", "high"))
    return None if low <= 0 <= high else bool(low > 0)


def told(difference: Mapping[str, Any], digits: int) -> str:
    """Return a difference and its standard error as a table has them."""
    return f"{difference['mean']:+.{digits}f} ± {difference['error']:.{digits}f}"


def scored(entry: Mapping[str, Any], digits: int) -> str:
    """Return a mean and its standard deviation as a table has them."""
    if min(entry.get("seeds", [entry["mean"]])) <= WORST:  # cut: the mean is an upper bound
        return f"≤ {max(entry['mean'], WORST):.{digits}f}"
    return f"{entry['mean']:.{digits}f} ± {entry['std']:.{digits}f}"


def draw_dots(
    ax: Axes, entries: Mapping[str, Sequence[Mapping[str, Any]]], digits: int, floor: float = WORST
) -> None:
    """Draw a row for each layer: each seed of each entry a point, the mean a number beside it.

    What lies below the floor, or as low, is told by its number only.
    """
    names = list(reversed(entries))
    for place, layer in enumerate(names):
        values = [value for entry in entries[layer] for value in entry["seeds"]]
        colour, mean = COLOURS[layer], statistics.fmean(values)
        if min(values) > floor:
            ax.scatter(values, [place] * len(values), s=24, color=colour, alpha=0.75, lw=0)
        ax.text(
            1.02,
            place,
            f"{mean:.{digits}f}" if min(values) > WORST else f"≤ {max(mean, WORST):.{digits}f}",
            transform=ax.get_yaxis_transform(),
            va="center",
            color=colour,
        )
    batch = statistics.fmean(entry["mean"] for entry in entries[BATCH_NORM])
    if all(min(entry["seeds"]) > floor for entry in entries[BATCH_NORM]):
        ax.axvline(batch, color=style.INK, lw=0.8, ls=(0, (4, 3)), zorder=0)
    ax.set(ylim=(-0.6, len(names) - 0.4), yticks=range(len(names)), yticklabels=names)
    _rows_only(ax)


def draw_differences(
    ax: Axes, entries: Mapping[str, Mapping[str, Any]], floor: float = WORST
) -> None:
    """Draw the mean difference of each layer to batch norm, and its interval."""
    for place, (layer, entry) in enumerate(reversed(entries.items())):
        if layer != BATCH_NORM and min(entry["seeds"]) > floor:
            over = entry["over"][BATCH_NORM]
            ax.plot((over["low"], over["high"]), (place, place), color=COLOURS[layer], lw=2)
            ax.plot(over["mean"], place, "o", color=COLOURS[layer])
    ax.axvline(0, color=style.INK, lw=0.8, ls=(0, (4, 3)), zorder=0)
    _rows_only(ax)


def _rows_only(ax: Axes) -> None:
    """Let faint lines stand for the rows, and no axis on their left."""
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color=style.FAINT)
    ax.set_axisbelow(True)
    ax.spines["left"].set_visible(False)
