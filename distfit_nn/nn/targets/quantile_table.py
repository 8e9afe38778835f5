"""z -> F^-1(Phi(z)) of a fixed distribution as piecewise cubics, one table for all columns or each.

Cells of z are H = 1 / PER_UNIT wide, from -EDGE to EDGE, and have 1, 2, 4, ... or MOST_PARTS parts:
z / H, its whole part and the part are exact in floating point. In each part stands the cubic of the
values and slopes at its ends (Hermite's), the slopes by differences of fourth order, cut to three
times the secants beside them (Fritsch and Carlson, SIAM J. Numer. Anal. 17, 1980), so that it never
falls. On either side one more cell holds the straight line that goes on.

Parts are halved until the cubics differ from the quantiles by less than TOLERANCE at the quarters
of each, relative to abs(y) or half the distance from y(-1) to y(1). What jumps, as a quantile
does at a gap in the support, becomes a ramp one of the smallest parts wide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function

from distfit_nn.errors import InputError
from distfit_nn.nn import column_work
from distfit_nn.nn.targets.constants import WithConstants, is_traced
from distfit_nn.nn.targets.once import last

Array = NDArray[np.float64]

EDGE = 8.5
PER_UNIT = 8
HALF = round(EDGE * PER_UNIT)
CELLS = 2 * HALF + 2
MOST_PARTS = 1 << 11
TOLERANCE = 3e-7
LARGEST = 2.0**120  # of a value: cubics of such values are finite in float32
FAR = 2.0**24  # cells from 0: beyond, a line is held, so that infinities stay numbers


class Source(NamedTuple):
    """What a table is made from.

    quantile(z) takes (m,) to (m, columns) and is good from z = `lower` to `upper`; `ends` are those
    of the support, numbers or (columns,).
    """

    quantile: Callable[[Array], Array]
    lower: float
    upper: float
    ends: tuple[Array, Array]


class Cubics(NamedTuple):
    """A table: coefficients (rows, 4) by powers of the place in a part, 0 to 1.

    `places` (columns, CELLS, 2) are the first row of each cell and its number of parts; `error` is
    the largest at their quarters.
    """

    coefficients: Array
    places: NDArray[np.int32]
    error: float


def tabulate(source: Source) -> Cubics:
    """Return the table of a source; where it is not good or not finite, lines go on."""
    with np.errstate(all="ignore"):
        curve = _Continued(source)
        places = np.ones((curve.columns, CELLS, 2), np.int32)
        rows, first = [], 0
        open_ = np.ones((curve.columns, CELLS - 2), bool)
        parts, worst = 1, 0.0
        while open_.any():
            cells = np.flatnonzero(open_.any(axis=0))
            cubics, error = _cubics(curve, cells - HALF, parts)
            enough = (error <= TOLERANCE) | (parts == MOST_PARTS)
            column, which = np.nonzero(open_[:, cells] & enough.T)
            rows.append(cubics[which, :, column].reshape(-1, 4))
            places[column, cells[which] + 1] = np.stack(
                [first + parts * np.arange(len(which)), np.full(len(which), parts)], axis=1
            )
            worst = max(worst, error[which, column].max(initial=0.0))
            first += len(rows[-1])
            open_[column, cells[which]] = False
            parts *= 2
        for cell, sign in ((0, -1), (CELLS - 1, 1)):
            rows.append(curve.line(sign))
            places[:, cell, 0] = first + np.arange(curve.columns)
            first += curve.columns
    return Cubics(np.concatenate(rows), places, float(worst))


class _Continued:
    """The quantiles of a source, finite everywhere: straight lines stand where it is not good."""

    def __init__(self, source: Source) -> None:
        self.source = source
        z = np.arange(-HALF, HALF + 1) / PER_UNIT
        y = source.quantile(z)
        self.columns = y.shape[1]
        known = np.isfinite(y) & ((z >= source.lower) & (z <= source.upper))[:, None]
        if not known[HALF].all():
            column = int(np.argmin(known[HALF]))
            raise InputError(
                f"target must have a finite median, got {y[HALF, column]} in column {column}"
            )
        self.spread = (self._bounded(y[HALF + PER_UNIT]) - self._bounded(y[HALF - PER_UNIT])) / 2
        self.upper = _final(z[HALF:], y[HALF:], known[HALF:])
        self.lower = _final(z[HALF::-1], y[HALF::-1], known[HALF::-1])

    def __call__(self, z: Array) -> Array:
        """Return the values (..., columns) at z."""
        places, back = np.unique(z, return_inverse=True)
        y = self.source.quantile(places)
        for sign, (end, value, slope) in ((1, self.upper), (-1, self.lower)):
            # Differences at the edge itself ask for the quantiles a little beyond it.
            limit = np.where(np.abs(end) == EDGE, np.inf, np.abs(end))
            distance = places[:, None] - end
            beyond = (sign * places[:, None] > limit) | ((sign * distance > 0) & ~np.isfinite(y))
            y = np.where(beyond, value + slope * distance, y)
        return self._bounded(y)[back.reshape(z.shape)]

    def _bounded(self, y: Array) -> Array:
        lower, upper = self.source.ends
        return np.clip(y, np.maximum(lower, -LARGEST), np.minimum(upper, LARGEST))

    def line(self, sign: int) -> Array:
        """Return the line beyond an edge, (columns, 4), by the place in the cell before or after.

        Its slope is the limit of the cubics' there.
        """
        h = 1 / PER_UNIT / 64
        inner, edge, outer = self(sign * np.array([EDGE - h, EDGE, EDGE + h]))
        secants = np.stack([sign * (edge - inner), sign * (outer - edge)]) / (h * PER_UNIT)
        slope = np.clip(secants.mean(axis=0), 0, 3 * secants.min(axis=0))
        flat = np.zeros_like(slope)
        return np.stack([edge - (slope if sign < 0 else flat), slope, flat, flat], axis=-1)


def _final(z: Array, y: Array, known: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Return, from the median outward, the last known place, its value and the slope there."""
    last_known = np.logical_and.accumulate(known, axis=0).sum(axis=0) - 1
    columns = np.arange(y.shape[1])
    before = np.maximum(last_known - 1, 0)
    value = y[last_known, columns]
    rise = value - y[before, columns]
    return z[last_known], value, np.where(last_known > 0, rise / (z[1] - z[0]), 0.0)


