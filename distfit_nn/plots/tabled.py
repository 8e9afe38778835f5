"""Tables that the functions of `plots` draw: of an analysis, a comparison, or the caller's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.plots import choose, given


def units(
    data: Any, column: str, layer: str | None, site: str | None
) -> tuple[pd.DataFrame, list[str], str]:
    """Return units with site, step and `column`, the sites in order, and a title."""
    if given.is_analysis(data):
        chosen = choose.layer_of(data, layer)
        sites = list(chosen.pair) if site is None else [choose.site_of(chosen, site)]
        parts = [one.units for name in sites for one in chosen.recordings[name]]
        check_number(parts[0], column)
        return pd.concat(parts, ignore_index=True), sites, given.name(chosen.name)
    if not isinstance(data, pd.DataFrame):
        raise InputError(f"data must be an Analysis or a DataFrame, got {type(data).__name__}")
    check_columns(data, ("site", "step"))
    check_number(data, column)
    if layer is not None:
        check_columns(data, ("layer",))
        choose.named("layer", layer, list(dict.fromkeys(data["layer"])))
        data = data[data["layer"] == layer]
    sites = list(dict.fromkeys(data["site"]))
    if site is not None:
        sites = [choose.named("site", site, sites)]
    if len(sites) > 3:
        raise InputError(f"site must be given: the table has {len(sites)}")
    return data[data["site"].isin(sites)], sites, "" if layer is None else given.name(layer)


def samples(
    data: Any, column: str, layer: str | None, site: str | None, step: int | None
) -> tuple[list[np.ndarray], list[str], str]:
    """Return one number for each unit, for one or two sites, these, and a title."""
    if not given.is_analysis(data):
        return [_checks.to_numpy(data, "data").ravel().astype(np.float64)], [""], ""
    chosen = choose.layer_of(data, layer)
    sites = chosen.pair if site is None else (choose.site_of(chosen, site),)
    found = [choose.at_step(chosen, name, step) for name in sites]
    check_number(found[0].units, column)
    samples = [one.units[column].to_numpy(dtype=np.float64, na_value=np.nan) for one in found]
    return samples, list(sites), f"{given.name(chosen.name)}, step {found[0].step}"


def drift_of(data: Any, layer: str | None) -> tuple[pd.DataFrame, float]:
    """Return the table of drift of a comparison or an analysis, and the level of its tests.

    Of one layer, where it is named.
    """
    from distfit_nn.comparison import Comparison
    from distfit_nn.stats.unit_table import ALPHA

    if isinstance(data, Comparison):
        table, alpha = data.layers if layer is None else data.units, data.settings.alpha
    else:
        table, alpha = data.drift if given.is_analysis(data) else data, ALPHA
    if not isinstance(table, pd.DataFrame):
        raise InputError(
            f"data must be a Comparison, an Analysis or a table of these, got {type(data).__name__}"
        )
    if layer is not None:
        choose.named("layer", layer, list(dict.fromkeys(table["layer"])))
        table = table[table["layer"] == layer]
    return table, alpha


def drift_title(table: pd.DataFrame, layer: str | None) -> str:
    """Return which layer and which two steps a table of drift is about.

    No steps where rows differ in them, or two sources were compared at the same one.
    """
    parts = [] if layer is None else [given.name(layer)]
    ends = [set(table[name]) for name in ("step_before", "step_after") if name in table]
    if len(ends) == 2 and ends[0] != ends[1] and all(len(steps) == 1 for steps in ends):
        parts.append(f"step {ends[0].pop()} to {ends[1].pop()}")
    return ", ".join(parts)


def check_columns(table: pd.DataFrame, needed: Sequence[str]) -> None:
    """Raise unless the table has the columns."""
    for name in needed:
        choose.named("column", name, [str(one) for one in table.columns])


def check_number(table: pd.DataFrame, column: str) -> None:
    """Raise unless `column` is there and holds numbers."""
    choose.named("column", column, [str(one) for one in table.columns])
    if not pd.api.types.is_numeric_dtype(table[column]):
        raise InputError(f"column must hold numbers, {column!r} does not")
