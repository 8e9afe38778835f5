"""The unit table and its verdicts, against columns whose answer is known."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pandas.testing import assert_frame_equal
from scipy import stats as scipy_stats

from distfit_nn.stats import layer_table, rows, sketch, unit_table
from distfit_nn.stats.densities import histogram
from distfit_nn.stats.summary import Place, summarise
from tests import tolerances

N = 2000


@pytest.fixture
def columns(rng):
    """Columns by name, each remarkable in one known way."""
    return {
        "normal": rng.normal(size=N),
        "shifted": rng.normal(3.0, 1.0, size=N),
        "bimodal": np.concatenate([rng.normal(-3, 1, N // 2), rng.normal(3, 1, N // 2)]),
        "heavy": rng.standard_t(3, size=N),
        "closed": -np.abs(rng.normal(size=N)) - 0.1,
        "constant": np.full(N, 0.1),
        "nan": np.full(N, np.nan),
        "holes": np.where(np.arange(N) % 10 == 0, np.nan, rng.normal(size=N)),
        "infinite": np.where(np.arange(N) == 5, np.inf, rng.normal(size=N)),
    }


def units_of(columns, **where):
    table = summarise(np.stack(list(columns.values()), axis=1), Place(**where)).units
    return table.set_index(np.array(list(columns)))


def test_unit_table_has_the_promised_columns(columns):
    promised = """
        layer site step unit n mean std skewness kurtosis min max zero_fraction nan_count
        inf_count bimodality_coefficient dip dip_pvalue dip_qvalue kl_gaussian kl_maxent
        maxent_status
    """
    assert set(promised.split()) <= set(units_of(columns).columns)


def test_verdicts_name_the_right_units(columns):
    units = units_of(columns, site="pre_activation", activation="relu")
    assert set(units.index[units["bimodal"]]) == {"bimodal"}
    assert set(units.index[units["heavy_tailed"]]) == {"heavy"}
    assert set(units.index[units["dead"]]) == {"closed", "constant"}
    assert {"shifted", "bimodal"} <= set(units.index[units["far"]])
    assert not units.loc[["normal", "holes", "infinite"], ["far", "dead", "bimodal"]].any(axis=None)


@pytest.mark.parametrize(
    ("site", "activation"), [("values", None), ("pre_activation", "gelu"), ("input", "relu")]
)
def test_a_negative_unit_is_dead_only_before_a_relu(columns, site, activation):
    units = units_of(columns, site=site, activation=activation)
    assert set(units.index[units["dead"]]) == {"constant"}


def test_one_value_cannot_be_dead(rng):
    assert not summarise(rng.normal(size=(1, 3))).units["dead"].any()
    assert summarise(np.zeros((2, 3))).units["dead"].all()


@pytest.mark.parametrize("make", ["poisson", "rounded", "float16"])
def test_rounded_values_are_not_bimodal(rng, make):
    x = {
        "poisson": lambda: rng.poisson(2.0, (1000, 20)),
        "rounded": lambda: np.round(2 * rng.normal(size=(1000, 20))),
        "float16": lambda: (300 + rng.normal(size=(1000, 20))).astype(np.float16),
    }[make]()
    assert not summarise(x).units["bimodal"].any()


def test_names_of_units(rng):
    x = rng.normal(size=(50, 2))
    assert summarise(x, Place(names=("a", "b"))).units["name"].tolist() == ["a", "b"]
    assert summarise(x).units["name"].isna().all()


def test_statuses_and_counts(columns):
    units = units_of(columns)
    assert units["maxent_status"].to_dict() == {
        **dict.fromkeys(columns, "ok"),
        "constant": "degenerate",
        "nan": "invalid",
    }
    assert units.loc["nan", "n"] == 0
    assert units.loc["nan", "nan_count"] == N
    assert units.loc["holes", "n"] == N - N // 10
    assert units.loc["infinite", "inf_count"] == 1
    assert units.loc["constant", "std"] == 0


def test_statistics_against_scipy(columns):
    units = units_of(columns)
    x = columns["heavy"]
    tolerance = tolerances.sum_error(N) * 10  # a fourth power of values up to ten deviations
    assert units.loc["heavy", "skewness"] == pytest.approx(scipy_stats.skew(x), rel=tolerance)
    assert units.loc["heavy", "kurtosis"] == pytest.approx(scipy_stats.kurtosis(x), rel=tolerance)
    finite = columns["holes"][np.isfinite(columns["holes"])]
    assert units.loc["holes", "std"] == pytest.approx(finite.std(), rel=tolerance)


def test_a_hole_does_not_change_the_fit(columns):
    """Leaving out NaN gives the density of the finite values alone."""
    units = units_of(columns)
    finite = columns["holes"][np.isfinite(columns["holes"])]
    alone = summarise(finite[:, None]).units.iloc[0]
    assert units.loc["holes", "kl_maxent"] == pytest.approx(alone["kl_maxent"], abs=1e-9)
    assert units.loc["holes", "dip"] == alone["dip"]


def test_the_density_is_at_least_as_far_as_the_gaussian(columns):
    """KL splits into an affine part and the negentropy, which is not negative."""
    units = units_of(columns)
    fitted = units[units["maxent_status"] == "ok"]
    # The Gaussian is not cut to the support; the mass out there is below 1e-4 here.
    assert (fitted["kl_maxent"] >= fitted["kl_gaussian"] - 1e-3).all()


def test_layer_row_counts_the_units(columns):
    recording = summarise(
        np.stack(list(columns.values()), axis=1), Place("fc1", "pre_activation", 7)
    )
    row = layer_table.layer_row(recording)
    assert row["bimodal"] == recording.units["bimodal"].sum() == 1
    assert row["nan_count"] == N + N // 10
    assert row["maxent_failed"] == 2
    assert (row["layer"], row["site"], row["step"]) == ("fc1", "pre_activation", 7)


@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=30),
        elements=st.floats(width=64, allow_nan=True, allow_infinity=True),
    ),
    st.integers(1, 40),
)
def test_a_histogram_loses_no_value(values, bins):
    found = histogram(sketch(values), bins)
    finite = np.isfinite(values).sum(axis=0)
    assert np.array_equal(found.n, finite)
    assert np.array_equal(found.below + found.counts.sum(axis=0) + found.above, finite)
    assert (np.diff(found.edges, axis=0) >= 0).all()


def test_histogram_against_numpy(rng):
    values = rng.normal(size=(500, 3))
    found = histogram(sketch(values), 20)
    for j in range(3):
        inside = values[
            (values[:, j] >= found.edges[0, j]) & (values[:, j] <= found.edges[-1, j]), j
        ]
        expected, _ = np.histogram(inside, bins=found.edges[:, j])
        assert np.array_equal(found.counts[:, j], expected)


def test_an_outlier_does_not_squeeze_the_histogram(rng):
    values = np.append(rng.normal(size=999), 1e6)[:, None]
    found = histogram(sketch(values), 30)
    assert found.above[0] == 1
    assert (found.counts > 0).sum() > 10


@pytest.mark.parametrize("values", [np.zeros((1, 1)), np.full((5, 2), np.nan), np.ones((3, 1))])
def test_nothing_to_measure_is_no_error(values):
    recording = summarise(values)
    assert not recording.units[["heavy_tailed", "bimodal", "far"]].any(axis=None)
    assert layer_table.layer_row(recording)["units"] == values.shape[1]


@pytest.mark.parametrize("n", [4, 7, 8, 9, 12, 16, 50, 500])
def test_small_normal_samples_are_rarely_far(rng, n):
    units = summarise(rng.normal(size=(n, 500))).units
    assert units["far"].mean() <= 0.02


def test_few_distinct_values_are_judged_by_mean_and_std(rng):
    x = np.stack([rng.choice([-100.0, 100.0], 500), rng.choice([-1.0, 1.0], 500), np.ones(500)], 1)
    assert summarise(x).units["far"].tolist() == [True, False, False]


def test_a_density_that_misses_its_moments_says_nothing(rng):
    """Of Cauchy columns the extremes are all that six moments see."""
    units = summarise(rng.standard_cauchy((100_000, 4))).units
    missed = units["maxent_status"] == "regularised"
    assert missed.any()
    assert units.loc[missed, ["kl_maxent", "kl_shape"]].isna().all(axis=None)
    assert not units.loc[missed, "relu_signature"].any()
    assert units["far"].all()
    assert units["heavy_tailed"].all()


def test_distinct_values_are_at_least_those_of_the_sample(rng):
    x = np.column_stack([rng.normal(size=5000), rng.integers(0, 50, 5000)])
    units = summarise(x).units
    assert units["distinct"].tolist() == [len(np.unique(column)) for column in x.T]


def test_a_recording_keeps_no_tables_of_its_densities(rng):
    kept = summarise(rng.normal(size=(100, 50)))
    assert len(pickle.dumps(kept.density)) < 50 * 1000  # the tables take some 6,000 bytes a unit


def test_units_are_measured_a_thousand_at_a_time(rng, monkeypatch):
    x = rng.normal(size=(8, 100))
    expected = summarise(x).units
    seen = []

    def by_batches(values, measure, most):
        seen.append(most // len(values))
        return rows.by_batches(values, measure, most)

    monkeypatch.setattr(unit_table, "by_batches", by_batches)
    assert_frame_equal(summarise(x).units, expected, rtol=1e-12)
    monkeypatch.setattr(unit_table, "UNITS", 64)
    assert_frame_equal(summarise(x).units, expected, rtol=1e-12)
    assert seen == [1024, 64]
