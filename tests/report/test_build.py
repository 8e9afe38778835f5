"""What the report says, on ordinary and on odd analyses, and how it is written."""

from __future__ import annotations

import dataclasses
import html
import re
import subprocess
import sys

import numpy as np
import pytest

from distfit_nn.analysis import Analysis
from distfit_nn.errors import FileError
from distfit_nn.report import build, select, verdict
from distfit_nn.report.numbers import number
from distfit_nn.stats.summary import Place, summarise
from tests.report.cases import analysis_of, network
from tests.report.test_page import parsed


def words(page: str) -> str:
    """Return the text of a page, with plain spaces."""
    text = re.sub(
        r"<(style|script)[^>]*>.*?</(?:style|script)>|<[^>]*>", " ", page, flags=re.DOTALL
    )
    return re.sub(r"\s+", " ", html.unescape(text))


def sentences(analysis) -> str:
    found = verdict.verdict(select.layers(analysis), analysis.order)
    assert all(sentence.endswith(".") for sentence in found)
    return " ".join(found).replace("\u202f", " ")


# The verdict


def test_the_verdict_counts_the_last_step_after_normalisation(analysis):
    last = analysis.units
    last = last[(last["step"] == 1000) & (last["site"] == "norm_output")]
    heavy, bimodal = int(last["heavy_tailed"].sum()), int(last["bimodal"].sum())
    assert heavy >= 2
    assert bimodal >= 2
    text = sentences(analysis)
    assert text.startswith("Of 36 units in 3 layers, seen after normalisation at step 1 000, ")
    assert f"{heavy} ({100 * heavy / 36:.0f}%) are heavy-tailed" in text
    assert f"{bimodal} ({100 * bimodal / 36:.0f}%) are bimodal" in text
    assert "none is dead" in text


def test_an_affine_normalisation_is_called_one(analysis):
    assert "moved and scaled the units but left their shapes alone" in sentences(analysis)


def test_a_normalisation_that_changes_shapes_is_not_called_affine(rng):
    x = rng.exponential(size=(400, 6))
    ranks = x.argsort(0).argsort(0) / 400 - 0.5
    text = sentences(analysis_of({("a", "norm_input", 0): x, ("a", "norm_output", 0): ranks}))
    assert "also changed shapes: only 0 of 6 units keep their skewness (up to its sign)" in text


def test_a_flipped_unit_counts_as_keeping_its_shape(rng):
    x = rng.exponential(size=(400, 6))
    made = analysis_of({("a", "norm_input", 0): x, ("a", "norm_output", 0): 1 - 2 * x})
    assert verdict.kept_shapes(select.layers(made)[0]) == (6, 6)


def test_no_claim_about_normalisation_without_one(rng):
    made = analysis_of({("a", "pre_activation", 0): rng.standard_normal((100, 4))})
    text = sentences(made)
    assert "ormalisation" not in text
    assert "seen just before the nonlinearity" in text
    assert "at step" not in text


def test_two_moments_claim_nothing_about_shape(rng):
    made = analysis_of({("a", "values", 0): rng.exponential(size=(100, 4))}, order=2)
    assert "no shift or scale" not in sentences(made)


def test_the_change_of_far_units_is_told(rng):
    x = rng.standard_normal((200, 5))
    made = analysis_of({("a", "values", -3): x, ("a", "values", 4): x + 5})
    assert "From step −3 to step 4, the number of units far from N(0,1) rose from 0 to 5." in (
        sentences(made)
    )


# Odd analyses: the page is whole and honest