def _cubics(curve: _Continued, cells: NDArray[np.int64], parts: int) -> tuple[Array, Array]:
    """Return (cells, parts, columns, 4) and the largest error in each cell, (cells, columns)."""
    h = 1 / (PER_UNIT * parts)
    nodes = cells[:, None] / PER_UNIT + h * np.arange(-2, parts + 3)
    y = np.maximum.accumulate(curve(nodes), axis=1)  # found by iteration it may waver
    slope = (8 * (y[:, 3:-1] - y[:, 1:-3]) - (y[:, 4:] - y[:, :-4])) / 12
    secant = np.diff(y[:, 1:-1], axis=1)
    slope = np.clip(slope, 0, 3 * np.minimum(secant[:, :-1], secant[:, 1:]))
    start, rise = y[:, 2:-3], secant[:, 1:-1]
    first, second = slope[:, :-1], slope[:, 1:]
    cubics = [start, first, 3 * rise - 2 * first - second, first + second - 2 * rise]
    table = np.stack(cubics, axis=-1)
    error = np.zeros((len(cells), curve.columns))
    for t in (0.25, 0.5, 0.75):
        true = curve(nodes[:, 2:-3] + t * h)
        ours = table @ np.array([1, t, t**2, t**3])
        scale = np.maximum(np.maximum(np.abs(true), curve.spread), 1 / LARGEST)
        error = np.maximum(error, np.max(np.abs(ours - true) / scale, axis=1))
    return table, error


