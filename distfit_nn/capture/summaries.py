"""Summaries in a store: the sums of rows that were not kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from distfit_nn.capture import files
from distfit_nn.capture.manifest import file_error
from distfit_nn.capture.slabs import OnDisk
from distfit_nn.errors import InputError

if TYPE_CHECKING:
    from distfit_nn.stats.accumulator import Accumulator
    from distfit_nn.stats.accumulator_checks import Settings

SETTINGS = "settings"


@dataclass(frozen=True, eq=False)
class Summary:
    """The arrays of an `Accumulator` in a file, of which some columns can be read.

    Attributes
    ----------
    location : str
        Path or URL of the file.
    key : str
        What the manifest calls it.
    tensors : mapping of str to OnDisk
        By their names in `distfit_nn.stats.accumulator_state`.
    rows, units : int
        Of what was summarised.
    """

    location: str
    key: str
    tensors: Mapping[str, OnDisk]
    rows: int
    units: int
    itemsize: int = 8

    def check_unchanged(self) -> None:
        """Raise `FileError` if the file is not the one whose header was read."""
        stamp = next(iter(self.tensors.values())).stamp
        if stamp is not None and files.stamp(self.location) != stamp:
            raise file_error(self.location, "changed while it was read")

    def settings(self) -> Settings:
        """Return what the accumulator was made with."""
        from distfit_nn.stats import accumulator_checks

        try:
            found = accumulator_checks.settings_of(self._read(SETTINGS, 0, self._lengths[SETTINGS]))
        except InputError as error:
            raise self._error(error) from None
        if found.columns != self.units:
            raise self._error(f"is of {found.columns} units, the manifest says {self.units}")
        return found

    def load(self, units: slice | None = None) -> Accumulator:
        """Return the accumulator of all or some units: of whole tiles, but for the last.

        Raises
        ------
        FileError
            The file cannot be read, or what it says cannot be.
        """
        from distfit_nn.stats import accumulator_state
        from distfit_nn.stats.accumulator import Accumulator

        self.settings()
        part = slice(0, self.units) if units is None else units
        try:
            arrays = accumulator_state.of_columns(self._read, self._lengths, part)
            found = Accumulator.from_arrays(arrays)
        except InputError as error:
            raise self._error(error) from None
        if arrays["sample"][0] != self.rows:
            raise self._error(f"is of {arrays['sample'][0]} rows, the manifest says {self.rows}")
        return found

    @property
    def _lengths(self) -> dict[str, int]:
        return {name: tensor.shape[0] for name, tensor in self.tensors.items()}

    def _read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        shape = self.tensors[name].shape
        width = 1
        for length in shape[1:]:
            width *= length
        table = self.tensors[name].slab(shape[0], width).cut(start, stop).read()
        return table.reshape(stop - start, *shape[1:])

    def _error(self, problem: object) -> Exception:
        return file_error(self.location, f"summary {self.key!r}: {problem}")


def merged(pieces: Sequence[Summary], units: slice) -> Accumulator:
    """Return some units of summaries of the same units as one, merged in their order.

    Raises
    ------
    FileError
        One cannot be read, or they were not made with the same settings.
    """
    total = pieces[0].load(units)
    total.as_shard(0)
    for number, piece in enumerate(pieces[1:], 1):
        other = piece.load(units)
        other.as_shard(number)
        try:
            total.merge(other)
        except InputError as error:
            raise piece._error(error) from None
    return total


def summary_of(
    location: str, key: str, header: Mapping[str, OnDisk], rows: int, units: int
) -> Summary:
    """Return the summary whose tensors have names that begin with `key`.

    Raises
    ------
    FileError
        There is none, or a tensor is a single number.
    """
    from distfit_nn.stats.accumulator_checks import NAMES

    found = {name: header[f"{key}.{name}"] for name in NAMES if f"{key}.{name}" in header}
    missing = [name for name in NAMES[:-1] if name not in found]
    if missing:
        raise file_error(location, f"has no tensor '{key}.{missing[0]}'")
    flat = [name for name, tensor in found.items() if not tensor.shape]
    if flat:
        raise file_error(location, f"tensor '{key}.{flat[0]}' is a single number")
    return Summary(location, key, found, rows, units)
