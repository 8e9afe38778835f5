"""Modules with constants that are derived: no buffers, which are averaged and broadcast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn


class WithConstants(nn.Module):
    """A module that holds arrays as tensors too, plain attributes of their names.

    It keeps the arrays, and writes the tensors anew from them where the module is moved or changes
    its dtype, so that no rounding stays; and where an input is elsewhere (`follow`). Those of
    floating arrays have the dtype of the module, but no narrower one than `LEAST`. They are never
    on the meta device: what is made there is moved without a chance to write them.

    Parameters
    ----------
    arrays : dict of ndarray
        By the names of the attributes. It may be empty.
    device, dtype
        Of the module; by default torch's.
    """

    LEAST: torch.dtype | None = None

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self._arrays = arrays
        self._write(torch.empty(0, device=device, dtype=dtype))

    def _write(self, like: Tensor) -> None:
        """Write the tensors on the device of an empty one and in its dtype."""
        self._like = like
        self._place = torch.device("cpu") if like.is_meta else like.device
        dtype = like.dtype if self.LEAST is None else torch.promote_types(like.dtype, self.LEAST)
        with torch.inference_mode(False):  # autograd may keep them
            for name, array in self._arrays.items():
                own = torch.from_numpy(array)
                kind = dtype if own.is_floating_point() else own.dtype
                setattr(self, name, own.to(device=self._place, dtype=kind))

    def follow(self, z: Tensor) -> None:
        """Write the tensors where z is, unless torch traces: then nothing may be kept."""
        plain = type(z) is Tensor and not z.is_meta
        if z.device != self._place and plain and not is_traced():
            self._write(torch.empty(0, device=z.device, dtype=self._like.dtype))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._write(fn(self._like))
        return self


def is_traced() -> bool:
    """Tell whether torch traces or transforms what is called."""
    return bool(
        torch.compiler.is_compiling()
        or torch.compiler.is_exporting()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state()
    )
