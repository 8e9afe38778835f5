"""Statistics against the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from distfit_nn.report.numbers import count
from distfit_nn.report.select import clean, site_word, unit_label
from distfit_nn.report.shapes.limits import LARGEST, Array
from distfit_nn.stats.unit_table import ALPHA

_COINCIDE = 0.02  # of the height of an axis: the width of a line


def track(units: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return quartiles over units of `column`, for each site and step.

    Parameters
    ----------
    units : DataFrame
        Columns ``site``, ``step`` and `column`; what is not finite, or beyond drawing, is
        left out.

    Returns
    -------
    DataFrame
        Columns ``site``, ``step``, ``low``, ``median``, ``high``, in order of steps.
    """
    finite = units.loc[units[column].abs() < LARGEST, ["site", "step", column]]
    groups = finite.groupby(["site", "step"])[column]
    quartiles = {"low": 0.25, "median": 0.5, "high": 0.75}
    return pd.DataFrame({k: groups.quantile(q) for k, q in quartiles.items()}).reset_index()


def coincide(track: pd.DataFrame, *, log: bool) -> bool:
    """Return whether the sites of a `track` lie on each other: lines and bands, at every step.

    Apart by at most a line's width, 2% of the height of the (logarithmic) axis.
    """
    names = ["low", "median", "high"]
    heights = track[names].map(np.log10) if log else track[names]
    wide = track[["site", "step"]].join(heights).pivot_table(names, "step", "site")
    if track["site"].nunique() < 2 or wide.isna().any(axis=None):
        return False
    by_quartile = wide.T.groupby(level=0)
    gap = (by_quartile.max() - by_quartile.min()).max(axis=None)
    return bool(gap <= _COINCIDE * (heights["high"].max() - heights["low"].min()))


WITHIN, BEYOND, DRIFTED = range(3)


@dataclass(frozen=True)
class Moved:
    """How far layers, or units, have drifted, over what chance gives.

    Attributes
    ----------
    labels : tuple of str
    effect : array (k,)
        Wasserstein-1 distance in pooled standard deviations; may be infinite.
    chance, chance_high : array (k,)
        Its mean when rows are exchanged at random, and what it then exceeds with probability alpha.
    standing : int array (k,)
        WITHIN chance; BEYOND chance, but by less than is called drift; DRIFTED. See `standings`.
    left_out : int
        Rows of the table that are not drawn: those of smallest effect.
    """

    labels: tuple[str, ...]
    effect: Array
    chance: Array
    chance_high: Array
    standing: NDArray[np.int64]
    left_out: int

    @classmethod
    def of(cls, table: pd.DataFrame, most: int = 40, alpha: float = ALPHA) -> Moved | None:
        """Return the drift in a table of layers (or units) as `compare` and `Analysis.drift` make.

        At most `most` rows, those of largest excess, in the order of the table; None if none has
        a distance. `alpha` is the level that its q-values are compared with.
        """
        per_unit = "wasserstein" in table
        effect = "wasserstein" if per_unit else "wasserstein_mean"
        prefix = "wasserstein_" if per_unit else ""
        known = table[table[effect].notna()]
        if known.empty:
            return None
        excess = known[f"{prefix}excess"].to_numpy(dtype=float)
        kept = known.iloc[np.sort(np.argsort(-excess, kind="stable")[:most])]
        return cls(
            _labels(kept, per_unit=per_unit),
            kept[effect].to_numpy(dtype=float),
            kept[f"{prefix}baseline_mean"].to_numpy(dtype=float),
            kept[f"{prefix}baseline_high"].to_numpy(dtype=float),
            standings(kept, alpha),
            len(known) - len(kept),
        )


def standings(table: pd.DataFrame, alpha: float = ALPHA) -> NDArray[np.int64]:
    """Return where each row of a table of drift stands: WITHIN, BEYOND or DRIFTED.

    Beyond chance is what has a q-value below `alpha`. What has drifted has moved far enough, too.
    """
    q = table["wasserstein_qvalue" if "wasserstein" in table else "qvalue"]
    beyond = q.to_numpy(dtype=float, na_value=np.nan) < alpha
    return np.where(
        table["drifted"].to_numpy(dtype=bool), DRIFTED, np.where(beyond, BEYOND, WITHIN)
    )


def _labels(table: pd.DataFrame, *, per_unit: bool) -> tuple[str, ...]:
    """Return a label for each row: of the layer and what else differs between rows."""
    if per_unit and len(set(table["layer"])) == 1:
        return tuple(unit_label(row)[0] for _, row in table.iterrows())
    parts = [[clean(str(name), 28) for name in table["layer"]]]
    if len(set(table["site"])) > 1:
        parts.append([site_word(str(site)) for site in table["site"]])
    if per_unit:
        parts.append([unit_label(row)[0] for _, row in table.iterrows()])
    elif table[["step_before", "step_after"]].drop_duplicates().shape[0] > 1:
        pairs = zip(table["step_before"], table["step_after"], strict=True)
        parts.append([f"{count(a)} to {count(b)}" for a, b in pairs])
    return tuple(", ".join(words) for words in zip(*parts, strict=True))
