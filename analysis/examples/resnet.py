"""A small ResNet, trained here: what its ReLUs and BatchNorms see from the first epoch to the last.

ResNet-8 (He, Zhang, Ren and Sun, CVPR 2016, with one block a stage), Adam, on images of CIFAR-10 or
on scikit-learn's digits. After chosen epochs one pass over fixed test images is recorded: the input
of every ReLU, and the input and output of every norm. The norms use the statistics of that batch,
since at the start the running ones are 0 and 1 and a norm in eval mode would do nothing.

    python analysis/examples/resnet.py --data cifar10.npz --output build/examples/resnet

The file holds x_train (n, 3, 32, 32) uint8, y_train, x_test and y_test.
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn import functional as F

import distfit_nn as dn

BATCH, CLASSES, WIDTH = 64, 10, 16


@dataclass(frozen=True)
class Images:
    """Pixels (n, channels, height, width), standardised, and labels (n,)."""

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load(path: Path | None) -> Images:
    """Read an .npz file of images, or take scikit-learn's digits, every pixel four times."""
    if path is None:
        return digits()
    with np.load(path, allow_pickle=False) as file:
        train, test = (torch.tensor(file[f"x_{part}"]).float() / 255 for part in ("train", "test"))
        labels = [torch.tensor(file[f"y_{part}"]).long().flatten() for part in ("train", "test")]
    axes = (0, 2, 3)
    mean, std = train.mean(axes, keepdim=True), train.std(axes, keepdim=True)
    return Images(path.stem, (train - mean) / std, labels[0], (test - mean) / std, labels[1])


def digits() -> Images:
    """Return scikit-learn's 1,797 digits as 16 x 16 images, the first 1,347 to train on."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = torch.tensor(found.images).float()[:, None]
    pixels = F.interpolate((pixels - pixels.mean()) / pixels.std(), scale_factor=2.0)
    labels = torch.tensor(found.target).long()
    return Images("digits", pixels[:1347], labels[:1347], pixels[1347:], labels[1347:])


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(shortcut(x) + f(x))."""
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def build(channels: int) -> nn.Sequential:
    """Return ResNet-8 at torch's default start."""
    parts: dict[str, nn.Module] = {
        "stem": nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False),
        "norm": nn.BatchNorm2d(WIDTH),
        "relu": nn.ReLU(inplace=True),
        "block1": Block(WIDTH, WIDTH, 1),
        "block2": Block(WIDTH, 2 * WIDTH, 2),
        "block3": Block(2 * WIDTH, 4 * WIDTH, 2),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "output": nn.Linear(4 * WIDTH, CLASSES),
    }
    return nn.Sequential(OrderedDict(parts))


