"""The Gaussian copula against SciPy's normal distribution, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.covariance import ledoit_wolf_shrinkage

from distfit_nn.copula import dependence
from distfit_nn.copula.correlation import LEAST_SHRINKAGE
from distfit_nn.copula.gaussian import GaussianCopula
from distfit_nn.errors import FileError, InputError
from distfit_nn.maxent.solution import Status
from tests import tolerances
from tests.copula.columns import hard_scores, mixed

pytestmark = pytest.mark.filterwarnings("error")


def by_scipy(copula: GaussianCopula, z: np.ndarray) -> np.ndarray:
    normal = stats.multivariate_normal(np.zeros(len(copula)), copula.correlation)
    return normal.logpdf(z) - stats.norm.logpdf(z).sum(axis=-1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_fit_is_the_shrunk_correlation_of_normal_scores(rng, dtype):
    x = (4 * mixed(rng, 60, 5)).astype(dtype)
    z = stats.zscore(hard_scores(x), axis=0)
    share = ledoit_wolf_shrinkage(z, assume_centered=True)
    copula = GaussianCopula.fit(x)
    close = {"rtol": 0, "atol": tolerances.sum_error(len(x)) * len(x)}
    assert copula.n == 60
    assert len(copula) == 5
    np.testing.assert_allclose(copula.shrinkage, share, **close)
    want = (1 - share) * np.corrcoef(z.T) + share * np.eye(5)
    np.testing.assert_allclose(copula.correlation, want, **close)
    assert (np.diag(copula.correlation) == 1).all()
    assert (copula.correlation == copula.correlation.T).all()


def test_fit_takes_views_and_tensors(rng):
    x = mixed(rng, 40, 6)
    want = GaussianCopula.fit(x[::2, ::-1].copy()).correlation
    np.testing.assert_array_equal(GaussianCopula.fit(x[::2, ::-1]).correlation, want)
    tensor = torch.tensor(x[::2, ::-1].copy(), requires_grad=True)
    np.testing.assert_array_equal(GaussianCopula.fit(tensor).correlation, want)


def test_given_shrinkage(rng):
    x = mixed(rng, 50, 4)
    plain, half = GaussianCopula.fit(x, shrinkage=0), GaussianCopula.fit(x, shrinkage=0.5)
    assert half.shrinkage == 0.5
    np.testing.assert_array_equal(half.correlation, (plain.correlation + np.eye(4)) / 2)


@pytest.mark.parametrize(("n", "d"), [(500, 4), (20, 60), (2, 3), (300, 1)])
def test_density_is_that_of_scipy(rng, n, d):
    copula = GaussianCopula.fit(mixed(rng, n, d))
    u = rng.random((30, d))
    z = stats.norm.ppf(u)
    limit = tolerances.quadratic_form_error(copula.correlation, z)
    np.testing.assert_allclose(copula.logpdf(u), by_scipy(copula, z), rtol=0, atol=limit)
    np.testing.assert_allclose(copula.logpdf(z, scores=True), copula.logpdf(u), atol=limit, rtol=0)
    np.testing.assert_array_equal(copula.pdf(u), np.exp(copula.logpdf(u)))


def test_density_of_many_shapes(rng):
    copula = GaussianCopula.fit(mixed(rng, 50, 3))
    u = rng.random((2, 5, 3))
    assert copula.logpdf(u).shape == (2, 5)
    limit = tolerances.quadratic_form_error(copula.correlation, stats.norm.ppf(u[1]))
    assert copula.logpdf(u)[1, 2] == pytest.approx(copula.logpdf(u[1, 2]), abs=limit)
    assert np.shape(copula.logpdf(u[0, 0])) == ()
    assert copula.logpdf(u[:0]).shape == (0, 5)


def test_density_in_blocks(rng, monkeypatch):
    copula = GaussianCopula.fit(mixed(rng, 50, 3))
    u = rng.random((20, 3))
    whole = copula.logpdf(u)
    monkeypatch.setattr("distfit_nn.copula.units.BLOCK", 9)
    limit = tolerances.quadratic_form_error(copula.correlation, stats.norm.ppf(u))
    np.testing.assert_allclose(copula.logpdf(u), whole, rtol=0, atol=limit)


def test_density_at_the_edges():
    copula = GaussianCopula.from_correlation([[1, 0.5], [0.5, 1]])
    u = np.array([[0, 0.5], [0.5, 1], [-0.1, 0.5], [1.1, 0.5], [np.nan, 0], [1e-300, 1 - 1e-16]])
    logpdf = copula.logpdf(u)
    np.testing.assert_array_equal(logpdf[:4], -np.inf)
    assert np.isnan(logpdf[4])
    z = stats.norm.ppf(u[5:])
    limit = tolerances.quadratic_form_error(copula.correlation, z)
    np.testing.assert_allclose(logpdf[5:], by_scipy(copula, z), rtol=0, atol=limit)
    far = np.array([[30.0, 30.0], [np.inf, 0], [np.nan, 0]])  # where u is 1 in float64
    logpdf = copula.logpdf(far, scores=True)
    limit = tolerances.quadratic_form_error(copula.correlation, far[:1])
    assert logpdf[0] == pytest.approx(300 - np.log(0.75) / 2, abs=limit)
    assert logpdf[1] == -np.inf
    assert np.isnan(logpdf[2])


def test_density_of_scores_whose_squares_overflow():
    copula = GaussianCopula.from_correlation([[1, 0.5], [0.5, 1]])
    z = np.array([[1e200, 1e200], [1e200, -1e200], [-1.7e308, 0], [1e150, 1e150]])
    logpdf = copula.logpdf(z, scores=True)
    np.testing.assert_array_equal(logpdf[:3], [np.inf, -np.inf, -np.inf])
    assert logpdf[3] == pytest.approx(1e300 / 3, rel=1e-14)
    mean = copula.conditional_mean([[1.7e308, np.nan], [np.nan, -1e200]], scores=True)
    np.testing.assert_allclose(mean, [[1.7e308, 0.85e308], [-0.5e200, -1e200]], rtol=1e-14)


def test_density_integrates_to_one():
    copula = GaussianCopula.from_correlation([[1, -0.6], [-0.6, 1]])
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z = np.stack(np.meshgrid(nodes, nodes), axis=-1)
    total = (weights[:, None] * weights * copula.pdf(z, scores=True)).sum() / (2 * np.pi)
    assert total == pytest.approx(1, abs=tolerances.QUADRATURE)


def test_draws(rng):
    copula = GaussianCopula.fit(mixed(rng, 400, 4))
    n = 40_000
    u = copula.rvs(n, random_state=3)
    assert u.shape == (n, 4)
    assert ((u > 0) & (u < 1)).all()
    for column in u.T:
        assert stats.kstest(column, "uniform").statistic * np.sqrt(n) < tolerances.KOLMOGOROV
    error = (1 - copula.correlation**2) / np.sqrt(n)
    off = np.abs(np.corrcoef(stats.norm.ppf(u).T) - copula.correlation)
    assert (off <= tolerances.STANDARD_ERRORS * error + tolerances.sum_error(n)).all()
    np.testing.assert_array_equal(u, copula.rvs(n, random_state=np.random.default_rng(3)))
    z = copula.rvs(n, random_state=3, scores=True)
    np.testing.assert_array_equal(copula.from_scores(z), u)
    assert copula.rvs((2, 3)).shape == (2, 3, 4)
    assert copula.rvs().shape == (1, 4)


class Far(np.random.Generator):
    """Draws scores at which u is 0 or 1 in float64."""

    def standard_normal(self, size: tuple[int, ...]) -> np.ndarray:
        return np.resize([40.0, -40.0], size)


def test_draws_stay_inside_the_cube():
    copula = GaussianCopula.from_correlation(np.eye(2))
    u = copula.rvs(3, random_state=Far(np.random.PCG64(0)))
    assert ((u > 0) & (u < 1)).all()
    assert np.isfinite(copula.logpdf(u)).all()


def test_fit_recovers_what_was_drawn():
    truth = GaussianCopula.from_correlation([[1, 0.7, 0], [0.7, 1, -0.4], [0, -0.4, 1]])
    n = 20_000
    copula = GaussianCopula.fit(np.exp(truth.rvs(n, random_state=1, scores=True)))
    error = (1 - truth.correlation**2) / np.sqrt(n) + copula.shrinkage
    off = np.abs(copula.correlation - truth.correlation)
    assert (off <= tolerances.STANDARD_ERRORS * error).all()


@pytest.mark.parametrize("missing", [1, 3, 5])
def test_conditional_mean_is_the_regression(rng, missing):
    copula = GaussianCopula.fit(mixed(rng, 200, 6))
    r = copula.correlation
    z = copula.rvs(7, random_state=0, scores=True)
    z[:, :missing] = np.nan
    u = copula.from_scores(z)
    want = z.copy()
    want[:, :missing] = z[:, missing:] @ np.linalg.solve(
        r[missing:, missing:], r[missing:, :missing]
    )
    limit = tolerances.quadratic_form_error(r, z[:, missing:])
    np.testing.assert_allclose(copula.conditional_mean(z, scores=True), want, rtol=0, atol=limit)
    np.testing.assert_allclose(copula.conditional_mean(u), want, rtol=0, atol=limit)


def test_conditional_mean_by_mask_and_by_row(rng):
    copula = GaussianCopula.fit(mixed(rng, 200, 4))
    z = copula.rvs(6, random_state=0, scores=True)
    limit = tolerances.quadratic_form_error(copula.correlation, z)
    known = rng.random((6, 4)) < 0.5
    known[0], known[1] = True, False
    got = copula.conditional_mean(z, known, scores=True)
    np.testing.assert_array_equal(got[known], z[known])
    np.testing.assert_array_equal(got[1], 0)
    for i in range(6):
        alone = copula.conditional_mean(np.where(known[i], z[i], np.nan), scores=True)
        np.testing.assert_allclose(got[i], alone, rtol=0, atol=limit)
    one = copula.conditional_mean(z, known[2], scores=True)
    np.testing.assert_allclose(one[2], got[2], rtol=0, atol=limit)


def test_conditional_mean_beside_an_infinite_score():
    copula = GaussianCopula.from_correlation([[1, 0.5], [0.5, 1]])
    got = copula.conditional_mean([[1.0, np.nan], [0.5, np.nan]])
    assert got[0, 0] == np.inf
    assert np.isnan(got[0, 1])
    assert got[1].tolist() == [0, 0]


def test_units_without_information(rng):
    x = mixed(rng, 80, 5)
    x[:, 1], x[7, 3] = 3.0, np.nan
    copula, rest = GaussianCopula.fit(x), GaussianCopula.fit(x[:, [0, 2, 4]])
    assert copula.status.tolist() == [0, Status.DEGENERATE, 0, Status.INVALID, 0]
    r = copula.correlation
    assert copula.shrinkage == rest.shrinkage
    np.testing.assert_array_equal(r[np.ix_([0, 2, 4], [0, 2, 4])], rest.correlation)
    assert r[1, [0, 1, 2, 4]].tolist() == [0, 1, 0, 0]
    assert np.isnan(r[3]).all()
    assert np.isnan(r[:, 3]).all()
    u = rng.random((6, 5))
    limit = tolerances.quadratic_form_error(rest.correlation, stats.norm.ppf(u))
    want = rest.logpdf(u[:, [0, 2, 4]])
    np.testing.assert_allclose(copula.logpdf(u), want, rtol=0, atol=limit)
    u[:, 3] = np.nan
    assert np.isfinite(copula.logpdf(u)).all()
    assert np.isnan(copula.rvs(3, 0)).any(axis=0).tolist() == [0, 0, 0, 1, 0]
    u[0, 0] = np.nan
    mean = copula.conditional_mean(u)
    assert np.isnan(mean).any(axis=0).tolist() == [0, 0, 0, 1, 0]
    want = rest.conditional_mean(u[:, [0, 2, 4]])
    np.testing.assert_allclose(mean[:, [0, 2, 4]], want, rtol=0, atol=limit)


def test_equal_columns_stay_positive_definite(rng):
    x = rng.permutation(30) % 2  # every product is 1: Ledoit and Wolf see no error
    copula = GaussianCopula.fit(np.stack([x, x, -x], axis=1))
    assert copula.shrinkage == LEAST_SHRINKAGE
    assert np.linalg.eigvalsh(copula.correlation)[0] > 0
    assert np.isfinite(copula.logpdf(rng.random((5, 3)))).all()
    with pytest.raises(InputError, match="not positive definite: shrink"):
        GaussianCopula.fit(np.stack([x, x], axis=1), shrinkage=0)


@pytest.mark.parametrize(("n", "d"), [(1, 3), (5, 1), (10, 200)])
def test_few_rows(rng, n, d):
    copula = GaussianCopula.fit(rng.normal(size=(n, d)))
    assert np.linalg.eigvalsh(copula.correlation)[0] > 0
    assert (np.diag(copula.correlation) == 1).all()
    assert (copula.status == (Status.DEGENERATE if n == 1 else Status.OK)).all()
    assert copula.rvs(2).shape == (2, d)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("d", [1, 5])
def test_two_rows_tell_nothing_of_dependence(rng, n, d):
    x = rng.normal(size=(n, d))
    copula = GaussianCopula.fit(x)
    assert copula.shrinkage == 1
    np.testing.assert_array_equal(copula.correlation, np.eye(d))
    assert GaussianCopula.fit(x, shrinkage=0.5).shrinkage == 0.5
    assert GaussianCopula.fit(rng.normal(size=(3, d))).shrinkage < 1


def test_what_is_kept_cannot_be_changed(rng, tmp_path):
    given = np.eye(3)
    fitted = GaussianCopula.fit(mixed(rng, 30, 3))
    read = GaussianCopula.load(fitted.save(tmp_path / "copula.npz"))
    for copula in (fitted, read, GaussianCopula.from_correlation(given)):
        for part in (copula.correlation, copula.status):
            with pytest.raises(ValueError, match="read-only"):
                part[0] = 0
    given[0, 1] = 0.5  # is the caller's still


def test_a_single_column(rng):
    x = rng.normal(size=30)
    assert GaussianCopula.fit(x).correlation.shape == (1, 1)


def test_infinite_values_rank_as_extremes(rng):
    x = rng.normal(size=(40, 2)) @ [[1, 1], [0, 1]]
    far = x.copy()
    far[x.argmax(axis=0), [0, 1]], far[x.argmin(axis=0), [0, 1]] = np.inf, -np.inf
    np.testing.assert_array_equal(
        GaussianCopula.fit(far).correlation, GaussianCopula.fit(x).correlation
    )


GRID = st.integers(-30, 30)
TABLES = st.integers(2, 5).flatmap(
    lambda d: st.lists(st.lists(GRID, min_size=d, max_size=d), min_size=2, max_size=30)
)


@given(TABLES, st.randoms(use_true_random=False))
def test_laws(rows, random):
    x = np.array(rows, float)
    r = GaussianCopula.fit(x).correlation
    assert np.linalg.eigvalsh(r)[0] > 0
    increasing = x.copy()
    increasing[:, 0] = np.exp(x[:, 0] / 4)
    np.testing.assert_array_equal(GaussianCopula.fit(increasing).correlation, r)
    order = random.sample(range(len(x)), len(x))
    limit = tolerances.sum_error(len(x)) * len(x)
    np.testing.assert_allclose(GaussianCopula.fit(x[order]).correlation, r, rtol=0, atol=limit)
    sign = np.where(np.arange(x.shape[1]) == 0, -1.0, 1.0)
    flipped = GaussianCopula.fit(x * sign).correlation
    np.testing.assert_allclose(flipped, np.outer(sign, sign) * r, rtol=0, atol=limit)


def test_file(rng, tmp_path):
    x = mixed(rng, 30, 3)
    x[0, 1] = np.nan
    copula = GaussianCopula.fit(x)
    read = GaussianCopula.load(copula.save(tmp_path / "copula.npz"))
    np.testing.assert_array_equal(read.correlation, copula.correlation)
    np.testing.assert_array_equal(read.status, copula.status)
    assert (read.n, read.shrinkage) == (copula.n, copula.shrinkage)
    assert repr(read) == repr(copula)


def test_wrong_files(rng, tmp_path):
    path = dependence(mixed(rng, 30, 3)).save(tmp_path / "copula.npz")
    with pytest.raises(FileError, match="does not hold a Gaussian copula"):
        GaussianCopula.load(path)
    GaussianCopula.fit(mixed(rng, 30, 3)).save(path)
    with np.load(path) as archive:
        good = dict(archive)
    for change, message in [
        ({"status": np.zeros(2, np.int8)}, "do not fit"),
        ({"status": np.full(3, 9, np.int8)}, "do not fit"),
        ({"status": np.int8(0), "correlation": np.float64(1)}, "do not fit"),
        ({"status": np.zeros(0, np.int8), "correlation": np.zeros((0, 0))}, "do not fit"),
        ({"n": np.float64(3)}, "n is float64, not int64"),
        ({"correlation": np.ones((3, 3))}, "not positive definite"),
    ]:
        np.savez(path, **(good | change))
        with pytest.raises(FileError, match=message):
            GaussianCopula.load(path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.fit(np.empty((0, 3))), "at least one row"),
        (lambda c: c.fit(np.empty((3, 0))), "at least one column"),
        (lambda c: c.fit(np.zeros((2, 2, 2))), r"shape \(n,\) or \(n, d\)"),
        (lambda c: c.fit([["a"]]), "real numbers"),
        (lambda c: c.fit([1.0, 2.0], shrinkage=1.5), "shrinkage must be .* got 1.5"),
        (lambda c: c.fit([1.0, 2.0], shrinkage=True), "shrinkage must be .* got True"),
        (lambda c: c.fit([1.0, 2.0], shrinkage=np.nan), "shrinkage must be"),
        (lambda c: c.logpdf([0.5]), r"u must have shape \(..., 2\), got \(1,\)"),
        (lambda c: c.logpdf(0.5), "u must have shape"),
        (lambda c: c.from_scores([[0.5]]), "z must have shape"),
        (lambda c: c.to_scores([0.5, 2]), r"u must lie in \[0, 1\], got 2"),
        (lambda c: c.conditional_mean([0.5, -1]), r"u must lie in \[0, 1\], got -1"),
        (lambda c: c.conditional_mean([0.5, 0.5], [1, 0]), "known must be truth values"),
        (lambda c: c.conditional_mean([0.5, 0.5], [True]), "known must be truth values"),
        (lambda c: c.rvs(-1), "size must be a whole number"),
        (lambda c: c.rvs(1.5), "size must be a whole number"),
        (lambda c: c.rvs(1, "a"), "random_state must be"),
        (lambda c: c.rvs(1, np.True_), "random_state must be .* got True"),
        (lambda c: c.from_correlation([1.0]), r"shape \(d, d\)"),
        (lambda c: c.from_correlation([[1, 0.5], [0.4, 1]]), "symmetric"),
        (lambda c: c.from_correlation([[1, np.nan], [np.nan, 1]]), "symmetric"),
        (lambda c: c.from_correlation([[2.0]]), "diagonal of ones"),
        (lambda c: c.from_correlation([[1, 1], [1, 1]]), "not positive definite"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call(GaussianCopula.from_correlation(np.eye(2)))


def test_to_scores_of_the_edges():
    copula = GaussianCopula.from_correlation(np.eye(2))
    assert copula.to_scores([0, 1]).tolist() == [-np.inf, np.inf]
    assert np.isnan(copula.to_scores([0.5, np.nan])).tolist() == [False, True]
