"""One verdict per column on its modes, and the evidence that it rests on."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.stats.bimodality.atoms import set_apart
from distfit_nn.stats.bimodality.coefficient import bimodality_from_shape
from distfit_nn.stats.bimodality.dip import dip_of_columns, null_pvalues
from distfit_nn.stats.bimodality.peaks import Peaks, peaks_of_density
from distfit_nn.stats.densities import fitted_to
from distfit_nn.stats.moments import moments
from distfit_nn.stats.multiplicity import benjamini_hochberg
from distfit_nn.stats.rows import Axis, Float, Int, Rows, per_column

Bool = NDArray[np.bool_]
Text = NDArray[np.str_]

VERDICTS = ("empty", "constant", "atom", "discrete", "unimodal", "bimodal", "undecided")
ALPHA = 0.05  # false discovery rate of "bimodal" over the columns of one call
LEAST_DIP = 0.01  # less is no second mode to speak of, however significant
DOUBT = 0.5  # of that: a significant dip of 0.005, as of a mode of 1%, denies a single one
PLAIN = 2.0  # times that: a dip of 0.02 would tell of the modes that a density shows clearly
MOST = 0.9  # share of one value from which on there is no shape beside it to judge
FEW_LEVELS = 5.0  # a normal law rounded to steps of 0.7 std has as many
FEW_VALUES = 20
WIDEST = 1e3  # interquartile ranges in the range, beyond which six moments are the outliers'


class Evidence(NamedTuple):
    """What is known of each column before the columns are looked at together.

    Attributes
    ----------
    n : int
        Finite values.
    lowest : float
        Their minimum.
    constant : bool
        Whether they are all equal.
    atoms : int
    atom_share, value, value_share, levels : float
        `number`, `share`, `value`, `value_share` and `levels` of `atoms`.
    dip, pvalue : float
        Of what is left without the atoms, ties spread.
    tested : int
        The number of values that the dip rests on.
    modes : int
        Clear modes of the density; -1 where it does not count or there is none.
    left, right, depth : float
        The two modes at the deepest valley, and its depth; NaN where there is none.
    coefficient : float
        Sarle's, of all finite values.
    """

    n: Int
    lowest: Float
    constant: Bool
    atoms: Int
    atom_share: Float
    value: Float
    value_share: Float
    levels: Float
    dip: Float
    pvalue: Float
    tested: Int
    modes: Int
    left: Float
    right: Float
    depth: Float
    coefficient: Float


class Classification(NamedTuple):
    """What `classify` returns, each an array of the shape of the kept axes.

    Attributes
    ----------
    verdict : str
        One of `VERDICTS`.
    evidence : str
        What it rests on, in one line with the figures and their n.
    dip, pvalue, qvalue : float
        Hartigan's dip without the atoms, ties spread; its p-value, and that corrected by Benjamini
        and Hochberg over the columns that were tested. NaN where the column was not.
    n : int
        Finite values.
    tested : int
        How many of them the dip rests on.
    modes : int
        Clear modes of the maximum-entropy density; -1 where it does not count or there is none.
    depth : float
        Of the deepest valley between two of them: 1 - valley / lower mode; NaN for fewer than two.
    atom_share : float
        Share of the values that was set apart as point masses.
    levels : float
        How many equally frequent values would be as uneven as the rest.
    coefficient : float
        Sarle's bimodality coefficient. It decides nothing.
    """

    verdict: Text
    evidence: Text
    dip: Float
    pvalue: Float
    qvalue: Float
    n: Int
    tested: Int
    modes: Int
    depth: Float
    atom_share: Float
    levels: Float
    coefficient: Float


def classify(
    x: ArrayLike,
    axis: Axis = 0,
    *,
    alpha: float = ALPHA,
    least_dip: float = LEAST_DIP,
    order: int = 6,
) -> Classification:
    """Tell for each column of x whether it has one mode or more, and which evidence says so.

    The first of these that holds is the verdict:

    ===========  ===================================================================================
    empty        no finite value
    constant     all finite values are equal
    atom         one value makes up at least 90%
    discrete     what is left without point masses has fewer than 5 levels (`Atoms.levels`): modes
                 of so few are a matter of convention
    undecided    fewer than 20 values are left
    bimodal      the dip is at least `least_dip` and its q-value is below `alpha`
    undecided    the dip is significant though small: at least half of `least_dip`, or less and
                 the density has two clear modes
    undecided    the density has two clear modes, and the values are too few to see a dip twice
                 as large as `least_dip`
    unimodal     otherwise
    ===========  ===================================================================================

    "bimodal" means two modes or more. It rests on the dip alone, so that its false discovery rate
    is that of the test: at most `alpha` of the units called bimodal in one call are expected to
    have a single mode, and they have a dip that matters. Point masses (`atoms`) are set apart
    first, so that the zeros of a ReLU are no mode; equal values are spread over the cells of their
    grid. The density of largest entropy that has the first `order` moments of what is left is the
    second witness, unless the range is above 1,000 interquartile ranges: its moments are then those
    of the outliers. The evidence says where the two contradict each other. Where data are few, or
    have more modes than moments show, it may miss modes or have one too many: it overrules nothing.
    Sarle's coefficient, which skew alone raises, is reported and not asked.

    "unimodal" is no proof of a single mode: the evidence says where twice `least_dip` would not
    have been significant. A mode of a few percent has a dip of half its share at most: it is
    "undecided" where the values are enough to see that, and "unimodal" where they are not.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy. All columns together are one family of tests.
    alpha : float in [0, 1], default 0.05
        The false discovery rate.
    least_dip : float in [0, 0.25], default 0.01
        The least dip that counts. Two equal normal laws of unit variance 2.5 apart have 0.005, 2.8
        apart 0.011, 3 apart 0.017, 4 apart 0.046; 10% that are 6 away from the rest have 0.015, 5%
        there 0.007. 3,600 values have so large a dip by chance at a level of 5%.
    order : int, default 6
        Number of moments of the density.

    Returns
    -------
    Classification
        `verdict`, `evidence` and the figures; those of the dip and its density are NaN, and
        `modes` -1, where the column has no shape to test.

        ==============================  ============
        column                          verdict
        ==============================  ============
        no finite value                 "empty"
        one value, all equal            "constant"
        two or three distinct values    "discrete"
        half zeros and half ones        "discrete"
        NaN and inf among the values    left out
        ==============================  ============

    Raises
    ------
    InputError
        If x is not an array of real numbers, or an argument is not as described.

    Notes
    -----
    Cost: about 0.3 ms for a column of 5,000 values, of which sorting and the dip take a third.

    References
    ----------
    J. A. Hartigan and P. M. Hartigan, The dip test of unimodality, Annals of Statistics 13 (1985);
    Y. Benjamini and Y. Hochberg, Controlling the false discovery rate, J. R. Statist. Soc. B 57
    (1995).

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.stats import classify
    >>> x = np.random.default_rng(0).normal(size=(2000, 3))
    >>> x[:1000, 1] += 5
    >>> x[:, 2] = np.maximum(x[:, 2], 0)
    >>> found = classify(x)
    >>> found.verdict.tolist()
    ['unimodal', 'bimodal', 'unimodal']
    >>> print(found.evidence[2])
    50% are 0, set apart; dip 0.007 (q 1, n 1001) below 0.01; one mode of the fitted density
    """
    rules = _rules(alpha, least_dip)
    measure = partial(evidence_of_rows, order=_checks.positive_int(order, "order"))
    return judge(Evidence(*per_column(x, axis, measure)), *rules)


def evidence_of_rows(rows: Rows, *, order: int = 6) -> Evidence:
    """Return the fields of `Evidence` for each row; the rows are left alone."""
    values, n = rows
    shape = moments(values, axis=1)
    rest, found = set_apart(Rows(values.copy(), n))
    peaks = _peaks_of_rest(rest, order)
    modes = np.array([len(each.position) or -1 for each in peaks], dtype=np.int64)
    left, right, depth = _deepest(peaks, modes)
    dip, pvalue, tested = dip_of_columns(rest, ties="spread")
    return Evidence(
        n,
        shape.minimum,
        (n > 0) & (shape.minimum == shape.maximum),
        found.number,
        found.share,
        found.value,
        found.value_share,
        found.levels,
        dip,
        pvalue,
        tested,
        modes,
        left,
        right,
        depth,
        bimodality_from_shape(shape.skewness, shape.kurtosis, n),
    )


def _peaks_of_rest(rest: Rows, order: int) -> list[Peaks]:
    """Return the clear modes of densities fitted to the rows; none where outliers rule these."""
    density = fitted_to(np.where(_ruled_by_outliers(rest)[:, None], np.nan, rest.values).T, order)
    if density is None:
        nothing = np.empty(0)
        return [Peaks(nothing, nothing, nothing, nothing)] * len(rest.counts)
    return peaks_of_density(density)


def _ruled_by_outliers(rows: Rows) -> Bool:
    """Return where the range is so wide that moments see no shape of what lies in the middle."""
    values, n = rows
    if not values.size:
        return np.zeros(len(n), bool)
    row = np.arange(len(n))
    low, lower, upper, high = (
        values[row, np.maximum(n - 1, 0) * quarter // 4] for quarter in (0, 1, 3, 4)
    )
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(high / 2 - low / 2 > WIDEST * (upper / 2 - lower / 2))


def _deepest(peaks: list[Peaks], modes: Int) -> tuple[Float, Float, Float]:
    """Return the modes beside the deepest valley of each density, and its depth."""
    table = np.full((3, len(peaks)), np.nan)
    for j in np.flatnonzero(modes > 1):
        depth = peaks[j].depth
        k = int(np.argmax(depth))
        table[:, j] = (*peaks[j].position[k : k + 2], depth[k])
    left, right, depth = table
    return left, right, depth


def judge(evidence: Evidence, alpha: float = ALPHA, least_dip: float = LEAST_DIP) -> Classification:
    """Return the verdicts on columns whose evidence is given: all of them are one family."""
    shape = np.shape(evidence.n)
    columns: list[Any] = [np.reshape(field, -1) for field in evidence]
    flat = Evidence(*columns)
    asked = _to_be_tested(flat)
    pvalue = np.where(asked, flat.pvalue, np.nan)
    qvalue = benjamini_hochberg(pvalue)
    large = flat.dip >= least_dip
    significant = qvalue < alpha
    # Would a plain dip have been seen, had it been there?
    seen = null_pvalues(np.full(len(asked), PLAIN * least_dip), flat.tested) < alpha
    two = flat.modes > 1
    rules = {
        "empty": flat.n == 0,
        "constant": flat.constant,
        "atom": flat.value_share >= MOST,
        "discrete": flat.levels < FEW_LEVELS,
        "few": flat.tested < FEW_VALUES,
        "bimodal": significant & large,
        "doubtful": significant & (two | (flat.dip >= DOUBT * least_dip)),
        "contradicted": two & ~seen,
    }
    reason = np.select(list(rules.values()), list(rules), "unimodal")
    verdict = np.select(
        [np.isin(reason, ("few", "doubtful", "contradicted"))], [np.array("undecided")], reason
    )
    lines = [
        _line(reason[j], Evidence(*[field[j] for field in columns]), qvalue[j], seen[j], least_dip)
        for j in range(len(reason))
    ]
    fields: tuple[Any, ...] = (
        verdict,
        np.array(lines, dtype=np.str_),
        np.where(asked, flat.dip, np.nan),
        pvalue,
        qvalue,
        flat.n,
        flat.tested,
        flat.modes,
        flat.depth,
        flat.atom_share,
        flat.levels,
        flat.coefficient,
    )
    return Classification(*(field.reshape(shape)[()] for field in fields))


def _to_be_tested(evidence: Evidence) -> Bool:
    """Return which columns have a shape to test."""
    plain = (evidence.value_share < MOST) & (evidence.levels >= FEW_LEVELS)
    asked: Bool = plain & ~evidence.constant & (evidence.tested >= FEW_VALUES)
    return asked


def _line(reason: str, of: Evidence, q: float, seen: bool, least_dip: float) -> str:
    """Return the evidence for one column in words."""
    if reason == "empty":
        return "no finite value"
    if reason == "constant":
        return f"all values are {of.lowest:.3g} (n {of.n})"
    if reason == "atom":
        return f"{_percent(of.value_share)} of the values are {of.value:.3g} (n {of.n})"
    if reason == "discrete":
        shape = f"as few levels as {of.levels:.2g} equally frequent ones (n {of.tested})"
    elif reason == "few":
        shape = f"too few values (n {of.tested})"
    else:
        shape = f"{_dip_in_words(reason, of, q, seen, least_dip)}; {_density_in_words(reason, of)}"
    return f"{_atoms_in_words(of)}{shape}"


def _atoms_in_words(of: Evidence) -> str:
    """Return what was set apart, if anything."""
    if of.atoms == 0:
        return ""
    what = f"are {of.value:.3g}" if of.atoms == 1 else f"stand on {of.atoms} point masses"
    return f"{_percent(of.atom_share)} {what}, set apart; "


def _dip_in_words(reason: str, of: Evidence, q: float, seen: bool, least_dip: float) -> str:
    """Return the dip with its figures, and what keeps it from telling more."""
    figures = f"dip {of.dip:.3f} (q {q:.2g}, n {of.tested})"
    if not seen and reason != "bimodal":
        return f"{figures}, a dip of {PLAIN * least_dip:g} would not be significant"
    return f"{figures} below {least_dip:g}" if of.dip < least_dip else figures


def _density_in_words(reason: str, of: Evidence) -> str:
    """Return what the density says, and whether that contradicts the dip."""
    if of.modes < 0:
        return "no density to confirm it"
    if of.modes == 1:
        one = "one mode of the fitted density"
        return f"but {one}" if reason in ("bimodal", "doubtful") else one
    place = f"at {of.left:.3g} and {of.right:.3g}, valley {of.depth:.2f}"
    if of.modes == 2:
        modes = f"two modes of the fitted density {place}"
    else:
        modes = f"{of.modes} modes of the fitted density, the clearest {place}"
    return f"but {modes}" if reason in ("unimodal", "contradicted") else modes


def _percent(share: Any) -> str:
    return f"{100 * share:.3g}%"


def _rules(alpha: Any, least_dip: Any) -> tuple[float, float]:
    return (
        _checks.number_between(alpha, "alpha", 0.0, 1.0),
        _checks.number_between(least_dip, "least_dip", 0.0, 0.25),
    )
