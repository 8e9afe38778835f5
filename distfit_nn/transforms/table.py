"""The scores of a sample, kept in a table of bounded size, for new data and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from distfit_nn._threads import threads
from distfit_nn.copula import lines
from distfit_nn.copula.scores import end_slopes, of_counts
from distfit_nn.targets.arrays import Marginal
from distfit_nn.transforms import table_kernel

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]

AT_ONCE = 256  # values that are searched for together
BATCH = 1 << 17  # values that one task works on: they stay in the cache
WORTH_A_THREAD = 1 << 16  # values below which a second thread takes longer to start than to work


@dataclass(frozen=True, eq=False)
class Table:
    """Knots of an increasing map of each of d columns, and the lines beyond.

    Attributes
    ----------
    values, scores : (d, k)
        The knots, ascending along a row, and their scores; NaN after the last of a row.
    middles : (d, k)
        The scores of values that are knots: for the knots of an atom, that of its middle.
    counts : (d,) int64
        How many knots a row holds; 0 of a column without a value.
    slopes : (2, d)
        dx/dy of the lines below the first and above the last knot; 0 where what lies beyond counts
        as that knot.
    ends : (2, d)
        The ends of the target.
    """

    values: Array
    scores: Array
    middles: Array
    counts: NDArray[np.int64]
    slopes: Array
    ends: Array

    def forward(self, x: Floats) -> Floats:
        """Return the scores of x (n, d), float32 or float64; NaN stays."""
        rates = np.zeros_like(self.slopes)
        with np.errstate(over="ignore"):
            np.divide(1.0, self.slopes, out=rates, where=self.slopes > 0)
        limits = _within(self.ends, x.dtype)
        return _looked_up(x, self.values, self.scores, self.middles, self.counts, rates, limits)

    def inverse(self, y: Floats) -> Floats:
        """Return the values of the scores y (n, d), float32 or float64; NaN stays.

        Those beyond the ends of the target count as these ends.
        """
        inside = np.clip(y, *_within(self.ends, y.dtype).astype(y.dtype))
        limits = _within(np.broadcast_to([[-np.inf], [np.inf]], self.ends.shape), y.dtype)
        return _looked_up(
            inside, self.scores, self.values, self.values, self.counts, self.slopes, limits
        )


def places(n: int, size: int) -> NDArray[np.int64]:
    """Return which of n sorted values become knots, at most `size` of them, the ends included.

    Half of them are even in rank and half in normal score: so that between neighbours lie neither
    more than about 2 n / size values, nor, unless these stand next to each other, more than about
    2 / size of the whole range of the scores.
    """
    if n <= size:
        return np.arange(n)
    half = size // 2
    even = np.linspace(0, n - 1, half + 1)
    end = ndtri(0.5 / n)
    tails = n * ndtr(np.linspace(end, -end, size - half + 1)[1:-1]) - 0.5
    return np.unique(np.rint(np.concatenate([even, tails])).astype(np.int64))


class Sample(NamedTuple):
    """What is kept of d columns of data.

    Attributes
    ----------
    present : (d,) int64
        How many values are there.
    counts : (d,) int64
        How many knots they make.
    low, high : (d, 16)
        The outermost values, from the smallest up and from the largest down; NaN where there are
        fewer.
    """

    present: NDArray[np.int64]
    counts: NDArray[np.int64]
    low: Array
    high: Array

    def part(self, first: int, last: int) -> Sample:
        """Return views of some of the columns."""
        here = slice(first, last)
        return Sample(self.present[here], self.counts[here], self.low[here], self.high[here])


def fit(x: Floats, law: Marginal, size: int, *, extrapolate: bool) -> Table:
    """Return the table of the scores that `normal_scores` gives the columns of x (n, d).

    NaN is left out. At most `size` values of a column become knots; an atom becomes three.
    """
    n, d = x.shape
    outer = np.full((2, d, lines.OUTER), np.nan)
    sample = Sample(*np.zeros((2, d), np.int64), *outer)
    knots: dict[int, list[Array]] = {}

    def task(first: int, last: int) -> None:
        rows = x[:, first:last].T.copy()
        rows.sort(axis=1)  # NaN last
        knots[first] = _chosen(rows, size, sample.part(first, last))

    _in_batches(n, d, task)
    in_order = [knots[first] for first in sorted(knots)]
    values, below = (_stacked(part) for part in zip(*in_order, strict=True))
    above = sample.present[:, None] - below
    scores = np.ascontiguousarray(of_counts(law, below.T, above.T, sample.present).T)
    slopes = np.zeros((2, d))
    if extrapolate:
        slopes = end_slopes(law, sample.present, sample.low.T, sample.high.T)
    ends = np.stack([np.broadcast_to(end, d) for end in law.ends()]).astype(np.float64)
    return Table(values, scores, _middles(values, scores), sample.counts, slopes, ends)


def _middles(values: Array, scores: Array) -> Array:
    """Return the scores of the knots, those of an atom's middle for all three of its knots."""
    out = scores.copy()
    atom = values[:, 2:] == values[:, :-2]
    for knot in (out[:, :-2], out[:, 2:]):
        knot[atom] = scores[:, 1:-1][atom]
    return out


