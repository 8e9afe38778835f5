"""Modes of each column, from a kernel estimate and from a maximum-entropy density."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import find_peaks
from scipy.stats import gaussian_kde

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.maxent.modes import MODE
from distfit_nn.stats.bimodality.atoms import atoms
from distfit_nn.stats.bimodality.bandwidths import bandwidth_of
from distfit_nn.stats.bimodality.modes import find_modes
from tests import tolerances


def two_modes(rng, n=2000):
    return np.where(rng.random(n) < 0.6, rng.normal(0, 1, n), rng.normal(6, 0.5, n))


def assert_same(got, want):
    assert got.dtype == want.dtype
    for name in got.dtype.names:
        np.testing.assert_allclose(got[name], want[name], rtol=tolerances.MAXENT_AGREEMENT)


def direct(x, h, t):
    z = (t[:, None] - x) / h
    return np.exp(-(z**2) / 2).sum(axis=1) / (len(x) * h * np.sqrt(2 * np.pi))


def test_against_direct_sums(rng):
    x, h = two_modes(rng, 500), 0.35
    found = find_modes(x, bandwidth=h)
    t = np.linspace(x.min() - 3, x.max() + 3, 20_001)
    curve = direct(x, h, t)
    peaks = find_peaks(curve, prominence=0.05)[0]
    valley = peaks[0] + curve[peaks[0] : peaks[1]].argmin()
    near = tolerances.MODE_OF_GRID
    np.testing.assert_allclose(found["position"], t[peaks], atol=near * h * 4)
    np.testing.assert_allclose(found["height"], curve[peaks], rtol=near)
    assert found["valley"][0] == pytest.approx(t[valley], abs=h / 8)
    assert found["valley_height"][0] == pytest.approx(curve[valley], abs=near * curve.max())
    bases = np.where(curve[peaks] == curve[peaks].max(), 0, curve[valley])
    np.testing.assert_allclose(found["prominence"], curve[peaks] - bases, atol=near * curve.max())
    for mode, peak, base in zip(found, peaks, bases, strict=True):
        above = curve >= (curve[peak] + base) / 2
        left, right = peak, peak
        while above[left - 1]:
            left -= 1
        while above[right + 1]:
            right += 1
        assert mode["width"] == pytest.approx(t[right] - t[left], rel=2 * near)
    assert np.isnan(found["valley"][1])
    assert found.dtype == MODE


def test_width_of_one_normal_mode_is_its_full_width_at_half_maximum(rng):
    x = np.sort(rng.normal(3, 2, 20_000))
    mode = find_modes(x, bandwidth=0.5)
    assert len(mode) == 1
    want = 2 * np.sqrt(2 * np.log(2)) * np.hypot(x.std(), 0.5)
    assert mode["width"][0] == pytest.approx(want, rel=tolerances.WIDTH_OF_SAMPLE)


@pytest.mark.parametrize("rule", ["scott", "silverman"])
def test_normal_rules(rng, rule):
    x = np.sort(rng.normal(size=400))
    factor = gaussian_kde(x, rule).factor
    spread = min(x.std(ddof=1), np.subtract(*np.quantile(x, [0.75, 0.25])) / 1.349)
    constant = {"scott": 1.059, "silverman": 0.9 / (4 / 3) ** 0.2}[rule]
    assert bandwidth_of(x, rule) == pytest.approx(constant * factor * spread)


def test_improved_rule_sees_the_scale_of_each_mode(rng):
    n = 20_000
    best = (4 / 3 / n) ** 0.2  # of a normal law, in standard deviations
    assert bandwidth_of(np.sort(rng.normal(size=n)), "isj") == pytest.approx(
        best, rel=tolerances.IMPROVED_BANDWIDTH
    )
    far = np.sort(rng.normal(size=n) + 50 * (rng.random(n) < 0.5))
    assert bandwidth_of(far, "isj") == pytest.approx(
        best * 2**0.2, rel=tolerances.IMPROVED_BANDWIDTH
    )
    assert bandwidth_of(far, "silverman") > 3


def test_noise_makes_no_modes(rng):
    for x in (rng.normal(size=(500, 60)), rng.standard_t(3, (500, 60)), rng.random((500, 60))):
        found = find_modes(x)
        assert np.mean([len(modes) > 1 for modes in found]) <= 0.1
        assert min(len(modes) for modes in found) == 1
    all_bumps = find_modes(rng.standard_t(3, (500, 20)), significance=0)
    assert np.mean([len(modes) > 1 for modes in all_bumps]) > 0.9


@pytest.mark.parametrize("method", ["kde", "maxent"])
def test_two_modes_are_found(rng, method):
    found = find_modes(two_modes(rng), method=method)
    assert len(found) == 2
    np.testing.assert_allclose(found["position"], [0, 6], atol=tolerances.MODE_OF_SAMPLE)
    assert 1.5 < found["valley"][0] < 5
    assert found["valley_height"][0] < found["height"].min() / 3


def test_maxent_is_the_densitys_own(rng):
    x = two_modes(rng, 300)
    assert_same(find_modes(x, method="maxent"), maxent.fit(x, 6).modes())


@given(st.integers(-200, 200), st.floats(-3, 3))
def test_shift_and_scale(power, shift):
    x = two_modes(np.random.default_rng(8), 300)
    scale = 2.0**power
    base, moved = find_modes(x), find_modes((x + shift) * scale)
    assert len(base) == len(moved)
    near = 2 * tolerances.MODE_OF_GRID
    np.testing.assert_allclose(moved["position"] / scale - shift, base["position"], atol=near)
    np.testing.assert_allclose(moved["height"] * scale, base["height"], rtol=near)


def test_shapes_axes_and_dtypes(rng):
    x = rng.normal(size=(80, 2, 3)).astype(np.float32)
    x[:5, 1, 1] = np.nan
    found = find_modes(x)
    moved = find_modes(torch.tensor(np.moveaxis(x, 0, 2)), axis=-1)
    assert isinstance(found, list)
    assert len(found) == 6
    for k, (a, b) in enumerate(zip(found, moved, strict=True)):
        assert_same(a, b)
        column = x.reshape(80, 6)[:, k]
        assert_same(a, find_modes(column[np.isfinite(column)]))
    assert isinstance(find_modes(x, axis=None), np.ndarray)


def test_atoms_are_left_out(rng):
    x = np.maximum(rng.normal(1, 1, 4000), 0)
    apart = atoms(x).share  # all zeros but one: no value near it has more copies
    assert apart == np.mean(x == 0) - 1 / len(x)
    (mode,) = find_modes(x)
    rest = find_modes(np.append(x[x > 0], 0.0))
    assert mode["height"] == pytest.approx(rest["height"][0] * (1 - apart))
    assert mode["position"] == pytest.approx(1, abs=tolerances.MODE_OF_SAMPLE)


def test_a_grid_has_neither_atoms_nor_modes_of_its_own(rng):
    x = np.round(4 * rng.normal(size=(2000, 20))) / 4
    assert atoms(x).number.sum() == 0
    assert np.mean([len(modes) == 1 for modes in find_modes(x)]) >= 0.9
    assert len(find_modes(np.round(4 * two_modes(rng)) / 4)) == 2


def test_a_far_outlier_leaves_the_modes_where_they_are(rng):
    x = two_modes(rng)
    far = find_modes(np.append(x, 1e9))
    np.testing.assert_allclose(
        far["position"], find_modes(x)["position"], atol=tolerances.MODE_OF_SAMPLE
    )


BAD = {
    "none": ([], 0),
    "one": ([1.0], 0),
    "two": ([1.0, 2.0], 0),
    "equal": ([3.0] * 50, 0),
    "two distinct": ([0.0] * 25 + [1.0] * 25, 0),
    "nan": ([np.nan] * 10, 0),
    "inf": ([np.inf, -np.inf, *np.linspace(-1, 1, 20) ** 3], 1),
    "ints": (np.arange(20), 1),
    "float16": (np.linspace(6e4, 6.5e4, 30).astype(np.float16), 1),
    "huge": (np.linspace(-1, 1, 30) ** 3 * 1e300, 1),
    "largest": (np.linspace(-1, 1, 30) ** 3 * 1.7e308, 1),
    "tiny": (np.linspace(-1, 1, 30) ** 3 * 1e-320, 1),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", BAD)
def test_modes_bad_input(case):
    x, modes = BAD[case]
    assert len(find_modes(np.asarray(x))) == modes
    assert (len(find_modes(np.asarray(x), method="maxent")) > 0) <= (modes > 0)


def test_wrong_arguments():
    x = [1.0, 2.0, 4.0]
    with pytest.raises(InputError, match="method must be one of 'kde', 'maxent', got 'knn'"):
        find_modes(x, method="knn")
    with pytest.raises(InputError, match="bandwidth must be one of"):
        find_modes(x, bandwidth="best")
    with pytest.raises(InputError, match="bandwidth must be a number above 0"):
        find_modes(x, bandwidth=0)
    with pytest.raises(InputError, match="significance must be a number from 0"):
        find_modes(x, significance=-1)
    with pytest.raises(InputError, match="axis"):
        find_modes(x, axis=1)
