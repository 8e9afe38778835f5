"""Every tolerance of the tests, with its derivation. eps is the rounding unit of the dtype."""

from __future__ import annotations

import numpy as np


def eps(dtype: object = np.float64) -> float:
    """Rounding unit of a floating dtype."""
    return float(np.finfo(dtype).eps)


# The step between numbers below 2.2e-308: no result is nearer than this to an exact one.
SUBNORMAL = float(np.finfo(np.float64).smallest_subnormal)


def sum_error(n: int, dtype: object = np.float64) -> float:
    """Worst relative error of a naive sum of n terms of one sign: n roundings of eps/2, doubled."""
    return max(n, 1) * eps(dtype)


def power_sum_error(n: int, order: int) -> float:
    """Error of a float64 sum of (x - mean)**order over n values, relative to that of |x - mean|.

    Each term costs `order` roundings and, by the rounding of the mean, `order` more; the sum at
    most n; all are doubled for the recentring of the blocks that are merged.
    """
    return 2 * (n + 2 * order) * eps()


UNDERFLOW = float(np.finfo(np.float64).smallest_normal)
"""Absolute error of a product that underflows."""

DIP = 1e-12
"""Two exact algorithms for the dip differ by roundings of heights up to n, over 2n: a few eps; the
bound leaves room for the division of nearly equal values (a chord of slope up to 1/eps)."""

DIP_LINEAR_PROGRAM = 1e-8
"""The primal and dual feasibility that the linear programs are solved to is 1e-7 at the most,
1e-9 by experience, on constraints of unit size."""

STANDARD_ERRORS = 4.0
"""Simulated shares may be off by this many standard errors: one seed in 16,000 fails by chance,
and the seeds are fixed."""

FEW_ROUNDINGS = 16 * eps()
"""For closed forms of about ten float64 operations without cancellation."""

QUADRATURE = 1e-8
"""The error that scipy.integrate.quad is asked for (1.5e-8 absolute by default) on smooth
integrands, which it surpasses by far."""


def batch_norm_error(dtype: object = np.float64) -> float:
    """Relative error of x / sqrt(1 + eps) against batch norm's own order of operations.

    Both round a sum, a root, a quotient or reciprocal, and a product: at most four roundings of
    eps/2 each, hence four eps between the two.
    """
    return 4 * eps(dtype)


def float16_rounding() -> float:
    """Largest relative error of storing a normal number as float16: half its rounding unit."""
    return eps(np.float16) / 2


MAXENT_RESIDUAL = 1e-8
"""What Status.OK promises of the moments, checked by a quadrature of the test's own."""

MAXENT_AGREEMENT = 1e-10
"""Two Newton iterations that end below a decrement of 1e-9 and take one full step more are within
1e-18 of the optimum of their quadrature; panels differ from their halves by 1e-13 relative, which
up to 256 panels and the conditioning of cdf and entropy (below 10 in all cases) leave at 1e-10."""

MAXENT_MULTIPLIERS = 1e-9
"""As above, times the square root of the condition of the Hessian, below 1e2 for the columns that
are called well conditioned."""

MAXENT_POLISHED = 1e-10
"""Residual of easy columns: they end with a decrement below 1e-12, or after a full step from below
1e-9, times the monomials' amplification, below 100 at order 6. Without that step it is 1e-7."""

MAXENT_CDF = 1e-12
"""Masses between points: panels exact to 1e-13, added over the few that hold the mass."""

MAXENT_EQUIVARIANCE = 1e-9
"""Rounding a x + b moves z by eps (1 + |b| / (|a| std)), here at most 1e3 eps, on the data; moments
of order 6 multiply it by 6 max|z|^5, below 1e3, and the inverse Hessian by 1e3 at the most."""


def maxent_moments(n: int) -> float:
    """Error of a mean of h_i(z) over n values with max|z| below 10: rounding of the sum and of z,
    the latter multiplied by |h_6'|, below 1e5 there and below 1e3 on average."""
    return 1e3 * sum_error(n)


# KL of a fitted density: its moments are exact to 1e-13 (quadrature) times the multipliers, which
# the tests keep below 1e2 in standardised coordinates; a rule of 2,000 nodes adds less.
KL_BY_QUADRATURE = 1e-10

TRANSPORT_MASS = 1e-11
"""Relative error of a tail mass carried from one distribution to another: panels of a fitted
density are exact to 1e-13 and up to 60 of them are added; special functions are exact to 1e-14 in
their argument y, which the tail of a normal distribution multiplies by y^2, below 1.4e3 at
1e-300."""

