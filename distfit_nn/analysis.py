"""`analyze`: from a store, a file or arrays to tables of layers and units, and to a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfit_nn import _notebook, streaming
from distfit_nn._checks import one_of, positive_int, whole_number
from distfit_nn._writers import csv_text, json_text, plural, records
from distfit_nn.capture.entries import Entry
from distfit_nn.capture.readers import Source, read
from distfit_nn.maxent.problem import check_order
from distfit_nn.stats import summary
from distfit_nn.stats.accumulator import ColumnSummary
from distfit_nn.stats.changes import MOST_LAYERS
from distfit_nn.stats.findings import Findings
from distfit_nn.stats.summary import LEAST_ORDER, Place, Recording
from distfit_nn.streaming import MEMORY, Progress, Settings, memory_size

if TYPE_CHECKING:
    from distributed import Client
    from numpy.typing import ArrayLike

# Version 2 has all of version 1, "claims", and the tables "drift" and "dependence".
FORMAT, VERSION = "distfit_nn.analysis", 2
TABLES = ("units", "layers", "drift", "dependence")
_FLAGS = {
    "dead": "are dead",
    "saturated": "saturated",
    "outlier": "outlier channels",
    "heavy_tailed": "heavy-tailed",
    "bimodal": "bimodal",
    "far": "far from N(0,1)",
}
_SHOWN = {
    "layer": "Layer",
    "site": "Site",
    "step": "Step",
    "units": "Units",
    "rows": "Rows",
    "kl_median": "KL, nat",
    "shape_median": "Shape part",
    "dead": "Dead",
    "saturated": "Saturated",
    "outlier": "Outliers",
    "heavy_tailed": "Heavy tails",
    "bimodal": "Bimodal",
    "far": "Far",
}
Ends = dict[tuple[str, str], tuple[int, int]]  # layer and site to the first and last recording


class Analysis(Findings):
    """What `analyze` found, and what it can be turned into.

    `layers`, `units`, `drift` and `dependence` are the tables, `recordings` what they were made
    of; see `Findings`.
    """

    def to_html(self, path: str | PathLike[str]) -> Path:
        """Write the report, one self-contained HTML file, and return its path."""
        from distfit_nn.report import build

        return build.write(self, path)

    def to_figures(
        self,
        folder: str | PathLike[str],
        *,
        formats: Sequence[str] = ("png", "svg"),
        dpi: int = 150,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Path]:
        """Write the figures as images into `folder`, with an index.json, and return their paths.

        See `distfit_nn.report.export.write_figures`.
        """
        from distfit_nn.report import export

        return export.write_figures(self, folder, formats=formats, dpi=dpi, progress=progress)

    def to_dict(self) -> dict[str, Any]:
        """Return claims, tables and definitions as plain data.

        NaN and infinite numbers become None. The claims are those of the report's first screen. Of
        more than 100 layers ``drift`` and ``dependence`` are empty, because these take 0.1 s for
        each layer and site, and ``left_out`` names them; they are there once `Analysis.drift` or
        `Analysis.dependence` was asked for.
        """
        from distfit_nn.report.claims import claims_of

        left_out = self._left_out()
        return {
            "format": FORMAT,
            "version": VERSION,
            "source": self.source,
            "created": self.created,
            "order": self.order,
            "alpha": self.alpha,
            "definitions": self.definitions,
            "claims": claims_of(self),
            "left_out": left_out,
            **{name: [] if name in left_out else records(getattr(self, name)) for name in TABLES},
        }

    def _left_out(self) -> list[str]:
        """Return the tables that would take minutes and were not asked for yet."""
        if len({recording.layer for recording in self.recordings}) <= MOST_LAYERS:
            return []
        return [name for name in ("drift", "dependence") if name not in vars(self)]

    def to_json(self, path: str | PathLike[str] | None = None) -> str | Path:
        """Return `to_dict` as strict JSON, or write it to `path` and return that."""
        return json_text(self.to_dict(), path)

    def to_csv(self, path: str | PathLike[str] | None = None, table: str = "units") -> str | Path:
        """Return a table as CSV, or write it to `path` and return that.

        `table` is "units", "layers", "drift" or "dependence". A name that a spreadsheet could take
        for a formula gets a single quote before it; control characters become escapes. JSON has the
        names as they are.
        """
        one_of(table, TABLES, "table")
        return csv_text(getattr(self, table), path)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: how many units stand out, and a row for each layer.

        Of each layer and site the last step, at most 20 rows.
        """
        last = self.layers.loc[self.layers.groupby(["layer", "site"], sort=False)["step"].idxmax()]
        units = int(last["units"].sum())
        found = [
            f"{int(last[flag].sum()):,} {words}"
            for flag, words in _FLAGS.items()
            if last[flag].any()
        ]
        sentence = (
            f"{plural(len(self.recordings), 'recording')} of "
            f"{plural(last['layer'].nunique(), 'layer')}; of "
            f"{plural(units, 'unit')} at the last step, each site by itself, "
            + (", ".join(found) if found else "none stands out")
            + "."
        )
        return _notebook.table(sentence, last, _SHOWN)

    def __repr__(self) -> str:
        return (
            f"<Analysis of {self.source}: {plural(len(self.recordings), 'recording')}, "
            f"{plural(sum(len(recording.units) for recording in self.recordings), 'unit')}>"
        )


