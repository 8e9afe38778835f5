"""The transport itself: exact in both tails, what it does outside, and what it refuses."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import stats

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.maxent import Density, Status
from distfit_nn.transforms import QuantileMap, quantile_match
from distfit_nn.transforms.knots import END_SHARE
from tests import cases
from tests.test_imports import loaded_after
from tests.tolerances import AFFINE, MAXENT_CDF, TRANSPORT_EXACT_TAIL
from tests.transforms.laws import Logistic, bumps

DEEP = [1e-250, 1e-100, 1e-30, 1e-16, 1e-6, 0.2, 0.5]


class Exact:
    """Tail masses of a one-column density, and their normal scores, in 40 digits."""

    def __init__(self, density: Density) -> None:
        k, solution = density.order, density.solution
        scaled = solution.coefficients[:, 0] + solution.coefficients_low[:, 0]
        h = scaled / np.sqrt([float(math.factorial(i)) for i in range(1, k + 1)])
        self.multipliers = [mp.mpf(v) for v in np.polynomial.hermite_e.herme2poly([0.0, *h])]
        self.loc, self.scale = mp.mpf(float(density.loc[0])), mp.mpf(float(density.scale[0]))
        self.lower, self.upper = mp.mpf(solution.lower[0]), mp.mpf(solution.upper[0])
        self.total = self._integral(self.lower, self.upper)

    def _integral(self, left: mp.mpf, right: mp.mpf) -> mp.mpf:
        # Panels that halve towards both ends: the integrand may fall by hundreds of powers of ten.
        steps = [mp.mpf(2) ** -i for i in range(12, 0, -1)]
        shares = [0, *steps, *(1 - s for s in steps[-2::-1]), 1]
        points = [left + (right - left) * s for s in shares]
        return mp.quad(lambda z: mp.exp(mp.polyval(self.multipliers[::-1], z)), points)

    def score(self, x: float, upper: bool) -> float:
        """Return the normal score of x, from the tail named."""
        z = (mp.mpf(float(x)) - self.loc) / self.scale
        ends = (z, self.upper) if upper else (self.lower, z)
        q = self._integral(*ends) / self.total
        start = -math.sqrt(-2 * float(mp.log(q))) if q < 0.1 else -0.5
        y = mp.findroot(lambda t: mp.log(mp.ncdf(t)) - mp.log(q), start)
        return float(-y if upper else y)


@pytest.mark.parametrize(
    ("moments", "support"),
    [
        ([0.0, 1.0], (-40.0, 40.0)),
        ([0.3, 0.6], (-25.0, 30.0)),
        ([0.1, 1.0, 0.2, 2.4], (-12.0, 12.0)),
        ([0.0, 1.0, 0.0, 2.2, 0.0, 6.4], (-9.0, 9.0)),
        ([0.0, 1.0, 0.0, 2.2, 0.0, 7.0], (-9.0, 9.0)),  # its tails rise again at the ends
    ],
)
def test_both_tails_against_forty_digits(moments, support):
    with mp.workdps(40):
        density = maxent.fit_moments(moments, support)
        exact, to_normal = Exact(density), QuantileMap(density)
        for upper, quantile in ((False, density.ppf), (True, density.isf)):
            points = quantile(np.array(DEEP))
            for x in points[np.abs(points) < support[1] * (1 - 2 * END_SHARE)]:
                score = exact.score(x, upper)
                close = TRANSPORT_EXACT_TAIL * max(1.0, abs(score))
                assert abs(to_normal.forward(x) - score) <= close, (x, upper)
                assert abs(to_normal.inverse(score) - x) <= close * max(1.0, abs(x)), (x, upper)


def test_a_normal_column_stays_itself_in_both_tails():
    density = maxent.fit_moments([0.0, 1.0], (-40.0, 40.0))
    t = np.linspace(-37, 37, 149)
    np.testing.assert_allclose(QuantileMap(density).forward(t), t, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("outside", ["extrapolate", "clip", "exact"])
def test_outside_the_support(outside):
    x = np.append(cases.column("uniform", 500), [0.0, 1.0])
    to_normal = QuantileMap.fit(x, 4, "data", outside=outside)
    t = np.array([-np.inf, -9.0, -1.0, 0.0, 0.5, 1.0, 2.0, 9.0, np.inf])
    y = to_normal.forward(t)
    if outside == "exact":
        assert (y[:4] == -np.inf).all()
        assert (y[5:] == np.inf).all()
        np.testing.assert_array_equal(to_normal.inverse([-np.inf, np.inf]), [0.0, 1.0])
        assert (to_normal.log_derivative([-1.0, 2.0]) == -np.inf).all()
    elif outside == "clip":
        assert (y[:4] == y[0]).all()
        assert (y[5:] == y[5]).all()
        assert (np.abs(y) < 6).all()
        np.testing.assert_allclose(to_normal.inverse(t), np.clip(to_normal.inverse(t), 0, 1))
        assert (to_normal.log_derivative([-1.0, 2.0]) == -np.inf).all()
    else:
        assert (np.diff(y) > 0).all()
        assert (np.abs(y[3:6]) < 6).all()  # the data, ends of the support among them, stay moderate
        np.testing.assert_allclose(to_normal.inverse(y), t, atol=1e-12)
        assert np.isfinite(to_normal.log_derivative(t)).all()


def test_the_formula_holds_in_the_range_of_the_data_or_in_the_support():
    x = cases.column("exponential")
    seen, supported = QuantileMap.fit(x, 4, within="data"), QuantileMap.fit(x, 4)
    np.testing.assert_array_equal(seen.forward(x), supported.forward(x))
    beyond = np.linspace(x.max() + 0.1, seen.source.support()[1] - 0.1, 20)
    exact = QuantileMap.fit(x, 4, outside="exact").forward(beyond)
    scores = [norm_score(seen.source, t) for t in beyond]
    np.testing.assert_allclose(exact, scores, rtol=1e-9)
    np.testing.assert_array_equal(supported.forward(beyond), exact)
    assert (seen.forward(beyond) < exact).all()  # a density of order 4 decays faster than a line
    slope = (seen.forward(x.max())) / (x.max() - seen.source.ppf(0.5))
    np.testing.assert_allclose(np.diff(seen.forward(beyond)) / np.diff(beyond), slope, rtol=1e-9)
    np.testing.assert_allclose(seen.log_derivative(beyond), np.log(slope), rtol=1e-9)
    flat = QuantileMap.fit(x, 4, within="data", outside="clip")
    np.testing.assert_allclose(flat.forward(beyond), flat.forward(x.max()), rtol=1e-12)
    assert (flat.log_derivative(beyond) == -np.inf).all()


def norm_score(density: Density, t: float) -> float:
    return float(stats.norm.isf(density.sf(t)))


def test_columns_without_a_density_are_standardised():
    x = np.stack(
        [cases.distinct(2, 200), cases.distinct(3, 200) * 1e160, np.full(200, 0.1)], axis=1
    )
    to_normal = QuantileMap.fit(x, 6)
    assert (to_normal.source.status == Status.DEGENERATE).all()
    t = np.array([[-70.0, -1e162, 0.1], [0.25, 3e160, 5.0], [1e3, 1e165, -7.0]])
    scale = np.array([x[:, 0].std(), (x[:, 1] / 1e160).std() * 1e160, 1.0])
    expected = (t - x.mean(axis=0)) / scale
    np.testing.assert_allclose(to_normal.forward(t), expected, rtol=AFFINE, atol=AFFINE)
    np.testing.assert_allclose(to_normal.inverse(expected), t, rtol=AFFINE, atol=AFFINE)
    slopes = np.broadcast_to(-np.log(scale), t.shape)
    np.testing.assert_allclose(to_normal.log_derivative(t), slopes, rtol=1e-11, atol=1e-11)
    assert (to_normal.forward(x)[:, 2] == 0).all()
    middle = QuantileMap.fit(x, 6, target=stats.gamma(2.0)).forward(x)[:, 2]
    np.testing.assert_allclose(middle, stats.gamma(2.0).median())


def test_a_regularised_column_counts_as_normal():
    x = np.stack([cases.column("exponential", 200)] * 2, axis=1)
    density = maxent.fit(x, 4)
    status = np.array([Status.OK, Status.REGULARISED], np.int8)
    mixed = Density(replace(density.solution, status=status), density.loc, density.scale)
    y, whole = QuantileMap(mixed).forward(x), QuantileMap(density).forward(x)
    np.testing.assert_array_equal(y[:, 0], whole[:, 0])
    np.testing.assert_allclose(y[:, 1], (x[:, 1] - x[:, 1].mean()) / x[:, 1].std(), rtol=1e-12)
    far = x[:, 1].mean() - np.array([2.0, 8.0, 20.0]) * x[:, 1].std()
    for within in ("data", "support"):  # neither ends a normal distribution
        y = QuantileMap(mixed, "uniform", within=within).forward(far)[:, 1]
        np.testing.assert_allclose(y, stats.norm.cdf([-2.0, -8.0, -20.0]), rtol=1e-11)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e-310, 1e17 / 3, 1e300, -1.7e308])
def test_a_constant_goes_to_zero(value):
    for n in (1, 2, 7):
        y = quantile_match(np.full(n, value))
        assert (y == 0).all()


def test_rounding_is_no_spread():
    x = np.array([0.3, 0.1 + 0.2] * 10)
    assert (np.abs(quantile_match(x)) < 1e-15).all()


@pytest.mark.parametrize("outside", ["extrapolate", "clip"])
def test_ends_of_the_support_far_from_zero(outside):
    x = 1e12 + np.append(cases.column("uniform", 300), [0.0, 1.0])  # a millionth is below rounding
    y = QuantileMap.fit(x, 4, "data", outside=outside).forward(x)
    assert (np.abs(y) < 10).all()


def test_numbers_at_the_end_of_float64():
    x = np.append(cases.column("uniform", 300), [-1.0, 1.0]) * 1.7e308
    y = QuantileMap.fit(x, 2).forward([-np.inf, -1e308, 1e308, np.inf])
    assert (np.isfinite(y) == [False, True, True, False]).all()
    assert (np.diff(y) > 0).all()


def test_data_on_one_side_of_the_median():
    density = maxent.fit(cases.column("exponential"), 4)
    moved = replace(density.solution, data_lower=np.array([1.0]))  # above the median
    to_normal = QuantileMap(Density(moved, density.loc, density.scale), within="data")
    middle, at = density.ppf(0.5), to_normal._knots.at[0, 0]
    assert at > middle
    slope = np.exp(to_normal.log_derivative([at - 1.0])[0, 0])
    assert slope == pytest.approx(to_normal.forward([at])[0, 0] / (at - middle))
    assert (np.diff(to_normal.forward(np.linspace(-5, 5, 101))[:, 0]) > 0).all()


def test_nan_stays_nan_and_spoils_nothing(rng):
    x = rng.normal(size=(50, 3))
    x[3, 1], x[4, 2] = np.nan, np.inf
    y = quantile_match(x, 4)
    assert np.isnan(y[:, 1:]).all()
    np.testing.assert_allclose(y[:, 0], quantile_match(x[:, 0], 4), atol=MAXENT_CDF)
    to_normal = QuantileMap.fit(x, 4, nan_policy="omit")
    y = to_normal.forward(x)
    assert np.isnan(y).sum() == 1
    assert np.isnan(y[3, 1])
    assert y[4, 2] == np.inf
    finite = np.isfinite(x)
    np.testing.assert_allclose(to_normal.inverse(y)[finite], x[finite], atol=1e-12)
    assert np.isnan(to_normal.log_derivative([np.nan])).all()


@pytest.mark.parametrize("name", cases.COLUMNS)
@pytest.mark.parametrize("support", ["data", 3.0])
def test_every_case_gives_finite_scores_and_comes_back(name, support):
    x = cases.column(name, 100)
    to_normal = QuantileMap.fit(x, 6, support)
    y = to_normal.forward(np.sort(x))
    assert np.isfinite(y).all()
    assert (np.diff(y) >= -1e-9).all()
    back = to_normal.inverse(to_normal.forward(x))
    np.testing.assert_allclose(back, x, rtol=1e-9, atol=1e-9 * np.std(x / 2**500) * 2**500)


def test_shapes():
    one, two = cases.column("normal", 50), np.stack([cases.column("normal", 50)] * 2, axis=1)
    single, pair = QuantileMap.fit(one, 2), QuantileMap.fit(two, 2)
    for method in ("forward", "inverse", "log_derivative"):
        assert np.ndim(getattr(single, method)(0.5)) == 0
        assert getattr(single, method)(np.zeros((2, 3, 4))).shape == (2, 3, 4)
        assert getattr(pair, method)(0.5).shape == (2,)
        assert getattr(pair, method)(np.zeros(5)).shape == (5, 2)
        assert getattr(pair, method)(np.zeros((0, 2))).shape == (0, 2)
        with pytest.raises(InputError, match=r"shape \(m,\) or \(m, 2\)"):
            getattr(pair, method)(np.zeros((5, 3)))
    assert quantile_match(one.astype(np.float32), 2).dtype == np.float64


def test_a_target_may_be_one_distribution_for_each_column():
    x = np.stack([cases.column("normal", 100), cases.column("bimodal", 100)], axis=1)
    laws = stats.norm([0.0, 5.0], [1.0, 2.0])
    y = QuantileMap.fit(x, 4, target=laws).forward(x)
    scores = QuantileMap.fit(x, 4).forward(x)
    np.testing.assert_allclose(y, scores * [1.0, 2.0] + [0.0, 5.0], rtol=1e-12, atol=1e-12)
    fitted = maxent.fit(x[:, ::-1], 4)
    y = QuantileMap.fit(x, 4, target=fitted).forward(x)
    np.testing.assert_allclose(QuantileMap(fitted).forward(y), scores, atol=1e-9)


def test_between_two_scipy_distributions():
    to_normal = QuantileMap(stats.expon(), stats.norm())
    q = np.array([1e-200, 1e-3, 0.5])
    np.testing.assert_allclose(to_normal.forward(stats.expon.isf(q)), stats.norm.isf(q), rtol=1e-12)
    newer = QuantileMap(stats.expon(), stats.Normal(mu=1.0, sigma=2.0))
    np.testing.assert_allclose(newer.forward([0.1, 9.0]), 1 + 2 * to_normal.forward([0.1, 9.0]))
    counts = QuantileMap(stats.poisson(3.0)).forward(np.arange(60))
    assert np.isfinite(counts).all()
    assert (np.diff(counts) > 0).all()
    many = QuantileMap(stats.expon(scale=[1.0, 2.0]))
    assert many.columns == 2
    np.testing.assert_allclose(many.forward([[1.0, 2.0]])[0, 0], many.forward([[1.0, 2.0]])[0, 1])


def test_the_optimal_map_is_the_cheapest(rng):
    x = cases.column("exponential", 300)
    y = QuantileMap.fit(x, 4).forward(x)
    cost = np.square(y - x).sum()
    for _ in range(20):
        assert cost <= np.square(rng.permutation(y) - x).sum()


def test_a_pickle_and_its_original_agree():
    x = cases.column("bimodal")
    for target in ("normal", "uniform", stats.gamma(2.0), bumps()):
        one = QuantileMap.fit(x, 4, target=target)
        two = pickle.loads(pickle.dumps(one))  # noqa: S301
        np.testing.assert_array_equal(two.forward(x), one.forward(x))


class NoQuantiles:
    def cdf(self, t):
        return t


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        (lambda: "gaussian", 'must be "normal", "uniform" or a distribution'),
        (lambda: None, "with cdf and ppf"),
        (NoQuantiles, "with cdf and ppf"),
        (lambda: stats.norm(0, -1), "finite quantiles"),
        (lambda: stats.gamma, "cdf and ppf of NumPy arrays"),
        (lambda: stats.norm([0, 1, 2]), "one distribution, or 2"),
        (lambda: maxent.fit(np.zeros((5, 2))), "column 0 is DEGENERATE"),
    ],
)
def test_targets_that_are_none(target, rule):
    x = np.stack([cases.column("normal", 50)] * 2, axis=1)
    with pytest.raises(InputError, match=rule):
        QuantileMap.fit(x, 2, target=target())


def test_what_else_is_refused():
    x = cases.column("normal", 50)
    with pytest.raises(InputError, match="outside must be one of"):
        QuantileMap.fit(x, 2, outside="wrap")
    with pytest.raises(InputError, match="within must be one of"):
        QuantileMap.fit(x, 2, within="range")
    with pytest.raises(InputError, match="source must be"):
        QuantileMap(x)
    with pytest.raises(InputError, match=r"source must be of shape \(\) or \(d,\)"):
        QuantileMap(stats.norm(np.zeros((2, 2))))
    with pytest.raises(InputError, match="source must have finite quantiles"):
        QuantileMap(stats.norm(0, -1))
    with pytest.raises(InputError, match=r"scale must have shape \(1,\)"):
        QuantileMap(maxent.fit(x, 2), scale=[1.0, 2.0])
    with pytest.raises(InputError, match="target must have logpdf or pdf"):
        QuantileMap.fit(x, 2, target=Logistic()).log_derivative(x)
    with pytest.raises(InputError, match="real numbers"):
        quantile_match(["a", "b"])


def test_tensors_get_the_same_scores():
    x = np.stack([cases.column("exponential", 200), cases.distinct(2, 200)], axis=1)
    for target in ("normal", "uniform", stats.gamma(3.0)):
        y = quantile_match(torch.tensor(x), 4, target)
        assert isinstance(y, torch.Tensor)
        np.testing.assert_allclose(y.numpy(), quantile_match(x, 4, target), atol=1e-9)


def test_a_map_of_arrays_takes_a_tensor_as_one():
    x = np.stack([cases.column("exponential", 50), cases.distinct(2, 50)], axis=1)
    for values in (x, x[:, 0]):
        from_tensor = QuantileMap.fit(torch.tensor(values), 4)
        np.testing.assert_array_equal(
            from_tensor.forward(torch.tensor(values)), QuantileMap.fit(values, 4).forward(values)
        )


def test_arrays_need_neither_torch_nor_scikit_learn():
    assert loaded_after("import distfit_nn as dn; dn.transforms; dir(dn.transforms)") == set()
    code = "import distfit_nn as dn, numpy as np; dn.transforms.quantile_match(np.arange(9.0), 2)"
    assert not {"torch", "sklearn", "pandas"} & loaded_after(code)


def test_the_face_lists_what_it_has():
    from distfit_nn import transforms

    assert sorted(transforms.__all__) == transforms.__all__ == dir(transforms)
    with pytest.raises(AttributeError, match="nonsense"):
        transforms.nonsense  # noqa: B018
