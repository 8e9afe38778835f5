"""How one statistic is spread over the units of one or two sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from distfit_nn.report.shapes.limits import LARGEST, Array, bars_for, finite

_MOST_BINS = 30  # of a spread over units


@dataclass(frozen=True)
class Spread:
    """How one statistic is spread over the units of one or two sites, on common bins.

    Attributes
    ----------
    edges : array (b + 1,)
        Bins; of log10 of the statistic if `log`.
    shares : tuple of array (b,)
        Units per bin, over the fullest bin of that site.
    medians : tuple of float
        Median over units.
    beyond : tuple of (int, int)
        Units left and right of the bins.
    n : tuple of int
        Units with a finite value.
    log : bool
        Whether the axis is logarithmic.
    """

    edges: Array
    shares: tuple[Array, ...]
    medians: tuple[float, ...]
    beyond: tuple[tuple[int, int], ...]
    n: tuple[int, ...]
    log: bool

    @classmethod
    def of(cls, samples: Sequence[ArrayLike], *, log: bool = False) -> Spread | None:
        """Return the spread of one array of unit values per site; None if no value is finite.

        The axis runs over the central 98% of the units of both sites, widened by a tenth; what
        lies beyond is counted. On a logarithmic axis values of 0 and less count as beyond it.
        """
        columns = [finite(sample) for sample in samples]
        beyond_zero = [0 for _ in columns]
        sizes = tuple(column.size for column in columns)
        if log:
            beyond_zero = [int(np.sum(column <= 0)) for column in columns]
            columns = [np.log10(column[column > 0]) for column in columns]
        together = np.clip(np.concatenate(columns), -LARGEST, LARGEST)
        if together.size == 0:
            return None
        edges = _common_bins(together, bars_for(max(sizes), _MOST_BINS))
        counts = [np.histogram(column, edges)[0].astype(float) for column in columns]
        return cls(
            edges,
            tuple(count / max(count.max(), 1.0) for count in counts),
            tuple(float(np.median(column)) if column.size else np.nan for column in columns),
            tuple(
                (int(np.sum(column < edges[0])) + zeros, int(np.sum(column > edges[-1])))
                for column, zeros in zip(columns, beyond_zero, strict=True)
            ),
            sizes,
            log,
        )


def _common_bins(values: Array, bins: int) -> Array:
    low, high = np.quantile(values, [0.01, 0.99])
    room = 0.1 * (high - low)
    if room <= 1e-9 * max(abs(low), abs(high)):
        room = max(0.05 * abs(low), 0.05)
    return np.linspace(low - room, high + room, bins + 1)
