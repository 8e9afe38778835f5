"""What `suggest` looks at: recordings with their rows, units by their numbers."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any

from distfit_nn._checks import whole_number
from distfit_nn._selection import matching
from distfit_nn.capture.entries import Entry
from distfit_nn.capture.files import is_url
from distfit_nn.capture.manifest import is_store
from distfit_nn.capture.readers import Source, read
from distfit_nn.errors import InputError
from distfit_nn.report.select import layers as layers_of
from distfit_nn.stats.findings import Findings
from distfit_nn.stats.summary import Recording


def check_rows(
    source: Source,
    layers: str | Iterable[str] | None = None,
    site: str | Iterable[str] | None = None,
) -> None:
    """Raise `InputError` if `source` is a store without the rows that `suggest` needs.

    Nothing is measured for that; what is known only then, `suggest` finds out later.
    """
    if not isinstance(source, (str, PathLike)) or not (is_url(source) or is_store(source)):
        return
    last: dict[str, dict[str, Entry]] = {}
    for entry in read(source):
        sites = last.setdefault(entry.layer, {})
        if entry.site not in sites or entry.step >= sites[entry.site].step:
            sites[entry.site] = entry
    found = [last[name] for name in last if name in matching(layers, last, "layers")]
    wanted = matching(site, (name for sites in found for name in sites), "site")
    enough = all if site is None else any  # by default one site of each layer is looked at
    for sites in found:
        entries = [entry for name, entry in sites.items() if name in wanted]
        if entries and enough(entry.summaries for entry in entries):
            raise no_rows(entries[0].layer, entries[0].site)


def no_rows(layer: str, site: str) -> InputError:
    """Return the error that of a layer at a site there is no row to fit to."""
    return InputError(
        f"suggest needs rows, and of layer {layer!r} at site {site!r} none were kept: record raw "
        f"values, not summaries only, and analyze these"
    )


def unit_numbers(units: Any) -> tuple[int, ...] | None:
    """Return the numbers of units that are asked for, each once; None for all."""
    if units is None:
        return None
    given = units if isinstance(units, Iterable) and not isinstance(units, str) else [units]
    return tuple(dict.fromkeys(whole_number(unit, "each of units") for unit in given))


def check_units(units: tuple[int, ...] | None, recordings: list[Recording]) -> None:
    """Raise `InputError` for a number that no layer has."""
    if units is None:
        return
    known = {int(unit) for recording in recordings for unit in recording.units["unit"]}
    missing = [unit for unit in units if unit not in known]
    if missing or not units:
        raise InputError(f"units must be numbers of units, got {missing[0] if missing else 'none'}")


def last_recordings(findings: Findings, layers: Any, site: Any) -> list[Recording]:
    """Return the last recording of each layer at its main site, or at those that are asked for."""
    known = list(layers_of(findings))
    names = matching(layers, (layer.name for layer in known), "layers")
    found = [layer for layer in known if layer.name in names]
    if site is None:
        return [layer.last(layer.main) for layer in found]
    sites = matching(site, (name for layer in found for name in layer.recordings), "site")
    return [layer.last(name) for layer in found for name in layer.recordings if name in sites]
