"""What an analysis found, as data: the recordings and the tables of layers and units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from distfit_nn.stats.changes import dependence_table, drift_table
from distfit_nn.stats.definitions import DEFINITIONS
from distfit_nn.stats.layer_table import layer_table
from distfit_nn.stats.summary import Recording
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
        return layer_table(self.recordings, self.units if self.recordings else None)

    @cached_property
    def units(self) -> pd.DataFrame:
        """One row for each unit of each layer, site and step.

        Columns: layer, site, step, unit, name (of a column, else missing); n, sampled, mean, std,
        skewness, kurtosis (excess), l_skewness, l_kurtosis, min, q01, median, q99, max,
        zero_fraction, nan_count, inf_count, distinct, distinct_effective, tail_index,
        flat_share, outlier_ratio; bimodality_coefficient, dip, dip_pvalue, dip_qvalue, modes,
        valley_depth, shape (a verdict) and its evidence, relu_signature; kl_gaussian, kl_maxent,
        kl_location, kl_scale, kl_shape (nats), wasserstein, wasserstein_chance, kolmogorov,
        mass_outside, maxent_status; normality_distance, normality_pvalue, normality_qvalue; and the
        verdicts dead, constant, saturated, outlier, heavy_tailed, bimodal, far. `definitions` says
        what each means.
        """
        return pd.concat([recording.units for recording in self.recordings], ignore_index=True)

    @cached_property
    def drift(self) -> pd.DataFrame:
        """One row for each layer and site: how far it has moved from its first to its last step.

        Columns: layer, site, step_before, step_after, units, units_used (at most 128, seeded);
        drifted_units of these; wasserstein_mean, wasserstein_median, wasserstein_max, in pooled
        standard deviations; baseline_mean, baseline_high (what chance gives), excess; shift_median,
        spread_median, shape_median, kolmogorov_median; pvalue, qvalue (over the rows), drifted; n,
        m rows of either side (at most 500); most_unit, the one of largest excess, and its
        most_wasserstein and most_qvalue. Empty where nothing was recorded twice. 99 permutations,
        seed 0: about 0.1 s for each row, when first asked for. `compare` uses all units and more
        rows.
        """
        return drift_table(self.recordings)

    @cached_property
    def dependence(self) -> pd.DataFrame:
        """One row for each layer and site: how its units depend on each other at the last step.

        Columns: layer, site, step, units, units_used (at most 128, seeded), n rows (at most 1,000),
        pairs; the median and the largest Spearman rank correlation in magnitude over the pairs,
        with median_chance and largest_chance, what independent units give; how many pairs are
        beyond the latter; first_unit and second_unit of the strongest pair, and its rho. About 0.05
        s for each row, when first asked for.
        """
        return dependence_table(self.recordings)
