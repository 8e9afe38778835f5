"""Tables whose columns are units: .csv and .parquet."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from distfit_nn.capture.readers.found import Found
from distfit_nn.capture.readers.memory import from_frame
from distfit_nn.capture.slabs import MOST_LAYERS
from distfit_nn.errors import InputError

_LONGEST_LINE = 16 << 20  # bytes of the line that names the columns
_BLOCK = 1 << 22


def read_csv(path: Path) -> Iterator[Found]:
    """Yield the table of a .csv file."""
    import pandas as pd

    _check_text(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        warnings.simplefilter("ignore", pd.errors.DtypeWarning)  # told as a column of no numbers
        try:
            frame = pd.read_csv(path, index_col=False)
        except pd.errors.ParserWarning:
            raise InputError("its lines have more values than its first line has names") from None
    if all(_is_number(name) for name in frame.columns):
        raise InputError("its first line must name the columns, not hold numbers")
    if frame.columns[0] == "Unnamed: 0":  # what pandas calls a first column without a name
        frame = frame.iloc[:, 1:]
    yield from_frame(path.stem, frame)


def _check_text(path: Path) -> None:
    """Raise `ValueError` for what is no text, or has more columns than can be measured."""
    with open(path, "rb") as file:
        line = file.readline(_LONGEST_LINE + 1)
        if len(line) > _LONGEST_LINE:
            raise ValueError("its first line is longer than 16 MiB")
        if (count := line.count(b",") + 1) > MOST_LAYERS:
            raise ValueError(f"it has {count:,} columns, more than {MOST_LAYERS:,}")
        while line:
            if b"\0" in line:
                raise ValueError("it holds bytes that are no text (NUL)")
            line = file.read(_BLOCK)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
