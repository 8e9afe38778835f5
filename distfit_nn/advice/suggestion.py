"""`suggest`: which transformation would bring units and layers near their target, by how much."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from distfit_nn._checks import number_between, one_of, positive_int, whole_number
from distfit_nn._selection import findings_of
from distfit_nn._writers import csv_text, json_text, plural, records
from distfit_nn.advice import TOLERANCE
from distfit_nn.advice.chosen import check_rows, check_units, last_recordings, no_rows, unit_numbers
from distfit_nn.advice.verdicts import LEAST_GAIN, Settings, layer_row, unit_rows
from distfit_nn.capture.readers import Source
from distfit_nn.stats.findings import Findings
from distfit_nn.stats.summary import Recording

if TYPE_CHECKING:
    from torch import nn

FORMAT, VERSION = "distfit_nn.suggestions", 1

DEFINITIONS = {
    "kl": (
        "KL(p, target) in nats, estimated from spacings, less the bias that the estimator has in "
        "normal samples. The rows are halved at random; each transformation is fitted to one half "
        "and measured on the other, both ways, and the two figures are averaged. An average "
        "below 0, by chance where the truth is near 0, is shown as 0; medians and comparisons are "
        "made before that."
    ),
    "suggestion": (
        "The simplest transformation whose KL is within the noise of the least: at most the "
        "standard error of the least (of layers the median of their units' errors), or "
        "{tolerance:g} nat if that is more, above it. From the simplest: none, affine, log-shift "
        "and sqrt-shift (of these the better), moments of order 4, of order 6, copula."
    ),
    "before": "kl_before is that of the values as they are, kl_after that of the suggestion.",
    "layer": (
        "Medians over its judged units, under one transformation for all of them. One that needs "
        "another layer than BatchNorm is suggested only where it brings the median unit nearer "
        f"than none and affine do by at least {LEAST_GAIN:g} nat, and by more than the noise of a "
        "unit's gain (95%); else none or affine is: keep what is there. improved is the share of "
        "units that the suggestion brings nearer by more than the noise."
    ),
    "atoms": (
        "Share of the values set apart as point masses, such as the zeros of a ReLU. No increasing "
        "map spreads them, so that KL of the whole unit stays infinite; all figures are those of "
        "the rest."
    ),
    "parameters": (
        "log_shift_b, log_shift_c, sqrt_shift_a, sqrt_shift_b: gains and exponents of maximum "
        "likelihood, the geometric mean of the two halves: what start puts into these layers."
    ),
}
CAVEATS = (
    "A shape nearer N(0,1) is not better accuracy. In the hidden layers of healthy networks such "
    "layers tied with batch norm in our experiments; they won as the first layer on raw features "
    "with heavy tails, gross errors or drifting sensors. Train and measure before you believe.",
    "A copula that is flexible enough makes any continuous unit exactly normal on the rows it was "
    "fitted to; only rows it has not seen tell how much of that is real.",
    "Rows that depend on each other, such as the pixels of one image, are in both halves: the KL "
    "after flexible maps is then too small.",
    "The shifts are steep around 0, where the weights before them put it; all other maps follow "
    "wherever a unit lies. Record the input of a norm to judge shifts in its place.",
)


@dataclass(frozen=True, eq=False)
class Suggestions:
    """What `suggest` found, and what it can be turned into.

    Attributes
    ----------
    source : str
        Where the values came from.
    settings : Settings
        Target, seed, tolerance, how many units at most.
    parts : tuple of (Recording, DataFrame)
        Each recording that was judged, with the rows of its units, whose KLs are not yet cut at 0.
    """

    source: str
    settings: Settings
    parts: tuple[tuple[Recording, pd.DataFrame], ...]

    @cached_property
    def units(self) -> pd.DataFrame:
        """One row for each unit.

        Columns: layer, site, step, unit, name; n rows that were used; atoms (share set apart);
        suggestion, one of none, affine, log_shift, sqrt_shift, moment_4, moment_6, copula, or why
        there is none ("none: constant", "not enough rows (12)"); judged; kl_before and kl_after,
        each with its _low and _high (95%); kl_ and error_ of each transformation; the parameters
        that shifts would start from. `definitions` says what each means.
        """
        return _cut_at_0(pd.concat([table for _, table in self.parts], ignore_index=True))

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row for each layer.

        Columns: layer, site, step, units, judged, suggestion, layer_class (of `distfit_nn.nn`;
        "BatchNorm" is torch's own), kl_before, kl_after, improved, atoms (median share), then kl_
        of each transformation and n_, for how many units it is suggested.
        """
        return _cut_at_0(pd.DataFrame([layer_row(*part, self.settings) for part in self.parts]))

    @property
    def definitions(self) -> dict[str, str]:
        """How each figure is computed: name to sentence."""
        tolerance = self.settings.tolerance
        return {name: text.format(tolerance=tolerance) for name, text in DEFINITIONS.items()}

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the suggestions do not tell."""
        return CAVEATS

    def conversion(
        self, model: nn.Module, names: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Return the arguments of `nn.convert_norms`, call by call, for the suggested layers.

        ``for call in found.conversion(model): dn.nn.convert_norms(model, **call)`` swaps them.
        Layers for which nothing, or an affine map, is suggested keep what they have. Shifts are now
        much steeper than their fit: `start` puts that into them.

        Parameters
        ----------
        model : torch.nn.Module
            The model that was recorded; it is not changed.
        names : mapping of str to str, optional
            From a recorded layer to the BatchNorm to replace. By default that is the recorded layer
            where it is itself one; where it is an activation, the BatchNorm just before it among
            the children of the same module.

        Returns
        -------
        list of dict
            Each with ``layer``, ``names`` and the layer's options.

        Raises
        ------
        InputError
            `names` holds a layer that was not recorded, or a BatchNorm that the model has not.

        Warns
        -----
        UserWarning
            For suggested layers without a BatchNorm: see `nn.insert_norms` for these.
        """
        from distfit_nn.advice.swaps import calls

        found, homeless = calls(self.layers, model, dict(names or {}), self.settings.target)
        if homeless:
            listed = ", ".join(homeless[:8]) + (", ..." if len(homeless) > 8 else "")
            warnings.warn(f"no BatchNorm was found for {listed}: name it in names", stacklevel=2)
        return found

    def start(self, model: nn.Module, names: Mapping[str, str] | None = None) -> dict[str, int]:
        """Put the fitted gains and exponents into the model's new shifts, and the line that fits.

        A shift gets of each judged unit the gain and exponent of `units`, and the line under which
        the recorded rows then have mean 0 and variance 1, followed by the line that it has from the
        norm: with weight 1 and bias 0 its output is as near N(0, 1) as `suggest` says. Other units
        and layers stay as they are; affine maps, moments and copulas need no such start.

        ========== =========================================================================
        log_b, c   of LogShift: log of log_shift_b, log_shift_c; log_a = 0
        log_a, b   of SqrtShift: log of sqrt_shift_a, sqrt_shift_b
        weight     weight / s: m and s are mean and deviation of the map of the recorded rows
        bias       bias - weight m / s; without `affine` neither
        ========== =========================================================================

        Parameters
        ----------
        model : torch.nn.Module
            After `nn.convert_norms`, before it is trained; it is changed in place.
        names : mapping of str to str, optional
            From a recorded layer whose values enter a shift to that shift. By default a shift gets
            what was found at the input of the norm in whose place it is.

        Returns
        -------
        dict of str to int
            The shifts that got a start, and of how many units.

        Raises
        ------
        InputError
            `names` holds a layer that was not recorded, or leads to no shift; a shift is not as new
            (trained, or started before), is `shared`, or has not the units that were recorded.

        Warns
        -----
        UserWarning
            For shifts of which no unit was judged at their input: they stay as they are.

        Notes
        -----
        The fit is that of the recorded network. In one that is trained anew it holds where the same
        values enter, as at the norm of raw features; elsewhere it is a guess.
        """
        from distfit_nn.advice.starts import start_shifts

        found, left = start_shifts(self.parts, model, dict(names or {}))
        if left:
            listed = ", ".join(left[:8]) + (", ..." if len(left) > 8 else "")
            warnings.warn(f"no units were judged at the input of {listed}", stacklevel=2)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return tables, definitions and caveats as plain data; NaN and infinities become None."""
        settings = self.settings
        return {
            "format": FORMAT,
            "version": VERSION,
            "source": self.source,
            "target": settings.target if isinstance(settings.target, str) else str(settings.target),
            "seed": settings.seed,
            "tolerance": settings.tolerance,
            "definitions": self.definitions,
            "caveats": list(self.caveats),
            "layers": records(self.layers),
            "units": records(self.units),
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

    def __repr__(self) -> str:
        lines = [
            f"  {row.layer}: {row.suggestion} ({row.kl_before:.3g} -> {row.kl_after:.3g} nat)"
            for row in self.layers.head(20).itertuples()
        ]
        more = [f"  ... {len(self.layers) - 20} more"] if len(self.layers) > 20 else []
        head = f"<Suggestions for {plural(len(self.layers), 'layer')} of {self.source}"
        return "\n".join([head, *lines, *more]) + ">"

    def _repr_html_(self) -> str:
        shown = ["layer", "units", "judged", "suggestion", "layer_class"]
        table = self.layers[[*shown, "kl_before", "kl_after", "improved"]]
        body = table.to_html(index=False, float_format="{:.3g}".format, border=0, na_rep="–")
        return f"{body}<p>{escape(CAVEATS[0])}</p>"


def suggest(
    source: Findings | Source,
    *,
    target: Any = "normal",
    layers: str | Iterable[str] | None = None,
    site: str | Iterable[str] | None = None,
    units: int | Iterable[int] | None = None,
    most_units: int | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> Suggestions:
    """Find the simplest transformation that brings each unit, and each layer, near its target.

    Compared are: none; affine (batch norm); `nn.LogShift` and `nn.SqrtShift`, whose gain and
    exponent are fitted by maximum likelihood; `nn.MomentNorm1d` of order 4 and 6; `nn.CopulaNorm1d`
    of strength 20: the layers' own code, trained on half of the rows, measured on the other half,
    both ways. So a map does not win by fitting the noise. Suggested is the simplest one whose KL is
    within one standard error, or `tolerance`, of the least; for a layer as a whole one that needs
    another layer than BatchNorm only if it brings the median unit nearer by at least 0.05 nat.

    Parameters
    ----------
    source : Analysis, or whatever `analyze` takes
        With rows: up to 1,000 of a layer's last step are kept by `analyze`.
    target : "normal", "uniform" or distribution, default "normal"
        One with `cdf` and `ppf` and a finite mean and variance, for all units.
    layers, site : str or iterable of str, optional
        Only layers, and sites, that match, with wildcards. Default: all layers, each at what feeds
        its nonlinearity.
    units : int or iterable of int, optional
        Only units of these numbers. Default: all.
    most_units : int, optional
        Of a layer with more units look at so many, drawn at random. Default: all.
    tolerance : float, default 0.02
        Nats that are not worth a less simple transformation: 0.02 is a mean off by 0.2 deviations.
    seed : int, default 0
        Of the halves, and of the units. A unit's halves depend on its number and the seed only.

    Returns
    -------
    Suggestions
        With `.units`, `.layers`, `.conversion(model)`, `.start(model)`, `.to_json`, `.to_csv`.

    Raises
    ------
    InputError
        No rows are kept of a layer, an argument breaks its rule, or as `analyze` raises.
    FileError
        As `analyze` raises.

    Notes
    -----
    1,000 units of 1,000 rows take about 6 s on one core, and less than 100 MB. Of columns with
    point masses or missing values, whose remaining rows differ in number, some rows are left out at
    random (up to a twelfth), so that columns of the same length are treated together.

    The rule knows the error of the estimates, not that of choosing the best among seven.

    References
    ----------
    L. Breiman, J. Friedman, R. Olshen and C. Stone, Classification and Regression Trees, 1984,
    section 3.4.3, for the rule of one standard error.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> rng = np.random.default_rng(0)
    >>> x = np.stack([rng.normal(size=800), rng.normal(3, 2, 800), rng.lognormal(size=800)], axis=1)
    >>> dn.suggest({"fc1": x}).units["suggestion"].tolist()
    ['none', 'affine', 'log_shift']
    """
    settings = Settings(
        target=target,
        tolerance=number_between(tolerance, "tolerance", 0.0, float("inf")),
        seed=whole_number(seed, "seed"),
        units=unit_numbers(units),
        most_units=None if most_units is None else positive_int(most_units, "most_units"),
    )
    if not isinstance(source, Findings):
        check_rows(source, layers, site)
    findings = findings_of(source)
    recordings = last_recordings(findings, layers, site)
    for recording in recordings:
        if recording.sample is None:
            raise no_rows(recording.layer, recording.site)
    check_units(settings.units, recordings)
    parts = tuple((one, unit_rows(one, settings)) for one in recordings)
    return Suggestions(findings.source, settings, parts)


def _cut_at_0(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its divergences, which may be below 0 by chance, cut at 0."""
    columns = [str(name) for name in table if str(name).startswith("kl_")]
    return table.assign(**{name: table[name].clip(lower=0.0) for name in columns})
