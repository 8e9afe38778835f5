"""Laws that every map obeys, whatever it carries to what."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from distfit_nn import maxent
from distfit_nn.transforms import QuantileMap
from tests import cases, tolerances
from tests.tolerances import KOLMOGOROV, MAXENT_CDF, MAXENT_EQUIVARIANCE
from tests.transforms.laws import SOURCES, TARGETS, Law, law

every_map = pytest.mark.parametrize(
    ("source", "target"), [(source, target) for source in SOURCES for target in TARGETS]
)


def known_to(the: Law) -> np.ndarray:
    """How far rounding moves the points: by the error of their masses, and by their own."""
    size = np.abs(the.points).max()
    return the.mass_error / the.density + 8 * tolerances.eps() * (size + the.scale)


@every_map
@pytest.mark.parametrize("within", ["data", "support"])
def test_increasing(source, target, within):
    the = law(source, target, within=within)
    y = the.map.forward(the.points)
    lower, upper = the.map._target.ends()
    assert (np.diff(y[(y > lower) & (y < upper)]) > 0).all()
    assert (np.diff(y) >= 0).all()
    if within == "support":
        assert (np.diff(y) > 0).all()


@every_map
def test_the_inverse_undoes_it(source, target):
    the = law(source, target)
    back = the.map.inverse(the.map.forward(the.points))
    assert (np.abs(back - the.points) <= known_to(the)).all()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("target", [name for name in TARGETS if name != "cdf and ppf only"])
def test_the_derivative_is_the_limit_of_differences(source, target):
    the = law(source, target, depth=-6)
    h = 1e-4 * the.scale
    if source == "offset":
        h = 1e-2 * the.scale  # at 1e8 a point is known to 1e-8

    def slope(step: float) -> np.ndarray:
        left, right = the.map.forward(the.points - step), the.map.forward(the.points + step)
        return (right - left) / (2 * step)

    coarse, fine = slope(h), slope(h / 2)
    exact = np.exp(the.map.log_derivative(the.points))
    noise = 4 * known_to(the) * exact / h
    # The error of the extrapolated difference is far below the change that halving the step makes.
    assert (np.abs((4 * fine - coarse) / 3 - exact) <= np.abs(fine - coarse) + noise).all()


@pytest.mark.parametrize("within", ["data", "support"])
@pytest.mark.parametrize("target", ["normal", "cauchy", "cdf and ppf only"])
@pytest.mark.parametrize("source", SOURCES)
def test_beyond_the_formula_it_goes_on_and_comes_back(source, target, within):
    the = law(source, target, within=within)
    lower, upper = the.map._knots.at[:, 0]
    width = upper - lower
    far = np.array([-1e3, -1.0, -1e-3]) * width
    points = np.concatenate([lower + far, [lower, upper], upper - far[::-1]])
    y = the.map.forward(points)
    assert np.isfinite(y).all()
    assert (np.diff(y) > 0).all()
    np.testing.assert_allclose(the.map.inverse(y), points, rtol=1e-9, atol=1e-9 * width)


@pytest.mark.parametrize("target", ["uniform", "beta", "density"])
def test_a_target_that_ends_is_not_left(target):
    the = law("exponential", target)
    lower, upper = (float(end) for end in the.map._target.ends())
    y = the.map.forward([-1e9, -np.inf, 1e9, np.inf])
    np.testing.assert_array_equal(y, [lower, lower, upper, upper])
    back = the.map.inverse([lower - 1, lower, upper, upper + 1])
    assert np.isfinite(back).all()
    assert back[0] == back[1] < back[2] == back[3]
    assert (the.map.log_derivative([-1e9, 1e9]) == -np.inf).all()


@every_map
def test_draws_from_the_source_become_draws_from_the_target(source, target, rng):
    the = law(source, target)
    n = 2000
    q = rng.random((n, 1))
    y = the.map.forward(the.map._source.quantile(q, np.zeros((n, 1), bool))[:, 0])
    named = {"normal": stats.norm(), "uniform": stats.uniform()}
    distance = stats.kstest(y, named.get(target, the.map.target).cdf).statistic
    assert distance <= KOLMOGOROV / np.sqrt(n)


@pytest.mark.parametrize("name", ["normal", "uniform", "exponential", "bimodal"])
def test_the_data_themselves_get_about_the_target(name):
    x = cases.column(name, 1000)
    y = QuantileMap.fit(x).forward(x)
    assert stats.kstest(y, "norm").statistic < 0.05  # six moments know a column no better


@given(
    scale=st.floats(1e-3, 1e3),
    sign=st.sampled_from([-1.0, 1.0]),
    shift=st.floats(-1e3, 1e3),
    name=st.sampled_from(cases.WELL_CONDITIONED),
)
@settings(max_examples=20)
def test_shift_and_scale_of_the_input_change_nothing(scale, sign, shift, name):
    x = cases.column(name, 100)
    t = np.quantile(x, [0.02, 0.1, 0.5, 0.9, 0.98])
    one = QuantileMap.fit(x, 4).forward(t)
    two = QuantileMap.fit(sign * scale * x + shift * scale, 4).forward(
        sign * scale * t + shift * scale
    )
    np.testing.assert_allclose(
        stats.norm.cdf(sign * two), stats.norm.cdf(one), rtol=0, atol=MAXENT_EQUIVARIANCE
    )


@pytest.mark.parametrize("target", TARGETS)
def test_columns_know_nothing_of_each_other(target):
    x = np.stack([cases.column(name, 200) for name in ("normal", "post_relu", "bimodal")], axis=1)
    x[:, 1] = x[0, 1]  # no density
    both = QuantileMap.fit(x, 4, target=TARGETS[target]())
    y = both.forward(x)
    for j in range(3):
        alone = QuantileMap.fit(x[:, j], 4, target=TARGETS[target]())
        np.testing.assert_allclose(alone.forward(x[:, j]), y[:, j], rtol=1e-9, atol=MAXENT_CDF)
        np.testing.assert_allclose(alone.inverse(y[:, j]), both.inverse(y)[:, j], rtol=1e-9)


def test_maps_compose():
    first, second = maxent.fit(cases.column("bimodal"), 4), maxent.fit(cases.column("uniform"), 4)
    t = np.quantile(cases.column("bimodal"), np.linspace(0.01, 0.99, 33))
    middle = QuantileMap(first, second).forward(t)
    direct = QuantileMap(first).forward(t)
    np.testing.assert_allclose(QuantileMap(second).forward(middle), direct, atol=1e-11)
    np.testing.assert_allclose(QuantileMap(second, first).forward(middle), t, atol=1e-11)
    sums = QuantileMap(first, second).log_derivative(t) + QuantileMap(second).log_derivative(middle)
    np.testing.assert_allclose(sums, QuantileMap(first).log_derivative(t), atol=1e-10)
