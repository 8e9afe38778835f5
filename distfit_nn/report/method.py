"""How each figure was computed, and what it cannot tell: the last section of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distfit_nn.report.numbers import number
from distfit_nn.report.select import clean

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings

_NAMES = {
    "outlier": "outlier channel",
    "heavy_tailed": "heavy-tailed",
    "far": "far from N(0,1)",
    "shape": "verdict on modes",
    "sampled": "values tested",
    "std": "standard deviation",
    "l_skewness": "L-skewness",
    "l_kurtosis": "L-kurtosis",
    "zero_fraction": "zeros",
    "distinct": "distinct values",
    "tail_index": "tail index",
    "flat_share": "flat share",
    "outlier_ratio": "outlier ratio",
    "bimodality_coefficient": "bimodality coefficient",
    "dip": "dip statistic",
    "modes": "modes of the density",
    "relu_signature": "shape before ReLUs",
    "kl_gaussian": "KL, Gaussian part",
    "kl_maxent": "KL divergence",
    "kl_shape": "KL, shape part",
    "wasserstein": "Wasserstein distance",
    "kolmogorov": "Kolmogorov distance",
    "mass_outside": "mass outside",
    "shape_median": "median shape part",
    "maxent_status": "status of a fit",
}

DRAWINGS = (
    (
        "Bars and curves",
        "Bars: a share of all finite values, over the width of the bar. When there are far "
        "outliers the bars cover the central part only and the caption says how many values lie "
        "beyond them. Solid: the maximum-entropy density, fitted to all values, point masses "
        "among them. Dashed: N(0,1), which is the same curve everywhere and looks narrow or wide "
        "as the axis does. A bar that holds one repeated value is cut at the top, and its height "
        "written beside it.",
    ),
    (
        "All units pooled",
        "All values of a layer thrown together. A pool of units is not a unit: a hundred Gaussian "
        "units with different means can look skewed, heavy-tailed or bimodal when pooled.",
    ),
    (
        "Spread over units",
        "One value for each unit, in at most 30 bins common to both sites; each side is scaled to "
        "its own fullest bin. The upright line is the median. The axis runs over the central 98% "
        "of the units; an arrow with a number counts the units beyond it, on a log axis also those "
        "at 0 or below. A unit keeps its skewness (or kurtosis) if the values a before and b after "
        "satisfy |a − b| ≤ 0.02 (1 + min(|a|, |b|)).",
    ),
    (
        "Shape part",
        "KL from N(0,1) = location + scale + shape: mean²/2, which a shift removes; (std² − 1)/2 − "
        "log std, which a scale removes then; and the rest, the KL of the fitted density from a "
        "Gaussian with the same mean and standard deviation. Shifting and scaling a "
        "unit, which is all that batch normalisation does once training is over, does not change "
        "it, nor the kurtosis, nor the skewness up to its sign.",
    ),
    (
        "Units worth a look",
        "Six lists take turns: all units by KL, heavy-tailed units by tail index, bimodal units by "
        "dip, outlier channels by magnitude, saturated and dead units by index. They are the "
        "extremes, chosen because they are extreme; do not read them as typical.",
    ),
    (
        "Modes marked",
        "A short line above the fitted density marks each of its clear modes, with its place, "
        "where it has not exactly one. These are modes of the fitted curve: few moments place them "
        "roughly. Where the values themselves pile up, the bars show.",
    ),
    (
        "Quantiles",
        "Up to 150 quantiles of the rows that are kept (up to 1,000; where none is, the edges of "
        "the histogram), against medians of the order statistics of N(0,1) (Filliben 1975). The "
        "band holds each quantile of n independent normal values with probability 0.95, one at a "
        "time: of 100 dots of a normal unit about 5 lie outside.",
    ),
    (
        "Largest magnitudes",
        "A bar for each unit: its largest absolute value, of all rows. Solid line: their median; "
        "dashed: six times that, beyond which a unit is an outlier channel. The largest 60 of "
        "these are marked.",
    ),
    (
        "Dependence",
        "Spearman's rank correlation of pairs of at most 128 units, drawn at random with a fixed "
        "seed, over the rows that are kept at the last step; units that go together stand "
        "together. The level that chance hardly gives is exceeded by the largest of as many "
        "independent pairs with probability 0.05 (Bonferroni). Rows that depend on each other "
        "make it too low.",
    ),
    (
        "Drift",
        "Wasserstein distance between kept rows of the first and of the last step, in pooled "
        "standard deviations, of some seeded rows and units. Chance: whole rows are exchanged "
        "between the two at random, 99 times; p-values are corrected by Benjamini and Hochberg "
        "over units and over layers, and what has one below 0.05 is beyond chance. With many rows "
        "the smallest movement is; drift is what has moved 0.1 standard deviations farther than "
        "chance gives on average.",
    ),
    (
        "Layers by steps",
        "The main site of each layer that has figures, at up to 24 steps, first and last among "
        "them. Colours are even in the number, or in its logarithm where that is said; they are of "
        "one map and cannot be compared between maps.",
    ),
    (
        "All units",
        "Three digits of each number; a sketch has 16 bars, each unit on its own axis and to its "
        "own height. What did not fit on the page is said above the table.",
    ),
    (
        "Over the steps",
        "Line: median over the units. Band: the middle half of the units, from the first to the "
        "third quartile. It is the spread of the units, not an error of the median. In the stacked "
        "distributions each row is scaled to its own peak, so compare places and shapes, not "
        "heights.",
    ),
)

_LIMITS = (
    (
        "Rows are a sample, and not an independent one",
        "Rows come from the batches that were recorded: pixels of one image, tokens of one text "
        "and rows of one batch depend on each other. The p-values take them as independent and are "
        "therefore too small. Look at effect sizes first.",
    ),
    (
        "Significant is not large",
        "With enough rows any difference is significant. So a unit is called bimodal only if its "
        "dip is large, too, and far from N(0,1) only if its divergence is. Hardly any unit of a "
        "real network passes a test of being normal: look at its distance.",
    ),
    (
        "Tests may rest on a sample",
        "The dip, the test of being normal, tails, saturation and the verdict on modes need single "
        "values. Where a recording has more rows than are kept for that, they rest on rows drawn "
        "at random, the same for all units, and do not see what is rarer than these show; the "
        "column sampled says how many values. Moments, extremes, counts and densities, hence KL, "
        "are those of all rows.",
    ),
    (
        "Many units, many tests",
        "The dip test and the test of being normal are corrected by Benjamini and Hochberg within "
        "each recording, so that among the units called bimodal at most a share of {alpha} is "
        "expected to be called so wrongly. They are not corrected over layers, sites and steps.",
    ),
    (
        "Repeated values are a judgement",
        "The dip test is made for continuous values. A value with far more copies than its "
        "neighbours, such as the zeros after a ReLU or a clipped end, is a point mass: it is set "
        "apart first and is no mode, whatever lies beside it. Other equal values are taken for "
        "rounded ones and spread over the cells of their grid. Where few levels are left, or one "
        "value is nearly all there is, modes are not judged.",
    ),
    (
        "Tails are the outermost 5% a side",
        "Hill's estimate sees no more than these, and needs 40 values on a side of the median. Of "
        "few rows it calls only very heavy tails heavy.",
    ),
    (
        "The shape before ReLUs is a description",
        "It is read off the fitted density and tests nothing: a few hundred values of one mode can "
        "give a density with two. Take it together with the dip.",
    ),
    (
        "The bimodality coefficient follows skewness",
        "A skewed unit with one mode can have a high coefficient. It is in the table of units for "
        "comparison; no unit is called bimodal because of it.",
    ),
    (
        "The KL divergence sees {order} moments",
        "It is that of the smoothest density with the first {order} moments of the unit. What "
        "these moments do not show, such as a narrow spike or a third mode, it does not see. It "
        "is estimated from the same values and a little too large when they are few.",
    ),
    (
        "Beyond the data, a density is a guess",
        "A density is fitted on three times the range of the values, because tails go on where a "
        "sample ends. The column mass_outside says how much of it lies beyond the values; that "
        "part comes from the moments alone. Beyond the three ranges the density is 0.",
    ),
    (
        "What happened, not why",
        "Nothing here says that a heavy-tailed or a bimodal unit is worse for the network, nor "
        "that normalisation caused what is seen after it.",
    ),
)


def definitions(analysis: Findings) -> list[tuple[str, str, str]]:
    """Return the definitions of the analysis, as (name for people, column, text)."""
    return [
        (_NAMES.get(name, clean(name, 60)), clean(name, 60), clean(text, 2000))
        for name, text in analysis.definitions.items()
    ]


def limits(analysis: Findings) -> list[tuple[str, str]]:
    """Return what the page cannot tell, as (title, text)."""
    values = {"order": number(analysis.order), "alpha": number(analysis.alpha)}
    return [(title.format(**values), text.format(**values)) for title, text in _LIMITS]
