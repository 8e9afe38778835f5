"""Which rows of two recordings are looked at, and how they may be exchanged under no drift."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats.rows import Int


class Exchange(NamedTuple):
    """The rows to look at, and their groupings.

    Attributes
    ----------
    x_rows, y_rows : int64 arrays, ascending
        The rows of x and of y that are looked at.
    labels : uint8 array of shape (len(x_rows) + len(y_rows), permutations + 1)
        1 where a row, those of y behind those of x, is on the side of x. Column 0 is the grouping
        as it was recorded.
    """

    x_rows: Int
    y_rows: Int
    labels: NDArray[np.uint8]


def exchange(
    n: int,
    m: int,
    blocks: Any,
    *,
    paired: bool,
    permutations: int,
    max_rows: int | None,
    rng: np.random.Generator,
) -> Exchange:
    """Draw the rows to look at, then the groupings; all arguments as in `drift`."""
    x_blocks, y_blocks = _blocks_of(n, m, blocks, paired)
    x_rows = _some_rows(x_blocks, max_rows, rng)
    y_rows = x_rows if paired else _some_rows(y_blocks, max_rows, rng)
    x_blocks, y_blocks = _numbered(x_blocks[x_rows]), _numbered(y_blocks[y_rows])
    draw = _swapped if paired else _reshuffled
    labels = np.zeros((len(x_rows) + len(y_rows), permutations + 1), np.uint8)
    labels[: len(x_rows), 0] = 1
    for number in range(1, permutations + 1):
        labels[:, number] = draw(x_blocks, y_blocks, rng)
    return Exchange(x_rows, y_rows, labels)


def _blocks_of(n: int, m: int, blocks: Any, paired: bool) -> tuple[Int, Int]:
    """Return the number of the block of each row of x and of y."""
    if paired and n != m:
        raise InputError(f"x and y must have as many rows where they are paired, got {n} and {m}")
    if blocks is None:
        return np.arange(n), np.arange(m)
    if isinstance(blocks, (int, np.integer)):
        length = _checks.positive_int(blocks, "blocks")
        return np.arange(n) // length, np.arange(m) // length
    if not isinstance(blocks, tuple) or len(blocks) != 2:
        raise InputError(
            "blocks must be None, a number of rows, or a pair of arrays with the block of each "
            f"row of x and of y, got {type(blocks).__name__}"
        )
    x_blocks, y_blocks = (
        _labelled(given, length, f"blocks[{side}]")
        for side, (given, length) in enumerate(zip(blocks, (n, m), strict=True))
    )
    if paired and not np.array_equal(x_blocks, y_blocks):
        raise InputError("blocks must be the same for x and y where these are paired")
    return x_blocks, y_blocks


def _labelled(given: Any, length: int, name: str) -> Int:
    labels = _checks.to_numpy(given, name)
    if labels.shape != (length,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{name} must be whole numbers of shape ({length},), got {labels.dtype} of shape "
            f"{labels.shape}"
        )
    return _numbered(labels)


def _numbered(labels: NDArray[Any]) -> Int:
    """Number the blocks 0, 1, ... in the order of their labels."""
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _some_rows(blocks: Int, max_rows: int | None, rng: np.random.Generator) -> Int:
    """Return all rows, or a uniform draw of whole blocks with at most `max_rows` of them.

    At least two blocks are drawn, where there are two: one alone could not be exchanged.
    """
    if max_rows is None or len(blocks) <= max_rows:
        return np.arange(len(blocks))
    sizes = np.bincount(blocks)
    order = rng.permutation(len(sizes))
    fitting = int(np.searchsorted(np.cumsum(sizes[order]), max_rows, "right"))
    drawn = np.zeros(len(sizes), bool)
    drawn[order[: max(fitting, 2)]] = True
    return np.flatnonzero(drawn[blocks])


def _reshuffled(x_blocks: Int, y_blocks: Int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Deal all blocks anew, as many to either side as it has."""
    of_x, of_y = x_blocks.max(initial=-1) + 1, y_blocks.max(initial=-1) + 1
    on_x = np.zeros(of_x + of_y, bool)
    on_x[rng.permutation(of_x + of_y)[:of_x]] = True
    return np.concatenate([on_x[x_blocks], on_x[of_x + y_blocks]])


def _swapped(x_blocks: Int, y_blocks: Int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Swap the two sides of every pair in half of the blocks."""
    swap = rng.random(x_blocks.max(initial=-1) + 1) < 0.5
    return np.concatenate([~swap[x_blocks], swap[y_blocks]])
