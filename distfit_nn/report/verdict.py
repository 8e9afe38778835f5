"""The report in a few plain sentences, written from the counts and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from distfit_nn.report.numbers import MISSING, count, not_finite, number, percent, plural
from distfit_nn.report.select import Layer, Layers, clean
from distfit_nn.stats.changes import MOST_LAYERS
from distfit_nn.stats.health import RECTIFIERS

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings

# Two numbers are called the same if they differ by at most this times (1 + the smaller size).
_SAME = 0.02
SAME = f"to within {_SAME:g} plus {_SAME:.0%} of their size"
# An affine map per unit keeps |skewness| and kurtosis; a few units may miss by rounding.
_NEARLY_ALL = 0.99

FLAGS = {
    "dead": "dead",
    "saturated": "saturated",
    "heavy_tailed": "heavy-tailed",
    "outlier": "outlier channel",
    "bimodal": "bimodal",
    "far": "far from N(0,1)",
}
_RARE = ("saturated", "outlier")  # told only where there are any
_UNJUDGED = {
    "undecided": "too few values, or a second mode that is slight or that the dip cannot confirm",
    "discrete": "too few levels",
    "atom": "one value nearly everywhere",
}


def verdict(layers: Layers, order: int, drift: str = "") -> list[str]:
    """Return two to four sentences about the last step, at the site that feeds the nonlinearity.

    `drift` says how many units have drifted, where that is claimed: it ends the first sentence.
    """
    if not layers:
        return ["Nothing was recorded, so there is nothing to describe."]
    units = main_units(layers)
    if not np.any(units["n"].to_numpy() > 0):
        none = (
            "The one unit has no" if len(units) == 1 else f"None of the {count(len(units))} units"
        )
        has = "" if len(units) == 1 else f" in {plural(len(layers), 'layer')} has a"
        return [f"{none}{has} finite value, so there is no distribution to describe."]
    sentences = [_counts(layers, units) + (f"; {drift}" if drift else "") + "."]
    sentences += _normalisation(layers)
    if order > 2:  # with two moments every fitted density is a Gaussian and has no shape part
        sentences += _shape(layers, units)
    sentences += _change(layers)
    return sentences + _signature(layers, units)


def cautions(layers: Layers, analysis: Findings) -> list[str]:
    """Return what a reader must know before trusting the verdict; often nothing."""
    if not layers:
        return []
    units = main_units(layers)
    found = []
    empty = int(np.sum(units["n"].to_numpy() == 0))
    if empty:
        found.append(f"{_have(empty)} no finite value and cannot be judged.")
    pools = [recording.pooled for recording in analysis.recordings]
    nan, inf = (sum(int(p.nan_count[0]) for p in pools), sum(int(p.inf_count[0]) for p in pools))
    if nan or inf:
        found.append(
            f"{not_finite(nan, inf)} {'value was' if nan + inf == 1 else 'values were'} met over "
            "all recordings, counted, and left out of every figure."
        )
    failed = units["maxent_status"].isin(["degenerate", "invalid"]) & (units["n"] > 0)
    if failed.any():
        found.append(
            f"{_have(int(failed.sum()))} no fitted density (constant, or too few distinct values), "
            "hence no KL divergence of its own; far from N(0,1) is judged by mean and standard "
            "deviation alone, and a constant unit is dead, not far."
        )
    beyond = (units["n"] > 0) & ~failed & _overflows(units)
    if beyond.any():
        found.append(
            f"{_have(int(beyond.sum()))} values so large or so small that a mean, a standard "
            "deviation or a KL divergence leaves the range of 64-bit numbers; it is shown as "
            f"{MISSING} or ∞."
        )
    unseen = int(((units["sampled"] == 0) & (units["n"] > 0)).sum())
    if unseen:
        found.append(
            f"Of {plural(unseen, 'unit')} only summaries were kept, no single value: tails, modes, "
            "saturation and the test of being normal are not known."
        )
    if len(layers) > MOST_LAYERS:
        found.append(
            f"Drift and dependence are not shown for more than {count(MOST_LAYERS)} layers."
        )
    found += _unjudged(units)
    fewest = int(units.loc[units["n"] > 0, "n"].min()) if (units["n"] > 0).any() else 0
    if 0 < fewest < 200:
        most = int(units["n"].max())
        few = (
            f"Only {plural(fewest, 'value')} per unit"
            if fewest == most
            else (f"As few as {plural(fewest, 'value')} in some units")
        )
        found.append(f"{few}: kurtosis, dip and KL are mostly noise at this size.")
    return found


def _unjudged(units: pd.DataFrame) -> list[str]:
    """Say in how many units the number of modes is open, and why."""
    tally = {verdict: int((units["shape"] == verdict).sum()) for verdict in _UNJUDGED}
    said = [
        f"{count(k)} {'has' if k == 1 else 'have'} {_UNJUDGED[verdict]}"
        for verdict, k in tally.items()
        if k
    ]
    if not said:
        return []
    open_units = plural(sum(tally.values()), "unit")
    return [f"One mode or more: left open for {open_units}, of which {_joined(said, 'and')}."]


def fitted(units: pd.DataFrame) -> pd.DataFrame:
    """Return the units whose density has their moments: of others its shape tells nothing."""
    return units[units["kl_shape"].notna()]


def flags(layers: Sequence[Layer]) -> list[str]:
    """Return the verdicts that have a column in the table: rare ones where a unit has them."""
    tables = [layer.last(site).units for layer in layers for site in layer.recordings]
    return [flag for flag in FLAGS if flag not in _RARE or any(t[flag].any() for t in tables)]


def called(flag: str, units: int) -> str:
    """Return what so many units of a verdict are, as an adjective or a noun."""
    return f"{FLAGS[flag]}s" if flag == "outlier" and units != 1 else FLAGS[flag]


def main_units(layers: Layers, *, first: bool = False) -> pd.DataFrame:
    """Return the units of the main site of every layer at the last (or first) step."""
    return layers.first if first else layers.last


def kept_shapes(layer: Layer) -> tuple[int, int] | None:
    """Return how many units keep |skewness| and kurtosis from side to side, and of how many.

    An affine map of a unit changes neither. None where there is nothing to compare.
    """
    if layer.partner is None or layer.last(layer.partner).step != layer.last(layer.main).step:
        return None
    before, after = _paired(layer.last(layer.partner).units, layer.last(layer.main).units)
    both = ~(np.isnan(before) | np.isnan(after)).any(axis=0)
    if not both.any():
        return None
    (skew_a, tails_a), (skew_b, tails_b) = before[:, both], after[:, both]
    same = _same(np.abs(skew_a), np.abs(skew_b)) & _same(tails_a, tails_b)
    return int(same.sum()), len(same)


def _paired(before: pd.DataFrame, after: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return skewness and kurtosis (2, units) of the units that both tables have."""
    numbers = before["unit"].to_numpy(), after["unit"].to_numpy()
    rows: Any = (slice(None), slice(None))
    if not np.array_equal(*numbers):
        _, *rows = np.intersect1d(*numbers, return_indices=True)
    a, b = (
        np.stack([table[name].to_numpy(dtype=float)[row] for name in ("skewness", "kurtosis")])
        for table, row in zip((before, after), rows, strict=True)
    )
    return a, b


