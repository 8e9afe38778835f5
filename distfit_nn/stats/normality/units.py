"""All tests of normality over many units, with the false discovery rate under control."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats.multiplicity import CORRECTIONS, adjusted
from distfit_nn.stats.normality.tests import TESTS, TestResult, normality_of_rows
from distfit_nn.stats.rows import Axis, Float, Rows, per_column

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class NormalityTests:
    """Tests of normality of many units.

    Attributes
    ----------
    results : dict of str to MomentTest, DistanceTest or ShapiroTest
        By the name of the test: statistic, p-value, n and effect sizes, of the shape of the kept
        axes.
    qvalues : dict of str to float64 array
        The p-values of each test, adjusted for the number of units.
    alpha : float
        The false discovery rate at which a unit is called not normal.
    correction : str
        "bh" or "by".
    """

    results: dict[str, TestResult]
    qvalues: dict[str, Float]
    alpha: float
    correction: str

    @property
    def rejected(self) -> dict[str, NDArray[np.bool_]]:
        """Where each test calls a unit not normal: q < alpha. False where no test was done."""
        return {name: q < self.alpha for name, q in self.qvalues.items()}

    def to_frame(self) -> pd.DataFrame:
        """Return one row a unit, in the order of the flattened kept axes.

        The column `n`, then for each test its effect sizes, statistic, p-value, q-value and
        whether it rejects, each named TEST_WHAT; skewness and kurtosis, which do not depend on
        the test, stand once.
        """
        import pandas as pd  # slow to import

        columns: dict[str, NDArray[np.generic]] = {}
        for name, result in self.results.items():
            fields = result._asdict()
            columns["n"] = np.ravel(fields.pop("n"))
            shared = [key for key in ("skewness", "kurtosis") if key in fields]
            columns |= {key: np.ravel(fields.pop(key)) for key in shared}
            statistic, pvalue = fields.pop("statistic"), fields.pop("pvalue")
            fields |= {"statistic": statistic, "pvalue": pvalue}
            fields |= {"qvalue": self.qvalues[name], "rejected": self.rejected[name]}
            columns |= {f"{name}_{key}": np.ravel(values) for key, values in fields.items()}
        return pd.DataFrame(columns)


def normality_tests(
    x: ArrayLike,
    axis: Axis = 0,
    *,
    tests: tuple[str, ...] = TESTS,
    alpha: float = 0.05,
    correction: str = "bh",
) -> NormalityTests:
    """Test every column of x for normality, with control of the false discovery rate over columns.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Read as float64; NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy; the columns over the kept axes are the units.
    tests : tuple of str, default all
        Some of "jarque_bera", "dagostino", "anderson_darling", "lilliefors", "shapiro_wilk": see
        the functions of these names.
    alpha : float in [0, 1], default 0.05
        The false discovery rate.
    correction : {"bh", "by"}, default "bh"
        `benjamini_hochberg`, for independent or positively dependent units, or
        `benjamini_yekutieli`, for any. Each test is a family of its own: to look at all five and
        believe the one that rejects is not controlled.

    Returns
    -------
    NormalityTests
        With a dict of results, one of q-values, and `rejected`; `to_frame` makes a table of them.

        ============================  ========================================================
        column                        result
        ============================  ========================================================
        a test cannot judge it        p- and q-value NaN, not rejected; not one of the family.
                                      Those are, for all tests, columns without values, of one,
                                      or of equal ones; for others see the tests
        NaN and inf among the values  left out
        ============================  ========================================================

    Raises
    ------
    InputError
        If x is not an array of real numbers, `axis` does not name axes of it, `tests` is empty or
        names an unknown one, `alpha` is not in [0, 1] or `correction` is neither of the two.

    Notes
    -----
    With a million values everything real is "not normal" at any level: read the effect sizes
    (skewness, kurtosis, distances, 1 - W) first, and the p-values for what chance could have done.

    References
    ----------
    Those of the tests; Y. Benjamini and Y. Hochberg, J. R. Statist. Soc. B 57 (1995).

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.stats import normality_tests
    >>> rng = np.random.default_rng(0)
    >>> x = np.stack([rng.normal(size=500), rng.exponential(size=500)], axis=1)
    >>> found = normality_tests(x, tests=("jarque_bera", "lilliefors"))
    >>> found.rejected["lilliefors"].tolist()
    [False, True]
    >>> found.results["jarque_bera"].skewness.round(1).tolist()
    [-0.2, 2.3]
    """
    names = tuple(_checks.one_of(name, TESTS, "each of tests") for name in tests)
    if not names or len(set(names)) < len(names):
        raise InputError(f"tests must name at least one test, and each once, got {tests!r}")
    alpha = _checks.number_between(alpha, "alpha", 0.0, 1.0)
    _checks.one_of(correction, CORRECTIONS, "correction")
    results = _per_unit(x, axis, names)
    qvalues = {name: adjusted(result.pvalue, correction) for name, result in results.items()}
    return NormalityTests(results, qvalues, alpha, correction)


def _per_unit(x: ArrayLike, axis: Axis, names: tuple[str, ...]) -> dict[str, TestResult]:
    """Return the results of the tests, of the shape of the kept axes."""
    kinds: list[type[TestResult]] = []

    def measure(rows: Rows) -> tuple[NDArray[np.generic], ...]:
        results = normality_of_rows(rows, names).values()
        kinds[:] = [type(result) for result in results]
        return tuple(chain.from_iterable(results))

    fields = iter(per_column(x, axis, measure))
    return {
        name: kind(*(next(fields) for _ in kind._fields))
        for name, kind in zip(names, kinds, strict=True)
    }
