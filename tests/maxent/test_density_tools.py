"""Densities in other tools' hands: SciPy, files, figures."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from scipy import stats

from distfit_nn.errors import FileError, InputError
from distfit_nn.maxent import Density, fit
from tests import cases
from tests.tolerances import MAXENT_CDF, QUADRATURE, TABLE

mpl.use("Agg")
from matplotlib import pyplot

NAMES = ("normal", "bimodal", "exponential", "u_shaped")


@pytest.fixture(scope="module")
def wide() -> Density:
    x = np.stack([cases.column(n, 80) for n in NAMES], axis=1)
    return fit(np.column_stack([x, np.ones(80)]), 4)


# SciPy: what its own tests ask of every frozen continuous distribution


@pytest.fixture(scope="module", params=NAMES)
def frozen(request: pytest.FixtureRequest) -> Any:
    return fit(cases.column(request.param, 80), 4).to_scipy()


def test_it_is_a_frozen_scipy_distribution(frozen: Any) -> None:
    assert isinstance(frozen, stats.distributions.rv_frozen)
    assert isinstance(frozen.dist, stats.rv_continuous)


def test_scipy_ppf_and_isf_invert(frozen: Any) -> None:
    q = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
    np.testing.assert_allclose(frozen.cdf(frozen.ppf(q)), q, rtol=MAXENT_CDF)
    np.testing.assert_allclose(frozen.sf(frozen.isf(q)), q, rtol=MAXENT_CDF)
    np.testing.assert_allclose(frozen.cdf(frozen.median()), 0.5, rtol=MAXENT_CDF)
    np.testing.assert_allclose(frozen.interval(0.8), frozen.ppf([0.1, 0.9]), rtol=1e-12)
    np.testing.assert_array_equal(frozen.ppf([0.0, 1.0]), frozen.support())
    assert np.isnan(frozen.ppf([-0.1, 1.1])).all()


def test_scipy_cdf_sf_and_logarithms(frozen: Any) -> None:
    x = frozen.ppf(np.linspace(0.01, 0.99, 21))
    np.testing.assert_allclose(frozen.cdf(x) + frozen.sf(x), 1.0, rtol=TABLE)
    np.testing.assert_allclose(np.exp(frozen.logcdf(x)), frozen.cdf(x), rtol=TABLE)
    np.testing.assert_allclose(np.exp(frozen.logsf(x)), frozen.sf(x), rtol=TABLE)
    np.testing.assert_allclose(np.exp(frozen.logpdf(x)), frozen.pdf(x), rtol=TABLE)
    a, b = frozen.support()
    np.testing.assert_array_equal(frozen.pdf([a - 1, b + 1]), 0.0)
    np.testing.assert_array_equal(frozen.cdf([a - 1, b + 1]), [0.0, 1.0])


def test_scipy_pdf_is_the_slope_of_cdf(frozen: Any) -> None:
    x = frozen.ppf(np.linspace(0.05, 0.95, 19))
    h = 1e-5 * frozen.std()
    slope = (frozen.cdf(x + h) - frozen.cdf(x - h)) / (2 * h)
    np.testing.assert_allclose(slope, frozen.pdf(x), rtol=1e-5)


def test_scipy_moments(frozen: Any) -> None:
    mean, var, skewness, kurtosis = frozen.stats("mvsk")
    assert frozen.mean() == pytest.approx(mean)
    assert frozen.std() == pytest.approx(math.sqrt(var))
    assert frozen.moment(1) == pytest.approx(mean, abs=1e-12)
    assert frozen.moment(2) == pytest.approx(var + mean**2)
    assert frozen.expect(lambda x: (x - mean) ** 3) == pytest.approx(skewness * var**1.5, abs=1e-6)
    assert frozen.expect(lambda x: (x - mean) ** 4) == pytest.approx((kurtosis + 3) * var**2)
    assert frozen.expect() == pytest.approx(mean, abs=QUADRATURE)
    assert frozen.expect(lambda x: x, lb=mean - 10, ub=mean + 10, conditional=True) == (
        pytest.approx(mean, abs=1e-6)
    )
    assert frozen.entropy() == pytest.approx(-frozen.expect(frozen.logpdf), abs=1e-7)


def test_scipy_random_values(frozen: Any) -> None:
    x = frozen.rvs(size=(50, 40), random_state=np.random.default_rng(5))
    assert x.shape == (50, 40)
    assert stats.kstest(x.ravel(), frozen.cdf).pvalue > 1e-3
    np.testing.assert_array_equal(frozen.rvs(5, random_state=3), frozen.rvs(5, random_state=3))
    assert np.ndim(frozen.rvs(random_state=3)) == 0


def test_scipy_loc_and_scale(frozen: Any) -> None:
    moved = frozen.dist(loc=2.0, scale=3.0)
    q = np.array([0.1, 0.6])
    np.testing.assert_allclose(moved.ppf(q), 2 + 3 * frozen.ppf(q))
    assert moved.std() == pytest.approx(3 * frozen.std())
    assert moved.entropy() == pytest.approx(frozen.entropy() + math.log(3))


def test_to_scipy_of_one_of_many(wide: Density) -> None:
    t = np.linspace(-1, 1, 5)
    np.testing.assert_array_equal(wide.to_scipy(1).cdf(t), wide[1].cdf(t))
    assert wide[1].kl_divergence(wide.to_scipy(1)) == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match="one of the 5 columns"):
        wide.to_scipy()
    with pytest.raises(InputError, match="has no density"):
        wide.to_scipy(4)
    with pytest.raises(IndexError):
        wide.to_scipy(5)
    with pytest.raises(IndexError):
        wide[0].to_scipy(1)


@pytest.mark.parametrize("j", ["a", 1.0, True, [1], np.array([0, 1])])
def test_to_scipy_takes_the_number_of_a_column(wide: Density, j: Any) -> None:
    for density in (wide, wide[0]):
        with pytest.raises(InputError, match=r"to_scipy needs the number of one of the .* got"):
            density.to_scipy(j)


# Files


@pytest.mark.parametrize("pick", [slice(None), 2, [4]])
def test_what_is_saved_is_loaded(wide: Density, tmp_path: Path, pick: Any) -> None:
    density = wide[pick]
    path = tmp_path / "deep" / "fit.density"
    assert density.save(path) == path
    assert os.listdir(path.parent) == ["fit.density"]
    again = Density.load(path)
    assert again.single == density.single
    for name in ("cdf", "ppf", "logpdf"):
        np.testing.assert_array_equal(getattr(again, name)(0.3), getattr(density, name)(0.3))
    for name in ("residual", "status", "iterations", "epsilon", "ok"):
        np.testing.assert_array_equal(getattr(again, name), getattr(density, name))
    np.testing.assert_array_equal(again.mass_outside(), density.mass_outside())


def test_a_file_holds_no_pickle(wide: Density, tmp_path: Path) -> None:
    with np.load(wide.save(tmp_path / "fit.npz"), allow_pickle=False) as archive:
        assert {archive[name].dtype.kind for name in archive.files} <= {"f", "i", "b", "U"}
        assert int(archive["version"]) == 1


def test_every_damaged_byte_is_noticed_or_harmless(wide: Density, tmp_path: Path) -> None:
    path = wide[1].save(tmp_path / "fit")
    whole = path.read_bytes()
    for at in range(0, len(whole), 97):
        path.write_bytes(whole[:at])
        with pytest.raises(FileError, match="fit"):
            Density.load(path)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            again = Density.load(path)
        except FileError:
            continue
        assert again.cdf(0.3) == wide[1].cdf(0.3)


def rewritten(path: Path, **changes: Any) -> Path:
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    arrays |= changes
    with path.open("wb") as file:
        np.savez(file, **{name: value for name, value in arrays.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": np.array("other")}, "does not hold a fitted density"),
        ({"format": None}, "does not hold a fitted density"),
        ({"version": np.array(2)}, "has version 2, and this release reads 1"),
        ({"version": np.array("1")}, "version is no number"),
        ({"version": None}, "version"),
        ({"scale": None}, "lacks scale"),
        ({"scale": np.ones(3)}, "scale is float64 of shape"),
        ({"coefficients": np.ones((4, 5), np.float32)}, "coefficients is float32"),
        ({"coefficients": np.array(1.0)}, "is damaged"),
        ({"single": np.array(1)}, "single is int64, not bool"),
        ({"single": np.array(True)}, "a single density of 5 columns"),
        ({"status": np.full(5, 9, np.int8)}, "unknown status"),
    ],
)
def test_foreign_and_damaged_files(
    wide: Density, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = rewritten(wide.save(tmp_path / "fit"), **changes)
    with pytest.raises(FileError, match=message):
        Density.load(path)


def test_files_that_are_something_else(wide: Density, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot read"):
        Density.load(tmp_path / "missing")
    with pytest.raises(FileError, match="cannot read"):
        Density.load(tmp_path)
    text = tmp_path / "text"
    text.write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match="text does not hold a fitted density"):
        Density.load(text)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FileError, match="zip"):
        Density.load(tmp_path / "zip")
    np.save(tmp_path / "x.npy", np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(FileError, match=r"x\.npy"):
        Density.load(tmp_path / "x.npy")
    with pytest.raises(FileError, match="folder"):
        wide.save(tmp_path)


@pytest.mark.parametrize("path", [None, 3, b"fit", ["fit"], "a\0b"])
def test_paths_that_are_none(wide: Density, path: Any) -> None:
    for function in (wide.save, Density.load):
        with pytest.raises(InputError, match="path must be the path of a file, got"):
            function(path)


# Figures


def test_plot_draws_each_column_that_has_a_density(wide: Density) -> None:
    _, ax = pyplot.subplots()
    assert wide.plot(ax) is ax
    assert [line.get_label() for line in ax.get_lines()] == [f"column {j}" for j in range(4)]
    for j, line in enumerate(ax.get_lines()):
        x, y = line.get_data()
        np.testing.assert_array_equal(y, wide[j].pdf(x))
        assert np.trapezoid(y, x) == pytest.approx(1, abs=2e-2)
        assert (np.diff(x) > 0).all()
    assert len(ax.get_legend().get_texts()) == 4
    pyplot.close("all")


def test_plot_of_one_column_goes_to_the_current_axes(wide: Density) -> None:
    _, ax = pyplot.subplots()
    assert wide[1].plot(color="red", label="mine") is ax
    (line,) = ax.get_lines()
    assert (line.get_color(), line.get_label()) == ("red", "mine")
    assert ax.get_legend() is None
    assert wide[4].plot(ax) is ax
    assert len(ax.get_lines()) == 1
    pyplot.close("all")


@pytest.mark.parametrize("ax", [3, "ax", np.zeros(2)])
def test_plot_needs_axes(wide: Density, ax: Any) -> None:
    with pytest.raises(InputError, match="ax must be the axes of a figure, got"):
        wide.plot(ax)
