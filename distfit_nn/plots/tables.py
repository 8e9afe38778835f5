"""Statistics of layers and units: over steps, over units, as maps; dependence, outliers, drift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.plots import choose, given, tabled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from distfit_nn.analysis import Analysis
    from distfit_nn.comparison import Comparison


def over_steps(
    data: Analysis | pd.DataFrame,
    column: str = "kl_maxent",
    *,
    layer: str | None = None,
    site: str | None = None,
    log: bool | None = None,
    ax: Axes | None = None,
    color: Any = None,
) -> Axes:
    """Draw the median unit (line) and the middle half of the units (band) against the step.

    Parameters
    ----------
    data : Analysis, or DataFrame with the columns site, step and `column`
    column : str, default "kl_maxent"
        Of the table of units: any number.
    layer : str, optional
        Of an analysis; by default the only one.
    site : str, optional
        By default, of an analysis, both sides of a normalisation where both were recorded; of a
        table all there are, at most three.
    log : bool, optional
        Logarithmic axis; by default where the values span a factor of 30.
    ax : matplotlib Axes, optional
        By default the current ones.
    color : colour, or one for each site, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There is no such layer, site or column, or it has no finite value.

    Examples
    --------
    >>> import pandas as pd
    >>> from matplotlib.figure import Figure
    >>> import distfit_nn as dn
    >>> table = pd.DataFrame({"site": "values", "step": [0, 0, 9, 9], "std": [1.0, 3.0, 2.0, 5.0]})
    >>> ax = dn.plots.over_steps(table, "std", ax=Figure().subplots())
    >>> ax.lines[0].get_ydata().tolist()
    [2.0, 3.5]
    """
    from distfit_nn.plots.canvas import Canvas
    from distfit_nn.report import figures, shapes
    from distfit_nn.report.select import site_word

    canvas = Canvas.of(ax)
    table, sites, title = tabled.units(data, column, layer, site)
    found = shapes.track(table, column)
    if found.empty:
        raise InputError(f"column {column!r} has no finite value to draw")
    names = [name for name in sites if name in set(found["site"])]
    tones = dict(zip(names, canvas.tones(color, len(names)), strict=True))
    wide = given.spans(found[["low", "median", "high"]].to_numpy(), log)
    figures.over_steps(canvas.ax, found, tones, log=wide)
    labels = [site_word(name) for name in names] if len(names) > 1 else []
    return canvas.finish("step", column, title, labels=labels)


def spread(
    data: Analysis | ArrayLike,
    column: str = "std",
    *,
    layer: str | None = None,
    site: str | None = None,
    step: int | None = None,
    log: bool | None = None,
    ax: Axes | None = None,
    color: Any = None,
) -> Axes:
    """Draw how a statistic is spread over the units of a layer, as a histogram with the median.

    Parameters
    ----------
    data : Analysis, or array (units,)
        One number for each unit, where it is an array.
    column : str, default "std"
        Of the table of units: any number.
    layer, step
        Of an analysis; by default its only layer, the last step.
    site : str, optional
        By default both sides of a normalisation where both were recorded: upwards after it,
        downwards before it.
    log : bool, optional
        Logarithmic axis; by default where the values are above 0 and span a factor of 30. Values
        of 0 and less are counted at its end.
    ax, color
        As for `over_steps`.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There is no such layer, site, step or column, or no unit has a finite value.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> x = np.random.default_rng(0).normal(size=(500, 40))
    >>> ax = dn.plots.spread(dn.analyze({"fc1": x}), "kurtosis")
    >>> ax.get_title(), ax.get_xlabel()
    ('fc1, step 0', 'kurtosis')
    """
    from distfit_nn.plots.canvas import Canvas
    from distfit_nn.report import figures, shapes
    from distfit_nn.report.select import site_word

    canvas = Canvas.of(ax)
    samples, labels, title = tabled.samples(data, column, layer, site, step)
    wide = given.spans(np.concatenate(samples), None) if log is None else _checks.flag(log, "log")
    found = shapes.Spread.of(samples, log=wide)
    if found is None:
        raise InputError(f"no unit has a finite value of {column!r} that can be drawn")
    tones = canvas.tones(color, len(samples))
    words = [site_word(label) for label in labels] if len(labels) > 1 else [""]
    figures.spread(canvas.ax, found, tones, words, palette=canvas.palette)
    share = "" if len(samples) > 1 else "units, to the fullest bin"
    return canvas.finish(column if given.is_analysis(data) else "value", share, title)


def heat_map(
    data: Analysis | pd.DataFrame,
    column: str = "kl_median",
    *,
    site: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a column of the table of layers as a map of layers (rows) and steps (columns).

    Colours go from the lowest to the highest value, by the logarithm where these are above 0 and a
    factor of 30 apart. What is missing is struck through. Numbers are written where there is room,
    else a scale stands at the right.

    Parameters
    ----------
    data : Analysis, or DataFrame with the columns layer, site, step and `column`
    column : str, default "kl_median"
        Of the table of layers: any number.
    site : str, optional
        By default all: a layer with several has a row for each.
    ax : matplotlib Axes, optional
        By default the current ones.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There is no such column or site, or it has no finite value.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> x = np.random.default_rng(0).normal(size=(300, 8))
    >>> ax = dn.plots.heat_map(dn.analyze({"fc1": x, "fc2": 3 * x}), "pooled_std")
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['fc1', 'fc2']
    """
    from distfit_nn.plots.canvas import Canvas
    from distfit_nn.report import figures, shapes

    canvas = Canvas.of(ax)
    table = data.layers if given.is_analysis(data) else data
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"data must be an Analysis or a DataFrame, got {type(data).__name__}")
    tabled.check_columns(table, ("layer", "site", "step"))
    tabled.check_number(table, column)
    if site is not None:
        choose.named("site", site, list(dict.fromkeys(table["site"])))
    grid = shapes.Grid.of(table, column, site)
    if grid is None:
        raise InputError(f"column {column!r} has no finite value to draw")
    figures.heat_map(canvas.ax, grid, palette=canvas.palette)
    return canvas.finish("step", "", column)


