"""Maximum-entropy densities from moments."""

from distfit_nn.maxent.density import Density
from distfit_nn.maxent.fit import ORDERS, fit, fit_moments
from distfit_nn.maxent.solution import Solution, Status

__all__ = ["ORDERS", "Density", "Solution", "Status", "fit", "fit_moments"]
