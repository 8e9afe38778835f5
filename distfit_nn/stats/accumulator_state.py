"""What an accumulator holds, as plain arrays: to be kept in files, sent, checked and put together.

Of d columns, of which `tiles.widths` makes tiles, the arrays are

==================  ==============  ===============================================================
``settings``        int64 (6,)      layout (1), d, order, bins, rows of the sample, its seed
``nodes``           int64 (m, 2)    level and index of each node of the tree of shards
``moments``         (L, m, o + 10)  `moments_kernel` states: float64, a line for each lane
``hidden``          int64 (d, m)    values of each column that were masked out
``exponents``       int64 (d,)      of the sketches
``sizes``           int64 (d,)      occupied bins of each column
``edges``           (sum of sizes)  their lower edges, column behind column
``counts``          (sum of sizes)  values in each
``sample``          int64 (3,)      rows seen, the shard at work, its next row
``sample.spans``    int64 (s, 3)    shard, first row, row after the last that were offered
``sample.rows``     int64 (k, 2)    shard and row of each row that is held
``sample.priority``  float64 (k,)   of each
``sample.values``   (d, k)          column by column; missing where no row was ever offered
==================  ==============  ===============================================================

The lanes of a tile are its columns, once, or several times where it is narrow: column j of a tile
of w columns is what lanes j, j + w, j + 2 w, ... have together. ``edges`` and ``counts`` have the
narrowest type that holds them exactly; counts are float64 where there were weights. The first axis
of what belongs to columns is theirs, so that some of them can be read alone (`of_columns`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn.errors import InputError
from distfit_nn.stats import bin_kernel, moments_kernel, tiles
from distfit_nn.stats.accumulator_checks import (
    COUNTS,
    FLOATS,
    LAYOUT,
    VALUES,
    Settings,
    are_inside,
    check_agreement,
    check_arrays,
    check_bins,
    check_shapes,
    check_state,
    lanes,
    must,
    settings_of,
)
from distfit_nn.stats.moment_sums import MomentSums
from distfit_nn.stats.row_sample import RowSample
from distfit_nn.stats.sketch import SketchSums
from distfit_nn.stats.sketch_bins import of_columns as sketch_of

Array = NDArray[Any]
Arrays = dict[str, Array]
ReadRows = Callable[[str, int, int], Array]


class Node(NamedTuple):
    """A node of the tree of shards: where it stands, its sums tile by tile, what was masked."""

    level: int
    number: int
    tiles: list[MomentSums]
    hidden: NDArray[np.int64]


class Contents(NamedTuple):
    """All that an accumulator holds."""

    settings: Settings
    nodes: list[Node]
    sketches: list[SketchSums]
    sample: RowSample


def pack(contents: Contents) -> Arrays:
    """Return contents as arrays; see the top of the module."""
    settings, nodes, sketches, sample = contents
    columns = [column for sums in sketches for column in sums.finalise().columns()]
    lines = moments_kernel.SUMS + settings.order
    moments = np.empty((lanes(settings.columns), len(nodes), lines))
    for i, node in enumerate(nodes):
        moments[:, i] = np.concatenate([tile.state().T for tile in node.tiles])
    empty = np.empty((settings.columns, 0), np.int64)
    return {
        "settings": np.array([LAYOUT, *settings], np.int64),
        "nodes": np.array([node[:2] for node in nodes], np.int64).reshape(-1, 2),
        "moments": moments,
        "hidden": np.stack([node.hidden for node in nodes], axis=1) if nodes else empty,
        "exponents": np.array([column[0] for column in columns], np.int64),
        "sizes": np.array([len(column[1]) for column in columns], np.int64),
        "edges": _narrowest(np.concatenate([column[1] for column in columns]), FLOATS),
        "counts": _narrowest(np.concatenate([column[2] for column in columns]), COUNTS),
        **_sample_arrays(sample),
    }


def unpack(arrays: Mapping[str, Array]) -> Contents:
    """Return the contents that `pack` made arrays of.

    Raises
    ------
    InputError
        An array is missing, or of another shape or type than it must be, or what it says cannot
        be: counts that are negative or do not agree, edges that are out of order.
    """
    check_arrays(arrays)
    settings = settings_of(arrays["settings"])
    check_shapes(arrays, settings)
    return Contents(
        settings, _nodes(arrays, settings), _sketches(arrays, settings), _sample(arrays, settings)
    )


def of_columns(read: ReadRows, lengths: Mapping[str, int], units: slice) -> Arrays:
    """Return the arrays of some of the columns.

    Parameters
    ----------
    read : callable
        Takes the name of an array and returns its rows from a first one up to another.
    lengths : mapping of str to int
        How many rows each array has.
    units : slice
        Of columns: whole tiles, but for the last.
    """

    def whole(name: str) -> Array:
        return read(name, 0, lengths[name])

    settings = settings_of(whole("settings"))
    last = units.stop == settings.columns
    sizes = whole("sizes")
    if len(sizes) != settings.columns or np.any(sizes < 0):
        raise InputError(f"sizes must be {settings.columns} numbers of at least 0")
    first_bin, bins = int(sizes[: units.start].sum()), int(sizes[units].sum())
    bounds = {
        "moments": (units.start, lengths["moments"] if last else units.stop),
        **dict.fromkeys(("hidden", "exponents", "sizes", VALUES), (units.start, units.stop)),
        **dict.fromkeys(("edges", "counts"), (first_bin, first_bin + bins)),
    }
    found = {}
    for name, length in lengths.items():
        start, stop = bounds.get(name, (0, length))
        if not 0 <= start <= stop <= length:
            raise InputError(f"{name} must have {stop} rows or more, got {length}")
        found[name] = read(name, start, stop)
    found["settings"] = found["settings"].copy()
    found["settings"][1] = units.stop - units.start
    return found


def _narrowest(values: Array, kinds: tuple[Any, ...]) -> Array:
    """Return values in the first type that holds them exactly, as they are where none does."""
    if np.issubdtype(values.dtype, np.floating) != np.issubdtype(kinds[-1], np.floating):
        return values
    for kind in kinds:
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = values.astype(kind)
        if np.array_equal(narrow, values):
            return narrow
    return values


def _sample_arrays(sample: RowSample) -> Arrays:
    sample._settle()
    held = len(sample._priority)
    arrays = {
        "sample": np.array([sample.seen, sample.shard, sample._next], np.int64),
        "sample.spans": np.array(sample._spans, np.int64).reshape(-1, 3),
        "sample.rows": np.stack([sample._shard, sample._row], axis=1),
        "sample.priority": sample._priority.copy(),
    }
    if sample._values is not None:
        arrays[VALUES] = np.ascontiguousarray(sample._values[:held].T)
    return arrays


def _nodes(arrays: Mapping[str, Array], settings: Settings) -> list[Node]:
    hidden = arrays["hidden"]
    must(bool(np.all(hidden >= 0)), "hidden", "at least 0")
    must(bool(np.all(arrays["nodes"] >= 0)), "nodes", "at least 0")
    must(bool(np.all(arrays["nodes"][:, 0] < 63)), "nodes", "of a level below 63")
    found = []
    for i, (level, index) in enumerate(arrays["nodes"].tolist()):
        must(index < 1 << (63 - level), "nodes", "of shards below 2^63")
        state = np.ascontiguousarray(arrays["moments"][:, i].T)
        check_state(state)
        parts, start = [], 0
        for width in tiles.widths(settings.columns):
            stop = start + MomentSums.lanes(width)
            part = MomentSums.of_state(width, settings.order, state[:, start:stop])
            parts.append(part)
            start = stop
        found.append(Node(level, index, parts, np.ascontiguousarray(hidden[:, i])))
    return found


def _sketches(arrays: Mapping[str, Array], settings: Settings) -> list[SketchSums]:
    sizes, exponents = arrays["sizes"], arrays["exponents"]
    must(bool(np.all((sizes >= 0) & (sizes <= settings.bins))), "sizes", "0 to the bins allowed")
    total = len(arrays["edges"])
    must(int(sizes.sum()) == total, "sizes", f"those of the {total} edges in all")
    lowest, highest = bin_kernel.LEAST, bin_kernel.LARGEST
    inside = (exponents >= lowest) & (exponents <= highest)
    must(bool(inside.all()), "exponents", f"from {lowest} to {highest}")
    edges = arrays["edges"].astype(np.float64)
    counts = arrays["counts"]
    counts = counts if counts.dtype == np.float64 else counts.astype(np.int64)
    check_bins(edges, counts, np.repeat(np.arange(len(sizes)), sizes), exponents)
    check_agreement(arrays, settings, counts)
    stops = np.cumsum(sizes)
    found, start = [], 0
    for width in tiles.widths(settings.columns):
        columns = range(start, start + width)
        parts = [
            (int(exponents[j]), edges[stops[j] - sizes[j] : stops[j]],
             counts[stops[j] - sizes[j] : stops[j]])
            for j in columns
        ]  # fmt: skip
        found.append(SketchSums.of(sketch_of(parts, settings.bins)))
        start += width
    return found


def _sample(arrays: Mapping[str, Array], settings: Settings) -> RowSample:
    spans, places = arrays["sample.spans"], arrays["sample.rows"]
    priority = arrays["sample.priority"]
    for name in ("sample", "sample.spans", "sample.rows"):
        must(bool(np.all(arrays[name] >= 0)), name, "at least 0")
    ordered = spans[:, 1] < spans[:, 2]
    order = np.lexsort((spans[:, 1], spans[:, 0]))
    must(bool(ordered.all() and np.array_equal(order, np.arange(len(spans)))), "sample.spans",
          "in order and not empty")  # fmt: skip
    apart = (spans[1:, 0] > spans[:-1, 0]) | (spans[1:, 1] >= spans[:-1, 2])
    must(bool(apart.all()), "sample.spans", "apart")
    must(len(priority) <= settings.rows, "sample.priority", f"{settings.rows} at most")
    must(bool(np.all((priority >= 0) & (priority < np.inf))), "sample.priority", "finite")
    must(len(np.unique(places, axis=0)) == len(places), "sample.rows", "distinct")
    must(are_inside(places, spans), "sample.rows", "among those that were offered")
    seen, shard, following = (int(number) for number in arrays["sample"])
    sample = RowSample(settings.rows, seed=settings.seed, shard=shard, first=following)
    sample.seen = seen
    sample._spans = [(int(a), int(b), int(c)) for a, b, c in spans]
    sample._priority, (sample._shard, sample._row) = priority.copy(), places.T.copy()
    if VALUES in arrays:
        sample._values = np.ascontiguousarray(arrays[VALUES].T)
    elif len(priority):
        raise InputError(f"the summary must have an array {VALUES!r}")
    if settings.rows and len(priority) == settings.rows:
        sample._worst = float(priority.max())
    return sample