def _counts(layers: Layers, units: pd.DataFrame) -> str:
    total = len(units)
    tally = {flag: int(units[flag].sum()) for flag in FLAGS}
    absent = [FLAGS[flag] for flag, k in tally.items() if k == 0 and flag not in _RARE]
    words = {flag: called(flag, k) for flag, k in tally.items() if k}
    if tally["outlier"] == 1:
        words["outlier"] = f"an {words['outlier']}"
    if total == 1:
        said = [f"is {word}" for word in words.values()]
        said += [f"is not {_joined(absent, 'or')}"] if absent else []
        return f"The one unit{_where(layers)}{_when(layers)} {_joined(said, 'and')}"
    said = [
        f"{count(tally[flag])} ({percent(tally[flag], total)}) "
        f"{'is' if tally[flag] == 1 else 'are'} {word}"
        for flag, word in words.items()
    ]
    said += [f"none is {_joined(absent, 'or')}"] if absent else []
    of = f"Of {plural(total, 'unit')} in {plural(len(layers), 'layer')}"
    return f"{of}{_where(layers)}{_when(layers)}, {_joined(said, 'and')}"


def _joined(words: Sequence[str], last: str) -> str:
    """Return ``a, b or c``."""
    head = ", ".join(words[:-1])
    return f"{head} {last} {words[-1]}" if head else words[-1]


def _where(layers: Layers) -> str:
    sites = {layer.main for layer in layers}
    if sites == {"norm_output"}:
        return ", seen after normalisation"
    if sites == {"pre_activation"}:
        return ", seen just before the nonlinearity"
    return ""


def _when(layers: Layers) -> str:
    steps = {layer.last(layer.main).step for layer in layers}
    several = any(len(layer.steps) > 1 for layer in layers)
    if len(steps) > 1:
        return " at the last step of each"
    step = steps.pop()
    return f" at step {count(step)}" if several or step != 0 else ""


