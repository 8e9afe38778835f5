"""What an analysis found, as data: the recordings and the tables of layers and units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from distfit_nn.stats.definitions import DEFINITIONS
from distfit_nn.stats.summary import Recording, layer_row
from distfit_nn.stats.unit_table import ALPHA


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
        return ALPHA

    @property
    def definitions(self) -> dict[str, str]:
        """How each figure is computed, and which threshold a verdict has: name to sentence."""
        return dict(DEFINITIONS)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row for each layer, site and step.

        Columns: layer, site, step, activation, rows, rows_seen (of which the rows
        are a sample), units; how many units are dead, saturated, outlier channels, heavy_tailed,
        bimodal, undecided, of the thesis' shape (relu_signature), far, or without an exact density
        (maxent_failed); kurtosis_max, dip_max, kl_median, kl_max, shape_median (what no affine map
        of a unit removes), wasserstein_median; zero_fraction, nan_count, inf_count; pooled_* of all
        units' values together.
        """
        return pd.DataFrame([layer_row(recording) for recording in self.recordings])

    @cached_property
    def units(self) -> pd.DataFrame:
        """One row for each unit of each layer, site and step.

        Columns: layer, site, step, unit, name (of a column, else missing); n, sampled, mean, std,
        skewness, kurtosis (excess), l_skewness, l_kurtosis, min, q01, median, q99, max,
        zero_fraction, nan_count, inf_count, distinct, distinct_effective, tail_index,
        outlier_ratio; bimodality_coefficient, dip, dip_pvalue, dip_qvalue, modes, valley_depth,
        shape (a verdict) and its evidence, relu_signature; kl_gaussian, kl_maxent, kl_location,
        kl_scale, kl_shape (nats), wasserstein, wasserstein_chance, kolmogorov, mass_outside,
        maxent_status; normality_distance, normality_pvalue, normality_qvalue; and the verdicts
        dead, constant, saturated, outlier, heavy_tailed, bimodal, far. `definitions` says what each
        means.
        """
        return pd.concat([recording.units for recording in self.recordings], ignore_index=True)