TRANSPORT_EXACT_TAIL = 1e-10
"""As above, against 40 digits: log p is a sum of terms below 1e5 in the cases taken, each rounded,
so that p is exact to 1e5 eps; with the error of the mass, which y divides by y^2."""

KOLMOGOROV = 2.3
"""sqrt(n) times the Kolmogorov distance of n draws exceeds this with probability 2 exp(-2 2.3^2),
one seed in 20,000; the seeds are fixed."""

AFFINE = 1e-13
"""A standardisation: the mean of n values is rounded by at most n eps/2 = 2e-14 at n = 200,
relative to the largest, which is below 4 standard deviations here."""


# Sums of up to ROWS = 8 rows, of at most 512 such sums, and of n / 4096 of those, each rounded.
def blocked_sum_error(n: int) -> float:
    """Relative error of a sum of n terms of one sign, added up in blocks of blocks, doubled."""
    return 2 * (8 + 512 + n / 4096) * eps()


def maxent_hermite_means(n: int, order: int) -> float:
    """Error of sums of h_k(z) over n values, relative to the same sum of h_k with all signs equal.

    Such a sum is blocked; each power costs up to `order` roundings; and moving the centre by half a
    deviation multiplies powers by at most 1.5^order, of which the terms of a Hermite polynomial
    keep all.
    """
    return (blocked_sum_error(n) + order * eps()) * 1.5**order


GAUSS_RULE = 1e-14
"""Moments of a Gauss rule in units of the mean absolute power: nodes and masses are rounded to
float64 (a relative eps/2 each, the node's times its degree, at most 13), after long double."""

MOMENT_RULE = 1e-12
"""As above; the moments come as float64 and the Jacobi matrix loses at most the condition of a
Hankel matrix of order 12 in long double, 1e7 by 1e-19."""

# Tables of a density: panels exact to 1e-14 of themselves, with local coefficients of log p rounded
# once; exp and the sum over the panels that hold a tail add as much again.
TABLE = 1e-13
"""Relative error of a mass or pdf with |log p| below 100; see `table_error`."""


def table_error(log_p: float, condition: float = 1.0) -> float:
    """Relative error of a mass or a pdf whose logarithm is log_p.

    The rounding of log p itself, 2 eps |log_p|, shows in its exponential. `condition` is the
    largest sum of |lambda_i z^i| where the mass lies: double-double keeps 1e-31 of it.
    """
    return TABLE + 2 * eps() * abs(log_p) + 1e-31 * condition


TABLE_MOMENT = 1e-12
"""Central moments in units of std: nodes exact to eps of the distance from the median's panel, the
fourth powers of up to a hundred panels of mass; less 3 for the kurtosis."""

DIVERGENCE = 1e-12
"""Halving a panel changes E |log p - log q| by less than 1e-13 of it where it stops; |log q| below
100 and a few hundred panels add up to this at the most."""

MODE_POSITION = 1e-7
"""A maximum known by its height alone: eps**0.5, several times over; by its slope it is better."""

# Tensors
TENSOR_CDF = 1e-9
"""What is asked of two backends in float64. Both have residuals below 1e-8 that Newton's last full
step leaves far smaller, and masses exact to 1e-12."""

TENSOR_TAIL = 1e-9
"""Relative error of a tail down to 1e-60: log p, up to 150 there, is a sum whose terms, up to 1e3
times that, are rounded to eps each; panels of a tail are exact to 2e-14 of themselves."""

FLOAT32_RESIDUAL = 2e-6
"""What Status.OK promises of columns solved by steps in float32, decided in float64."""

FLOAT32_CDF = 1e-5
"""A residual of 2e-6, times what moments do to the cdf: below 2 in well-conditioned columns."""

GRADCHECK = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-5}
"""Central differences of step 1e-6 are off by 1e-12 f''' (f''' below 1e5 here) and by the rounding
of f, 1e-13 over the step."""

GRADCHECK_AT_THE_ENDS = {"eps": 1e-6, "atol": 2e-4, "rtol": 1e-4}
"""Where the support ends at the data, the map leaves its formula a millionth before the ends:
masses of 1e-6 come from distances of 1e-6 rounded to eps, 1e-10 relative, over the step of 1e-6."""


def tensor_moments(dtype: object = np.float64) -> float:
    """Standardised moments of up to order 12 of columns with max|z| below 10, summed in blocks.

    A sum of n < 1e4 values has n roundings of each |h_i(z)|; relative to max(1, |h_i| on average).
    """
    return 1e4 * eps(dtype)


