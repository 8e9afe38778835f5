"""Laws that every density obeys, whatever its order, its multipliers and its support."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distfit_nn.maxent import Density, basis
from tests.maxent.handmade import of_multipliers
from tests.tolerances import TABLE, eps

LAW = settings(max_examples=100)
STEEPEST = 1e10  # largest |lambda_i h_i| on the support: mass as narrow as 1e-10 of it

numbers = st.tuples(
    st.lists(st.floats(-1, 1), min_size=1, max_size=12),
    st.floats(-2, 10),
    st.floats(0, 1),
    st.floats(-0.5, 3),
    st.floats(-0.5, 3),
)


def made(problem: Any) -> Density:
    """Multipliers of random size, decade and falling off with the order; support of any width."""
    shares, decade, fall, low, high = problem
    order = len(shares)
    a, b = -(10.0**low), 10.0**high
    largest = np.abs(basis.hermite(np.array([a, b]), order)[1:]).max(axis=1)
    largest = np.maximum(largest, 1.0)
    multipliers = np.array(shares) * 10.0**decade / largest**fall
    size = np.abs(multipliers * largest).max()
    multipliers *= min(1.0, STEEPEST / max(size, 1e-300))
    return of_multipliers(multipliers, a, b)


@given(numbers)
@LAW
def test_masses(problem: Any) -> None:
    density = made(problem)
    a, b = density.support()
    t = np.unique(np.concatenate([np.linspace(a, b, 31), density.ppf([0.01, 0.3, 0.5, 0.8])]))
    cdf, sf = density.cdf(t), density.sf(t)
    assert (np.diff(cdf) >= -TABLE * cdf[1:]).all()
    assert (np.diff(sf) <= TABLE * sf[:-1]).all()
    np.testing.assert_allclose(cdf + sf, 1.0, rtol=TABLE)
    assert (cdf[0], sf[0], cdf[-1], sf[-1]) == (0.0, 1.0, 1.0, 0.0)


@given(numbers)
@LAW
def test_logarithms(problem: Any) -> None:
    density = made(problem)
    t = np.linspace(*density.support(), 31)[1:-1]
    log_p, below, above = density.logpdf(t), density.logcdf(t), density.logsf(t)
    assert np.isfinite([log_p, below, above]).all()
    assert (np.diff(below) >= -TABLE * np.maximum(1, np.abs(below[1:]))).all()
    assert (np.diff(above) <= TABLE * np.maximum(1, np.abs(above[1:]))).all()
    with np.errstate(under="ignore"):
        np.testing.assert_allclose(np.exp(below), density.cdf(t), rtol=1e-12, atol=1e-290)
        np.testing.assert_allclose(np.exp(above), density.sf(t), rtol=1e-12, atol=1e-290)
        np.testing.assert_allclose(np.exp(log_p), density.pdf(t), rtol=TABLE, atol=1e-290)


@given(numbers, st.lists(st.floats(1e-250, 0.5), min_size=1, max_size=5))
@LAW
def test_quantiles(problem: Any, levels: list[float]) -> None:
    density = made(problem)
    q = np.sort([*levels, 1e-60, 1e-9, 0.2])
    a, b = density.support()
    for quantile, logarithm, sign in (("ppf", "logcdf", 1), ("isf", "logsf", -1)):
        z = getattr(density, quantile)(q)
        assert ((z >= a) & (z <= b)).all()
        assert (sign * np.diff(z) >= -4 * eps() * np.abs(z[1:])).all()
        # Between two neighbouring numbers of float64 the tail may pass the level.
        near = np.abs(np.spacing(z))
        low, high = (
            getattr(density, logarithm)(np.clip(z + side * near, a, b))
            for side in (-2 * sign, 2 * sign)
        )
        room = 1e-12 + 4 * eps() * np.abs(np.log(q))
        assert (low <= np.log(q) + room).all()
        assert (high >= np.log(q) - room).all()


@given(numbers, st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
@LAW
def test_numbers_follow_shift_and_scale(problem: Any, loc: float, scale: float) -> None:
    plain = made(problem)
    moved = Density(plain.solution, np.array([loc]), np.array([scale]), single=True)
    slack = 8 * eps() * (abs(loc) + scale * abs(plain.mean()))
    assert abs(moved.mean() - (loc + scale * plain.mean())) <= slack
    for name, wanted in (("std", plain.std() * scale), ("skewness", plain.skewness())):
        np.testing.assert_allclose(getattr(moved, name)(), wanted, rtol=1e-12)
    assert abs(moved.entropy() - plain.entropy() - np.log(scale)) < 1e-12
    q = np.array([1e-20, 0.2, 0.9])
    wanted = loc + scale * plain.ppf(q)
    assert (np.abs(moved.ppf(q) - wanted) <= 8 * eps() * (abs(loc) + np.abs(wanted))).all()


@pytest.mark.slow
@given(numbers)
@LAW
def test_a_mirrored_density_has_its_tails_exchanged(problem: Any) -> None:
    plain = made(problem)
    solution = plain.solution
    signs = (-1.0) ** np.arange(1, plain.order + 1)
    mirrored = replace(
        solution,
        coefficients=solution.coefficients * signs[:, None],
        lower=-solution.upper,
        upper=-solution.lower,
    )
    other = Density(mirrored, plain.loc, plain.scale, single=True)
    t = np.linspace(*plain.support(), 21)
    np.testing.assert_allclose(other.logsf(-t), plain.logcdf(t), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(other.logpdf(-t), plain.logpdf(t), rtol=1e-11, atol=1e-11)
    assert abs(other.entropy() - plain.entropy()) < 1e-10
    ours, theirs = plain.modes(), other.modes()[::-1]
    np.testing.assert_allclose(ours["height"], theirs["height"], rtol=1e-9)
    # A point x of the support is rounded, and log p with it.
    assert plain.kl_divergence(plain) <= 8 * plain.order * STEEPEST * eps()
