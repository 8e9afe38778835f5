"""What goes into a norm and what comes out, measured while a network is trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad

import distfit_nn as dn
from distfit_nn.capture.store import Store
from lab.data import Source, images
from lab.findings import plain
from lab.shape.pools import histogram, pool
from lab.training import BATCH, Setting, build, measured, trained

Array = NDArray[np.float64]

IMAGES, CONV_IMAGES = 5000, 500  # test images that are looked at
POSITIONS = 5000  # rows of a convolution: image and position, drawn
CALIBRATED = 20  # batches that give an untrained norm its running statistics
SKEWED = 5 / 9  # more than this of the bimodality coefficient is often read as two modes
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SIDES = {"norm_input": "pre", "norm_output": "post", "pre_activation": "pre"}
KL_PARTS = ("kl_location", "kl_scale", "kl_shape")
PER_UNIT = ("dip", "skewness", "bimodality_coefficient")


def watch(setting: Setting, source: Source) -> dict[str, Any]:
    """Train a network, and measure each layer at each mark: a task for `Script.each`.

    The layer is a batch norm, or "Regular", which has no norm and only an input of its ReLU. What
    is measured are test images in eval mode, in double precision, so that batch norm is the affine
    map that it is meant to be. Before training its running statistics are those of a few batches.
    """
    data = images(source)
    conv = setting.network == "convnet"
    pixels = data.test.pixels[: CONV_IMAGES if conv else IMAGES].double()
    model = build(setting, data.shape)
    marks = []
    for mark in trained(model, data.train, setting):
        exact = copy.deepcopy(model).double().eval()
        if mark.seen == 0 and setting.layer != "Regular":
            first = data.train.pixels[: CALIBRATED * BATCH].double()
            dn.nn.recalibrate(exact, first.split(BATCH))
        found = {
            "seen": mark.seen,
            "accuracy": measured(model, data.test)[0],
            "levels": levels(exact, pixels, POSITIONS if conv else None),
        }
        if conv:
            found["background"] = background(exact, pixels)
        elif setting.layer != "Regular" and mark.seen >= setting.samples[-1]:
            found["own_statistics"] = own_statistics(exact, pixels)
        marks.append(found)
    return plain({"marks": marks})


def levels(model: nn.Module, pixels: Tensor, rows: int | None) -> list[dict[str, Any]]:
    """Return for each level of the network what goes into its norm, and what comes out."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        values = recorded(model, (pixels,), path, rows)
        units = dn.analyze(path).units
    found = []
    for layer in dict.fromkeys(layer for layer, _ in values):
        sides = {SIDES[site]: values[name, site] for name, site in values if name == layer}
        tables = {
            SIDES[str(site)]: table.reset_index(drop=True)
            for site, table in units[units["layer"] == layer].groupby("site")
        }
        level: dict[str, Any] = {
            side: {**unit_summary(tables[side]), "pool": pool(sides[side])} for side in sides
        }
        level["examples"] = examples(sides, tables["pre"])
        if "post" in sides:
            level["affine"] = affine(tables["pre"], tables["post"])
        found.append(level)
    return found


def recorded(
    model: nn.Module, batches: tuple[Tensor, ...], path: Path, rows: int | None = None
) -> dict[tuple[str, str], Array]:
    """Record what the batches make of the norms, or of the ReLUs' inputs where there are none."""
    normed = any(isinstance(part, NORMS) for part in model.modules())
    with (
        dn.record(model, path, "norm" if normed else "pre_activation", rows=rows) as recorder,
        torch.no_grad(),
    ):
        for batch in batches:
            recorder.step = 0
            model(batch)
    parts: dict[tuple[str, str], list[Array]] = {}
    for record, values in Store(path):
        parts.setdefault((record.layer, record.site), []).append(values)
    return {place: np.concatenate(each) for place, each in parts.items()}


def unit_summary(table: pd.DataFrame) -> dict[str, Any]:
    """Return how many units have which verdict, and the figures of each."""
    shape, high = table["shape"], table["bimodality_coefficient"] > SKEWED
    return {
        "units": len(table),
        "verdicts": shape.value_counts().to_dict(),
        "two_modes": int((table["modes"] > 1).sum()),
        "signature": int(table["relu_signature"].sum()),
        "signature_bimodal": int((table["relu_signature"] & (shape == "bimodal")).sum()),
        "high_coefficient": int(high.sum()),
        "high_coefficient_bimodal": int((high & (shape == "bimodal")).sum()),
        "kl": {part[3:]: float(np.nanmedian(_known(table[part]))) for part in KL_PARTS},
        "each": {
            "verdict": shape.tolist(),
            **{name: table[name].to_numpy() for name in PER_UNIT},
        },
    }


def affine(pre: pd.DataFrame, post: pd.DataFrame) -> dict[str, Any]:
    """Return how far the shapes of the same units differ before and after the norm."""

    def apart(name: str, sign: bool = True) -> float:
        before, after = pre[name].to_numpy(), post[name].to_numpy()
        differences = np.abs(before - after if sign else np.abs(before) - np.abs(after))
        return float(np.nanmax(_known(differences)))

    return {
        "units": len(pre),
        "dip": apart("dip"),
        "skewness": apart("skewness", sign=False),
        "kl_shape": apart("kl_shape"),
        "verdicts": int((pre["shape"].to_numpy() != post["shape"].to_numpy()).sum()),
    }


