"""Whether tensors are what they were when something was made from them."""

from __future__ import annotations

from torch import Tensor

Versions = list[tuple[Tensor, int]]


def versions(*parts: Tensor | None) -> Versions:
    """Return the tensors that are there, and how often each has been written to.

    Those made in inference mode do not count that.
    """
    return [
        (part, 0 if part.is_inference() else part._version) for part in parts if part is not None
    ]


def unchanged(now: Versions, before: Versions) -> bool:
    """Tell whether these are the same tensors, with nothing written to them since."""
    return len(now) == len(before) and all(
        one is other and count == counted
        for (one, count), (other, counted) in zip(now, before, strict=True)
    )
