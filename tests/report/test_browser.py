"""The report in a real browser: it loads, shows its parts and complains about nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from distfit_nn.report.numbers import number

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
     if (found := shutil.which(name))),
    None,
)  # fmt: skip
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")


def dump(text: str, folder: Path, at: str = "") -> tuple[str, list[str]]:
    """Return the document as the browser has it after loading, and its console messages.

    `at` is the fragment of the address, with its "#".
    """
    page = folder / "report.html"
    page.write_text(text, "utf-8")
    done = subprocess.run(
        [
            BROWSER,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            page.as_uri() + at,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def test_the_page_loads_without_a_word_in_the_console(page, tmp_path):
    dom, console = dump(page, tmp_path)
    assert console == []
    assert '<section id="method"' in dom


def test_without_its_script_the_page_is_whole(page, tmp_path):
    plain = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    dom, console = dump(plain, tmp_path)
    assert console == []
    assert dom.count("<svg") == plain.count("<svg")
    assert dom.count("<tr") == plain.count("<tr")  # the parser moved or dropped nothing
    assert re.search(r'<div id="explorer-live" hidden', dom)
    assert not re.search(r'<div id="explorer-static" hidden', dom)


@pytest.mark.slow
def test_the_console_is_really_read(page, tmp_path):
    """The policy of the page forbids the script, and the browser says so."""
    dom, console = dump(
        page.replace("</main>", "<script>document.title = 'x'</script></main>"), tmp_path
    )
    assert any("Content Security Policy" in message for message in console)
    assert "<title>x</title>" not in dom


# The explorer


def driven(page: str, script: str) -> str:
    """Return the page with a script of the test's own at its end, permitted by its hash."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    return page.replace("</body>", f"<script>{script}</script></body>")


def listed(dom: str) -> tuple[str, list[list[str]]]:
    """Return the count above the table of units, and the words of its cells."""
    count = re.search(r'id="explorer-count"[^>]*>([^<]*)', dom)[1].replace("\u202f", " ")
    body = re.search(r'<tbody id="explorer-rows">(.*?)</tbody>', dom, re.DOTALL)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return html.unescape(count), [
        [html.unescape(re.sub(r"<[^>]*>", " ", cell)).strip() for cell in row] for row in cells
    ]


@pytest.mark.slow
def test_a_view_of_the_explorer_can_be_linked_to(analysis, page, tmp_path):
    at = "#units?sort=dip&dir=asc&flag=bimodal&flag=heavy_tailed&column=kurtosis&limit=-1.5"
    dom, console = dump(page, tmp_path, at)
    assert console == []
    units = analysis.units
    asked = units[
        (units["step"] == 1000)
        & (units["site"] == "norm_output")
        & (units["bimodal"] | units["heavy_tailed"])
        & (units["kurtosis"] >= -1.5)
    ].sort_values("dip", kind="stable")
    count, rows = listed(dom)
    assert count == f"{len(asked)} of {len(units)} units, page 1 of 1"
    assert 0 < len(asked) < 12
    dips = [number(value) for value in asked["dip"]]
    assert [row[11] for row in rows] == dips
    assert dom.count('aria-sort="ascending"') == 1
    assert re.search(r'data-sort="dip"[^>]* aria-sort="ascending"', dom)
    assert re.search(r'<div id="explorer-static" hidden', dom)


def test_the_explorer_is_used_by_its_buttons_and_fields(analysis, page, tmp_path):
    script = """
    const press = (key) => document.querySelector(`[data-sort=${key}] button`).click();
    const set = (name, value) => {
      const field = document.getElementById("explorer-form").elements.namedItem(name);
      field.value = value;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    };
    const seen = [];
    const note = () => seen.push(document.getElementById("explorer-count").textContent);
    note();
    set("step", "all"); set("site", "all"); note();
    set("search", "layers.1"); note();
    document.getElementById("explorer-on").click(); note();
    press("unit"); press("mean"); press("mean"); note();
    document.body.dataset.address = location.hash;
    document.body.dataset.seen = seen.join("|");
    """
    dom, console = dump(driven(page, script), tmp_path)
    assert console == []
    total = len(analysis.units)
    assert re.search('data-seen="([^"]*)"', dom)[1] == "|".join(
        [
            f"36 of {total} units, page 1 of 2",
            f"{total} of {total} units, page 1 of 9",
            f"72 of {total} units, page 1 of 3",
            f"72 of {total} units, page 2 of 3",
            f"72 of {total} units, page 1 of 3",
        ]
    )
    assert re.search('data-address="([^"]*)"', dom)[1] == (
        "#units?search=layers.1&amp;site=all&amp;step=all&amp;sort=mean&amp;dir=asc"
    )
    _, rows = listed(dom)
    here = analysis.units[analysis.units["layer"] == "layers.1"]
    assert rows[0][4 + 2] == number(here["mean"].min())
    assert all(row[1].startswith("layers.1") for row in rows)
    assert re.search(r'data-sort="mean"[^>]* aria-sort="ascending"', dom)


@pytest.mark.slow
def test_numbers_in_the_explorer_are_those_of_the_page(page, tmp_path):
    """The script writes numbers as `number` does: the static table has the same ones."""
    dom, _ = dump(page, tmp_path, "#units?sort=layer&dir=asc")
    _, rows = listed(dom)
    static = re.search(r'<div id="explorer-static".*?<tbody>(.*?)</tbody>', dom, re.DOTALL)[1]
    wanted = [
        [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", static, re.DOTALL)
    ]
    names = re.findall(r'<th scope="row"[^>]*>(?:<a[^>]*>)?([^<]*)', static)
    found = {(row[0], row[1].split()[0]): row[4:] for row in rows}
    both = [
        (name, cells)
        for name, cells in zip(names, wanted, strict=True)
        if (name, cells[0]) in found
    ]
    assert len(both) >= 4
    for name, cells in both:
        assert found[name, cells[0]] == cells[3:]


def test_hostile_names_do_nothing_in_the_explorer(rng, tmp_path):
    from distfit_nn.report import build
    from tests.report.cases import analysis_of

    name = "<img src=x onerror=alert(1)></script>"
    made = analysis_of({(name, "values", 0): rng.standard_normal((60, 3))})
    made.recordings[0].units["name"] = ["<b>x</b>", "\u202eabc", None]
    dom, console = dump(build.render(made), tmp_path)
    assert console == []
    assert "<img" not in dom
    assert "<b>" not in dom
    _, rows = listed(dom)
    assert {row[0] for row in rows} == {"<b>x</b>", "\ufffdabc", "Unit 2"}
    assert rows[0][1] == name