def examples(sides: dict[str, Array], table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return four units with their histograms: the dips that are largest, at the ninth decile and
    in the middle, and the most skewed."""
    order = np.argsort(table["dip"].fillna(-1).to_numpy())
    last = len(order) - 1
    skewed = table["skewness"].abs().fillna(0).to_numpy().argmax()
    chosen = (order[last], order[round(0.9 * last)], order[last // 2], skewed)
    found = []
    for unit in map(int, chosen):
        columns = {side: values[:, [unit]] for side, values in sides.items()}
        drawn = {side: histogram(x, x.mean(0), x.std(0)) for side, x in columns.items()}
        told = {name: table[name][unit] for name in ("dip", "shape", "skewness")}
        found.append({"unit": unit, **told, **drawn})
    return found


def own_statistics(model: nn.Module, pixels: Tensor) -> list[dict[str, Any]]:
    """Return the verdicts on outputs that batches of training size normalise by themselves."""
    whole = pixels[: len(pixels) // BATCH * BATCH]
    with TemporaryDirectory() as folder, dn.nn.batch_statistics(model):
        values = recorded(model, whole.split(BATCH), Path(folder) / "store")
    found = []
    for (_, site), part in values.items():
        if site == "norm_output":
            shape = dn.stats.classify(part)
            found.append({"verdicts": _counted(shape.verdict), "dip": float(np.max(shape.dip))})
    return found


def background(model: nn.Module, pixels: Tensor) -> list[dict[str, Any]]:
    """Return the verdicts on channels with and without the positions that see nothing but one grey.

    There a channel has one and the same value: a point mass. `kept`: such masses count as modes;
    `apart`: they are set apart, as everywhere else; `seen`: only positions that see something.
    """
    flat = flat_positions(pixels)
    found = []
    with torch.no_grad():
        x = pixels
        for level in range(1, 3):
            x = model.get_submodule(f"conv{level}")(x)
            columns = x.movedim(1, -1)
            every = columns.flatten(0, 2).numpy()
            seen = columns[~flat[level - 1]].numpy()
            found.append({"flat": flat[level - 1].double().mean().item(), **masses(every, seen)})
            for name in ("norm", "act", "pool"):
                x = model.get_submodule(f"{name}{level}")(x)
    return found


def flat_positions(pixels: Tensor) -> list[Tensor]:
    """Return for both convolutions which positions (image, row, column) see a single value.

    The edge sees the zeros of the padding, too.
    """
    around = pad(pixels, (1, 1, 1, 1))
    first = (max_pool2d(around, 3, 1) == -max_pool2d(-around, 3, 1)).all(1, keepdim=True)
    pooled = max_pool2d((~first).double(), 2)
    second = max_pool2d(pad(pooled, (1, 1, 1, 1), value=1.0), 3, 1) == 0
    return [first[:, 0], second[:, 0]]


def masses(every: Array, seen: Array) -> dict[str, Any]:
    """Return how many channels are bimodal, and their median dip."""
    rng = np.random.default_rng(0)
    some, some_seen = (
        rows[rng.choice(len(rows), min(POSITIONS, len(rows)), replace=False)]
        for rows in (every, seen)
    )
    kept = dn.stats.dip_test(some)
    two = (dn.stats.benjamini_hochberg(kept.pvalue) < 0.05) & (kept.statistic >= 0.01)
    found = {"kept": {"bimodal": int(two.sum()), "dip": float(np.median(kept.statistic))}}
    for name, rows in (("apart", some), ("seen", some_seen)):
        shape = dn.stats.classify(rows)
        found[name] = {
            "bimodal": int((shape.verdict == "bimodal").sum()),
            "dip": float(np.nanmedian(_known(shape.dip))),
        }
    return {"channels": every.shape[1], **found}


def _counted(verdicts: NDArray[Any]) -> dict[str, int]:
    return {str(each): int((verdicts == each).sum()) for each in np.unique(verdicts)}


def _known(values: Any) -> Array:
    """Return the values as an array that has at least one number, so that NaN is told as None."""
    array = np.asarray(values, dtype=np.float64)
    return array if np.isfinite(array).any() else np.zeros(1) * np.nan


def watched(
    layers: Mapping[str, tuple[str, float]], samples: tuple[int, ...], seeds: int, network: str
) -> list[Setting]:
    """Return the settings of named layers and rates, seed by seed."""
    return [
        Setting(layer, rate, seed, samples, network=network)
        for layer, rate in layers.values()
        for seed in range(seeds)
    ]


def by_name(
    layers: Mapping[str, Any], runs: Sequence[dict[str, Any]]
) -> dict[str, list[list[dict[str, Any]]]]:
    """Return the marks of the runs of `watched`, name by name, seed by seed."""
    seeds = len(runs) // len(layers)
    marks = [run["marks"] for run in runs]
    return {name: marks[at * seeds : (at + 1) * seeds] for at, name in enumerate(layers)}
