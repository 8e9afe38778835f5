"""Silverman's critical bandwidth test."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distfit_nn.errors import InputError
from distfit_nn.stats.bimodality.critical_bandwidth import (
    _LEVELS,
    _factors,
    _least_level,
    critical_bandwidth_test,
)
from tests import tolerances
from tests.stats.faces import BAD


def valleys_slowly(x, h, low, high):
    """Count minima of the direct sum of kernels, on a fine grid between two points."""
    grid = np.linspace(low, high, max(200, int(60 * (high - low) / h)))
    z = (grid[:, None] - x) / h
    rising = (-z * np.exp(-(z**2) / 2)).sum(axis=1) > 0
    return int((~rising[:-1] & rising[1:]).sum())


def critical_slowly(x, modes, levels):
    low, high = np.quantile(x, levels)
    small, large = np.ptp(x) / 500, np.ptp(x) / 2
    while large / small > 1 + 1e-4:
        h = np.sqrt(small * large)
        if valleys_slowly(x, h, low, high) >= modes:
            small = h
        else:
            large = h
    return large


SAMPLES = {
    "normal": lambda rng: rng.normal(size=120),
    "bimodal": lambda rng: rng.normal(size=120) + 4 * (rng.random(120) < 0.4),
    "cauchy": lambda rng: rng.standard_cauchy(100),
    "uniform": lambda rng: 7 + rng.random(80),
    "few": lambda rng: rng.normal(size=6),
}


@pytest.mark.parametrize("levels", [(0.05, 0.95), (0.0, 1.0)])
@pytest.mark.parametrize("modes", [1, 2, 3])
@pytest.mark.parametrize("name", SAMPLES)
def test_statistic_against_direct_sums(rng, name, modes, levels):
    x = SAMPLES[name](rng)
    got = critical_bandwidth_test(x, modes=modes, interval=levels, replicates=1, random_state=0)
    want = critical_slowly(x, modes, levels)
    assert got.statistic == pytest.approx(want, rel=tolerances.CRITICAL_BANDWIDTH)
    assert got.relative == pytest.approx(got.statistic / x.std())


def test_two_points_have_one_mode_from_half_their_distance_on():
    got = critical_bandwidth_test([1.0, 3.0], interval=(0, 1), replicates=1)
    assert got.statistic == pytest.approx(1.0, rel=tolerances.CRITICAL_BANDWIDTH)


def test_hall_and_yorks_factors():
    factors = _factors()
    assert (np.diff(factors) < 0).all()
    assert np.interp(0.05, _LEVELS, factors) == pytest.approx(1.13, abs=0.005)  # as published


def test_least_level_is_the_first_at_which_the_share_is_no_larger():
    rng = np.random.default_rng(5)
    for _ in range(20):
        beyond = rng.integers(0, len(_LEVELS) + 1, 49)
        got = _least_level(_LEVELS, beyond)
        shares = np.array([((beyond <= i).sum() + 1) / 50 for i in range(len(_LEVELS))])
        fits = np.flatnonzero(shares <= _LEVELS)
        assert got == 1 if not len(fits) else _LEVELS[fits[0] - 1] <= got <= _LEVELS[fits[0]]
    assert _least_level(_LEVELS, np.full(99, len(_LEVELS))) == pytest.approx(0.01)
    assert _least_level(_LEVELS, np.zeros(99, int)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 500])
def test_level(rng, n):
    x = rng.normal(size=(n, 400))
    pvalue = critical_bandwidth_test(x, random_state=0, replicates=99).pvalue
    error = np.sqrt(0.05 * 0.95 / 400)
    assert abs((pvalue <= 0.05).mean() - 0.05) <= tolerances.STANDARD_ERRORS * error
    plain = critical_bandwidth_test(x, random_state=0, replicates=99, calibration="none").pvalue
    assert (plain <= 0.05).mean() < 0.04  # conservative, as the docstring says
    assert (plain >= pvalue - 0.02).mean() > 0.95


def test_power_and_number_of_modes(rng):
    x = rng.normal(size=(300, 10)) + 6 * rng.integers(0, 3, (300, 10))
    pvalues = [
        critical_bandwidth_test(x, modes=k, replicates=99, random_state=1).pvalue for k in (1, 2, 3)
    ]
    assert (pvalues[0] <= 0.02).all()
    assert (pvalues[1] <= 0.02).all()
    assert (pvalues[2] > 0.05).mean() >= 0.7


@settings(max_examples=20)
@given(st.integers(-40, 40), st.booleans(), st.integers(0, 100))
def test_shift_scale_reflection_and_order(power, flip, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=60) + 3 * (rng.random(60) < 0.5)
    scale = (-1 if flip else 1) * 2.0**power
    base = critical_bandwidth_test(x, replicates=9, random_state=0)
    moved = critical_bandwidth_test(rng.permutation(x) * scale, replicates=9, random_state=0)
    shifted = critical_bandwidth_test(x + 3, replicates=9, random_state=0)
    near = {"rel": 2 * tolerances.CRITICAL_BANDWIDTH}
    assert moved.statistic == pytest.approx(base.statistic * abs(scale), **near)
    assert shifted.statistic == pytest.approx(base.statistic, **near)
    if not flip:
        assert moved.pvalue == base.pvalue


def test_columns_axes_and_dtypes(rng):
    x = rng.normal(size=(50, 2, 2)).astype(np.float32)
    x[:4, 0, 1] = np.nan
    got = critical_bandwidth_test(x, replicates=9, random_state=2)
    moved = critical_bandwidth_test(torch.tensor(x.T), axis=-1, replicates=9, random_state=2)
    for j, k in np.ndindex(2, 2):
        column = x[:, j, k][np.isfinite(x[:, j, k])].astype(float)
        alone = critical_bandwidth_test(column, replicates=9, random_state=2)
        np.testing.assert_array_equal([part[j, k] for part in got], alone)
        np.testing.assert_array_equal([part[k, j] for part in moved], alone)


def test_grids_and_outliers(rng):
    x = np.round(2 * rng.normal(size=(3000, 8))) / 2
    spread = critical_bandwidth_test(x, replicates=49, random_state=0)
    atoms = critical_bandwidth_test(x, replicates=49, random_state=0, ties="atoms")
    assert (spread.pvalue > 0.05).mean() >= 0.75
    assert (atoms.pvalue <= 0.05).mean() >= 0.75
    far = np.append(rng.normal(size=300), 1e4)
    inside = critical_bandwidth_test(far, replicates=9)
    line = critical_bandwidth_test(far, replicates=9, interval=(0, 1))
    assert inside.statistic < 1
    assert line.statistic > 1e3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", BAD)
def test_critical_bandwidth_bad_input(case):
    x = np.asarray(BAD[case])
    result = critical_bandwidth_test(x, replicates=9, random_state=0)
    finite = x[np.isfinite(x.astype(float))]
    assert result.n == len(finite)
    if not len(finite):
        assert np.isnan([result.statistic, result.pvalue, result.relative]).all()
    elif np.ptp(finite.astype(float) / 2) == 0:
        assert (result.statistic, result.pvalue) == (0, 1)
        assert np.isnan(result.relative)
    else:
        assert result.statistic > 0
        assert 0.1 <= result.pvalue <= 1


def test_wrong_arguments():
    x = [1.0, 2.0]
    with pytest.raises(InputError, match="interval must be two ascending levels"):
        critical_bandwidth_test(x, interval=(0.9, 0.1))
    with pytest.raises(InputError, match="interval must be two ascending levels"):
        critical_bandwidth_test(x, interval=0.5)
    with pytest.raises(InputError, match="modes must be"):
        critical_bandwidth_test(x, modes=0)
    with pytest.raises(InputError, match="calibration must be one of"):
        critical_bandwidth_test(x, calibration="exact")
