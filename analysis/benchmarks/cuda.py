"""Time of 100,000 fits on a CUDA device, from moments and from samples, float64 and float32.

    python analysis/benchmarks/cuda.py

Needs a CUDA device, and says so where there is none. Times are medians of rounds, the device
synchronised before and after; the columns that the kernel leaves to the CPU are counted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import machine
import torch

from distfit_nn import maxent

COLUMNS, ROWS, ORDER, ROUNDS = 100_000, 256, 6, 7


def columns(generator: torch.Generator) -> torch.Tensor:
    """Normal, skewed, two-bumped and half-zero columns in turn, (ROWS, COLUMNS) of float64."""
    x = torch.randn(ROWS, COLUMNS, dtype=torch.float64, generator=generator, device="cuda")
    kind = torch.arange(COLUMNS, device="cuda") % 4
    bumps = 2.5 * torch.randint(0, 2, x.shape, generator=generator, device="cuda") - 1.25
    x = torch.where(kind == 1, (0.4 * x).exp(), x)
    x = torch.where(kind == 2, x + 2 * bumps, x)
    return torch.where(kind == 3, x.clamp_min(0), x)


def seconds(call: Callable[[], object]) -> float:
    """Return the median time of a call, after one that does not count."""
    times = []
    for round_ in range(ROUNDS + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if round_:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def figures() -> dict[str, Any]:
    """Measure fits from moments and from samples."""
    x = columns(torch.Generator("cuda").manual_seed(0))
    half = 3 * (x.amax() - x.amin())
    ends = (float(x.amin() - half), float(x.amax() + half))
    powers = torch.stack([(x**i).mean(dim=0) for i in range(1, ORDER + 1)])
    out: dict[str, Any] = {"device": torch.cuda.get_device_name(), "columns": COLUMNS}
    out["from_moments_float64_s"] = seconds(lambda: maxent.fit_moments(powers, ends))
    for dtype in (torch.float64, torch.float32):
        samples = x.to(dtype)
        name = str(dtype).removeprefix("torch.")
        out[f"from_samples_{name}_s"] = seconds(lambda given=samples: maxent.fit(given, ORDER))
        out[f"ok_{name}"] = float(maxent.fit(samples, ORDER).ok.double().mean())
    return out


if __name__ == "__main__":
    if torch.cuda.is_available():
        machine.write("cuda", figures())
    else:
        print("no CUDA device is at hand: nothing was measured")