def column(rng, *kinds):
    made = {
        "normal": rng.standard_normal(50),
        "constant": np.full(50, 3.25),
        "nan": np.full(50, np.nan),
        "inf": np.where(rng.random(50) < 0.2, np.inf, rng.standard_normal(50)),
        "dead": -1 - rng.random(50),
        "binary": rng.choice([0.0, 1.0], 50),
        "huge": 1e300 * rng.standard_normal(50),
        "tiny": 1e-310 * rng.standard_normal(50),
        "subnormal": rng.choice([0.0, 5e-324], 50),
    }
    return np.stack([made[kind] for kind in kinds], axis=1)


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (["dead"] * 3, "3 (100%) are dead"),
        (["nan"] * 3, "None of the 3 units in 1 layer has a finite value"),
        (["nan"], "The one unit has no finite value"),
        (["constant"] * 3, "3 units have no fitted density"),
        (["normal"], "The one unit"),
        (["dead"], "is dead"),
        (["inf", "normal"], "infinite values were met"),
        (["nan", "normal"], "1 unit has no finite value"),
        (["binary", "normal"], "Of 2 units"),
        (["huge", "tiny"], "2 units have values so large or so small"),
        (["subnormal"] * 3, "Of 3 units"),
    ],
)
@pytest.mark.parametrize(
    "sites",
    [
        ("pre_activation",),
        pytest.param(("norm_input", "norm_output"), marks=pytest.mark.slow),
    ],
)
def test_odd_units_give_a_whole_page_and_an_honest_sentence(rng, kinds, said, sites):
    values = column(rng, *kinds)
    made = analysis_of({("a", site, step): values for site in sites for step in (-7, 0)})
    page = build.render(made)
    parsed(page)
    assert said in words(page)
    assert not {"nan", "inf", "None"} & set(re.findall(r"\w+", words(page).replace("None of", "")))


def test_values_too_large_to_add_up_are_counted_all_the_same(rng):
    """The pooled mean overflows here, and says nothing about how many values are finite."""
    x = rng.standard_normal((300, 3)) * [1e300, 1e307, 1e-310]
    x[:27, 1] = np.inf
    x[27:100, 1] = 1.7e308
    text = words(build.render(analysis_of({("a", "values", 0): x})))
    assert "No finite value" not in text
    assert re.search("873 finite values, from −.* to 1.7 × 10³⁰⁸: too large", text)
    assert "27 infinite values were met" in text
    assert "median KL ∞" in text


def test_what_is_missing_is_named_with_its_number(rng):
    x = rng.standard_normal((300, 2))
    x[3, 0] = np.nan
    text = words(build.render(analysis_of({("a", "values", 0): x})))
    assert "1 NaN value was met" in text
    assert "infinite" not in text.split("How each figure")[0]


def test_one_is_singular(rng):
    text = words(build.render(analysis_of({("a", "values", 0): rng.standard_normal((1, 3))})))
    assert "3 units × 1 value " in text
    assert "1 value each" in text
    assert not re.search(r"(?<![\d.,] )\b1 (?:values|units|layers|steps)", text)
    x = np.append(rng.standard_normal(600), 1e6)[:, None]
    assert "1 value (0.2%) lies beyond the bars" in words(
        build.render(analysis_of({("a", "values", 0): x}))
    )


def test_strengths_need_not_be_significant(rng):
    made = analysis_of({("a", "values", 0): rng.uniform(size=(300, 4))})
    units = made.recordings[0].units
    text = words(build.render(made))
    assert f"tail index ≥ {number(units['tail_index'].min())}" in text
    q = units["dip_qvalue"].min()
    assert q > 0.05
    assert f"dip up to {number(units['dip'].max())}, least q = {number(q, 2)}" in text


def test_the_rule_for_kept_shapes_is_said_as_it_is(rng, page):
    """|a - b| <= 0.02 (1 + min(|a|, |b|)): up to 0.04 apart at 1, 2.02 at 100, 0.02 at 0."""
    a = np.array([0.0, 0.0, 1.0, 1.0, 100.0, 100.0])
    b = np.array([0.0199, 0.0201, 1.0399, 1.0401, 102.01, 102.03])
    assert verdict._same(a, b).tolist() == [True, False] * 3
    rule = "to within 0.02 plus 2% of their size"
    assert words(page).count(rule) == 1 + 3  # in the verdict and once for each layer
    assert "within 2%" not in page


def test_log_axes_and_units_beyond_an_axis_are_explained_where_they_stand(rng):
    x = rng.standard_normal((300, 200)) * np.append(np.geomspace(1, 100, 199), 1e5)
    text = words(build.render(analysis_of({("a", "values", 0): x})))
    figures_of = text.split("Spread over units")[1].split("Units worth a look")[0]
    assert "Standard deviation log axis" in figures_of
    assert "Skewness log axis" not in figures_of
    assert "1 →" in figures_of
    assert "beside an arrow: units beyond the axis" in figures_of


