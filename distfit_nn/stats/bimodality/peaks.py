"""Which modes of a density are clear: a valley of some depth between them, some mass under each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn.stats.rows import Float

if TYPE_CHECKING:
    from distfit_nn.maxent import Density

LEAST_DEPTH = 0.1  # of a valley, as a share of the lower of the modes beside it
LEAST_SHARE = 0.05  # of the mass under a mode, from valley to valley


class Peaks(NamedTuple):
    """The clear modes of one density, from left to right.

    Attributes
    ----------
    position, height : arrays of shape (k,)
    valley, valley_height : arrays of shape (k - 1,), or (0,) where k is 0
        The lowest points between them.
    """

    position: Float
    height: Float
    valley: Float
    valley_height: Float

    @property
    def depth(self) -> Float:
        """Share of the lower of two neighbouring modes that the valley between them lacks.

        0 where both have underflowed.
        """
        lower = np.minimum(self.height[:-1], self.height[1:])
        lacking = lower - self.valley_height
        return np.divide(lacking, lower, out=np.zeros_like(lower), where=lower > 0)


def peaks_of_density(
    density: Density, least_depth: float = LEAST_DEPTH, least_share: float = LEAST_SHARE
) -> list[Peaks]:
    """Return the clear modes of each column of a density."""
    modes = density.modes()
    listed = [modes] if isinstance(modes, np.ndarray) else modes
    masses = _at_each(density.cdf, [column["valley"][:-1] for column in listed])
    return [
        clear_peaks(column, mass, least_depth, least_share)
        for column, mass in zip(listed, masses, strict=True)
    ]


def clear_peaks(
    modes: NDArray[np.void],
    mass: Float,
    least_depth: float = LEAST_DEPTH,
    least_share: float = LEAST_SHARE,
) -> Peaks:
    """Merge the modes of a density until what is left is clear.

    The shallowest valley goes first, with the lower of its modes, as long as its depth is below
    `least_depth`; then the mode with the least mass, as long as that is below `least_share`, with
    the higher of the valleys beside it.

    Parameters
    ----------
    modes : structured array
        One column's of `Density.modes`.
    mass : array of shape (k - 1,)
        What lies left of each valley between the modes, ascending.
    """
    peaks = Peaks(
        modes["position"].copy(),
        modes["height"].copy(),
        modes["valley"][:-1].copy(),
        modes["valley_height"][:-1].copy(),
    )
    while len(peaks.valley):
        depth = peaks.depth
        shares = np.diff(mass, prepend=0.0, append=1.0)
        least = int(np.argmin(shares))
        if depth.min() < least_depth:
            valley = int(np.argmin(depth))
        elif shares[least] < least_share:
            valley = _higher_valley(peaks.valley_height, least)
        else:
            break
        mass = np.delete(mass, valley)
        peaks = _merged(peaks, valley)
    return peaks


def _at_each(function: Any, points: list[Float]) -> list[Float]:
    """Return the values of a function of columns at as many points as each column has."""
    most = max((len(column) for column in points), default=0)
    table = np.full((most, len(points)), np.nan)
    for j, column in enumerate(points):
        table[: len(column), j] = column
    values = np.asarray(function(table)).reshape(table.shape) if most else table
    return [values[: len(column), j] for j, column in enumerate(points)]


def _higher_valley(heights: Float, mode: int) -> int:
    """Return the number of the higher of the valleys beside a mode."""
    beside = [k for k in (mode - 1, mode) if 0 <= k < len(heights)]
    return max(beside, key=lambda k: float(heights[k]))


def _merged(peaks: Peaks, valley: int) -> Peaks:
    """Leave out a valley and the lower of its two modes."""
    gone = valley + int(peaks.height[valley] >= peaks.height[valley + 1])
    modes = (np.delete(array, gone) for array in peaks[:2])
    valleys = (np.delete(array, valley) for array in peaks[2:])
    return Peaks(*modes, *valleys)
