"""A transformer built from a config: what its norms and MLPs see before and after some training.

GPT-2 (Radford and others, 2019) as Hugging Face's transformers builds it, made small and given
random weights, learns to continue bytes of Python's own language reference, which every CPython
carries (pydoc_data.topics). Sequences have different lengths and are padded; padding is masked in
the attention, in the loss and in the recordings.

    pip install transformers==5.23.0
    python analysis/examples/transformer.py --output build/examples/transformer
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from pydoc_data.topics import topics

import common
import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

import distfit_nn as dn

LENGTH, BATCH, IGNORED, PAD = 96, 32, -100, 0
SITES = ("pre_activation", "norm")  # what goes into each GELU, and around each LayerNorm
PADDED = ("rows", "bimodal", "relu_signature", "kl_median", "shape_median")


@dataclass(frozen=True)
class Batch:
    """Bytes (n, length), and whether each is text (1) or padding (0)."""

    ids: Tensor
    mask: Tensor

    @property
    def labels(self) -> Tensor:
        """The bytes, padding marked as not to be learnt."""
        return self.ids.masked_fill(self.mask == 0, IGNORED)


def paragraphs() -> list[bytes]:
    """Return the paragraphs of the language reference, of 16 bytes or more, cut at LENGTH."""
    text = "\n\n".join(topics[name] for name in sorted(topics))
    found = (" ".join(part.split()).encode("ascii", "replace") for part in text.split("\n\n"))
    return [part[:LENGTH] for part in dict.fromkeys(found) if len(part) >= 16]


def batch(parts: Sequence[bytes]) -> Batch:
    """Return paragraphs as one batch, padded behind to LENGTH."""
    ids = torch.full((len(parts), LENGTH), PAD)
    mask = torch.zeros_like(ids)
    for row, part in enumerate(parts):
        ids[row, : len(part)] = torch.tensor(list(part))
        mask[row, : len(part)] = 1
    return Batch(ids, mask)


def build(seed: int) -> nn.Module:
    """Return a GPT-2 of four blocks, 128 wide, with random weights."""
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError:
        sys.exit("transformer.py needs transformers: pip install transformers==5.23.0")
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=256,
        n_positions=LENGTH,
        n_embd=128,
        n_layer=4,
        n_head=4,
        bos_token_id=PAD,
        eos_token_id=PAD,
    )
    model: nn.Module = GPT2LMHeadModel(config)
    return model


def train(model: nn.Module, parts: Sequence[bytes], steps: int, seed: int) -> None:
    """Take so many steps of AdamW."""
    rng = np.random.default_rng(seed)
    adam = torch.optim.AdamW(model.parameters(), lr=0.002)
    model.train()
    for _ in range(steps):
        drawn = batch([parts[place] for place in rng.integers(len(parts), size=BATCH)])
        adam.zero_grad()
        model(input_ids=drawn.ids, attention_mask=drawn.mask, labels=drawn.labels).loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()


@torch.no_grad()
def bits(model: nn.Module, shown: Batch) -> float:
    """Return the loss on `shown`, in bits per byte."""
    model.eval()
    out = model(input_ids=shown.ids, attention_mask=shown.mask, labels=shown.labels)
    return out.loss.item() / float(np.log(2))


def record(model: nn.Module, shown: Batch, path: Path, step: int, masked: bool = True) -> None:
    """Record one pass over `shown`; with its padding, only what goes into each GELU."""
    model.eval()
    sites, mode = (SITES, "a" if step else "w") if masked else (SITES[:1], "w")
    with dn.record(model, path, sites, first_step=step, mode=mode) as recorder, torch.no_grad():
        if masked:
            recorder.mask = shown.mask.bool()
        model(input_ids=shown.ids, attention_mask=shown.mask)


def figure(analysis: dn.Analysis, path: Path) -> None:
    """Draw the scales of single channels before each norm, and the shapes before each GELU."""
    units = analysis.units
    drawing, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    steps = sorted(units["step"].unique())
    for ax, site, column, title in (
        (axes[0], "norm_input", "std", "standard deviation of channels before each norm"),
        (axes[1], "pre_activation", "kl_shape", "shape's part of KL to N(0,1), before each GELU"),
    ):
        chosen = units[units["site"] == site]
        for place, step in enumerate((steps[0], steps[-1])):
            rows = chosen[chosen["step"] == step]
            values = [group[column].dropna() for _, group in rows.groupby("layer", sort=False)]
            spots = np.arange(len(values)) * 3 + place
            look = {"widths": 0.8, "patch_artist": True, "sym": ".", "medianprops": {"color": "k"}}
            box = ax.boxplot(values, positions=spots, **look)
            for patch in box["boxes"]:
                patch.set_facecolor(f"C{place}")
            ax.plot([], [], color=f"C{place}", label=f"step {step}")
        names = [short(layer) for layer in dict.fromkeys(chosen["layer"])]
        ax.set_xticks(
            np.arange(len(names)) * 3 + 0.5, names, rotation=40, ha="right", rotation_mode="anchor"
        )
        ax.set_yscale("log")
        ax.set_title(title, loc="left", fontsize=10)
    axes[0].legend(fontsize=8, frameon=False)
    drawing.savefig(path, dpi=100)
    plt.close(drawing)


def short(layer: str) -> str:
    """Return a layer's name without what all of them share."""
    return layer.removeprefix("transformer.").removeprefix("h.")


