"""What equal values stand for: grids that are spread, and point masses that are set apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfit_nn.errors import InputError
from distfit_nn.stats import dip_test
from distfit_nn.stats.bimodality.atoms import Atoms, atoms
from distfit_nn.stats.bimodality.dip_kernel import spread_ties
from tests import tolerances
from tests.stats.faces import BAD


def spread_slowly(values):
    """Spread equal values over a cell of the grid, as `spread_ties` says."""
    distinct, copies = np.unique(values, return_counts=True)
    if len(distinct) < 3:
        return np.sort(values)
    gaps = np.diff(distinct)
    out = []
    for k, (value, n) in enumerate(zip(distinct, copies, strict=True)):
        near = gaps[max(k - 2, 0) : k + 2].min()
        steps = [side.min() for side in (gaps[max(k - 2, 0) : k], gaps[k : k + 2]) if len(side)]
        usual = min(max(steps), 2 * near)
        left = min(gaps[k - 1], usual) if k > 0 else near
        right = min(gaps[k], usual) if k < len(gaps) else near
        share = (np.arange(n) + 0.5) / n if n > 1 else np.array([left / (left + right)])
        out += list(value + (right * share - left * (1 - share)) / 2)
    return np.array(out)


@given(
    st.lists(st.integers(-8, 8).map(lambda k: k / 4) | st.floats(-2, 2), min_size=1, max_size=40)
)
def test_spread_ties_against_the_slow_way(values):
    got = dip_test(np.array(values), ties="spread")
    want = dip_test(spread_slowly(values))
    assert got.statistic == pytest.approx(want.statistic, abs=tolerances.FEW_ROUNDINGS)
    assert got.n == len(values)


def on_a_grid(rng, n):
    normal = rng.normal(size=(n, 50))
    exponent = np.floor(np.log2(np.abs(normal)))
    bfloat16 = (2 + 0.1 * normal).astype(np.float32).view(np.uint32) & 0xFFFF0000
    return {
        "poisson": rng.poisson(2.0, (n, 50)),
        "binomial": rng.binomial(10, 0.5, (n, 50)),
        "halves": np.round(2 * normal) / 2,
        "quarters": np.round(4 * normal) / 4,
        "bfloat16": bfloat16.view(np.float32),
        "float16, the step doubles at the mean": (2048 + 3 * normal).astype(np.float16),
        "eight levels an octave": np.round(normal / 2 ** (exponent - 3)) * 2 ** (exponent - 3),
        "post_relu": np.maximum(np.round(8 * normal) / 8, 0),
    }


GRIDS = tuple(on_a_grid(np.random.default_rng(0), 2))


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_has_no_modes(rng, name):
    x = on_a_grid(rng, 1000)[name]
    assert (dip_test(x, ties="spread").pvalue > 0.05).mean() >= 0.95
    if name != "eight levels an octave":  # of so many levels 1,000 values make no modes
        assert (dip_test(x).pvalue < 0.01).all()  # as point masses they are


def test_two_modes_on_a_grid_are_found(rng):
    x = np.round(
        4 * np.where(rng.random((1000, 20)) < 0.5, -2, 2) + 4 * rng.normal(size=(1000, 20))
    )
    assert (dip_test(x / 4, ties="spread").pvalue < 0.01).all()


def test_zeros_beside_a_far_cluster_stay_an_atom(rng):
    x = np.where(rng.random(1000) < 0.5, 0.0, rng.normal(10, 1, 1000))
    result = dip_test(x, ties="spread")
    assert result.pvalue < 0.01
    assert result.statistic == pytest.approx(dip_test(x).statistic, abs=0.01)


@pytest.mark.parametrize("levels", [(0, 1), (0, 1, 50), (-1, 1, 1.001)])
def test_an_outlier_does_not_widen_a_cell(levels):
    """Two values alone are two modes; a third, far away, does not smear them over its distance."""
    x = np.append(np.repeat(np.array(levels[:2], float), 500), levels[2:])
    if len(levels) == 2:
        assert dip_test(x, ties="spread").statistic == dip_test(x).statistic == 0.25
        return
    rows = np.sort(x)[None]
    spread_ties(rows, np.array([len(x)]))
    assert (np.diff(rows[0]) >= 0).all()
    assert np.ptp(rows[0][:1000]) <= 2.5 * (levels[1] - levels[0])


def test_without_ties_nothing_is_spread(rng):
    x = rng.normal(size=(100, 7))
    assert np.array_equal(dip_test(x, ties="spread").statistic, dip_test(x).statistic)


@pytest.mark.parametrize(
    "values", [[], [3.0], [3.0, 3.0], [np.nan, 1.0, 1.0], [-1.7e308, 1.7e308, 1.7e308]]
)
def test_spread_ties_at_the_edges(values):
    got, plain = dip_test(np.array(values), ties="spread"), dip_test(np.array(values))
    assert got.n == plain.n
    assert got.pvalue == pytest.approx(plain.pvalue, nan_ok=True)


def relu_of(rng, mean: float, step: float = 0.0, n: int = 2000) -> np.ndarray:
    """Columns of max(X, 0), X normal, quantised to a step."""
    x = np.maximum(rng.normal(mean, 1, size=(n, 30)), 0)
    return np.round(x / step) * step if step else x


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def test_relu_of_a_centred_normal_is_unimodal(rng):
    """Its atom is where its mode is: no treatment finds a second mode."""
    for ties in ("atoms", "spread", "apart"):
        assert (dip_test(relu_of(rng, 0.0), ties=ties).pvalue > 0.05).mean() >= 0.95


@pytest.mark.parametrize("granularity", ["float64", "float16", "bfloat16", "int8", "sixteenths"])
def test_an_atom_apart_is_no_mode(rng, granularity):
    x = relu_of(rng, 1.0, {"int8": 5 / 127, "sixteenths": 1 / 16}.get(granularity, 0.0))
    if granularity == "bfloat16":
        x = to_bfloat16(x)
    elif granularity == "float16":
        x = x.astype(granularity)
    apart = dip_test(x, ties="apart")
    assert (apart.pvalue > 0.05).mean() >= 0.95
    assert (apart.n < 0.9 * len(x)).all()
    assert np.median(dip_test(x, ties="spread").statistic) > 0.01  # with it, there are two


def test_two_modes_beside_an_atom_are_found(rng):
    x = rng.normal(size=(1000, 20)) + 5 * (rng.random((1000, 20)) < 0.5)
    x[:300] = 0
    result = dip_test(x, ties="apart")
    assert (result.pvalue < 0.01).all()
    assert (result.n == 701).all()  # one zero is left, as its neighbours have one copy each


@pytest.mark.parametrize("name", ["poisson", "binomial", "halves", "quarters", "bfloat16"])
def test_a_grid_alone_has_nothing_to_set_apart(rng, name):
    x = on_a_grid(rng, 1000)[name]
    np.testing.assert_array_equal(dip_test(x, ties="apart"), dip_test(x, ties="spread"))
    assert (atoms(x).number == 0).all()


def atoms_slowly(values: np.ndarray) -> tuple[np.ndarray, int]:
    """What is left without the atoms of finite values, and how many these are, as `atoms` says."""
    distinct, copies = np.unique(values, return_counts=True)
    left, number = [], 0
    for k, (value, here) in enumerate(zip(distinct, copies, strict=True)):
        near = np.delete(copies[max(k - 2, 0) : k + 3], min(k, 2)).max(initial=0)
        if len(distinct) > 2 and here >= len(values) / 100 and here >= 5 * near:
            number, here = number + 1, near
        left += [value] * int(here)
    return np.array(left), number


@given(
    st.lists(st.integers(-8, 8).map(lambda k: k / 4) | st.floats(-2, 2), max_size=40),
    st.integers(0, 60),
)
def test_atoms_against_the_slow_way(values, zeros):
    x = np.array([*values, *[0.0] * zeros])
    got, (left, number) = atoms(x), atoms_slowly(x)
    assert (got.number, got.n) == (number, len(x))
    share = (len(x) - len(left)) / max(len(x), 1)
    assert got.share == pytest.approx(share, abs=tolerances.FEW_ROUNDINGS)
    copies = np.unique(left, return_counts=True)[1]
    want = len(left) ** 2 / max((copies**2).sum(), 1)
    assert got.levels == pytest.approx(want, rel=tolerances.FEW_ROUNDINGS)
    assert dip_test(x, ties="apart").n == len(left)


def test_atoms_of_clipped_values(rng):
    x = np.clip(rng.normal(3, 3, size=(5000, 2)), 0, 6)
    x[0] = np.nan
    got = atoms(x)
    zeros, sixes = (x == 0).sum(axis=0), (x == 6).sum(axis=0)
    np.testing.assert_array_equal(got.number, 2)
    np.testing.assert_allclose(got.share, (zeros + sixes - 2) / 4999)
    np.testing.assert_array_equal(got.value, np.where(zeros >= sixes, 0, 6))
    np.testing.assert_allclose(got.value_share, np.maximum(zeros, sixes) / 4999)
    np.testing.assert_array_equal(got.n, 4999)
    assert isinstance(got, Atoms)
    assert np.signbit(atoms([-0.0, -0.0, 1.0]).value) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD)
def test_atoms_bad_input(name):
    x = np.array(BAD[name])
    got = atoms(x)
    assert (got.n, got.number, got.share) == (np.isfinite(x).sum(), 0, 0)
    assert np.isnan(got.value) == np.isnan(got.value_share) == (got.n == 0)


def test_atoms_of_a_constant():
    got = atoms([3.0] * 50)
    assert (got.value, got.value_share, got.levels) == (3, 1, 1)


def test_bad_ties():
    match = "ties must be one of 'atoms', 'spread', 'apart', got 'jitter'"
    with pytest.raises(InputError, match=match):
        dip_test([1.0, 2.0], ties="jitter")
