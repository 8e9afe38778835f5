"""What an analysis found, as data: the recordings and the tables of layers and units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from distfit_nn.stats import summary
from distfit_nn.stats.summary import Recording


@dataclass(frozen=True, eq=False)
class Findings:
    """One `Recording` for each layer, site and step, and the tables made of them.

    Attributes
    ----------
    source : str
        Where the values came from.
    order : int
        Moments matched by the maximum-entropy densities.
    created : str
        When, in ISO 8601, UTC.
    recordings : tuple of Recording
        In the order of the source.
    """

    source: str
    order: int
    created: str
    recordings: tuple[Recording, ...]

    @property
    def alpha(self) -> float:
        """False discovery rate of the dip test over the units of a recording."""
        return summary.ALPHA

    @property
    def definitions(self) -> dict[str, str]:
        """How each figure is computed, and which threshold a verdict has: name to sentence."""
        return dict(summary.DEFINITIONS)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row for each layer, site and step.

        Columns: layer, site, step, activation, rows, rows_seen (of which the rows
        are a sample), units; how many units are dead, heavy_tailed,
        bimodal, far, or without an exact density (maxent_failed); kurtosis_max, dip_max, kl_median,
        kl_max, shape_median (the median of kl_maxent - kl_gaussian: what no affine map of a unit
        removes); zero_fraction, nan_count, inf_count; pooled_* of all units' values together.
        """
        return pd.DataFrame([summary.layer_row(recording) for recording in self.recordings])

    @cached_property
    def units(self) -> pd.DataFrame:
        """One row for each unit of each layer, site and step.

        Columns: layer, site, step, unit, name (of a column, else missing), n, mean, std,
        skewness, kurtosis (excess), min, max, zero_fraction, nan_count, inf_count,
        bimodality_coefficient, dip, dip_pvalue, dip_qvalue, kl_gaussian, kl_maxent (nats),
        mass_outside, maxent_status, and the verdicts dead, heavy_tailed, bimodal, far;
        `definitions` says what each means.
        """
        return pd.concat([recording.units for recording in self.recordings], ignore_index=True)
