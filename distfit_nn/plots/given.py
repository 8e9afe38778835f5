"""What the functions of `plots` are given: recordings of an analysis, or of arrays; titles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.plots import choose

if TYPE_CHECKING:
    from distfit_nn.maxent import Density
    from distfit_nn.report.shapes import Shape
    from distfit_nn.stats.findings import Findings
    from distfit_nn.stats.summary import Recording

_LONGEST = 60  # characters of a name in a title


def is_analysis(data: Any) -> TypeGuard[Findings]:
    """Return whether `data` is an analysis."""
    from distfit_nn.stats.findings import Findings

    return isinstance(data, Findings)


def analysis(data: Any) -> Findings:
    """Return `data` if it is an analysis."""
    if not is_analysis(data):
        raise InputError(f"data must be an Analysis, got {type(data).__name__}")
    return data


def column(values: Any, unit: Any = None) -> NDArray[Any]:
    """Return the values (n, d), only those of column `unit` where it is given."""
    table, _ = _checks.as_columns(values, "data")
    if unit is None:
        return table
    number = _checks.whole_number(unit, "unit")
    if number >= table.shape[1]:
        raise InputError(f"unit must be below {table.shape[1]}, the number of columns, got {unit}")
    return table[:, [number]]


def recording(
    data: Any,
    layer: str | None = None,
    site: str | None = None,
    step: int | None = None,
    unit: int | str | None = None,
) -> Recording:
    """Return a recording of an analysis; or what an array holds, of column `unit` alone."""
    if is_analysis(data):
        return choose.recording_of(data, layer, site, step)
    from distfit_nn.stats.summary import summarise

    if (layer, site, step) != (None, None, None):
        raise InputError("layer, site and step choose from an Analysis; data is none")
    return summarise(column(data, unit))


def row(found: Recording, data: Any, unit: int | str | None) -> int | None:
    """Return the row of the unit in the recording that `recording` made; None means pooled."""
    if unit is None:
        return None
    return choose.row_of(found, unit) if is_analysis(data) else 0


def one_row(found: Recording, unit: int | str | None) -> int:
    """Return the row of a unit that must be given where there are several."""
    if unit is not None:
        return choose.row_of(found, unit)
    if len(found.units) > 1:
        raise InputError(f"unit must be given: layer {name(found.layer)} has {len(found.units)}")
    return 0


def shape_or_none(found: Recording, at: int | None) -> tuple[Shape | None, Density]:
    """Return the drawing of a unit, or of all pooled, and its density."""
    from distfit_nn.report.shapes import Shape

    if at is None:
        density = found.pooled_density
        return Shape.of(found.pooled_histogram, density), density
    density = found.density[at]
    return Shape.of(found.histogram, density, at), density


def shape(found: Recording, at: int | None) -> tuple[Shape, Density]:
    """Return the drawing of a unit, or of all pooled, and its density.

    Raises
    ------
    InputError
        No value can be drawn.
    """
    drawn, density = shape_or_none(found, at)
    if drawn is None:
        raise InputError("there is no finite value to draw, or none below 1e100")
    return drawn, density


def pair(
    data: Any, after: ArrayLike | None, layer: str | None, step: int | None, unit: int | str | None
) -> tuple[tuple[Recording, Recording], str]:
    """Return what is before and after a normalisation, and a title."""
    if not is_analysis(data):
        if after is None:
            raise InputError("after must be given where data is an array")
        return (recording(data, unit=unit), recording(after, unit=unit)), unit_title(unit)
    if after is not None:
        raise InputError("after must be left out where data is an Analysis")
    chosen = choose.layer_of(data, layer)
    if chosen.partner is None:
        raise InputError(
            f"layer {name(chosen.name)} was recorded on one side only; before and after a "
            "normalisation are the sites norm_input and norm_output"
        )
    last = choose.at_step(chosen, chosen.main, step)
    first = choose.at_step(chosen, chosen.partner, last.step)
    step_title = f"{name(chosen.name)}, step {last.step}"
    return (first, last), ", ".join(filter(None, (step_title, unit_title(unit))))


def title(found: Recording, data: Any, unit: int | str | None, *, step: bool = True) -> str:
    """Return where the values are from: layer, site, step and unit of an analysis."""
    if not is_analysis(data):
        return unit_title(unit)
    from distfit_nn.report.select import site_label

    parts = [name(found.layer), site_label(found.site), f"step {found.step}" if step else ""]
    return ", ".join(filter(None, (*parts, unit_title(unit))))


def unit_title(unit: int | str | None) -> str:
    """Return what a unit is called in a title."""
    if unit is None:
        return ""
    return name(unit) if isinstance(unit, str) else f"unit {unit}"


def name(text: str) -> str:
    """Return a name that is safe and short enough for a title."""
    from distfit_nn.report.select import clean

    return clean(text, _LONGEST)


def spans(values: NDArray[np.float64], log: bool | None, factor: float = 30.0) -> bool:
    """Return whether an axis is logarithmic: as asked, or where values above 0 span a factor."""
    known = values[np.isfinite(values)]
    positive = bool(known.size and known.min() > 0)
    if log is None:
        return positive and bool(known.max() > factor * known.min())
    if _checks.flag(log, "log") and not positive:
        raise InputError("log must be False: some values are 0 or less")
    return log
