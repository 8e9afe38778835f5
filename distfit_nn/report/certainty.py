"""A claim, how sure it is, and the rule that says so.

The rule stands in `RULES` in words and in `certainties` in numbers, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from distfit_nn.stats.unit_table import ALPHA

SURE_N, LIKELY_N = 1000, 200
SURE_TIMES, SURE_Q = 1.5, 0.001
WORDS = ("open", "likely", "sure")
UNUSABLE, HEALTH = 20.0, 10.0  # above every weight: these claims stand before all others

RULES = (
    (
        "Sure",
        f"At least {SURE_N} values of the unit, an effect of at least {SURE_TIMES:g} times its "
        f"threshold, and, where there is a test, q below {SURE_Q:g}.",
    ),
    (
        "Likely",
        f"At least {LIKELY_N} values, an effect beyond its threshold, and, where there is a test, "
        f"q below {ALPHA:g}.",
    ),
    ("Open", "Everything else: too few values, or an effect that its test does not confirm."),
    (
        "Whose word it is",
        "Each unit named is judged by itself; the claim has the word that at least half of them "
        "reach, and says how many are sure. Being dead has no size of effect, so only the number "
        "of values counts: of n values none open, which makes a share above 3/n of rows that open "
        "the unit unlikely (5%). Saturation without a known activation is likely at most: only the "
        "verdict is known then.",
    ),
    (
        "Order",
        "First values that are no measurements (a fill value, then what is not finite), then "
        "what single units are (dead, saturated, ...), then all else; each by weight times the "
        "root of the share of units concerned. Weights: not finite 8, dead 4, saturated 3, outlier "
        "channels 3, heavy tails 2, several modes 2; far from N(0,1) 2, drift 1.5, shape 1.5, "
        "dependence 1.5, normalisation 1. Six are told in full, the others named.",
    ),
)


@dataclass(frozen=True)
class Claim:
    """One remarkable thing.

    Attributes
    ----------
    kind : str
        A column of verdicts ("dead", "far", ...) or "fill", "missing", "shape", "drift",
        "dependence", "normalisation", "nothing".
    text, detail : str
        What is so, in plain words; what that means.
    certainty : str
        "sure", "likely" or "open"; see `RULES`.
    units, of, sure : int
        How many units are concerned, of how many, and of how many that is sure.
    layer, site, step, unit
        Where the strongest is; None where it is nowhere in particular.
    n : int
        Values that the strongest unit's evidence rests on.
    value, threshold, qvalue : float, or None
        Its effect, the limit that this is compared with, and its corrected p-value.
    measure : str
        What `value` is: a pattern with {} in its place.
    anchor : str
        Of the picture on the page.
    weight : float
        Claims are in order of this.
    """

    kind: str
    text: str
    detail: str
    certainty: str
    units: int = 0
    of: int = 0
    sure: int = 0
    layer: str | None = None
    site: str | None = None
    step: int | None = None
    unit: int | None = None
    n: int = 0
    value: float | None = None
    threshold: float | None = None
    qvalue: float | None = None
    measure: str = ""
    anchor: str = ""
    weight: float = 0.0


def certainties(n: Any, times: Any, q: Any, *, tested: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return 2 (sure), 1 (likely) or 0 (open) of units, by `RULES`.

    Parameters
    ----------
    n, times, q : array-like (units,)
        Values, effects over their threshold, corrected p-values; NaN confirms nothing.
    tested : bool
        Whether there is a test.
    """
    n, times, q = (np.asarray(a, dtype=float) for a in (n, times, q))
    sure = (n >= SURE_N) & (times >= SURE_TIMES) & ((q < SURE_Q) | (not tested))
    likely = (n >= LIKELY_N) & (times >= 1) & ((q < ALPHA) | (not tested))
    return np.where(sure, 2, np.where(likely, 1, 0))


def word_of(codes: Any) -> str:
    """Return the word that at least half of some units reach."""
    return WORDS[int(np.sort(np.asarray(codes))[::-1][(len(codes) - 1) // 2])]
