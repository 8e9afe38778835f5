"""Slow, readable oracles for moments, and data to try them on."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from distfit_nn.stats.moments import Moments
from tests import tolerances

ORDERS = range(2, 7)

VALUES = st.one_of(
    st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, 0.1, math.nan, math.inf, -math.inf])
)


def exact_column(column: np.ndarray) -> dict[str, object]:
    """The specification: two passes over one column, in extended precision."""
    column = column.astype(np.float64)
    finite = column[np.isfinite(column)].astype(np.longdouble)
    mean = finite.sum() / max(len(finite), 1)
    return {
        "n": len(finite),
        "mean": mean,
        "sums": [((finite - mean) ** r).sum() for r in ORDERS],
        "absolute": [(abs(finite - mean) ** r).sum() for r in ORDERS],
        "minimum": finite.min(initial=np.inf),
        "maximum": finite.max(initial=-np.inf),
        "zero_count": int((finite == 0).sum()),
        "nan_count": int(np.isnan(column).sum()),
        "inf_count": int(np.isinf(column).sum()),
    }


def check_column(m: Moments, index: tuple[int, ...], column: np.ndarray) -> None:
    want = exact_column(column)
    n = want["n"]
    for name in ("n", "zero_count", "nan_count", "inf_count"):
        assert np.asarray(getattr(m, name))[index] == want[name], name
    if n == 0:
        assert np.isnan(np.asarray(m.mean)[index])
        return
    assert np.asarray(m.minimum)[index] == want["minimum"]
    assert np.asarray(m.maximum)[index] == want["maximum"]
    size = max(abs(want["minimum"]), abs(want["maximum"]))
    assert (
        abs(np.asarray(m.mean)[index] - want["mean"])
        <= tolerances.sum_error(n) * size + tolerances.SUBNORMAL
    )
    for k, r in enumerate(ORDERS):
        error = abs(m.power_sums[k][index] - want["sums"][k])
        bound = tolerances.power_sum_error(n, r) * want["absolute"][k] + n * tolerances.UNDERFLOW
        assert error <= bound, r


def check_all(m: Moments, x: np.ndarray, axis: object) -> None:
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    columns = np.moveaxis(x, list(axes), range(len(axes)))
    kept = columns.shape[len(axes) :]
    assert np.shape(m.n) == kept
    columns = columns.reshape(-1, *kept)
    for index in np.ndindex(*kept):
        check_column(m, index, columns[(slice(None), *index)])


def sample(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    x = rng.normal(1.0, 3.0, shape)
    if dtype == "bool":
        return x > 0
    x = (abs(x) if dtype == "uint8" else x).astype(dtype)
    if x.dtype.kind == "f":
        kind = rng.random(shape)
        x[kind < 0.10], x[kind < 0.06], x[kind < 0.04], x[kind < 0.02] = 0, np.nan, np.inf, -np.inf
    return x


def exact_sums(values: np.ndarray, weights: np.ndarray, order: int) -> tuple[list, list]:
    """Central power sums in exact arithmetic, and those of absolute differences."""
    x, w = ([Fraction(float(v)) for v in array] for array in (values, weights))
    mean = sum(a * b for a, b in zip(x, w, strict=True)) / sum(w)
    signed = [sum(b * (a - mean) ** r for a, b in zip(x, w, strict=True)) for r in range(order + 1)]
    sizes = [
        sum(b * abs(a - mean) ** r for a, b in zip(x, w, strict=True)) for r in range(order + 1)
    ]
    return signed[2:], sizes[2:]


def check_exactly(m: Moments, values: np.ndarray, weights: np.ndarray) -> None:
    signed, sizes = exact_sums(values, weights, m.order)
    for k, (want, size) in enumerate(zip(signed, sizes, strict=True)):
        error = abs(Fraction(float(m.power_sums[k])) - want)
        bound = tolerances.moving_power_sum_error(len(values), k + 2) * size
        assert error <= bound + len(values) * tolerances.UNDERFLOW, k + 2


def column_of(m: Moments, j: int) -> Moments:
    return Moments(**{name: value[..., j] for name, value in vars(m).items()})


def same_bits(a: Moments, b: Moments) -> None:
    for name, value in vars(a).items():
        np.testing.assert_array_equal(value, vars(b)[name], err_msg=name)
