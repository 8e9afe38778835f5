"""Tables and plain data as JSON and CSV: returned as text, or written to a file."""

from __future__ import annotations

import json
import re
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfit_nn._files import plain, write_text

if TYPE_CHECKING:
    import pandas as pd

_RISKY = re.compile(r"[=+@\-＝＋－＠\x00-\x09\x0b-\x1f\x7f-\x9f]")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dicts of plain values; what is not finite becomes None."""
    return [
        {str(name): plain(value) for name, value in row.items()}
        for row in table.astype(object).to_dict(orient="records")
    ]


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: "1 unit", "1,200 units"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def json_text(content: dict[str, Any], path: str | PathLike[str] | None) -> str | Path:
    """Return plain data as strict JSON, or write it to `path` and return that."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    return text if path is None else write_text(path, text + "\n")


def csv_text(table: pd.DataFrame, path: str | PathLike[str] | None) -> str | Path:
    """Return a table as CSV, or write it to `path` and return that.

    Text is made safe for spreadsheets, see `cell`; numbers stay as they are.
    """
    import pandas as pd

    safe = table.copy()
    for name in table.select_dtypes(exclude=["number", "bool"]):
        cells = [cell(value) if isinstance(value, str) else value for value in table[name]]
        safe[name] = pd.Series(cells, table.index, object)
    text: str = safe.to_csv(index=False, lineterminator="\n")
    return text if path is None else write_text(path, text)


def cell(text: str) -> str:
    r"""Return text as a cell of CSV that no spreadsheet takes for a formula.

    Before a first = + - @ (also of full width), or control character but a line feed, stands a
    single quote. Control characters but line feeds, which CSV quotes, become escapes such as \x1b.

    References
    ----------
    OWASP, "CSV Injection".
    """
    quote = "'" if _RISKY.match(text) else ""
    return quote + _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
