"""Running statistics by other data than those of training, and none at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from distfit_nn import _checks
from distfit_nn.capture import sites
from distfit_nn.errors import InputError
from distfit_nn.nn.base import ColumnNorm

Forward = Callable[[nn.Module, Any], object]


def recalibrate(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    momentum: float | None = None,
    forward: Forward | None = None,
    device: torch.device | str | None = None,
) -> int:
    """Set the running statistics of every norm of a model to those of unlabelled data.

    For inputs that have moved since training, such as those of a new sensor, and after a change of
    the weights (averaging, pruning, quantisation). Use it in place of
    ``torch.optim.swa_utils.update_bn``, which knows only torch's own BatchNorm and leaves the
    layers of this package as they are.

    Parameters
    ----------
    model : torch.nn.Module
    loader : iterable
        Batches: tensors, or tuples, lists or dicts, the first entry of which is the input; any
        labels behind it are not looked at. Batches should be random samples of the data, as those
        of a shuffled loader are, and of the size used in training.
    momentum : float, optional
        Default: statistics start anew and become the mean over all batches, each of the same
        weight. A number from 0 to 1 lets them move on from where they are, by this share a batch.
    forward : callable (model, batch) -> object, optional
        Runs the model on a batch of another kind.
    device : torch.device or str, optional
        Where inputs go. Default: where the model's first parameter or buffer is.

    Returns
    -------
    int
        Number of rows that were seen.

    Raises
    ------
    InputError
        The loader is empty or a single tensor, no norm of the model has running statistics, a
        batch is of another kind, or no batch told a norm anything: each was of one row, or held
        values that are not finite in every feature. After any error all statistics are as they
        were.

    Notes
    -----
    Only the running statistics (and the count of batches) of the layers of this package and of
    torch's BatchNorm change. Parameters, gradients and modes stay; dropout is off. The learned mu
    and sigma of a `KLNorm1d` are parameters, and the maps `LogShift` and `SqrtShift` have no
    statistics: nothing happens to them. A batch of one value a feature has no variance and is
    passed through. A norm that the model does not call keeps its statistics.
    """
    if isinstance(loader, Tensor):
        raise InputError("loader must give batches, got a tensor; [x] is a loader of one batch")
    if momentum is not None:
        momentum = _checks.number_between(momentum, "momentum", 0.0, 1.0)
    norms = [norm for norm in _norms(model) if _keeps_statistics(norm)]
    if not norms:
        raise InputError("model must have a norm with running statistics, got none")
    place = _place(model) if device is None else device
    rows = 0
    with _statistics_only(model, norms) as before, _calls(norms) as called, torch.no_grad():
        for norm in norms:
            norm.momentum = momentum
            if momentum is None:
                norm.reset_running_stats()
        start = [_copied(norm) for norm in norms]
        for batch in loader:
            x = _input(batch, forward is not None)
            rows += len(x)
            if forward is None:
                model(x.to(place))
            else:
                forward(model, batch)
        if rows == 0:
            raise InputError("loader must give at least one row, got none")
        idle = {
            norm: old
            for norm, first, old in zip(norms, start, before, strict=True)
            if _is_idle(norm, first, fresh=momentum is None)
        }
        _check_moved(model, norms, called, idle)
        for norm, old in idle.items():
            _restore(norm, old)
    return rows


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[nn.Module]:
    """Let all norms of a model use each batch's own statistics, in eval mode, too.

    ``with batch_statistics(model): y = model(x)`` treats a batch from a source of which only this
    batch is known. Running statistics are neither used nor moved, whatever mode the model is set
    to meanwhile; dropout and the like follow the mode.

    Parameters
    ----------
    model : torch.nn.Module
        Its norms: the layers of this package and torch's BatchNorm. Others take no notice.
        One row by itself tells nothing: for it, a layer of this package gives a constant (the
        bias; what its target has for 0 on the affine line), and BatchNorm raises.

    Yields
    ------
    torch.nn.Module
        The model.
    """
    with ExitStack() as stack:
        for norm in _norms(model):
            stack.enter_context(_own_statistics(norm))
        yield model


def _norms(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, (ColumnNorm, _BatchNorm))]


def _keeps_statistics(norm: Any) -> bool:
    if isinstance(norm, ColumnNorm):
        is_map = type(norm)._start is ColumnNorm._start
        if is_map or "log_scale" in norm._parameters:  # the learned mu and sigma
            return False
    return norm.num_batches_tracked is not None


def _statistics(norm: nn.Module) -> dict[str, Tensor]:
    """Return what of a norm is saved and no parameter: its statistics and the count of batches."""
    buffers = norm.named_buffers(recurse=False)
    return {name: b for name, b in buffers if name not in norm._non_persistent_buffers_set}


def _copied(norm: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in _statistics(norm).items()}


def _restore(norm: nn.Module, statistics: dict[str, Tensor]) -> None:
    for name, value in statistics.items():
        norm.get_buffer(name).copy_(value)


@contextmanager
def _calls(norms: list[Any]) -> Iterator[set[nn.Module]]:
    """Collect which of the norms are called."""
    called: set[nn.Module] = set()
    with ExitStack() as stack:
        for norm in norms:
            hook = norm.register_forward_pre_hook(lambda *_, norm=norm: called.add(norm))
            stack.callback(hook.remove)
        yield called


def _is_idle(norm: nn.Module, start: dict[str, Tensor], fresh: bool) -> bool:
    """Tell whether no batch has moved a norm's statistics from a start, `fresh` if just reset.

    Where statistics only move on, they may be those of the data already.
    """
    now = _statistics(norm)
    if torch.equal(now["num_batches_tracked"], start["num_batches_tracked"]):
        return True
    told = [
        value.isfinite() & (value != start[name]) if fresh else value.isfinite()
        for name, value in now.items()
        if name != "num_batches_tracked"
    ]
    return not any(bool(part.any()) for part in told)


def _check_moved(
    model: nn.Module, norms: list[Any], called: set[nn.Module], idle: Iterable[nn.Module]
) -> None:
    """Raise `InputError` for a norm that was called in vain, and if none was called."""
    still = set(idle)
    vain = [name for name, norm in model.named_modules() if norm in still & called]
    if vain:
        listed = ", ".join(name or "(the model)" for name in vain[:4])
        raise InputError(
            "loader must give each norm a batch of two or more rows with finite values, got none "
            f"that moved the statistics of {listed}{', ...' if len(vain) > 4 else ''}"
        )
    if len(still) == len(norms):
        raise InputError("model must call a norm with running statistics, got no call of one")


def _place(model: nn.Module) -> torch.device:
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device


def _input(batch: Any, by_caller: bool) -> Tensor:
    """Return the first entry of a batch; for a caller's own forward the first tensor in it."""
    if by_caller:
        found = sites.first_tensor(batch)
        return torch.empty(1) if found is None or found.ndim == 0 else found
    first = batch
    if isinstance(batch, (tuple, list)):
        first = batch[0] if batch else None
    elif isinstance(batch, Mapping):
        first = next(iter(batch.values()), None)
    if not isinstance(first, Tensor) or first.ndim == 0:
        raise InputError(
            "loader must give tensors, or tuples or dicts that begin with one (or pass forward=), "
            f"got {type(first if first is not batch else batch).__name__}"
        )
    return first


