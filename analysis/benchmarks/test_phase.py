"""How far the test phase of the layers is from what they do to a large batch in training.

Run it as ``python analysis/benchmarks/test_phase.py``. A layer is trained on 60 batches of 128 or
1,024 rows, with momentum 0.1 and None, and put into its test phase. 20,000 held-out rows go through
it, and as one batch through the same layer in training. For each distribution the root mean square
of the difference is given, over rows, columns and seeds. The goal of MomentNorm and CopulaNorm with
a table is 0.02.

Part of it is no fault of the layer: the running statistics are those of a sample, and so are those
of the held-out batch. Beside each figure stands what is left when averaging over batches is taken
out of it ("one batch"): the same after a single batch of as many rows as the running average
weighs, 60 n for None, 19 n for 0.1. BatchNorm, among the layers, shows the noise of mean and
variance alone.

Last comes the noise that the statistics of a batch bring into training: the standard deviation over
batches of the output of a row that stays, while all others change.

It writes results/test_phase.json, with the machine that it ran on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from distfit_nn.nn import CopulaNorm1d, MomentNorm1d, TrimmedNorm1d

Draw = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]

SEEDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
COLUMNS = 4  # of each distribution
BATCHES, HELD_OUT = 60, 20_000
MOMENTUMS = {"0.1": 0.1, "None": None}
WEIGHED = {"0.1": 19, "None": BATCHES}  # batches of one weight that leave as much noise
GOAL = 0.02
NOISE_ROWS, NOISE_BATCHES = (32, 128, 1024), 300


def bimodal(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return values around -2 and 2, with a deviation of a half."""
    return np.where(rng.random(shape) < 0.5, -2.0, 2.0) + 0.5 * rng.normal(size=shape)


DATA: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "gamma": lambda rng, shape: rng.gamma(2.0, size=shape),
    "bimodal": bimodal,
    "half zero": lambda rng, shape: np.maximum(rng.normal(size=shape), 0),
    "lognormal": lambda rng, shape: np.exp(rng.normal(size=shape)),
    "Cauchy": lambda rng, shape: rng.standard_cauchy(size=shape),
}

LAYERS: dict[str, Callable[..., nn.Module]] = {
    "BatchNorm": nn.BatchNorm1d,
    "TrimmedNorm": TrimmedNorm1d,
    **{
        f"MomentNorm {order}": lambda d, order=order, **options: MomentNorm1d(
            d, order=order, **options
        )
        for order in (4, 6, 8)
    },
    **{
        f"CopulaNorm {strength} {phase}": lambda d, strength=strength, phase=phase, **options: (
            CopulaNorm1d(d, strength=float(strength), test_phase=phase, **options)
        )
        for strength in (5, 50)
        for phase in ("table", "linear")
    },
}


def rows(rng: np.random.Generator, count: int) -> Tensor:
    """Return values of all distributions side by side, COLUMNS of each."""
    parts = [draw(rng, (count, COLUMNS)) for draw in DATA.values()]
    return torch.from_numpy(np.concatenate(parts, axis=1)).float()


def trained(make: Callable[..., nn.Module], batches: list[Tensor], momentum: float | None) -> Any:
    """Return a layer in eval mode that has seen the batches."""
    layer = make(COLUMNS * len(DATA), momentum=momentum)
    for batch in batches:
        layer(batch)
    return layer.eval()


def squares(make: Callable[..., nn.Module], layer: nn.Module, held: Tensor) -> Tensor:
    """Return the mean square of the difference of the phases, for each column."""
    difference = layer(held) - make(held.shape[1]).train()(held)
    return difference.double().square().mean(dim=0)


def root(values: list[Tensor]) -> dict[str, float]:
    """Return the root of the mean over seeds and columns, for each distribution."""
    mean = torch.stack(values).mean(dim=0).reshape(len(DATA), COLUMNS).mean(dim=1).sqrt()
    return {name: float(f"{value:.3g}") for name, value in zip(DATA, mean.tolist(), strict=True)}


def phases(size: int, name: str) -> dict[str, Any]:
    """Return the difference of the phases of every layer, for batches of a size and a momentum."""
    found: dict[str, list[Tensor]] = {layer: [] for layer in LAYERS}
    at_once: dict[str, list[Tensor]] = {layer: [] for layer in LAYERS}
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        held = rows(rng, HELD_OUT)
        batches = [rows(rng, size) for _ in range(BATCHES)]
        whole = torch.cat(batches[: WEIGHED[name]])
        for layer, make in LAYERS.items():
            found[layer].append(squares(make, trained(make, batches, MOMENTUMS[name]), held))
            at_once[layer].append(squares(make, trained(make, [whole], None), held))
    return {
        layer: {"test phase": root(found[layer]), "one batch": root(at_once[layer])}
        for layer in LAYERS
    }


def noise() -> dict[str, Any]:
    """Return the deviation over batches of what becomes of one row, by quantile of its value."""
    levels = np.array([0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
    laws = {"normal": stats.norm(), "gamma": stats.gamma(2.0)}
    chosen = {key: LAYERS[key] for key in ("BatchNorm", "MomentNorm 4", "CopulaNorm 5 table")}
    out: dict[str, Any] = {}
    for law, distribution in laws.items():
        fixed = torch.from_numpy(distribution.ppf(levels)).float()
        for size in NOISE_ROWS:
            rng = np.random.default_rng(size)
            results: dict[str, list[Tensor]] = {name: [] for name in chosen}
            for _ in range(NOISE_BATCHES):
                drawn = distribution.rvs((size, len(levels)), random_state=rng)
                batch = torch.from_numpy(drawn).float()
                batch[0] = fixed
                for name, make in chosen.items():
                    results[name].append(make(len(levels), track_running_stats=False)(batch)[0])
            for name, values in results.items():
                spread = torch.stack(values).std(dim=0).tolist()
                each = {
                    f"{level:g}": float(f"{s:.2g}") for level, s in zip(levels, spread, strict=True)
                }
                out.setdefault(law, {}).setdefault(f"{size} rows", {})[name] = each
    return out


def main() -> None:
    """Measure, print and write."""
    with torch.no_grad():
        figures = {
            f"{size} rows, momentum {name}": phases(size, name)
            for size in (128, 1024)
            for name in MOMENTUMS
        }
        machine.write(
            "test_phase",
            {
                "goal": GOAL,
                "root mean square of the difference": figures,
                "deviation of one row over batches, by the quantile of its value": noise(),
            },
        )


if __name__ == "__main__":
    main()
