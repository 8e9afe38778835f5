"""`dn.plots`: what each function draws, where, with which labels; that it leaves no trace."""

from __future__ import annotations

import subprocess
import sys
import warnings

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy import stats

import distfit_nn as dn
from distfit_nn.errors import InputError
from distfit_nn.stats.summary import Place, summarise
from tests.report.cases import analysis_of, network

HOSTILE = "../<b>$x_1$ $\\frac$"


@pytest.fixture(scope="module")
def analysis():
    samples = network(np.random.default_rng(7), layers=2, units=6, rows=200, steps=(0, 50, 100))
    single = {(HOSTILE, "values", 0): np.random.default_rng(1).normal(size=(50, 4))}
    return analysis_of(samples | single)


@pytest.fixture(scope="module")
def comparison():
    x, y = np.random.default_rng(0).normal(size=(2, 150, 3))
    return dn.compare({"fc1": x, HOSTILE: x}, {"fc1": y + np.array([0, 0, 1]), HOSTILE: y})


@pytest.fixture
def ax():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield Figure().subplots()


CALLS = {
    "distribution": lambda a, _, ax: dn.plots.distribution(a, layer="layers.0", unit=5, ax=ax),
    "pooled": lambda a, _, ax: dn.plots.distribution(a, layer=HOSTILE, ax=ax),
    "density": lambda a, _, ax: dn.plots.density(a, layer="layers.0", unit=2, ax=ax),
    "qq": lambda a, _, ax: dn.plots.qq(a, layer="layers.0", unit=0, step=50, ax=ax),
    "before_after": lambda a, _, ax: dn.plots.before_after(a, layer="layers.1", ax=ax),
    "ridge": lambda a, _, ax: dn.plots.ridge(a, layer="layers.1", unit=1, ax=ax),
    "over_steps": lambda a, _, ax: dn.plots.over_steps(a, "std", layer="layers.1", ax=ax),
    "spread": lambda a, _, ax: dn.plots.spread(a, "std", layer="layers.1", ax=ax),
    "heat_map": lambda a, _, ax: dn.plots.heat_map(a, ax=ax),
    "dependence": lambda a, _, ax: dn.plots.dependence(a, layer=HOSTILE, ax=ax),
    "outliers": lambda a, _, ax: dn.plots.outliers(a, layer=HOSTILE, ax=ax),
    "drift": lambda a, _, ax: dn.plots.drift(a, ax=ax),
    "comparison": lambda _, c, ax: dn.plots.drift(c, ax=ax),
    "units": lambda _, c, ax: dn.plots.drift(c, layer=HOSTILE, ax=ax),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_draws_into_the_axes_it_is_given_and_leaves_no_trace(analysis, comparison, call, ax):
    figures, settings = plt.get_fignums(), dict(mpl.rcParams)
    assert call(analysis, comparison, ax) is ax
    assert ax.has_data()
    assert ax.get_xlabel()
    ax.figure.draw_without_rendering()
    assert plt.get_fignums() == figures
    assert dict(mpl.rcParams) == settings


@pytest.mark.parametrize("name", ["qq", "heat_map", "outliers", "units"])
def test_takes_no_more_room_in_a_layout_than_its_labels_need(analysis, comparison, name):
    axes = Figure(figsize=(12, 9), layout="constrained").subplots(2, 2)
    ax = CALLS[name](analysis, comparison, axes[1, 1])
    ax.figure.draw_without_rendering()
    assert ax.get_position().width > 0.25
    assert ax.get_position().height > 0.3


def test_drift_of_units_that_all_moved_takes_no_more_room(rng):
    x = rng.normal(size=(100, 3))
    moved = dn.compare({"a": x}, {"a": x + 5})
    ax = Figure(figsize=(12, 9), layout="constrained").subplots(2, 2)[1, 1]
    dn.plots.drift(moved, layer="a", ax=ax)
    ax.figure.draw_without_rendering()
    assert len(ax.lines) == 1
    assert ax.get_position().width > 0.25


def test_draws_into_the_current_axes_by_default(analysis, comparison):
    _, current = plt.subplots()
    try:
        for call in CALLS.values():
            assert call(analysis, comparison, None) is current
            current.clear()
    finally:
        plt.close()


def test_every_function_is_called_here():
    used = " ".join(CALLS) + " distribution"
    assert all(name in used for name in dn.plots.__all__)


@pytest.mark.parametrize("bad", ["axes", 3, Figure()])
def test_something_else_than_axes_is_a_clear_error(bad):
    with pytest.raises(InputError, match="ax must be the axes of a figure, got"):
        dn.plots.distribution(np.arange(9.0), ax=bad)


# What is drawn


def test_a_distribution_of_an_array_is_its_column(ax, rng):
    x = rng.normal(size=(400, 2)) + np.array([0, 5])
    dn.plots.distribution(x, unit=1, modes=False, ax=ax)
    fitted = ax.lines[0]
    np.testing.assert_allclose(
        fitted.get_ydata(), dn.maxent.fit(x[:, 1], 6).pdf(fitted.get_xdata()), rtol=1e-6
    )
    assert (ax.get_title(), len(ax.texts)) == ("unit 1", 0)
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["maximum entropy", "N(0,1)"]


def test_a_tensor_is_an_array(ax):
    torch = pytest.importorskip("torch")
    dn.plots.distribution(torch.linspace(-1, 1, 99, dtype=torch.bfloat16), ax=ax)
    assert ax.has_data()


def test_a_density_of_columns_has_a_curve_each(ax, rng):
    found = dn.maxent.fit(rng.normal(size=(300, 2)), 4)
    dn.plots.density(found, ax=ax, color="red")
    assert [line.get_color() for line in ax.lines] == ["red", "red"]
    x = ax.lines[1].get_xdata()
    np.testing.assert_allclose(ax.lines[1].get_ydata(), found[1].pdf(x))


def test_densities_overlay_with_labels(ax, rng):
    for name in ("a", "b"):
        dn.plots.density(rng.normal(size=200), ax=ax, label=name)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert ax.lines[0].get_color() != ax.lines[1].get_color()


def test_qq_is_probplot(ax, rng):
    x = rng.gamma(2, 1, 120)
    dn.plots.qq(x, ax=ax)
    normal, values = stats.probplot(x, fit=False)
    np.testing.assert_allclose(ax.lines[1].get_xdata(), normal)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), values)


