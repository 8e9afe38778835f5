"""Columns that break what a statistic counts on."""

from __future__ import annotations

import numpy as np

BAD = {
    "empty": [],
    "one": [1.0],
    "two": [1.0, 2.0],
    "constant": [3.0] * 50,
    "two values": [0.0] * 25 + [1.0] * 25,
    "nan": [np.nan] * 10,
    "infinite": [np.inf, -np.inf, *np.random.default_rng(5).normal(size=20)],
    "integers": np.arange(30),
    "float16": np.linspace(5e4, 6.4e4, 40).astype(np.float16),
    "huge": [1e300, -1e300, 1e300, 5e299, 2e299, 0.1],
}
