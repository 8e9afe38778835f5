"""What the examples share: their command line, and tables as markdown."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # figures go to files
import pandas as pd


def parser(doc: str | None, name: str) -> argparse.ArgumentParser:
    """Return a parser with what every example takes: --output and --seed."""
    result = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    result.add_argument(
        "--output",
        type=Path,
        default=Path("build/examples") / name,
        metavar="FOLDER",
        help="where stores, the report, figures and the text of findings go (default: %(default)s)",
    )
    result.add_argument("--seed", type=int, default=0)
    return result


def markdown(table: pd.DataFrame, columns: Sequence[str], digits: int = 2) -> str:
    """Return some columns of a table as a markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in table[list(columns)].itertuples(index=False):
        lines.append("| " + " | ".join(_cell(value, digits) for value in row) + " |")
    return "\n".join(lines)


def extremes(table: pd.DataFrame, column: str, digits: int = 2) -> str:
    """Return where a column is least and where it is most: "0.40 (first) to 2.10 (last)"."""
    ends = (table.loc[table[column].idxmin()], table.loc[table[column].idxmax()])
    return " to ".join(f"{row[column]:.{digits}f} ({row['layer']})" for row in ends)


def publish(text: str, path: Path) -> None:
    """Print the findings, their paragraphs filled, and write them to a file."""
    text = "\n\n".join(map(_filled, text.split("\n\n")))
    print(text)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")


def _filled(part: str) -> str:
    """Return a paragraph of words with lines as long as they may be; headings, tables as is."""
    if part.startswith(("#", "|", "!")):
        return part
    return textwrap.fill(part, 100, break_long_words=False, break_on_hyphens=False)


def _cell(value: object, digits: int) -> str:
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return str(value)
