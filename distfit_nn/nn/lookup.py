"""Functions of one variable, one for each column, as tables that are looked up without a search.

The nodes are those of `lookup_grid`. Between two of them stands the cubic polynomial of the values
and slopes at both (Hermite's), beyond the last the straight line of its slope. Slopes that would
let a cubic turn back between two nodes are cut to three times the secant (Fritsch and Carlson, SIAM
J. Numer. Anal. 17, 1980): tables of monotone values are monotone.

On the CPU a compiled kernel looks up; elsewhere, under `torch.compile`, `torch.export`,
`torch.jit.trace` and the transforms of `torch.func`, torch's own operators do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from distfit_nn._threads import share, threads
from distfit_nn.nn.lookup_grid import (
    CELLS,
    HEAD,
    NODES,
    OCTAVES,
    REACH,
    SIDE,
    TABLE,
)

__all__ = ["look_up", "nodes", "pack"]

LEAST = 16  # values side by side that the kernel can work on
WORTH_A_THREAD = 1 << 17  # values below which a second thread takes longer to start than to work

ZERO = {torch.float32: np.float32(0), torch.float64: np.float64(0)}


class _Way(NamedTuple):
    """How the kernel takes (N, C, L): the dimensions in the order of memory, and rows or runs."""

    order: tuple[int, int, int] | None
    in_rows: bool

    def laid(self, x: Tensor) -> Tensor:
        """Return x in memory as it is taken; the same once more leads back."""
        return x if self.order is None else x.permute(self.order)

    def spans(self, x: Tensor) -> tuple[int, int]:
        """Return how many rows of all columns, or runs of one, x has, and how long they are."""
        n, c, length = x.shape
        if self.in_rows:
            return n * length, c
        return (n * c, length) if self.order is None else (c, n * length)


ROWS, RUNS = _Way(None, True), _Way(None, False)
TURNED, COLUMNS = _Way((0, 2, 1), True), _Way((1, 0, 2), False)


def nodes(loc: Tensor, scale: Tensor) -> Tensor:
    """Return the places (321, d) at which a function must be known, increasing.

    Parameters
    ----------
    loc, scale : Tensor (d,)
        Centres and positive scales of the columns, of one dtype. A centre is a node; the nodes
        around it are scale / 16 apart, the last 1023 scales away.
    """
    steps = torch.arange(NODES + 1, device=loc.device)
    within = 1 + (steps % CELLS).to(scale.dtype) / CELLS
    side = torch.exp2((steps // CELLS).to(scale.dtype)) * within - 1
    return loc + scale * torch.cat([-side.flip(0), side[1:]])[:, None]


def pack(loc: Tensor, scale: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
    """Return one tensor for `look_up`, of one dimension and the dtype of `values`.

    Parameters
    ----------
    loc, scale : Tensor (d,)
        As given to `nodes`, of any floating dtype.
    values, slopes : Tensor (321, d)
        The function of each column and its derivative by x at its nodes. Slopes are cut so that the
        table goes up, or down, between nodes as the values do. The first and last are those of the
        lines beyond the ends; 0 holds the value.

    Notes
    -----
    First come HEAD rows (d,): the centres; 1 / scale; and what rounding took from the centres, over
    -scale. Then the table of each column: SIDE cells of u >= 0, outward from the centre, and as
    many of u < 0, each of the coefficients of 1, t, t^2 and t^3, t being 0 where the cell begins
    and 1 where it ends. The last cell of a side is the line.
    """
    dtype = values.dtype
    u = nodes(torch.zeros_like(scale[:1]), torch.ones_like(scale[:1])).to(dtype)
    steep = _monotone(slopes * scale.to(dtype), values.diff(dim=0) / u.diff(dim=0))
    outward = [slice(NODES, None), slice(None, NODES + 1)]
    up, down = ([part[side] for part in (u, values, steep)] for side in outward)
    sides = [_cells(*up), _cells(*(part.flip(0) for part in down))]
    tables = torch.stack(sides).permute(2, 0, 1, 3)  # from (2, SIDE, d, 4)
    centre = loc.to(dtype)
    shift = (centre.to(loc.dtype) - loc) / scale
    return torch.cat([centre, (1 / scale).to(dtype), shift.to(dtype), tables.reshape(-1)])


def _monotone(steep: Tensor, secants: Tensor) -> Tensor:
    """Return derivatives (W, d), cut where a cubic would turn back between two nodes."""
    below = torch.cat([secants[:1], secants])
    above = torch.cat([secants, secants[-1:]])
    most = 3 * torch.minimum(below, above).clamp(min=0)
    least = 3 * torch.maximum(below, above).clamp(max=0)
    return torch.minimum(torch.maximum(steep, least), most)


def _cells(u: Tensor, values: Tensor, steep: Tensor) -> Tensor:
    """Return coefficients (SIDE, d, 4) of cells between nodes u (SIDE, 1) and of the line."""
    width = u.diff(dim=0)
    start, rise = values[:-1], values.diff(dim=0)
    first, last = steep[:-1] * width, steep[1:] * width
    inside = [start, first, 3 * rise - 2 * first - last, first + last - 2 * rise]
    unit = torch.sign(width[-1]) * (2**OCTAVES / CELLS)
    beyond = [values[-1:], steep[-1:] * unit, *2 * [torch.zeros_like(values[-1:])]]
    return torch.cat([torch.stack(inside, dim=-1), torch.stack(beyond, dim=-1)])


def look_up(x: Tensor, packed: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Return weight * f_c(x) + bias of blocks x (N, C, L), by the tables of `pack`.

    NaN stays NaN; an infinity goes to the value at the end or, along a line that is not level, to
    an infinity. There are gradients with respect to x, weight and bias (C,), in the kernel once.

    Parameters
    ----------
    x : Tensor (N, C, L)
        Values of float32 or float64. The work is done in the wider dtype of x and the tables; the
        result has that of x.
    packed : Tensor
        Of `pack`, for C columns. It must not be changed in place before the backward pass.
    weight, bias : Tensor (C,) or None
        Of any floating dtype.
    """
    dtype = x.dtype if x.dtype == packed.dtype else torch.promote_types(x.dtype, packed.dtype)
    way = None if torch.compiler.is_compiling() else _way(x)
    if way is None:
        y = _by_operators(x.to(dtype), packed.to(dtype))
        y = y if weight is None else y * weight[:, None]
        return (y if bias is None else y + bias[:, None]).to(x.dtype)
    columns = x.shape[1]
    by = torch.ones(columns, dtype=dtype) if weight is None else weight.to(dtype)
    more = torch.zeros(columns, dtype=dtype) if bias is None else bias.to(dtype)
    given = (x.to(dtype), packed.to(dtype), by, more, way)
    leaves = x.requires_grad or by.requires_grad or more.requires_grad
    y = _Looked.apply(*given) if leaves and torch.is_grad_enabled() else _looked(*given)
    return y.to(x.dtype)