MAXENT_START = 1e-9
"""Of the square of an orthonormal polynomial, relative to its largest value: the Gram matrix of up
to 7 Hermite polynomials is rounded to eps and its condition is below 1e6 for 60 values."""

MAXENT_QUADRATURE = 1e-11
"""Panels exact to 1e-12, or what halving them changes to 1e-13, and up to 256 of them, whose errors
have no common sign; relative to the mean of |h_i|."""


def distance(*decrements: float) -> float:
    """How far apart two multipliers are at most, in the norm of the Hessian.

    Newton's decrement is the distance to the optimum in that norm, but for terms of its square; the
    optima of two quadratures are apart by the error of the moments, in the same norm, which the
    conditioning of the basis makes up to 10 times larger than MAXENT_QUADRATURE.
    """
    return 1.01 * sum(decrements) + 10 * MAXENT_QUADRATURE


MAXENT_START = 1e7 * eps()
"""Multipliers of a start, relative to the largest: two factorisations of a Gram matrix of h_1..h_6,
whose condition is below 1e6 for the smooth columns it is tried on."""

MAXENT_EXACT = 1e-10
"""What is asked of entropy, cdf and multipliers against 40 digits; of multipliers relative to the
largest of them, or 1."""

STARTS = 1e-12
"""A Gauss rule, its masses and logarithms in float64 or better, some dozens of roundings, over
polynomials in many digits."""

HARD = 1e-10
"""The hard solver on smooth densities: panels of 12 nodes are exact to 1e-14 of their mass, and
there may be hundreds; Newton ends after a step from below a decrement of 1e-9."""


def quadratic_form_error(correlation: np.ndarray, z: np.ndarray) -> float:
    """Error of z' R^{-1} z by Cholesky or eigenvalues, and of log |R|, d by d, for rows of z.

    Both factorisations are backward stable: R is off by at most 4 d eps of its norm, which the
    condition of R carries to the form, itself at most |z|^2 times the norm of R^{-1}.
    """
    values = np.linalg.eigvalsh(correlation)
    condition = values[-1] / values[0]
    return 4 * len(values) * eps() * condition * float(1 + (z**2).sum(axis=1).max() / values[0])


# Soft ranks: s / n and the gradients as the issue of the copula asks for them.
RANK = {np.float16: 1.5e-8, np.float32: 1.5e-8, np.float64: 1.2e-11}
"""Largest error of the sum of exponentials: 1.4e-8 with 10 terms, 1.1e-11 with 14."""

RANK_SLOPE = {np.float32: 1.2e-6, np.float64: 1.4e-9}
"""Error of a gradient relative to the sum of the sizes of its terms: 1.0e-6 and 1.2e-9 by the sums
of exponentials, and a rounding of what is returned."""

RANK_SLOPE_FAR = 1e-19
"""exp(-t) with t > 46, 1e-20, counts as 0, whatever its weight."""

NORMAL_QUANTILE = 1e-14
"""Two algorithms for the normal quantile, each good to a few eps, of arguments with an error of an
eps or two, which the condition number, p / (z phi(z)) < 1 in the tail and large only near 1/2
where z itself is small, does not increase; 1e-15 absolute is for that."""


def soft_rank_error(n: int, dtype: type = np.float64) -> float:
    """Error of a soft rank: n times that of the sum of exponentials, and roundings of up to n.

    Sums over n points in float64 add at most n^2 eps / 2, which stays far below.
    """
    return n * (RANK[dtype] + eps(dtype)) + n * n * eps() / 2


# Soft ranks on tensors. A sum of exponentials stands for the logistic function, with errors that
# the function which makes it states; the bounds here come on top.
def soft_count_rounding(dtype: object = np.float64) -> float:
    """Relative error of a soft count: ten roundings of sums over blocks, doubled.

    20 units of n is what is asked of float32.
    """
    return 20 * eps(dtype)


def soft_slope_rounding(dtype: object = np.float64) -> float:
    """Relative error of a sum of slopes exp(-t), which the rounding of t carries to it.

    t is below 90 where float32 is above 0, a sum of two; in float64 what is beyond that is less
    than 1e-39 of what a neighbour counts.
    """
    return 200 * eps(dtype)


# Scores
SCORE_TABLE = 1e-11
"""A mass of ranks is exact to eps; quantiles of gamma, beta and fitted densities to TRANSPORT_MASS
over the condition of the quantile, which is below 1 in their tails here."""

