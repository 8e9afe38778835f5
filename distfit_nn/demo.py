"""The demonstration: train a small network on scikit-learn's digits and record it live."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from distfit_nn.capture.recorder import record

STEPS, BATCH, EVERY = 301, 512, 100
TRAIN_ROWS = 1500  # of 1,797; the rest tests
LEARNING_RATE = 0.1


def train_and_record(
    path: str | PathLike[str], *, seed: int = 0, say: Callable[[str], None] | None = None
) -> float:
    """Train for a few seconds, write a store to `path`, and return the test accuracy.

    The network is 64-64-64-10 with batch norm before each ReLU. Every hundredth training step is
    recorded, before and after each batch norm. A store that is already there is replaced.
    """
    generator = torch.Generator().manual_seed(seed)
    images, labels = _digits(generator)
    train, test = slice(0, TRAIN_ROWS), slice(TRAIN_ROWS, None)
    model = _network(generator)
    optimiser = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    with _one_thread(), record(model, path, sites="norm", every=EVERY, mode="w"):
        for step in range(STEPS):
            rows = torch.randperm(TRAIN_ROWS, generator=generator)[:BATCH]
            loss = nn.functional.cross_entropy(model(images[train][rows]), labels[train][rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if say is not None and step % EVERY == 0:
                say(f"step {step}: loss {loss.item():.3f}, recorded")
    model.eval()
    with torch.no_grad():
        right = model(images[test]).argmax(dim=1) == labels[test]
    accuracy = float(right.float().mean())
    if say is not None:
        say(f"test accuracy {accuracy:.1%} on {len(right)} images")
    return accuracy


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch work in one thread: for so small a network, more only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _digits(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the 1,797 images (standardised) and labels in random order."""
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=generator)
    images = torch.as_tensor(pixels, dtype=torch.float32)[order]
    return (images - images.mean()) / images.std(), torch.as_tensor(labels)[order]


def _network(generator: torch.Generator) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in (1, 2):
        layers[f"linear{i}"] = nn.Linear(64, 64)
        layers[f"norm{i}"] = nn.BatchNorm1d(64)
        layers[f"relu{i}"] = nn.ReLU()
    layers["output"] = nn.Linear(64, 10)
    model = nn.Sequential(layers)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(module.bias)
    return model
