"""How much a file may grow as it is read, so that a small one cannot fill memory or time."""

from __future__ import annotations

import os

from distfit_nn.capture.slabs import MOST_LAYERS

LARGE = 1 << 30  # bytes: what grows to less needs no second look
FOLD = 100  # activations that are mostly zeros shrink some twentyfold


def check_layers(count: int) -> None:
    """Raise `ValueError` if a file holds more layers than can be measured."""
    if count > MOST_LAYERS:
        raise ValueError(f"it holds more than {MOST_LAYERS:,} arrays")


def check_growth(size: int, stored: int, what: str) -> None:
    """Raise `ValueError` if `size` bytes are much more than the `stored` ones they come from."""
    if size > LARGE and size > FOLD * stored:
        raise ValueError(
            f"{what} would grow from {stored:,} to {size:,} bytes, more than a hundredfold"
        )


def check_memory(size: int, what: str) -> None:
    """Raise `ValueError` if `size` bytes are more than this machine has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise ValueError(f"{what} needs {size:,} bytes, more than there is memory ({memory:,})")


def check_chunk(size: int, what: str) -> None:
    """Raise `ValueError` if `size` bytes are too many to be unpacked at once."""
    if size > LARGE:
        raise ValueError(f"{what} has chunks of {size:,} bytes, more than 1 GiB")