SCORE_LINE = 1e-9
"""Masses counted from either end and from below only differ by eps, of 1 / n at the least between
two values, n = 60 at the most, times the slope of a line: up to 1e6 times the scale of Cauchy's."""

SCORE_LOOKUP = 1e-9
"""A straight line between two knots and back: a few roundings of either, over the ratio of the
slopes of lines that meet, below 1e6."""


SOFT_SHARE = 1e-9
"""What is asked of s / n in float64; sums of 12 and 14 exponentials are off by less than half."""

SOFT_GRADIENT = 1e-7
"""What is asked of gradients in float64, relative to the sum of the sizes of their terms."""

SCORE_TENSOR = 1e-7
"""Sums of 12 exponentials for arrays and, on other devices, of 14 for tensors: 4e-10 of n, over the
density of the target in the tail, which is above 1e-2 over n here."""

SCORE_SLOPE = 1e-6
"""Gradients of soft ranks are good to 1e-7 of their terms, and the slope of the quantile to its
relative condition, below ten, times the 4e-10 of the rank."""


def l_moment_error(n: int, order: int) -> float:
    """Error of an L-moment relative to l_2, and of a ratio.

    Values are within 2 scales of the centre, their weights within 1 and rounded `order` times; the
    mean of n such products has n + 8 order roundings. l_2 is at least 2/n scales: one value alone
    at the other end of the range.
    """
    return n * (n + 8 * order) * eps()


L_MOMENT_BIAS = 10.0
"""Times 1/m, the difference of t_4 of a sample of m copies of each value to that of its law: the
weights, of degree 3, are off by at most 7/m of themselves, and t_3 counts 10/4 |t_3| times."""

SHAPIRO = 1e-8
"""Scipy's W has normal quantiles of single precision in double, good to 1e-9 where they count."""

SHAPIRO_PVALUE = 1e-5
"""As above: log(1 - W) is off by 1e-9 over 1 - W, above 1e-4 for n = 5,000; the slope of the
p-value's logarithm in it is below ten."""


def normality_error(name: str, n: int, statistic: float) -> float:
    """Error of a statistic of normality of n values, absolute.

    Standardised values are off by n eps of the largest, below sqrt(n): means of their powers by
    n**1.5 eps, which the statistics of moments take to the square root of themselves, times n. In
    A**2 n terms of up to 2n and half of z**2 are added and n taken away. D is a difference of two
    shares. W is scipy's: see SHAPIRO.
    """
    rounding = {
        "jarque_bera": n**1.5 * eps() * (statistic + np.sqrt(n * statistic)),
        "dagostino": n**1.5 * eps() * (statistic + np.sqrt(n * statistic)),
        "anderson_darling": n * (n + abs(statistic)) * eps(),
        "lilliefors": n * eps(),
        "shapiro_wilk": SHAPIRO,
    }
    return 4 * float(rounding[name])


def staircase_area(n: int) -> float:
    """Error of an area between two staircases over n values, in standard deviations.

    Each gap is a difference of values below 32 that are rounded twice, each height a difference of
    numbers up to n times the height, rounded: n terms, each off by 32 eps, doubled.
    """
    return 64 * max(n, 1) * eps()


HILL = 1e-12
"""Mean of logs of ratios of differences from a median: each difference loses at most the digits
that the median shares with the value, a factor below 1e3 here, of eps."""


# Distances and entropies of samples
def distance_error(n: int) -> float:
    """Error of W_1, W_2 and E|X - Y| over n values, in units of the largest quantity involved.

    Each is a sum of n terms, which are differences of a few roundings of 1, with sums of n in the
    oracles, too; a cell's mean is n times such a difference, 1/n of the whole.
    """
    return 16 * max(n, 1) * eps()


DISTANCE_QUADRATURE = 1e-8
"""Distances from a law that is integrated: 6 nodes on 160 panels that end at quantiles, exact to
1e-10 for densities that are smooth between these (kinks of the densities at hand lie at ends of
panels), with n cells of 1/n each; and what scipy's quad is asked for, QUADRATURE."""

ENTROPY_SHIFT = 1e-9
"""Gaps between values below 10 in size, shifted by up to 1e3, are rounded by 1e3 eps = 2e-13; the
smallest of the spacings of three steps of 200 values are above 1e-4, so each logarithm is off by
2e-9 at most and their mean by less than half of that."""

LOG_TAIL = 2e-11
"""The first term left out of the series beyond 37, 15 / 37**6 = 6e-9, over the sum, 689; before it,
an argument rounded to eps, times 37**2, over the same."""