def verdicts(analysis: dn.Analysis) -> pd.DataFrame:
    """Return per step and site: units with each verdict, and medians over layers."""
    groups = analysis.layers.groupby(["site", "step"], sort=False)
    table = groups.agg(
        units=("units", "sum"),
        bimodal=("bimodal", "sum"),
        heavy_tailed=("heavy_tailed", "sum"),
        outlier=("outlier", "sum"),
        kl_median=("kl_median", "median"),
        shape_median=("shape_median", "median"),
        std=("pooled_std", "median"),
    )
    return table.reset_index().sort_values(["site", "step"])


def with_padding(layers: pd.DataFrame, padded: pd.DataFrame) -> pd.DataFrame:
    """Return what goes into each GELU, with padding masked out and with it."""
    both = [
        table[table["site"] == "pre_activation"].set_index("layer")[list(PADDED)]
        for table in (layers, padded)
    ]
    return both[0].join(both[1], rsuffix="_padded").reset_index()


def changes(padded: pd.DataFrame) -> str:
    """Return by how much padding changes each figure of `with_padding` where it does most."""
    largest = {name: (padded[f"{name}_padded"] - padded[name]).abs().max() for name in PADDED[1:]}
    return ", ".join(f"{name} by {change:.3g}" for name, change in largest.items())


