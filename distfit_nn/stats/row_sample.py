"""A seeded uniform sample of rows, the same for any split of the data and any order of merges."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError

Array = NDArray[Any]
Int = NDArray[np.int64]
Span = tuple[int, int, int]  # shard, first row, row after the last

_WAIT = 4  # new rows wait until they are more than size / 4, then are sorted in together
_MASK = (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: the step of splitmix64

_jit = njit(cache=True, nogil=True)


class SampledRows(NamedTuple):
    """Rows that a sample holds, ordered by shard, then by row.

    Attributes
    ----------
    values : array of shape (k, d)
        In the dtype of the tables (the common one if they differ).
    seen : int
        How many rows there were to choose from.
    shard, row : int64 arrays of shape (k,)
        Where each comes from.
    """

    values: Array
    seen: int
    shard: Int
    row: Int


class RowSample:
    """Bottom-k sample: of all rows, the `size` of smallest priority, a hash of where they stand.

    The priority is -log(1 - v) / w, with v in [0, 1) a hash of (seed, shard, row) and w the weight
    of the row, 1 by default; equal ones are ordered by shard, then row. So the sample is a function
    of the rows seen: any split into updates and any order of merges give the same one. Without
    weights every set of `size` rows is equally likely, over seeds; with weights the rows are as if
    drawn one after the other without replacement, each time in proportion to w.

    Parameters
    ----------
    size : int, default 5000
        The most rows that are kept; where fewer are seen, all are. With 0 rows are only counted.
    seed : int, default 0
        Of the hash; in [0, 2^63).
    shard : int, default 0
        Name of the part of the data that `update` gets; in [0, 2^63). Rows are numbered from
        `first` within it.
    first : int, default 0
        Number of the next row: several samples may share a shard, each with rows of its own.

    Notes
    -----
    An update costs some ns a row, and a copy of the rows that are taken, of which there are about
    size (1 + log(n / size)) among n; nothing else of the table is copied. Priorities are made from
    two rounds of the finaliser of splitmix64.

    References
    ----------
    P. S. Efraimidis and P. G. Spirakis, Weighted random sampling with a reservoir, Information
    Processing Letters 97 (2006); E. Cohen and H. Kaplan, Summarizing data using bottom-k sketches,
    PODC 2007; G. L. Steele, D. Lea and C. H. Flood, Fast splittable pseudorandom number generators,
    OOPSLA 2014.
    """

    def __init__(self, size: int = 5000, *, seed: int = 0, shard: int = 0, first: int = 0) -> None:
        self.size = _checks.whole_number(size, "size")
        self.seed = _below(seed, "seed")
        self.shard = _below(shard, "shard")
        self.seen = 0
        self._next = _below(first, "first")
        self._key = np.uint64(_key(self.seed, self.shard))
        self._spans: list[Span] = []  # of the rows offered so far
        self._priority = np.empty(0)
        self._shard = np.empty(0, np.int64)
        self._row = np.empty(0, np.int64)
        self._values: Array | None = None
        self._waiting: list[tuple[Array, Array, Array, Array]] = []  # as the last four
        self._worst = np.inf  # priorities above it are in vain

    def update(
        self, table: ArrayLike, mask: ArrayLike | None = None, weights: ArrayLike | None = None
    ) -> None:
        """Offer the next rows of the shard.

        Parameters
        ----------
        table : array-like or torch tensor of real numbers, of shape (n, d)
            bfloat16 arrives as float32.
        mask : array-like of bool, of shape (n,), optional
            False: the row is never taken and does not count as seen, but its number is used up.
        weights : array-like of shape (n,), optional
            Finite, not negative; 0 is as mask False.

        Raises
        ------
        InputError
            If a shape or dtype does not fit, or weights are negative or not finite.
        """
        plain = isinstance(table, np.ndarray) or hasattr(table, "detach")
        rows: Any = table if plain else _checks.to_numpy(table, "table")
        if len(rows.shape) != 2:
            raise InputError(f"table must have shape (n, d), got {tuple(rows.shape)}")
        room = self._room(_checks.to_numpy(rows[:0], "table"))  # no row is read for its dtype
        first, n = self._next, int(rows.shape[0])
        heavy = _row_weights(mask, weights, n)
        self._spans = _joined(self._spans, [(self.shard, first, first + n)])
        self._values, self._next = room, first + n
        self.seen += n if len(heavy) == 0 else int(np.count_nonzero(heavy))
        if self.size == 0:
            return
        taken, priority = _candidates(self._key, first, n, heavy, self._worst)
        if len(taken) > self.size:
            best = _smallest(priority, np.zeros_like(taken), taken, self.size)
            taken, priority = taken[best], priority[best]
        if len(taken):
            values = _checks.to_numpy(rows[taken], "table")
            self._waiting.append((priority, np.full(len(taken), self.shard), first + taken, values))
            if sum(len(part[0]) for part in self._waiting) * _WAIT > self.size:
                self._settle()

    def begin(self, shard: int) -> None:
        """Go on with row 0 of another shard."""
        self.shard = _below(shard, "shard")
        self._next = 0
        self._key = np.uint64(_key(self.seed, self.shard))

    def as_shard(self, shard: int) -> None:
        """Count all rows as those of one shard, from 0 on, in their order; they stay the same."""
        self._settle()
        starts = np.cumsum([0] + [stop - start for _, start, stop in self._spans])
        for base, (old, start, stop) in zip(starts.tolist(), self._spans, strict=False):
            inside = (self._shard == old) & (start <= self._row) & (self._row < stop)
            self._row = np.where(inside, self._row - start + base, self._row)
            self._shard = np.where(inside, -1, self._shard)
        self._shard = np.full_like(self._shard, _below(shard, "shard"))
        self._spans = [(shard, 0, int(starts[-1]))] if self._spans else []
        self.begin(shard)
        self._next = int(starts[-1])

    def merge(self, other: RowSample) -> None:
        """Add what another sample has seen, in place.

        Raises
        ------
        InputError
            If `size`, `seed` or the number of columns differ, or if a row of the same shard was
            offered to both: it would be counted twice.
        """
        if (self.size, self.seed) != (other.size, other.seed):
            raise InputError(
                "samples to merge must have the same size and seed, got "
                f"{self.size}, {self.seed} and {other.size}, {other.seed}"
            )
        spans = _joined(self._spans, other._spans)
        self._settle()
        other._settle()
        if other._values is not None:
            self._values = self._room(other._values[:0])
            values = other._values[: len(other._priority)]
            self._waiting.append((other._priority, other._shard, other._row, values))
            self._settle()
        self._spans = spans
        self.seen += other.seen

    def finalise(self) -> SampledRows:
        """Return the rows that are held; updates may go on."""
        self._settle()
        order = np.lexsort((self._row, self._shard))
        values = np.empty((0, 0)) if self._values is None else self._values[order]
        return SampledRows(values, self.seen, self._shard[order], self._row[order])

    def _room(self, like: Array) -> Array:
        """Return room for `size` rows of the width and dtype given, with the rows that are held."""
        if self._values is None:
            return np.empty((self.size, like.shape[1]), like.dtype)
        if like.shape[1] != self._values.shape[1]:
            raise InputError(
                f"table must have shape (n, {self._values.shape[1]}), got {like.shape[1]} columns"
            )
        dtype = np.result_type(self._values, like)
        if (len(self._values), self._values.dtype) == (self.size, dtype):
            return self._values
        room, held = np.empty((self.size, like.shape[1]), dtype), len(self._priority)
        room[:held] = self._values[:held]
        return room

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle needs: the rows that are held, without the room for others."""
        self._settle()
        values = None if self._values is None else self._values[: len(self._priority)]
        return {**self.__dict__, "_values": values}

    def _settle(self) -> None:
        """Keep the best of the rows that are held and of those that wait.

        A row that stays keeps its place; new ones take the others.
        """
        if self._values is None or not self._waiting:
            return
        held = len(self._priority)
        columns = zip((self._priority, self._shard, self._row), *self._waiting, strict=False)
        priority, shard, row = (np.concatenate(parts) for parts in columns)
        values = np.concatenate([part[3] for part in self._waiting])
        best = np.sort(_smallest(priority, shard, row, self.size))
        old, new = best[best < held], best[best >= held]
        source = np.full(len(best), -1)
        source[old] = old
        place = np.flatnonzero(source < 0)
        source[place] = new
        self._values[place] = values[new - held]
        self._priority, self._shard, self._row = (part[source] for part in (priority, shard, row))
        self._waiting.clear()
        if len(best) == self.size > 0:
            self._worst = float(self._priority.max())