def moving_power_sum_error(n: int, order: int) -> float:
    """As `power_sum_error`, where sums are taken about a centre and moved to the mean at the end.

    The centre is within sqrt(0.1) standard deviations of the mean, and no deviation is more than
    the r-th mean deviation of any order r >= 2: |x - centre|**r sums up to at most 1.32**r times
    |x - mean|**r. Of merges of parts that are far apart each costs `order` roundings more, but
    there are fewer of these than of values.
    """
    return power_sum_error(n, order) * 1.32**order


MIXTURE_LIKELIHOOD = 1e-6
"""Log-likelihood per value: EM ends where three of its steps gain less than 1e-9 of it, and gains
fall off by at least 1% a step where the components are told apart at all, after extrapolation."""

CRITICAL_BANDWIDTH = 4e-3
"""Relative: spreading a value over two grid points h / 8 apart or less adds at most (h / 8)^2 / 4
to h^2, 0.2% of h, doubled as it is not the same for all values; the bisection ends at 1e-4."""

MODE_OF_GRID = 5e-3
"""Of a kernel estimate with 8 points in a bandwidth, relative to its height or bandwidth: linear
binning widens the kernel by 0.2%, a parabola through 3 points is off by 1 / 8^4 of the height."""

SKETCH_INVERSE = 1e-11
"""cdf(quantile(q)) - q in units of q > 1e-3: a quantile of size 4 is rounded to eps, over a bin's
width of 2^-7 at the least and its share of at most 1/100, and back."""

REORDERED = 1e-9
"""The same values in another layout or type: sums in another order are off by n eps of their
largest term, 1e-14 for up to 60 values, which skewness, kurtosis and L-moments of values within
8 scales multiply by 1e3 at most; densities of largest entropy are fitted to a residual of 1e-10
or less after a last full step."""

CLOSED_FORM = 1e-12
"""Sums of up to 4,000 terms of one sign in two orders, 4,000 eps = 9e-13, or a closed form of some
dozens of operations without cancellation."""

MEAN_SURPRISAL = 1e-7
"""The mean of -log p over the values against the entropy of p: they differ by the residuals of the
moments, up to MAXENT_RESIDUAL, times the multipliers, whose sum is below 10 in standardised
coordinates for the columns at hand."""

ORDER_MEANS = 2e-7
"""The expansion of the mean of an order statistic is off by 1e-7, which is doubled."""

FOUR_DIGITS = 5e-5
"""A number that is printed with four digits behind the point."""


def mean_error(std: float, n: int) -> float:
    """How far the mean of n values with this standard deviation may be from the truth.

    The entropy of a normal sample is the mean of -log p, whose variance is 1/2, and of noise up to
    0.63 (three neighbours): below 1.1 in all. A standard deviation has std / sqrt(2 n).
    """
    return STANDARD_ERRORS * std / float(np.sqrt(n))


def share_error(share: float, n: int) -> float:
    """How far a share of n values may be from the probability that it estimates."""
    return STANDARD_ERRORS * float(np.sqrt(share * (1 - share) / n))


MODE_OF_SAMPLE = 0.4
"""The mode of a kernel estimate of n values, h wide, has the variance R / (n h^3 f) with f = 0.4
the density there and R = 1 / (4 sqrt(pi)), in units of the deviation: 0.1^2 for n = 1,000 and
h = 0.3, four times that."""

WIDTH_OF_SAMPLE = 0.05
"""Half of the height of 20,000 values is known to 1 / sqrt(n h f), h = 0.25 deviations: 2%; with
the slope there the width is known to half of that at either end, taken four times."""

IMPROVED_BANDWIDTH = 0.1
"""Relative: the rule estimates a functional of n = 20,000 values, which has the rate n^(-5/14),
3%, and the fifth root of it; its pilots start from a normal law of either part."""

VALLEY_OF_GRID = 1e-5
"""A lowest point between grid points 6 / 20,000 apart is off by an eighth of the square of that
step times the curvature, below 1 / 0.15^2 of the height, twice."""

MIXTURE_PARAMETERS = 1e-2
"""EM ends where the likelihood gains less than MIXTURE_LIKELIHOOD a value; it is flat to the square
of a parameter's distance: 1e-3, ten times that where components overlap."""

MODE_OF_SIX_MOMENTS = 0.3
"""A density of six moments cannot follow a mixture whose parts differ in width: its modes lie
within a third of the wider part's deviation of their means, 0.8 here."""

