"""The page as a document: whole, self-contained, accessible, and deaf to what names say."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser

import pytest

from distfit_nn.report import build, claims, sections, select
from tests.report.cases import analysis_of, network

VOID = {"meta", "link", "br", "hr", "img", "input"}
NASTY = [
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "$\\frac{1}{2}$ $x_1$",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}{% raw %}",
    "</style><b>&amp;",
    "a" * 300,
    "\u202etxt.exe\x00\x1b[31m\ud800",
]


class Tree(HTMLParser):
    """Collects elements and text, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.words.append((self.open[-1] if self.open else "", data.strip()))


def parsed(text: str) -> Tree:
    tree = Tree()
    tree.feed(text)
    tree.close()
    assert tree.open == []
    return tree


@pytest.fixture(scope="module")
def tree(page):
    return parsed(page)


@pytest.fixture(scope="module")
def nasty():
    """A page in which everything that a user may name has a nasty name."""
    import numpy as np

    small = network(np.random.default_rng(3), layers=1, units=3, rows=60, steps=(0,))
    values = [small["layers.0", "norm_input", 0], small["layers.0", "norm_output", 0]]
    samples = {(name, "values", 0): values[place % 2] for place, name in enumerate(NASTY[1:])}
    samples[NASTY[0], NASTY[3], 0] = values[0]
    analysis = analysis_of(samples, source=" ".join(NASTY), activation=NASTY[0])
    return build.render(analysis)


def test_the_document_is_well_formed_and_says_what_it_is(tree):
    tags = [tag for tag, _ in tree.elements]
    assert [tags.count(tag) for tag in ("html", "head", "title", "body", "main", "h1")] == [1] * 6
    assert ("html", {"lang": "en"}) in tree.elements


def test_nothing_is_loaded_and_nothing_runs(page, tree):
    assert not {"img", "iframe", "object", "embed"} & {tag for tag, _ in tree.elements}
    scripts = [a for tag, a in tree.elements if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "explorer-data"}, {}]
    for tag, attributes in tree.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                drawn = tag == "image" and value.startswith("data:image/png;base64,")
                assert value.startswith("#") or drawn or (tag, value) == ("link", "data:,")
    namespace = "http://www.w3.org/2000/svg"
    assert not re.search(r"https?:|@import|url\((?!#)", page.replace(namespace, ""))
    assert "default-src 'none'" in page


def test_ids_are_unique_and_links_lead_somewhere(tree):
    ids = [attributes["id"] for _, attributes in tree.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for _, a in tree.elements if a.get("href", "").startswith("#")]
    assert links
    assert set(links) <= set(ids)


def test_every_figure_has_words(tree):
    plots = [a for _, a in tree.elements if a.get("role") == "img"]
    assert len(plots) >= 60
    assert all(len(a["aria-label"]) > 20 for a in plots)
    tags = [tag for tag, _ in tree.elements]
    assert tags.count("figcaption") == tags.count("figure") > 50


def test_headings_do_not_skip_a_level(tree):
    levels = [int(tag[1]) for tag, _ in tree.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_names_are_inert(nasty):
    tree = parsed(nasty)
    assert [tag for tag, _ in tree.elements].count("script") == 2  # the page's own
    assert not any(name.startswith("on") for _, a in tree.elements for name in a)
    assert {tag for tag, _ in tree.elements if tag == "b"} == set()
    words = [word for _, word in tree.words]
    words += [a["title"] for _, a in tree.elements if "title" in a]  # long names in full
    for name in NASTY[:-1]:
        assert any(name in word for word in words), name
    assert "49" not in words
    ids = [a["id"] for _, a in tree.elements if "id" in a]
    assert all(re.fullmatch(r"[\w-]+", name, re.ASCII) for name in ids)


def test_a_long_name_is_one_line_with_a_tooltip(rng):
    name = "block." + "a" * 500
    tree = parsed(build.render(analysis_of({(name, "values", 0): rng.standard_normal((60, 2))})))
    assert max(len(word) for tag, word in tree.words if tag in ("a", "h2", "th")) <= 80
    assert {tag for tag, a in tree.elements if a.get("title") == name} == {"th", "h2"}
    short = parsed(build.render(analysis_of({("fc", "values", 0): rng.standard_normal((60, 2))})))
    assert not any("title" in attributes for _, attributes in short.elements)


def test_units_are_called_by_their_names(rng):
    made = analysis_of({("a", "values", 0): rng.standard_normal((60, 5))})
    names = ["<b>age</b>", "x" * 300, None, float("nan"), "  "]
    made.recordings[0].units["name"] = names
    tree = parsed(build.render(made))
    titles = {word for tag, word in tree.words if tag == "h4"}
    assert {"<b>age</b>", "Unit 2", "Unit 3", "Unit 4"} <= titles
    assert not {"Unit 0", "Unit 1"} & titles
    assert max(len(title) for title in titles if "xxx" in title) <= 24
    tooltips = {a["title"] for tag, a in tree.elements if "title" in a}
    assert tooltips == {"Unit 0: <b>age</b>", "Unit 1: " + "x" * 300}
    spoken = [a["aria-label"] for _, a in tree.elements if "aria-label" in a]
    assert sum("Histogram of <b>age</b>" in label for label in spoken) == 1


def test_the_first_screen_says_what_its_words_mean(tree, page):
    links = [a["href"] for tag, a in tree.elements if tag == "a"]
    flags = ("dead", "heavy_tailed", "bimodal", "far")
    assert {"#words", *(f"#word-{flag}" for flag in flags)} <= set(links)
    for text in ("N(0,1) is the standard normal", "KL, in nat, is", "above 0.5 a unit is called"):
        assert page.index(text) < page.index('id="layers"')


def test_names_can_neither_hide_nor_break_the_encoding(nasty):
    assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e\u2066-\u2069]", nasty)
    nasty.encode("utf-8")


