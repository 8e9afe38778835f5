"""Arguments that break a rule: the error names the rule and the value, whatever the statistic."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch

from distfit_nn import maxent, stats
from distfit_nn.errors import InputError
from tests import tolerances
from tests.stats.faces import NORMAL, STATISTICS, call

NOT_NUMBERS: dict[str, Any] = {
    "text": "normal",
    "texts": ["a", "b"],
    "objects": np.array([1.0, None]),
    "complex": np.array([1.0 + 2j, 0.5]),
    "dates": np.array(["2017-05-10"], "datetime64[D]"),
    "masked": np.ma.masked_array([1.0, 2.0], [True, False]),
    "ragged": [[1.0], [2.0, 3.0]],
    "a number": 3.0,
    "None": None,
    "sparse": torch.ones(3).to_sparse(),
}


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("kind", NOT_NUMBERS)
def test_x_that_is_no_array_of_numbers(name: str, kind: str) -> None:
    with pytest.raises(InputError, match=r"^x must "):
        call(name, NOT_NUMBERS[kind])


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("axis", [1, -2, (0, 0), (), (0, 1), 0.5, "0", True, (0, None)])
def test_axis_that_names_none(name: str, axis: Any) -> None:
    with pytest.raises(InputError, match=r"^axis must name axes of x, of shape \(20,\), got "):
        call(name, NORMAL, axis)


TIES = {"ties": ["none", None, True]}
SHARE = [0.0, 1.0, -0.1, math.nan, "half", True, None]  # not between 0 and 1
LEVEL = [-0.1, 1.1, math.nan, "half", True, None]  # not from 0 to 1
COUNT = [0, -1, 1.5, "9", True, None]
SEED = [-1, 1.5, "seed"]
FLAG = [1, "yes", None]
METHOD = {"method": ["mean", None, 3], "order": COUNT, "k": COUNT, "m": [0, 1.5, "2"], **TIES}
REFERENCE: dict[str, list[Any]] = {"reference": ["gamma", None, object(), np.ones((3, 2)), ["a"]]}
WRONG: dict[str, dict[str, list[Any]]] = {
    "ashman_d": {"equal_variance": FLAG},
    "classify": {"alpha": LEVEL, "least_dip": [-1.0, 0.3, "0"], "order": COUNT},
    "critical_bandwidth_test": {
        "modes": COUNT,
        "replicates": COUNT,
        "random_state": SEED,
        "calibration": ["silverman", None],
        "interval": [(0.5, 0.5), (0.9, 0.1), (-1, 1), 3, None, "ab", (0.1, math.nan)],
        **TIES,
    },
    "dip_test": TIES,
    "distances": REFERENCE,
    "energy_distance": REFERENCE,
    "entropy": METHOD,
    "find_modes": {
        "method": ["histogram", None],
        "order": COUNT,
        "bandwidth": ["wide", 0.0, -1.0, math.nan, math.inf, None, True],
        "significance": [-1.0, math.nan, "2", None, True],
    },
    "health": {
        "flat_slope": SHARE,
        "saturated_share": SHARE,
        "outlier_ratio": [0.0, -1.0, math.nan, "6", None],
        "l_kurtosis": ["a", [0.1, 0.2]],
    },
    "jensen_shannon": {**REFERENCE, "order": COUNT},
    "kl_estimate": {**METHOD, "confidence": SHARE},
    "kl_to_standard_normal": {"method": ["mean", None], "order": COUNT},
    "kolmogorov_smirnov": REFERENCE,
    "l_moments": {"order": [3, 4.0, "4", None]},
    "mixture_test": {"replicates": COUNT, "random_state": SEED, "equal_variance": FLAG, **TIES},
    "moments": {
        "order": [1, 13, 2.5, None],
        "weights": [[1.0, 2.0], "a", -np.ones(20)],
        "mask": [[True, False], np.ones(20)],
    },
    "normality_tests": {
        "alpha": LEVEL,
        "correction": ["bonferroni", None],
        "tests": [(), ("t",), ("lilliefors", "lilliefors")],
    },
    "relu_signature": {
        "order": COUNT,
        "near": [-1.0, math.nan, "1"],
        "least_depth": LEVEL,
        "least_share": [0.6, -0.1, "0"],
    },
    "sketch": {"bins": [3, 4.5, None], "weights": [[1.0], -np.ones(20)], "mask": [np.ones(20)]},
    "split_divergence": {**METHOD, "method": ["gaussian", None]},
    "two_component_mixture": {"equal_variance": FLAG, **TIES},
    "wasserstein": {**REFERENCE, "p": [0, 3, 1.5, "1", None]},
}
CALLS = [
    pytest.param(name, option, value, id=f"{name}-{option}-{number}")
    for name, options in WRONG.items()
    for option, values in options.items()
    for number, value in enumerate(values)
]


def test_every_option_is_among_the_wrong_ones() -> None:
    for name in {name.split()[0] for name in STATISTICS}:
        known = inspect.signature(getattr(stats, name)).parameters.keys() - {"x", "axis"}
        assert known - {"activation", "site"} == set(WRONG.get(name, {})), name


@pytest.mark.parametrize(("name", "option", "value"), CALLS)
def test_options_out_of_their_range(name: str, option: str, value: Any) -> None:
    if option == "order" and value is None:
        value = "six"
    with pytest.raises(InputError, match=option):
        getattr(stats, name)(NORMAL, **{option: value})


NAN = math.nan
COLUMNS_OF_TWO = {
    "none": (np.empty((0, 2)), "nan nan"),
    "one each": (np.array([[1.0, 2.0]]), "inf inf"),
    "constants": (np.full((50, 2), 3.0), "inf inf"),
    "missing": (np.full((9, 2), NAN), "nan nan"),
    "infinite": (np.full((9, 2), math.inf), "nan nan"),
    "huge": (1e300 * np.arange(20.0).reshape(10, 2), "num num"),
    "ints": (np.arange(20).reshape(10, 2), "num num"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", COLUMNS_OF_TWO)
def test_drift_to_and_from_bad_columns(case: str) -> None:
    x, words = COLUMNS_OF_TWO[case]
    y = np.zeros((8, 2))
    for found in (stats.drift(x, y, permutations=9), stats.drift(y, x, permutations=9)):
        for word, effect in zip(words.split(), found.wasserstein.effect, strict=True):
            assert np.isfinite(effect) if word == "num" else str(effect) == word
        for measure in ("wasserstein", "kolmogorov", "energy", "shift", "spread", "shape"):
            effect = getattr(found, measure)
            for p in (effect.pvalue, effect.qvalue):
                assert np.all(np.isnan(p) | ((p > 0) & (p <= 1)))
        assert sorted((found.n[0], found.m[0])) == sorted((np.isfinite(x[:, 0]).sum(), 8))


DRIFT: dict[str, list[Any]] = {
    "permutations": COUNT,
    "alpha": LEVEL,
    "least_effect": [-1.0, NAN, "1", None],
    "paired": FLAG,
    "blocks": [0, 2.5, "a", ([1, 2], [1, 2])],
    "max_rows": [1, 2.5, "9"],
    "random_state": SEED,
}


@pytest.mark.parametrize("option", DRIFT)
def test_wrong_options_of_drift(option: str) -> None:
    for value in DRIFT[option]:
        with pytest.raises(InputError, match=option):
            stats.drift(NORMAL, NORMAL, **{option: value})
    for bad in (np.ones((5, 2)), "a", np.ones((2, 2, 2)), np.empty((5, 0))):
        with pytest.raises(InputError, match=r"^(x and )?y must "):
            stats.drift(NORMAL, bad)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "adjust", [stats.adjusted, stats.benjamini_hochberg, stats.benjamini_yekutieli]
)
def test_families_of_few_tests(adjust: Any) -> None:
    for shape in ((0,), (0, 3)):
        assert adjust(np.empty(shape)).shape == shape
    np.testing.assert_array_equal(adjust([NAN, NAN]), [NAN, NAN])
    np.testing.assert_array_equal(adjust([0.5]), [0.5])
    np.testing.assert_array_equal(adjust([0.0, 1.0, NAN])[[0, 2]], [0.0, NAN])
    for bad in ([-0.1], [1.1], [math.inf]):
        with pytest.raises(InputError, match=r"pvalues must be in \[0, 1\], got "):
            adjust(bad)
    with pytest.raises(InputError, match="pvalues must be an array of real numbers"):
        adjust("p")


@pytest.mark.filterwarnings("error")
def test_moments_that_belong_to_no_sample() -> None:
    n = [0, 1, 3, 4, 4]
    skewness, kurtosis = [0.0, 0.0, 0.0, NAN, 0.0], [0.0, 0.0, 0.0, 0.0, NAN]
    assert np.all(np.isnan(stats.bimodality_from_shape(skewness, kurtosis, n)))
    assert np.isinf(stats.kl_from_moments([0.0, math.inf], [0.0, 1.0])).all()
    assert np.isnan(stats.kl_from_moments(NAN, 1.0))
    with pytest.raises(InputError, match="var must not be negative, got -1"):
        stats.kl_from_moments(0.0, -1.0)
    with pytest.raises(InputError, match="mean must be an array of real numbers"):
        stats.kl_from_moments("a", 1.0)


@pytest.mark.filterwarnings("error")
def test_divergences_of_columns_without_a_density() -> None:
    x = np.column_stack([NORMAL, np.ones(20), np.full(20, NAN), 1e300 * NORMAL])
    found = stats.density_divergences(maxent.fit(x, 4, nan_policy="omit"))
    for values in found:
        assert np.isfinite(values[0])
        assert np.all(np.isnan(values[1:3]))
    far = stats.density_divergences(maxent.fit(NORMAL + 100, 4), "uniform")
    assert np.isinf(far.kl).all()
    assert np.isnan(far.kl_reverse).all()
    np.testing.assert_allclose(far.jensen_shannon, math.log(2), rtol=tolerances.QUADRATURE)
    for bad in ("gamma", None, object(), [1.0, 2.0]):
        with pytest.raises(InputError, match="reference"):
            stats.density_divergences(maxent.fit(NORMAL, 4), bad)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_sums_of_nothing() -> None:
    for rows in (np.empty((0, 2)), np.full((3, 2), NAN)):
        accumulator, sums, sketches = stats.Accumulator(2), stats.MomentSums(2), stats.SketchSums(2)
        for each in (accumulator, sums, sketches):
            each.update(rows)
        found = accumulator.finalise()
        for moments in (found.moments, sums.finalise()):
            np.testing.assert_array_equal(moments.n, [0, 0])
            np.testing.assert_array_equal(moments.mean, [NAN, NAN])
        for sketch in (found.sketch, sketches.finalise()):
            np.testing.assert_array_equal(sketch.n, [0, 0])
            np.testing.assert_array_equal(sketch.quantile(0.5), [NAN, NAN])
        assert found.sample.values.shape == rows.shape