class TableTarget(WithConstants):
    """F^-1(Phi(z)) of a fixed distribution by its table, for blocks z (N, C, L).

    The table is no buffer and not saved. It is written anew from float64 whenever the module is
    moved or changes its dtype, and never has a narrower one than float32.

    Parameters
    ----------
    cubics : Cubics
        Of `tabulate`.
    name : str
        What the distribution is called in print.
    device, dtype
        Of the table.

    Attributes
    ----------
    columns : int
        Of how many columns these are the distributions, 1 if of all.
    error : float
        The largest relative error of the table, see the module.
    """

    LEAST = torch.float32
    learnable = False
    table: Tensor
    places: Tensor

    def __init__(
        self,
        cubics: Cubics,
        name: str,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        arrays: dict[str, np.ndarray] = {
            "table": cubics.coefficients,
            "places": cubics.places.reshape(-1, 2),
        }
        super().__init__(arrays, device, dtype)
        self.name, self.columns, self.error = name, len(cubics.places), cubics.error

    def forward(self, z: Tensor) -> Tensor:
        """Return y of the shape and dtype of z; NaN stays NaN. Differentiable in z, once."""
        self.follow(z)
        dtype = torch.promote_types(z.dtype, self.table.dtype)
        table, working = self.table.to(z.device, dtype), z.to(dtype)
        if z.device.type == "cpu" and type(z) is Tensor and not is_traced():
            y: Tensor = _LookedUp.apply(working, self.places, table, self.columns)
        else:
            y = self._by_operators(working, table)
        return y.to(z.dtype)

    def _by_operators(self, z: Tensor, table: Tensor) -> Tensor:
        u = (z * PER_UNIT).clamp(-FAR, FAR)
        cell = u.detach().floor().clamp(-HALF - 1, HALF)
        place = (cell + (HALF + 1)).long().clamp(0, CELLS - 1)  # of NaN it may be any
        if self.columns > 1:
            place = place + CELLS * torch.arange(self.columns, device=z.device)[:, None]
        row, parts = self.places.to(z.device)[place].unbind(-1)
        t = (u - cell) * parts
        part = torch.minimum(t.detach().floor().clamp(min=0), (parts - 1).to(t.dtype))
        t = t - part
        k = row + part.nan_to_num(0.0).to(row.dtype)
        c0, c1, c2, c3 = table[k].unbind(-1)
        return c0 + t * (c1 + t * (c2 + t * c3))

    def extra_repr(self) -> str:
        """Return what it is of, and of how many columns if not of all."""
        return self.name if self.columns == 1 else f"{self.name}, columns={self.columns}"


class _LookedUp(Function):
    """The compiled look-up, on the CPU."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, places: Tensor, table: Tensor, columns: int) -> Tensor:
        keep = ctx.needs_input_grad[0]
        y, slope = _look_up(z.detach(), places, table, columns, keep)
        if keep:
            ctx.save_for_backward(z, slope)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        z, slope = ctx.saved_tensors
        return last(gradient * slope, z), None, None, None


def _look_up(
    z: Tensor, places: Tensor, table: Tensor, columns: int, keep: bool
) -> tuple[Tensor, Tensor]:
    """Return y and, if told to keep them, slopes of blocks z (N, C, L), dense as z is."""
    from distfit_nn.nn.targets import quantile_kernel

    plane, back, by_row = _as_plane(z)
    m, w = plane.shape
    y = torch.empty_like(plane)
    slope = torch.empty_like(plane) if keep else plane.new_empty(0, 0)
    of_row, of_column = np.zeros(m, np.int64), np.zeros(w, np.int64)
    if columns > 1:
        starts = np.arange(columns) * (2 * CELLS)
        if by_row:
            of_row = np.tile(starts, z.shape[0])
        else:
            of_column = starts
    inputs, out, slopes = (part.numpy() for part in (plane, y, slope))
    tables = places.numpy().reshape(-1), table.detach().numpy().reshape(-1)
    per_unit = inputs.dtype.type(PER_UNIT)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        kept = slopes[rows] if keep else slopes
        quantile_kernel.look_up(
            *(inputs[rows], of_row[rows], of_column),
            *(*tables, per_unit, HALF, out[rows], kept, keep),
        )

    column_work.in_parts(work, m, z.numel())
    return back(y), back(slope) if keep else slope


def _as_plane(z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor], bool]:
    """Return blocks (N, C, L) as a contiguous plane, the way back, and whether rows are features.

    They are where L is the dimension that is contiguous; else the columns are.
    """
    n, c, length = z.shape
    if length == 1:
        return z[:, :, 0].contiguous(), lambda y: y.unsqueeze(2), False
    if z.stride(1) == 1 and c > 1:
        plane = z.transpose(1, 2).reshape(n * length, c).contiguous()
        return plane, lambda y: y.reshape(n, length, c).transpose(1, 2), False
    return z.reshape(n * c, length).contiguous(), lambda y: y.reshape(n, c, length), True
