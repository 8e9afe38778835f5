"""Tables whose columns are units: .csv and .parquet."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn._checks import shortened
from distfit_nn.capture import files
from distfit_nn.capture.files import Stamp
from distfit_nn.capture.readers import extras, limits
from distfit_nn.capture.readers.found import Found
from distfit_nn.capture.readers.memory import from_frame
from distfit_nn.capture.slabs import MOST_LAYERS
from distfit_nn.capture.spans import Fetch
from distfit_nn.errors import InputError

_LONGEST_LINE = 16 << 20  # bytes of the line that names the columns
_BLOCK = 1 << 22
_BATCH = 1 << 20  # values that are decoded at once
# Read through a buffer, rather than whole columns of a group, and bound what a header may claim.
_PARQUET = {
    "buffer_size": 1 << 16,
    "pre_buffer": False,
    "thrift_string_size_limit": 32 << 20,
    "thrift_container_size_limit": 10 * MOST_LAYERS,
}


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


def read_parquet(path: Path) -> Iterator[Found]:
    """Yield the table of a .parquet file, which is read in pieces."""
    parquet = extras.module("pyarrow.parquet", "parquet")
    with parquet.ParquetFile(path, **_PARQUET) as file:
        table, names = _parquet_table(path, file)
    limits.check_growth(table.rows * table.units * table.itemsize, path.stat().st_size, "it")
    yield Found(path.stem, table, names)


def _parquet_table(path: Path, file: Any) -> tuple[_Parquet, tuple[str, ...]]:
    """Return what the end of a file tells of its columns."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    rows = tuple(group.num_rows for group in groups)
    if min(rows, default=0) < 0 or sum(rows) != file.metadata.num_rows:
        raise ValueError("its groups do not have as many rows as it tells")
    schema = file.schema_arrow
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    fields = [(at, field) for at, field in enumerate(schema) if field.name not in index]
    if len(fields) > MOST_LAYERS:
        raise ValueError(f"it has {len(fields):,} columns, more than {MOST_LAYERS:,}")
    dtypes = [_parquet_dtype(field) for _, field in fields]
    places = tuple(at for at, _ in fields)
    if all(dtype.kind != "f" for dtype in dtypes) and _may_have_gaps(groups, len(schema)):
        dtypes.append(np.dtype(np.float64))  # NaN for what is missing
    dtype = np.result_type(*dtypes).str if dtypes else "<f8"
    names = tuple(field.name for _, field in fields)
    return _Parquet(str(path), places, rows, dtype, files.stamp(path)), names


def _parquet_dtype(field: Any) -> np.dtype[Any]:
    types = extras.module("pyarrow.types", "parquet")
    kind = field.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise InputError(
            f"column {shortened(repr(field.name))} must hold real numbers, got {shortened(kind)}"
        )
    return np.dtype(kind.to_pandas_dtype())


def _may_have_gaps(groups: list[Any], columns: int) -> bool:
    """Return whether values may be missing, as far as the file tells without being read."""
    for group in groups:
        for column in range(columns):
            told = group.column(column).statistics
            if told is None or not told.has_null_count or told.null_count:
                return True
    return False


@dataclass(frozen=True)
class _Parquet:
    """The columns of a .parquet file; see `spans.Table`."""

    location: str
    places: tuple[int, ...]
    groups: tuple[int, ...]
    dtype: str
    stamp: Stamp | None

    @property
    def rows(self) -> int:
        return sum(self.groups)

    @property
    def units(self) -> int:
        return len(self.places)

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    @contextmanager
    def opened(self) -> Iterator[Fetch]:
        parquet = extras.module("pyarrow.parquet", "parquet")
        with parquet.ParquetFile(self.location, **_PARQUET) as file:
            yield _Rows(self, file).fetch


class _Rows:
    """Reads rows in their order, batch by batch; going back means to start with their group."""

    def __init__(self, table: _Parquet, file: Any) -> None:
        self._table, self._file = table, file
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._first = 0  # row with which the batch begins
        self._ends = list(accumulate(table.groups))

    def fetch(self, start: int, stop: int) -> NDArray[Any]:
        found = np.empty((stop - start, self._table.units), self._table.dtype)
        self._seek(start)
        row = start
        while row < stop:
            end = self._first + self._batch.num_rows
            if row >= end and not self._next():
                raise ValueError(f"it ends at row {end}, not {self._ends[-1]}")
            here = self._batch.slice(row - self._first, stop - row)
            for unit, place in enumerate(self._table.places):
                found[row - start : row - start + here.num_rows, unit] = _array(here.column(place))
            row += here.num_rows
        return found

    def _seek(self, row: int) -> None:
        if self._batch is not None and row >= self._first:
            return
        group = bisect_right(self._ends, row)
        rows = max(1, _BATCH // max(1, len(self._file.schema_arrow)))
        self._batches = self._file.iter_batches(
            batch_size=rows, row_groups=range(group, len(self._ends)), use_threads=False
        )
        self._first = self._ends[group] - self._table.groups[group]
        self._batch = None
        self._next()

    def _next(self) -> bool:
        """Go to the next batch that has rows; return whether there is one."""
        self._first += 0 if self._batch is None else self._batch.num_rows
        batch = next((batch for batch in self._batches if batch.num_rows), None)
        if batch is None:
            return False
        self._batch = batch
        return True


def _array(column: Any) -> NDArray[Any]:
    plain = column.cast("uint8") if str(column.type) == "bool" else column
    return plain.to_numpy(zero_copy_only=False)
