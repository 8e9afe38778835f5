"""What the metadata of a Zarr array say, checked: they may name any codec that is installed.

Among the codecs of numcodecs is one that unpickles, hence a list of those that are safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from distfit_nn._checks import shortened
from distfit_nn.errors import InputError

_COMPRESSORS = ("zlib", "gzip", "bz2", "lzma", "blosc", "zstd", "lz4")
_FILTERS = ("shuffle", "delta", "crc32", "crc32c", "adler32", "fletcher32")
_CODECS = ("bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed")
_KINDS = "fiub"  # of real numbers


@dataclass(frozen=True)
class Known:
    """What is known of an array.

    Attributes
    ----------
    version : int
        2 or 3.
    shape, chunk : tuple of int
    dtype : str
        NumPy's short name.
    sharded : bool
        Whether a file holds several chunks.
    """

    version: int
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: str
    sharded: bool


def parsed(name: str, told: Any) -> Known | None:
    """Return what the metadata in the file `name` say; None for a group and for no numbers.

    Raises
    ------
    InputError
        They break a rule of the format, or need a codec that is not known to be safe.
    """
    if not isinstance(told, dict):
        raise InputError(f"{shortened(repr(name))} is no object")
    try:
        if name.endswith(".zgroup"):
            return None
        return _version_2(told) if name.endswith(".zarray") else _version_3(told)
    except (KeyError, TypeError, ValueError) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(shortened(f"{name!r}: {problem}")) from None


def _version_2(told: dict[str, Any]) -> Known | None:
    if told["zarr_format"] != 2:
        raise ValueError(f"zarr_format is {told['zarr_format']!r}")
    dtype = np.dtype(told["dtype"]) if isinstance(told["dtype"], str) else None
    if dtype is None or dtype.kind not in _KINDS or dtype.hasobject:
        return None
    packed, filters = told["compressor"], told["filters"] or []
    for codec in filters:
        _check_codec(codec["id"], _FILTERS)
        for key in ("dtype", "astype"):
            if key in codec and np.dtype(str(codec[key])).kind not in _KINDS:
                raise ValueError(f"a filter makes values of the type {codec[key]!r}")
    if packed is not None:
        _check_codec(packed["id"], _COMPRESSORS)
    return _known(2, told["shape"], told["chunks"], dtype, False)


def _version_3(told: dict[str, Any]) -> Known | None:
    if told["zarr_format"] != 3:
        raise ValueError(f"zarr_format is {told['zarr_format']!r}")
    if told["node_type"] == "group":
        return None
    kind = told["data_type"]
    if not isinstance(kind, str) or kind not in _types():
        return None
    _check_codecs(told["codecs"])
    if told.get("storage_transformers"):
        raise ValueError("it has storage_transformers")
    grid = told["chunk_grid"]
    if grid["name"] != "regular":
        raise ValueError(f"its chunk_grid is {grid['name']!r}, not 'regular'")
    sharded = any(_name(codec) == "sharding_indexed" for codec in told["codecs"])
    chunk = grid["configuration"]["chunk_shape"]
    return _known(3, told["shape"], chunk, np.dtype(kind), sharded)


def _types() -> tuple[str, ...]:
    whole = (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
    return ("bool", "float16", "float32", "float64", *whole)


def _check_codecs(codecs: Any, depth: int = 0) -> None:
    if depth > 2:
        raise ValueError("its codecs are nested too deeply")
    for codec in codecs:
        _check_codec(_name(codec), _CODECS)
        if _name(codec) == "sharding_indexed":
            inner = codec["configuration"]
            _check_codecs(inner["codecs"], depth + 1)
            _check_codecs(inner.get("index_codecs", []), depth + 1)


def _name(codec: Any) -> Any:
    return codec if isinstance(codec, str) else codec["name"]


def _check_codec(name: Any, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"needs the codec {name!r:.40}; known are {', '.join(known)}")


def _known(version: int, shape: Any, chunk: Any, dtype: np.dtype[Any], sharded: bool) -> Known:
    """Return what is known, if shape and chunks are whole numbers that suit each other."""
    if not _are_counts(shape, 0) or not _are_counts(chunk, 1) or len(shape) != len(chunk):
        raise ValueError("its shape and chunks are no whole numbers, or not of the same length")
    return Known(version, tuple(shape), tuple(chunk), dtype.str, sharded)


def _are_counts(values: Any, least: int) -> bool:
    return isinstance(values, list) and all(type(n) is int and least <= n < 1 << 63 for n in values)
