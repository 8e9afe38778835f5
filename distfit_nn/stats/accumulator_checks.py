"""The rules that the arrays of `accumulator_state` obey, so that none of them is trusted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn.errors import InputError
from distfit_nn.stats import bin_kernel, moments_kernel, tiles
from distfit_nn.stats.moment_sums import ORDERS, MomentSums

Array = NDArray[Any]

LAYOUT = 1
MOST_BINS = 1 << 26  # of all columns: live sketches take 52 bytes for each
FLOATS = (np.float16, np.float32, np.float64)
COUNTS = (np.uint8, np.uint16, np.uint32, np.int64)
ALL_COUNTS = (*COUNTS, np.float64)
_LARGEST_COUNT = 2.0**53
_AXES = {  # name to its number of axes and the types that it may have
    "settings": (1, (np.int64,)),
    "nodes": (2, (np.int64,)),
    "moments": (3, (np.float64,)),
    "hidden": (2, (np.int64,)),
    "exponents": (1, (np.int64,)),
    "sizes": (1, (np.int64,)),
    "edges": (1, FLOATS),
    "counts": (1, ALL_COUNTS),
    "sample": (1, (np.int64,)),
    "sample.spans": (2, (np.int64,)),
    "sample.rows": (2, (np.int64,)),
    "sample.priority": (1, (np.float64,)),
}
VALUES = "sample.values"
NAMES = (*_AXES, VALUES)


class Settings(NamedTuple):
    """What an accumulator is made with."""

    columns: int
    order: int
    bins: int
    rows: int
    seed: int


def settings_of(numbers: Array) -> Settings:
    """Return what the array ``settings`` says."""
    if numbers.shape != (6,) or numbers.dtype != np.int64:
        raise InputError(f"settings must be int64 (6,), got {numbers.dtype} {numbers.shape}")
    layout, *rest = (int(number) for number in numbers)
    settings = Settings(*rest)
    if layout != LAYOUT:
        raise InputError(f"settings have layout {layout}, this distfit_nn reads layout {LAYOUT}")
    least = Settings(columns=1, order=ORDERS[0], bins=4, rows=0, seed=0)
    for name, number, floor in zip(Settings._fields, settings, least, strict=True):
        if number < floor:
            raise InputError(f"settings: {name} must be at least {floor}, got {number}")
    if settings.order > ORDERS[-1]:
        raise InputError(f"settings: order must be at most {ORDERS[-1]}, got {settings.order}")
    return settings


def lanes(columns: int) -> int:
    """Return how many lanes the states of so many columns have."""
    return sum(MomentSums.lanes(width) for width in tiles.widths(columns))


def check_arrays(arrays: Mapping[str, Array]) -> None:
    """Check that all arrays are there, and their types and numbers of axes."""
    for name, (axes, kinds) in _AXES.items():
        array = arrays.get(name)
        if not isinstance(array, np.ndarray):
            raise InputError(f"the summary must have an array {name!r}")
        if array.ndim != axes or array.dtype not in kinds:
            raise InputError(
                f"{name} must have {axes} axes and type {' or '.join(k.__name__ for k in kinds)}, "
                f"got {array.dtype} {array.shape}"
            )
    values = arrays.get(VALUES)
    if values is not None and (
        not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "fiub"
    ):
        raise InputError(f"{VALUES} must be numbers with 2 axes")


def check_shapes(arrays: Mapping[str, Array], settings: Settings) -> None:
    """Raise `InputError` unless the arrays have the shapes that belong to the settings."""
    columns, nodes = settings.columns, len(arrays["nodes"])
    bins, held = len(arrays["edges"]), len(arrays["sample.priority"])
    if columns * settings.bins > MOST_BINS:
        raise InputError(
            f"columns times bins must be at most {MOST_BINS}, got {columns} * {settings.bins}"
        )
    expected: dict[str, tuple[int, ...]] = {
        "sizes": (columns,),
        "exponents": (columns,),
        "hidden": (columns, nodes),
        "nodes": (nodes, 2),
        "counts": (bins,),
        "sample": (3,),
        "sample.spans": (len(arrays["sample.spans"]), 3),
        "sample.rows": (held, 2),
        VALUES: (columns, held),
    }
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            raise InputError(f"{name} must have shape {shape}, got {arrays[name].shape}")
    # the number of lanes is that of columns, or not much more: not before they are known to be few
    shape = (lanes(columns), nodes, moments_kernel.SUMS + settings.order)
    if arrays["moments"].shape != shape:
        raise InputError(f"moments must have shape {shape}, got {arrays['moments'].shape}")


def check_state(state: Array) -> None:
    """Check the sums of lanes: what is counted, the extremes, and that no variance is negative."""
    counts = state[[moments_kernel.COUNT, moments_kernel.NANS, moments_kernel.INFS,
                    moments_kernel.ZEROS]]  # fmt: skip
    whole = (counts >= 0) & (counts <= _LARGEST_COUNT) & (counts == np.floor(counts))
    must(bool(whole.all()), "moments", "counts from 0 to 2^53 in their first four lines")
    shares = state[[moments_kernel.WEIGHT, moments_kernel.SQUARES, moments_kernel.ZERO_WEIGHT]]
    must(bool(np.all(shares >= 0)), "moments", "weights of at least 0 in the next three")
    some = counts[0] > 0
    low, high = state[moments_kernel.LOW], state[moments_kernel.HIGH]
    ordered = np.isfinite(low) & np.isfinite(high) & (low <= high)
    none = (low == np.inf) & (high == -np.inf)
    must(bool(np.where(some, ordered, none).all()), "moments", "extremes in their order")
    centred = np.isfinite(state[moments_kernel.CENTRE])
    must(bool(centred.all()), "moments", "finite centres")
    must(bool(np.all(~some | (shares[0] > 0))), "moments", "weights where values are counted")
    mean, sums = np.empty(state.shape[1]), np.empty((1, state.shape[1]))
    moments_kernel.centralise(state, mean, sums)
    must(bool(np.all(~(sums < 0))), "moments", "sums of squares of at least 0")


def check_bins(edges: Array, counts: Array, column: Array, exponents: Array) -> None:
    """Raise `InputError` unless these are the bins of sketches, column after column."""
    must(bool(np.isfinite(edges).all()), "edges", "finite")
    ascending = (edges[1:] > edges[:-1]) | (column[1:] != column[:-1])
    must(bool(ascending.all()), "edges", "ascending in each column")
    with np.errstate(over="ignore", under="ignore"):
        index = np.ldexp(edges, -exponents[column])
    aligned = (index == np.floor(index)) | ~np.isfinite(index) | (edges == bin_kernel.BOTTOM)
    must(bool(aligned.all()), "edges", "multiples of the width of their bins")
    must(bool(np.all((counts > 0) & (counts < np.inf))), "counts", "positive and finite")


def check_agreement(arrays: Mapping[str, Array], settings: Settings, counts: Array) -> None:
    """Check that sketch and moments count the same values, where there were no weights."""
    if counts.dtype == np.float64:
        return
    exact = np.concatenate([[0], np.cumsum(counts, dtype=np.float64)])
    must(bool(exact[-1] <= _LARGEST_COUNT), "counts", "2^53 in all at most")
    stops = np.cumsum(arrays["sizes"])
    sketched = exact[stops] - exact[stops - arrays["sizes"]]
    counted = _by_column(arrays["moments"][:, :, moments_kernel.COUNT].sum(axis=1), settings)
    must(bool(np.array_equal(sketched, counted)), "counts", "as many as the moments count")


def _by_column(of_lanes: Array, settings: Settings) -> Array:
    """Add up the lanes of each column."""
    parts, start = [], 0
    for width in tiles.widths(settings.columns):
        stop = start + MomentSums.lanes(width)
        parts.append(of_lanes[start:stop].reshape(-1, width).sum(axis=0))
        start = stop
    return np.concatenate(parts)


def are_inside(places: Array, spans: Array) -> bool:
    """Whether each (shard, row) lies in a span; spans are in order."""
    if not len(places):
        return True
    if not len(spans):
        return False
    keys = [(int(a), int(b)) for a, b, _ in spans]
    ends = [int(c) for _, _, c in spans]
    return all(_inside(keys, ends, int(a), int(b)) for a, b in places)


def _inside(keys: list[tuple[int, int]], ends: list[int], shard: int, row: int) -> bool:
    place = bisect_right(keys, (shard, row)) - 1
    return place >= 0 and keys[place][0] == shard and row < ends[place]


def must(holds: bool, name: str, rule: str) -> None:
    """Raise `InputError` with the rule that an array of a summary breaks."""
    if not holds:
        raise InputError(f"the summary's {name} must be {rule}")
