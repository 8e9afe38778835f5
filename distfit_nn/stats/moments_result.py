"""Moments of columns as they are handed out: counts, extremes, power sums, and what they say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats import moments_kernel as kernel

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_SMALLEST_POWER = 1e-290  # below it, sums of powers have lost digits to underflow


@dataclass(frozen=True, eq=False)
class Moments:
    """Counts, extremes and central power sums of the columns of an array.

    With x_1, ..., x_n the finite values of a column, w_i their weights (1 where none were given),
    W = sum w_i and m = sum w_i x_i / W their mean, ``power_sums[r - 2]`` is the sum of
    w_i (x_i - m)**r, for r = 2, ..., `order`. Every attribute has the shape of the kept axes
    (`power_sums` has one axis more in front); NaN and infinite values are counted and otherwise
    left out; values of weight 0, and those that a mask leaves out, are not counted anywhere.

    ===================  ============  ===================  =====================
    column               mean          std                  skewness, kurtosis
    ===================  ============  ===================  =====================
    no finite value      NaN           NaN                  NaN
    one value            the value     0                    NaN
    n equal values       the value     exactly 0            NaN
    two values           as computed   as computed          as computed
    powers overflow      as computed   as computed          NaN from that order
    powers underflow     as computed   as computed          NaN from that order
    ===================  ============  ===================  =====================

    In units of the data a power r of the standard deviation must lie between 1e-290 and 1.8e308
    for `standardised(r)`; a standard deviation below 1e-162 is 0.

    Attributes
    ----------
    n : int
        Number of finite values of a weight above 0.
    mean : float
    power_sums : float, shape (order - 1, ...)
    minimum, maximum : float
        Of the n values; NaN where there is none.
    zero_count, nan_count, inf_count : int
        Numbers of values, not weights; zeros are among the n.
    weight_sum : float
        W, the divisor of all moments; without weights it is n.
    weight_squares : float
        Sum of the squares of the weights.
    zero_weight : float
        Sum of the weights of the zeros.
    """

    n: Int
    mean: Float
    power_sums: Float
    minimum: Float
    maximum: Float
    zero_count: Int
    nan_count: Int
    inf_count: Int
    weight_sum: Float
    weight_squares: Float
    zero_weight: Float

    @property
    def order(self) -> int:
        """The highest power that was summed."""
        return len(self.power_sums) + 1

    @property
    def var(self) -> Float:
        """Variance of the sample, the mean of (x - mean)**2 (ddof = 0)."""
        return self.central(2)

    @property
    def std(self) -> Float:
        """Standard deviation of the sample (ddof = 0), in units of x."""
        return np.sqrt(self.var)

    @property
    def skewness(self) -> Float:
        """Skewness g1 of the sample: `standardised(3)`; no bias correction."""
        return self.standardised(3)

    @property
    def kurtosis(self) -> Float:
        """Excess kurtosis g2 of the sample: `standardised(4)` - 3; no bias correction."""
        return self.standardised(4) - 3.0

    @property
    def zero_fraction(self) -> Float:
        """Share, by weight, of the finite values that are exactly 0; NaN where there is none."""
        with np.errstate(invalid="ignore"):
            return np.true_divide(self.zero_weight, self.weight_sum)

    @property
    def effective_n(self) -> Float:
        """Kish's effective sample size (sum w)**2 / sum w**2 (L. Kish, Survey Sampling, 1965).

        It is n where all weights are equal, and less otherwise; 0 where there is no finite value;
        NaN where the squares of the weights leave the range of float64.
        """
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            size = self.weight_sum * (self.weight_sum / self.weight_squares)
        sound = (self.weight_squares > 0) & np.isfinite(self.weight_squares) & np.isfinite(size)
        return np.where(sound, size, np.where(np.equal(self.n, 0), 0.0, np.nan))[()]

    def central(self, r: int) -> Float:
        """Mean of (x - mean)**r, r = 0, ..., `order`; NaN where there is no finite value."""
        r = self._power(r)
        sums = self.power_sums[r - 2] if r >= 2 else self.weight_sum * float(r == 0)
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            return np.true_divide(sums, self.weight_sum)

    def raw(self, r: int) -> Float:
        """Mean of x**r, r = 0, ..., `order`, from the central moments by the binomial theorem."""
        r = self._power(r)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            terms = [math.comb(r, k) * self.central(r - k) * self.mean**k for k in range(r + 1)]
            return np.sum(terms, axis=0)

    def standardised(self, r: int) -> Float:
        """Mean of ((x - mean) / std)**r, r = 0, ..., `order`; NaN for a constant column."""
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            scale = self.std ** self._power(r)
            ratio = self.central(r) / scale
            sound = (self.std > 0) & (scale >= _SMALLEST_POWER) & np.isfinite(ratio)
        return np.where(sound, ratio, np.nan)[()]

    def merge(self, other: Moments) -> Moments:
        """Return the moments of the two sets of data together.

        The formulas of Chan, Golub and LeVeque (1983) and Pébay (2008); up to rounding the result
        is that of one call with all data.

        Raises
        ------
        InputError
            If the shapes of the columns differ, or the orders.
        """
        if np.shape(self.n) != np.shape(other.n):
            raise InputError(
                f"moments to merge must have one shape, got {np.shape(self.n)} "
                f"and {np.shape(other.n)}"
            )
        if self.order != other.order:
            raise InputError(
                f"moments to merge must have one order, got {self.order} and {other.order}"
            )
        state = _to_state(self)
        kernel.merge(state, _to_state(other))
        return from_state(state, np.shape(self.n))

    def __add__(self, other: Moments) -> Moments:
        return self.merge(other) if isinstance(other, Moments) else NotImplemented

    def _power(self, r: int) -> int:
        return int(_checks.one_of(r, tuple(range(self.order + 1)), "r"))


def from_state(state: Float, shape: tuple[int, ...]) -> Moments:
    """Return what a state of `moments_kernel` says, its columns in the given shape."""
    mean = np.empty(state.shape[1])
    power_sums = np.empty((len(state) - kernel.SUMS - 1, state.shape[1]))
    kernel.centralise(state, mean, power_sums)
    some = state[kernel.COUNT] > 0

    def shaped(values: Float) -> Float:
        return values.reshape(shape)[()]

    def count(line: int) -> Int:
        return state[line].astype(np.int64).reshape(shape)[()]

    return Moments(
        n=count(kernel.COUNT),
        mean=shaped(mean),
        power_sums=power_sums.reshape(len(power_sums), *shape),
        minimum=shaped(np.where(some, state[kernel.LOW], np.nan)),
        maximum=shaped(np.where(some, state[kernel.HIGH], np.nan)),
        zero_count=count(kernel.ZEROS),
        nan_count=count(kernel.NANS),
        inf_count=count(kernel.INFS),
        weight_sum=shaped(state[kernel.WEIGHT].copy()),
        weight_squares=shaped(state[kernel.SQUARES].copy()),
        zero_weight=shaped(state[kernel.ZERO_WEIGHT].copy()),
    )


def _to_state(m: Moments) -> Float:
    state = kernel.new_state(np.size(m.n), m.order)
    lines = {
        kernel.COUNT: m.n,
        kernel.NANS: m.nan_count,
        kernel.INFS: m.inf_count,
        kernel.ZEROS: m.zero_count,
        kernel.WEIGHT: m.weight_sum,
        kernel.SQUARES: m.weight_squares,
        kernel.ZERO_WEIGHT: m.zero_weight,
        kernel.LOW: np.where(m.n > 0, m.minimum, np.inf),
        kernel.HIGH: np.where(m.n > 0, m.maximum, -np.inf),
        kernel.CENTRE: np.where(m.n > 0, m.mean, 0.0),
    }
    for number, values in lines.items():
        state[number] = np.ravel(values)
    state[kernel.SUMS + 1 :] = m.power_sums.reshape(m.order - 1, state.shape[1])
    return state
