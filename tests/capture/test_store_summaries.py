"""Stores that keep sums in place of rows: what can be known of them is, what cannot is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distfit_nn.analysis import analyze
from distfit_nn.capture.manifest import MANIFEST
from distfit_nn.capture.readers import read
from distfit_nn.capture.store import Store, StoreWriter
from distfit_nn.comparison import compare
from distfit_nn.errors import FileError, InputError
from distfit_nn.stats import Accumulator
from distfit_nn.stats.unit_table import UNSEEN
from distfit_nn.streaming import Settings, summarise_entry
from tests import tolerances

EXACT = ["n", "min", "q01", "median", "q99", "max", "zero_fraction", "nan_count", "inf_count"]


def table(rng: np.random.Generator, units: int = 5, rows: int = 400) -> np.ndarray:
    values = rng.normal(size=(rows, units)).astype(np.float32)
    values[:, 0] = 2.5
    values[:, 1] = np.nan
    values[3, 2] = np.inf
    return values


def summary(values: np.ndarray, **options: Any) -> Accumulator:
    found = Accumulator(values.shape[1], **{"rows": 0, **options})
    found.update(values)
    return found


@pytest.fixture
def stores(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    """The same values in two stores, as sums and as rows, in several calls."""
    with StoreWriter(tmp_path / "sums") as sums, StoreWriter(tmp_path / "rows") as rows:
        for step in (0, 1):
            for call in range(3):
                values = table(rng)
                place = {"layer": "fc", "site": "norm_input", "step": step, "call": call}
                rows.add(values, **place)
                sums.add_summary(summary(values), **place, rows_seen=1000)
    return tmp_path / "sums", tmp_path / "rows"


def test_sums_tell_what_rows_tell(stores):
    sums, rows = (analyze(path) for path in stores)
    for name in EXACT:
        np.testing.assert_array_equal(sums.units[name], rows.units[name])
    for name in ("mean", "std", "skewness", "kurtosis", "kl_maxent"):
        one, other = sums.units[name].to_numpy(), rows.units[name].to_numpy()
        np.testing.assert_allclose(
            one, other, rtol=tolerances.MERGED_SUMS, atol=tolerances.MERGED_SUMS
        )
    assert sums.layers["rows"].tolist() == [1200, 1200]
    assert sums.layers["rows_seen"].tolist() == [3000, 3000]


def test_what_needs_single_values_is_said_not_to_be_measured(stores, tmp_path):
    found = analyze(stores[0])
    units = found.units
    assert set(units["sampled"]) == {0}
    seen = units["n"] > 0
    assert set(units.loc[seen, "evidence"]) == {UNSEEN}
    assert units["shape"].tolist()[:3] == ["constant", "empty", "undecided"]
    for name in ("dip", "normality_pvalue", "wasserstein", "tail_index", "l_kurtosis"):
        assert units[name].isna().all()
    assert found.recordings[0].sample is None
    assert not units["bimodal"].any()
    assert found.to_html(tmp_path / "r.html").stat().st_size > 10_000
    assert isinstance(found.to_json(), str)


def test_a_summary_may_keep_a_sample(tmp_path, rng):
    values = table(rng)
    with StoreWriter(tmp_path / "s") as writer:
        writer.add_summary(summary(values, rows=100), layer="fc", site="s", step=0)
    units = analyze(tmp_path / "s").units
    assert units["sampled"].tolist() == [100, 0, 99 + (units["sampled"][2] == 100), 100, 100]
    assert units["dip"].notna().sum() == 3


def test_a_summary_comes_back_as_an_accumulator(tmp_path, rng):
    values = table(rng, units=300)
    one = summary(values, rows=7, bins=64)
    with StoreWriter(tmp_path / "s") as writer:
        writer.add_summary(one, layer="fc", site="s", step=0, ids=tuple(range(300, 0, -1)))
        writer.add(values, layer="v", site="s", step=0)
        one.update(values, shard=1)  # it may be used on
    store = Store(tmp_path / "s")
    record, other = store.records
    assert (record.kind, record.rows, record.units, record.dtype) == ("summary", 400, 300, None)
    assert record.ids == tuple(range(300, 0, -1))
    restored = store.summary(record).to_arrays()
    for name, array in summary(values, rows=7, bins=64).to_arrays().items():
        assert restored[name].tobytes() == array.tobytes(), name
    with pytest.raises(FileError, match="'t0' is a summary: its rows were not kept"):
        store.load(record)
    with pytest.raises(FileError, match="'t1' is no summary"):
        store.summary(other)


def test_memory_makes_no_difference(tmp_path, rng):
    with StoreWriter(tmp_path / "s") as writer:
        for call in range(2):
            values = table(rng, units=300)
            writer.add_summary(summary(values), layer="fc", site="s", step=0, call=call)
    (entry,) = read(tmp_path / "s")
    whole = summarise_entry(entry, Settings())
    parts = summarise_entry(entry, Settings(memory=1))
    np.testing.assert_array_equal(whole.moments.power_sums, parts.moments.power_sums)
    np.testing.assert_array_equal(whole.pooled_moments().mean, parts.pooled_moments().mean)
    np.testing.assert_array_equal(whole.sketch.quantile(0.3), parts.sketch.quantile(0.3))
    assert whole.pooled_sketch().n == parts.pooled_sketch().n


def test_rows_that_were_not_kept_cannot_be_had(stores):
    entry = next(iter(read(stores[0])))
    for use in (lambda: entry.values, lambda: list(entry.parts())):
        with pytest.raises(InputError, match="layer 'fc' at step 0 is stored as summaries"):
            use()


def test_comparing_needs_rows(stores, rng):
    with pytest.raises(InputError, match=r"nothing to compare: 'fc' norm_input is stored as summ"):
        compare(stores[0])
    with StoreWriter(stores[0], "a") as writer:
        for step in (0, 1):
            writer.add(table(rng), layer="rows", site="s", step=step)
    found = compare(stores[0], permutations=9)
    assert [one.layer for one in found.compared] == ["rows"]
    assert found.unmatched[0].reason.startswith("is stored as summaries")


def test_an_order_that_was_not_summed(stores):
    with pytest.raises(InputError, match="stored as summaries of order 6, order 8 cannot be had"):
        analyze(stores[0], order=8)


def test_values_and_summaries_are_not_joined(stores, rng):
    with StoreWriter(stores[0], "a") as writer:
        writer.add(table(rng), layer="fc", site="norm_input", step=1, call=9)
    with pytest.raises(FileError, match="'fc' at step 1 has values and summaries, which cannot"):
        list(read(stores[0]))


def test_summaries_of_other_settings_are_not_joined(stores, rng):
    with StoreWriter(stores[0], "a") as writer:
        other = summary(table(rng), bins=64)
        writer.add_summary(other, layer="fc", site="norm_input", step=1, call=9)
    with pytest.raises(FileError, match="must have the same columns and settings"):
        analyze(stores[0])


def test_what_is_not_added(tmp_path, rng):
    writer = StoreWriter(tmp_path / "s")
    with pytest.raises(InputError, match="a summary must be of one row or more"):
        writer.add_summary(Accumulator(2), layer="a", site="s", step=0)
    with pytest.raises(InputError, match="rows_seen must be at least the 400 rows, got 7"):
        writer.add_summary(summary(table(rng)), layer="a", site="s", step=0, rows_seen=7)
    for ids in ((1, 2), (1, 1, 2, 3, 4), (0, 1, 2, 3, -4), (0, 1, 2, 3, True)):
        with pytest.raises(InputError, match="ids"):
            writer.add(table(rng), layer="a", site="s", step=0, ids=ids)
    for name, value in (("step", -1), ("call", True), ("rows_seen", 0), ("activation", 3)):
        with pytest.raises(InputError, match=name):
            writer.add(np.ones((1, 1)), **{"layer": "a", "site": "s", "step": 0, name: value})
    writer.close()
    assert not (tmp_path / "s" / MANIFEST).exists()