def _way(x: Tensor) -> _Way | None:
    """Return how the kernel takes x; None where it cannot."""
    plain = x.device.type == "cpu" and type(x) in (Tensor, torch.nn.Parameter) and not x.is_neg()
    if not plain or torch._C._are_functorch_transforms_active() or torch._C._get_tracing_state():
        return None
    n, c, length = x.shape
    if x.is_contiguous():
        if length >= LEAST:
            return RUNS
        if length == 1 and c >= LEAST:
            return ROWS
    elif c >= LEAST and TURNED.laid(x).is_contiguous():
        return TURNED
    return COLUMNS if n * length >= LEAST else None


def _shared(count: int, values: int, work: Callable[[int, int, int], None]) -> None:
    """Call work(first, last, i) for parts 0 <= first <= last <= count, on a thread each."""
    if values < WORTH_A_THREAD:
        work(0, count, 0)
        return
    workers = min(threads(), count)
    cuts = [count * i // workers for i in range(workers + 1)]
    turns = iter(range(workers))

    def take() -> None:
        for i in turns:
            work(cuts[i], cuts[i + 1], i)

    share(take, workers)


def _looked(x: Tensor, packed: Tensor, weight: Tensor, bias: Tensor, way: _Way) -> Tensor:
    """Return weight * f_c(x) + bias by the kernel; all of one dtype."""
    from distfit_nn.nn import lookup_kernel as kernel

    memory, tables = way.laid(x).contiguous(), packed.contiguous()
    by, more, y = weight.contiguous(), bias.contiguous(), torch.empty_like(memory)
    line = tables.data_ptr(), by.data_ptr(), more.data_ptr(), y.data_ptr()
    values, zero = memory.data_ptr(), ZERO[x.dtype]
    count, length = way.spans(x)

    def work(first: int, last: int, _: int) -> None:
        if way.in_rows:
            kernel.rows(zero, values, first, last, length, *line)
        else:
            kernel.runs(zero, values, first, last, x.shape[1], length, *line)

    _shared(count, count * length, work)
    return way.laid(y)


class _Looked(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, packed: Tensor, weight: Tensor, bias: Tensor, way: _Way
    ) -> Tensor:
        ctx.save_for_backward(x, packed, weight)
        ctx.way = way
        return _looked(x, packed, weight, bias, way)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Only with create_graph=True are gradients on a graph, too.
        slopes = _Slopes.apply if torch.is_grad_enabled() else _Slopes.forward
        x, packed, weight = ctx.saved_tensors
        dx, by_weight, by_bias = slopes(gradient, x, packed, weight, ctx.way)
        return dx, None, by_weight, by_bias, None


class _Slopes(Function):
    """The gradients by x, weight and bias, which have none of their own."""

    @staticmethod
    def forward(
        gradient: Tensor, x: Tensor, packed: Tensor, weight: Tensor, way: _Way
    ) -> tuple[Tensor, Tensor, Tensor]:
        from distfit_nn.nn import lookup_kernel as kernel

        columns = x.shape[1]
        memory, back = (way.laid(part).contiguous() for part in (x, gradient))
        tables, by, out = packed.contiguous(), weight.contiguous(), torch.empty_like(memory)
        sums = torch.zeros(2, threads(), columns, dtype=torch.float64)
        given = ZERO[x.dtype], memory.data_ptr(), back.detach().view(-1).numpy()
        others = tables.data_ptr(), by.detach().numpy(), out.view(-1).numpy()
        count, length = way.spans(x)

        def work(first: int, last: int, i: int) -> None:
            results = *others, *sums[:, i].numpy()
            if way.in_rows:
                kernel.rows_back(*given, first, last, length, *results)
            else:
                kernel.runs_back(*given, first, last, columns, length, *results)

        _shared(count, count * length, work)
        by_weight, by_bias = sums.sum(dim=1).to(weight.dtype)
        return way.laid(out), by_weight, by_bias

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("looking up in a table can be differentiated once, not twice")


def _by_operators(x: Tensor, packed: Tensor) -> Tensor:
    """Return f_c(x) by torch's own operators, which differentiate it; all of one dtype."""
    columns = x.shape[1]
    centre, inverse, shift = (packed[i * columns : (i + 1) * columns, None] for i in range(HEAD))
    u = (x - centre) * inverse + shift
    negative = u < 0
    far = 1 + torch.where(negative, -u, u)

    # far = m 2^e, 1/2 <= m < 1; NaN, too, is looked up somewhere.
    bounded = far.detach().nan_to_num(nan=1.0).clamp(max=1 + REACH)
    m, e = torch.frexp(bounded)
    octave = bounded / (2 * m)
    step = torch.floor((2 * m - 1) * CELLS)
    cell = (e - 1) * CELLS + step.to(torch.int64)
    tables = HEAD * columns + TABLE * torch.arange(columns, device=x.device)[:, None]
    place = tables + 4 * (cell + SIDE * negative)
    c0, c1, c2, c3 = (packed[place + i] for i in range(4))

    t = (far - octave * (1 + step / CELLS)) * (CELLS / octave)
    s = t.clamp(max=1)
    line = c0 + torch.where(c1 == 0, 0, c1 * t)
    return line + s * s * (c2 + c3 * s)
