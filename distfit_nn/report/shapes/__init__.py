"""What the figures of the report draw: heights, curves, ranges and shares, as plain arrays.

Each is a frozen dataclass with a classmethod ``of`` that computes it; nothing here draws.
"""

from distfit_nn.report.shapes.bars import Shape, clear_modes, standard_normal
from distfit_nn.report.shapes.limits import LARGEST, Array
from distfit_nn.report.shapes.maps import Dependence, Grid
from distfit_nn.report.shapes.quantiles import QQ
from distfit_nn.report.shapes.spread import Spread
from distfit_nn.report.shapes.tracks import (
    BEYOND,
    DRIFTED,
    WITHIN,
    Moved,
    coincide,
    standings,
    track,
)
from distfit_nn.report.shapes.units import Channels

__all__ = [
    "BEYOND",
    "DRIFTED",
    "LARGEST",
    "QQ",
    "WITHIN",
    "Array",
    "Channels",
    "Dependence",
    "Grid",
    "Moved",
    "Shape",
    "Spread",
    "clear_modes",
    "coincide",
    "standard_normal",
    "standings",
    "track",
]
