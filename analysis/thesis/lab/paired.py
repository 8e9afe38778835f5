"""Whether one layer is ahead of another: differences seed by seed, with an interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from scipy.stats import t

CONFIDENCE = 0.99  # not 0.95: a script makes some twenty comparisons


def difference(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Return mean, ends of the interval and verdict of ours - theirs, paired by seed.

    The interval is Student's, of `CONFIDENCE`. The verdict is "ahead" or "behind" where it leaves
    out 0, else "tie"; also where one seed or a value that is no number gives no interval, whose
    ends are then None.
    """
    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean, n = statistics.fmean(gaps), len(gaps)
    if n < 2 or not math.isfinite(mean):
        return {"mean": mean, "low": None, "high": None, "verdict": "tie"}
    reach = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * statistics.stdev(gaps) / math.sqrt(n)
    verdict = "tie" if abs(mean) <= reach else "ahead" if mean > 0 else "behind"
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "verdict": verdict}