def test_curves_that_coincide_are_said_to(page):
    steps = re.findall("Over the steps .*? The pooled distribution", words(page))
    assert len(steps) == 3
    for text in steps:
        assert text.count("Before and after coincide: ") == 3
        assert text.index("KL from N(0,1)") < text.index("Before ") < text.index("Shape part")


def test_the_time_has_its_zone(page):
    assert "Made 2026-01-01 12:00 UTC" in words(page)


def test_a_single_row_and_a_single_value(rng):
    for shape in ((1, 4), (1, 1), (2, 1)):
        page = build.render(analysis_of({("a", "values", 0): rng.standard_normal(shape)}))
        parsed(page)
        assert "mostly noise at this size" in words(page)


def test_no_recordings():
    empty = analysis_of({})
    page = build.render(empty)
    parsed(page)
    assert "Nothing was recorded" in words(page)


def test_sites_recorded_at_different_steps_are_not_compared(rng):
    x = rng.standard_normal((100, 3))
    made = analysis_of({("a", "norm_input", 0): x, ("a", "norm_output", 5): x})
    assert verdict.kept_shapes(select.layers(made)[0]) is None
    parsed(build.render(made))


# What is chosen


def test_before_stands_before_after(rng):
    x = rng.standard_normal((50, 2))
    made = analysis_of({("a", "norm_output", 0): x, ("a", "norm_input", 0): x})
    assert list(select.layers(made)[0].recordings) == ["norm_input", "norm_output"]


def test_remarkable_units_take_turns(analysis):
    units = select.layers(analysis)[0].last("norm_output").units
    chosen = select.remarkable(units, 8)
    rows = [row for row, _ in chosen]
    assert len(rows) == len(set(rows)) == 8
    assert rows[0] == units["kl_maxent"].argmax()
    assert units["bimodal"].iloc[rows[1]] or units["heavy_tailed"].iloc[rows[1]]
    for row, why in chosen:
        if "dip" in why:
            assert units["bimodal"].iloc[row]
        if "kurtosis" in why:
            assert units["heavy_tailed"].iloc[row]


def test_some_steps_keep_first_and_last(rng):
    x = rng.standard_normal((20, 1))
    made = analysis_of({("a", "values", step): x for step in range(0, 40, 2)})
    steps = [r.step for r in select.some(select.layers(made)[0].recordings["values"], 6)]
    assert (steps[0], steps[-1], len(steps)) == (0, 38, 6)


def test_long_names_keep_both_ends():
    assert select.clean("a" * 300 + "b", 9) == "aaaa…aaab"


# Size, speed, writing


def test_definitions_and_limits_are_on_the_page(analysis, page):
    text = words(page)
    for definition in analysis.definitions.values():
        assert re.sub(r"\s+", " ", definition) in text
    assert "Benjamini and Hochberg within each recording" in text


@pytest.mark.slow
def test_a_large_network_stays_below_five_megabytes(rng):
    """40 layers, of which 30 have figures; the size does not depend on the number of units."""
    one = network(rng, layers=1, units=64, rows=100, steps=tuple(range(8)))
    recordings = analysis_of(one).recordings
    from dataclasses import replace

    many = [replace(r, layer=f"block.{k}.norm") for k in range(40) for r in recordings]
    for r in many:
        r.units.loc[:, "layer"] = r.layer
    page = build.render(replace(analysis_of(one), recordings=tuple(many)))
    assert len(page.encode()) < 5e6
    assert "10 layers more" in words(page)
    assert page.count('<details class="layer"') == 30


def test_the_same_analysis_gives_the_same_page(analysis, page):
    assert build.render(analysis) == page


@pytest.fixture
def drawn(monkeypatch, page):
    """The page is drawn already: only writing is tested."""
    monkeypatch.setattr(build, "render", lambda _: page)


def test_writing_creates_the_folder_and_leaves_nothing_else(drawn, analysis, page, tmp_path):
    target = build.write(analysis, tmp_path / "new" / "report.html")
    assert target.read_text("utf-8") == page
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_one_sentence(drawn, analysis, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match=r"file.*[^\n]*$") as caught:
        build.write(analysis, tmp_path / "file" / "report.html")
    assert "\n" not in str(caught.value)


