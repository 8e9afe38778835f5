"""The Gaussian copula: how columns depend on each other, whatever each looks like by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn._archive import Format
from distfit_nn.copula import units
from distfit_nn.copula.correlation import SINGULAR, checked_correlation, shrunk_correlation
from distfit_nn.copula.units import Array, Seed
from distfit_nn.errors import FileError, InputError
from distfit_nn.maxent.solution import Status

FAR = 1e100  # scores beyond it are brought down to it, so that their squares are finite
FILE = Format(
    name="Gaussian copula",
    what="a Gaussian copula",
    version=1,
    dtypes={"correlation": np.float64, "shrinkage": np.float64, "n": np.int64, "status": np.int8},
)

Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, repr=False)
class GaussianCopula:
    """The Gaussian copula of d units: made by `fit`, `from_correlation` or `load`.

    With U uniform in each of its d coordinates and the normal scores Z = Phi^{-1}(U), it says that
    Z is normal with mean 0 and correlation R. Its density on (0, 1)^d is

        c(u) = |R|^{-1/2} exp(-z' (R^{-1} - I) z / 2),   z = Phi^{-1}(u).

    It does not change when units are mapped by increasing functions; a decreasing one turns the
    signs of its unit's correlations. Methods take points u of shape (..., d), or normal scores
    with ``scores=True``, which keep their digits near u = 1; they answer in NumPy arrays.

    Attributes
    ----------
    correlation : (d, d) float64
        R: unit diagonal, positive definite. 0 beside the diagonal for DEGENERATE units; NaN for
        INVALID ones, diagonal included. It cannot be written to, nor can `status`.
    shrinkage : float
        Share of the identity in R, from 0 to 1.
    n : int
        Number of rows that R was estimated from; 0 if it was given.
    status : (d,) int8
        Values of `distfit_nn.maxent.Status`: OK; DEGENERATE, a unit that was constant, taken as
        independent of all others; INVALID, one that had NaN. Of the latter nothing is known: u is
        not read there, densities are those of the other units, and draws and means are NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.copula import GaussianCopula, inverse_scores
    >>> rng = np.random.default_rng(0)
    >>> common = rng.normal(size=(1000, 1))
    >>> x = np.exp(common + rng.normal(size=(1000, 3)))
    >>> copula = GaussianCopula.fit(x)
    >>> copula.correlation.round(1)
    array([[1. , 0.5, 0.5],
           [0.5, 1. , 0.5],
           [0.5, 0.5, 1. ]])
    >>> z = copula.rvs(500, random_state=0, scores=True)
    >>> simulated = inverse_scores(z, x, outside="clip")
    >>> bool(simulated.min() > 0)
    True
    """

    correlation: Array
    shrinkage: float
    n: int
    status: NDArray[np.int8]

    @classmethod
    def fit(cls, x: ArrayLike, *, shrinkage: float | None = None) -> Self:
        """Estimate the copula of the columns of x.

        The hard normal scores z_i = Phi^{-1}(r_i / n), r_i the mid-rank of x_i counted from 1/2,
        are standardised, so that their covariance S is a correlation matrix; and

            R = (1 - s) S + s I,

        with the share s that Ledoit and Wolf's estimate of the expected squared error makes least.
        So R is positive definite with more units than rows, too.

        Parameters
        ----------
        x : array-like or torch tensor of real numbers, (n, d)
            Any real dtype; (n,) is one column. Infinite values rank as extremes; a column that has
            NaN is INVALID, a constant one DEGENERATE, and neither touches its neighbours. About
            24 n d + 16 d^2 bytes are needed.
        shrinkage : float in [0, 1], optional
            The share s; by default Ledoit and Wolf's, or 1e-6 where that is less; and 1 with two
            rows or fewer, which tell nothing of dependence. With few rows and units it draws
            correlations towards 0 by much; 0 turns it off, where there are more rows than units.

        Raises
        ------
        InputError
            x is not an array of real numbers of shape (n, d) or (n,), or has no rows or columns, or
            `shrinkage` is outside [0, 1] or leaves a singular matrix.

        References
        ----------
        O. Ledoit and M. Wolf, A well-conditioned estimator for large-dimensional covariance
        matrices, J. Multivariate Analysis 88 (2004). Computed by scikit-learn.
        """
        return cls(*shrunk_correlation(x, shrinkage))._definite()

    @classmethod
    def from_correlation(cls, correlation: ArrayLike) -> Self:
        """Return the copula with a given correlation matrix (d, d).

        Raises
        ------
        InputError
            It is not symmetric with unit diagonal (to 1e-8), or not positive definite
            (the others leave less than 1e-10 of a unit's variance).
        """
        r = checked_correlation(correlation)
        return cls(r, 0.0, 0, np.full(len(r), Status.OK, np.int8))._definite()

    def __post_init__(self) -> None:
        for part in (self.correlation, self.status):  # what is computed from them is kept
            part.setflags(write=False)

    def __len__(self) -> int:
        return len(self.status)

    def __repr__(self) -> str:
        return f"GaussianCopula(d={len(self)}, n={self.n}, shrinkage={self.shrinkage:.3g})"

    # Between the unit cube and normal scores

    def to_scores(self, u: ArrayLike) -> Array:
        """Return Phi^{-1}(u), in the shape of u; infinite at 0 and 1, NaN where u is NaN.

        Raises
        ------
        InputError
            The last axis of u is not d long, or a number lies outside [0, 1].
        """
        from scipy.special import ndtri

        given = self._points(u, "u")
        outside = (given < 0) | (given > 1)
        if outside.any():
            raise InputError(f"u must lie in [0, 1], got {given[outside][0]}")
        return np.asarray(ndtri(given))

    def from_scores(self, z: ArrayLike) -> Array:
        """Return u = Phi(z), in the shape of z."""
        from scipy.special import ndtr

        return np.asarray(ndtr(self._points(z, "z")))

    # Density, draws, prediction

    def logpdf(self, u: ArrayLike, *, scores: bool = False) -> Array:
        """Return log c(u), the density on the unit cube: of shape (...) for u (..., d).

        -inf outside the open cube, NaN where a coordinate is NaN. With ``scores=True`` the points
        are given as z = Phi^{-1}(u) (the density stays that of u), which may be any finite numbers;
        where their squares are not, it is -inf or inf.
        """
        from scipy.special import ndtri

        given = self._points(u, "u").reshape(-1, len(self))
        out = np.empty(len(given))
        for rows in _blocks(given):
            block = np.where(self._usable, given[rows], 0.0 if scores else 0.5)
            with np.errstate(invalid="ignore"):
                z = block if scores else ndtri(block)
            out[rows] = self._log_density(np.asarray(z))
            inside = np.isfinite(block) if scores else (block > 0) & (block < 1)
            out[rows][~inside.all(axis=1)] = -np.inf
            out[rows][np.isnan(block).any(axis=1)] = np.nan
        return np.asarray(out.reshape(np.shape(u)[:-1]))[()]

    def pdf(self, u: ArrayLike, *, scores: bool = False) -> Array:
        """Return c(u): the exponential of `logpdf`; inf where that exceeds 709."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.logpdf(u, scores=scores))

    def rvs(
        self,
        size: int | tuple[int, ...] = 1,
        random_state: Seed = None,
        *,
        scores: bool = False,
    ) -> Array:
        """Draw points u in (0, 1)^d, or their normal scores.

        To simulate data, carry scores to the distribution of each column of x, from which the
        copula may come: ``inverse_scores(copula.rvs(500, scores=True), x)``. Their smallest and
        largest scores go on beyond the range of x, and may leave what x can be, such as the
        positive numbers: ``outside="clip"`` stays within the range of x.

        Parameters
        ----------
        size : int or tuple of int
            How many: the result has shape (size, d).
        random_state : numpy Generator, RandomState or int, optional
            Where the random numbers come from, or a seed; fresh ones by default.
        scores : bool, default False
            Return z = Phi^{-1}(u), normal with mean 0 and correlation R.
        """
        sizes = size if isinstance(size, tuple) else (size,)
        shape = tuple(_checks.whole_number(n, "size") for n in sizes)
        rng = units.generator(random_state)
        z = rng.standard_normal((*shape, len(self))) @ self._factor.T
        z[..., ~self._usable] = np.nan
        if scores:
            return np.asarray(z)
        u = self.from_scores(z)
        return np.clip(u, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg, out=u)

    def conditional_mean(
        self, u: ArrayLike, known: ArrayLike | None = None, *, scores: bool = False
    ) -> Array:
        """Return the normal scores of all units: of unknown ones, their mean given the others.

        Given the scores z_K of the known units, those of the others are normal with mean
        R_UK R_KK^{-1} z_K, which this returns in their places; known scores stay as they are.
        `from_scores` of the mean is the conditional median of u (not its mean).

        Parameters
        ----------
        u : array-like, (..., d)
            Points of the unit cube, NaN where they are unknown; normal scores if `scores`.
        known : array-like of bool, (d,) or the shape of u, optional
            Units to be taken as known, if they are not NaN; by default all.
        scores : bool, default False

        Returns
        -------
        float64 array of the shape of u
            NaN for INVALID units, and for unknown ones beside a known score that is infinite.

        Notes
        -----
        Rows that lack the same units are solved together; each such pattern takes the cube of the
        number of its known or of its unknown units, whichever is less; and the first pattern that
        lacks no more units than it has, once, the cube of d.
        """
        z = np.array(self._points(u, "u") if scores else self.to_scores(u))
        unknown = np.isnan(z)
        if known is not None:
            unknown |= ~self._mask(known, z.shape)
        z, unknown = z.reshape(-1, len(self)), unknown.reshape(-1, len(self))
        patterns, place = np.unique(unknown, axis=0, return_inverse=True)
        place = place.reshape(-1)
        for number, pattern in enumerate(patterns):
            rows = np.flatnonzero(place == number)
            target, source = pattern & self._usable, ~pattern & self._usable
            z[np.ix_(rows, target)] = self._predicted(z[np.ix_(rows, source)], target, source)
        z[:, ~self._usable] = np.nan
        return z.reshape(np.shape(u))

    # Files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the copula to a file (npz), whole or not at all; `load` reads it. Return the path.

        Raises
        ------
        FileError
            The file cannot be written.
        """
        return FILE.save(path, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the copula that `save` wrote; nothing is unpickled.

        Raises
        ------
        FileError
            There is no such file, it is damaged, or it is something else.
        """
        read = FILE.load(path)
        r, status = read["correlation"], read["status"]
        d = status.size
        shapes = {"status": (d,), "correlation": (d, d), "n": (), "shrinkage": ()}
        fitting = d > 0 and all(read[name].shape == shape for name, shape in shapes.items())
        if not fitting or not np.isin(status, list(Status)).all():
            raise FileError(f"{path} is damaged: its arrays do not fit each other")
        try:
            return cls(r, float(read["shrinkage"]), int(read["n"]), status)._definite()
        except InputError as error:
            raise FileError(f"{path} is damaged: {error}") from None

    # How the above is computed

    @cached_property
    def _usable(self) -> Bool:
        return np.asarray(self.status != Status.INVALID)

    def _definite(self) -> Self:
        """Return this copula, or raise InputError if R is not positive definite."""
        if not np.diag(self._factor).min() ** 2 > SINGULAR:
            raise InputError("correlation is not positive definite: shrink it")
        return self

    def _filled(self) -> Array:
        """Return R with INVALID units made independent of all, in the order of LAPACK."""
        r = self.correlation.copy(order="F")
        r[~self._usable] = r[:, ~self._usable] = 0.0
        np.fill_diagonal(r, 1.0)
        return r

    @cached_property
    def _factor(self) -> Array:
        """The lower Cholesky factor of R; zeros if R has none."""
        from scipy.linalg import LinAlgError, cholesky

        try:
            return np.asarray(cholesky(self._filled(), lower=True, overwrite_a=True))
        except (LinAlgError, ValueError):  # not positive definite, or not finite
            return np.zeros_like(self.correlation)

    @cached_property
    def _precision(self) -> Array:
        """The inverse of R."""
        from scipy.linalg import cho_solve

        return np.asarray(cho_solve((self._factor, True), np.eye(len(self)), overwrite_b=True))

    def _log_density(self, z: Array) -> Array:
        """Return log c at scores z (m, d); rows that are not finite are for the caller to mend."""
        from scipy.linalg import solve_triangular

        z, unit = _near(np.where(np.isfinite(z), z, 0.0))
        white = solve_triangular(self._factor, z.T, lower=True)
        quadratic = np.einsum("ij,ij->j", white, white) - np.einsum("ij,ij->i", z, z)
        with np.errstate(over="ignore"):
            exponent = -0.5 * quadratic * unit * unit
        return np.asarray(exponent - np.log(np.diag(self._factor)).sum())

    def _predicted(self, z: Array, target: Bool, source: Bool) -> Array:
        """Return E[z_target | z_source] for rows of z (m, sources)."""
        from scipy.linalg import solve

        if not target.any() or not source.any():
            return np.zeros((len(z), int(target.sum())))
        infinite = np.logical_not(np.isfinite(z).all(axis=1))
        z, unit = _near(np.where(infinite[:, None], 0.0, z))
        if target.sum() <= source.sum():
            p = self._precision
            pull = p[np.ix_(target, source)] @ z.T
            out = -solve(p[np.ix_(target, target)], pull, assume_a="pos").T
        else:
            r = self.correlation
            white = solve(r[np.ix_(source, source)], z.T, assume_a="pos")
            out = (r[np.ix_(target, source)] @ white).T
        with np.errstate(over="ignore"):
            out *= unit[:, None]
        out[infinite] = np.nan
        return np.asarray(out)

    def _points(self, values: ArrayLike, name: str) -> Array:
        given = _checks.to_numpy(values, name).astype(np.float64)
        if given.ndim == 0 or given.shape[-1] != len(self):
            raise InputError(f"{name} must have shape (..., {len(self)}), got {given.shape}")
        return given

    def _mask(self, known: Any, shape: tuple[int, ...]) -> Bool:
        mask = _checks.to_numpy(known, "known")
        if mask.dtype != bool or mask.shape not in ((len(self),), shape):
            raise InputError(
                f"known must be truth values of shape ({len(self)},) or {shape}, "
                f"got {mask.dtype} of shape {mask.shape}"
            )
        return np.broadcast_to(mask, shape)


def _near(z: Array) -> tuple[Array, Array]:
    """Return rows of scores in units, 1 for most, in which none is beyond `FAR`; and the units."""
    unit = np.maximum(np.abs(z).max(axis=1) / FAR, 1.0)
    return z / unit[:, None], unit


def _blocks(rows: Array) -> Iterator[slice]:
    """Cut rows into slices of a bounded size."""
    step = max(1, units.BLOCK // rows.shape[1])
    return (slice(start, start + step) for start in range(0, len(rows), step))
