"""Divergences of fitted densities against quadrature and each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.stats.divergence.fitted import density_divergences, jensen_shannon
from tests import tolerances
from tests.stats.divergence.cases import BAD

LAWS = {"normal": stats.norm(), "laplace": stats.laplace(0.1, 2), "logistic": stats.logistic(1)}


def columns(rng):
    return np.stack([rng.normal(0.5, 1.5, 500), rng.gamma(2, size=500), rng.normal(size=500)], 1)


@pytest.mark.parametrize("name", LAWS)
def test_against_quadrature(rng, name):
    law, density = LAWS[name], maxent.fit(columns(rng), 4)
    got = density_divergences(density, "normal" if name == "normal" else law)
    for j in range(3):
        p, (a, b) = density[j], density[j].support()
        cuts = [a, *np.clip(law.ppf([0.001, 0.1, 0.5, 0.9, 0.999]), a, b), p.median(), b]
        t, w = np.polynomial.legendre.leggauss(400)
        ends = np.unique(cuts)
        nodes = np.concatenate([u + (t + 1) * (v - u) / 2 for u, v in itertools.pairwise(ends)])
        weights = np.concatenate([w * (v - u) / 2 for u, v in itertools.pairwise(ends)])
        lp, lr = p.logpdf(nodes), law.logpdf(nodes)
        inside = law.cdf(b) - law.cdf(a)
        mean = np.logaddexp(lp, lr) - np.log(2)
        js = weights @ (np.exp(lp) * (lp - mean) + np.exp(lr) * (lr - mean)) / 2
        error = tolerances.DISTANCE_QUADRATURE
        assert got.kl[j] == pytest.approx(weights @ (np.exp(lp) * (lp - lr)), abs=error)
        reverse = weights @ (np.exp(lr) * (lr - lp)) / inside - np.log(inside)
        assert got.kl_reverse[j] == pytest.approx(reverse, rel=error, abs=error)
        assert got.jensen_shannon[j] == pytest.approx(js + (1 - inside) * np.log(2) / 2, abs=error)
        varied = weights @ np.abs(np.exp(lp) - np.exp(lr)) + 1 - inside
        assert got.total_variation[j] == pytest.approx(varied / 2, abs=tolerances.TOTAL_VARIATION)
        assert got.reference_outside[j] == pytest.approx(1 - inside, abs=tolerances.CLOSED_FORM)
    if name == "normal":  # by other panels, which are halved
        want = density.kl_divergence(law)
        np.testing.assert_allclose(got.kl, want, atol=tolerances.DISTANCE_QUADRATURE)


def test_bounds_and_equality(rng):
    density = maxent.fit(columns(rng), 4)
    same = density_divergences(density, density)
    for values in same[:4]:
        np.testing.assert_allclose(values, 0, atol=tolerances.CLOSED_FORM)
    far = density_divergences(density, stats.norm(100, 1))
    np.testing.assert_allclose(far.jensen_shannon, np.log(2), rtol=tolerances.REORDERED)
    np.testing.assert_allclose(far.total_variation, 1, rtol=tolerances.REORDERED)
    near = density_divergences(density)
    assert (near.jensen_shannon <= np.log(2) * near.total_variation + 1e-9).all()
    assert (2 * near.total_variation**2 <= near.kl + 1e-9).all()  # Pinsker


def test_jensen_shannon_of_samples(rng):
    x, y = columns(rng), columns(rng) + 0.2
    got, back = jensen_shannon(x, reference=y, order=4), jensen_shannon(y, reference=x, order=4)
    np.testing.assert_allclose(got.statistic, back.statistic, atol=tolerances.DISTANCE_QUADRATURE)
    np.testing.assert_allclose(got.chance, 4 / 8 * (2 / 500))
    one = jensen_shannon(x, reference=y[:, 1], order=4)
    assert one.statistic[1] == pytest.approx(got.statistic[1], rel=tolerances.DISTANCE_QUADRATURE)
    shaped = jensen_shannon(x.T.reshape(3, 1, 500), axis=2)
    np.testing.assert_allclose(
        shaped.statistic[:, 0], jensen_shannon(x).statistic, rtol=tolerances.REORDERED
    )


@pytest.mark.parametrize("n", [100, 1000])
def test_chance_of_normal_samples(rng, n):
    got = jensen_shannon(rng.normal(size=(n, 400)))
    error = tolerances.STANDARD_ERRORS * got.statistic.std() / 20
    assert abs(got.statistic.mean() - got.chance[0]) <= error + 0.1 * got.chance[0]


@pytest.mark.parametrize("name", BAD)
def test_jensen_shannon_bad_input(name):
    got = jensen_shannon(BAD[name])
    assert got.n == np.isfinite(np.asarray(BAD[name], float)).sum()
    if name in ("infinite", "integers", "float16", "huge"):
        assert 0 <= got.statistic <= np.log(2) + 1e-9
    else:
        assert np.isnan(got.statistic)


def test_bad_references(rng):
    density = maxent.fit(columns(rng), 4)
    with pytest.raises(InputError, match="one column or 3, got 2"):
        density_divergences(density, stats.norm(np.zeros(2)))
    with pytest.raises(InputError, match="reference must have logpdf or pdf"):
        density_divergences(
            density, type("Law", (), {"cdf": stats.norm.cdf, "ppf": stats.norm.ppf})()
        )