def _normalisation(layers: Layers) -> list[str]:
    paired = [layer for layer in layers if layer.partner == "norm_input"]
    if not paired:
        return []
    far = sum(int(layer.last("norm_input").units["far"].sum()) for layer in paired)
    total = sum(len(layer.last("norm_input").units) for layer in paired)
    text = f"Before normalisation {count(far) if far else 'none'} of {count(total)}"
    text += f" ({percent(far, total)})" if far else ""
    text += " were far from N(0,1)" if far > 1 else " was far from N(0,1)"
    kept = [found for layer in paired if (found := kept_shapes(layer)) is not None]
    if not kept:
        return [text + "."]
    same, compared = sum(k for k, _ in kept), sum(n for _, n in kept)
    if same >= _NEARLY_ALL * compared:
        most = "" if same == compared else f" for {count(same)} of {count(compared)} units"
        return [
            text + "; normalisation moved and scaled the units but left their shapes alone: "
            f"skewness (up to its sign) and kurtosis agree on both sides{most}, {SAME}."
        ]
    return [
        text + f"; normalisation also changed shapes: only {count(same)} of "
        f"{plural(compared, 'unit')} {'keeps its' if same == 1 else 'keep their'} skewness (up to "
        f"its sign) and kurtosis, {SAME}."
    ]


def _shape(layers: Layers, units: pd.DataFrame) -> list[str]:
    part = fitted(units)["kl_shape"].dropna()
    if part.empty:
        return []
    in_median = " in the median unit" if len(units) > 1 else ""
    text = (
        "The shape part of the distance to N(0,1), which no shift or scale of a unit can remove, "
        f"is {number(float(part.median()))} nat{in_median}{_once(layers)}"
    )
    medians = units["kl_shape"].groupby(units["place"]).median()
    medians = medians[np.isfinite(medians)]
    if len(medians) < 2:
        return [text + "."]
    worst = layers[int(medians.sort_values(kind="stable").index[-1]) - 1].name
    return [text + f", and largest in {clean(worst, 40)} ({number(float(medians.max()))} nat)."]


def _once(layers: Layers) -> str:
    """Return what the shape part was at the first step, in brackets."""
    steps = {layer.first(layer.main).step for layer in layers}
    part = fitted(main_units(layers, first=True))["kl_shape"].median()
    if len(steps) != 1 or not np.isfinite(part) or not _several(layers):
        return ""
    return f" ({number(float(part))} nat at step {count(steps.pop())})"


def _several(layers: Layers) -> bool:
    return any(len(layer.recordings[layer.main]) > 1 for layer in layers)


def _change(layers: Layers) -> list[str]:
    begin = {layer.first(layer.main).step for layer in layers}
    end = {layer.last(layer.main).step for layer in layers}
    if len(begin) != 1 or len(end) != 1 or begin == end:
        return []
    before, after = main_units(layers, first=True), main_units(layers)
    then, now = int(before["far"].sum()), int(after["far"].sum())
    span = f"From step {count(begin.pop())} to step {count(end.pop())}"
    measure = "the number of units far from N(0,1)"
    if then == now:
        return []
    return [
        f"{span}, {measure} {'rose' if now > then else 'fell'} from {count(then)} to {count(now)}."
    ]


def _signature(layers: Layers, units: pd.DataFrame) -> list[str]:
    """Say how many units have the shape that the thesis saw; where none has, only before a ReLU."""
    judged = fitted(units)
    having = judged[judged["relu_signature"]]
    shape = (
        "the shape that a thesis of 2017 saw before ReLUs, a higher, narrower mode just below 0 "
        "and a lower, wider one above it"
    )
    if having.empty:
        feeds = any(layer.activation in RECTIFIERS for layer in layers)
        return [f"{_none_of(judged, units)} {shape}."] if feeds and len(judged) else []
    confirmed = int(having["bimodal"].sum())
    share = count(confirmed) if confirmed < len(having) else "all"
    return [
        f"By the fitted density {_have(len(having))} {shape}; the dip confirms two modes in "
        f"{share if confirmed else 'none'} of these."
    ]


def _none_of(judged: pd.DataFrame, units: pd.DataFrame) -> str:
    if len(units) == 1:
        return "It does not have"
    if len(judged) == len(units):
        return "No unit has"
    return f"None of the {plural(len(judged), 'unit')} with an exact fit has"


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a - b) <= _SAME * (1 + np.minimum(np.abs(a), np.abs(b)))


def _overflows(units: pd.DataFrame) -> pd.Series:
    return ~np.isfinite(units["mean"]) | ~np.isfinite(units["std"]) | np.isinf(units["kl_maxent"])


def _have(k: int) -> str:
    return f"{plural(k, 'unit')} {'has' if k == 1 else 'have'}"