def _below(value: Any, name: str) -> int:
    number = _checks.whole_number(value, name)
    if number >= 1 << 63:
        raise InputError(f"{name} must be below 2^63, got {number}")
    return number


def _row_weights(mask: ArrayLike | None, weights: ArrayLike | None, n: int) -> Array:
    """Return the weights of n rows, 0 where the mask is False; of length 0 for all ones."""
    heavy = np.empty(0)
    if weights is not None:
        heavy = _checks.to_numpy(weights, "weights").astype(np.float64)
        if heavy.shape != (n,):
            raise InputError(f"weights must have shape ({n},), got {heavy.shape}")
        if not np.all((heavy >= 0) & (heavy < np.inf)):
            raise InputError("weights must be finite and not negative")
    if mask is not None:
        kept = _checks.to_numpy(mask, "mask")
        if kept.shape != (n,) or kept.dtype != np.bool_:
            raise InputError(
                f"mask must be boolean of shape ({n},), got {kept.dtype} of shape {kept.shape}"
            )
        heavy = np.where(kept, heavy if len(heavy) else 1.0, 0.0)
    return heavy


def _joined(a: list[Span], b: list[Span]) -> list[Span]:
    """Return the spans of rows of both; neighbours become one, and an overlap is an error."""
    joined: list[Span] = []
    for span in sorted([*a, *b]):
        last = joined[-1] if joined else (-1, 0, 0)
        if span[1] == span[2]:
            continue
        if last[0] == span[0] and span[1] < last[2]:
            raise InputError(
                f"rows from {span[1]} of shard {span[0]} were counted twice: each sample needs a "
                "shard, or rows, of its own"
            )
        if last[0] == span[0] and span[1] == last[2]:
            joined[-1] = (last[0], last[1], span[2])
        else:
            joined.append(span)
    return joined


