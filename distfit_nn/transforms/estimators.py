"""The maps as scikit-learn estimators: learn them on training data, apply them to new data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from distfit_nn._checks import to_numpy
from distfit_nn.errors import InputError
from distfit_nn.maxent.density import Density
from distfit_nn.maxent.problem import Support
from distfit_nn.transforms.features import FeatureTransformer, Floats
from distfit_nn.transforms.quantile import QuantileMap


class MaxEntTransformer(FeatureTransformer):
    """Give each feature the target's distribution, by its maximum-entropy density.

    Each feature gets the density of largest entropy with its first `order` moments, F1 its
    distribution function, and is carried to F2^{-1}(F1(x)), F2 that of the target. Against
    scikit-learn's `QuantileTransformer` the map is smooth and strictly increasing, is made of
    `order` numbers a feature instead of a thousand quantiles, and goes on beyond the range of the
    training data; against `PowerTransformer` it can undo several modes.

    Parameters
    ----------
    order : int, default 6
        Number of moments, as for `maxent.fit`.
    support : float, (a, b) or "data", default 3.0
        Support of the densities, as for `maxent.fit`; a factor multiplies the training range.
    target : "normal", "uniform", Density or distribution, default "normal"
        As for `QuantileMap`.
    within, outside : str, default "data" and "extrapolate"
        What becomes of new data beyond the training data, as for `QuantileMap`: by default the map
        goes on with its mean slope; "clip" flattens it there; `within="support"` follows the
        density to the end of its support, where an outlier gets a score as large as the density
        makes it improbable.
    backend : str, default "auto"
        As for `maxent.fit`.

    Attributes
    ----------
    densities_ : Density
        The fitted densities, one a feature.
    status_ : (n_features,) int8
        How each fit ended, values of `maxent.Status`. A feature that is not OK (constant, too few
        distinct values for the order, fewer samples than that) is taken as normal with its mean
        and standard deviation: for the target "normal" it is standardised.
    map_ : QuantileMap
        The map, whose `log_derivative` gives the Jacobian's diagonal.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    NaN counts as missing: left out in `fit`, kept in `transform`. A feature without any value gives
    NaN. Infinite values, masked arrays and sparse matrices are refused. float32 stays
    float32; inside, all is float64.

    See Also
    --------
    distfit_nn.transforms.quantile_match : fit and map in one call, differentiable for torch.

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.transforms import MaxEntTransformer
    >>> X = np.random.default_rng(0).lognormal(size=(1000, 2))
    >>> scaler = MaxEntTransformer(order=4).fit(X)
    >>> scaler.status_
    array([0, 0], dtype=int8)
    >>> bool(np.allclose(scaler.inverse_transform(scaler.transform(X)), X))
    True
    """

    densities_: Density
    status_: NDArray[np.int8]
    map_: QuantileMap

    def __init__(
        self,
        order: int = 6,
        support: Support = 3.0,
        target: Any = "normal",
        *,
        within: str = "data",
        outside: str = "extrapolate",
        backend: str = "auto",
    ) -> None:
        self.order = order
        self.support = support
        self.target = target
        self.within = within
        self.outside = outside
        self.backend = backend

    def fit(
        self,
        X: ArrayLike,
        y: object = None,  # noqa: ARG002
        sample_weight: ArrayLike | None = None,
    ) -> MaxEntTransformer:
        """Fit a density to each feature of X (n_samples, n_features); y is ignored.

        `sample_weight` (n_samples,) counts a sample as so many; one of weight 0 is left out.
        """
        columns = self._checked(X, reset=True)
        weights = None
        if sample_weight is not None:
            weights = to_numpy(sample_weight, "sample_weight")
            if weights.shape != columns.shape[:1]:
                raise InputError(
                    f"sample_weight must have shape {columns.shape[:1]}, got {weights.shape}"
                )
        self.map_ = QuantileMap.fit(
            columns,
            self.order,
            self.support,
            self.target,
            weights=weights,
            within=self.within,
            outside=self.outside,
            backend=self.backend,
            nan_policy="omit",
        )
        self.densities_ = self.map_.source
        self.status_ = self.densities_.solution.status
        return self

    def transform(self, X: ArrayLike) -> Floats:
        """Return F2^{-1}(F1(X)), feature by feature, in the shape of X."""
        check_is_fitted(self)
        columns = self._checked(X, reset=False)
        return self._cast(self.map_.forward(columns), columns.dtype)

    def inverse_transform(self, X: ArrayLike) -> Floats:
        """Return F1^{-1}(F2(X)), the inverse of `transform`."""
        check_is_fitted(self)
        columns = self._checked(X, reset=False)
        return self._cast(self.map_.inverse(columns), columns.dtype)

    def _cast(self, values: Floats, dtype: np.dtype[Any]) -> Floats:
        """Return the values in a dtype; what is finite and beyond its range, as its largest."""
        if self.outside != "exact":
            largest = np.finfo(dtype).max
            values = np.clip(values, -largest, largest)
        return values.astype(dtype, copy=False)
