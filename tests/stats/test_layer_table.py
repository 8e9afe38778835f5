"""The table of layers against pandas on the table of units, where some values are not finite."""

from __future__ import annotations

import numpy as np
import pytest

from distfit_nn.stats.layer_table import layer_row, layer_table
from distfit_nn.stats.summary import Place, summarise

SIZES = {"known": [1, 1, 1], "some": [1, 1, 1e300], "overflow": [1e160] * 3, "none": [1e300] * 3}


@pytest.fixture(scope="module")
def recordings():
    values = np.random.default_rng(2).standard_normal((200, 3))
    return {
        name: summarise(values * size, Place(name, "values", 0, None))
        for name, size in SIZES.items()
    }


@pytest.mark.parametrize("name", SIZES)
def test_medians_are_those_of_the_values_that_are_known(recordings, name):
    """What no unit has is missing: no median of no shape parts, above all not an infinite one."""
    units, row = recordings[name].units, layer_row(recordings[name])
    for measure, column in {"kl_maxent": "kl_median", "kl_shape": "shape_median"}.items():
        np.testing.assert_equal(row[column], float(units[measure].median()))
    assert np.isnan(row["shape_median"]) == units["kl_shape"].isna().all()


def test_many_rows_are_the_single_ones(recordings):
    table = layer_table(list(recordings.values()))
    for place, recording in enumerate(recordings.values()):
        row = layer_row(recording)
        for column in ("kl_median", "kl_max", "shape_median", "dip_max"):
            np.testing.assert_equal(table[column].iloc[place], row[column])
