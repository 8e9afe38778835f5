"""Figures of activations: each function draws into axes and returns them.

They take what users have: an `Analysis` (with ``layer=``, ``site=``, ``step=``, ``unit=``), an
array or a tensor, a `Density`, a `Comparison`. Without ``ax`` they draw into the current axes, as
matplotlib and seaborn do. They change no settings and show nothing; matplotlib is imported when
the first of them is called.
"""

from distfit_nn.plots.distributions import before_after, density, distribution, qq, ridge
from distfit_nn.plots.tables import (
    dependence,
    drift,
    heat_map,
    outliers,
    over_steps,
    spread,
)

__all__ = [
    "before_after",
    "density",
    "dependence",
    "distribution",
    "drift",
    "heat_map",
    "outliers",
    "over_steps",
    "qq",
    "ridge",
    "spread",
]
