"""Tables and plain data as JSON and CSV: returned as text, or written to a file."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfit_nn._files import plain, write_text

if TYPE_CHECKING:
    import pandas as pd


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dicts of plain values; what is not finite becomes None."""
    return [
        {str(name): plain(value) for name, value in row.items()}
        for row in table.astype(object).to_dict(orient="records")
    ]


def json_text(content: dict[str, Any], path: str | PathLike[str] | None) -> str | Path:
    """Return plain data as strict JSON, or write it to `path` and return that."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    return text if path is None else write_text(path, text + "\n")


def csv_text(table: pd.DataFrame, path: str | PathLike[str] | None) -> str | Path:
    """Return a table as CSV, or write it to `path` and return that."""
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text if path is None else write_text(path, text)