def dependence(
    data: Analysis | ArrayLike,
    *,
    layer: str | None = None,
    site: str | None = None,
    step: int | None = None,
    most: int = 128,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw Spearman's rank correlation of each pair of units, similar units side by side.

    Parameters
    ----------
    data : Analysis, or array or tensor of shape (n, d)
        Of an analysis the rows that it keeps are used: up to 1,000 of the first and the last step.
    layer, site, step
        Of an analysis; by default its only layer, the site before the nonlinearity, the last step.
    most : int, default 128
        Units that are drawn of more, chosen with `seed`.
    seed : int, default 0
    ax : matplotlib Axes, optional
        By default the current ones.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There is no such layer, site or step; no rows of it are kept; or fewer than two units have
        values that vary.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> x = np.random.default_rng(0).normal(size=(300, 3))
    >>> x[:, 2] = -x[:, 0]
    >>> ax = dn.plots.dependence(x)
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['1', '0', '2']
    """
    from distfit_nn.plots.canvas import Canvas
    from distfit_nn.report import figures, shapes
    from distfit_nn.report.numbers import count

    canvas = Canvas.of(ax)
    most = _checks.whole_number(most, "most", 2)
    seed = _checks.whole_number(seed, "seed")
    title = ""
    if given.is_analysis(data):
        recording = choose.recording_of(data, layer, site, step)
        if recording.sample is None:
            raise InputError("no rows of that step are kept, only of the first and the last one")
        found = shapes.Dependence.of(recording, most=most, seed=seed)
        title = given.title(recording, data, None)
    else:
        found = shapes.Dependence.of_values(given.column(data), most=most, seed=seed)
    if found is None:
        raise InputError("dependence needs two units that vary, and four rows where both are known")
    figures.dependence(canvas.ax, found, palette=canvas.palette)
    return canvas.finish(f"unit (rank correlation of {count(found.n)} rows)", "unit", title)


def outliers(
    data: Analysis | ArrayLike,
    *,
    layer: str | None = None,
    site: str | None = None,
    step: int | None = None,
    ax: Axes | None = None,
    color: Any = None,
) -> Axes:
    """Draw the largest magnitude of each unit, with the median and what makes an outlier channel.

    Parameters
    ----------
    data : Analysis, or array or tensor of shape (n, d)
    layer, site, step
        Of an analysis; by default its only layer, the site before the nonlinearity, the last step.
    ax : matplotlib Axes, optional
        By default the current ones.
    color : colour, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There is no such layer, site or step, or no finite value.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import distfit_nn as dn
    >>> x = np.random.default_rng(0).normal(size=(300, 12))
    >>> x[:, 5] *= 500
    >>> ax = dn.plots.outliers(x, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['Unit 5']
    """
    from distfit_nn.plots.canvas import Canvas
    from distfit_nn.report import figures, shapes

    canvas = Canvas.of(ax)
    recording = given.recording(data, layer, site, step)
    found = shapes.Channels.of(recording.units)
    if found is None:
        raise InputError("there is no finite value to draw")
    figures.outliers(canvas.ax, found, canvas.colour(color), palette=canvas.palette)
    labels = ["median", "outlier channels lie above"]
    return canvas.finish(
        "unit", "largest magnitude", given.title(recording, data, None), labels=labels
    )


def drift(
    data: Analysis | Comparison | pd.DataFrame,
    *,
    layer: str | None = None,
    most: int = 40,
    ax: Axes | None = None,
    color: Any = None,
) -> Axes:
    """Draw how far layers or units have drifted (dots), over what chance gives (bars).

    A full dot has drifted; a half-full one has moved beyond chance, but not as far as is called
    drift; an empty one is within chance. The line in a bar is the mean by chance.

    Parameters
    ----------
    data : Comparison, Analysis (its first against its last steps), or a table of drift of these
    layer : str, optional
        Of a comparison: draw the units of this layer instead of the layers.
    most : int, default 40
        Rows that are drawn: those of largest excess.
    ax : matplotlib Axes, optional
        By default the current ones.
    color : colour, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        Nothing was compared, or there is no such layer.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> x = np.random.default_rng(0).normal(size=(600, 3))
    >>> comparison = dn.compare({"fc1": x[:300]}, {"fc1": x[300:] + [0, 0, 1]})
    >>> ax = dn.plots.drift(comparison, layer="fc1")
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['Unit 0', 'Unit 1', 'Unit 2']
    """
    from distfit_nn.plots.canvas import Canvas
    from distfit_nn.report import figures, shapes

    canvas = Canvas.of(ax)
    table, alpha = tabled.drift_of(data, layer)
    found = shapes.Moved.of(table, _checks.positive_int(most, "most"), alpha)
    if found is None:
        raise InputError("nothing to draw: no layer has values at two steps that can be compared")
    figures.drift(canvas.ax, found, canvas.colour(color), palette=canvas.palette)
    title = tabled.drift_title(table, layer)
    if found.left_out:
        title = ", ".join(filter(None, (title, f"{found.left_out} of least drift left out")))
    return canvas.finish("Wasserstein distance, pooled standard deviations", "", title)
