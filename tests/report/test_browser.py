"""The report in a real browser: it loads, shows its parts and complains about nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

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


def dump(text: str, folder: Path) -> tuple[str, list[str]]:
    """Return the document as the browser has it after loading, and its console messages."""
    page = folder / "report.html"
    page.write_text(text, "utf-8")
    done = subprocess.run(
        [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()],
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


def test_the_console_is_really_read(page, tmp_path):
    """The policy of the page forbids the script, and the browser says so."""
    dom, console = dump(
        page.replace("</main>", "<script>document.title = 'x'</script></main>"), tmp_path
    )
    assert any("Content Security Policy" in message for message in console)
    assert "<title>x</title>" not in dom
