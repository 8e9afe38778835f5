"""Claims about values that are no measurements: not finite, or one value that fills gaps."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from distfit_nn.report.certainty import UNUSABLE, Claim, certainties, word_of
from distfit_nn.report.numbers import not_finite, number, percent, plural
from distfit_nn.report.select import Layers, clean

if TYPE_CHECKING:
    from distfit_nn.stats.summary import Recording

FILL_SHARE = 0.01  # of the values of a layer, at least
FILL_AWAY = 1e3  # interquartile ranges of the others, from their median, at least


def missing(layers: Layers) -> Claim | None:
    """Claim what was not finite at the last step, at any site; counts are exact, hence sure."""
    worst, most, nan, inf, total = None, 0, 0, 0, 0
    concerned: set[str] = set()
    for layer in layers:
        for site in layer.recordings:
            found = layer.last(site)
            here = int(found.pooled.nan_count[0]), int(found.pooled.inf_count[0])
            nan, inf, total = nan + here[0], inf + here[1], total + sum(here)
            total += int(found.pooled.n[0])
            if sum(here):
                concerned.add(layer.name)
            if sum(here) > most:
                worst, most = found, sum(here)
    if worst is None:
        return None
    place = next(layer.place for layer in layers if layer.name == worst.layer)
    return Claim(
        kind="missing",
        text=f"{not_finite(nan, inf)} {'value' if nan + inf == 1 else 'values'} "
        f"({percent(nan + inf, total)}) at the last step",
        detail=f"counted and left out of everything else; {_where(layers, concerned, worst.layer)}",
        certainty="sure",
        layer=worst.layer,
        site=worst.site,
        step=worst.step,
        n=total,
        value=float(most),
        measure="{} of them there",
        anchor=f"row-{place}",
        weight=UNUSABLE + 8 * math.sqrt((nan + inf) / total),
    )


def _where(layers: Layers, concerned: Collection[str], worst: str) -> str:
    if len(concerned) == 1:
        return f"all in {clean(worst, 40)}" if len(layers) > 1 else f"in {clean(worst, 40)}"
    return f"in {plural(len(concerned), 'layer')}, most in {clean(worst, 40)}"


def filled(layers: Layers) -> Claim | None:
    """Claim that the least value of a layer fills gaps: a mask, far below all other values.

    Looked for among the rows that are kept of the main site at the last step.
    """
    last = [(layer, layer.last(layer.main)) for layer in layers]
    found = [(layer, one, *fill) for layer, one in last if (fill := fill_of(one)) is not None]
    if not found:
        return None
    layer, recording, value, share = max(found, key=lambda one: one[3])
    n = int(recording.units["n"].max())
    others = f"; so in {plural(len(found), 'layer')}" if len(found) > 1 else ""
    return Claim(
        kind="fill",
        text=f"{percent(share, 1.0)} of the values of {clean(layer.name, 40)} are one fill value, "
        f"{number(value)}",
        detail="far below all others, so probably a mask: leave these values out, as by `mask` "
        f"when recording, for they rule every other figure of this layer{others}",
        certainty=word_of(certainties([n], [share / FILL_SHARE], [np.nan], tested=False)),
        of=len(layers.last),
        layer=layer.name,
        site=layer.main,
        step=recording.step,
        n=n,
        value=share,
        threshold=FILL_SHARE,
        measure="a share of {} of the values kept",
        anchor=f"row-{layer.place}",
        weight=2 * UNUSABLE,
    )


def fill_of(recording: Recording) -> tuple[float, float] | None:
    """Return the value that fills gaps of a recording, and its share of the kept finite values.

    It is their least one, it makes up `FILL_SHARE` of them or more, and is farther below the
    median of the others than `FILL_AWAY` times the interquartile range of these.
    """
    if recording.sample is None or not np.size(recording.sample):
        return None
    values = np.asarray(recording.sample, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    least = float(values.min())
    rest = values[values > least]
    share = 1 - rest.size / values.size
    if rest.size == 0 or share < FILL_SHARE:
        return None
    low, middle, high = np.quantile(rest / 2, (0.25, 0.5, 0.75))  # halves, not to overflow
    away = bool(high > low and (middle - least / 2) / FILL_AWAY > high - low)
    return (least, share) if away else None
