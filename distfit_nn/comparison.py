"""`compare`: how far the units of two recordings, steps or checkpoints have drifted apart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distfit_nn import _notebook
from distfit_nn._checks import number_between, one_of, positive_int, whole_number
from distfit_nn._writers import csv_text, json_text, plural, records
from distfit_nn.capture.readers import Source, read
from distfit_nn.errors import InputError
from distfit_nn.pairs import Pair, Steps, Unmatched, checked_steps, matched
from distfit_nn.sampled_drift import DriftSettings, Sampler, drift_between
from distfit_nn.stats.drift import LEAST_EFFECT, MAX_ROWS, Drift
from distfit_nn.stats.drift_table import judge_layers, layer_effects
from distfit_nn.streaming import MEMORY, Progress, memory_size

FORMAT, VERSION = "distfit_nn.comparison", 1

_DEFINITIONS = {
    "wasserstein": (
        "Wasserstein-1 distance of the two samples, in pooled standard deviations: how far a row "
        "has moved on average. Verdicts rest on it. For a layer: mean, median and maximum over "
        "its units."
    ),
    "kolmogorov": "Largest difference of the two distribution functions, in [0, 1].",
    "energy": (
        "Energy distance, the root of twice the integral of (F - G)^2, in roots of the pooled "
        "standard deviation."
    ),
    "shift": "Mean after less mean before, in pooled standard deviations.",
    "spread": "Logarithm of the standard deviation after over that before.",
    "shape": (
        "Wasserstein-1 distance once each side is standardised: what no affine layer can undo. "
        "Its p-value is right only for many rows without heavy tails."
    ),
    "shift_median": "Median over the units of the magnitude of shift; so for spread and shape.",
    "baseline": (
        "What chance gives: the effect when whole rows are exchanged between the two sides at "
        "random. baseline_mean is its mean over {permutations} permutations, baseline_high the "
        "quantile that it exceeds with probability {alpha:g}."
    ),
    "excess": "The effect less the mean of its baseline: what chance does not explain.",
    "pvalue": (
        "Share of the permutations, with the data as one of them, whose effect is at least as "
        "large: never 0, at least 1 / {least}. For a layer: of the mean distance of its units, "
        "one test whatever the dependence between them."
    ),
    "qvalue": (
        "p-value corrected by Benjamini-Hochberg: for a unit over the units of its layer, for a "
        "layer over all rows of the table of layers, each from p-values with finer steps, whose "
        "standardised baselines are pooled over these. Hardly below 1 / {permutations}."
    ),
    "drifted": (
        "A unit, or a layer, has drifted if the q-value of its Wasserstein distance is below "
        "{alpha:g} and the excess of the distance is at least {least_effect:g}."
    ),
    "n": "Values (of a layer: rows) of the side before that were used; m, of the side after.",
    "rows_before": "Rows that there were to draw from, so also rows_after.",
    "rank": "1 for the unit of the layer with the largest excess.",
    "paired_correlation": "Pearson's correlation over the pairs of rows, where these are paired.",
}
_SHOWN = {
    "layer": "Layer",
    "site": "Site",
    "step_before": "Step before",
    "step_after": "Step after",
    "units": "Units",
    "drifted_units": "Drifted",
    "wasserstein_mean": "Distance",
    "baseline_high": "Chance",
    "excess": "Excess",
    "qvalue": "q",
    "drifted": "Layer drifted",
}


@dataclass(frozen=True, eq=False)
class Compared:
    """The drift of one layer at one site between two steps."""

    layer: str
    site: str
    step_before: int
    step_after: int
    names: tuple[str, ...] | None
    drift: Drift


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found, and what it can be turned into.

    Attributes
    ----------
    before, after : str
        Where the values came from; `after` is None where steps of one source were compared.
    created : str
        When, in ISO 8601, UTC.
    settings : DriftSettings
    compared : tuple of Compared
        One for each pair of recordings; its `drift` is what `stats.drift` returns.
    unmatched : tuple of Unmatched
        Layers that could not be compared, with the reason: (layer, site, reason).
    """

    before: str
    after: str | None
    created: str
    settings: DriftSettings
    compared: tuple[Compared, ...]
    unmatched: tuple[Unmatched, ...]

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row for each pair of recordings.

        Columns: layer, site, step_before, step_after, units, drifted_units; wasserstein_mean,
        wasserstein_median, wasserstein_max; baseline_mean, baseline_high, excess of the mean;
        shift_median, spread_median (of magnitudes), shape_median, kolmogorov_median;
        paired_correlation_median where rows are paired; pvalue, qvalue (over these rows), drifted;
        n, m rows that were used of rows_before, rows_after. `definitions` says what each means.
        """
        table = pd.DataFrame([_layer_row(one) for one in self.compared])
        drifts = [one.drift for one in self.compared]
        return judge_layers(table, drifts, self.settings.alpha, self.settings.least_effect)

    @cached_property
    def units(self) -> pd.DataFrame:
        """One row for each unit of each pair of recordings.

        Columns: layer, site, step_before, step_after, unit, name (of a column, else missing), n, m,
        drifted, rank; then each effect (wasserstein, kolmogorov, energy, shift, spread, shape) with
        its _baseline_mean, _baseline_high, _excess, _pvalue and _qvalue; paired_correlation where
        rows are paired.
        """
        return pd.concat([_unit_rows(one) for one in self.compared], ignore_index=True)

    @property
    def definitions(self) -> dict[str, str]:
        """How each figure is computed, and which threshold a verdict has: name to sentence."""
        words = {
            "permutations": self.settings.permutations,
            "least": self.settings.permutations + 1,
            "alpha": self.settings.alpha,
            "least_effect": self.settings.least_effect,
        }
        return {name: text.format(**words) for name, text in _DEFINITIONS.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return tables and definitions as plain data; NaN and infinite numbers become None."""
        settings = self.settings
        return {
            "format": FORMAT,
            "version": VERSION,
            "before": self.before,
            "after": self.after,
            "created": self.created,
            "permutations": settings.permutations,
            "alpha": settings.alpha,
            "least_effect": settings.least_effect,
            "paired": settings.paired,
            "blocks": settings.blocks,
            "sample": settings.rows,
            "seed": settings.seed,
            "definitions": self.definitions,
            "layers": records(self.layers),
            "units": records(self.units),
            "unmatched": [one._asdict() for one in self.unmatched],
        }

    def to_json(self, path: str | PathLike[str] | None = None) -> str | Path:
        """Return `to_dict` as strict JSON, or write it to `path` and return that."""
        return json_text(self.to_dict(), path)

    def to_csv(self, path: str | PathLike[str] | None = None, table: str = "units") -> str | Path:
        """Return the table "units" or "layers" as CSV, or write it to `path` and return that.

        A name that a spreadsheet could take for a formula gets a single quote before it; control
        characters become escapes. JSON has the names as they are.
        """
        one_of(table, ("units", "layers"), "table")
        return csv_text(getattr(self, table), path)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: how much drifted, and at most 20 rows of the layers."""
        layers = self.layers
        drifted, units = int(layers["drifted_units"].sum()), int(layers["units"].sum())
        sentence = (
            f"{int(layers['drifted'].sum()):,} of {plural(len(layers), 'pair')} of recordings and "
            f"{drifted:,} of {plural(units, 'unit')} have drifted; "
            f"{len(self.unmatched):,} unmatched."
        )
        return _notebook.table(sentence, layers, _SHOWN)

    def __repr__(self) -> str:
        between = f"{self.before} and {self.after}" if self.after else f"steps of {self.before}"
        drifted = sum(one.drift.layer.drifted_units for one in self.compared)
        units = sum(len(one.drift.n) for one in self.compared)
        return (
            f"<Comparison of {between}: {plural(len(self.compared), 'pair')} of recordings, "
            f"{drifted} of {plural(units, 'unit')} drifted, {len(self.unmatched)} unmatched>"
        )


def compare(
    before: Source,
    after: Source | None = None,
    *,
    steps: Steps = None,
    unit_axis: int | None = None,
    permutations: int = 99,
    alpha: float = 0.05,
    least_effect: float = LEAST_EFFECT,
    paired: bool = False,
    blocks: int = 1,
    sample: int = MAX_ROWS,
    seed: int = 0,
    memory_limit: int | str = MEMORY,
    progress: Progress | None = None,
) -> Comparison:
    """Measure how far units have drifted between two recordings, or from step to step of one.

    A uniform sample of the rows of each recording is taken in one pass over it, and goes to
    `stats.drift`: effect sizes against what they are when rows are exchanged at random. The
    numbers, to the last bit, do not depend on `memory_limit` or on the number of threads.

    Parameters
    ----------
    before, after : path, URL, array, tensor, DataFrame or dict of str to array
        Sources as for `analyze`. What has the same layer and site in both is compared, unit by
        unit in their order; two sources of a single array each are compared whatever the names of
        these. What has no partner, or another number or other names of units, is listed in
        `unmatched`. Without `after`, the steps of one store are compared with each other.
    steps : pair of int, "same" or None
        With `after`: by default the last step of each layer before with its last step after: how
        two runs, or two checkpoints, ended. A pair (a, b) compares step a before with step b
        after, "same" each step that a layer has in both. Without `after`: by default each step
        with the next one; (a, b) compares these two.
    unit_axis : int, optional
        Axis of the units in arrays of more than two dimensions; the others are rows.
    permutations, alpha, least_effect
        As in `stats.drift`. p-values are at least 1 / (permutations + 1); q-values rest on finer
        ones and are hardly below 1 / permutations, so fewer than 1 / alpha never call anything
        drifted.
    paired : bool, default False
        Whether row i before and row i after belong together, such as one input through two
        checkpoints. They are then swapped within pairs only, which finds smaller drifts. Where the
        inputs are the same and `paired` is not set, p-values are too large rather than too small.
    blocks : int, default 1
        Successive rows that depend on each other and are exchanged together, such as the
        height * width positions of an image. Taken as independent they fake drift.
    sample : int, default 5000
        Rows that are drawn from each recording (all, where there are no more); at least 2. The
        same ones on both sides where both have as many.
    seed : int, default 0
        Of the sample and of the permutations.
    memory_limit : int or str, default "256MB"
        Bytes for data and samples; the libraries themselves take about 250 MB, the effects of
        exchanged rows some 130 bytes for each unit and permutation. Where the sampled rows of all
        units need more, a recording is read several times, for some of them at once.
    progress : callable, optional
        Called with an entry and the number of its rows that are read: 0 when its turn comes, then
        after each part.

    Returns
    -------
    Comparison
        With `.layers` and `.units`, `.unmatched`, `.to_json`, `.to_csv`.

    Raises
    ------
    InputError, FileError
        One sentence: which rule a source or an option breaks, or that nothing is to be compared.

    Notes
    -----
    Of a store that keeps a sample of the rows of each pass (`record` with ``rows=``) only the same
    steps can be paired: others have other rows; and `blocks` are not known any more.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> x = np.random.default_rng(0).normal(size=(600, 3))
    >>> comparison = dn.compare({"fc1": x[:300]}, {"fc1": x[300:] + [0, 0, 1]})
    >>> comparison.units["drifted"].tolist()
    [False, False, True]
    """
    settings = DriftSettings(
        permutations=positive_int(permutations, "permutations"),
        alpha=number_between(alpha, "alpha", 0.0, 1.0),
        least_effect=number_between(least_effect, "least_effect", 0.0, np.inf),
        paired=_flag(paired, "paired"),
        blocks=positive_int(blocks, "blocks"),
        rows=whole_number(sample, "sample", 2),
        seed=whole_number(seed, "seed"),
        memory=memory_size(memory_limit),
    )
    wanted = checked_steps(steps, within=after is None)
    pairs, unmatched = matched(
        read(before, unit_axis=unit_axis),
        None if after is None else read(after, unit_axis=unit_axis),
        wanted,
    )
    sampler = Sampler(settings, progress)
    return Comparison(
        before=_name(before),
        after=None if after is None else _name(after),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings,
        compared=tuple(_compared(pair, settings, sampler) for pair in pairs),
        unmatched=tuple(unmatched),
    )


def _flag(value: Any, name: str) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _name(source: Source) -> str:
    return str(source) if isinstance(source, (str, PathLike)) else "arrays in memory"


def _compared(pair: Pair, settings: DriftSettings, sampler: Sampler) -> Compared:
    before, after = pair.before, pair.after
    return Compared(
        pair.layer,
        pair.site,
        before.step,
        after.step,
        before.names or after.names,
        drift_between(pair, settings, sampler),
    )


def _place(one: Compared) -> dict[str, Any]:
    return {
        "layer": one.layer,
        "site": one.site,
        "step_before": one.step_before,
        "step_after": one.step_after,
    }


def _layer_row(one: Compared) -> dict[str, Any]:
    """Return the row of a pair of recordings, but for what rests on all rows."""
    drift = one.drift
    return {
        **_place(one),
        "units": len(drift.n),
        **layer_effects(drift),
        "rows_before": drift.rows_seen[0],
        "rows_after": drift.rows_seen[1],
    }


def _unit_rows(one: Compared) -> pd.DataFrame:
    names = one.names if one.names is not None else [""] * len(one.drift.n)
    rows = one.drift.to_frame(names)
    if one.names is None:
        rows["name"] = None
    for position, (name, value) in enumerate(_place(one).items()):
        rows.insert(position, name, value)
    return rows