def test_qq_of_an_analysis_says_what_it_rests_on(analysis, ax):
    dn.plots.qq(analysis, layer="layers.0", unit=1, ax=ax)
    assert ax.get_xlabel() == "quantiles of N(0,1), 200 values"
    assert ax.get_title() == "layers.0, after normalisation, step 100, unit 1"


def test_over_steps_draws_medians_of_both_sides(analysis, ax):
    dn.plots.over_steps(analysis, "std", layer="layers.0", log=False, ax=ax)
    units = analysis.units[analysis.units["layer"] == "layers.0"]
    for line, site in zip(ax.lines, ("norm_output", "norm_input"), strict=True):
        medians = units[units["site"] == site].groupby("step")["std"].median()
        np.testing.assert_allclose(line.get_ydata(), medians)
        np.testing.assert_array_equal(line.get_xdata(), medians.index)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["after", "before"]


def test_a_heat_map_has_the_numbers_of_the_table(ax):
    data = {"layer": list("aabb"), "site": "s", "step": [0, 1, 0, 1], "v": [1.0, 2, 3, 4]}
    dn.plots.heat_map(pd.DataFrame(data), "v", ax=ax)
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3", "4"]
    assert (ax.get_title(), ax.get_xlabel()) == ("v", "step")


def test_dependence_is_spearmans(ax, rng):
    x = rng.normal(size=(90, 3))
    dn.plots.dependence(x, ax=ax)
    order = [int(label.get_text()) for label in ax.get_xticklabels()]
    rho = stats.spearmanr(x).statistic[np.ix_(order, order)]
    alpha = np.asarray(ax.images[0].get_array())[..., 3]
    np.fill_diagonal(rho, 0)
    np.testing.assert_allclose(alpha / 255, 0.72 * np.abs(rho), atol=1 / 255)


def test_drift_is_that_of_the_comparison(comparison, ax):
    dn.plots.drift(comparison, layer="fc1", ax=ax)
    table = comparison.units[comparison.units["layer"] == "fc1"]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), table["wasserstein"][table["drifted"]])
    assert "left out" not in ax.get_title()
    other = Figure().subplots()
    dn.plots.drift(comparison, layer="fc1", most=1, ax=other)
    assert other.get_title() == "fc1, 2 of least drift left out"


def test_before_and_after_of_arrays(ax, rng):
    x = rng.normal(3, 2, 300)
    dn.plots.before_after(x, x / 2, color=("red", "blue"), ax=ax)
    assert [to_hex(line.get_color()) for line in ax.lines[:3:2]] == ["#ff0000", "#0000ff"]


def test_colours_follow_the_style_of_the_caller(rng):
    with plt.style.context("dark_background"):
        dark = dn.plots.qq(rng.normal(size=50), ax=Figure().subplots())
    light = dn.plots.qq(rng.normal(size=50), ax=Figure().subplots())
    assert (dark.lines[0].get_color(), light.lines[0].get_color()) == ("#ffffff", "#000000")
    assert dark.lines[1].get_color() != light.lines[1].get_color()
    named = dn.plots.qq(rng.normal(size=50), ax=Figure().subplots(), color="green")
    assert to_hex(named.lines[1].get_color()) == to_hex("green")


