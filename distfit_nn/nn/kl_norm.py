"""Layers that learn their mean and deviation, by a Kullback-Leibler divergence or by likelihood."""

from __future__ import annotations

import sys
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.nn.base import ColumnNorm, Statistics, moved
from distfit_nn.nn.docstrings import completed_by
from distfit_nn.nn.learned_norm import LearnedNorm


@completed_by(ColumnNorm, summary=False)
class KLNorm1d(LearnedNorm):
    """(x - mu) / sigma, with mu and sigma learnt through the loss and a divergence from N(0, 1).

    With m and s the mean and standard deviation over a batch of z = (x - mu) / sigma, a feature has
    the divergence

        KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1) / 2 - log s,

    s^2 + eps in place of s^2 in the logarithm. In training, `kl_weight` times its sum over features
    is part of what is minimised: the backward pass adds its gradient to that of the loss, by mu,
    sigma and x, so that the weights before the layer learn it as well. The loss itself needs no
    change, and does not show it. y = weight * z + bias; the divergence is that of z.

    Parameters
    ----------
    num_features : int
        Number of features or channels, C.
    eps : float, default 1e-5
        Added to the variance of the first batch, and to s^2 in the logarithm.
    momentum : float or None, default 0.1
        Of the closed form, as in `torch.nn.BatchNorm1d`. The learned one has no use for it.
    affine, device, dtype
        As in `torch.nn.BatchNorm1d`.
    track_running_stats : bool, default True
        Of the closed form, as in `torch.nn.BatchNorm1d`. The learned one keeps what it has learnt,
        whatever this says.
    feature_dim : {1, -1}, default 1
        The dimension of the features: 1, as BatchNorm has it, or the last, as in (B, T, C).
    sync : bool, default False
        In training, take m and s of the batches of all ranks of torch.distributed together,
        gradients included. Each rank gathers these batches and does the work of all.
    form : {"learned", "closed"}, default "learned"
        "closed" takes the mu and sigma that minimise the divergence of each batch: its mean and
        deviation. This is batch norm, exactly, with its running statistics in eval mode.
    kl_weight : float, default 0.01
        What the divergence counts, of "learned". With 0 it counts nothing; add ``penalty(x)`` to
        the loss to weigh it there.

    Shape
    -----
    (N, C) or (N, C, L), and the same back; with `feature_dim=-1` any (..., C).

    Attributes
    ----------
    weight, bias : (C,), or None without `affine`
        Parameters of the line, which start at 1 and 0.
    shift, log_scale : (C,)
        Parameters of "learned": mu = center + scale * shift, sigma = scale * exp(log_scale). The
        logarithm is cut to +-30.
    center, scale : (C,)
        Buffers of "learned": mean and deviation of the first batch in training; a scale of 0 means
        that there was none.
    mu, sigma : (C,)
        What these say of "learned", without graph.
    last_penalty : (C,), or None
        The divergences of the last batch in training, of "learned".
    running_mean, running_var : (C,), or None without `track_running_stats`
        Buffers of "closed", those of BatchNorm.
    num_batches_tracked : ()
        Number of batches that were counted.

    Notes
    -----
    mu and sigma start at the mean and deviation of the first batch in training (of at least two
    rows; a feature that is not finite there, at that of the next one), which
    DistributedDataParallel gives to all ranks. A feature that is constant in the first batch has
    sigma = 1. In eval mode mu and sigma serve as they are.

    Both learn by the optimiser: with plain SGD on MNIST, rates above 0.1 made them diverge. A
    divergence of a feature beyond 50 grows like a logarithm, 50 (1 + log(KL / 50)), so that an
    outlier cannot throw sigma away.

    Each backward pass through the layer adds the divergence of its batch once, whatever the loss is
    multiplied by. So gradient accumulation, as four times ``(loss / 4).backward()``, counts it four
    times: set kl_weight / 4. A GradScaler scales the gradient of the loss but not that of the
    divergence. Or use kl_weight = 0 and add ``penalty(x)`` to the loss in either case.

    One row gives the bias with zero gradient by x (up to rounding in the closed form); after the
    first batch the learned form takes it by its map, without a divergence. `recalibrate` finds
    nothing to do in the learned form; of the closed form it replaces
    `torch.optim.swa_utils.update_bn`, which passes this layer by.

    Of the learned form, float32 on the CPU goes through a compiled kernel, whose gradients can be
    taken once, not twice. The first calls compile it, for some seconds, once per machine.

    References
    ----------
    S. Bai, The Effect of Pre-ReLU Input Distribution on Deep Neural Network Performance, senior
    thesis, Carnegie Mellon University, 2017.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.nn import KLNorm1d
    >>> layer = KLNorm1d(3)
    >>> y = layer(2 + 5 * torch.randn(64, 3))  # the first batch sets mu and sigma
    >>> bool(y.mean(0).abs().max() < 1e-5), layer.sigma.shape
    (True, torch.Size([3]))
    """

    ENTROPY: ClassVar[bool] = True

    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        feature_dim: int = 1,
        sync: bool = False,
        form: str = "learned",
        kl_weight: float = 0.01,
    ) -> None:
        _checks.one_of(form, ("learned", "closed"), "form")
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            _checks.flag(track_running_stats, "track_running_stats") or form == "learned",
            device,
            dtype,
            feature_dim=feature_dim,
            sync=sync,
        )
        self.asked_to_track = track_running_stats  # what BatchNorm gets on the way back
        self.form = form
        self.kl_weight = _weight(kl_weight, "kl_weight")
        if form == "learned":
            self._register_learned(device, dtype)
        else:
            self._register_running(device, dtype)

    def _register_running(
        self, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        """Make the buffers of the closed form."""
        tracked = self.track_running_stats
        ones = torch.ones(self.num_features, device=device, dtype=dtype) if tracked else None
        self.register_buffer("running_mean", None if ones is None else torch.zeros_like(ones))
        self.register_buffer("running_var", ones)

    @property
    def penalty_weight(self) -> float:
        """What the divergence counts."""
        return self.kl_weight

    # The closed form

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Statistics]:
        if self.form == "learned":
            return super()._of_batch(x)
        y, mean, inverse = torch.native_batch_norm(
            x, *self.line(x.dtype), None, None, True, 0.0, self.eps
        )
        return y, (mean.detach(), inverse.detach() ** -2 - self.eps)

    def _track(self, statistics: Statistics, rate: Tensor | float, rows: int) -> None:
        if self.form == "learned":
            super()._track(statistics, rate, rows)
        elif self.running_mean is not None and self.running_var is not None:
            mean, variance = statistics
            moved(self.running_mean, mean, rate)
            moved(self.running_var, variance * (rows / (rows - 1)), rate)

    def _of_running(self, x: Tensor) -> Tensor:
        if self.form == "learned" or self.running_mean is None or self.running_var is None:
            return super()._of_running(x)
        running = self.running_mean.to(x.dtype), self.running_var.to(x.dtype)
        return functional.batch_norm(x, *running, *self.line(x.dtype), eps=self.eps)

    def _start(self) -> None:
        if self.form == "learned":
            super()._start()
        elif self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)

    def _start_from(self, mean: Tensor, variance: Tensor) -> None:
        if self.form == "learned":
            super()._start_from(mean, variance)
        elif self.running_mean is not None and self.running_var is not None:
            self.running_mean.copy_(mean)
            self.running_var.copy_(variance)

    def penalty(self, x: Tensor) -> Tensor:
        """Return the sum over features of the divergence of a batch x, with its graph.

        For those who add it to their loss themselves, with a `kl_weight` of 0. It changes no
        statistics.
        """
        if self.form == "closed":
            raise InputError("penalty needs form='learned': the closed form has none left")
        return super().penalty(x)

    def extra_repr(self) -> str:
        """Return the arguments, as BatchNorm shows them."""
        own = f"kl_weight={self.kl_weight}" if self.form == "learned" else "form='closed'"
        return f"{super().extra_repr()}, {own}"


