"""Small tables for notebooks: HTML without scripts or styles of the page, every text escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 20
_LONGEST = 60  # characters of a text
_CELL = "padding:2px 10px 2px 0;vertical-align:top;"


def table(sentence: str, data: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """Return a sentence and the first 20 rows of some columns as HTML.

    Parameters
    ----------
    sentence : str
        Above the table.
    data : DataFrame
    columns : mapping
        Column to its heading; those that are missing are left out.
    """
    shown = {name: heading for name, heading in columns.items() if name in data}
    head = "".join(
        _cell(heading, "th", left=any(isinstance(one, str) for one in data[name][:MOST_ROWS]))
        for name, heading in shown.items()
    )
    body = "".join(_row([row[name] for name in shown]) for _, row in data[:MOST_ROWS].iterrows())
    left_out = len(data) - MOST_ROWS
    more = f"<div>{left_out:,} more rows.</div>" if left_out > 0 else ""
    return (
        f"<div><p>{html.escape(sentence)}</p><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{more}</div>"
    )


def _row(values: Sequence[Any]) -> str:
    cells = (_cell(_text(value), "td", left=isinstance(value, str)) for value in values)
    return f"<tr>{''.join(cells)}</tr>"


def _cell(text: str, tag: str, *, left: bool) -> str:
    style = _CELL + ("text-align:left" if left else "text-align:right")
    return f'<{tag} style="{style}">{html.escape(text)}</{tag}>'


def _text(value: Any) -> str:
    from distfit_nn.report.numbers import MISSING, count, number
    from distfit_nn.report.select import clean

    if isinstance(value, str):
        return clean(value, _LONGEST)
    if value is None:
        return MISSING
    if isinstance(value, float):
        return number(value) if math.isfinite(value) or math.isinf(value) else MISSING
    return ("yes" if value else "no") if _is_flag(value) else count(int(value))


def _is_flag(value: Any) -> bool:
    return type(value).__name__ in ("bool", "bool_")
