"""Maximum-entropy fits of every unit of a source, as a table and as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from distfit_nn import maxent
from distfit_nn._files import plain
from distfit_nn.capture.entries import Entry
from distfit_nn.maxent import Density
from distfit_nn.maxent.problem import Support, check_order

FORMAT, VERSION = "distfit_nn.fits", 1


@dataclass(frozen=True, eq=False)
class FitTable:
    """The fits of a source: one batch of densities for each (layer, site, step) in `places`."""

    order: int
    places: tuple[tuple[str, str, int], ...]
    densities: tuple[Density, ...]

    @property
    def units(self) -> pd.DataFrame:
        """One row per unit: where it is, how its fit ended, and the density's numbers."""
        return pd.DataFrame(self._rows())

    def to_dict(self) -> dict[str, Any]:
        """Return all fits as plain data; numbers that are not finite become None.

        With z = (x - loc) / scale, the density of a unit on its support is
        exp(sum_i coefficients[i-1] He_i(z) / sqrt(i!) - log_normaliser) / scale.
        """
        rows = [{name: _plain(value) for name, value in row.items()} for row in self._rows()]
        return {"format": FORMAT, "version": VERSION, "order": self.order, "units": rows}

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {"layer": layer, "site": site, "step": step, **row}
            for (layer, site, step), density in zip(self.places, self.densities, strict=True)
            for row in _rows(density)
        ]


def fit_table(
    entries: Iterable[Entry],
    order: int,
    support: Support,
    progress: Callable[[Entry, int], None] | None = None,
) -> FitTable:
    """Fit every unit of every entry; NaN and inf are left out."""
    order = check_order(order)
    places, densities = [], []
    for entry in entries:
        if progress is not None:
            progress(entry, 0)
        densities.append(maxent.fit(entry.values, order, support, nan_policy="omit"))
        places.append((entry.layer, entry.site, entry.step))
    return FitTable(order, tuple(places), tuple(densities))


def _rows(density: Density) -> list[dict[str, Any]]:
    lower, upper = (np.asarray(end) for end in density.support())
    entropy, outside = np.asarray(density.entropy()), np.asarray(density.mass_outside())
    solution, statuses = density.solution, density.solution.status_names()
    return [
        {
            "unit": j,
            "status": statuses[j],
            "entropy": entropy[j],
            "residual": solution.residual[j],
            "iterations": solution.iterations[j],
            "epsilon": solution.epsilon[j],
            "mass_outside": outside[j],
            "loc": density.loc[j],
            "scale": density.scale[j],
            "support": [lower[j], upper[j]],
            "log_normaliser": solution.log_normaliser[j],
            "coefficients": solution.coefficients[:, j].tolist(),
        }
        for j in range(len(density))
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return plain(value)
