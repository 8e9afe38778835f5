"""How much the units of a layer depend on each other, in figures that merge over shards."""

from __future__ import annotations

import os
import reprlib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn._archive import Format
from distfit_nn._files import plain
from distfit_nn.copula import units
from distfit_nn.copula.figures import Figures, correlation, figures, has_variance
from distfit_nn.copula.units import Array, Seed
from distfit_nn.errors import FileError, InputError
from distfit_nn.maxent.solution import Status

QUANTILES = (0.05, 0.5, 0.95)
COLUMNS = 64  # that one thread shuffles at a time
FILE = Format(
    name="dependence",
    what="a summary of dependence",
    version=1,
    dtypes={
        "n": np.int64,
        "shards": np.int64,
        "products": np.float64,
        "mean": np.float64,
        "permuted": np.float32,
        "invalid": np.bool_,
        "reference": np.float64,
    },
)

Bool = NDArray[np.bool_]
Float32 = NDArray[np.float32]


class Pairs(NamedTuple):
    """Pairs of units: two indices and the correlation of each, strongest first."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    correlation: Array


@dataclass(frozen=True, eq=False, repr=False)
class Dependence:
    """Dependence between d units, as `dependence` measures it; it merges over shards.

    All that is kept are sums: of rows, and of products of normal scores.

    Attributes
    ----------
    n : int
        Number of rows.
    shards : int
        How many calls of `dependence` are merged here.
    products : (d, d) float64
        Sums of products of centred scores.
    mean : (d,) float64
        Means of the scores. 0 where every shard ranks its own rows.
    permuted : (permutations, d, d) float32
        The products with each column shuffled by itself. Noise needs no more digits.
    invalid : (d,) bool
        Units that had NaN.
    reference : (m, d) float64
        The sorted sample that gives values their scores; without rows if each shard ranks its own.
    """

    n: int
    shards: int
    products: Array
    mean: Array
    permuted: Float32
    invalid: Bool
    reference: Array

    def __len__(self) -> int:
        return len(self.mean)

    def __repr__(self) -> str:
        return (
            f"Dependence(d={len(self)}, n={self.n}, shards={self.shards}, "
            f"permutations={self.permutations})"
        )

    @property
    def permutations(self) -> int:
        """How many times the columns were shuffled."""
        return len(self.permuted)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the correlations: rows less one for each mean that was removed,
        one for all shards with a reference and one a shard without. A unit that is constant in
        some of the latter counts as independent there, which leaves it less noise: `baseline` knows
        that and `adjusted_dimension` does not."""
        return self.n - (1 if len(self.reference) else self.shards)

    @cached_property
    def status(self) -> NDArray[np.int8]:
        """Values of `Status`, (d,): OK; DEGENERATE, constant (in each shard that ranks its own
        rows); INVALID, with NaN. Figures are those of the units that are OK."""
        status = np.full(len(self), Status.OK, np.int8)
        status[~has_variance(self.products, self.n)] = Status.DEGENERATE
        status[self.invalid] = Status.INVALID
        return status

    @cached_property
    def correlation(self) -> Array:
        """Correlations of the normal scores, (d, d): exactly symmetric, 1 on the diagonal. NaN in
        the row and column of a unit that is not OK."""
        out = np.full(self.products.shape, np.nan)
        out[self._pairs_ok] = self._correlations(self.products)
        return out

    @cached_property
    def figures(self) -> Figures:
        """What was measured: see `Figures`."""
        return figures(self.correlation[self._pairs_ok], self.freedom)

    @cached_property
    def baseline(self) -> Figures:
        """The same of independent units: of each permutation, an array (permutations,) a figure.
        Rows were shuffled within shards, so the degrees of freedom are ``n - shards``."""
        table = np.empty((self.permutations, len(Figures._fields)))
        for row, products in zip(table, self.permuted, strict=True):
            r = self._correlations(products.astype(np.float64))
            row[:] = figures(r, self.n - self.shards)
        return Figures(*table.T)

    def strongest(self, count: int = 10) -> Pairs:
        """Return the pairs of largest abs(r), at most so many.

        To tell them from noise, compare them with ``baseline.largest_absolute_correlation``, the
        largest of all pairs where there is no dependence.
        """
        most = _checks.positive_int(count, "count")
        ok = np.flatnonzero(self.status == Status.OK)
        first, second = np.triu_indices(len(ok), 1)
        r = self.correlation[self._pairs_ok][first, second]
        size = np.abs(r)
        if most < len(r):
            chosen = np.argpartition(-size, most - 1)[:most]
            first, second, r, size = (part[chosen] for part in (first, second, r, size))
        order = np.lexsort((second, first, -size))
        return Pairs(ok[first[order]], ok[second[order]], r[order])

    def to_dict(self, pairs: int = 10) -> dict[str, Any]:
        """Return the summary in what JSON can hold; None stands for NaN and infinite figures.

        Keys: units, units_used, n, shards; figures; baseline (permutations and n, and of each
        figure the mean and the quantiles 0.05, 0.5, 0.95 over permutations; None without any);
        pairs, the strongest.
        """
        strongest = self.strongest(pairs)
        return {
            "units": len(self),
            "units_used": int((self.status == Status.OK).sum()),
            "n": self.n,
            "shards": self.shards,
            "figures": {name: plain(float(v)) for name, v in self.figures._asdict().items()},
            "baseline": self._baseline_dict() if self.permutations else None,
            "pairs": [
                {"first": int(i), "second": int(j), "correlation": float(r)}
                for i, j, r in zip(*strongest, strict=True)
            ],
        }

    def merge(self, other: Dependence) -> Dependence:
        """Return the dependence in both sets of rows together.

        With a reference, which must be the same, sums are those of one call with all rows, by the
        formula of Chan, Golub and LeVeque: the result is the same but for rounding. Without one,
        each shard has ranked and standardised its own rows, and correlations are their averages
        weighted by n - 1: dependence within shards, to which a shift of units from one shard to
        the next does not add, and a shard in which a unit is constant adds its rows, and 0. It
        estimates what all rows together would, if shards are random parts of them. Either way the
        order of merging does not matter, and ``sum(shards)`` merges them all.

        Permutations are merged one by one, each a shuffle within shards: seed shards differently.

        Raises
        ------
        InputError
            Number of units, number of permutations or reference differ, or `other` is something
            else.
        """
        if not isinstance(other, Dependence):
            raise InputError(f"other must be a Dependence, got {reprlib.repr(other)}")
        if len(self) != len(other) or self.permutations != other.permutations:
            raise InputError(
                "what is merged must have the same units and permutations, got "
                f"{self!r} and {other!r}"
            )
        if not np.array_equal(self.reference, other.reference, equal_nan=True):
            raise InputError("what is merged must have the same reference")
        n = self.n + other.n
        step = other.mean - self.mean
        between = step * np.sqrt(self.n * other.n / n)
        return Dependence(
            n=n,
            shards=self.shards + other.shards,
            products=self.products + other.products + np.outer(between, between),
            mean=self.mean + step * (other.n / n),
            permuted=self.permuted + other.permuted,
            invalid=self.invalid | other.invalid,
            reference=self.reference,
        )

    def __add__(self, other: Dependence) -> Dependence:
        return self.merge(other) if isinstance(other, Dependence) else NotImplemented

    def __radd__(self, other: int) -> Dependence:
        """Return self for 0 + self, with which `sum` begins."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the sums to a file (npz), whole or not at all; `load` reads it. Return the path.

        Raises
        ------
        FileError
            The file cannot be written.
        """
        return FILE.save(path, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return what `save` wrote; nothing is unpickled.

        Raises
        ------
        FileError
            There is no such file, it is damaged, or it is something else.
        """
        read: dict[str, Any] = FILE.load(path)
        d = read["mean"].size
        expected = {"mean": (d,), "products": (d, d), "invalid": (d,), "n": (), "shards": ()}
        expected |= {"permuted": (*read["permuted"].shape[:1], d, d)}
        expected |= {"reference": (*read["reference"].shape[:1], d)}
        if any(read[name].shape != shape for name, shape in expected.items()):
            raise FileError(f"{path} is damaged: its arrays do not fit each other")
        for name in ("n", "shards"):
            read[name] = int(read[name])
        return cls(**{field.name: read[field.name] for field in fields(cls)})

    @cached_property
    def _pairs_ok(self) -> tuple[Any, ...]:
        """What takes the units that are OK out of a (d, d) array."""
        ok = self.status == Status.OK
        return (slice(None), slice(None)) if ok.all() else np.ix_(ok, ok)

    def _correlations(self, products: Array) -> Array:
        """Return the correlations of the units that are OK from sums of products (d, d)."""
        own = not len(self.reference)  # each shard has standardised its own rows
        freedom = self.n - self.shards if own else None
        return correlation(products[self._pairs_ok], self.n, freedom)

    def _baseline_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"permutations": self.permutations, "n": self.n}
        for name, values in self.baseline._asdict().items():
            out[name] = {"mean": plain(float(values.mean()))}
            with np.errstate(invalid="ignore"):  # between infinite figures
                quantiles = np.quantile(values, QUANTILES)
            out[name] |= {
                str(q): plain(float(v)) for q, v in zip(QUANTILES, quantiles, strict=True)
            }
        return out


def dependence(
    x: ArrayLike,
    *,
    reference: ArrayLike | None = None,
    permutations: int = 10,
    random_state: Seed = None,
) -> Dependence:
    """Measure how units depend on each other, by the correlations of their normal scores.

    Each column is replaced by normal scores, so that its own shape does not matter: neither scale,
    nor tails, nor outliers. What is left is the dependence that a Gaussian copula describes.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, (n, d)
        The columns are units; (n,) is one. Infinite values rank as extremes; a column that has NaN
        is INVALID, a constant one DEGENERATE, and neither touches its neighbours.
    reference : array-like, (m, d), optional
        A sample that gives all shards the same scores: a value with `below` smaller ones in the
        sample, equal ones counted half, has the score Phi^{-1}((below + 1/2) / (m + 1)). Then
        merging is exact. By default the rows of x are ranked among themselves, each with the score
        Phi^{-1}(r / n) of its mid-rank counted from 1/2.
    permutations : int, default 10
        How many times to shuffle every column by itself, for the baseline of independence; 0 for
        none. Each takes 4 d^2 bytes and about as long as the measurement.
    random_state : numpy Generator, RandomState or int, optional
        Shuffles; fresh by default. Give each shard its own.

    Returns
    -------
    Dependence
        With `figures`, `baseline`, `strongest(count)`, `correlation`, `to_dict()`, `merge`.

    Raises
    ------
    InputError
        x or the reference is not an array of real numbers of shape (n, d) or (n,), or has no rows
        or columns, or an argument breaks its rule.

    Notes
    -----
    About 16 n d + (24 + 4 permutations) d^2 bytes are needed.

    Shuffling keeps the scores of each column, so that the square of a correlation has the mean
    1 / (n - 1), exactly, whatever ties there are.

    References
    ----------
    P. Gao et al., A theory of multineuronal dimensionality, dynamics and measurement, bioRxiv
    214262 (2017), for the participation ratio. S. Watanabe, Information theoretical analysis of
    multivariate correlation, IBM J. Res. Dev. 4 (1960), for the total correlation.

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.copula import dependence
    >>> rng = np.random.default_rng(0)
    >>> x = np.exp(rng.normal(size=(1000, 8)))
    >>> x[:, 5] *= x[:, 2]
    >>> found = dependence(x, permutations=20, random_state=1)
    >>> found.strongest(1)
    Pairs(first=array([2]), second=array([5]), correlation=array([0.71177526]))
    >>> bool(found.figures.effective_dimension < found.baseline.effective_dimension.min())
    True
    """
    given = units.checked(x)
    count = _checks.whole_number(permutations, "permutations")
    rng = units.generator(random_state)
    sample = _sorted_reference(reference, given.shape[1])
    n, d = given.shape
    invalid = units.status_of(given) == Status.INVALID
    if len(sample):
        invalid |= np.isnan(sample[-1])
        z = units.reference_scores(given, sample)
        z[:, invalid] = 0.0
        mean = z.mean(axis=0)
        z -= mean
    else:
        z = units.unit_columns(units.hard_scores(given))
        z *= np.sqrt((n - 1) / n)  # the sum of squares is n - 1: shards weigh by their freedom
        mean = np.zeros(d)
    permuted = np.empty((count, d, d), np.float32)
    products = z.T @ z
    shuffled = np.ascontiguousarray(z.T, np.float32)
    del z
    for out in permuted:
        _shuffle(shuffled, rng)
        np.matmul(shuffled, shuffled.T, out=out)
    return Dependence(n, 1, products, mean, permuted, invalid, sample)


def _sorted_reference(reference: ArrayLike | None, d: int) -> Array:
    """Return the sorted columns of a reference, with no rows if there is none."""
    if reference is None:
        return np.empty((0, d))
    sample = units.checked(reference, "reference").astype(np.float64)
    if sample.shape[1] != d:
        raise InputError(f"reference must have {d} columns as x has, got shape {sample.shape}")
    sample.sort(axis=0)
    return sample


def _shuffle(columns: Float32, rng: np.random.Generator) -> None:
    """Shuffle each row of an array by itself, in place; threads do not change the result.

    Seeds are drawn, not spawned: older kinds of bit generators can not spawn.
    """
    parts = [columns[start : start + COLUMNS] for start in range(0, len(columns), COLUMNS)]

    def task(part: tuple[Float32, np.random.Generator]) -> None:
        part[1].permuted(part[0], axis=1, out=part[0])

    seeds = rng.integers(1 << 32, size=(len(parts), 4), dtype=np.uint32)
    units.spread(task, zip(parts, map(np.random.default_rng, seeds), strict=True))
