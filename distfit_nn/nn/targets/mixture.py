"""Gaussian mixtures with a quantile function that can be differentiated, also in their parameters.

    F(y) = sum_k w_k Phi((y - m_k) / s_k),   F(y) = Phi(z)

has its solution between the smallest and the largest of m_k + s_k z. Cubics between nodes around
the components are a start, and Newton steps find it, on the logarithm of the mass on that side of y
that z is on; bisection stands in where they would be longer than the bracket. Gradients follow from
the equation itself: dy = (phi(z) dz - d_theta F(y)) / p(y).

On the CPU a compiled kernel does it, see `mixture_quantile`; elsewhere, under `torch.compile`,
`torch.export`, `torch.jit.trace` and the transforms of `torch.func`, torch's own operators do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.nn import lookup, lookup_grid
from distfit_nn.nn.targets import mixture_quantile
from distfit_nn.nn.targets.constants import WithConstants, is_traced
from distfit_nn.nn.targets.mixture_quantile import Parts
from distfit_nn.nn.versions import Versions, unchanged, versions

SUM_OF_WEIGHTS = 1e-6
SHORT = 64  # runs of one feature that are shorter are gathered before the kernel takes them


class GaussianMixture(WithConstants):
    """The mixture sum_k w_k N(m_k, s_k^2), as a distribution and as a layer's target.

    Parameters
    ----------
    weights, means, scales : array_like (K,) or (num_features, K)
        Of the components: weights are positive and sum to 1, scales are positive.
    learnable : bool, default False
        Whether they are parameters of the module: `means` themselves, the logarithms of the scales
        and, up to a constant, those of the weights. Otherwise they are constants, which are not in
        its state_dict.
    num_features : int, optional
        Of how many features each has a mixture of its own, which start alike if (K,) are given. 1
        makes one mixture serve all. By default what the arguments tell; then one mixture serves all
        features, but a learnable one that is given to a layer becomes one for each of them.
    device, dtype
        Of parameters and constants.

    Raises
    ------
    InputError
        The arguments do not describe mixtures, or not so many.

    Notes
    -----
    Methods take a tensor, with gradients in it and the parameters (`ppf`, `isf` and `forward`
    once), or an array or number, which gives an array. Mixtures of their own are for the last
    dimension of what they are given. Both tails are exact.

    A layer takes a copy, `layer.target`. With ``affine=True`` its weight and bias can do what a
    common factor of means and scales and a common shift of the means do; with ``affine=False``
    every parameter has a part of its own.
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor

    def __init__(
        self,
        weights: Any,
        means: Any,
        scales: Any,
        learnable: bool = False,
        num_features: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        learnable = _checks.flag(learnable, "learnable")
        w, m, s = _checked(weights, means, scales)
        if num_features is not None:
            count = _checks.positive_int(num_features, "num_features")
            if w.ndim == 2 and len(w) != count:
                raise InputError(
                    f"num_features must be the number of mixtures, {len(w)}, got {num_features}"
                )
            w, m, s = (np.broadcast_to(part, (count, part.shape[-1])) for part in (w, m, s))
        numbers = {"logits": np.log(w), "means": np.array(m), "log_scales": np.log(s)}
        super().__init__({} if learnable else numbers, device, dtype)
        self.learnable = learnable
        for name, value in numbers.items() if learnable else ():
            tensor = torch.tensor(value, device=device, dtype=dtype or torch.get_default_dtype())
            self.register_parameter(name, nn.Parameter(tensor))
        self._held: tuple[Versions, Tensor] | None = (
            None  # what a table was made from, and the table
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the table: copies count changes of parameters from 0."""
        return {**self.__dict__, "_held": None}

    @property
    def num_features(self) -> int | None:
        """Of how many features each has a mixture of its own; None if that is open."""
        return None if self.means.ndim == 1 else len(self.means)

    @property
    def weights(self) -> Tensor:
        """Weights of the components, (K,) or (num_features, K)."""
        return self.logits.softmax(dim=-1)

    @property
    def scales(self) -> Tensor:
        """Standard deviations of the components, (K,) or (num_features, K)."""
        return self.log_scales.exp()

    def _given(self) -> tuple[Tensor, ...]:
        """Return logits, means and logarithms of scales, (features or 1, K)."""
        given = (self.logits, self.means, self.log_scales)
        return tuple(part.reshape(-1, part.shape[-1]) for part in given)

    def _parts(self, dtype: torch.dtype) -> Parts:
        """Return weight, mean and scale of each component, (features or 1, 1)."""
        rows = [part.to(dtype) for part in self._given()]
        w, m, s = rows[0].softmax(dim=-1), rows[1], rows[2].exp()
        return [(w[:, k, None], m[:, k, None], s[:, k, None]) for k in range(w.shape[-1])]

    # The distribution

    def pdf(self, t: Any) -> Any:
        """Return the density at t (..., num_features), or of any shape if one serves all."""
        return self._called(mixture_quantile.density, t)

    def logpdf(self, t: Any) -> Any:
        """Return the logarithm of the density, exact far out, too."""
        return self._called(mixture_quantile.log_density, t)

    def cdf(self, t: Any) -> Any:
        """Return the mass below t."""
        return self._called(
            lambda t, parts: mixture_quantile.mass(t, parts, torch.full_like(t, -1)), t
        )

    def sf(self, t: Any) -> Any:
        """Return the mass above t."""
        return self._called(lambda t, parts: mixture_quantile.mass(t, parts, torch.ones_like(t)), t)

    def ppf(self, q: Any) -> Any:
        """Return the point with the mass q below it: NaN unless 0 <= q <= 1."""
        return self._called(lambda q, _: self._quantile(torch.special.ndtri(q)), q)

    def isf(self, q: Any) -> Any:
        """Return the point with the mass q above it: NaN unless 0 <= q <= 1."""
        return self._called(lambda q, _: self._quantile(-torch.special.ndtri(q)), q)

    def _called(self, function: Any, t: Any) -> Any:
        if not isinstance(t, Tensor):
            values = torch.from_numpy(_checks.to_numpy(t, "t").astype(np.float64))
            with torch.no_grad():
                return self._called(function, values.to(self.means.device)).cpu().numpy()
        self.follow(t)
        dtype = torch.promote_types(t.dtype, torch.promote_types(self.means.dtype, torch.float32))
        columns = 1 if self.num_features is None else self.num_features
        if columns > 1:
            t = t.expand(np.broadcast_shapes(t.shape, (columns,)))
        rows = t.to(dtype).reshape(-1, columns).T
        result = function(rows, self._parts(dtype)).T.reshape(t.shape)
        return result.to(t.dtype if t.is_floating_point() else dtype)

    # The target

    def forward(self, z: Tensor) -> Tensor:
        """Return F^-1(Phi(z)) of blocks z (N, C, L); NaN stays NaN."""
        self.follow(z)
        working = z.to(torch.promote_types(z.dtype, torch.float32))
        features = len(self._given()[0])
        run = z.shape[2] if features > 1 else z.shape[1] * z.shape[2]
        if run >= SHORT:
            y = self._quantile(working.reshape(-1, run)).reshape(z.shape)
        else:
            rows = working.transpose(0, 1)
            y = self._quantile(rows.reshape(features, -1)).reshape(rows.shape).transpose(0, 1)
        return y.to(z.dtype)

    def _quantile(self, z: Tensor) -> Tensor:
        """Return F^-1(Phi(z)) of rows (R, n), those of the features in turn."""
        if mixture_quantile.compiled(z, self.means):
            return mixture_quantile.solved(z, self._given())
        parts, features = self._parts(z.dtype), len(self._given()[0])
        turns = z.reshape(-1, features, z.shape[1]).transpose(0, 1)
        y = mixture_quantile.quantile(turns.reshape(features, -1), parts).reshape(turns.shape)
        return y.transpose(0, 1).reshape(z.shape)

    def held(self, packed: Tensor) -> Tensor | None:
        """Return a layer's table for the test phase with the target of its values, if that may be.

        Parameters
        ----------
        packed : Tensor
            Of `lookup.pack`, with scores as values.

        Returns
        -------
        Tensor or None
            The like of it, kept until `packed` is another or parameters have changed. None where a
            gradient of the parameters may be asked for, or torch traces: they must be seen then.
        """
        given = list(self.parameters())
        learning = torch.is_grad_enabled() and any(part.requires_grad for part in given)
        if learning or is_traced() or any(p.is_inference() for p in given):
            return None
        made_from = versions(packed, *given)
        if self._held is None or not unchanged(made_from, self._held[0]):
            with torch.inference_mode(False):  # for a table that autograd may keep
                self._held = made_from, self._carried(packed)
        return self._held[1]

    def _carried(self, packed: Tensor) -> Tensor:
        """Return a table with the target of its values."""
        table = packed.to(torch.float64, copy=True)
        columns = len(table) // (lookup_grid.HEAD + lookup_grid.TABLE)
        centre, inverse, shift = table[: lookup_grid.HEAD * columns].reshape(-1, columns)
        loc, scale = centre - shift / inverse, 1 / inverse
        x = lookup.nodes(loc, scale)[..., None]
        with torch.enable_grad():
            x.requires_grad_()
            y = self(lookup.look_up(x, table, None, None))
            (slopes,) = torch.autograd.grad(y.sum(), x)
        return lookup.pack(
            loc, scale, y.detach()[..., 0].to(packed.dtype), slopes[..., 0].to(packed.dtype)
        )

    def extra_repr(self) -> str:
        """Return the number of components and of features, and whether they are learnable."""
        return (
            f"components={self.means.shape[-1]}, num_features={self.num_features}, "
            f"learnable={self.learnable}"
        )


def _checked(weights: Any, means: Any, scales: Any) -> tuple[np.ndarray, ...]:
    """Return the arguments as float64 arrays of one shape, the weights with the sum 1."""
    parts = {"weights": weights, "means": means, "scales": scales}
    w, m, s = (_checks.to_numpy(value, name).astype(np.float64) for name, value in parts.items())
    if not (w.shape == m.shape == s.shape) or w.ndim not in (1, 2) or 0 in w.shape:
        raise InputError(
            "weights, means and scales must have one shape, (K,) or (num_features, K), got "
            f"{w.shape}, {m.shape} and {s.shape}"
        )
    if not (np.isfinite(w) & (w > 0)).all() or not np.allclose(
        w.sum(axis=-1), 1, rtol=0, atol=SUM_OF_WEIGHTS
    ):
        raise InputError(f"weights must be positive and sum to 1, got {w.tolist()}")
    if not np.isfinite(m).all():
        raise InputError(f"means must be finite, got {m.tolist()}")
    if not (np.isfinite(s) & (s > 0)).all():
        raise InputError(f"scales must be positive and finite, got {s.tolist()}")
    return w / w.sum(axis=-1, keepdims=True), m, s
