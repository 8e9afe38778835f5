"""What the tests of targets share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import optimize, stats
from scipy.special import ndtr
from torch import Tensor

COLUMNS = 3
NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


def mixture_oracle(weights: Any, means: Any, scales: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return the quantiles at z of a mixture by Brent's method on the small tail."""

    def one(z: float) -> float:
        tail = (stats.norm.cdf, stats.norm.sf)[int(z > 0)]
        wanted = np.log(ndtr(-abs(z)))

        def gap(y: float) -> float:
            return float(np.log(np.dot(weights, tail(y, means, scales))) - wanted)

        ends = np.add(means, np.multiply(scales, z))
        low, high = ends.min() - 1e-9, ends.max() + 1e-9
        return float(optimize.brentq(gap, low, high, xtol=1e-13, rtol=1e-14))

    return np.vectorize(one)


def blocks(z: np.ndarray | list[float], dtype: torch.dtype = torch.float64) -> Tensor:
    """Return z in each of the columns, as (N, C, 1)."""
    return torch.as_tensor(np.asarray(z), dtype=dtype)[:, None, None].repeat(1, COLUMNS, 1)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)
