"""What the estimators share: how they check their data, and what they tell scikit-learn of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import FLOAT_DTYPES, validate_data

from distfit_nn._checks import unmasked

Floats = NDArray[np.floating[Any]]


class FeatureTransformer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of each feature by itself: of floats, which stay what they are, and NaN."""

    n_features_in_: int

    def _checked(self, values: ArrayLike, *, reset: bool) -> Floats:
        checked: Floats = validate_data(
            self,
            unmasked(values, "X"),
            reset=reset,
            dtype=FLOAT_DTYPES,
            ensure_all_finite="allow-nan",
        )
        return checked

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
