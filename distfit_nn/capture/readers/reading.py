"""`read`: from any source to entries."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import ArrayLike

from distfit_nn import _checks
from distfit_nn.capture import files
from distfit_nn.capture.entries import Entry
from distfit_nn.capture.files import is_url
from distfit_nn.capture.manifest import file_error, is_store, status
from distfit_nn.capture.readers import kinds
from distfit_nn.capture.readers.found import Found, Mask, checked_mask, entry
from distfit_nn.capture.readers.kinds import Kind
from distfit_nn.capture.readers.memory import from_memory
from distfit_nn.capture.readers.tensorboard import DEEPEST, MOST_ENTRIES
from distfit_nn.capture.slabs import MOST_LAYERS
from distfit_nn.capture.store import Store
from distfit_nn.errors import InputError

Source = str | PathLike[str] | ArrayLike | Mapping[str, ArrayLike]


def read(
    source: Source, *, unit_axis: int | None = None, mask: ArrayLike | None = None
) -> Iterator[Entry]:
    """Return an iterator over the entries of `source`, each read when it is asked for.

    Nothing is ever unpickled, and no link is followed out of a file or folder.

    Parameters
    ----------
    source : path, URL, array, tensor, DataFrame, mapping of str to array, or output of a model
        A path names a store or a file; see the table below. An array has the shape (n,), one unit,
        or (n, d), d units; each item of a mapping is a layer. A tuple or list of tensors, each with
        two axes or more, such as the ``output_hidden_states`` of a Hugging Face model, gives the
        layers ``hidden_states.0``, ``hidden_states.1``, ..., whose last axis is units; in a mapping
        they have its key's name. Of a whole ``ModelOutput`` its hidden states and attentions are
        read (encoder's, decoder's and cross attentions too; the units of attention weights are the
        heads), or all its tensors where it has none of them.
        A URL that fsspec knows (``s3://bucket/run``) names a store, a ``.npy`` or a
        ``.safetensors`` file.
    unit_axis : int, optional
        Axis of the units; all other axes are rows. It is needed for arrays of more than two
        dimensions, such as 1 for images (n, channels, height, width). Default: the second of two,
        the last of a model's states. Stores and histograms take no `unit_axis`.
    mask : array of bool or of 0 and 1, optional
        Rows to keep, such as the attention mask (batch, tokens) that is 0 for padding: its axes are
        the first axes of every layer once the units' is taken out. Stores and histograms, whose
        rows have lost their order, take no mask.

    Notes
    -----
    Files, by how their names end:

    ==================== ===========================================================================
    .npy                 one array; in pieces, from a disk or a URL
    .npz                 each array is a layer; large ones in pieces
    .safetensors         each tensor is a layer; in pieces, from a disk or a URL
    .pt, .pth            a tensor, or nested dicts and lists of tensors, keys joined by dots; whole
    .csv                 with a header line: each column is a unit, but a first one without a name
                         is an index and none; whole
    .parquet             each column is a unit, an index of pandas is none; in pieces
    .h5, .hdf5           each dataset of numbers is a layer, groups joined by dots; in pieces
    .zarr, .zip          each array is a layer, groups joined by dots, versions 2 and 3; a folder,
                         or one in an archive; in pieces
    tfevents             TensorBoard's histograms, in a file with that word in its name or a folder
                         of them, up to three folders deep: tag and step are layer and step. Each
                         is one unit of at most 5,000 values laid out evenly over its buckets, exact
                         to the width of a bucket
    ==================== ===========================================================================

    What is read in pieces may be larger than memory. Of files that hold several arrays, single
    numbers and what is no array of numbers (text, references, compounds) are left out: a
    checkpoint's epoch, a norm's count of batches. Of a store, entries that share layer, site and
    step are joined row by row.

    A file is refused that holds more than 100,000 layers, or arrays that grow over 1 GiB and more
    than a hundredfold as they are unpacked.

    Raises
    ------
    InputError
        The values have no rows or columns, a shape that cannot be read, or are not real numbers;
        or a name is not valid Unicode text.
    FileError
        The file is missing, damaged, unsafe, of an unknown kind, or its contents break a rule
        above. That a path exists and is of a known kind is checked at once, the rest when its
        turn comes.
    """
    unit_axis = _checks.optional_axis(unit_axis, "unit_axis")
    kept = checked_mask(mask)
    if not isinstance(source, (str, PathLike)):
        return (entry(found, unit_axis, kept) for found in from_memory(source))
    if is_url(source):
        return _from_url(str(source), unit_axis, kept)
    path = Path(source)
    found = status(path)
    if found is None:
        raise file_error(path, "does not exist")
    if stat.S_ISDIR(found.st_mode):
        return _from_folder(path, unit_axis, kept)
    if not stat.S_ISREG(found.st_mode):
        raise file_error(path, "is no regular file")
    return _from_file(path, kinds.of_file(path), unit_axis, kept)


def _from_url(url: str, unit_axis: int | None, mask: Mask | None) -> Iterator[Entry]:
    """Read a store, or a file of which parts can be had, behind a URL."""
    suffix = PurePosixPath(url.partition("::")[0]).suffix.lower()
    kind = kinds.FILES.get(suffix)
    if kind is None or suffix == ".zip":  # as in zip://run::s3://bucket/all.zip
        return _from_store(Store(url), unit_axis, mask)
    if not kind.urls:
        raise file_error(url, f"is behind a URL; {suffix} files can only be read from a disk")
    return _from_file(url, kind, unit_axis, mask)


def _from_folder(path: Path, unit_axis: int | None, mask: Mask | None) -> Iterator[Entry]:
    if is_store(path):
        return _from_store(Store(path), unit_axis, mask)
    kind = kinds.of_folder(path)
    if kind is None:
        raise file_error(
            path,
            "is a folder but not a distfit_nn store, and no TensorBoard log was found in it "
            f"({DEEPEST} folders deep, among {MOST_ENTRIES:,} names at most)",
        )
    return _from_file(path, kind, unit_axis, mask)


def _from_store(store: Store, unit_axis: int | None, mask: Mask | None) -> Iterator[Entry]:
    if unit_axis is not None:
        raise InputError(f"a store takes no unit_axis, got {unit_axis}")
    if mask is not None:
        raise InputError("a store takes no mask: its rows are a sample already")
    return store.entries()


def _from_file(
    path: Path | str, kind: Kind, unit_axis: int | None, mask: Mask | None
) -> Iterator[Entry]:
    """Yield the entries of a file; every error is one line that names the file."""
    if kind.fixed and unit_axis is not None:
        raise InputError(f"{kind.fixed} take no unit_axis, got {unit_axis}")
    if kind.fixed and mask is not None:
        raise InputError(f"{kind.fixed} take no mask")
    return _entries(path, kind, unit_axis, mask)


def _entries(
    path: Path | str, kind: Kind, unit_axis: int | None, mask: Mask | None
) -> Iterator[Entry]:
    seen: set[tuple[str, int]] = set()
    with files.told(path, kind.name):
        for found in _numbered(kind.read, path):
            if (found.layer, found.step) in seen:
                raise InputError(f"holds two arrays of the name {found.layer!r}")
            seen.add((found.layer, found.step))
            yield entry(found, unit_axis, mask)
    if not seen:
        raise file_error(path, "holds no arrays" if not kind.fixed else f"holds no {kind.fixed}")


def _numbered(reader: Callable[[Any], Iterator[Found]], path: Path | str) -> Iterator[Found]:
    """Yield what a reader finds, but not without end."""
    for number, found in enumerate(reader(path)):
        if number == MOST_LAYERS:
            raise InputError(f"holds more than {MOST_LAYERS:,} arrays")
        yield found
