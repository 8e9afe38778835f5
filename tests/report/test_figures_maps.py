"""Maps: what a heat map and a matrix of dependence draw, on any paper, at any size."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from distfit_nn.report import figures
from distfit_nn.report.palette import PAGE, STRONGEST
from distfit_nn.report.shapes import Dependence, Grid
from distfit_nn.report.svg import Frame, Sketchbook, theme
from distfit_nn.stats.summary import summarise

LIGHT = {"paper": "#ffffff", "ink": "#1b1f27"}
DARK = {"paper": "#1a1e25", "ink": "#ebe8e1"}
AA = 4.5  # contrast that WCAG 2 asks of text


def table(values, site="values", names=None):
    rows = [
        {"layer": names[i] if names else f"l{i}", "site": site, "step": 10 * j, "v": value}
        for i, row in enumerate(values)
        for j, value in enumerate(row)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def ax():
    with theme(), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield Figure(figsize=(6, 4)).add_axes((0.2, 0.1, 0.7, 0.8))


def pixels(ax):
    return np.asarray(ax.images[0].get_array())


def test_a_cell_for_each_layer_and_step(ax):
    grid = Grid.of(table([[1.0, 2, 3], [4, 5, 6]]), "v")
    np.testing.assert_array_equal(grid.values, [[1, 2, 3], [4, 5, 6]])
    assert (grid.rows, grid.columns) == (("l0", "l1"), ("0", "10", "20"))
    assert figures.heat_map(ax, grid) is ax
    alpha = pixels(ax)[..., 3].astype(float)
    assert np.all(np.diff(alpha.ravel()) > 0)
    assert alpha.max() == pytest.approx(255 * STRONGEST, abs=1)
    assert alpha.min() > 0  # the lowest is not what is missing
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3", "4", "5", "6"]
    top, bottom = ax.get_ylim()[1], ax.get_ylim()[0]
    assert (top, bottom) == (0, 2)  # the first layer is on top


def test_missing_cells_are_struck_through(ax):
    steps = table([[1.0, np.nan, np.inf], [4, 5, 6]])
    grid = Grid.of(steps.drop(index=5), "v")
    figures.heat_map(ax, grid)
    assert np.flatnonzero(pixels(ax)[..., 3].ravel() == 0).tolist() == [1, 2, 5]
    struck = ax.collections[0].get_segments()
    assert [(s[0][1], s[0][0] // 1, s[1][0] // 1) for s in struck] == [(0.5, 1, 2), (1.5, 2, 2)]
    assert len(ax.texts) == 3


@pytest.mark.parametrize(("factor", "log"), [(29, False), (31, True), (-1, False)])
def test_colours_go_by_the_logarithm_over_decades(factor, log):
    grid = Grid.of(table([[1.0, float(factor)]]), "v")
    assert grid.log == log
    middle = Grid.of(table([[1.0, 10.0, 100.0]]), "v")
    assert middle.share().ravel() == pytest.approx([0, 0.5, 1])


def test_one_value_or_equal_ones_are_drawn(ax):
    grid = Grid.of(table([[3.0]]), "v")
    assert grid.share()[0, 0] == 0.5
    figures.heat_map(ax, grid)
    ax.figure.draw_without_rendering()


def test_nothing_finite_is_none():
    assert Grid.of(table([[np.nan, np.inf]]), "v") is None
    assert Grid.of(table([[1.0]]), "v", site="other") is None


def test_several_sites_have_a_row_each():
    both = pd.concat([table([[1.0]]), table([[2.0]], site="norm_input")])
    assert Grid.of(both, "v").rows == ("l0, values", "l0, before")
    assert Grid.of(both, "v", site="values").rows == ("l0",)


def test_many_cells_have_a_scale_instead_of_numbers_and_stay_small(rng):
    values = np.exp(rng.normal(size=(200, 100)))
    grid = Grid.of(table(values), "v")
    with theme():
        svg = str(Sketchbook().draw(lambda ax: figures.heat_map(ax, grid), Frame(480, 400, 60, 30)))
    assert svg.count("<image") == 2  # map and scale
    assert len(svg) < 100_000
    assert svg.count("<text") < 60


def test_shared_axes_keep_no_map(rng):
    grid, small = Grid.of(table(rng.normal(size=(50, 40))), "v"), Grid.of(table([[1.0]]), "v")
    frame = Frame(300, 200, 60, 30, 40)
    with theme():
        used, fresh = Sketchbook(), Sketchbook()
        used.draw(lambda ax: figures.heat_map(ax, grid), frame)
        fresh.draw(lambda _: None, frame)
        again = used.draw(lambda ax: figures.heat_map(ax, small), frame)
        assert again == fresh.draw(lambda ax: figures.heat_map(ax, small), frame)


def test_hostile_names_are_labels(ax):
    names = ["<script>", "$x$ and \\frac", "a" * 10**6, "nul\0"]
    figures.heat_map(ax, Grid.of(table([[1.0]] * 4, names=names), "v"))
    ax.figure.draw_without_rendering()
    shown = [label.get_text() for label in ax.get_yticklabels()]
    assert shown[:2] == names[:2]
    assert max(map(len, shown)) <= 28


# Colours


def lightness(rgb):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return luminance, 116 * np.cbrt(luminance) - 16


def rgb_of(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


@pytest.mark.parametrize("page", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("hue", [PAGE.more, PAGE.less], ids=["more", "less"])
def test_the_colours_are_even_and_legible_on_both_papers(page, hue):
    """Lightness alone orders them, its steps differ by half at most, and ink is legible on all."""
    strength = STRONGEST * np.linspace(0, 1, 17)[:, None]
    mixed = (1 - strength) * rgb_of(page["paper"]) + strength * np.array(hue)
    luminance, light = lightness(mixed)
    steps = np.abs(np.diff(light))
    assert np.all(np.diff(light) < 0) or np.all(np.diff(light) > 0)
    assert steps.max() <= 1.5 * steps.min()
    assert np.ptp(light) > 25
    ink, _ = lightness(rgb_of(page["ink"]))
    high, low = np.maximum(luminance, ink), np.minimum(luminance, ink)
    assert np.min((high + 0.05) / (low + 0.05)) >= AA


# Dependence


def test_dependence_is_spearmans_matrix_in_another_order(ax, rng):
    x = rng.normal(size=(100, 5))
    x[:, 3] = -x[:, 1]
    found = Dependence.of(summarise(x))
    rho = stats.spearmanr(x).statistic
    np.testing.assert_allclose(found.matrix, rho[np.ix_(found.rows, found.rows)], atol=1e-12)
    assert sorted(found.names) == list("01234")
    places = found.names.index("1"), found.names.index("3")
    assert abs(places[0] - places[1]) == 1  # side by side
    assert figures.dependence(ax, found) is ax
    drawn = pixels(ax)[places]
    np.testing.assert_allclose(drawn[:3] / 255, PAGE.less, atol=1 / 255)
    assert drawn[3] == pytest.approx(255 * STRONGEST, abs=1)
    assert np.all(pixels(ax)[np.arange(5), np.arange(5), 3] == 0)


def test_dependence_of_two_units_and_of_none(rng):
    x = rng.normal(size=(50, 2))
    assert Dependence.of_values(x).matrix.shape == (2, 2)
    assert Dependence.of_values(np.ones((50, 4))) is None
    assert Dependence.of_values(x[:, :1]) is None


def test_most_units_are_drawn_by_seed(rng):
    found = Dependence.of_values(rng.normal(size=(30, 60)), most=10, seed=3)
    assert (len(found.rows), found.units) == (10, 60)
