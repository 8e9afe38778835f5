"""Simulate the null laws of four tests of normality and write the table of their p-values.

The statistics are Jarque and Bera's, D'Agostino and Pearson's K**2, Anderson and Darling's A**2 and
Lilliefors' D, the last two modified so that they hardly depend on n, of the same normal samples.

For each sample size of the grid the table keeps the k-th largest of the simulated values, for the
same dense set of counts k; on average, the k-th largest of R values is exceeded with the
probability k / (R + 1). Each block of replicates has its own seed, so that the table does not
depend on the number of threads.

    python analysis/normality_table.py --output distfit_nn/stats/normality/null_quantiles.npz
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distfit_nn.stats.normality import statistics
from distfit_nn.stats.normality.kernel import distances_of_rows, shape_of_rows

SEED = 19670601
REPLICATES = 400_000
BLOCK = 5_000  # replicates of one seed
POINTS = 500_000  # values held at once by a thread
SIZES = (
    *range(4, 21),
    *(22, 25, 30, 40, 50, 70, 100, 140, 200, 300, 500, 1_000, 2_000, 5_000),
)
NAMES = ("jarque_bera", "dagostino", "anderson_darling", "lilliefors")


def tail_counts(replicates: int) -> NDArray[np.int64]:
    """Return the counts k to keep, descending: every percent, 12 a decade below 5%."""
    body = np.arange(0.05, 1.0001, 0.01) * replicates
    tail = np.geomspace(1, 0.05 * replicates, int(12 * np.log10(0.05 * replicates)) + 1)
    return np.unique(np.rint(np.concatenate([body, tail])).astype(np.int64))[::-1]


def statistics_of(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the four statistics, in the order of NAMES, of samples (replicates, n)."""
    samples.sort(axis=1)
    n = np.full(len(samples), samples.shape[1])
    shape = shape_of_rows(samples, n)
    squares, distance = distances_of_rows(samples, n)
    return np.stack(
        [
            statistics.jarque_bera_statistic(*shape, n),
            statistics.dagostino_statistic(*shape, n),
            statistics.modified_square(squares, n),
            statistics.modified_distance(distance, n),
        ]
    )


def block_of_statistics(
    n: int, replicates: int, seed: np.random.SeedSequence
) -> NDArray[np.float64]:
    """Return the statistics (4, replicates) of normal samples of size n."""
    rng = np.random.default_rng(seed)
    parts = []
    while replicates > 0:
        rows = min(replicates, max(1, POINTS // n))
        parts.append(statistics_of(rng.standard_normal((rows, n))))
        replicates -= rows
    return np.concatenate(parts, axis=1)


def null_statistics(
    n: int, replicates: int, threads: int = 2, seed: int = SEED
) -> NDArray[np.float64]:
    """Return `replicates` null values of each statistic, ascending."""
    blocks = [min(BLOCK, replicates - start) for start in range(0, replicates, BLOCK)]
    seeds = np.random.SeedSequence([seed, n]).spawn(len(blocks))
    with ThreadPoolExecutor(threads) as pool:
        jobs = zip(blocks, seeds, strict=True)
        parts = list(pool.map(lambda job: block_of_statistics(n, *job), jobs))
    return np.sort(np.concatenate(parts, axis=1), axis=1)


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
        values = null_statistics(n, options.replicates, options.threads)
        rows.append(values[:, options.replicates - counts].astype(np.float32))
        print(f"n = {n:6d}: {time.perf_counter() - start:6.1f} s", flush=True)
    partial = options.output.with_name("." + options.output.name + ".partial.npz")
    np.savez_compressed(
        partial,
        sizes=np.array(SIZES),
        counts=counts,
        replicates=np.array(options.replicates),
        **dict(zip(NAMES, np.stack(rows, axis=1), strict=True)),
    )
    os.replace(partial, options.output)


if __name__ == "__main__":
    main()