def _chosen(ordered: Floats, size: int, sample: Sample) -> list[Array]:
    """Return the knots of sorted rows and the counts below them, and write the sample."""
    m, n = ordered.shape
    room = 3 * min(n, size)
    values, below = np.empty((m, room)), np.empty((m, room))
    holes = np.isnan(ordered[:, -1])
    sample.present[:] = n
    sample.present[holes] -= np.count_nonzero(np.isnan(ordered[holes]), axis=1)
    for count in np.unique(sample.present).tolist():
        rows, outer = np.flatnonzero(sample.present == count), lines.outer(count)
        table_kernel.choose(ordered, rows, count, places(count, size), values, below, sample.counts)
        sample.low[rows, :outer] = ordered[rows, :outer]
        sample.high[rows, :outer] = ordered[rows, count - outer : count][:, ::-1]
    width = int(sample.counts.max())
    after = np.arange(width) >= sample.counts[:, None]
    return [np.where(after, np.nan, part[:, :width]) for part in (values, below)]


def _stacked(parts: Sequence[Array]) -> Array:
    """Return arrays (m, k) one below the other, padded with NaN to the width of the widest."""
    out = np.full((sum(map(len, parts)), max(part.shape[1] for part in parts)), np.nan)
    first = 0
    for part in parts:
        out[first : first + len(part), : part.shape[1]] = part
        first += len(part)
    return out


def _within(ends: Array, dtype: np.dtype[Any]) -> Array:
    """Return ends, at most as far as the largest number of a dtype."""
    largest = float(np.finfo(dtype).max)
    return np.clip(ends, -largest, largest)


def _looked_up(
    x: Floats,
    knots: Array,
    to: Array,
    at: Array,
    counts: NDArray[np.int64],
    rates: Array,
    limits: Array,
) -> Floats:
    """Return what a table makes of x (n, d): see `table_kernel.look_up`."""
    out = np.empty(x.shape, x.dtype)

    def task(first: int, last: int) -> None:
        here = slice(first, last)
        rows = x[:, here].T.copy()
        found = np.empty_like(rows)
        table_kernel.look_up(
            rows,
            knots[here],
            counts[here],
            to[here],
            at[here],
            rates[:, here],
            limits[:, here],
            np.empty(AT_ONCE, np.uint32),
            found,
        )
        out[:, here] = found.T

    _in_batches(len(x), x.shape[1], task)
    return out


def _in_batches(n: int, d: int, task: Callable[[int, int], None]) -> None:
    """Call task(first, last) for batches of columns, as many at a time as Numba has threads."""
    workers = threads() if n * d >= WORTH_A_THREAD else 1
    width = max(1, min(BATCH // n, -(-d // workers)))
    firsts = range(0, d, width)
    lasts = [min(first + width, d) for first in firsts]
    if workers == 1:
        for batch in zip(firsts, lasts, strict=True):
            task(*batch)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(task, firsts, lasts))
