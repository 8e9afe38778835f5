"""Train the network of the thesis with batch norm, and record what its norms take in and give out.

784-100-100-100-10, ReLU, BatchNorm1d before each ReLU, PyTorch's default start, plain SGD with
learning rate .007 and batches of 50. The recordings show a fixed set of test images, in train mode:
the statistics are those of the recorded rows, since at the start the running ones are still 0 and 1
and batch norm in eval mode would do nothing. They are taken on a copy, so that recording leaves the
training as it is.

    python analysis/record_mnist.py --data mnist.npz --output data/mnist_mlp

Without ``--data`` it trains on the digits that scikit-learn ships, which have 64 inputs.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import distfit_nn as dn

WIDTH, CLASSES, DEPTH = 100, 10, 3
BATCH, RATE = 50, 0.007
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081  # of the pixels of MNIST's training images, from 0 to 1


@dataclass(frozen=True)
class Images:
    """Standardised pixels (n, inputs) and labels (n,) to train on and to test with."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load_mnist(path: str) -> Images:
    """Read MNIST from an .npz file with x_train, y_train, x_test, y_test."""
    with np.load(path, allow_pickle=False) as file:
        pixels = [
            (torch.tensor(file[name]).flatten(1).float() / 255 - MNIST_MEAN) / MNIST_STD
            for name in ("x_train", "x_test")
        ]
        labels = [torch.tensor(file[name]).long() for name in ("y_train", "y_test")]
    return Images(pixels[0], labels[0], pixels[1], labels[1])


def load_digits() -> Images:
    """Return scikit-learn's 1,797 digits, the first 1,347 of them to train on."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels, labels = torch.tensor(digits.data).float(), torch.tensor(digits.target).long()
    split = 1347
    pixels = (pixels - pixels[:split].mean()) / pixels[:split].std()
    return Images(pixels[:split], labels[:split], pixels[split:], labels[split:])


def build(inputs: int) -> nn.Sequential:
    """Return the network, at PyTorch's default start."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for level in range(1, DEPTH + 1):
        layers[f"linear{level}"] = nn.Linear(inputs if level == 1 else WIDTH, WIDTH)
        layers[f"norm{level}"] = nn.BatchNorm1d(WIDTH)
        layers[f"relu{level}"] = nn.ReLU()
    layers["output"] = nn.Linear(WIDTH, CLASSES)
    return nn.Sequential(layers)


def batches(images: Images, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches for ever, in a new order each time round; a last, smaller one is left out."""
    while True:
        order = torch.randperm(len(images.train), generator=generator)
        for chosen in order[: len(order) // BATCH * BATCH].split(BATCH):
            yield images.train[chosen], images.train_labels[chosen]


def train(model: nn.Module, stream: Iterator[tuple[Tensor, Tensor]], steps: int) -> None:
    """Take so many steps of plain SGD."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(steps):
        pixels, labels = next(stream)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pixels), labels).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: Images) -> float:
    """Return the percentage of test images told right, in eval mode."""
    model.eval()
    told = model(images.test).argmax(dim=1)
    return 100 * (told == images.test_labels).double().mean().item()


def run(images: Images, output: str, samples: Sequence[int], rows: int, seed: int) -> list[float]:
    """Train, record after each number of samples; return and print the test accuracy at each."""
    torch.manual_seed(seed)
    model = build(images.train.shape[1])
    shown = copy.deepcopy(model).train()
    stream = batches(images, torch.Generator().manual_seed(seed))
    results = []
    seen = 0
    with dn.record(shown, output, sites="norm", mode="w", dtype="float16") as recorder:
        for target in samples:
            train(model, stream, (target - seen) // BATCH)
            seen = target
            shown.load_state_dict(model.state_dict())
            recorder.step = seen
            with torch.no_grad():
                shown(images.test[:rows])
            results.append(accuracy(model, images))
            print(f"{seen} samples seen: test accuracy {results[-1]:.2f}%")
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, train and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", metavar="PATH.npz", help="MNIST; default: scikit-learn's digits")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="store to write")
    parser.add_argument("--samples", type=int, nargs="+", default=[0, 25_000, 125_000])
    parser.add_argument("--rows", type=int, default=1000, help="test images to record")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if min(options.samples) < 0 or any(n % BATCH for n in options.samples):
        parser.error(f"--samples must be multiples of the batch of {BATCH}, got {options.samples}")
    if options.samples != sorted(set(options.samples)):
        parser.error(f"--samples must rise, got {options.samples}")
    if options.rows < 2:
        parser.error(f"--rows must be at least 2, got {options.rows}")
    images = load_mnist(options.data) if options.data else load_digits()
    try:
        run(images, options.output, options.samples, options.rows, options.seed)
    except dn.errors.DistfitError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