MASS_OF_SIX_MOMENTS = 0.06
"""Two laws with their first six moments in common differ by up to the sum of Christoffel's weights
at a point (Chebyshev, Markov, Stieltjes), about 0.4; smooth ones by a sixth of that."""

WIDTH_OF_SIX_MOMENTS = 0.15
"""A quartile distance of a part: the error of a mass over the density at the quartiles, relative to
that distance, half of MODE_OF_SIX_MOMENTS."""

KOLMOGOROV_TAIL = 0.01
"""What `tail_of_one` promises of p-values above 0.001, relative."""

QUANTILES_AS_LAW = 2e-3
"""W_2^2 of 20,000 quantiles at mid levels from their own law: the mean variance in the outermost
cells, each 1/n of the mass and about one deviation (up to 3) wide, and the cross term with it."""

TOTAL_VARIATION = 2e-4
"""1e-4 as `density_divergences` says, of an integrand with kinks; as much for the oracle's rule."""

PRINTED_QUANTILES = 0.025
"""Quantiles printed with three digits: rounded by up to 1e-3 of themselves, times the slope of the
logarithm of p, up to 12, doubled for the simulation they or ours come from."""

STEPHENS = 0.002
"""Stephens' formula for p is good to two units of the third digit, below 0.1."""

LAYER_GRADIENT = 2e-6
"""gradcheck steps by 1e-6, so that its difference is off by 1e-12 / 6 times a third derivative and
by eps |y| / 1e-6, below 1e-9; what bends on a scale of a tenth (a soft rank, a density of order 6)
has third derivatives below 1e6, hence 2e-7, and ten times that leaves room for sharper columns."""

LAYER_INVARIANCE = 1e-8
"""Rounding a x + b for a in [0.5, 1000] and b up to 50 moves z by 100 eps, which a strength of 50
or a derivative of the multipliers multiplies by at most 1e4; sums of soft ranks by K = 14
exponentials are exact to 1e-11 and their error does not change; 1e-8 leaves a factor of ten."""

LAYER_LEVEL = {"rtol": 1e-5, "atol": 3e-4}
"""A float32 weight and bias applied to a constant: the mean of values of 7.5 is rounded by two
halves of eps, which 1 / sqrt(1e-5) multiplies by 316; targets by table to 1e-6."""

LAYER_SINGLE = {"rtol": 1e-4, "atol": 2e-4}
"""float32 against float64: rounding of x by eps, multiplied by a slope of the map below 100 (a
strength of 50, a tail of a density) is 1e-5; tables in float32 are finer than 1e-4."""

LAYER_DOUBLE = {"rtol": 1e-9, "atol": 1e-9}
"""The same float64 operations in another order of the rows: 96 roundings, as LAYER_INVARIANCE."""


def layer_rise(largest: float) -> float:
    """How far float32 outputs of increasing inputs may fall: roundings of the largest of them."""
    return 4 * eps(np.float32) * max(largest, 1.0)


TARGET_TABLE = 1e-6
"""What a target's table promises, relative to abs(y) or its spread: TOLERANCE at quarters of
cells, which may be half of the largest error in one, and a few roundings of float32."""


def mixture_quantile(dtype: object = np.float64) -> float:
    """Relative error of a mixture's quantile: rounding of y, of the masses and their logarithm.

    A relative error of eps in a mass moves y by eps times mass / density, at most a scale or so.
    """
    return 32 * eps(dtype)


def look_up(dtype: object = np.float64) -> float:
    """Error of a look-up, relative and absolute, with slopes in u below 1.1 and abs(u) up to 1e3.

    u and its place in a cell cost five roundings of u or of 1, the four terms of a cubic, each
    below three times the rise in its cell, ten more; a centre below 10 is rounded in the values.
    """
    return 32 * eps(dtype)


LOOK_UP_SAME = {"rtol": look_up(), "atol": look_up() * 10}
"""Two ways to the same look-ups in float64, or sums of up to some hundred in another order."""

TABLE_OF_A_LINE = 1e-4
"""In normal scores: a straight line by a float32 table of shares Phi(t), t to +-4. Rounding a share
by eps/2 moves its score by eps/2 over the density, phi(4) = 1.3e-4 at the ends: 4.5e-4 there, below
1e-4 up to 3.6, which a few hundred values do not pass; and the other maps are exact but for eps."""

COPULA_SCALE = {"float32": 1e-6, "float64": 1e-12}
"""A difference of two quantiles of at most 10 scales, each of a few roundings."""

