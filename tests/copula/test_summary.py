"""The summary of dependence: its figures by their definitions, merging, and what noise leaves."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distfit_nn.copula import GaussianCopula, dependence
from distfit_nn.copula.summary import Dependence
from distfit_nn.errors import FileError, InputError
from distfit_nn.maxent.solution import Status
from tests import tolerances
from tests.copula.columns import by_definition, hard_scores, mixed

pytestmark = pytest.mark.filterwarnings("error")


def same(got: Dependence, want: Dependence) -> None:
    """Check that two summaries are the same but for rounding."""
    assert (got.n, got.freedom, got.shards) == (want.n, want.freedom, want.shards)
    limit = tolerances.sum_error(got.n) * got.n
    np.testing.assert_allclose(got.correlation, want.correlation, rtol=0, atol=limit)
    limit = tolerances.sum_error(got.n, np.float32) * got.n
    np.testing.assert_allclose(got.permuted, want.permuted, rtol=0, atol=limit)
    np.testing.assert_array_equal(got.status, want.status)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_figures_are_those_of_the_correlation_of_scores(rng, dtype):
    x = (4 * mixed(rng, 80, 6)).astype(dtype)
    found = dependence(x, permutations=0)
    want = np.corrcoef(hard_scores(x).T)
    limit = tolerances.sum_error(80) * 80
    np.testing.assert_allclose(found.correlation, want, rtol=0, atol=limit)
    assert (found.correlation == found.correlation.T).all()
    assert (np.diag(found.correlation) == 1).all()
    condition = 6 / np.linalg.eigvalsh(want)[0]
    expected = by_definition(want, 79)
    np.testing.assert_allclose(found.figures, expected, rtol=condition * limit)
    assert (len(found), found.n, found.freedom, found.shards) == (6, 80, 79, 1)


def test_views_and_tensors(rng):
    x = mixed(rng, 40, 6)
    want = dependence(x[::2, ::-1].copy()).correlation
    np.testing.assert_array_equal(dependence(x[::2, ::-1]).correlation, want)
    tensor = torch.tensor(x[::2, ::-1].copy(), requires_grad=True)
    np.testing.assert_array_equal(dependence(tensor).correlation, want)


def test_a_reference_gives_the_scores(rng):
    sample, x = mixed(rng, 50, 4), mixed(rng, 70, 4)
    x[0], x[1] = np.inf, -np.inf
    found = dependence(x, reference=sample, permutations=0)
    z = hard_scores(x, sample)
    limit = tolerances.sum_error(70) * 70
    np.testing.assert_allclose(found.correlation, np.corrcoef(z.T), rtol=0, atol=limit)
    np.testing.assert_allclose(found.mean, z.mean(axis=0), rtol=0, atol=limit)
    again = dependence(x, reference=sample[::-1].astype("longdouble"), permutations=0)
    np.testing.assert_array_equal(again.correlation, found.correlation)


# Merging


def parts(x: np.ndarray, **options) -> list[Dependence]:
    cuts = (0, 30, 70, len(x))
    return [dependence(x[a:b], random_state=a, **options) for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize("referred", [False, True])
def test_the_order_of_merging_does_not_matter(rng, referred):
    x = mixed(rng, 120, 5)
    options = {"reference": x[::3]} if referred else {}
    a, b, c = parts(x, permutations=3, **options)
    left = (a + b) + c
    assert (left.n, left.shards, left.permutations) == (120, 3, 3)
    assert left.freedom == (119 if referred else 117)
    same(a + (b + c), left)
    same((c + a).merge(b), left)


def test_merged_shards_with_a_reference_are_the_whole(rng):
    x = mixed(rng, 120, 6)
    x[:30, 4], x[30:70, 4], x[70:, 4] = 1, 2, 3  # constant in each shard
    x[:, 5] = 7
    a, b, c = parts(x, permutations=2, reference=x[20:80])
    merged, whole = a + b + c, dependence(x, permutations=0, reference=x[20:80])
    limit = tolerances.sum_error(120) * 120
    np.testing.assert_allclose(merged.correlation, whole.correlation, rtol=0, atol=limit)
    np.testing.assert_allclose(merged.products, whole.products, rtol=0, atol=120 * limit)
    assert (merged.correlation == merged.correlation.T)[:5, :5].all()
    np.testing.assert_array_equal(merged.status, whole.status)
    assert merged.status.tolist() == [0, 0, 0, 0, 0, Status.DEGENERATE]
    assert merged.freedom == whole.freedom == 119
    condition = 6 / np.linalg.eigvalsh(whole.correlation[:5, :5])[0]
    np.testing.assert_allclose(merged.figures, whole.figures, rtol=condition * limit)
    assert np.isfinite(merged.baseline).all()  # the fifth unit adds no noise


def test_merged_shards_are_averages_within_shards(rng):
    x = mixed(rng, 120, 5)
    x[:30, 2] = 4.0  # constant in one shard: independent of all others there
    merged = sum(parts(x, permutations=2))
    each = [dependence(part, permutations=0).correlation for part in (x[:30], x[30:70], x[70:])]
    each[0][2], each[0][:, 2] = 0.0, 0.0
    limit = tolerances.sum_error(120) * 120
    want = sum(n * r for n, r in zip((29, 39, 49), each, strict=True)) / 117
    np.fill_diagonal(want, 1.0)
    np.testing.assert_allclose(merged.correlation, want, rtol=0, atol=limit)
    products = merged.permuted[1].astype(float) / 117  # relative to the same
    size = np.abs(products[2, [0, 1, 3, 4]])
    only = np.delete(np.delete(products, 2, 0), 2, 1)
    mean = (2 * size.sum() + np.abs(only - np.diag(np.diag(only))).sum()) / 20
    limit = tolerances.sum_error(120, np.float32) * 120
    assert merged.baseline.mean_absolute_correlation[1] == pytest.approx(mean, abs=limit)


def test_a_unit_constant_in_one_of_two_equal_shards_has_half_the_correlation(rng):
    x = rng.normal(size=(200, 2)) @ [[1, 0.9], [0, 0.4]]
    good, bad = dependence(x[:100]), dependence(np.where([0, 1], x[100:], 3.0))
    r = good.correlation[0, 1]
    assert (good + bad).correlation[0, 1] == pytest.approx(r / 2, rel=tolerances.sum_error(100))


def test_what_a_drift_between_shards_does():
    rng = np.random.default_rng(3)
    level = np.repeat(np.arange(10.0), 500)
    x = rng.normal(size=(5000, 3)) + 5 * level[:, None]
    shards = np.split(x, 10)
    within = sum(map(dependence, shards))
    overall = dependence(x)
    noise = tolerances.STANDARD_ERRORS / np.sqrt(within.freedom)
    assert within.figures.largest_absolute_correlation < noise
    assert overall.figures.mean_absolute_correlation > 0.9


def test_random_shards_estimate_the_whole(rng):
    x = rng.normal(size=(4000, 3)) @ [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    shards = np.split(np.exp(x), 10)
    merged = sum(map(dependence, shards))
    off = np.abs(merged.correlation - dependence(x).correlation)
    assert (off < 2 / 400).all()  # ranks among 400 rows: a bias of about 1 / 400


# Units and pairs


def test_units_without_information(rng):
    x = mixed(rng, 80, 6)
    x[:, 1], x[7, 3] = 3.0, np.nan
    found, rest = dependence(x, permutations=2), dependence(x[:, [0, 2, 4, 5]], permutations=0)
    assert found.status.tolist() == [0, Status.DEGENERATE, 0, Status.INVALID, 0, 0]
    assert np.isnan(found.correlation[[1, 3]]).all()
    assert np.isnan(found.correlation[:, [1, 3]]).all()
    limit = tolerances.sum_error(80) * 80
    np.testing.assert_allclose(found.figures, rest.figures, rtol=limit)
    assert np.isfinite(found.baseline).all()
    assert not {1, 3} & {*found.strongest().first, *found.strongest().second}
    assert np.isfinite(found.products).all()
    valid = dependence(x[:30, [0, 0, 2, 4, 4, 5]], permutations=2)
    for merged in (found + valid, valid + found):
        assert merged.status.tolist() == [0, 0, 0, Status.INVALID, 0, 0]
    reference = x[:, ::-1]
    assert dependence(x, reference=reference).status.tolist()[2:4] == [Status.INVALID] * 2


def test_rounding_neither_exceeds_one_nor_looks_like_variance(rng):
    for n in range(3, 80):
        x = np.repeat(rng.normal(size=(n, 1)), 3, axis=1)
        assert np.abs(dependence(x, permutations=0).correlation).max() == 1
        x[:, 1] = x[0, 1]
        found = dependence(x, permutations=0, reference=rng.normal(size=(9, 3)))
        assert found.status[1] == Status.DEGENERATE


@pytest.mark.parametrize("count", [1, 4, 15, 100])
def test_strongest_pairs(rng, count):
    found = dependence(mixed(rng, 50, 6), permutations=0)
    r = found.correlation
    ranked = sorted(((i, j) for j in range(6) for i in range(j)), key=lambda p: -abs(r[p]))
    first, second, correlation = found.strongest(count)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == ranked[:count]
    assert correlation.tolist() == [r[p] for p in ranked[:count]]


@pytest.mark.parametrize(("n", "d", "finite"), [(1, 3, 0), (2, 3, 3), (9, 1, 3), (5, 40, 4)])
def test_few_rows_or_units(rng, n, d, finite):
    found = dependence(rng.normal(size=(n, d)), permutations=2)
    for figures in (found.figures, [v[0] for v in found.baseline]):
        assert np.isfinite(figures).sum() == finite
    assert len(found.strongest(1).first) == (d > 1 and n > 1)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_dict_of_infinite_figures(rng):
    found = dependence(rng.normal(size=(3, 3)), permutations=30, random_state=0)
    assert np.isinf(found.baseline.adjusted_dimension).any()
    got = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert got["baseline"]["adjusted_dimension"]["mean"] is None


def test_as_a_dict(rng):
    x = mixed(rng, 80, 6)
    x[:, 1] = 3.0
    found = dependence(x, permutations=9, random_state=0)
    got = json.loads(json.dumps(found.to_dict(2), allow_nan=False))
    assert [got[name] for name in ("units", "units_used", "n", "shards")] == [6, 5, 80, 1]
    assert got["figures"] == found.figures._asdict()
    assert (got["baseline"]["permutations"], got["baseline"]["n"]) == (9, 80)
    for name, values in found.baseline._asdict().items():
        want = {"mean": values.mean()} | {str(q): np.quantile(values, q) for q in (0.05, 0.5, 0.95)}
        assert got["baseline"][name] == want
    assert len(got["pairs"]) == 2
    assert got["pairs"][0]["correlation"] == found.strongest(1).correlation[0]
    assert dependence(x, permutations=0).to_dict()["baseline"] is None
    assert repr(found) == "Dependence(d=6, n=80, shards=1, permutations=9)"


# Laws, files, errors

TABLES = st.integers(2, 5).flatmap(
    lambda d: st.lists(st.lists(st.integers(-9, 9), min_size=d, max_size=d), min_size=2)
)


@given(TABLES)
def test_laws(rows):
    x = np.array(rows, float)
    found = dependence(x, permutations=1, random_state=0)
    same(dependence(np.exp(x), permutations=1, random_state=0), found)
    np.testing.assert_array_equal(found.status == Status.DEGENERATE, (x == x[0]).all(axis=0))
    used = int((found.status == Status.OK).sum())
    limit = tolerances.sum_error(len(x)) * len(x)
    if used:
        assert 1 - limit <= found.figures.effective_dimension <= used + limit
        assert not found.figures.total_correlation < -limit
    turned = dependence(x * np.where(np.arange(x.shape[1]), 1, -1), permutations=0)
    np.testing.assert_allclose(
        np.abs(turned.correlation), np.abs(found.correlation), rtol=0, atol=limit
    )


@pytest.mark.parametrize("referred", [False, True])
def test_file(rng, tmp_path, referred):
    x = mixed(rng, 30, 3)
    x[0, 1] = np.nan
    options = {"reference": mixed(rng, 9, 3)} if referred else {}
    found = dependence(x, permutations=2, **options)
    read = Dependence.load(found.save(tmp_path / "dependence.npz"))
    same(read, found)
    assert read.to_dict() == found.to_dict()
    assert (read + found).n == 60


def test_wrong_files(rng, tmp_path):
    path = GaussianCopula.fit(mixed(rng, 30, 3)).save(tmp_path / "dependence.npz")
    with pytest.raises(FileError, match="does not hold a summary of dependence"):
        Dependence.load(path)
    dependence(mixed(rng, 30, 3)).save(path)
    with np.load(path) as archive:
        good = dict(archive)
    for change, message in [
        ({"mean": np.zeros(2)}, "do not fit"),
        ({"permuted": np.zeros((2, 3, 2), "f4")}, "do not fit"),
        ({"reference": np.zeros(3)}, "do not fit"),
        ({"n": np.arange(2)}, "do not fit"),
        ({"n": np.float64(3)}, "n is float64, not int64"),
    ]:
        np.savez(path, **(good | change))
        with pytest.raises(FileError, match=message):
            Dependence.load(path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: dependence(x[:0]), "x must have at least one row"),
        (lambda x: dependence(x[:, :0]), "at least one column"),
        (lambda x: dependence(x.astype(str)), "real numbers"),
        (lambda x: dependence(x, permutations=-1), "permutations must be a whole number"),
        (lambda x: dependence(x, random_state="a"), "random_state must be"),
        (lambda x: dependence(x, random_state=True), "random_state must be .* got True"),
        (lambda x: dependence(x).merge(3), "other must be a Dependence, got 3"),
        (lambda x: dependence(x, reference=x[:, :2]), "reference must have 3 columns"),
        (lambda x: dependence(x, reference=x[:0]), "reference must have at least one row"),
        (lambda x: dependence(x).strongest(0), "count must be a whole number"),
        (lambda x: dependence(x) + dependence(x[:, :2]), "same units and permutations"),
        (lambda x: dependence(x) + dependence(x, permutations=1), "same units and permutations"),
        (lambda x: dependence(x) + dependence(x, reference=x), "same reference"),
        (lambda x: dependence(x, reference=x) + dependence(x, reference=-x), "same reference"),
    ],
)
def test_bad_input(rng, call, message):
    with pytest.raises(InputError, match=message):
        call(rng.normal(size=(20, 3)))


def test_only_summaries_are_added(rng):
    found = dependence(rng.normal(size=(20, 3)))
    for other in (1, 0, "a"):
        with pytest.raises(TypeError):
            found + other
    with pytest.raises(TypeError):
        1 + found


def test_the_sum_of_a_list(rng):
    made = parts(rng.normal(size=(120, 3)), permutations=1)
    same(sum(made), (made[0] + made[1]) + made[2])