def test_names_are_text_not_formulas(analysis, ax):
    dn.plots.heat_map(analysis, ax=ax)
    ax.figure.draw_without_rendering()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert any("\\$x_1\\$" in label for label in labels)  # an escaped dollar is a dollar
    other = Figure().subplots()
    dn.plots.distribution(analysis, layer=HOSTILE, ax=other)
    other.figure.draw_without_rendering()


# Errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a: dn.plots.distribution(a, layer="layer.0"),
            "did you mean 'layers.0', 'layers.1'",
        ),
        (lambda a: dn.plots.distribution(a), "layer must name one of 3 layers: 'layers.0'"),
        (lambda a: dn.plots.distribution(a, layer="layers.0", site="norm_inputs"), "'norm_input'"),
        (lambda a: dn.plots.distribution(a, layer="layers.0", step=51), "got 51; nearest: 50, 100"),
        (lambda a: dn.plots.distribution(a, layer="layers.0", step="x"), "step must be one"),
        (lambda a: dn.plots.distribution(a, layer="layers.0", unit=6), "got 6; nearest: 1, 2, 3"),
        (lambda a: dn.plots.distribution(a, layer="layers.0", unit="u"), "there is no unit 'u'"),
        (lambda a: dn.plots.distribution(a, layer="layers.0", unit=-1), "unit must be a whole"),
        (lambda a: dn.plots.qq(a, layer="layers.0"), "unit must be given: layer layers.0 has 6"),
        (lambda a: dn.plots.before_after(a, layer=HOSTILE), "recorded on one side only"),
        (lambda a: dn.plots.over_steps(a, "stdd", layer="layers.0"), "did you mean 'std'"),
        (lambda a: dn.plots.over_steps(a, "shape", layer="layers.0"), "column must hold numbers"),
        (lambda a: dn.plots.over_steps(a, "mean", layer="layers.0", log=True), "0 or less"),
        (lambda _: dn.plots.over_steps(3), "must be an Analysis or a DataFrame, got int"),
        (lambda a: dn.plots.heat_map(a, "kl_medain"), "did you mean 'kl_median'"),
        (lambda a: dn.plots.heat_map(a, site="nowhere"), "there is no site 'nowhere'"),
        (lambda a: dn.plots.dependence(a, layer="layers.0", most=1), "most must be a whole number"),
        (lambda a: dn.plots.drift(a, layer="x"), "there is no layer 'x'"),
        (lambda _: dn.plots.drift([1, 2]), "must be a Comparison, an Analysis or a table"),
        (lambda _: dn.plots.distribution(np.zeros((3, 2)), unit=2), "unit must be below 2"),
        (lambda _: dn.plots.distribution(np.full(5, np.nan)), "no finite value"),
        (lambda _: dn.plots.distribution(np.arange(5), layer="a"), "choose from an Analysis"),
        (lambda _: dn.plots.qq(np.ones(5)), "two different finite values"),
        (lambda _: dn.plots.qq(np.ones((5, 2))), "unit must be given: there are 2"),
        (lambda _: dn.plots.before_after(np.arange(5)), "after must be given"),
        (lambda _: dn.plots.ridge(np.arange(5)), "an Analysis or a mapping"),
        (lambda _: dn.plots.dependence(np.ones((9, 3))), "two units that vary"),
        (lambda _: dn.plots.qq(np.arange(9.0), color="no such"), "color must be a colour"),
        (lambda _: dn.plots.distribution(["a", "b"]), "data must be an array of real numbers"),
    ],
)
def test_mistakes_are_told_in_one_sentence(analysis, call, message):
    _, _ = plt.subplots()
    try:
        with pytest.raises(InputError) as caught:
            call(analysis)
    finally:
        plt.close()
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_near_miss_of_a_huge_name_is_quick_and_short():
    rng = np.random.default_rng(0)
    huge = analysis_of(
        {("a" * 10**6, "values", 0): rng.normal(size=(9, 1))}
        | {(f"b{i}", "values", 0): rng.normal(size=(9, 1)) for i in range(2)}
    )
    with pytest.raises(InputError) as caught:
        dn.plots.distribution(huge, layer="a" * 10**6 + "b")
    assert len(str(caught.value)) < 400


# Odd data


