"""A fitted density as a SciPy distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

if TYPE_CHECKING:
    from distfit_nn.maxent.density import Density

Array = NDArray[np.float64]


class MaxEntDistribution(stats.rv_continuous):  # type: ignore[misc]
    """A density of one column with the interface of `scipy.stats.rv_continuous`.

    Whatever SciPy would find by its generic quadrature or root finding comes from the density.
    """

    def __init__(self, density: Density) -> None:
        a, b = density.support()
        super().__init__(a=a, b=b, name="maxent")
        self._density = density

    def _updated_ctor_param(self) -> dict[str, Any]:
        # SciPy makes a new one of these where it freezes a distribution.
        return {"density": self._density}

    def _pdf(self, x: Array) -> Array:
        return self._density.pdf(x)

    def _logpdf(self, x: Array) -> Array:
        return self._density.logpdf(x)

    def _cdf(self, x: Array) -> Array:
        return self._density.cdf(x)

    def _sf(self, x: Array) -> Array:
        return self._density.sf(x)

    def _logcdf(self, x: Array) -> Array:
        return self._density.logcdf(x)

    def _logsf(self, x: Array) -> Array:
        return self._density.logsf(x)

    def _ppf(self, q: Array) -> Array:
        return self._density.ppf(q)

    def _isf(self, q: Array) -> Array:
        return self._density.isf(q)

    def _munp(self, n: int) -> float:
        return float(self._density.moment(int(n)))

    def _stats(self) -> tuple[Any, ...]:
        density = self._density
        return density.mean(), density.var(), density.skewness(), density.kurtosis()

    def _entropy(self) -> float:
        return float(self._density.entropy())
