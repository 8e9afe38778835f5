"""Distributions: of a unit, of a layer, before and after, step by step, against the normal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.plots import choose, given

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from distfit_nn.analysis import Analysis
    from distfit_nn.maxent import Density


def distribution(
    data: Analysis | ArrayLike,
    *,
    layer: str | None = None,
    site: str | None = None,
    step: int | None = None,
    unit: int | str | None = None,
    modes: bool = True,
    ax: Axes | None = None,
    color: Any = None,
) -> Axes:
    """Draw a histogram with its maximum-entropy density (solid) and N(0,1) (dashed).

    Parameters
    ----------
    data : Analysis, or array or tensor of shape (n,) or (n, d)
        NaN and infinite values are left out.
    layer, site, step
        Which recording of an analysis: by default its only layer, the site before the nonlinearity,
        the last step.
    unit : int or str, optional
        Number or name of a unit (of an array: its column); by default all of them pooled.
    modes : bool, default True
        Mark the clear modes of the fitted density with their places; these need not be the peaks
        of the histogram, for the density knows a few moments only.
    ax : matplotlib Axes, optional
        By default the current ones.
    color : colour, optional
        Of bars and density.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There is no such layer, site, step or unit, or no finite value.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> x = np.random.default_rng(0).normal(size=(500, 2)) + [0, 3]
    >>> ax = dn.plots.distribution(x, unit=1)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('value', 'density')
    """
    from distfit_nn.plots.canvas import Canvas
    from distfit_nn.report import figures, shapes

    canvas = Canvas.of(ax)
    recording = given.recording(data, layer, site, step, unit)
    shape, fitted = given.shape(recording, given.row(recording, data, unit))
    places = shapes.clear_modes(fitted) if _checks.flag(modes, "modes") else ()
    figures.distribution(
        canvas.ax, shape, canvas.colour(color), modes=places, palette=canvas.palette
    )
    curve = "maximum entropy, its modes marked" if places else "maximum entropy"
    labels = ["N(0,1)"] if shape.fitted is None else [curve, "N(0,1)"]
    return canvas.finish("value", "density", given.title(recording, data, unit), labels=labels)


def density(
    data: Density | Analysis | ArrayLike,
    *,
    layer: str | None = None,
    site: str | None = None,
    step: int | None = None,
    unit: int | str | None = None,
    order: int = 6,
    ax: Axes | None = None,
    color: Any = None,
    label: str | None = None,
) -> Axes:
    """Draw a maximum-entropy density alone, to lay several over each other.

    Parameters
    ----------
    data : Density, Analysis, or array or tensor of shape (n,) or (n, d)
        A density of several columns gives a curve for each.
    layer, site, step, unit
        As for `distribution`: of an analysis, and `unit` of an array too.
    order : int, default 6
        Moments matched where `data` is an array.
    ax, color
        As for `distribution`; by default the next colour of the cycle.
    label : str, optional
        For the legend. Without it, and of an analysis, layer, site, step and unit are the title.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There is no such layer, site, step or unit.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import distfit_nn as dn
    >>> x = np.random.default_rng(0).normal(size=(500, 2)) + [0, 3]
    >>> ax = dn.plots.density(dn.maxent.fit(x), ax=Figure().subplots())
    >>> len(ax.lines)
    2
    """
    from distfit_nn import maxent
    from distfit_nn.maxent import Density
    from distfit_nn.plots.canvas import Canvas

    canvas, title = Canvas.of(ax), ""
    if isinstance(data, Density):
        found: Density = data
    elif given.is_analysis(data):
        recording = given.recording(data, layer, site, step, unit)
        row = given.row(recording, data, unit)
        found = recording.pooled_density if row is None else recording.density[row]
        title = "" if label is not None else given.title(recording, data, unit)
    else:
        found = maxent.fit(given.column(data, unit), order, nan_policy="omit")
    line: dict[str, Any] = {} if color is None else {"color": color}
    found.plot(canvas.ax, **line)
    return canvas.finish("value", "density", title, labels=[] if label is None else [label])


def qq(
    data: Analysis | ArrayLike,
    *,
    layer: str | None = None,
    site: str | None = None,
    step: int | None = None,
    unit: int | str | None = None,
    ax: Axes | None = None,
    color: Any = None,
) -> Axes:
    """Draw the quantiles of a unit against those of the normal distribution.

    The line has the unit's mean and standard deviation; the band is where chance leaves each
    quantile of a normal unit, with a probability of 95% each.

    Parameters
    ----------
    data, layer, site, step, ax, color
        As for `distribution`. Of an analysis the rows that it keeps are drawn (up to 1,000 of the
        first and the last step), else the edges of the histogram: the horizontal label says which.
    unit : int or str, optional
        Number or name of a unit; may be left out where there is one only.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There is no such layer, site, step or unit; or the unit has fewer than two different values.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> ax = dn.plots.qq(np.random.default_rng(0).normal(size=300))
    >>> ax.get_xlabel()
    'quantiles of N(0,1), 300 values'
    """
    from distfit_nn.plots.canvas import Canvas
    from distfit_nn.report import figures, shapes
    from distfit_nn.report.numbers import plural

    canvas = Canvas.of(ax)
    if given.is_analysis(data):
        recording = given.recording(data, layer, site, step, unit)
        found = shapes.QQ.of(recording, given.one_row(recording, unit))
        title = given.title(recording, data, unit)
    else:
        values = given.column(data, unit)
        if values.ndim == 2 and values.shape[1] > 1:
            raise InputError(f"unit must be given: there are {values.shape[1]}")
        found, title = shapes.QQ.of_values(values), given.unit_title(unit)
    if found is None:
        raise InputError("a Q-Q plot needs two different finite values of the unit, there are none")
    figures.qq(canvas.ax, found, canvas.colour(color), palette=canvas.palette)
    source = {"sample": "a sample of ", "histogram": "the histogram of "}.get(found.source, "")
    return canvas.finish(
        f"quantiles of N(0,1), {source}{plural(found.n, 'value')}", "quantiles of the unit", title
    )


def before_after(
    data: Analysis | ArrayLike,
    after: ArrayLike | None = None,
    *,
    layer: str | None = None,
    step: int | None = None,
    unit: int | str | None = None,
    ax: Axes | None = None,
    color: tuple[Any, Any] | None = None,
) -> Axes:
    """Draw both sides of a normalisation on one axis: before it downwards, after it upwards.

    Parameters
    ----------
    data : Analysis, or array or tensor
        An analysis of which `layer` was recorded before and after a normalisation (or at its input
        and output); or the values before.
    after : array or tensor, optional
        The values after, where `data` is an array.
    layer, step, unit
        As for `distribution`; by default all units pooled.
    ax : matplotlib Axes, optional
    color : pair of colours, optional
        Before and after.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        The layer has one side only, or there is no such layer, step or unit.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> x = np.random.default_rng(0).gamma(2, 3, 500)
    >>> ax = dn.plots.before_after(x, (x - x.mean()) / x.std())
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['after', 'before']
    """
    from distfit_nn.plots.canvas import Canvas
    from distfit_nn.report import figures

    canvas = Canvas.of(ax)
    pair, title = given.pair(data, after, layer, step, unit)
    before, later = (given.shape(one, given.row(one, data, unit))[0] for one in pair)
    tones = canvas.tones(color, 2)
    if color is None:
        tones.reverse()  # the palette has the main side first
    figures.before_after(canvas.ax, before, later, tones, palette=canvas.palette)
    return canvas.finish("value", "", title)


def ridge(
    data: Analysis | Mapping[str, ArrayLike],
    *,
    layer: str | None = None,
    site: str | None = None,
    unit: int | str | None = None,
    most: int = 8,
    ax: Axes | None = None,
    color: Any = None,
) -> Axes:
    """Draw one distribution for each step, the first on top, each scaled to its own peak.

    Parameters
    ----------
    data : Analysis, or mapping of str to array
        Labels and values, where these are arrays.
    layer, site, unit
        As for `distribution`; by default all units pooled.
    most : int, default 8
        Steps that are drawn, spread evenly over all, first and last always.
    ax, color
        As for `distribution`.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There is no such layer, site or unit, or no finite value.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> rng = np.random.default_rng(0)
    >>> ax = dn.plots.ridge({"start": rng.normal(size=300), "end": rng.gamma(2, 1, 300)})
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['start', 'end']
    """
    from distfit_nn.plots.canvas import Canvas
    from distfit_nn.report import figures
    from distfit_nn.report.numbers import count
    from distfit_nn.report.select import some

    canvas = Canvas.of(ax)
    most = _checks.positive_int(most, "most")
    if given.is_analysis(data):
        chosen = choose.layer_of(data, layer)
        series = chosen.recordings[choose.site_of(chosen, site)]
        rows = [(count(one.step), one) for one in some(series, most)]
        title = given.title(series[-1], data, unit, step=False)
    elif isinstance(data, Mapping) and data:
        rows = [(given.name(str(key)), given.recording(v, unit=unit)) for key, v in data.items()]
        title = given.unit_title(unit)
    else:
        raise InputError("data must be an Analysis or a mapping of str to array")
    drawn = [
        (label, given.shape_or_none(one, given.row(one, data, unit))[0]) for label, one in rows
    ]
    kept = [(label, shape) for label, shape in drawn if shape is not None]
    if not kept:
        raise InputError("there is no finite value to draw at any step")
    figures.ridge(canvas.ax, kept, canvas.colour(color), palette=canvas.palette)
    return canvas.finish("value", "step" if given.is_analysis(data) else "", title)