@completed_by(KLNorm1d)
class KLNorm2d(KLNorm1d):
    """(x - mu) / sigma for images, with mu and sigma learnt through the loss and a divergence.

    Shape
    -----
    (N, C, H, W), and the same back; with `feature_dim=-1` any (..., C). m and s are those over N, H
    and W.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.nn import KLNorm2d
    >>> layer = KLNorm2d(3, form="closed")
    >>> x = torch.randn(8, 3, 5, 5)
    >>> bool(torch.allclose(layer(x), torch.nn.BatchNorm2d(3)(x), atol=1e-5))
    True
    """

    DIMS: ClassVar[tuple[int, ...]] = (4,)


@completed_by(ColumnNorm, summary=False)
class MLENorm1d(LearnedNorm):
    """(x - mu) / sigma trained to make its results z likely under N(0, 1): it degenerates.

    The negative logarithm of the likelihood of z under N(0, 1) is (m^2 + s^2) / 2 for each value,
    but for a constant, with m and s the mean and deviation of z over a batch. Without the logarithm
    of sigma that a change of variables brings, z = 0 is its optimum: sigma grows without end, as
    the square root of the number of steps, and the results shrink to 0. The layer is here for the
    record; `KLNorm1d` has the term that holds sigma.

    Parameters
    ----------
    num_features : int
        Number of features or channels, C.
    eps : float, default 1e-5
        Added to the variance of the first batch.
    affine, device, dtype
        As in `torch.nn.BatchNorm1d`.
    momentum, track_running_stats
        Without effect: the layer keeps what it has learnt. They are here as BatchNorm has them.
    feature_dim : {1, -1}, default 1
        The dimension of the features: 1, as BatchNorm has it, or the last, as in (B, T, C).
    sync : bool, default False
        In training, take m and s of the batches of all ranks of torch.distributed together,
        gradients included. Each rank gathers these batches and does the work of all.
    mle_weight : float, default 0.01
        What the sum of the objective over features counts.

    Shape
    -----
    (N, C) or (N, C, L), and the same back; with `feature_dim=-1` any (..., C).

    Attributes
    ----------
    weight, bias : (C,), or None without `affine`
        Parameters of the line, which start at 1 and 0.
    shift, log_scale, center, scale, mu, sigma : (C,)
        As `KLNorm1d` of the learned form has them, with the same start.
    last_penalty : (C,), or None
        The objective of the last batch in training.
    num_batches_tracked : ()
        Number of batches that were counted.

    Notes
    -----
    As `KLNorm1d` says of the learned form: of its start, rates, gradient accumulation (mle_weight
    in the place of kl_weight), a GradScaler, one row and the kernel.

    References
    ----------
    S. Bai, The Effect of Pre-ReLU Input Distribution on Deep Neural Network Performance, senior
    thesis, Carnegie Mellon University, 2017.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.nn import MLENorm1d
    >>> layer = MLENorm1d(3, mle_weight=1.0)
    >>> layer(torch.randn(64, 3)).sum().backward()
    >>> bool((layer.log_scale.grad < 0).all())  # a step of descent makes sigma larger
    True
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        feature_dim: int = 1,
        sync: bool = False,
        mle_weight: float = 0.01,
    ) -> None:
        _checks.flag(track_running_stats, "track_running_stats")
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            True,
            device,
            dtype,
            feature_dim=feature_dim,
            sync=sync,
        )
        self.asked_to_track = track_running_stats
        self.mle_weight = _weight(mle_weight, "mle_weight")
        self._register_learned(device, dtype)

    @property
    def penalty_weight(self) -> float:
        """What the objective counts."""
        return self.mle_weight

    def extra_repr(self) -> str:
        """Return the arguments, as BatchNorm shows them."""
        return f"{super().extra_repr()}, mle_weight={self.mle_weight}"


def _weight(value: float, name: str) -> float:
    """Return a weight from 0 on, finite."""
    return _checks.number_between(value, name, 0.0, sys.float_info.max)