COPULA_SCORE = {"float32": 2e-5, "float64": 1e-9}
"""A share is off by RANK, 4e-10 in float32 and 1e-11 else, or by rounding: differences x_i - x_j of
up to 10 scales by 10 eps, times a strength of 50 and a slope of 1/4, 1e-5 for a single point and
far less for the mean; over the density of the scores, above 0.006 for n = 301."""

COPULA_SHARE_AT_DATA = 1e-9
"""The sum of exponentials is exact to 1e-11, whatever neighbours have by themselves."""

COPULA_SHARE = 2e-2
"""Between two neighbours that are further apart than 1 / rate, what the others have is taken for an
exponential: exact from afar, off by a few hundredths of the mass of what is near beyond a
neighbour, as in the gap between two narrow modes."""

COPULA_SLOPE = {"rtol": 1e-6, "atol": 1e-7}
"""RANK_SLOPE of 1e-9 times the sizes of up to 100 terms."""

COPULA_TEST_PHASE = 0.03
"""A table of m and a batch of n rows know a score to sqrt(p (1 - p) (1/m + 1/n)) / density each,
whose mean square over the scores is about 2.5 (1/m + 1/n): 0.013 for m = 61,440 and n = 20,000,
0.016 for the 19 batches of 1,024 that a momentum of 0.1 averages, and up to twice that in one
column, location and scale being known to a few numbers only."""

LOOKED_UP = {"rtol": 1e-4, "atol": 1e-3}
"""A table of 65 knots in float32: shares near 1 are rounded by 6e-8, over the density at 4, 1.3e-4,
which is 5e-4 of the score."""


def batch_norm(dtype: object) -> dict[str, float]:
    """Two ways to batch norm: roundings of z, up to 10, over up to 200 rows, times a weight of 3.

    For float32 torch's own sums are float32 and data 3 deviations from 0 lose a digit.
    """
    unit = eps(np.float32 if "32" in str(dtype) else np.float64)
    return {"rtol": 200 * unit, "atol": 200 * unit}


def normal_scores(n: int) -> float:
    """RMS of what k moments of n normal values add to z: sqrt(sum_{i=3..k} 1 / (i n)), below
    1 / sqrt(n); four of these."""
    return STANDARD_ERRORS / float(np.sqrt(n))


QUANTILE_MAP = 5e-6
"""Tables of 2,048 cells in float64: Simpson's rule is off by (h L)^4 / 2,880 of the mass of a cell,
L being the slope of log p, over a score s: with h = 0.0033 and L = 160 where s is 10, 3e-6."""

QUANTILE_MAP_BELIEVED = 5e-7
"""As above, where scores beyond 3 count by a logarithm: its slope at 10 is 1 / 14."""

TEST_PHASE_OF_MOMENTS = 0.02
"""What the layers promise, on average over samples."""

TEST_PHASE_TABLE = 5e-3
"""RMS over a sample: cubics over a sixteenth of a deviation, of a map that a spike of 0.1
deviations bends, are off by up to (1/16)^4 / 384 / 0.1^4 = 4e-4, in outer tails ten times that."""


def half_law(dtype: object) -> float:
    """Rounding of a law to half precision: of each moment by eps / 2 of itself, kurtosis up to 6 /
    sqrt(24) times that in the map; of mean and variance likewise; ten times for steep tails."""
    unit = 2.0**-7 if "bfloat16" in str(dtype) else 2.0**-10
    return 10 * unit


# Layers
SHIFT = 4e-6
"""Shifts in float32, relative: polynomials of 3e-8 each and e^v off by 2 units of 1.2e-7, times an
exponent of up to 8 in the last factor and the roundings of parameters, up to 20 of them in all."""

SHIFT_SUM = 4e-6
"""Sums of gradients in float32 blocks of 64, relative to the sum of the sizes of their terms: the
error of a term and up to 16 units for 64 roundings that differ in sign."""

LAYER32 = 4e-6
"""A line on float32, relative to the largest value: a difference, a product and a sum, each rounded
once, of numbers up to ten times the result."""


def target_distance(n: int) -> float:
    """Distance by Kolmogorov of n outputs of a layer from its target.

    In training that of ranks is 1 / (2 n); moments, and running statistics of another sample of n,
    move it by KOLMOGOROV / sqrt(n) at most; that again for what soft ranks and tables round off.
    """
    return float(2 * KOLMOGOROV / np.sqrt(n))