def findings(
    analysis: dn.Analysis,
    padded: dn.Analysis,
    moved: dn.Comparison,
    shown: Batch,
    scores: list[float],
    options: argparse.Namespace,
) -> str:
    """Return what was found, in words and tables."""
    last = analysis.layers[analysis.layers["step"] == options.steps]
    streams = last[last["site"] == "norm_input"]
    behind = analysis.units[analysis.units["site"] == "norm_output"]
    behind = behind[behind["step"] == options.steps]
    both, table = with_padding(last, padded.layers), verdicts(analysis)
    gelus = table[table["site"] == "pre_activation"].set_index("step")
    first, end = gelus.loc[0], gelus.loc[options.steps]
    gate = dn.check(analysis, max_outlier=20, site="norm_input")
    moves = ["layer", "site", "drifted_units", "units", "wasserstein_mean", "baseline_mean"]
    texts, tokens = len(shown.ids), int(shown.mask.sum())
    return f"""# A transformer built from a config

GPT-2 of transformers {version("transformers")} with four blocks of 128 units and random weights,
one run of {options.steps} steps on bytes of Python's language reference, seed {options.seed}.
Recorded are the {tokens} bytes of {texts} paragraphs that were not trained on, without their
padding ({texts * LENGTH - tokens} of {texts * LENGTH} positions): what each GELU takes,
and what each LayerNorm takes and gives. Loss on these: {scores[0]:.2f} bits a byte at first,
{scores[-1]:.2f} at the end. Written by `analysis/examples/transformer.py`.

**From random weights to trained ones**: inputs of the GELUs (site `pre_activation`) have a standard
deviation of {first["std"]:.2f} at first and {end["std"]:.2f} at the end, a KL to N(0,1) of
{first["kl_median"]:.3f} and {end["kl_median"]:.3f} nat, of which shape is
{first["shape_median"]:.3f} and {end["shape_median"]:.3f}. Medians are over layers, counts over all:

{common.markdown(table, table.columns, 3)}

**The residual stream**: after {options.steps} steps the standard deviation before the norms is
{common.extremes(streams, "pooled_std")}. LayerNorm standardises each token, not each unit: behind
it, with its gains, units have standard deviations from {behind["std"].min():.2f} to
{behind["std"].max():.2f} and means from {behind["mean"].min():.2f} to {behind["mean"].max():.2f}.
`dn.check(analysis, max_outlier=20, site="norm_input")` {"passes" if gate.passed else "fails"}, with
{len(gate.violations)} outlier channels.

**Padding is no data**: the same trained network, recorded with its padding, differs in these
figures of one GELU's inputs by as much as: {changes(both)}. With padding (columns `_padded`) and
without:

{common.markdown(both, both.columns, 3)}

**First against last step**: Wasserstein distance of each unit in pooled standard deviations, mean
over units, is {common.extremes(moved.layers, "wasserstein_mean")}; `baseline_mean` is what
exchanging rows at random gives ({moved.settings.permutations} permutations of
{moved.settings.rows} rows). Bytes of one paragraph depend on each other, so trust sizes, not the
count of drifted units.

{common.markdown(moved.layers, moves)}

![Standard deviations before each norm, shape's part of the KL before each GELU](transformer.png)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, train, record, analyse, and write what was found."""
    parser = common.parser(__doc__, "transformer")
    parser.add_argument("--steps", type=int, default=120, help="of training")
    parser.add_argument("--texts", type=int, default=64, help="paragraphs to record")
    options = parser.parse_args(arguments)
    if min(options.steps, options.texts) < 1:
        parser.error("--steps and --texts must be at least 1")
    folder = options.output
    folder.mkdir(parents=True, exist_ok=True)
    parts = paragraphs()
    np.random.default_rng(options.seed).shuffle(parts)
    shown, parts = batch(parts[: options.texts]), parts[options.texts :]
    model = build(options.seed)
    example = {"input_ids": shown.ids, "attention_mask": shown.mask}
    listed = dn.sites(model, example, list(SITES))
    print(f"{len(listed)} sites, {listed['bytes'].sum() / 1e6:.0f} MB a pass with padding")
    record(model, shown, folder / "run", 0)
    scores = [bits(model, shown)]
    train(model, parts, options.steps, options.seed)
    record(model, shown, folder / "run", options.steps)
    record(model, shown, folder / "padded", options.steps, masked=False)
    scores.append(bits(model, shown))
    print(f"bits a byte: {scores[0]:.2f} before, {scores[1]:.2f} after {options.steps} steps")
    analysis, padded = dn.analyze(folder / "run"), dn.analyze(folder / "padded")
    analysis.to_html(folder / "report.html")
    moved = dn.compare(folder / "run", steps=(0, options.steps), seed=options.seed)
    figure(analysis, folder / "transformer.png")
    text = findings(analysis, padded, moved, shown, scores, options)
    common.publish(text, folder / "transformer.md")


if __name__ == "__main__":
    main()
