"""Memory for samples, apart from where a model's tensors come and go."""

from __future__ import annotations

import mmap

import numpy as np
import torch
from numpy.typing import NDArray

CHUNK = 4 * 2**20
"""Bytes that are asked of the system at once; what is larger than a quarter has its own."""
_LINE = 64  # bytes that a tensor begins at a multiple of


class Arena:
    """Copies in memory of their own, given back when the last copy of a chunk is gone.

    Small blocks that stay in the heap, in places that large ones have just left, break up what the
    next pass would have used again: a model whose tensors are 16 MiB grew by 2 GiB in 200 passes
    that left 2 MiB each.
    """

    def __init__(self) -> None:
        self._chunk = mmap.mmap(-1, CHUNK)
        self._used = 0

    def tensor(self, values: torch.Tensor) -> torch.Tensor:
        """Return a contiguous copy of a tensor, in memory of the CPU."""
        chunk, begin = self._room(values.nbytes)
        copy = torch.frombuffer(chunk, dtype=values.dtype, count=values.numel(), offset=begin)
        return copy.view(values.shape).copy_(values)

    def array(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return a copy of an array; unlike a tensor it has nothing in the heap either."""
        chunk, begin = self._room(values.nbytes)
        copy = np.frombuffer(chunk, values.dtype, values.size, begin).reshape(values.shape)
        np.copyto(copy, values)
        return copy

    def _room(self, size: int) -> tuple[mmap.mmap, int]:
        if size > CHUNK // 4:
            return mmap.mmap(-1, size), 0
        if self._used + size > CHUNK:
            self._chunk, self._used = mmap.mmap(-1, CHUNK), 0
        begin = self._used
        self._used += -(-size // _LINE) * _LINE
        return self._chunk, begin
