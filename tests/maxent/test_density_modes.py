"""Modes: every maximum is found, measured as SciPy measures peaks, and no rise at an end is one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from distfit_nn.maxent import Density, fit
from tests import cases
from tests.maxent.handmade import density_of, from_powers, quick_density, shifted
from tests.tolerances import FEW_ROUNDINGS, MODE_POSITION, TABLE


def dense_grid(density: Density, count: int = 200_001) -> tuple[np.ndarray, np.ndarray]:
    a, b = density.support()
    x = np.linspace(a, b, count)
    return x, density.pdf(x)


def from_roots(roots: list[float], height: float) -> Density:
    """log p whose slope has these roots, and that comes down at the ends."""
    slope = -height * np.polynomial.polynomial.polyfromroots(roots)
    return quick_density(list(np.polynomial.polynomial.polyint(slope)), -2.0, 2.0)


def test_the_mode_of_a_normal() -> None:
    density = density_of(from_powers([0, 0, -0.5], -12, 12), 3.0, 2.0)
    (mode,) = density.modes()
    assert mode["position"] == pytest.approx(3.0, abs=FEW_ROUNDINGS)
    height = 1 / math.sqrt(8 * math.pi)
    assert mode["height"] == pytest.approx(height, rel=TABLE)
    assert mode["prominence"] == pytest.approx(height, rel=TABLE)
    assert mode["width"] == pytest.approx(4 * math.sqrt(2 * math.log(2)), rel=1e-12)
    assert np.isnan([mode["valley"], mode["valley_height"]]).all()
    assert not mode["at_boundary"]


@given(
    st.lists(st.floats(-1.8, 1.8), min_size=1, max_size=11, unique_by=lambda v: round(v, 1)),
    st.floats(0.5, 200.0),
)
@settings(max_examples=60)
def test_modes_are_the_peaks_of_a_dense_grid(roots: list[float], height: float) -> None:
    density = from_roots(sorted(roots), height)
    x, p = dense_grid(density)
    peaks = signal.find_peaks(p, prominence=1e-6 * p.max())[0]
    modes = density.modes()
    plain = modes[(modes["prominence"] > 1e-6 * p.max()) & ~modes["at_boundary"]]
    np.testing.assert_allclose(plain["position"], x[peaks], atol=3e-5)
    # The grid misses a peak by up to half a step, and its height by the square of step over width.
    missed = float(np.max((x[1] - x[0]) / plain["width"], initial=0.0)) ** 2
    np.testing.assert_allclose(plain["height"], p[peaks], rtol=1e-6 + missed)
    prominences = signal.peak_prominences(p, peaks)
    np.testing.assert_allclose(plain["prominence"], prominences[0], atol=1e-5 * p.max())
    clear = prominences[0] > 1e-2 * p.max()
    widths = signal.peak_widths(p, peaks, prominence_data=prominences)[0] * (x[1] - x[0])
    np.testing.assert_allclose(plain["width"][clear], widths[clear], rtol=1e-2)
    if len(plain) == len(modes):
        for left, right, mode in zip(peaks[:-1], peaks[1:], modes[:-1], strict=True):
            lowest = left + np.argmin(p[left:right])
            assert mode["valley_height"] == pytest.approx(p[lowest], rel=1e-5)
            if p[lowest] > 0:
                assert mode["valley"] == pytest.approx(x[lowest], abs=1e-3)


def test_a_valley_lies_between_its_modes() -> None:
    density = fit(cases.column("bimodal"), 6)
    one, two = density.modes()
    assert one["position"] < one["valley"] < two["position"]
    assert one["valley_height"] == pytest.approx(density.pdf(one["valley"]), rel=TABLE)
    assert one["valley_height"] < min(one["height"], two["height"])
    for mode in (one, two):
        beside = density.pdf(mode["position"] + MODE_POSITION * np.array([-1.0, 0.0, 1.0]))
        assert beside[1] >= beside.max() * (1 - FEW_ROUNDINGS)
    assert one["prominence"] == pytest.approx(one["height"] - one["valley_height"]) or (
        two["prominence"] == pytest.approx(two["height"] - two["valley_height"])
    )


@pytest.mark.parametrize("width", [1e-3, 1e-5, 1e-7])
def test_narrow_spikes_are_found(width: float) -> None:
    exact = from_powers(shifted([0, 0, -0.5], 0.3, width), -3, 3, 0.3)
    (mode,) = density_of(exact).modes()
    assert mode["position"] == pytest.approx(0.3, abs=1e-3 * width)
    assert mode["width"] == pytest.approx(2 * width * math.sqrt(2 * math.log(2)), rel=1e-6)


def test_a_rise_at_an_end_of_the_support_is_no_mode() -> None:
    density = density_of(from_powers([0, 0, 1.0], -1, 2))
    assert len(density.modes()) == 0
    heavy = fit(cases.column("t3"), 4, 5.0)
    a, b = heavy.support()
    assert heavy.pdf(a) > heavy.pdf(a + 0.1 * (b - a))
    assert not heavy.modes()["at_boundary"].any()
    assert len(heavy.modes()) == 1


def test_a_maximum_where_the_data_end_counts() -> None:
    density = fit(cases.column("u_shaped"), 2, "data")
    one, two = density.modes()
    assert one["at_boundary"]
    assert two["at_boundary"]
    assert (one["position"], two["position"]) == pytest.approx(density.support())
    assert one["height"] == pytest.approx(density.pdf(density.support()[0]), rel=TABLE)
    assert 0 < one["valley"] < 1
    (only,) = fit(cases.column("exponential"), 2, "data").modes()
    assert only["at_boundary"]
    assert only["prominence"] < only["height"]


def test_flat_densities_have_no_modes() -> None:
    assert len(density_of(from_powers([0, 0, 0], -1, 3)).modes()) == 0
    assert len(density_of(from_powers([0, 1e-12, -1e-12], -1, 1)).modes()) == 0


def test_roots_that_only_touch_are_no_modes() -> None:
    """A point of inflection with a horizontal tangent, and a maximum of fourth order."""
    density = density_of(from_powers([0, 0, 0, 1.0, -0.75], -2, 3))  # slope 3 z^2 (1 - z)
    (mode,) = density.modes()
    assert mode["position"] == pytest.approx(1.0, abs=MODE_POSITION)
    (flat,) = density_of(from_powers([0, 0, 0, 0, -1.0], -2, 2)).modes()
    assert flat["position"] == pytest.approx(0.0, abs=1e-3)


def test_modes_of_many_columns() -> None:
    x = np.stack([cases.column(n, 200) for n in ("normal", "bimodal", "trimodal")], axis=1)
    density = fit(np.column_stack([x, np.ones(200)]), 6)
    modes = density.modes()
    assert [len(m) for m in modes] == [1, 2, 3, 0]
    for name in modes[1].dtype.names:
        np.testing.assert_array_equal(modes[1][name], density[1].modes()[name])
    assert modes[1].dtype.names == (
        "position",
        "height",
        "prominence",
        "width",
        "valley",
        "valley_height",
        "at_boundary",
    )


@given(st.sampled_from(["bimodal", "trimodal", "exponential"]), st.floats(-3, 3), st.booleans())
@settings(max_examples=20)
def test_modes_follow_shift_and_scale(name: str, log_a: float, mirrored: bool) -> None:
    x = cases.column(name, 200)
    a = 10.0**log_a * (-1 if mirrored else 1)
    plain, moved = fit(x, 6).modes(), fit(a * x + 3 * a, 6).modes()
    moved = moved[::-1] if mirrored else moved
    np.testing.assert_allclose(moved["position"] / a - 3, plain["position"], atol=1e-5)
    np.testing.assert_allclose(moved["height"] * abs(a), plain["height"], rtol=1e-6)
    np.testing.assert_allclose(moved["prominence"] * abs(a), plain["prominence"], rtol=1e-6)
    np.testing.assert_allclose(moved["width"] / abs(a), plain["width"], rtol=1e-5)
