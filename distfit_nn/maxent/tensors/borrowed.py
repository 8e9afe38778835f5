"""What a density on tensors leaves to `Density`: modes, divergences, SciPy, files and figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distfit_nn.maxent.density import Density
from distfit_nn.maxent.tensors.columns import TensorColumns

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Borrowed(TensorColumns):
    """Methods of `Density` on a copy in NumPy's arrays: on the CPU, without a gradient."""

    def numpy(self) -> Density:
        """Return the density in NumPy arrays, without graph."""
        loc, scale = (part.detach().cpu().numpy() for part in (self.loc, self.scale))
        return Density(self.solution.numpy(), loc, scale, self.single)

    def modes(self) -> NDArray[np.void] | list[NDArray[np.void]]:
        """Return the modes of each column, as `Density.modes`: structured arrays of NumPy."""
        return self.numpy().modes()

    def mass_outside(self) -> Tensor:
        """Return the mass outside the range of the data, as `Density.mass_outside`."""
        return self._as_tensor(self.numpy().mass_outside())

    def kl_divergence(self, other: Any) -> Tensor:
        """Return KL(p || q) in nats, as `Density.kl_divergence`.

        Parameters
        ----------
        other : TensorDensity, Density or frozen SciPy distribution
            The density q, of as many columns, or of one for all.

        Returns
        -------
        Tensor
            (d,), or one number where both are of one column; without a gradient.

        Raises
        ------
        InputError
            `other` is none of these, or has another number of columns.
        """
        return self._as_tensor(self.numpy().kl_divergence(other))

    def to_scipy(self, j: int | None = None) -> Any:
        """Return column j as a frozen SciPy distribution; j may be left out for one column."""
        return self.numpy().to_scipy(j)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the densities to a file, which `maxent.Density.load` reads; return the path.

        Raises
        ------
        FileError
            The file cannot be written.
        """
        return self.numpy().save(path)

    def plot(self, ax: Axes | None = None, **line: Any) -> Axes:
        """Draw the pdf of each column into `ax`, the current axes by default; return the axes."""
        return self.numpy().plot(ax, **line)

    def _as_tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values), device=self.device).to(self.dtype)
