"""Kendall's and Spearman's matrices against SciPy, pair by pair, and their laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distfit_nn.copula.rank_matrices import kendall_matrix, spearman_matrix
from distfit_nn.errors import InputError
from tests import tolerances

pytestmark = pytest.mark.filterwarnings("error")

MEASURES = {"kendall": kendall_matrix, "spearman": spearman_matrix}
BY_SCIPY = {"kendall": stats.kendalltau, "spearman": stats.spearmanr}
both = pytest.mark.parametrize("name", MEASURES)


def pairwise(name: str, x: np.ndarray) -> np.ndarray:
    """The oracle: SciPy, one pair at a time."""
    d = x.shape[1]
    out = np.eye(d)
    for i in range(d):
        for j in range(i):
            out[i, j] = out[j, i] = BY_SCIPY[name](x[:, i], x[:, j]).statistic
    return out


def by_definition(x: np.ndarray) -> np.ndarray:
    """Kendall's tau-b by comparison of all pairs of rows."""
    signs = np.sign(x[:, None] - x)[np.triu_indices(len(x), 1)].astype(float)
    untied = np.sqrt((signs**2).sum(axis=0))
    return signs.T @ signs / np.outer(untied, untied)


def some_ties(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Correlated columns: continuous, half zero, and of few values, in turn."""
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    x[:, 1::3] = x[:, 1::3].clip(0)
    x[:, 2::3] = np.sign(x[:, 2::3].round())
    return x


def close(n: int) -> dict[str, float]:
    return {"rtol": 0, "atol": tolerances.sum_error(n)}


@both
@pytest.mark.parametrize(("n", "d"), [(2, 3), (3, 4), (64, 5), (65, 5), (200, 34), (5000, 4)])
def test_against_scipy(rng, name, n, d):
    x = some_ties(rng, n, d)
    x[0], x[1] = -1, 2  # no column is constant
    got = MEASURES[name](x)
    assert got.n == n
    np.testing.assert_allclose(got.statistic, pairwise(name, x), **close(n))
    assert (got.statistic == got.statistic.T).all()
    assert (np.diag(got.statistic) == 1).all()


@pytest.mark.parametrize("n", [4096 - 1, 4096, 4097, 300_000])  # where the tree grows a level
def test_kendall_of_many_rows(rng, n):
    x = rng.normal(size=(n, 2)) @ [[1, 0.5], [0, 1]]
    tied = x.copy()
    tied[:, 1] = np.round(4 * x[:, 1])
    for columns in (x, tied):
        want = stats.kendalltau(*columns.T).statistic
        assert kendall_matrix(columns).statistic[0, 1] == pytest.approx(want, abs=1 / n**2)


@both
@pytest.mark.parametrize("dtype", ["float16", "float32", "longdouble", "int8", "uint64", "bool"])
def test_dtypes_and_views(rng, name, dtype):
    x = (3 * some_ties(rng, 50, 6) + 20).clip(0, 100).astype(dtype)
    x[0], x[1] = 0, 1
    want = pairwise(name, x.astype(float))
    view = np.asfortranarray(np.repeat(x, 2, axis=0))[::2, ::-1]
    np.testing.assert_allclose(MEASURES[name](x).statistic, want, **close(50))
    np.testing.assert_allclose(MEASURES[name](view).statistic, want[::-1, ::-1], **close(50))


@both
def test_large_integers_keep_their_order(name):
    x = 2**62 + np.array([[0, 0], [1, 2], [2, 1], [3, 3]])
    want = BY_SCIPY[name]([0, 1, 2, 3], [0, 2, 1, 3]).statistic
    assert MEASURES[name](x).statistic[0, 1] == pytest.approx(want, abs=tolerances.sum_error(4))


@both
def test_tensors_and_one_column(rng, name):
    x = rng.normal(size=(20, 3))
    tensor = torch.tensor(x, requires_grad=True)
    want = MEASURES[name](x).statistic
    np.testing.assert_array_equal(MEASURES[name](tensor).statistic, want)
    assert MEASURES[name](x[:, 0]).statistic.tolist() == [[1]]


@both
def test_columns_without_an_order(rng, name):
    x = some_ties(rng, 40, 7)
    x[:, 2], x[5, 4] = 3, np.nan
    good = [0, 1, 3, 5, 6]
    got = MEASURES[name](x).statistic
    assert np.isnan(got[[2, 4]]).all()
    assert np.isnan(got[:, [2, 4]]).all()
    rest = MEASURES[name](x[:, good]).statistic
    np.testing.assert_allclose(got[np.ix_(good, good)], rest, **close(40))
    assert np.isnan(MEASURES[name](x[:1]).statistic).all()


@both
def test_infinite_values_rank_as_extremes(rng, name):
    x = rng.normal(size=(40, 2)) @ [[1, 1], [0, 1]]
    far = x.copy()
    far[x.argmax(axis=0), [0, 1]], far[x.argmin(axis=0), [0, 1]] = np.inf, -np.inf
    np.testing.assert_array_equal(MEASURES[name](far).statistic, MEASURES[name](x).statistic)


def test_kendall_of_drawn_rows(rng):
    x = some_ties(rng, 3000, 4)
    whole, part = kendall_matrix(x), kendall_matrix(x, rows=400, random_state=1)
    assert (whole.n, part.n) == (3000, 400)
    off = np.abs(part.statistic - whole.statistic)
    assert (off[0, 1] > 0) & (off <= tolerances.STANDARD_ERRORS / np.sqrt(400)).all()
    again = kendall_matrix(x, rows=400, random_state=np.random.default_rng(1))
    np.testing.assert_array_equal(again.statistic, part.statistic)
    other = kendall_matrix(x, rows=400, random_state=2)
    assert (other.statistic != part.statistic)[0, 1:].all()
    np.testing.assert_array_equal(kendall_matrix(x, rows=3000).statistic, whole.statistic)


@both
def test_threads_do_not_matter(rng, name, monkeypatch):
    x = some_ties(rng, 60, 70)
    want = MEASURES[name](x).statistic
    monkeypatch.setattr("distfit_nn.copula.units.threads", lambda: 1)
    np.testing.assert_array_equal(MEASURES[name](x).statistic, want)


TABLES = st.integers(2, 5).flatmap(
    lambda d: st.lists(st.lists(st.integers(-4, 4), min_size=d, max_size=d), min_size=2)
)


@given(TABLES, st.randoms(use_true_random=False))
def test_laws(rows, random):
    x = np.array(rows, float)
    order = random.sample(range(len(x)), len(x))
    sign = np.where(np.arange(x.shape[1]) == 0, -1.0, 1.0)
    for measure in MEASURES.values():
        got = measure(x).statistic
        constant = (x == x[0]).all(axis=0)
        assert (np.isnan(np.diag(got)) == constant).all()
        assert (np.abs(got[~np.isnan(got)]) <= 1).all()
        np.testing.assert_array_equal(measure(np.exp(x)).statistic, got)
        np.testing.assert_allclose(measure(x[order]).statistic, got, **close(len(x)))
        flipped = np.outer(sign, sign) * got
        np.testing.assert_allclose(measure(x * sign).statistic, flipped, **close(len(x)))
    good = ~constant
    want = by_definition(x[:, good])
    np.testing.assert_allclose(
        kendall_matrix(x).statistic[np.ix_(good, good)], want, **close(len(x) ** 2)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kendall_matrix(np.empty((0, 3))), "at least one row"),
        (lambda: spearman_matrix(np.empty((3, 0))), "at least one column"),
        (lambda: spearman_matrix(np.zeros((2, 2, 2))), r"shape \(n,\) or \(n, d\)"),
        (lambda: kendall_matrix([["a"]]), "real numbers"),
        (lambda: kendall_matrix([1.0, 2.0], rows=1), "rows must be a whole number of at least 2"),
        (lambda: kendall_matrix([1.0, 2.0], rows=2.5), "rows must be"),
        (lambda: kendall_matrix([1.0, 2.0], random_state="a"), "random_state must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


@both
def test_a_result_is_no_pair(rng, name):
    found = MEASURES[name](rng.normal(size=(9, 2)))
    with pytest.raises(TypeError):
        _, _ = found
    with pytest.raises(AttributeError):
        found.n = 3


@both
def test_a_single_column(name):
    assert MEASURES[name](np.arange(5.0)).statistic.tolist() == [[1.0]]


def test_rows_are_drawn_by_any_generator(rng):
    x = rng.normal(size=(50, 3))
    made = [kendall_matrix(x, rows=9, random_state=np.random.RandomState(2)) for _ in range(2)]
    np.testing.assert_array_equal(made[0].statistic, made[1].statistic)
    with pytest.raises(InputError, match="random_state must be a Generator or a seed, got"):
        kendall_matrix(x, rows=9, random_state=False)
