"""Blocks (N, C, L) as the compiled kernels of layers take them, and threads that share the work.

Where the features of an entry lie side by side they are rows (n, C), n = N L; else runs (N C, L),
each of one feature, the features in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distfit_nn._threads import share, threads
from distfit_nn.copula.tensors.memory import alone
from distfit_nn.nn import layout

WORTH_A_THREAD = 1 << 17  # values below which a second thread takes longer to start than to work
PARTS = 4  # of the work, for each thread
SHORT = 16  # runs that are shorter are worked on as rows


def compiled(x: Tensor) -> bool:
    """Tell whether kernels for float32 take a tensor: on the CPU, if torch does not trace it."""
    return (
        x.dtype == torch.float32
        and x.device.type == "cpu"
        and not (torch.compiler.is_compiling() or torch.compiler.is_exporting())
    )


def as_rows(x: Tensor) -> bool:
    """Tell whether blocks are worked on as rows."""
    return x.stride(1) == 1 or x.shape[2] < SHORT


def unfolded(x: Tensor, rows: bool) -> Tensor:
    """Return blocks as contiguous rows (n, C) or runs (N C, L), a view where there is one."""
    n, c, length = x.shape
    if not rows:
        return x.contiguous().view(n * c, length)
    if length == 1:
        return x.squeeze(2).contiguous()
    return x.transpose(1, 2).reshape(n * length, c).contiguous()


def folded(y: Tensor, x: Tensor, rows: bool) -> Tensor:
    """Return rows or runs as blocks of the shape of x."""
    return alone(layout.from_columns(y, x) if rows else y.view(x.shape))


def in_parts(task: Callable[[int, int], Any], count: int, size: int) -> Any:
    """Return the sum of task(first, last) over parts of range(count), None where a task gives none.

    Where `size` values are many, threads take one part after the other: those of torch may still be
    about, and hold up some of these. The sum is taken in the order of parts.
    """
    workers = min(threads(), count) if size >= WORTH_A_THREAD else 1
    if workers <= 1:
        return task(0, count)
    parts = min(PARTS * workers, count)
    edges = [count * i // parts for i in range(parts + 1)]
    found: list[Any] = [None] * parts
    turns = iter(range(parts))

    def work() -> None:
        for i in turns:
            found[i] = task(edges[i], edges[i + 1])

    share(work, workers)
    return None if found[0] is None else sum(found[1:], found[0])