ODD = {
    "constant": np.full((50, 3), 2.5),
    "one value": np.array([[1.0]]),
    "mostly nan": np.where(np.eye(40, 3), 1.0, np.nan),
    "outlier": np.vstack([np.random.default_rng(0).normal(size=(99, 3)), np.full((1, 3), 1e30)]),
    "huge": np.random.default_rng(0).normal(size=(50, 3)) * 1e200,
    "tiny": np.random.default_rng(0).normal(size=(50, 3)) * 1e-200,
    "zeros": np.zeros((20, 3)),
    "binary": np.random.default_rng(0).integers(0, 2, (50, 3)),
}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(values, id=name, marks=[] if name == "outlier" else pytest.mark.slow)
        for name, values in ODD.items()
    ],
)
def test_odd_units_are_drawn_or_told(values, ax):
    pair = {("a", "norm_input", 0): values, ("a", "norm_output", 0): values}
    last = {(layer, site, 1): x for (layer, site, _), x in pair.items()}
    odd = analysis_of(pair | last, order=2)  # a fit to such outliers of order 6 takes seconds
    for draw in (
        lambda ax: dn.plots.distribution(odd, ax=ax),
        lambda ax: dn.plots.distribution(odd, unit=0, ax=ax),
        lambda ax: dn.plots.qq(odd, unit=0, ax=ax),
        lambda ax: dn.plots.before_after(odd, ax=ax),
        lambda ax: dn.plots.ridge(odd, ax=ax),
        lambda ax: dn.plots.outliers(odd, ax=ax),
        lambda ax: dn.plots.dependence(odd, ax=ax),
        lambda ax: dn.plots.drift(odd, ax=ax),
        *(
            lambda ax, name=name: dn.plots.heat_map(odd, name, ax=ax)
            for name in ("kl_median", "pooled_std", "dead")
        ),
        *(
            lambda ax, draw=draw, name=name: draw(odd, name, ax=ax)
            for draw in (dn.plots.over_steps, dn.plots.spread)
            for name in ("mean", "std", "kurtosis", "kl_maxent", "max")
        ),
    ):
        axes = Figure().subplots()
        try:
            draw(axes)
        except InputError:
            assert not axes.has_data()
        else:
            axes.figure.draw_without_rendering()


def test_one_step_is_drawn(ax):
    one = analysis_of({("a", "values", 0): np.random.default_rng(0).normal(size=(30, 2))})
    dn.plots.over_steps(one, ax=ax)
    ax.figure.draw_without_rendering()
    with pytest.raises(InputError, match="no layer has values at two steps"):
        dn.plots.drift(one, ax=ax)


def test_units_with_numbers_and_names_of_their_own(ax, rng):
    place = Place(ids=(7, 900), names=("left", "right"))
    found = summarise(rng.normal(size=(60, 2)) + np.array([0, 50]), place)
    made = dn.Analysis("made", 6, "now", (found,))
    dn.plots.distribution(made, unit=900, ax=ax)
    assert ax.get_xlim()[0] > 30
    for unit in ("right", 900):
        other = dn.plots.distribution(made, unit=unit, ax=Figure().subplots())
        assert other.get_xlim() == ax.get_xlim()


def test_matplotlib_waits_until_it_is_used():
    program = (
        "import sys, distfit_nn as dn; dn.plots.__all__; "
        "print([m for m in ('matplotlib', 'seaborn', 'torch', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_titles_say_what_is_drawn(analysis, ax):
    assert CALLS["density"](analysis, None, ax).get_title() == (
        "layers.0, after normalisation, step 100, unit 2"
    )
    dn.plots.density(analysis, layer="layers.0", unit=2, label="mine", ax=ax)
    assert ax.get_title() == ""  # several may be laid over each other: the legend tells them apart
    assert dn.plots.drift(analysis, ax=ax).get_title() == "step 0 to 100"
    mixed = pd.concat([analysis.drift, analysis.drift.assign(step_after=50)])
    assert dn.plots.drift(mixed, ax=ax).get_title() == ""


def test_a_spread_has_no_tick_without_a_word(analysis, ax, rng):
    dn.plots.spread(rng.normal(size=200), ax=ax)
    assert list(ax.get_yticks()) == []
    assert ax.get_ylabel() == "units, to the fullest bin"
    other = dn.plots.spread(analysis, layer="layers.0", ax=Figure().subplots())
    assert [label.get_text() for label in other.get_yticklabels()] == ["after", "before"]
    assert other.get_ylabel() == ""


def test_the_legend_says_that_modes_are_those_of_the_density(ax, rng):
    x = rng.normal(size=2000) + 4 * rng.choice([-1, 1], 2000)
    dn.plots.distribution(x, ax=ax)
    assert ax.get_legend().get_texts()[0].get_text() == "maximum entropy, its modes marked"
    other = dn.plots.distribution(x, modes=False, ax=Figure().subplots())
    assert other.get_legend().get_texts()[0].get_text() == "maximum entropy"
