"""Moments that grow: update with rows, merge with others, finalise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats import moments_block_kernel as block_kernel
from distfit_nn.stats import moments_kernel as kernel
from distfit_nn.stats.moments_result import Float, Moments, from_state

ORDERS = tuple(range(2, kernel.MAX_ORDER + 1))
RUN = block_kernel.RUN

_BUFFER = 1 << 15  # values, about, that are brought to float64 at once
_NO_WEIGHTS = np.empty(0)
_NO_WEIGHTS.flags.writeable = False


class MomentSums:
    """The moments of some columns, to which rows can be added: update, merge, finalise.

    Parameters
    ----------
    columns : int
        Number of columns d.
    order : int, 2 to 12, default 6
        The highest power that is summed.

    Attributes
    ----------
    columns, order : int

    Notes
    -----
    Rows are summed in blocks about a centre near the mean of all rows so far; a block that would
    move the mean far from it, or that has weights or values that are not finite, is summed about
    its own mean and merged (P. Pébay, Formulas for robust, one-pass parallel computation of
    covariances and arbitrary-order statistical moments, Sandia report SAND2008-6212, 2008).

    Updates with pieces of the data give the same bits as one update with all of it where the
    length of every piece but the last is a multiple of 8192 rows; any other split, and any merge,
    gives the same up to rounding; counts, minimum and maximum are always exact.

    The state is one array of at most ``(10 + order) * max(128, d)`` numbers, so that an object can
    be pickled and sent. An object is not to be updated by two threads at once; those of different
    objects may run at the same time, for the compiled parts release the interpreter's lock.
    """

    __slots__ = ("_state", "columns", "order")

    def __init__(self, columns: int, order: int = 6) -> None:
        self.columns = _checks.whole_number(columns, "columns")
        self.order = int(_checks.one_of(order, ORDERS, "order"))
        self._state = kernel.new_state(self.columns * _side(self.columns), self.order)

    def update(self, block: NDArray[Any], weights: NDArray[Any] | None = None) -> None:
        """Add rows.

        Parameters
        ----------
        block : array of real numbers, shape (n, columns)
            Read as it lies where it is C-contiguous float64 or float32, else brought to float64
            some hundred rows at a time. NaN and infinite values are counted and left out.
        weights : array of shape (n,) or (n, columns), optional
            Finite and not negative, as if a value were there so many times; one of weight 0 is as
            if it were not there at all.

        Raises
        ------
        InputError
            If a shape does not fit or a weight is negative, NaN or infinite; nothing is added.
        """
        if block.ndim != 2 or block.shape[1] != self.columns:
            raise InputError(f"block must have shape (n, {self.columns}), got {block.shape}")
        if weights is not None:
            weights = _checked_weights(weights, block.shape)
        if block.size == 0:
            return
        if weights is None and self._is_readable(block):
            self._add(block, _NO_WEIGHTS)
            return
        step = self._rows_at_once()
        for start in range(0, len(block), step):
            rows = _as_float64(block[start : start + step])
            own = _NO_WEIGHTS
            if weights is not None:
                own = _frozen(
                    _as_float64(np.broadcast_to(weights[start : start + step], rows.shape))
                )
            self._add(rows, own)

    def merge(self, other: MomentSums) -> None:
        """Add the data that another has seen, which is left as it is.

        Raises
        ------
        InputError
            If the numbers of columns or the orders differ.
        """
        if (self.columns, self.order) != (other.columns, other.order):
            raise InputError(
                "sums to merge must have the same columns and order, got "
                f"{self.columns} and {other.columns} columns, order {self.order} and {other.order}"
            )
        kernel.merge(self._state, other._state)

    def finalise(self) -> Moments:
        """Return the moments of all rows so far, of shape (columns,); more may be added after."""
        return from_state(self._folded(), (self.columns,))

    def pool(self) -> MomentSums:
        """Return the sums of one column that has the values of all columns.

        Columns are merged pairwise in a fixed order.
        """
        pooled = MomentSums(1, self.order)
        state = self._folded()
        if self.columns:
            kernel.fold(state, 1)
            pooled._state[:, 0] = state[:, 0]
        return pooled

    def copy(self) -> MomentSums:
        """Return sums of the same data that can grow apart from these."""
        new = MomentSums(self.columns, self.order)
        new._state[:] = self._state
        return new

    @staticmethod
    def lanes(columns: int) -> int:
        """Return how many columns the state of so many columns has: a narrow one has each twice
        or more often, for the rows that lie side by side."""
        return columns * _side(columns)

    def state(self) -> Float:
        """Return the state, `moments_kernel`'s array (lines, lanes), which `of_state` takes."""
        return self._state.copy()

    @classmethod
    def of_state(cls, columns: int, order: int, state: Float) -> MomentSums:
        """Return the sums that had this state."""
        sums = cls(columns, order)
        sums._state[:] = state
        return sums

    def _folded(self) -> Float:
        """Return a state of one column for each column, of what lies side by side."""
        state = self._state.copy()
        kernel.fold(state, self.columns)
        return np.ascontiguousarray(state[:, : self.columns])

    def _is_readable(self, block: NDArray[Any]) -> bool:
        """Whether the kernel can read a block as it lies."""
        down, across = block.strides
        return (
            block.dtype in (np.float64, np.float32)
            and block.dtype.isnative
            and block.flags.aligned
            and across == block.itemsize
            and down >= 0
            and down % block.itemsize == 0
            and (_side(self.columns) == 1 or block.flags.c_contiguous)
        )

    def _rows_at_once(self) -> int:
        """Return how many rows to convert at once, a number that cuts no block of the kernel."""
        side = _side(self.columns)
        unit = side * min(block_kernel.BLOCK, RUN // side)
        return unit * max(1, _BUFFER // (unit * self.columns))

    def _add(self, rows: NDArray[Any], weights: Float) -> None:
        flat, stride = _flat(rows)
        block_kernel.update(flat, len(rows), stride, self.columns, weights, self._state)


def _side(columns: int) -> int:
    """Return how many rows lie side by side in a state: a power of two, to fill its width."""
    return 1 << max(0, (block_kernel.LANES // max(columns, 1)).bit_length() - 1)


def _as_float64(rows: NDArray[Any]) -> Float:
    with np.errstate(over="ignore"):  # a long double may become inf: counted as such
        return np.ascontiguousarray(rows, dtype=np.float64)


def _frozen(values: Float) -> Float:
    """Return a flat view that is read only, the one kind that kernels are compiled for."""
    flat = values.reshape(-1)
    flat.flags.writeable = False
    return flat


def _flat(rows: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Return rows as flat memory that is read only, and the distance of two rows in it."""
    if rows.flags.c_contiguous:
        return _frozen(rows), rows.shape[1]
    stride = rows.strides[0] // rows.itemsize
    extent = (len(rows) - 1) * stride + rows.shape[1]
    return as_strided(rows, (extent,), (rows.itemsize,), writeable=False), stride


def _checked_weights(weights: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return weights as (n, 1) or (n, d)."""
    if weights.shape == shape[:1]:
        weights = weights[:, None]
    elif weights.shape != shape:
        raise InputError(f"weights must have shape ({shape[0]},) or {shape}, got {weights.shape}")
    if weights.size:
        least, most = weights.min(), weights.max()
        if not (least >= 0 and most < np.inf):
            wrong = most if least >= 0 else least
            raise InputError(f"weights must be finite and at least 0, got {wrong}")
    return weights
