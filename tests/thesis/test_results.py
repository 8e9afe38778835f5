"""The committed results: whole, of the full setting, and what the page and the conclusions say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

RESULTS = Path(__file__).parents[2] / "analysis" / "thesis" / "results"
NAMES = sorted(path.stem for path in RESULTS.glob("*.json"))
MOST_BYTES = {".json": 300_000, ".png": 300_000}


def strict(text: str) -> Any:
    """Parse JSON, which knows neither NaN nor infinity."""

    def refused(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refused)


def test_every_script_has_results_and_a_place_on_the_page(lab: Path) -> None:
    from lab.chapters import SCRIPTS

    scripts = {path.stem for path in lab.glob("*.py")} - {"all", "page"}
    assert scripts == set(SCRIPTS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_results_are_whole(name: str) -> None:
    from lab.findings import NONE, Verdict, looked_up

    record = strict((RESULTS / f"{name}.json").read_text("utf-8"))
    assert record["name"] == name
    assert record["settings"]["quick"] is False
    assert record["settings"]["seeds"] >= 1
    assert all(len(digest) == 16 for digest in record["settings"]["data"].values())
    assert record["findings"]
    for finding in record["findings"]:
        values = {
            key: looked_up(record["numbers"], n["path"]) for key, n in finding["numbers"].items()
        }
        shown = {key: NONE if value is None else value for key, value in values.items()}
        assert finding["text"] == finding["template"].format(**shown)
        assert finding["verdict"] in set(Verdict)
        assert bool(finding["condition"]) == (finding["verdict"] == Verdict.CONDITIONS)
        assert finding["figure"] is None or finding["figure"] in record["figures"]


def test_figures_are_those_of_the_results_and_files_are_small() -> None:
    records = [json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in NAMES]
    figures = {f"{stem}.png" for record in records for stem in record["figures"]}
    assert {path.name for path in RESULTS.glob("*.png")} == figures
    for path in RESULTS.iterdir():
        assert path.stat().st_size <= MOST_BYTES.get(path.suffix, 1_000_000), path.name


def test_page_and_conclusions_are_of_these_results() -> None:
    from lab import page

    records = page.read(RESULTS)
    assert (RESULTS / "index.html").read_text("utf-8") == page.html(records)
    assert (RESULTS / "conclusions.md").read_text("utf-8") == page.conclusions(records)