def test_a_lone_surrogate_is_drawn_and_told_like_any_name(rng):
    """Readers refuse such names; tables and page must not fall over one that comes otherwise."""
    x = rng.standard_normal((250, 3))
    made = analysis_of({("\ud800", "values", 0): x, ("\ud800", "values", 7): x + 3})
    page = build.render(made)
    page.encode("utf-8")
    assert "\ufffd" in page
    assert 'id="drift"' in page
    for table in (made.units, made.layers, made.drift, made.dependence):
        assert set(table["layer"]) == {"\ud800"}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", [0, 1])
def test_contrast_is_aa_in_light_and_in_dark(page, scheme):
    """WCAG 2.2: 4.5 for text, 3 for what must be seen in a drawing."""
    block = re.findall(r":root \{(.*?)\}", page, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    least = {"ink": 4.5, "muted": 4.5, "warn": 4.5, "before": 3.0, "after": 3.0, "other": 3.0}
    least["edge"] = 3.0  # the outline of fields and buttons
    for name, ratio in least.items():
        for ground in ("paper", "card", "tint"):
            pair = sorted((luminance(colours[name]), luminance(colours[ground])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= ratio, (name, ground)


def test_each_claim_says_how_sure_it_is_and_leads_to_its_picture(analysis, page):
    made = claims.claims(analysis)
    shown = re.findall(r'<a class="badge (\w+)" href="#rules">(\w+)</a>.*?href="#([^"]*)"', page)
    assert shown == [(claim.certainty, claim.certainty, claim.anchor) for claim in made]
    for claim in made:
        assert re.search(f'<(figure|section)[^>]* id="{claim.anchor}"', page), claim.anchor
    assert page.index('class="claims"') < page.index('id="layers"')
    assert page.index('id="rules"') > page.index('id="method"')


def test_claimed_layers_and_units_are_drawn_whatever_the_plan(rng):
    """40 layers, more than have figures: the loud ones hide neither the layer nor the unit."""
    samples = {(f"l{k}", "values", 0): 3 + rng.standard_normal((250, 6)) for k in range(40)}
    samples["quiet", "values", 0] = x = rng.standard_normal((250, 12))
    x[:, 11] = 1.5
    made = analysis_of(samples)
    (dead,) = [claim for claim in claims.claims(made) if claim.kind == "dead"]
    assert (dead.layer, dead.unit) == ("quiet", 11)
    plan = sections.Plan.of(select.layers(made), claims.claims(made))
    assert len(plan.layers) == 30
    assert 11 in plan.pictures()[41]


def test_the_maps_are_chosen_without_a_script_and_have_their_numbers(page, tree):
    radios = [a for tag, a in tree.elements if tag == "input" and a.get("name") == "map"]
    labels = [a["for"] for tag, a in tree.elements if tag == "label" and "for" in a]
    assert [a["id"] for a in radios] == labels
    assert [("checked" in a) for a in radios] == [True] + [False] * (len(radios) - 1)
    for place in range(1, len(radios) + 1):
        assert f".tabs input:nth-of-type({place}):checked ~ figure:nth-of-type({place})" in page
    assert page.split('class="numbers"')[1].split("</table>")[0].count("<tr>") == 1 + 3 * 3


def test_every_field_has_a_label_and_every_table_a_caption(tree):
    tags = [tag for tag, _ in tree.elements]
    assert tags.count("caption") == tags.count("table") == 4
    scrolled = [a for tag, a in tree.elements if a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolled)
    form = [a for tag, a in tree.elements if tag == "form"]
    assert form
    assert form[0]["aria-label"]


def test_the_policy_permits_the_one_script_by_its_hash(page):
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert unsafe not in script[0]


def test_paper_has_the_static_table_and_every_map(page):
    printed = page[page.index("@media print") :].split("</style>")[0]
    assert "#explorer-static[hidden] { display: block !important; }" in printed
    assert ".tabs figure { display: flex; }" in printed


def test_a_name_of_a_million_characters_is_cut_before_it_is_read(rng):
    name = "<" * 1_000_000
    page = build.render(analysis_of({(name, "values", 0): rng.standard_normal((60, 2))}))
    assert len(page) < 1_000_000
    assert "<<<" not in page.split("<script")[0]


def test_paper_has_no_footer_that_could_stand_alone_on_a_page(page):
    printed = page[page.index("@media print") :].split("</style>")[0]
    assert "footer { display: none; }" in printed
