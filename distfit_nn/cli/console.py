"""What the program prints: data to standard output, progress and messages to standard error."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

from distfit_nn.errors import FileError

if TYPE_CHECKING:
    import pandas as pd

WIDEST_CELL = 48  # characters; longer names are cut in the tables, not in JSON and CSV

LAYER_COLUMNS = {
    "layer": "layer",
    "site": "site",
    "step": "step",
    "units": "units",
    "dead": "dead",
    "saturated": "saturated",
    "outlier": "outliers",
    "heavy_tailed": "heavy-tailed",
    "bimodal": "bimodal",
    "far": "far",
    "kl_median": "KL (nat)",
    "shape_median": "shape part",
    "dip_max": "max dip",
}
FIT_COLUMNS = {
    "layer": "layer",
    "site": "site",
    "step": "step",
    "unit": "unit",
    "status": "status",
    "entropy": "entropy (nat)",
    "residual": "residual",
    "iterations": "iterations",
    "mass_outside": "mass outside",
}
DRIFT_COLUMNS = {
    "layer": "layer",
    "site": "site",
    "step_before": "before",
    "step_after": "after",
    "wasserstein_mean": "distance (sd)",
    "baseline_mean": "by chance",
    "wasserstein_max": "largest",
    "shift_median": "shift",
    "spread_median": "spread",
    "shape_median": "shape",
    "units": "units",
    "drifted_units": "drifted",
    "qvalue": "q",
    "n": "n",
    "m": "m",
}
SITE_COLUMNS = {
    "layer": "layer",
    "site": "site",
    "activation": "activation",
    "module": "module",
    "shape": "shape",
    "dtype": "dtype",
    "rows": "rows",
    "units": "units",
    "bytes": "bytes",
}
CHECK_COLUMNS = {
    "rule": "rule",
    "layer": "layer",
    "site": "site",
    "step": "step",
    "unit": "unit",
    "value": "value",
    "limit": "limit",
    "units": "offending units",
}
SUGGESTION_COLUMNS = {
    "layer": "layer",
    "site": "site",
    "step": "step",
    "units": "units",
    "suggestion": "suggestion",
    "kl_before": "KL before (nat)",
    "kl_after": "after",
    "improved": "improved",
    "layer_class": "layer to try",
}


class ReaderGone(Exception):
    """The reader of standard output has had enough, as `head` does: not an error of ours."""


def print_out(text: str) -> None:
    """Print to standard output, at once."""
    try:
        print(text, flush=True)
    except OSError as error:
        # Python flushes again at its end and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise ReaderGone from None
        raise FileError(f"cannot write to standard output: {error.strerror}") from None


def ascii_json(content: Any) -> str:
    """Return strict JSON in ASCII, which every terminal and pipe can carry."""
    return json.dumps(content, allow_nan=False, indent=1)


def say(text: str) -> None:
    """Print one line to standard error."""
    print(one_line(text), file=sys.stderr, flush=True)


def one_line(text: object) -> str:
    """Return text without characters that could move a terminal's cursor."""
    return "".join(
        " " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in str(text)
    )


def print_table(table: pd.DataFrame, columns: dict[str, str]) -> None:
    """Print some columns of a table, numbers to the right."""
    rows = [[_cell(value) for value in row] for row in table[list(columns)].itertuples(index=False)]
    header = list(columns.values())
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    right = [table[name].dtype.kind in "fiub" for name in columns]
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        ]
        print_out("  ".join(cells).rstrip())


def _cell(value: Any) -> str:
    import pandas as pd  # it is there: the value is from a table

    if value is None or value is pd.NA:
        return "-"
    if isinstance(value, float):
        return "-" if value != value else f"{value:.3g}"
    text = one_line(value)
    return text if len(text) <= WIDEST_CELL else text[: WIDEST_CELL - 1] + "…"