def test_importing_the_package_does_not_import_the_report():
    heavy = ("matplotlib", "seaborn", "jinja2")
    code = f"import distfit_nn, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_sample_says_of_how_many_rows(rng):
    recording = summarise(rng.normal(size=(50, 3)), Place(rows_seen=6000))
    given = {"source": "x", "order": 6, "created": "2026-01-01T12:00:00+00:00"}
    sampled = build.render(Analysis(recordings=(recording,), **given))
    assert "Sampled from" in words(sampled)
    assert "up to 6 000 rows" in words(sampled)
    whole = summarise(rng.normal(size=(50, 3)))
    assert "Sampled from" not in words(build.render(Analysis(recordings=(whole,), **given)))


# The verdicts of health, of modes, and of the shape before ReLUs


def thesis_shape(rng, rows: int = 1500, units: int = 6) -> np.ndarray:
    """Return units with a high, narrow mode just below 0 and a low, wide one above."""
    low, high = rng.normal(-0.3, 0.2, (rows, units)), rng.normal(2.2, 0.8, (rows, units))
    return np.where(rng.random((rows, units)) < 0.7, low, high)


def test_rare_verdicts_are_told_where_there_are_any(rng):
    plain = rng.standard_normal((400, 10))
    text = words(build.render(analysis_of({("a", "pre_activation", 0): plain}, activation="tanh")))
    first = text.split("How each figure")[0]
    assert "aturated" not in first
    assert "utlier" not in first
    x = plain.copy()
    x[:, 3] *= 100
    x[:, 4] *= 4
    made = analysis_of({("a", "pre_activation", 0): x}, activation="tanh")
    text = words(build.render(made))
    assert made.layers[["saturated", "outlier"]].to_numpy().tolist() == [[2, 1]]
    assert "2 (20%) are saturated, 1 (10%) is an outlier channel" in text
    ratio = number(made.units["outlier_ratio"].max())
    assert "Outlier channels Bimodal" in text
    assert f"magnitude up to {ratio} × median" in text
    assert "2 saturated, 1 outlier channel" in text
    assert "largest magnitude" in text


def test_a_table_has_the_same_columns_in_every_row(rng):
    x = rng.standard_normal((300, 8))
    made = analysis_of({("a", "values", 0): x, ("b", "values", 0): x * np.append(np.ones(7), 99)})
    tree = parsed(build.render(made))
    cells = [a["data-label"] for tag, a in tree.elements if tag == "td" and "data-label" in a]
    assert cells == ["Dead", "Heavy-tailed", "Outlier channels", "Bimodal", "Far from N(0,1)"] * 2
    assert [a["colspan"] for _, a in tree.elements if "colspan" in a] == ["7", "7"]


def test_the_shape_before_relus_is_counted_with_what_the_dip_says(rng):
    made = analysis_of({("a", "pre_activation", 0): thesis_shape(rng)})
    assert "By the fitted density 6 units have the shape that a thesis of 2017 saw" in (
        sentences(made)
    )
    assert "the dip confirms two modes in all of these." in sentences(made)


def test_a_shape_of_moments_alone_is_not_confirmed(rng):
    made = analysis_of({("a", "values", 0): thesis_shape(rng, 25, 40)})
    having = made.units[made.units["relu_signature"]]
    confirmed = int(having["bimodal"].sum())
    assert len(having) > 0
    assert confirmed < len(having)
    assert f"two modes in {confirmed or 'none'} of these." in sentences(made)


@pytest.mark.parametrize(("activation", "told"), [("relu", True), ("tanh", False), (None, False)])
def test_that_no_unit_has_that_shape_is_said_before_relus_only(rng, activation, told):
    x = rng.standard_normal((500, 4))
    text = sentences(analysis_of({("a", "pre_activation", 0): x}, activation=activation))
    assert ("No unit has the shape that a thesis of 2017 saw" in text) == told


def test_what_the_tests_rest_on_is_said_with_both_numbers(rng):
    from distfit_nn.analysis import analyze

    x = rng.standard_normal((700, 3))
    text = words(build.render(analyze(x, sample=200)))
    assert "Tests rest on 200 of 700, drawn at random" in text
    assert "700 values each · tests rest on 200 of them" in text
    assert "rest on 200" not in words(build.render(analyze(x, sample=700)))