@contextmanager
def _statistics_only(model: nn.Module, norms: list[Any]) -> Iterator[list[dict[str, Tensor]]]:
    """Put norms in training mode and all else in eval mode; undo it, and all on an error.

    Yields the statistics of the norms as they were.
    """
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    before = [_copied(norm) for norm in norms]
    handles = [
        norm.register_forward_pre_hook(_needs_variance)
        for norm in norms
        if isinstance(norm, _BatchNorm)
    ]
    try:
        for module in modes:
            module.training = False
        for norm in norms:
            norm.training = True
        yield before
    except BaseException:
        for norm, buffers in zip(norms, before, strict=True):
            _restore(norm, buffers)
        raise
    finally:
        for handle in handles:
            handle.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
        for norm in norms:
            if isinstance(norm, ColumnNorm) and not norm.training:
                norm._prepare()


def _needs_variance(norm: nn.Module, args: tuple[Any, ...]) -> None:
    """Leave out a batch of one value a feature, for which torch's BatchNorm raises in training."""
    x = args[0]
    norm.training = x.numel() > x.shape[1]


@contextmanager
def _own_statistics(norm: Any) -> Iterator[None]:
    """Hide the running statistics of a norm, which then takes those of the batch in any mode."""
    tracks = norm.track_running_stats
    hidden = {}
    if isinstance(norm, _BatchNorm):
        hidden = {name: norm._buffers[name] for name in ("running_mean", "running_var")}
    norm.track_running_stats = False
    norm._buffers.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        norm.track_running_stats = tracks
        norm._buffers.update(hidden)
        if isinstance(norm, ColumnNorm) and tracks and not norm.training:
            norm._prepare()
