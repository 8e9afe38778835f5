"""Where images come from: .npz files, scikit-learn's digits, or OpenML by scikit-learn."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.errors import LabError

Arrays = dict[str, NDArray[Any]]  # x_train, y_train, x_test, y_test; images uint8 or float

PARTS = ("x_train", "y_train", "x_test", "y_test")
SHAPES = {"mnist": (28, 28), "cifar10": (3, 32, 32)}
OPENML = {"mnist": ("mnist_784", 60_000), "cifar10": ("CIFAR_10", 50_000)}  # name, training images
DIGITS_TO_TRAIN = 1347
HELD_BACK = 1 / 6  # of the training images, to choose rates by


@dataclass(frozen=True)
class Source:
    """A data set: its name, the file (None: scikit-learn finds it), and the digest of its values.

    Runs are kept by name and digest, so that they outlive a file that moves.
    """

    name: str
    path: str | None
    digest: str


@dataclass(frozen=True)
class Split:
    """Standardised pixels (n, channels, height, width), float32, and labels (n,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def first(self, rows: int | None) -> Split:
        """Return the first so many images; None for all."""
        return self if rows is None else Split(self.pixels[:rows], self.labels[:rows])


@dataclass(frozen=True)
class Images:
    """What is trained on, what rates are chosen by, and what is told."""

    train: Split
    validation: Split
    test: Split

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train.pixels.shape[1:]
        return channels, height, width


def find(name: str, given: Sequence[Path] = ()) -> Source:
    """Return where a data set is: in the files given, or in the folders, or with scikit-learn.

    Raises
    ------
    LabError
        A file is not what it should be, or none was given and OpenML cannot be reached.
    """
    if name == "digits":
        return Source(name, None, _digest(_digits()))
    shapes = {file: _shape(file) for file in _files(given)}
    path = next((str(file) for file, shape in shapes.items() if shape == SHAPES[name]), None)
    try:
        return Source(name, path, _digest(_read(name, path)))
    except (ValueError, BadZipFile, EOFError):  # of a part that is damaged, or holds objects
        raise LabError(f"{path} is damaged, or its {', '.join(PARTS)} are no numbers") from None
    except LabError as error:
        if path or not shapes:
            raise
        seen = ", ".join(f"{file} has images {shape}" for file, shape in shapes.items())
        raise LabError(f"{error} Of --data, {seen}.") from None


@lru_cache(maxsize=2)
def images(source: Source) -> Images:
    """Return the images, each channel with mean 0 and standard deviation 1 over the training set.

    The last sixth of the training images is the validation split.
    """
    arrays = _digits() if source.name == "digits" else _read(source.name, source.path)
    pixels = {}
    for part in ("x_train", "x_test"):
        x = torch.from_numpy(arrays[part]).float()
        pixels[part] = x[:, None] if x.ndim == 3 else x
    mean = pixels["x_train"].mean((0, 2, 3), keepdim=True)
    std = pixels["x_train"].std((0, 2, 3), keepdim=True)
    train, test = ((pixels[part] - mean) / std for part in ("x_train", "x_test"))
    y, y_test = (torch.from_numpy(arrays[part].astype(np.int64)) for part in ("y_train", "y_test"))
    kept = len(train) - int(len(train) * HELD_BACK)
    return Images(Split(train[:kept], y[:kept]), Split(train[kept:], y[kept:]), Split(test, y_test))


def zero_to_one(data: Images) -> Images:
    """Return the images with pixels of 0 to 1: as they come, where nobody standardised them."""
    low, high = data.train.pixels.min(), data.train.pixels.max()
    return Images(
        *(
            Split((part.pixels - low) / (high - low), part.labels)
            for part in (data.train, data.validation, data.test)
        )
    )


def _files(given: Sequence[Path]) -> list[Path]:
    """Return the .npz files that were given, or are in the folders given."""
    found = []
    for path in given:
        if not path.exists():
            raise LabError(f"--data: there is no file or folder {path}")
        files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
        found += [file for file in files if file.suffix == ".npz"]
    return found


def _shape(path: Path) -> tuple[int, ...]:
    """Return the shape of one image of a file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["x_test"].shape[1:]
    except KeyError:
        raise LabError(f"{path} has no x_test; it needs {', '.join(PARTS)}") from None
    except (OSError, ValueError, BadZipFile, EOFError, AttributeError):
        raise LabError(f"{path} is no .npz file of arrays; it needs {', '.join(PARTS)}") from None


def _read(name: str, path: str | None) -> Arrays:
    if path is None:
        return _fetch(name)
    with np.load(path, allow_pickle=False) as file:
        missing = [part for part in PARTS if part not in file]
        if missing:
            raise LabError(f"{path} has no {', '.join(missing)}; it needs {', '.join(PARTS)}")
        arrays = {part: file[part] for part in PARTS}
    for x, y in (PARTS[:2], PARTS[2:]):
        if arrays[x].shape[1:] != SHAPES[name] or arrays[y].shape != arrays[x].shape[:1]:
            raise LabError(
                f"{path}: {x} must be (n, {', '.join(map(str, SHAPES[name]))}) and {y} (n,), got "
                f"{arrays[x].shape} and {arrays[y].shape}"
            )
    return arrays


def _fetch(name: str) -> Arrays:
    """Take a data set from OpenML, or from what scikit-learn kept of it."""
    from sklearn.datasets import fetch_openml

    title, kept = OPENML[name]
    try:
        with warnings.catch_warnings(action="ignore"):  # of a try that failed: all are told below
            x, y = fetch_openml(title, version=1, as_frame=False, return_X_y=True, n_retries=1)
    except Exception as error:  # what a network or its absence raises is open-ended
        raise LabError(
            f"{name} is not at hand. Give --data PATH: an .npz file with {', '.join(PARTS)}, "
            f"images {SHAPES[name]} of 0 to 255, or a folder with one. Or connect to a network: "
            f"scikit-learn then fetches {title} from OpenML (it said: {str(error)[:120]}). "
            "--quick needs neither: it runs on scikit-learn's digits."
        ) from None
    x = x.reshape(-1, *SHAPES[name]).astype(np.uint8)
    y = y.astype(np.int64)
    return dict(zip(PARTS, (x[:kept], y[:kept], x[kept:], y[kept:]), strict=True))


def _digits() -> Arrays:
    """Return the 1,797 digits that scikit-learn ships, 8 by 8 pixels of 0 to 16."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y, at = digits.images, digits.target, DIGITS_TO_TRAIN
    return dict(zip(PARTS, (x[:at], y[:at], x[at:], y[at:]), strict=True))


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for part in PARTS:
        digest.update(np.ascontiguousarray(arrays[part]).view(np.uint8).data)
    return digest.hexdigest()[:16]
