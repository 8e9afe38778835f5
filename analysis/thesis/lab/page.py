"""One page of all results: claim, figure and verdict side by side; and the conclusions."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from lab.chapters import CHAPTERS, SCRIPTS
from lab.errors import LabError
from lab.findings import NONE, Verdict, looked_up

TEMPLATES = Path(__file__).parent / "templates"
KEYS = (
    "name", "title", "settings", "machine", "computed_seconds",
    "findings", "figures", "tables", "numbers",
)  # fmt: skip
Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A figure and the findings beside it; findings without a figure stand alone."""

    figure: str | None
    caption: str
    findings: tuple[Record, ...]


def read(folder: Path) -> dict[str, Record]:
    """Return the results of each script that has any, in the order of the thesis."""
    records = {}
    for name in SCRIPTS:
        path = folder / f"{name}.json"
        if path.exists():
            records[name] = _record(path)
    return records


def html(records: Mapping[str, Record]) -> str:
    """Return the page."""
    environment = _environment(autoescape=True)
    verdicts = Counter(
        finding["verdict"] for record in records.values() for finding in record["findings"]
    )
    return environment.get_template("page.html.j2").render(
        chapters=[
            (title, [(records[name], rows(records[name])) for name in names if name in records])
            for title, names in CHAPTERS
        ],
        quick=any(record["settings"]["quick"] for record in records.values()),
        missing=[name for name in SCRIPTS if name not in records],
        verdicts=[(str(verdict), verdicts[verdict]) for verdict in Verdict],
        days=sorted({record["machine"]["date"] for record in records.values()}),
    )


def conclusions(records: Mapping[str, Record]) -> str:
    """Return the conclusions in Markdown: the words of the template, the numbers of the results."""
    return (
        _environment(autoescape=False)
        .get_template("conclusions.md.j2")
        .render(
            n=lambda name, path, form=".1f": _number(records, name, path, form),
            by_verdict=by_verdict(records),
        )
    )


def by_verdict(records: Mapping[str, Record]) -> dict[str, list[Record]]:
    """Return the findings of each verdict, each with the name of its script."""
    found: dict[str, list[Record]] = {str(verdict): [] for verdict in Verdict}
    for name, record in records.items():
        for finding in record["findings"]:
            found[finding["verdict"]].append({**finding, "script": name})
    return found


def rows(record: Record) -> Iterator[Row]:
    """Yield figures with their findings: those of one figure together, in order of the findings."""
    findings = record["findings"]
    order = dict.fromkeys([each["figure"] for each in findings] + list(record["figures"]))
    for figure in order:
        own = tuple(each for each in findings if each["figure"] == figure)
        yield Row(figure, record["figures"].get(figure, ""), own)


def linked(finding: Record, name: str) -> Markup:
    """Return the text of a finding, each number a link that tells its place in the results."""

    class Linked:
        def __init__(self, number: Record) -> None:
            self.number = number

        def __format__(self, form: str) -> str:
            place = escape(f"{name}.json: {self.number['path']} = {self.number['value']}")
            value = self.number["value"]
            shown = escape(format(NONE if value is None else value, form))
            return f'<a class="n" href="{name}.json" title="{place}">{shown}</a>'

    numbers = {key: Linked(number) for key, number in finding["numbers"].items()}
    return Markup(str(escape(finding["template"])).format(**numbers))  # noqa: S704 - both escaped


def markdown_table(text: str) -> list[list[str]]:
    """Return the cells of a table in Markdown, the header first."""
    lines = [line.strip().strip("|").split("|") for line in text.strip().splitlines()]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [line for line in cells if not all(re.fullmatch(":?-+:?", cell) for cell in line)]


def _record(path: Path) -> Record:
    try:
        record: Record = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise LabError(f"{path} is no JSON: {error}") from None
    missing = [key for key in KEYS if key not in record]
    if missing:
        raise LabError(f"{path} has no {', '.join(missing)}: run {path.stem}.py again")
    return record


def _number(records: Mapping[str, Record], name: str, path: str, form: str) -> str:
    """Return a number of the results as a link to them."""
    if name not in records:
        raise LabError(f"the conclusions need the results of {name}.py, which are missing")
    value = looked_up(records[name]["numbers"], path)
    if value is None:
        raise LabError(f"the conclusions need a number at {name}: {path}, which is None")
    return f'[{format(value, form)}](./{name}.json "{path}")'


def _environment(autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=autoescape,  # noqa: S701 - False for Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["linked"] = linked
    environment.filters["cells"] = markdown_table
    return environment
