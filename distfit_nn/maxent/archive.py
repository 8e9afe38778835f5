"""Densities in files: the arrays of a solution, by `distfit_nn._archive`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn._archive import Arrays, Format
from distfit_nn.errors import FileError
from distfit_nn.maxent.solution import PER_ORDER, Solution, Status

Array = NDArray[np.float64]

FIELDS = tuple(Solution.__dataclass_fields__)
FILE = Format(
    name="maximum-entropy density",
    what="a fitted density",
    version=1,
    dtypes=dict.fromkeys((*FIELDS, "loc", "scale"), np.float64)
    | {"status": np.int8, "iterations": np.int64, "single": np.bool_},
)


def save(
    path: str | os.PathLike[str], solution: Solution, loc: Array, scale: Array, single: bool
) -> Path:
    """Write what a density consists of, whole or not at all; return the path."""
    arrays = {name: getattr(solution, name) for name in FIELDS}
    return FILE.save(path, arrays | {"loc": loc, "scale": scale, "single": single})


def load(path: str | os.PathLike[str]) -> tuple[Solution, Array, Array, bool]:
    """Return solution, loc, scale and whether it is a single column, as `save` wrote them.

    Raises
    ------
    FileError
        There is no such file, it is damaged, or it is something else.
    InputError
        `path` is no path.
    """
    arrays = FILE.load(path)
    _check(path, arrays)
    fields: dict[str, Any] = {name: arrays[name] for name in FIELDS}
    return Solution(**fields), arrays["loc"], arrays["scale"], bool(arrays["single"])


def _check(path: str | os.PathLike[str], arrays: Arrays) -> None:
    """Raise unless the arrays are those of a density."""
    order, *_ = (*arrays["coefficients"].shape, 0)
    columns = arrays["loc"].size
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(arrays, (columns,))
    shapes |= dict.fromkeys(PER_ORDER, (order, columns))
    shapes["single"] = ()
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise FileError(
                f"{path} is damaged: {name} is {arrays[name].dtype} of shape {arrays[name].shape}, "
                f"not of shape {shape}"
            )
    known = np.isin(arrays["status"], list(Status)).all()
    if not known or (arrays["single"] and columns != 1):
        raise FileError(
            f"{path} is damaged: unknown status, or a single density of {columns} columns"
        )
