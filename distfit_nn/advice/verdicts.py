"""From estimated divergences to what is suggested for each unit of a recording, and for it all."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from distfit_nn.advice.candidates import CANDIDATES
from distfit_nn.advice.crossfit import PARAMETERS, Estimates, Goal, Z, cross_fitted
from distfit_nn.stats.bimodality.atoms import set_apart
from distfit_nn.stats.rows import Rows, sorted_rows
from distfit_nn.stats.summary import Recording

Float = NDArray[np.float64]

NAMES = tuple(candidate.name for candidate in CANDIDATES)
LEVELS = np.array([candidate.level for candidate in CANDIDATES])
SIMPLE = LEVELS < 2  # what needs no layer but BatchNorm
LEAST_GAIN = 0.05  # nats of a layer's median unit that are worth another layer
LEAST_ROWS = 64  # in both halves together
SHORTER = 2**0.125  # ratio of the lengths that columns are cut to
AT_ONCE = 1 << 18  # values; the grid of a search has 18 times half as many
SHAPELESS = ("empty", "constant", "atom", "discrete")


class Settings(NamedTuple):
    """What `suggest` was asked for; see there."""

    target: Any
    tolerance: float
    seed: int
    units: tuple[int, ...] | None
    most_units: int | None


def unit_rows(recording: Recording, settings: Settings) -> pd.DataFrame:
    """Return what is suggested for each chosen unit of a recording: see `Suggestions.units`."""
    table = recording.units
    chosen = _chosen(table["unit"].to_numpy(), settings)
    table = table.iloc[chosen].reset_index(drop=True)
    sample = np.empty((0, len(chosen))) if recording.sample is None else recording.sample
    rows, atoms = set_apart(sorted_rows(np.asarray(sample)[:, chosen]))
    reasons = _reasons(table, rows.counts)
    judged = np.array([reason == "" for reason in reasons], bool)
    estimates, used = _estimates(rows, judged, table["unit"].to_numpy(), len(sample), settings)
    pick, margin = picked(estimates.kl, estimates.error, settings.tolerance)
    words = [reason or NAMES[j] for reason, j in zip(reasons, pick, strict=True)]
    columns: dict[str, Any] = {
        "n": used,
        "atoms": atoms.share,
        "suggestion": pd.Series(words, dtype=object),
        "judged": judged,
        **_of(estimates, np.zeros(len(pick), int), "kl_before"),
        **_of(estimates, pick, "kl_after"),
        "margin": margin,
        **{f"kl_{name}": kl for name, kl in zip(NAMES, estimates.kl, strict=True)},
        **{f"error_{name}": error for name, error in zip(NAMES, estimates.error, strict=True)},
        **dict(zip(PARAMETERS, estimates.parameters, strict=True)),
    }
    where = table[["layer", "site", "step", "unit", "name"]]
    return pd.concat([where, pd.DataFrame(columns)], axis=1)


def layer_row(recording: Recording, units: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """Return what is suggested for a layer as a whole: see `Suggestions.layers`."""
    judged = units[units["judged"]]
    row = {
        "layer": recording.layer,
        "site": recording.site,
        "step": recording.step,
        "units": len(recording.units),
        "judged": len(judged),
    }
    kl, error = (
        judged[[f"{what}_{name}" for name in NAMES]].median().to_numpy(np.float64)[:, None]
        for what in ("kl", "error")
    )
    worth = SIMPLE | worthwhile(judged)
    (pick,), _ = picked(np.where(worth[:, None], kl, np.nan), error, settings.tolerance)
    name = NAMES[pick]
    gained = judged["kl_none"] - judged[f"kl_{name}"] > judged["margin"]
    return {
        **row,
        "suggestion": name if len(judged) else "none: no unit could be judged",
        "layer_class": CANDIDATES[pick].layer,
        "kl_before": float(kl[0, 0]),
        "kl_after": float(kl[pick, 0]),
        "improved": float(gained.mean()) if len(judged) else np.nan,
        "atoms": float(units["atoms"].median()),
        **{f"kl_{name}": float(figure) for name, figure in zip(NAMES, kl[:, 0], strict=True)},
        **{f"n_{name}": int((judged["suggestion"] == name).sum()) for name in NAMES},
    }


def worthwhile(judged: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which transformations (K,) bring a layer's median unit enough nearer its target.

    Nearer than the better of those that need no layer but BatchNorm; by `LEAST_GAIN`, and by more
    than the noise of one unit's gain. Units of a layer share their rows, so that the noise of the
    median is not taken to be less; nor is it taken into account that the two figures of a unit
    rest on the same rows, which makes their difference more certain than this.
    """
    kl, error = (
        judged[[f"{what}_{name}" for name in NAMES]].to_numpy(np.float64)
        for what in ("kl", "error")
    )
    if not len(judged):
        return np.zeros(len(NAMES), bool)
    known = np.where(np.isnan(kl), np.inf, kl)
    base = int(np.where(SIMPLE, np.median(known, axis=0), np.inf).argmin())
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is no gain
        gain = np.median(np.nan_to_num(known[:, [base]] - known, nan=0.0), axis=0)
        noise = Z * np.median(
            np.hypot(np.nan_to_num(error), np.nan_to_num(error[:, [base]])), axis=0
        )
    return np.asarray((gain >= LEAST_GAIN) & (gain > noise))


