"""Columns whose multipliers need double-double: evaluated by `Density` on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distfit_nn.maxent.density import Density

if TYPE_CHECKING:
    from distfit_nn.maxent.tensors.density import TensorDensity

Array = NDArray[np.float64]


class HardColumns:
    """The columns `whole.hard`, with values from `Density`: points and masses are (columns, m).

    Their multipliers are constants, and tails and quantiles have a gradient in z and in the mass.
    """

    def __init__(self, whole: TensorDensity) -> None:
        rows = whole.hard
        self.loc, self.scale = whole.loc[rows, None], whole.scale[rows, None]
        loc, scale = (part[:, 0].cpu().numpy() for part in (self.loc, self.scale))
        self.density = Density(whole.solution[rows].numpy(), loc, scale)

    def _call(self, function: Callable[[Array], Any], points: Tensor) -> Tensor:
        """Return a function of (m, columns) at the points."""
        values = np.array(function(points.detach().cpu().numpy().T))
        return torch.as_tensor(values.T, device=points.device)

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density in z, without a gradient."""
        return self._call(self.density.logpdf, self.loc + self.scale * z) + self.scale.log()

    def tail(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mass of a tail that ends at z, and whether it is that above z."""
        x = self.loc + self.scale * z
        below, over = self._call(self.density.cdf, x), self._call(self.density.sf, x)
        above = below > 0.5
        rate = self.log_density(z).exp() * torch.where(above, -1.0, 1.0)
        return torch.where(above, over, below) + (z - z.detach()) * rate, above

    def quantile(self, mass: Tensor, above: Tensor) -> Tensor:
        """Return z with the mass above it where `above` is set, below it elsewhere."""
        lower, upper = self._call(self.density.ppf, mass), self._call(self.density.isf, mass)
        z = (torch.where(above, upper, lower) - self.loc) / self.scale
        density = self.log_density(z).exp()
        rate = torch.where(density > 0, torch.where(above, -1.0, 1.0) / density, 0.0)
        return z + (mass - mass.detach()) * rate

    def number(self, name: str, *arguments: int) -> Tensor:
        """Return a number of each column, (columns,)."""
        values = getattr(self.density, name)(*arguments)
        return torch.as_tensor(np.array(values), device=self.loc.device)
