"""Simulate the null law of the dip statistic and write the table that its p-values are read from.

The null is the uniform law, which Hartigan and Hartigan (1985) take for the least favourable of the
unimodal ones in large samples. The order statistics of n uniforms are the partial sums of
independent exponential gaps, up to a shift and a scale that the dip does not see: no sample needs
sorting.

For each sample size of the grid the table keeps the k-th largest of the simulated values of
sqrt(n) * dip, for the same dense set of counts k; on average, the k-th largest of R values is
exceeded with the probability k / (R + 1). Each block of replicates has its own seed, so that the
table does not depend on the number of threads.

From n = 200 on these quantiles are straight lines in 1/sqrt(n), as far as their Monte Carlo errors
can tell. The last row, of size infinity, is where the lines end: the limit law, known twice as
well as any single row. analysis/benchmarks/dip.py holds it against samples of up to a million.

    python analysis/dip_table.py --output distfit_nn/stats/bimodality/dip_quantiles.npz
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distfit_nn.stats.bimodality.dip_kernel import dip_of_rows

SEED = 19850301
REPLICATES = 100_000
BLOCK = 1_000  # replicates of one seed
POINTS = 500_000  # values held at once by a thread
SIZES = (
    *range(4, 21),
    *(22, 25, 30, 40, 50, 60, 70, 85, 100, 140, 200, 300, 500, 700),
    *(1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000),
)
STRAIGHT = 200  # the least size on the straight lines


def tail_counts(replicates: int) -> NDArray[np.int64]:
    """Return the counts k to keep, descending: every half percent, 16 a decade below 5%."""
    body = np.arange(0.05, 1.0001, 0.005) * replicates
    tail = np.geomspace(1, 0.05 * replicates, int(16 * np.log10(0.05 * replicates)) + 1)
    return np.unique(np.rint(np.concatenate([body, tail])).astype(np.int64))[::-1]


def block_of_dips(n: int, replicates: int, seed: np.random.SeedSequence) -> NDArray[np.float64]:
    """Return sqrt(n) * dip of `replicates` uniform samples of size n."""
    rng = np.random.default_rng(seed)
    parts = []
    while replicates > 0:
        rows = min(replicates, max(1, POINTS // n))
        samples = rng.standard_exponential((rows, n))
        np.cumsum(samples, axis=1, out=samples)
        parts.append(dip_of_rows(samples, np.full(rows, n)))
        replicates -= rows
    return np.sqrt(n) * np.concatenate(parts)


def null_dips(n: int, replicates: int, threads: int = 2, seed: int = SEED) -> NDArray[np.float64]:
    """Return `replicates` null values of sqrt(n) * dip, ascending."""
    blocks = [min(BLOCK, replicates - start) for start in range(0, replicates, BLOCK)]
    seeds = np.random.SeedSequence([seed, n]).spawn(len(blocks))
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(lambda job: block_of_dips(n, *job), zip(blocks, seeds, strict=True)))
    return np.sort(np.concatenate(parts))


def limit_row(quantiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the quantiles at n = infinity from those of `SIZES`, (rows, levels), by least squares.

    Where a crossing of lines far out in the tail breaks their order, it is restored.
    """
    sizes = np.array(SIZES, float)
    straight = sizes >= STRAIGHT
    inverse_root = sizes[straight] ** -0.5
    design = np.stack([np.ones_like(inverse_root), inverse_root], axis=1)
    lines = np.linalg.lstsq(design, quantiles[straight].astype(float), rcond=None)[0]
    return np.maximum.accumulate(lines[0]).astype(np.float32)


def main() -> None:
    """Simulate every size of the grid and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--replicates", type=int, default=REPLICATES)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    counts = tail_counts(options.replicates)
    rows = []
    for n in SIZES:
        start = time.perf_counter()
        dips = null_dips(n, options.replicates, options.threads)
        rows.append(dips[options.replicates - counts].astype(np.float32))
        print(f"n = {n:6d}: {time.perf_counter() - start:6.1f} s", flush=True)
    partial = options.output.with_name("." + options.output.name + ".partial.npz")
    np.savez_compressed(
        partial,
        sizes=np.array([*SIZES, np.inf]),
        counts=counts,
        replicates=np.array(options.replicates),
        quantiles=np.stack([*rows, limit_row(np.stack(rows))]),
    )
    os.replace(partial, options.output)


if __name__ == "__main__":
    main()