def train(model: nn.Module, images: Images, adam: torch.optim.Optimizer) -> float:
    """Train for one epoch; return the mean loss."""
    model.train()
    order = torch.randperm(len(images.train))
    chunks = order[: len(order) // BATCH * BATCH].split(BATCH)
    total = 0.0
    for rows in chunks:
        adam.zero_grad()
        loss = F.cross_entropy(model(images.train[rows]), images.train_labels[rows])
        loss.backward()
        adam.step()
        total += loss.item()
    return total / len(chunks)


@torch.no_grad()
def accuracy(model: nn.Module, images: Images) -> float:
    """Return the percentage of test images told right, in eval mode."""
    told = torch.cat([model.eval()(part).argmax(1) for part in images.test.split(256)])
    return 100 * (told == images.test_labels).double().mean().item()


def run(images: Images, options: argparse.Namespace) -> list[tuple[int, float]]:
    """Train and record; return the test accuracy at each recorded epoch."""
    torch.manual_seed(options.seed)
    model = build(images.train.shape[1])
    adam = torch.optim.Adam(model.parameters(), lr=0.003)
    recorded = {0, 1, 2, options.epochs // 2, options.epochs}
    scores: list[tuple[int, float]] = []
    for epoch in range(options.epochs + 1):
        loss = train(model, images, adam) if epoch else float("nan")
        if epoch in recorded:
            record(model, images, epoch, options)
            scores.append((epoch, accuracy(model, images)))
            print(f"epoch {epoch}: loss {loss:.3f}, test accuracy {scores[-1][1]:.1f}%")
    return scores


def record(model: nn.Module, images: Images, epoch: int, options: argparse.Namespace) -> None:
    """Record one pass over the first test images, with the statistics of that batch."""
    shown = images.test[: options.images]
    settings = {"first_step": epoch, "rows": options.rows, "seed": options.seed}
    model.eval()
    with (
        dn.record(
            model,
            options.output / "run",
            ["pre_activation", "norm"],
            mode="a" if epoch else "w",
            **settings,
        ),
        dn.nn.batch_statistics(model),
        torch.no_grad(),
    ):
        model(shown)


def by_epoch(analysis: dn.Analysis) -> pd.DataFrame:
    """Return per epoch and site: units with each verdict, and medians over the layers."""
    groups = analysis.layers.groupby(["step", "site"], sort=False)
    table = groups.agg(
        units=("units", "sum"),
        dead=("dead", "sum"),
        heavy_tailed=("heavy_tailed", "sum"),
        bimodal=("bimodal", "sum"),
        far=("far", "sum"),
        kl_median=("kl_median", "median"),
        shape_median=("shape_median", "median"),
    )
    return table.reset_index().sort_values(["site", "step"])


def figure(analysis: dn.Analysis, path: Path) -> None:
    """Draw the divergence of each ReLU's input from N(0,1) by epoch, and its shape's share."""
    layers = analysis.layers[analysis.layers["site"] == "pre_activation"]
    drawing, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharex=True)
    for ax, column, title in (
        (axes[0], "kl_median", "KL to N(0,1), nat, median of channels"),
        (axes[1], "shape_median", "the part that no scale and shift removes"),
    ):
        for layer, rows in layers.groupby("layer", sort=False):
            ax.plot(rows["step"], rows[column], marker="o", label=layer)
        ax.set_title(title, loc="left", fontsize=10)
        ax.set_xlabel("epoch")
        ax.set_ylim(bottom=0)
    axes[0].legend(fontsize=8, frameon=False)
    drawing.savefig(path, dpi=100)
    plt.close(drawing)


def joins(analysis: dn.Analysis, first: int, last: int) -> pd.DataFrame:
    """Return per ReLU behind a sum with the shortcut: KL to N(0,1) at the first and last epoch."""
    layers = analysis.layers[analysis.layers["layer"].str.endswith("relu#1")]
    ends = [
        layers[layers["step"] == step].set_index("layer")["kl_median"] for step in (first, last)
    ]
    return pd.concat(ends, axis=1, keys=("kl_first", "kl_last")).reset_index()


def findings(
    analysis: dn.Analysis,
    moved: dn.Comparison,
    images: Images,
    scores: list[tuple[int, float]],
    options: argparse.Namespace,
) -> str:
    """Return what was found, in words and tables."""
    table, end = by_epoch(analysis), scores[-1][0]
    last = table[table["step"] == end].set_index("site")
    before, after, relus = (last.loc[s] for s in ("norm_input", "norm_output", "pre_activation"))
    lost = joins(analysis, scores[0][0], end)
    grown = int((lost["kl_last"] > lost["kl_first"]).sum())
    advice = dn.suggest(analysis, site="pre_activation", most_units=32, seed=options.seed).layers
    accuracies = ",\n".join(f"{score:.1f}% after epoch {epoch}" for epoch, score in scores)
    columns = ("layer", "site", "drifted_units", "units", "wasserstein_mean", "baseline_mean")
    return f"""# A ResNet trained here

ResNet-8, Adam, {len(images.train)} training images of {images.name}, {options.epochs} epochs, one
run with seed {options.seed}; recorded are {len(images.test[: options.images])} test images, at most
{options.rows} rows (positions of images) of each site. Accuracy on {len(images.test)} test images:
{accuracies}.
Written by `analysis/examples/resnet.py`.

**Verdicts**, summed over epochs and sites: {int(table["dead"].sum())} dead,
{int(table["bimodal"].sum())} bimodal, {int(table["heavy_tailed"].sum())} heavy-tailed of
{int(table["units"].sum())}.

{common.markdown(table, table.columns, 3)}

**What BatchNorm does**: after epoch {end}, {int(before["far"])} of {int(before["units"])} channels
are far from N(0,1) before their norm and {int(after["far"])} behind it; the KL (median over layers)
is {before["kl_median"]:.2f} nat before and {after["kl_median"]:.3f} behind. A shift and a scale
cannot change the shape's part of it: {before["shape_median"]:.3f} before,
{after["shape_median"]:.3f} behind.

**Behind the sums**: the second ReLU of each block takes a sum with the shortcut, which no norm
follows. Its KL is larger after epoch {end} than before training in {grown} of {len(lost)} blocks;
the median over all ReLUs is {relus["kl_median"]:.3f}.

{common.markdown(lost, lost.columns, 3)}

**What would bring the ReLUs' inputs nearer to N(0,1)** after epoch {end}: `dn.suggest`, each map
fitted to half of the rows and measured on the others, for up to 32 channels of each layer. It does
not say that accuracy would follow.

{common.markdown(advice, ("layer", "judged", "suggestion", "kl_before", "kl_after"), 3)}

**First against last epoch**: Wasserstein distance of each channel in pooled standard deviations,
mean over channels, is {common.extremes(moved.layers, "wasserstein_mean")}; `baseline_mean` is what
exchanging rows at random gives ({moved.settings.permutations} permutations of
{moved.settings.rows} rows). Positions of one image depend on each other, so trust sizes, not the
count of drifted units.

{common.markdown(moved.layers, columns)}

![KL to N(0,1) of each ReLU's input by epoch, and the shape's part of it](resnet.png)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, train, record, analyse, and write what was found."""
    parser = common.parser(__doc__, "resnet")
    parser.add_argument("--data", type=Path, metavar="FILE.npz", help="default: digits")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=250, help="test images to record")
    parser.add_argument("--rows", type=int, default=20_000, help="rows kept of each site")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {options.epochs}")
    options.output.mkdir(parents=True, exist_ok=True)
    images = load(options.data)
    scores = run(images, options)
    analysis = dn.analyze(options.output / "run")
    analysis.to_html(options.output / "report.html")
    moved = dn.compare(options.output / "run", steps=(0, options.epochs), seed=options.seed)
    figure(analysis, options.output / "resnet.png")
    common.publish(findings(analysis, moved, images, scores, options), options.output / "resnet.md")


if __name__ == "__main__":
    main()
