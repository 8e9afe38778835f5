"""Memory for samples, apart from where a model's tensors come and go."""

from __future__ import annotations

import mmap

import torch

CHUNK = 4 * 2**20
"""Bytes that are asked of the system at once; what is larger than a quarter has its own."""
_LINE = 64  # bytes that a tensor begins at a multiple of


class Arena:
    """Copies of tensors in memory of their own, given back when the last copy of a chunk is gone.

    Small blocks that stay in the heap, in places that large ones have just left, break up what the
    next pass would have used again: a model whose tensors are 16 MiB grew by 2 GiB in 200 passes
    that left 2 MiB each.
    """

    def __init__(self) -> None:
        self._chunk = mmap.mmap(-1, CHUNK)
        self._used = 0

    def copy(self, values: torch.Tensor) -> torch.Tensor:
        """Return a contiguous copy of a tensor in memory of the CPU."""
        if values.nbytes > CHUNK // 4:
            chunk, begin = mmap.mmap(-1, values.nbytes), 0
        else:
            if self._used + values.nbytes > CHUNK:
                self._chunk, self._used = mmap.mmap(-1, CHUNK), 0
            chunk, begin = self._chunk, self._used
            self._used += -(-values.nbytes // _LINE) * _LINE
        block = torch.frombuffer(chunk, dtype=values.dtype, count=values.numel(), offset=begin)
        return block.view(values.shape).copy_(values)
