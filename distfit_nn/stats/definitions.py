"""What each figure of an analysis means, in words: for the report and for the JSON."""

from __future__ import annotations

from distfit_nn.stats.bimodality.classify import FEW_LEVELS, FEW_VALUES, LEAST_DIP, MOST
from distfit_nn.stats.bimodality.relu_signature import HIGHER, WIDER
from distfit_nn.stats.dependence import CHANCE
from distfit_nn.stats.drift import LEAST_EFFECT
from distfit_nn.stats.health import FEW_INSIDE, FLAT_SLOPE, OUTLIER_RATIO, SATURATED_SHARE
from distfit_nn.stats.tail_index import HEAVY_ERRORS, TAIL_SHARE
from distfit_nn.stats.unit_table import ALPHA, FAR_CHANCE, FAR_KL

DEFINITIONS = {
    "dead": (
        "A unit is dead if all its finite values, two or more, are equal, or if it feeds a ReLU "
        "and none of them is above 0, so that the ReLU never opens on these rows."
    ),
    "constant": "A unit is constant if all its finite values, two or more, are equal.",
    "saturated": (
        f"A unit is saturated if more than {SATURATED_SHARE:.0%} of its values lie where the "
        "bounded activation that it feeds (tanh, sigmoid, softsign and their hard kin, relu6) is "
        f"flat: a slope below {FLAT_SLOPE:.0%} of the largest. Elsewhere, if more than that "
        f"are equal to its least or largest value, other than 0, and {FEW_INSIDE} distinct values "
        "or more lie between these: zeros and ones alone are not saturated."
    ),
    "outlier": (
        f"A unit is an outlier channel if its largest magnitude is above {OUTLIER_RATIO:g} times "
        "the median over the units of the recording that are not all 0: one scale for all would "
        "then cost the others bits when they are quantised."
    ),
    "heavy_tailed": (
        "A unit is heavy-tailed if Hill's estimate, from the "
        f"{TAIL_SHARE:.0%} of the values on a side of the median that are farthest from it, is "
        f"heavier than an exponential tail by more than {HEAVY_ERRORS:g} standard errors, and its "
        "L-kurtosis is above that of the normal distribution."
    ),
    "bimodal": (
        f"A unit is bimodal (has two modes or more) if Hartigan's dip is at least {LEAST_DIP:g} "
        "and its p-value, corrected by Benjamini-Hochberg over the units of the same recording, "
        f"is below {ALPHA:g}. The null hypothesis is one mode."
    ),
    "far": (
        f"A unit is far from N(0,1) if kl_maxent is above {FAR_KL:g} nat, the divergence of a "
        "normal distribution whose mean is off by one standard deviation, and above what samples "
        f"of n values of N(0,1) itself exceed with probability {FAR_CHANCE:g} (2 n KL taken as "
        "chi-squared with as many degrees of freedom as moments; n at least two more than these). "
        "A unit that is not constant but "
        "has no density that can be trusted is judged by kl_gaussian."
    ),
    "shape": (
        f"Empty; constant; atom (one value makes up {MOST:.0%}); discrete (fewer than "
        f"{FEW_LEVELS:g} levels); undecided (fewer than {FEW_VALUES} values, a dip that is "
        "significant but too small to matter, or two modes of the density that the dip cannot "
        "confirm); bimodal; else unimodal. Point masses, such as the zeros of a ReLU, are set "
        "apart first. The column evidence says which figures it rests on."
    ),
    "sampled": (
        "How many finite values of the uniform sample of rows the tests rest on: dip, modes and "
        "the verdict on them, normality, wasserstein, kolmogorov, L-moments, tails, saturation, "
        "distinct_effective and the bimodality coefficient. All other figures are those of all n "
        "values."
    ),
    "mean": "Mean of the n finite values.",
    "std": "Standard deviation, divisor n.",
    "skewness": "Third standardised central moment; no bias correction.",
    "kurtosis": "Excess kurtosis: fourth standardised central moment less 3; no bias correction.",
    "l_skewness": "L-skewness, in (-1, 1): 0 for symmetric distributions; tails move it little.",
    "l_kurtosis": "L-kurtosis: 0.123 for the normal distribution, 0 for the uniform, below 1.",
    "quantiles": (
        "q01, median and q99 are exact up to the width of a bin, about a thousandth of the range "
        "of most values, whatever the number of rows."
    ),
    "zero_fraction": "Share of the finite values that are exactly 0.",
    "distinct": (
        "Distinct values: exact where there are at most 1024, else a lower bound (those in the "
        "sample, or the occupied bins of the quantiles), which may be below 1024. "
        "distinct_effective is exp(entropy) of their shares, estimated from the sample: how many "
        "equally frequent ones would be as uneven; infinite where no two values are equal."
    ),
    "tail_index": (
        "Hill's estimate alpha, of the heavier side: its tail falls as |x|^-alpha. "
        "An exponential tail gives about 3.8 here, lighter ones more; for these it is no index."
    ),
    "flat_share": (
        "Share of the values tested that lie where the bounded activation that the unit feeds is "
        "flat (see saturated): above its threshold the unit is saturated. Missing where no such "
        "activation is known."
    ),
    "outlier_ratio": "Largest magnitude over the median over the units of the recording.",
    "bimodality_coefficient": (
        "(skewness^2 + 1) / (excess kurtosis + 3) with the finite-sample corrections of SAS; 5/9 "
        "for the uniform distribution. Skew alone raises it: no verdict rests on it."
    ),
    "dip": (
        "Hartigan's dip: the largest distance between the empirical distribution function and the "
        "nearest unimodal one. Point masses are set apart and equal values on a grid are spread "
        "over its cells first: the levels of a rounded or counted quantity are no modes. "
        "dip_pvalue is from a table for uniform samples, dip_qvalue corrected by "
        "Benjamini-Hochberg; there is none for units that have no shape to test."
    ),
    "modes": (
        "Clear modes of the maximum-entropy density of what is left without point masses; -1 "
        "where there is none. valley_depth is 1 - valley / lower mode."
    ),
    "relu_signature": (
        "Whether the density has two modes, a higher and narrower one just below 0 (by "
        f"{HIGHER - 1:.0%} and {WIDER - 1:.0%} at least) and a lower and wider one above it: the "
        "shape that S. Bai's thesis of 2017 saw before ReLUs."
    ),
    "kl_gaussian": (
        "KL(N(mean, std^2), N(0,1)) = (std^2 + mean^2 - 1)/2 - log(std), in nats: the part that a "
        "shift and a scale of the unit remove. kl_location is mean^2/2, kl_scale the rest."
    ),
    "kl_maxent": (
        "KL(p, N(0,1)) = (E x^2 + log 2 pi)/2 - H(p), in nats, for the maximum-entropy density p "
        "with the unit's first moments on three times the range of its data. Among all densities "
        "with these moments p has the smallest divergence. Missing where there is no density, or a "
        "regularised one that misses its moments by more than a trace."
    ),
    "kl_shape": (
        "The negentropy: the entropy of the normal distribution of the same std less that of the "
        "maximum-entropy density, in nats: what no shift and scale can remove. Of n values of a "
        "normal distribution it is (moments - 2) / (2 n) on average, by chance."
    ),
    "wasserstein": (
        "Wasserstein-1 distance from N(0,1), in units of x: how far values must be moved on "
        "average. wasserstein_chance is its mean for so many values of N(0,1) itself."
    ),
    "kolmogorov": "Largest distance between the distribution function and that of N(0,1).",
    "normality": (
        "normality_distance is the largest distance between the distribution function and that of "
        "the normal distribution of the same mean and std, the effect size; normality_pvalue is "
        "Anderson and Darling's test, normality_qvalue corrected by Benjamini-Hochberg. With many "
        "values every unit differs from a normal one significantly: look at the distance."
    ),
    "mass_outside": (
        "Probability that the maximum-entropy density puts outside the range of the data; where it "
        "is not small, the density's tails are its own and not the data's."
    ),
    "shape_median": "Median over units of kl_shape, in nats.",
    "maxent_status": (
        "ok: the density has the moments; regularised: only nearly; degenerate: no density exists "
        "(constant, or too few distinct values); invalid: no finite value."
    ),
    "drift": (
        "From a layer's first to its last step: the Wasserstein-1 distance of each unit, in pooled "
        "standard deviations, its mean over the units against what the exchange of whole rows "
        "gives (mean, and the level exceeded with probability 0.05). Of at most 128 units and 500 "
        "rows a side, drawn with a fixed seed, and 99 permutations. A layer has drifted if the "
        f"q-value over all layers and sites is below {ALPHA:g} and the distance beyond chance is "
        f"at least {LEAST_EFFECT:g}. Rows are taken as independent; positions of one image are not."
    ),
    "dependence": (
        "Spearman's rank correlation rho of each pair of at most 128 units (fixed seed), of up to "
        "1,000 rows of the last step: median and largest magnitude. Chance levels are those of "
        "independent units and rows: the median of |rho|, and what the largest of as many pairs "
        f"exceeds with a probability of at most {CHANCE:g} (Student's t, Bonferroni)."
    ),
}
