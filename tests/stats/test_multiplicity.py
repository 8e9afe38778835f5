"""Benjamini-Hochberg against scipy, and its laws."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distfit_nn.errors import InputError
from distfit_nn.stats import benjamini_hochberg
from tests import tolerances

PVALUES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(PVALUES)
def test_agrees_with_scipy(pvalues):
    np.testing.assert_allclose(
        benjamini_hochberg(pvalues),
        stats.false_discovery_control(pvalues),
        rtol=tolerances.FEW_ROUNDINGS,
        atol=np.finfo(float).smallest_normal,
    )


@given(PVALUES, st.randoms())
def test_laws(pvalues, random):
    p = np.array(pvalues)
    q = benjamini_hochberg(p)
    assert np.all(q >= p * (1 - tolerances.FEW_ROUNDINGS))
    assert np.all(q <= 1)
    assert np.all(np.diff(q[np.argsort(p)]) >= 0)
    order = list(range(len(p)))
    random.shuffle(order)
    np.testing.assert_array_equal(benjamini_hochberg(p[order]), q[order])


def test_nan_is_no_test(rng):
    p = rng.random((4, 5)) ** 3
    p[1, 2] = p[3, 0] = np.nan
    q = benjamini_hochberg(p)
    done = ~np.isnan(p)
    np.testing.assert_array_equal(np.isnan(q), ~done)
    np.testing.assert_array_equal(q[done], benjamini_hochberg(p[done]))


@pytest.mark.parametrize("p", [[], [np.nan, np.nan], np.empty((0, 3))])
def test_no_test_at_all(p):
    np.testing.assert_array_equal(benjamini_hochberg(p), np.asarray(p))


@pytest.mark.parametrize("p", [-0.1, 1.5, np.inf])
def test_not_a_probability(p):
    with pytest.raises(InputError, match=rf"pvalues must be in \[0, 1\], got {p}"):
        benjamini_hochberg([0.5, p])


def test_stats_is_imported_without_heavy_packages():
    code = (
        "import sys, distfit_nn.stats; "
        "print([m for m in ('statsmodels', 'torch', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
