"""A closed loop: diagnose a network, swap what the diagnosis suggests, train and look again.

The network classifies digits by heavy-tailed features: random projections of the pixels, cubed, as
a sensor of the wrong scale might give them. A BatchNorm standardises the features, and one stands
before each ReLU. The loop, with the functions it shows:

1. `record` what enters and leaves every norm of the trained network, on rows it was not trained on;
2. `analyze` that, and `suggest` which transformation would bring it near N(0, 1);
3. `conversion` and `nn.convert_norms`: swap those norms; `start` puts the fitted gains and
   exponents into the new layers; train anew from the same weights;
4. `record` again and `compare`: which units have moved, and is the network any better?

Look at the shapes after, too, and at the layers that were left alone: training moves weights. A
start is as good as its fit where the same values enter as in the trained network, as they do at the
norm of the features. A layer that a BatchNorm leaves nearly normal is not to be swapped: steep
maps around 0 would part it into two modes.

    python analysis/examples/closed_loop.py
    python analysis/examples/closed_loop.py --data mnist.npz --seeds 3

The file holds x_train (n, ...) uint8, y_train, x_test and y_test; of x_train the first 5,000 rows
are used. Without one it is scikit-learn's digits.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import distfit_nn as dn

FEATURES, WIDTH, CLASSES, BATCH, EPOCHS, RATE, MOST = 64, 64, 10, 64, 8, 0.02, 5000
NORMS = ("norm0", "norm1", "norm2")  # their inputs and outputs are recorded, whatever stands there


@dataclass(frozen=True)
class Data:
    """Features (n, FEATURES) and labels (n,)."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Loop:
    """What one turn of the loop found."""

    suggestions: dn.Suggestions
    swapped: list[str]
    shapes: pd.DataFrame
    comparison: dn.Comparison
    accuracy: tuple[float, float]


def load(path: Path | None, seed: int) -> Data:
    """Return the features of a file's images or of scikit-learn's digits."""
    if path is None:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(seed).permutation(len(labels))
        pixels, labels = pixels[order] / 16, labels[order]
        parts = pixels[:1300], labels[:1300], pixels[1300:], labels[1300:]
    else:
        with np.load(path, allow_pickle=False) as file:
            train, test = (file[f"x_{part}"][:MOST] / 255 for part in ("train", "test"))
            parts = (train, file["y_train"][:MOST], test, file["y_test"][:MOST])
    x, y, x_test, y_test = (torch.as_tensor(np.asarray(part)) for part in parts)
    x, x_test = x.flatten(1).float(), x_test.flatten(1).float()
    generator = torch.Generator().manual_seed(seed)
    sensor = torch.randn(x.shape[1], FEATURES, generator=generator)
    return Data(
        ((x - x.mean(0)) @ sensor) ** 3,
        y.long(),
        ((x_test - x.mean(0)) @ sensor) ** 3,
        y_test.long(),
    )


def network(seed: int) -> nn.Sequential:
    """Return a network with a norm of the features, and one before each ReLU."""
    torch.manual_seed(seed)
    layers: OrderedDict[str, nn.Module] = OrderedDict(norm0=nn.BatchNorm1d(FEATURES))
    for i, inputs in ((1, FEATURES), (2, WIDTH)):
        layers[f"linear{i}"] = nn.Linear(inputs, WIDTH)
        layers[f"norm{i}"] = nn.BatchNorm1d(WIDTH)
        layers[f"relu{i}"] = nn.ReLU()
    layers["output"] = nn.Linear(WIDTH, CLASSES)
    return nn.Sequential(layers)


def train(model: nn.Module, data: Data, seed: int) -> float:
    """Train for some epochs, and return the accuracy on the test rows."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    model.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(data.train), generator=generator)
        for rows in order.split(BATCH)[: len(order) // BATCH]:
            loss = nn.functional.cross_entropy(model(data.train[rows]), data.train_labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval()
    with torch.no_grad():
        return float((model(data.test).argmax(1) == data.test_labels).float().mean())


def recorded(model: nn.Module, data: Data, path: Path) -> dn.Analysis:
    """Record one pass over the test rows, and analyze it."""
    with dn.record(model, path, sites=list(NORMS), mode="w"), torch.no_grad():
        model(data.test)
    return dn.analyze(path)


def loop(data: Data, folder: Path, seed: int) -> Loop:
    """Diagnose, swap, train again, and compare."""
    start = network(seed)
    model = copy.deepcopy(start)
    before = train(model, data, seed)
    found = recorded(model, data, folder / "before")
    # What enters the norms: a layer that takes the place of one gets this, not what the norm gives.
    suggestions = dn.suggest(found, site="input", seed=seed)

    swapped = []
    for call in suggestions.conversion(start):
        swapped += [str(row) for row in dn.nn.convert_norms(start, **call).converted]
    started = suggestions.start(start)
    swapped += [f"{path}: starts from the fit of {units} units" for path, units in started.items()]
    after = train(start, data, seed)
    again = recorded(start, data, folder / "after")
    comparison = dn.compare(folder / "before", folder / "after", seed=seed)
    return Loop(suggestions, swapped, _shapes(found, again), comparison, (before, after))


def _shapes(before: dn.Analysis, after: dn.Analysis) -> pd.DataFrame:
    """Return how far the outputs of the norms are from N(0, 1), in shape, before and after."""
    tables = [one.layers[one.layers["site"] == "output"] for one in (before, after)]
    columns = ["layer", "shape_median", "heavy_tailed"]
    both = tables[0][columns].merge(tables[1][columns], on="layer", suffixes=("", "_after"))
    return both[["layer", *(c + end for c in columns[1:] for end in ("", "_after"))]]


def text(found: Loop) -> str:
    """Return what one turn of the loop found."""
    units = found.comparison.layers
    units = units[units["site"] == "output"]
    before, after = found.accuracy
    return "\n".join(
        [
            "Suggested for what enters each norm (KL from N(0,1) in nats, of unseen rows):",
            "",
            common.markdown(
                found.suggestions.layers,
                ["layer", "suggestion", "kl_before", "kl_affine", "kl_after", "improved"],
            ),
            "",
            *(found.swapped or ["Nothing was swapped."]),
            "",
            "What leaves them before and after (median negentropy in nats; heavy-tailed units):",
            "",
            common.markdown(found.shapes, list(found.shapes), 3),
            "",
            "Drift of what leaves them, trained both times from the same weights:",
            "",
            common.markdown(
                units, ["layer", "units", "drifted_units", "wasserstein_median", "shape_median"]
            ),
            "",
            f"Test accuracy: {before:.3f} before, {after:.3f} after.",
        ]
    )


def main() -> None:
    """Turn the loop once for each seed, and print what changed."""
    parser = common.parser(__doc__, "closed_loop")
    parser.add_argument("--data", type=Path, metavar="PATH.npz", help="default: sklearn's digits")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from --seed on")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the network is too small to share
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    turns = []
    for seed in seeds:
        folder = arguments.output / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        turns.append(loop(load(arguments.data, seed), folder, seed))
    pairs = np.array([turn.accuracy for turn in turns])
    gains = pairs[:, 1] - pairs[:, 0]
    summary = (
        f"\nSeeds {seeds.start} to {seeds.stop - 1}: accuracy {pairs[:, 0].mean():.3f} before, "
        f"{pairs[:, 1].mean():.3f} after; gain {gains.mean():+.3f}, "
        f"from {gains.min():+.3f} to {gains.max():+.3f}."
    )
    common.publish(text(turns[0]) + "\n" + summary, arguments.output / "findings.md")


if __name__ == "__main__":
    main()
