"""Readers: a store, a file of any known kind, or what is in memory, as entries, one at a time."""

from __future__ import annotations

from distfit_nn.capture.readers.reading import Source, read

__all__ = ["Source", "read"]