TEST_PHASE_OF_TARGET = 0.04
"""RMS difference of the phases in standard deviations: 0.02 as the layers promise of scores, and as
much for slopes of the target of up to 2 and two samples of 20,000."""

MOMENT_TABLE = {"torch.float32": 3e-4, "torch.float64": 1e-7}
"""Tables of the moment match: cubics are off by h^4 / 384 times the fourth derivative of the map.
With 96 cells on five deviations, h = 0.06, and lobes of a fifth of a deviation, whose derivatives
reach 1e4, that is 3e-4 at the worst; with 1,024 cells 2e-8, and their masses as much again."""


def moment_table(order: int, dtype: object) -> float:
    """As above; lobes are half as wide at orders 7 and 8, and at 7 a rise at one end of the support
    can be narrower than its nodes: a mass of 1e-9 or so, over a density of 1e-4 in the tail."""
    if order == 7 and str(dtype) == "torch.float64":
        return 1e-4
    return MOMENT_TABLE[str(dtype)] * (4 if order > 6 else 1)


MOMENT_OPERATORS = {
    "torch.float32": {"rtol": 1e-4, "atol": 5e-5},
    "torch.float64": {"rtol": 1e-5, "atol": 1e-6},
}
"""The same formulas with moments of other roundings: the number of steps may differ by one, and
in float32 the last may begin at a decrement of 1e-4."""

MOMENT_SLOPE = 1e-5
"""Its gradients in float64, relative to the largest of a column: h^3 where the values have h^4."""

GRADCHECK_MOMENTS = {"eps": 1e-6, "atol": 2e-5, "rtol": 1e-4}
"""Of order 8, whose Hessian has a condition of up to 1e9 in powers of z: a solution that is off by
the decrement at which Newton ends, squared, 1e-14, moves by 1e-11 or so, over the step of 1e-6."""


def mixture_slope(dtype: object = np.float64) -> float:
    """Gradients of a mixture's quantile, relative to the largest: y rounded by eps, up to 30 times
    a scale, times the slope of the density's logarithm, up to 8.5 scales; or in a gap between
    components, where y is known to eps over the density (1e-4 at the least that count), as much
    again; in float32 also the parameters' rounding, as they are taken for exact by the oracle."""
    return 2e4 * eps(dtype)


MEAN_OF_TABLE, VAR_OF_TABLE = 0.01, 0.04
"""Mean, in deviations, and variance, relative, of normal and gamma data by a CopulaNorm's table of
n = 40,000 rows. Knots that end at scores of +-4 leave out less than 1e-3 of either. At strength 5,
the scale of a law that is not normal is off by up to 20% of k = 0.13 of the variance: 0.026. To
carry tables over to new knots costs some 0.01."""

HISTOGRAM_KL = 0.01
"""KL by a histogram of 400 bins and 200,000 values: its bias is (bins - 1) / (2 n) = 1e-3, less
what the density bends within a bin, and values at an end that is held count as a narrow bin."""

SAME_KL = 1e-6
"""A KL estimate of the same values after an affine change in float64: the maps differ by some 1e-12
relative, MomentNorm's solution by its stopping rule of 1e-7 or so."""

SHIFT_KL = 5e-3
"""The same after a shift, whose search in float32 ends on steps of 1 / 128 to 1 / 32 of a logarithm
along a flat ridge: the KL there changes by a tenth of its standard error of 0.02 or more."""

MERGED_SUMS = 1e-9
"""Moments to the fourth and KL of the same rows, merged from the sums of calls or made of all rows
at once: float64 sums over n = 1,200 standardised values differ by some n eps = 3e-13 of sums whose
fourth powers are up to a hundred. The derivatives of KL by moments are multipliers of order 1 to
10, and both fits start and stop alike: 1e-10, and ten times that for the rest."""

# Newton's method of the thesis' scripts (tests/thesis/test_newton.py).
NEWTON_ROUNDING = 1e-12
"""Sums of a few hundred terms of unit size: some hundred eps, and ten times that to spare."""

NEWTON_GRADIENT = 1e-4
"""A forward difference of step 1e-6 of a dual whose second derivatives are E T_i^2, up to 40."""

NEWTON_RESIDUAL = 1e-10
"""It stops below a decrement of 1.5e-8, and takes the step: quadratically 2e-16, times the
condition's square root (1e5 in raw powers of order 6): 2e-11, and five times that to spare."""

NEWTON_FLOAT32 = 1e-2
"""eps of float32, 1.2e-7, times the condition of the Hessian of order 4 of a skewed column, 1e4,
and ten times that to spare."""
