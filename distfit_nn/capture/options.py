"""How it is recorded: the arguments of `record`, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from distfit_nn import _checks
from distfit_nn.capture.manifest import DTYPES
from distfit_nn.capture.store import Mode


@dataclass(frozen=True)
class Options:
    """The arguments of `record` but for the model, the path and the sites."""

    every: int
    last: bool
    rows: int | float | None
    units: int | None
    summaries_only: bool
    first_step: int | None
    mode: Mode
    dtype: torch.dtype | None
    seed: int
    missing: str
    unit_axis: int | None


def rows_or_share(rows: Any) -> int | float | None:
    """Return `rows`, a number of rows as an int or a share of them as a float, checked."""
    if rows is None:
        return None
    if isinstance(rows, (float, np.floating)):
        return _checks.number_inside(rows, "rows, as a share,", 0.0, 1.0)
    return _checks.positive_int(rows, "rows")


def stored_dtype(dtype: Any) -> torch.dtype | None:
    """Return the dtype that values are stored in; None for their own."""
    if dtype is None:
        return None
    return getattr(torch, _checks.one_of(str(dtype).removeprefix("torch."), tuple(DTYPES), "dtype"))