def analyze(
    source: Source,
    *,
    order: int = 6,
    unit_axis: int | None = None,
    mask: ArrayLike | None = None,
    sample: int = 5000,
    seed: int = 0,
    memory_limit: int | str = MEMORY,
    client: Client | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Measure the distribution of every unit of every layer at every step.

    Moments, extremes, counts, quantiles and histograms are those of all rows, taken in one pass;
    tests that need single values take them from a uniform sample of the rows. The numbers, to the
    last bit, do not depend on `memory_limit`, on the number of threads, or on the `client`.

    Parameters
    ----------
    source : path, URL, array, tensor, DataFrame, dict of str to array, or output of a model
        A store that `record` wrote, in a folder or behind a URL that fsspec knows; a file .npy,
        .npz, .safetensors, .pt, .pth, .csv, .parquet, .h5, .hdf5 or .zarr, or TensorBoard's log; an
        array (n,) or (n, d) of n rows and d units; a dict with a layer's name for each array; or
        the hidden states of a Hugging Face model. `distfit_nn.capture.readers.read` tells how each
        is read; all but .pt, .pth, .csv and what is in memory may be larger than memory.
    order : int
        Moments that the maximum-entropy densities match, 1 to 12.
    unit_axis : int, optional
        Axis of the units in arrays of more than two dimensions; the others are rows.
    mask : array of bool or of 0 and 1, optional
        Rows to keep, such as an attention mask (batch, tokens), which is 0 for padding: its axes
        are the first axes of every layer once that of the units is taken out. Not for stores.
    sample : int, default 5000
        Rows that are drawn from each recording for such tests (all, where there are no more).
    seed : int, default 0
        Of the sample.
    memory_limit : int or str, default "256MB"
        Bytes for data and sums; beside it come the libraries themselves, about 250 MB, and some 20
        kB for each unit of the recording at hand. Where the sums of its units need more, it is read
        several times, for some of them at once.
    client : dask.distributed.Client, optional
        A cluster that measures instead of this process; its workers must be able to read the
        source.
    progress : callable, optional
        Called with an entry and the number of its rows that are measured: 0 when its turn comes,
        then after each part.

    Returns
    -------
    Analysis
        With `.layers` and `.units`, `.to_html`, `.to_json`, `.to_csv`.

    Raises
    ------
    InputError, FileError
        One sentence: which rule the source breaks. NaN, inf and constant units are no errors: they
        are counted in the tables.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> analysis = dn.analyze({"fc1": np.random.default_rng(0).normal(size=(500, 3))})
    >>> analysis.units[["unit", "n", "maxent_status"]].values.tolist()
    [[0, 500, 'ok'], [1, 500, 'ok'], [2, 500, 'ok']]
    """
    settings = Settings(
        order=max(check_order(order), LEAST_ORDER),
        rows=positive_int(sample, "sample"),
        seed=whole_number(seed, "seed"),
        memory=memory_size(memory_limit),
    )
    summarise_entry = _summariser(client)
    recordings: list[Recording] = []
    ends: Ends = {}
    for entry in read(source, unit_axis=unit_axis, mask=mask):
        found = summarise_entry(entry, settings, progress)
        _append(recordings, ends, summary.recording(found, place_of(entry), order))
    name = str(source) if isinstance(source, (str, PathLike)) else "arrays in memory"
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Analysis(name, order, created, tuple(recordings))


def _append(recordings: list[Recording], ends: Ends, new: Recording) -> None:
    """Append a recording; of each layer only the first and the last step keep their rows."""
    recordings.append(new)
    place, key = len(recordings) - 1, (new.layer, new.site)
    in_order = sorted({place, *ends.get(key, ())}, key=lambda at: recordings[at].step)
    for middle in in_order[1:-1]:
        recordings[middle] = replace(recordings[middle], sample=None)
    ends[key] = (in_order[0], in_order[-1])


def place_of(entry: Entry) -> Place:
    """Return where and when the values of an entry were recorded."""
    return Place(
        entry.layer,
        entry.site,
        entry.step,
        entry.activation,
        entry.rows_seen,
        entry.names,
        entry.ids,
    )


def _summariser(
    client: Client | None,
) -> Callable[[Entry, Settings, Progress | None], ColumnSummary]:
    if client is None:
        return streaming.summarise_entry
    from distfit_nn import cluster

    return cluster.summariser(client)
