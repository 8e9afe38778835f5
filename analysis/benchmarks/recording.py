"""What recording costs: a forward pass while it is recorded, over the same pass alone.

    python analysis/benchmarks/recording.py

A ResNet and a transformer of about 200 ms a pass, float32 in one thread on the CPU, of which 1% of
the rows are recorded; beside it hooks that clone the inputs of all activations and norms whole, as
one writes them by hand, and the plain pass again, which should be 1. All are timed in turn by the
processor's time, so that others on the machine change little; `over_plain` is the median over
rounds of the ratio to the plain pass. The limit is 1.10. For the least of models
`fixed_microseconds` is what a pass costs more.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import machine
import matplotlib as mpl
import torch
from torch import Tensor, nn

import distfit_nn as dn

mpl.use("Agg")
import matplotlib.pyplot as plt

ROUNDS, LIMIT, SHARE = 15, 1.10, 0.01
CONTROL = "plain again"
SITES = {"pre_activation": ["pre_activation"], "and norm": ["pre_activation", "norm"]}


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)
        self.conv1, self.norm1 = conv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True)
        same = inputs == outputs
        self.way = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.conv1(x)))
        return self.act(self.norm2(self.conv2(y)) + self.way(x))


def resnet() -> nn.Module:
    """Return 18 layers for small images."""
    widths = [(32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    blocks = [Block(*w) for w in [*widths, (128, 256, 2), (256, 256, 1)]]
    stem = [nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))


def transformer() -> nn.Module:
    """Return six layers of torch's own."""
    layer = nn.TransformerEncoderLayer(256, 4, 1024, 0.0, "gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)


def by_hand(model: nn.Module, keep: list[Tensor]) -> list[Any]:
    """Hook activations and norms to clone what goes in."""
    kinds = (nn.ReLU, nn.GELU, nn.BatchNorm2d, nn.LayerNorm)
    hooked = [module for module in model.modules() if isinstance(module, kinds)]
    return [m.register_forward_pre_hook(lambda _, x: keep.append(x[0].clone())) for m in hooked]


def timed(call: Callable[[], object]) -> float:
    """Return the processor's seconds."""
    return machine.seconds(call, time.process_time)


def recorded(model: nn.Module, x: Tensor, sites: list[str], share: float | None) -> float:
    """Return the time of the second pass of a recording."""
    with (
        tempfile.TemporaryDirectory() as folder,
        dn.record(model, Path(folder) / "run", sites, rows=share, missing="warn"),
    ):
        model(x)
        return timed(lambda: model(x))


def hooked(model: nn.Module, x: Tensor) -> float:
    """Return the time of a pass with hooks by hand."""
    keep: list[Tensor] = []
    handles = by_hand(model, keep)
    taken = timed(lambda: model(x))
    for handle in handles:
        handle.remove()
    return taken


def measured(model: nn.Module, x: Tensor, rounds: int, share: float | None) -> dict[str, Any]:
    """Time the passes in turn, each round in another order, after one that does not count."""
    model.eval()
    calls: dict[str, Callable[[], float]] = {
        name: partial(recorded, model, x, sites, share) for name, sites in SITES.items()
    }
    calls |= {"clones by hand": partial(hooked, model, x)}
    calls |= {name: partial(timed, partial(model, x)) for name in ("plain", CONTROL)}
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for round_ in range(rounds + 1):
        for name in order:
            model(x)  # so that all begin with the same caches
            taken = calls[name]()
            if round_:
                times[name].append(taken)
        order.append(order.pop(0))
    plain = statistics.median(times["plain"])
    over = {name: machine.ratio(times, name, "plain") for name in times if name != "plain"}
    extra = {
        name: round(1e6 * statistics.median(a - b for a, b in zip(t, times["plain"], strict=True)))
        for name, t in times.items()
        if name != "plain"
    }
    told = {"plain_milliseconds": round(1e3 * plain, 3), "over_plain": over, "limit": LIMIT}
    return told | {"fixed_microseconds" if plain < 1e-3 else "extra_microseconds": extra}


def draw(figures: dict[str, Any]) -> None:
    """Draw the ratios beside their limit."""
    _, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
    names = [name for name in figures if name != "tiny"]
    for number, kind in enumerate((CONTROL, *SITES, "clones by hand")):
        places = [i + (number - 1.5) * 0.2 for i in range(len(names))]
        ax.bar(places, [figures[n]["over_plain"][kind] for n in names], 0.18, label=kind)
    ax.axhline(LIMIT, color="0.4", linestyle="--", label="limit")
    ax.set(ylim=(0.9, None), ylabel="time over a plain pass")
    ax.set_xticks(range(len(names)), names)
    ax.legend(fontsize=8)
    plt.savefig(machine.RESULTS / "recording.png", dpi=150)


def main() -> None:
    """Measure, write and draw."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tiny = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
    figures = {
        "resnet": measured(resnet(), torch.randn(64, 3, 32, 32), ROUNDS, SHARE),
        "transformer": measured(transformer(), torch.randn(16, 128, 256), ROUNDS, SHARE),
        "tiny": measured(tiny, torch.randn(8, 4), 5 * ROUNDS, SHARE),
    }
    machine.write("recording", figures)
    draw(figures)


if __name__ == "__main__":
    main()
