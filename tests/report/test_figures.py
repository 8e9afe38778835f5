"""Drawings: what they draw, that they leave no trace, and that they are safe inside a page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure

from distfit_nn import maxent
from distfit_nn.report import figures
from distfit_nn.report.figures.frame import round_values
from distfit_nn.report.shapes import Shape, Spread, coincide, standard_normal, track
from distfit_nn.report.svg import AFTER, BEFORE, Frame, Sketchbook, inline, theme
from distfit_nn.stats.densities import Histogram, histogram
from distfit_nn.stats.sketch import sketch
from tests.tolerances import sum_error

FRAME = Frame(200, 100, left=30, bottom=20, right=5, top=5)
NAMESPACE = "{http://www.w3.org/2000/svg}"


def shape_of(values: np.ndarray, *, fit: bool = True) -> Shape | None:
    density = maxent.fit(values, 6) if fit else None
    return Shape.of(histogram(sketch(values[:, None]), 32), density)


@pytest.fixture
def ax():
    with theme():
        yield Figure().add_axes((0.1, 0.1, 0.8, 0.8))


# Shapes: what is drawn


def test_bars_have_the_area_of_the_values_they_hold(rng):
    values = np.append(rng.standard_normal(500), 1e6)  # one value beyond the bars
    shape = shape_of(values)
    area = np.sum(shape.height * np.diff(shape.edges))
    assert (shape.n, shape.outside) == (501, 1)
    assert area == pytest.approx(500 / 501, rel=sum_error(32))


def test_merging_bars_keeps_their_area(rng):
    shape = Shape.of(histogram(sketch(rng.standard_normal((400, 1))), 500), None)
    assert len(shape.height) <= 120
    area = np.sum(shape.height * np.diff(shape.edges))
    assert area == pytest.approx(1 - shape.outside / 400, rel=sum_error(500))


def test_the_fitted_curve_is_the_density(rng):
    values = rng.standard_normal(300)
    density = maxent.fit(values, 6)
    shape = Shape.of(histogram(sketch(values[:, None]), 32), density)
    np.testing.assert_array_equal(shape.fitted, density.pdf(shape.grid))


def test_a_failed_fit_gives_no_curve():
    assert shape_of(np.full(50, 2.5)).fitted is None


def test_no_values_give_no_shape():
    assert Shape.of(histogram(sketch(np.full((5, 1), np.nan)), 8), None) is None


def test_a_repeated_value_does_not_flatten_the_rest(rng):
    values = np.append(rng.standard_normal(500), np.zeros(5000))
    shape = shape_of(values, fit=False)
    assert shape.top < shape.height.max() / 2


@pytest.mark.parametrize(
    ("scale", "holds"), [(1.0, True), (0.5, True), (0.01, False), (30.0, True)]
)
def test_the_axis_holds_the_standard_normal_where_that_leaves_the_bars_visible(rng, scale, holds):
    shape = shape_of(scale * rng.standard_normal(500), fit=False)
    assert (shape.low <= -3 and shape.high >= 3) == holds
    assert shape.low <= shape.edges[0]
    assert shape.high >= shape.edges[-1]


@given(
    arrays(np.float64, st.integers(1, 40), elements=st.floats(allow_nan=True, allow_infinity=True)),
    st.booleans(),
)
def test_a_spread_counts_every_finite_unit(sample, log):
    finite = sample[np.isfinite(sample)]
    if np.any(np.abs(finite) > 1e150):  # squares of the range would overflow
        return
    spread = Spread.of([sample], log=log)
    if spread is None:
        assert finite.size == 0 or (log and np.all(finite <= 0))
        return
    inside = finite if not log else np.log10(finite[finite > 0])
    drawn = np.sum((inside >= spread.edges[0]) & (inside <= spread.edges[-1]))
    assert drawn + sum(spread.beyond[0]) == finite.size == spread.n[0]
    assert spread.shares[0].max() in (0.0, 1.0)


def test_a_track_has_the_quartiles_of_each_site_and_step(rng):
    values = rng.standard_normal(40)
    values[3] = np.nan
    units = pd.DataFrame({"site": ["a", "b"] * 20, "step": [0] * 20 + [5] * 20, "kl": values})
    for _, row in track(units, "kl").iterrows():
        here = units[(units["site"] == row["site"]) & (units["step"] == row["step"])]["kl"]
        np.testing.assert_allclose(
            [row["low"], row["median"], row["high"]], np.nanquantile(here, [0.25, 0.5, 0.75])
        )


@pytest.mark.parametrize("log", [False, True])
def test_sites_coincide_if_lines_and_bands_do(log):
    data = pd.DataFrame({"step": [0, 9], "low": [1.0, 2], "median": [3.0, 4], "high": [6.0, 9]})
    same = pd.concat([data.assign(site="a"), data.assign(site="b")], ignore_index=True)
    assert coincide(same, log=log)
    for column in ("low", "median", "high"):
        for row, factor, close in ((4, 1.01, True), (4, 1.2, False)):
            moved = same.copy()
            moved.loc[row - 1, column] *= factor
            assert coincide(moved, log=log) == close
    assert not coincide(same[same["site"] == "a"], log=log)
    assert not coincide(same[:3], log=log)  # at one step there is nothing to compare with


def test_two_equal_lines_are_both_seen(ax):
    """The second is on top, as wide, and dashed: the first shows through the gaps."""
    data = pd.DataFrame({"step": [0, 9], "low": 0.0, "median": [1.0, 2], "high": 3.0})
    both = pd.concat([data.assign(site="a"), data.assign(site="b")], ignore_index=True)
    figures.over_steps(ax, both, {"a": AFTER, "b": BEFORE}, log=False)
    below, above = ax.lines
    assert (below.get_color(), above.get_color()) == (AFTER, BEFORE)
    assert (below.is_dashed(), above.is_dashed()) == (False, True)
    assert below.get_linewidth() == above.get_linewidth()


@pytest.mark.parametrize("ends", [(-330.0, -310.0), (-330.0, 320.0), (290.0, 320.0)])
def test_logarithmic_axes_beyond_the_floats_are_drawn(ax, ends):
    flat = Spread(np.linspace(*ends, 9), (np.ones(8),), (ends[0],), ((0, 0),), (8,), True)
    figures.spread(ax, flat, [AFTER], [""])


# Figures: axes in, axes out


def test_a_distribution_has_a_solid_fit_and_a_dashed_normal(ax, rng):
    shape = shape_of(rng.standard_normal(300))
    assert figures.distribution(ax, shape) is ax
    fitted, normal = ax.lines
    np.testing.assert_array_equal(fitted.get_ydata(), shape.fitted)
    np.testing.assert_array_equal(normal.get_ydata(), standard_normal(shape.grid))
    assert (fitted.is_dashed(), normal.is_dashed()) == (False, True)


def test_a_cut_bar_has_its_height_beside_it(ax, rng):
    figures.distribution(
        ax, shape_of(np.append(rng.standard_normal(500), np.zeros(5000)), fit=False)
    )
    assert [text.get_text()[:8] for text in ax.texts] == ["bar cut:"]


def test_a_spread_mirrors_equal_sites(ax, rng):
    sample = rng.standard_normal(50)
    figures.spread(ax, Spread.of([sample, sample]), [AFTER, BEFORE], ["after", "before"])
    up, down = (artist.get_data().values for artist in ax.patches or ax.artists)
    np.testing.assert_array_equal(up, -down)


def test_units_beyond_the_axis_are_counted(ax):
    sample = np.append(np.linspace(0, 1, 200), [50.0, -50.0])
    figures.spread(ax, Spread.of([sample]), [AFTER], [""])
    assert [text.get_text() for text in ax.texts] == ["← 1", "1 →"]


def test_over_steps_draws_the_medians_it_is_given(ax):
    data = pd.DataFrame(
        {
            "site": ["a", "a"],
            "step": [-5, 10],
            "low": [0.0, 1],
            "median": [1.0, 2],
            "high": [2.0, 3],
        }
    )
    assert figures.over_steps(ax, data, {"a": AFTER}, log=False) is ax
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [-5, 10])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [1, 2])


def test_a_ridge_has_a_row_for_each_step(ax, rng):
    rows = [(name, shape_of(rng.standard_normal(100))) for name in ("0", "10", "20")]
    figures.ridge(ax, rows)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "10", "20"]


@pytest.mark.parametrize(("low", "high"), [(1e-4, 3.0), (0.02, 0.09), (1.0, 12.0), (1e-9, 1e9)])
def test_logarithmic_axes_have_two_to_four_round_labels(low, high):
    values = round_values(low, high)
    assert 2 <= len(values) <= 4
    assert all(low <= value <= high for value in values)
    assert all(f"{value:e}"[0] in "1235" for value in values)


# SVG


def draw(paint, prefix: str = "f1") -> str:
    with theme():
        figure = FRAME.figure()
        paint(figure.axes[0])
        return str(inline(figure, prefix))


def test_colours_become_variables_of_the_page(rng):
    text = draw(lambda ax: figures.distribution(ax, shape_of(rng.standard_normal(100)), BEFORE))
    assert "var(--before)" in text
    assert "var(--ink)" in text
    assert not re.search(r"#[0-9a-f]{6}", text)


def test_ids_are_unique_to_a_figure_and_resolve(rng):
    shape = shape_of(rng.standard_normal(100))
    data = pd.DataFrame({"site": "a", "step": [1, 2], "low": 0.0, "median": 1.0, "high": 2.0})
    paints = (
        lambda ax: figures.distribution(ax, shape),
        lambda ax: figures.over_steps(ax, data, {"a": AFTER}, log=False),
    )
    seen: set[str] = set()
    for place, paint in enumerate(paints):
        text = draw(paint, f"f{place}")
        ids = re.findall(r' id="([^"]*)"', text)
        used = re.findall(r'(?:url\(|href=")#([^")]*)', text)
        assert used
        assert set(used) == set(ids)
        assert not seen & set(ids)
        seen |= set(ids)


def test_text_is_text_and_names_are_inert():
    name = "<script>alert(1)</script> & $x^2$ \"'"
    text = draw(lambda ax: ax.set_xticks([0.5], labels=[name]))
    root = ET.fromstring(text)  # noqa: S314 (made here)
    assert name in [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "<script" not in text


def test_a_drawing_is_reproducible_and_carries_no_metadata(rng):
    shape = shape_of(rng.standard_normal(100))
    first, second = (draw(lambda ax: figures.distribution(ax, shape)) for _ in range(2))
    assert first == second
    assert not re.search("metadata|matplotlib|<style|font-family|<!--", first)


def test_shared_axes_keep_nothing_of_the_last_drawing(rng):
    wide, narrow = shape_of(50 * rng.standard_normal(100)), shape_of(rng.standard_normal(100))
    far = pd.DataFrame({"site": "a", "step": [1, 9, 18], "low": 1.0, "median": 1e3, "high": 1e6})
    near = pd.DataFrame({"site": "a", "step": [1, 2], "low": 0.0, "median": 1.0, "high": 2.0})
    spreads = [Spread.of([np.geomspace(1, 1e6, 50)], log=True), Spread.of([np.linspace(0, 1, 9)])]
    for first, second in (
        (lambda ax: figures.distribution(ax, wide), lambda ax: figures.distribution(ax, narrow)),
        (
            lambda ax: figures.over_steps(ax, far, {"a": AFTER}, log=True),
            lambda ax: figures.over_steps(ax, near, {"a": AFTER}, log=False),
        ),
        (
            lambda ax: figures.spread(ax, spreads[0], [AFTER], [""]),
            lambda ax: figures.spread(ax, spreads[1], [AFTER], [""]),
        ),
    ):
        with theme():
            fresh, used = Sketchbook(), Sketchbook()
            used.draw(first, FRAME)
            fresh.draw(lambda _: None, FRAME)
            assert used.draw(second, FRAME) == fresh.draw(second, FRAME)


def test_the_theme_gives_the_settings_back():
    before = dict(mpl.rcParams)
    with theme():
        assert mpl.rcParams["svg.fonttype"] == "none"
    assert dict(mpl.rcParams) == before


def test_histograms_are_read_by_their_attributes_only():
    edges = np.array([[0.0], [1.0], [2.0]])
    n = np.array([4])
    flat = Histogram(edges, np.array([[2], [2]]), 0 * n, 0 * n, n)
    np.testing.assert_array_equal(Shape.of(flat, None).height, [0.5, 0.5])
