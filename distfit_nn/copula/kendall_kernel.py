"""Kendall's concordant less discordant pairs of two columns, compiled: O(n log n) a pair.

Rows are taken in the order of the first column; of those already taken, one counts how many lie
below and how many above in the second. What was taken is a set of bits, one for each place in the
order of the second column, with a tree above its words of 64: each node has FAN children, and each
child the number of bits set in its elder siblings. So a count reads one word and one number of each
level, and to set a bit adds 1 to some of FAN neighbouring numbers of each level, which the compiler
does in a few vector instructions without a branch. Two levels do up to 262,144 rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

FAN = 64
_BITS = 6  # FAN = 2**_BITS
_PAIRS = np.uint64(0x5555555555555555)
_FOURS = np.uint64(0x3333333333333333)
_BYTES = np.uint64(0x0F0F0F0F0F0F0F0F)
_ONES = np.uint64(0x0101010101010101)

# Nothing is allocated in compiled code, so references need not be counted: that would take longer
# than the work between.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
_jit = njit(**_OPTIONS)


@_jit
def _bit_count(word):  # type: ignore[no-untyped-def]
    """Return how many bits are set in a word of 64; compilers know the pattern and use popcnt."""
    word -= (word >> np.uint64(1)) & _PAIRS
    word = (word & _FOURS) + ((word >> np.uint64(2)) & _FOURS)
    word = (word + (word >> np.uint64(4))) & _BYTES
    return np.int64((word * _ONES) >> np.uint64(56))


@_jit
def _add_after(tree, eldest, here):  # type: ignore[no-untyped-def]
    """Add 1 to those of FAN siblings, from tree[eldest], that come after number `here`."""
    for child in range(FAN):  # an unsigned index cannot be negative, which is one test less
        tree[np.uint64(eldest) + np.uint64(child)] += np.int32(np.int32(child) > here)


def tree_levels(n: int) -> NDArray[np.int64]:
    """Return where each level of a tree over n places starts, and at the end its size."""
    starts, nodes = [0], -(-n // 64)
    while True:
        groups = -(-nodes // FAN)
        starts.append(starts[-1] + groups * FAN)
        if groups == 1:
            return np.array(starts)
        nodes = groups


@_jit
def tie_groups(differs: Array, order: Array, place: Array, first: Array, last: Array) -> int:
    """Describe the order of a column; return its number of pairs that are not ties.

    Parameters
    ----------
    differs : (n,) bool
        Whether the value in each place of the order differs from the one before.
    order : (n,) int32
        The row in each place.
    place, first, last : (n,) int32, written
        The place of each row; where the ties of each place begin, and where they have ended.
    """
    n = len(order)
    start, tied = 0, 0
    while start < n:
        stop = start + 1
        while stop < n and not differs[stop]:
            stop += 1
        tied += (stop - start) * (stop - start - 1) // 2
        for k in range(start, stop):
            place[order[k]] = k
            first[k] = start
            last[k] = stop
        start = stop
    return n * (n - 1) // 2 - tied


@_jit
def _count(bits, tree, levels, place):  # type: ignore[no-untyped-def]
    """Return how many bits before a place are set."""
    node = np.uint64(place) >> np.uint64(6)
    below = (np.uint64(1) << np.uint64(place & 63)) - np.uint64(1)
    total = _bit_count(bits[node] & below) + tree[node]
    for level in range(1, len(levels) - 1):
        node >>= np.uint64(_BITS)
        total += tree[np.uint64(levels[level]) + node]
    return total


@_jit
def _is_set(bits, place):  # type: ignore[no-untyped-def]
    return np.int64((bits[place >> 6] >> np.uint64(place & 63)) & np.uint64(1))


@_jit
def _set(bits, tree, levels, place):  # type: ignore[no-untyped-def]
    node = place >> 6
    bits[node] |= np.uint64(1) << np.uint64(place & 63)
    for level in range(len(levels) - 1):
        here = node & (FAN - 1)
        _add_after(tree, levels[level] + node - here, np.int32(here))
        node >>= _BITS


@_jit
def _concordance(
    order: Array,
    ends: Array,
    place: Array,
    first: Array,
    last: Array,
    ties: bool,
    bits: Array,
    tree: Array,
    levels: Array,
) -> int:
    """Return concordant less discordant pairs of rows.

    `order` and `ends` are of one column, what follows of the other; `ties` tells whether that one
    has any.
    """
    bits[:] = 0
    tree[:] = 0
    total, start = 0, 0
    while start < len(order):
        stop = ends[start]
        for k in range(start, stop):
            here = place[order[k]]
            if ties:
                below = _count(bits, tree, levels, first[here])
                final = last[here] - 1
                not_above = _count(bits, tree, levels, final) + _is_set(bits, final)
            else:
                below = not_above = _count(bits, tree, levels, here)
            total += below + not_above - start
        for k in range(start, stop):
            _set(bits, tree, levels, place[order[k]])
        start = stop
    return total


@_jit
def concordances(
    left: tuple[Array, Array, Array, Array],
    right: tuple[Array, Array, Array, Array],
    ties: Array,
    levels: Array,
    upper: bool,
    work: tuple[Array, Array],
    out: Array,
) -> None:
    """Write concordant less discordant pairs of all columns on the left with all on the right.

    Parameters
    ----------
    left, right : order, place, first and last, (columns, n) each, as `tie_groups` writes them
    ties : (columns of the right,) bool
        Whether each has any.
    levels : int64 array
        See `tree_levels`.
    upper : bool
        Only where the right column comes after the left one.
    work : uint64 (words of n bits,) and int32 (levels[-1],)
        Scratch.
    out : int64 (columns of the left, columns of the right)
    """
    bits, tree = work
    for i in range(out.shape[0]):
        for j in range(i + 1 if upper else 0, out.shape[1]):
            out[i, j] = _concordance(
                left[0][i],
                left[3][i],
                right[1][j],
                right[2][j],
                right[3][j],
                ties[j],
                bits,
                tree,
                levels,
            )
