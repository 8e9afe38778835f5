"""The drawings of the report: each takes axes and what to draw, draws, and returns the axes.

Nothing is computed here that a reader would want to check; see `shapes` for that. Colours are
those of a `Palette`: by default the placeholders that `svg` turns into variables of the page.
"""

from distfit_nn.report.figures.densities import before_after, distribution, glyph, ridge
from distfit_nn.report.figures.maps import dependence, heat_map
from distfit_nn.report.figures.over_time import drift, over_steps
from distfit_nn.report.figures.quantiles import qq
from distfit_nn.report.figures.units import outliers, spread

__all__ = [
    "before_after",
    "dependence",
    "distribution",
    "drift",
    "glyph",
    "heat_map",
    "outliers",
    "over_steps",
    "qq",
    "ridge",
    "spread",
]
