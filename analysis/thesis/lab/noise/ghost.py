"""Batch norm whose statistics come from as many rows as one likes, at any batch of the optimiser.

A batch is split into groups of so many rows, each normalised by its own mean and variance (ghost
batches: Hoffer et al., "Train longer, generalize better", 2017). Groups as large as the training
set leave no noise in the statistics: then the rest of the training set goes through the network
with each batch, its statistics count, its loss does not.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lab import training
from lab.data import Source, Split, images
from lab.networks import CLASSES


@dataclass(frozen=True)
class Ghost:
    """One run: `group` images share their statistics; None: a network without a layer."""

    group: int | None
    rate: float
    seed: int
    rows: int
    rounds: int
    batch: int = 128

    @property
    def layer(self) -> str:
        """The name that rates are chosen by."""
        return str(self.group)


class GhostNorm(nn.BatchNorm1d):
    """BatchNorm1d that, in training, takes its statistics from groups of `group` rows.

    Parameters
    ----------
    width : int
        Number of features.
    group : int
        Rows whose mean and variance are shared; it must divide the rows of a batch.

    Notes
    -----
    The running statistics are not kept: `settle` sets them.
    """

    def __init__(self, width: int, group: int) -> None:
        super().__init__(width)
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C) normalised group by group; in eval mode by the running statistics."""
        if not self.training:
            return super().forward(x)
        groups = x.reshape(-1, self.group, x.shape[1])
        variance, mean = torch.var_mean(groups, 1, correction=0, keepdim=True)
        scores = (groups - mean) / (variance + self.eps).sqrt()
        return torch.addcmul(self.bias, scores.reshape(x.shape), self.weight)


def network(inputs: int, group: int | None, depth: int = 3, width: int = 100) -> nn.Sequential:
    """Return the thesis' network with `GhostNorm`; without a layer where `group` is None."""
    parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for level in range(1, depth + 1):
        parts[f"linear{level}"] = nn.Linear(inputs if level == 1 else width, width)
        if group is not None:
            parts[f"norm{level}"] = GhostNorm(width, group)
        parts[f"act{level}"] = nn.ReLU()
    parts["output"] = nn.Linear(width, CLASSES)
    return nn.Sequential(parts)


@torch.no_grad()
def settle(model: nn.Sequential, split: Split) -> None:
    """Set the running statistics to those of a whole training set, layer after layer."""
    x = split.pixels
    model.eval()
    for module in model.children():
        if isinstance(module, GhostNorm):
            variance, mean = torch.var_mean(x, 0, correction=0)
            module.running_mean.copy_(mean)
            module.running_var.copy_(variance)
        x = module(x)


def regularised(setting: Ghost, source: Source) -> dict[str, Any]:
    """Train with statistics of groups; return accuracy and loss on all three splits."""
    data = images(source)
    split = data.train.first(setting.rows)
    torch.manual_seed(setting.seed)
    model = network(split.pixels[0].numel(), setting.group)
    optimizer = torch.optim.SGD(model.parameters(), lr=setting.rate)
    generator = torch.Generator().manual_seed(setting.seed)
    for _ in range(setting.rounds):
        order = torch.randperm(len(split), generator=generator)
        for start in range(0, len(split) - setting.batch + 1, setting.batch):
            model.train()
            # With statistics of all rows, all go through; those of the batch stand first.
            chosen = order.roll(-start)
            if setting.group != len(split):
                chosen = chosen[: setting.batch]
            logits = model(split.pixels[chosen])[: setting.batch]
            loss = nn.functional.cross_entropy(logits, split.labels[chosen[: setting.batch]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    settle(model, split)
    parts = {"train": split, "validation": data.validation, "test": data.test}
    found = {name: training.measured(model, part) for name, part in parts.items()}
    return {
        "gap": found["train"][0] - found["test"][0],
        "loss_gap": found["test"][1] - found["train"][1],
        **{f"{name}_accuracy": [accuracy] for name, (accuracy, _) in found.items()},
        **{f"{name}_loss": loss for name, (_, loss) in found.items()},
    }
