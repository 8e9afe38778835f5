"""Figures of single units: Q-Q plots, modes, both sides of a norm, outlier channels, drift."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import special, stats

from distfit_nn.comparison import compare
from distfit_nn.report import figures
from distfit_nn.report.shapes import (
    BEYOND,
    DRIFTED,
    QQ,
    WITHIN,
    Channels,
    Moved,
    Shape,
    clear_modes,
    standings,
)
from distfit_nn.report.svg import AFTER, BEFORE, theme
from distfit_nn.stats.health import OUTLIER_RATIO
from distfit_nn.stats.summary import Place, summarise
from tests.tolerances import sum_error


@pytest.fixture
def ax():
    with theme(), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield Figure(figsize=(4, 3)).add_axes((0.2, 0.1, 0.75, 0.8))


def drawn(ax):
    """Draw all of it, as a file would."""
    ax.figure.draw_without_rendering()
    return ax


# Q-Q


def test_quantiles_are_those_of_probplot(rng):
    x = rng.gamma(2, 1, 100)
    found = QQ.of_values(x)
    normal, values = stats.probplot(x, fit=False)
    np.testing.assert_allclose(found.normal, normal, rtol=1e-12)
    np.testing.assert_array_equal(found.values, values)
    assert found.mean == pytest.approx(x.mean(), rel=sum_error(100))
    assert found.std == pytest.approx(x.std(), rel=sum_error(100))


def test_many_values_are_thinned_but_keep_their_ends(rng):
    x = rng.normal(size=20_000)
    found = QQ.of_values(x)
    normal, values = stats.probplot(x, fit=False)
    assert found.n == 20_000
    assert len(found.values) <= 150
    places = np.searchsorted(normal, found.normal - 1e-9)
    np.testing.assert_allclose(values[places], found.values)
    assert (found.values[0], found.values[-1]) == (x.min(), x.max())


def test_the_band_holds_each_quantile_of_normal_units_at_its_level():
    """1,000 normal samples: the share inside is that of the level, at the ends and between."""
    rng = np.random.default_rng(3)
    n = 60
    ordered = np.sort(rng.normal(size=(1000, n)), axis=1)
    found = dataclasses.replace(QQ.of_values(ordered[0]), mean=0.0, std=1.0)
    made = QQ.of_values(ordered[0])
    low = (made.low - made.mean) / made.std
    high = (made.high - made.mean) / made.std
    inside = np.mean((ordered >= low) & (ordered <= high), axis=0)
    error = np.sqrt(found.level * (1 - found.level) / 1000)
    assert np.all(np.abs(inside - found.level) < 4.5 * error)


def test_without_rows_the_histogram_is_what_is_known(rng):
    x = rng.normal(2, 3, (5000, 2))
    recording = dataclasses.replace(summarise(x), sample=None)
    found = QQ.of(recording, 1)
    assert (found.source, found.n) == ("histogram", 5000)
    share = special.ndtr(found.normal)
    below = np.mean(x[:, 1, None] < found.values, axis=0)
    np.testing.assert_allclose(share, below, rtol=1e-9)
    assert found.mean == pytest.approx(x[:, 1].mean())


def test_the_source_of_the_rows_is_told(rng):
    assert QQ.of(summarise(rng.normal(size=(50, 1)))).source == "values"
    assert QQ.of(summarise(rng.normal(size=(3000, 1)))).source == "sample"


@pytest.mark.parametrize("values", [np.ones(9), [1.0], [], np.full(5, np.nan), [np.inf, -np.inf]])
def test_no_quantiles_without_two_values(values):
    assert QQ.of_values(values) is None


def test_an_outlier_does_not_squeeze_the_rest_and_is_counted(ax, rng):
    x = np.append(rng.normal(size=500), [1e30, -1e30, 1e30])
    found = QQ.of_values(x)
    assert found.beyond == (1, 2)
    assert found.top < 20
    drawn(figures.qq(ax, found))
    assert [text.get_text() for text in ax.texts] == ["↓ 1", "2 ↑"]


def test_a_qq_plot_has_points_line_and_band(ax, rng):
    found = QQ.of_values(rng.normal(3, 2, 80))
    assert figures.qq(ax, found, BEFORE) is ax
    line, points = ax.lines
    np.testing.assert_array_equal(points.get_ydata(), found.values)
    np.testing.assert_allclose(line.get_ydata(), found.mean + found.std * found.normal)
    assert (points.get_color(), line.is_dashed()) == (BEFORE, True)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(found.low.min())
    assert band[:, 1].max() == pytest.approx(found.high.max())


# Modes


def test_modes_are_marked_where_the_density_has_them(ax, rng):
    x = rng.normal(size=(2000, 1)) + 4 * rng.choice([-1, 1], (2000, 1))
    recording = summarise(x)
    modes = clear_modes(recording.density[0])
    np.testing.assert_allclose(modes, [-4, 4], atol=0.4)
    shape = Shape.of(recording.histogram, recording.density[0])
    drawn(figures.distribution(ax, shape, modes=modes))
    assert [text.xy[0] for text in ax.texts] == list(modes)
    heights = [text.xy[1] for text in ax.texts]
    np.testing.assert_allclose(heights, recording.density[0].pdf(modes), rtol=0.02)


def test_no_modes_without_a_density():
    recording = summarise(np.ones((50, 1)))
    assert clear_modes(recording.density[0]) == ()
    assert clear_modes(None) == ()


# Both sides of a norm


def test_before_is_below_and_after_above(ax, rng):
    x = rng.normal(5, 3, (500, 1))
    before, after = (
        Shape.of(one.pooled_histogram, one.pooled_density)
        for one in (summarise(x), summarise((x - 5) / 3))
    )
    drawn(figures.before_after(ax, before, after))
    below, above = (artist.get_data().values for artist in ax.patches or ax.artists)
    assert below.max() <= 0 <= above.min()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["after", "before"]
    low, high = ax.get_xlim()
    assert low <= min(before.low, after.low)
    assert high >= max(before.high, after.high)


# Outlier channels


def test_outlier_channels_are_flagged_and_named(ax, rng):
    x = rng.normal(size=(300, 20))
    x[:, 7] *= 400
    units = summarise(x).units
    found = Channels.of(units)
    largest = np.abs(x).max(axis=0)
    np.testing.assert_allclose(found.magnitude, largest)
    assert found.median == pytest.approx(np.median(largest))
    assert found.threshold == pytest.approx(OUTLIER_RATIO * found.median)
    assert (found.flagged.tolist(), found.names, found.log) == ([7], ("Unit 7",), True)
    drawn(figures.outliers(ax, found, AFTER))
    median, threshold, flagged = ax.lines
    assert median.get_ydata()[0] == found.median
    assert (threshold.get_ydata()[0], threshold.is_dashed()) == (found.threshold, True)
    np.testing.assert_array_equal(flagged.get_xydata(), [[7.5, largest[7]]])
    assert [text.get_text() for text in ax.texts] == ["Unit 7"]


def test_neighbours_share_a_bar_where_units_are_many(rng):
    x = rng.normal(size=(30, 1000))
    found = Channels.of(summarise(x).units)
    assert len(found.height) == 250
    np.testing.assert_allclose(found.height, np.abs(x).max(axis=0).reshape(250, 4).max(axis=1))
    assert (found.edges[0], found.edges[-1]) == (0, 1000)


@pytest.mark.parametrize(
    "values",
    [np.zeros((9, 3)), np.full((9, 3), 2.5), np.array([[0.0, np.nan, 1e30]] * 4), [[1.0]]],
)
def test_channels_of_odd_units_are_drawn(ax, values):
    drawn(figures.outliers(ax, Channels.of(summarise(values).units)))


@pytest.mark.parametrize(
    "sizes",
    [
        [1e-310] * 40 + [1e307],
        [1e-310, 1e307] * 20,
        [5e-324] * 9,
        [5e-324] * 9 + [1e-300],
        [1e-99] * 9 + [1e99],
        [1.7e308] * 9 + [1.0],
        [0.0] * 9 + [1e307],
        list(np.geomspace(1e-310, 1e307, 300)),
    ],
)
def test_magnitudes_at_the_ends_of_float64_are_drawn(ax, sizes):
    """Warnings are errors here. A log axis spans 30 decades at most."""
    found = Channels.of(summarise(np.array([sizes, sizes])).units)
    drawn(figures.outliers(ax, found))
    low, high = ax.get_ylim()
    assert np.isfinite(high)
    assert low == found.base < high
    assert not found.log or high / low <= 4.001e30
    assert found.magnitude.tolist() == sizes


def test_of_many_outliers_the_largest_are_marked(ax):
    sizes = np.ones(1000)
    sizes[:300] = np.arange(1000, 1300)
    found = Channels.of(summarise(sizes[None]).units)
    assert found.outliers == 300
    assert found.flagged.tolist() == list(range(299, 239, -1))
    drawn(figures.outliers(ax, found))
    assert len(ax.lines[-1].get_xdata()) == 60


def test_no_channels_without_a_value():
    assert Channels.of(summarise(np.full((5, 2), np.nan)).units) is None


# Drift


@pytest.fixture(scope="module")
def comparison():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 200, 6))
    y[:, 2] += 1
    x[:, 4], y[:, 4] = 1, 2  # infinitely far apart
    x[:, 5] = np.nan
    return compare({"a": x, "b$x$": x[:, :2]}, {"a": y, "b$x$": y[:, :2]})


def test_drift_of_units_is_drawn_over_chance(ax, comparison):
    table = comparison.units[comparison.units["layer"] == "a"]
    found = Moved.of(table)
    assert found.labels == ("Unit 0", "Unit 1", "Unit 2", "Unit 3", "Unit 4")  # 5 has no distance
    assert found.standing.tolist() == [WITHIN, WITHIN, DRIFTED, WITHIN, DRIFTED]
    assert np.isinf(found.effect[4])
    drawn(figures.drift(ax, found))
    full, open_ = ax.lines
    np.testing.assert_allclose(full.get_xdata(), [found.effect[2], ax.get_xlim()[1]])
    np.testing.assert_allclose(open_.get_xdata(), found.effect[[0, 1, 3]])
    widths = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(widths[:4], found.chance_high[:4])
    assert [text.get_text() for text in ax.texts] == ["∞ →"]


def test_three_states_of_drift_are_told_apart(ax, comparison):
    """A small shift of many rows is surely there, and no drift: its dot is half full."""
    table = comparison.layers.iloc[[0, 0, 0]].assign(
        qvalue=[0.5, 0.01, 0.01], drifted=[False, False, True], wasserstein_mean=[0.1, 0.2, 0.3]
    )
    assert standings(table).tolist() == [WITHIN, BEYOND, DRIFTED]
    assert standings(table, alpha=0.005).tolist() == [WITHIN, WITHIN, DRIFTED]
    drawn(figures.drift(ax, Moved.of(table)))
    fills = {line.get_fillstyle(): line.get_xdata().tolist() for line in ax.lines}
    assert fills == {"full": [0.3], "left": [0.2], "none": [0.1]}


def test_drift_of_layers_is_drawn(ax, comparison):
    found = Moved.of(comparison.layers)
    assert found.labels == ("a", "b$x$")
    np.testing.assert_array_equal(found.effect, comparison.layers["wasserstein_mean"])
    drawn(figures.drift(ax, found))


def test_the_largest_are_kept_in_the_order_of_the_table(comparison):
    table = comparison.units[comparison.units["layer"] == "a"]
    found = Moved.of(table, most=2)
    assert (found.labels, found.left_out) == (("Unit 2", "Unit 4"), 3)


def test_nothing_that_moved_is_none(comparison):
    assert Moved.of(comparison.layers[:0]) is None


def test_names_are_those_of_the_units(rng):
    place = Place(names=("<b>", "other", "ok"))
    units = summarise(rng.normal(size=(50, 3)) * [1, 1, 1e6], place).units
    assert Channels.of(units).names == ("ok",)