def _smallest(priority: Array, shard: Array, row: Array, size: int) -> Array:
    """Return the places of the `size` smallest priorities; shard, then row, decide ties."""
    if len(priority) <= size:
        return np.arange(len(priority))
    worst = np.partition(priority, size - 1)[size - 1]
    below, tied = np.flatnonzero(priority < worst), np.flatnonzero(priority == worst)
    tied = tied[np.lexsort((row[tied], shard[tied]))]
    return np.concatenate([below, tied[: size - len(below)]])


def _key(seed: int, shard: int) -> int:
    """Return what stands for a seed and a shard in the hash of a row."""
    return _mixed((_mixed(seed) + (shard + 1) * _ODD) & _MASK)


def _mixed(z: int) -> int:
    """Finaliser of splitmix64, on whole numbers."""
    z = (z + _ODD) & _MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    return z ^ (z >> 31)


@_jit
def _mixed_bits(z: Any) -> Any:
    """Finaliser of splitmix64, on uint64."""
    z += np.uint64(_ODD)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@_jit
def _candidates(key: Any, first: int, n: int, weights: Array, worst: float) -> tuple[Array, Array]:
    """Return the places and the priorities of those of n rows that are not above `worst`."""
    taken, priority = np.empty(n, np.int64), np.empty(n)
    m = 0
    cut = -math.expm1(-worst) * (1 + 1e-9)  # above it -log(1 - v) is above `worst` for sure
    for i in range(n):
        v = (_mixed_bits(_mixed_bits(np.uint64(first + i)) ^ key) >> np.uint64(11)) * 2.0**-53
        if len(weights) == 0:
            if v > cut:
                continue
            rank = -math.log1p(-v)
        elif weights[i] > 0.0:
            rank = -math.log1p(-v) / weights[i]
        else:
            continue
        taken[m], priority[m] = i, rank
        m += rank <= worst
    return taken[:m], priority[:m]