def test_units_whose_modes_are_open_are_counted_with_the_reason(rng):
    x = rng.standard_normal((300, 5))
    x[:, 0] = rng.choice([0.0, 1.0, 2.0], 300)
    x[:, 1:3] = np.where(rng.random((300, 2)) < 0.97, 0.0, x[:, 1:3])
    text = words(build.render(analysis_of({("a", "values", 0): x})))
    said = "of which 1 has too few levels and 2 have one value nearly everywhere."
    assert f"One mode or more: left open for 3 units, {said}" in text


def test_units_worth_a_look_have_the_evidence_below_them(rng):
    made = analysis_of({("a", "values", 0): rng.standard_normal((300, 4)) - 2})
    text = words(build.render(made))
    for evidence in made.units["evidence"]:
        assert f"Unimodal: {evidence}" in text
    one = analysis_of({("a", "values", 0): thesis_shape(rng, units=1)})
    text = words(build.render(one))
    assert "1 unit · 1 500 values · feeds relu · bimodal" in text
    assert " at −0.3" in text.split("Bimodal: dip ")[1][:100]  # a true minus


def test_the_parts_of_the_divergence_are_told(rng):
    """N(1, 2²): location 1/2, scale 3/2 - log 2, shape nearly 0."""
    x = 1 + 2 * rng.standard_normal((4000, 9))
    made = analysis_of({("a", "values", 0): x})
    medians = made.units[["kl_location", "kl_scale"]].median()
    location, scale = (number(v, 2) for v in medians)
    assert medians.tolist() == pytest.approx([0.5, 1.5 - np.log(2)], abs=0.1)
    text = words(build.render(made)).replace("\xa0", " ")
    assert f"in nat: location {location}, scale {scale}, shape below 0.001." in text


def test_the_distance_from_normal_stands_before_its_significance(rng):
    x = np.column_stack([rng.standard_normal((800, 3)), rng.exponential(size=(800, 2))])
    made = analysis_of({("a", "values", 0): x})
    distance = made.units["normality_distance"]
    assert (
        f"median {number(distance.median(), 2)}, largest {number(distance.max(), 2)}; significant "
        "in 2 of 5 units (q < 0.05, n 800)."
    ) in words(build.render(made))


@pytest.mark.slow
def test_no_divergence_is_told_of_a_pool_without_a_density(rng):
    x = rng.standard_cauchy((3000, 40)) * 1e6
    made = analysis_of({("a", "values", 0): x})
    assert made.layers["pooled_status"][0] != "ok"
    text = words(build.render(made)).split("All units pooled")[1].split("Spread")[0]
    assert "KL of a Gaussian like it" in text
    assert "shape" not in text


def test_a_fit_that_misses_the_moments_says_nothing_of_shape(rng):
    made = analysis_of({("a", "values", 0): thesis_shape(rng)})
    units = made.recordings[0].units  # as the unit table has it of such a fit
    units["maxent_status"], units["relu_signature"] = "regularised", False
    units[["kl_maxent", "kl_shape"]] = np.nan
    text = words(build.render(made))
    assert "shape part of the distance" not in text
    assert "thesis of 2017 saw" not in sentences(made)
    assert text.count("KL of a Gaussian like it") == 6


def test_units_without_an_exact_fit_do_not_count_as_lacking_that_shape(rng):
    x = rng.standard_normal((400, 5))
    x[:, :2] = 1.0
    text = sentences(analysis_of({("a", "pre_activation", 0): x}))
    assert "None of the 3 units with an exact fit has the shape" in text


def test_units_of_which_only_summaries_are_kept_are_counted(rng):
    made = analysis_of({("a", "values", 0): rng.standard_normal((300, 4))})
    made.recordings[0].units["sampled"] = [0, 0, 300, 300]
    found = verdict.cautions(select.layers(made), made)
    assert any(caution.startswith("Of 2 units only summaries were kept") for caution in found)


def test_drift_that_is_not_computed_is_said_to_be_missing(rng):
    one = analysis_of({("a", "values", 0): rng.standard_normal((60, 1))}).recordings[0]
    many = tuple(dataclasses.replace(one, layer=f"l{k}") for k in range(101))
    made = dataclasses.replace(analysis_of({}), recordings=many)
    found = verdict.cautions(select.layers(made), made)
    assert "Drift and dependence are not shown for more than 100 layers." in found