def picked(kl: Float, error: Float, tolerance: float) -> tuple[NDArray[np.intp], Float]:
    """Return the place of what is suggested for each column (K, d), and how much is noise.

    The simplest level that has a transformation at most the noise above the least divergence; of
    several of that level the one with the least.
    """
    known = np.where(np.isnan(kl), np.inf, kl)
    columns = np.arange(kl.shape[1])
    best = known.argmin(axis=0)
    noise = np.nan_to_num(error[best, columns], nan=0.0, posinf=0.0)
    margin = np.maximum(noise, tolerance)
    near = known <= known[best, columns] + margin
    level = np.where(near, LEVELS[:, None], LEVELS.max() + 1).min(axis=0)
    among = near & (LEVELS[:, None] == level)
    return np.where(among, known, np.inf).argmin(axis=0), margin


def _chosen(numbers: NDArray[Any], settings: Settings) -> NDArray[np.intp]:
    """Return the places of the units to look at, in their order."""
    chosen = np.arange(len(numbers))
    if settings.units is not None:
        chosen = np.flatnonzero(np.isin(numbers, settings.units))
    if settings.most_units is not None and len(chosen) > settings.most_units:
        rng = np.random.default_rng(settings.seed)
        chosen = np.sort(rng.choice(chosen, settings.most_units, replace=False))
    return chosen


def _reasons(table: pd.DataFrame, counts: NDArray[np.int64]) -> list[str]:
    """Return why units are not judged, "" for those that are."""
    shapes = [
        "constant" if c else s for c, s in zip(table["constant"], table["shape"], strict=True)
    ]
    return [
        f"none: {shape}"
        if shape in SHAPELESS
        else "none: dead"
        if dead
        else f"not enough rows ({count})"
        if count < LEAST_ROWS
        else ""
        for shape, dead, count in zip(shapes, table["dead"], counts.tolist(), strict=True)
    ]


def _estimates(
    rows: Rows, judged: NDArray[np.bool_], numbers: NDArray[Any], most: int, settings: Settings
) -> tuple[Estimates, NDArray[np.int64]]:
    """Return the estimates of all units, NaN where not judged, and how many rows they rest on."""
    goal = Goal(settings.target)
    d, k = len(judged), len(NAMES)
    kl, error, low, high = np.full((4, k, d), np.nan)
    out = Estimates(kl, error, low, high, np.full((len(PARAMETERS), d), np.nan))
    used = np.where(judged, _cut(rows.counts, most), rows.counts)
    for length in np.unique(used[judged]).tolist():
        group = np.flatnonzero(judged & (used == length))
        step = max(1, AT_ONCE // length)
        for first in range(0, len(group), step):
            part = group[first : first + step]
            values = [_shuffled(rows.of(j), length, settings.seed, int(numbers[j])) for j in part]
            found = cross_fitted(np.stack(values, axis=1), goal)
            for whole, some in zip(out, found, strict=True):
                whole[:, part] = some
    return out, used


def _cut(counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the lengths that columns are cut to: `most` times a power of `SHORTER`."""
    ratio = np.log(np.maximum(counts, 1) / max(most, 1)) / np.log(SHORTER)
    cut = np.floor(max(most, 1) * SHORTER ** np.floor(ratio + 1e-9) + 1e-6).astype(np.int64)
    return np.where(counts < LEAST_ROWS, counts, np.maximum(np.minimum(cut, counts), LEAST_ROWS))


def _shuffled(values: Float, length: int, seed: int, unit: int) -> Float:
    """Return so many of the values in random order, the same whatever other units there are."""
    return np.random.default_rng([seed, unit]).permutation(values)[:length]


def _of(estimates: Estimates, pick: NDArray[np.intp], name: str) -> dict[str, Float]:
    """Return the columns of the transformation that was picked for each unit."""
    at = pick, np.arange(len(pick))
    low, high = estimates.low[at], estimates.high[at]
    return {name: estimates.kl[at], f"{name}_low": low, f"{name}_high": high}
