"""`fit` and `fit_moments` for tensors: solve on the tensor's device, and attach the gradient."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distfit_nn._checks import one_of, to_numpy
from distfit_nn.errors import InputError
from distfit_nn.maxent import arrays
from distfit_nn.maxent.density import Density
from distfit_nn.maxent.problem import check_order, check_support, check_weights
from distfit_nn.maxent.solution import Status
from distfit_nn.maxent.tensors import kernel as torch_kernel
from distfit_nn.maxent.tensors import moments as torch_moments
from distfit_nn.maxent.tensors.checks import plain
from distfit_nn.maxent.tensors.density import TensorDensity
from distfit_nn.maxent.tensors.implicit import Optimum, SampleMeans
from distfit_nn.maxent.tensors.moments import TensorStandardised
from distfit_nn.maxent.tensors.problem import Minimum
from distfit_nn.maxent.tensors.solution import TensorSolution

BACKENDS = ("auto", "torch", "numba", "numpy")


def fit(
    x: Tensor,
    order: int = 6,
    support: Any = 3.0,
    *,
    backend: str = "auto",
    weights: Any = None,
    nan_policy: str = "propagate",
) -> TensorDensity:
    """Fit densities to the columns of a tensor; see `distfit_nn.maxent.fit`.

    Parameters
    ----------
    x : tensor, (n,) or (n, d)
        Samples, on any device. Moments are taken in float64; float32, float16 and bfloat16 columns
        are solved by steps in float32, to a residual of 2e-6, where the kernel of torch is used.
    order : int
        Number of moments, 1 to 12.
    support : float, (a, b) or "data"
        As there; a and b may be tensors of one number, to which the density has a gradient.
    backend : {"auto", "torch", "numba", "numpy"}
        "torch" solves in batches on the device, and leaves what is hard to the solvers of the CPU;
        "auto" is "torch" on a device other than the CPU, and there the CPU's own solver.
    weights : (n,) or (n, d), optional
        Finite, not negative; constants.
    nan_policy
        As there.

    Returns
    -------
    TensorDensity
        On the device of x, with a gradient in x where it requires one: by the implicit function
        theorem at the optimum, with the ends of the support moving with the data's where `support`
        is a factor.

    Raises
    ------
    InputError
        As there.
    """
    columns, single = _columns(x)
    order = check_order(order)
    one_of(nan_policy, ("propagate", "omit"), "nan_policy")
    backend = _backend(backend, x.device)
    support = _unbound(support)
    shares = None if weights is None else _weights(weights, columns)
    settings = {"support": _numbers(support), "nan_policy": nan_policy}
    if backend == "torch":
        density = _on_device(columns, order, shares, settings)
    else:
        density = _on_cpu(columns, order, backend, shares, settings)
    moving = support if _has_graph(support) else settings["support"]
    density = _with_graph(density, columns, moving, shares)
    return replace(density, dtype=_dtype_of(x), single=single)


def fit_moments(m: Tensor, support: Any, *, backend: str = "auto") -> TensorDensity:
    """Fit densities to raw moments E x^i, i = 1..k, in a tensor; see `maxent.fit_moments`.

    Parameters
    ----------
    m : tensor, (k,) or (k, d)
        Where it requires grad, so does the density.
    support : (a, b)
        Numbers, or tensors of one number.
    backend
        As for `fit`.

    Returns
    -------
    TensorDensity

    Raises
    ------
    InputError
        As for `fit`.
    """
    plain(m, "m")
    arrays.check_moments(tuple(m.shape))
    backend = _backend(backend, m.device)
    support = _unbound(support)
    ends = arrays.check_ends(_numbers(support))
    raw = m.reshape(len(m), -1).to(torch.float64)
    if backend != "torch":
        density = _moments_on_cpu(raw, ends, backend)
    else:
        given = torch_moments.from_moments(raw.detach(), ends)
        density = _solve(given, torch.float64)
        left = _unsolved(density)
        if len(left):
            density = _filled(density, left, _moments_on_cpu(raw[:, left], ends, "auto"))
    nothing = torch.full_like(density.loc, math.nan)
    density = replace(
        density, solution=replace(density.solution, data_lower=nothing, data_upper=nothing)
    )
    density = _with_graph_of_moments(density, raw, support if _has_graph(support) else ends)
    return replace(density, dtype=_dtype_of(m), single=m.ndim == 1)


# What comes in


def _dtype_of(tensor: Tensor) -> torch.dtype:
    """Return the dtype of the results."""
    return tensor.dtype if tensor.is_floating_point() else torch.get_default_dtype()


def _columns(x: Tensor) -> tuple[Tensor, bool]:
    """Return x as (n, d), and whether it came as one column."""
    plain(x, "x")
    if x.ndim not in (1, 2):
        raise InputError(f"x must have shape (n,) or (n, d), got {tuple(x.shape)}")
    columns = x[:, None] if x.ndim == 1 else x
    if 0 in columns.shape:
        raise InputError(f"x must have at least one row and one column, got {tuple(x.shape)}")
    return columns, x.ndim == 1


def _backend(backend: str, device: torch.device) -> str:
    backend = one_of(backend, BACKENDS, "backend")
    return "torch" if backend == "auto" and device.type != "cpu" else backend


def _has_graph(support: Any) -> bool:
    """Return whether one of the ends is a tensor that requires grad."""
    pair = support if isinstance(support, (tuple, list)) else ()
    return any(isinstance(end, Tensor) and end.requires_grad for end in pair)


def _unbound(support: Any) -> Any:
    """Return a support in one tensor as a number, or a pair of tensors, each of one number."""
    if isinstance(support, Tensor):
        flat = plain(support, "support").reshape(-1).unbind()
        support = flat if support.ndim else float(flat[0].detach())
    if isinstance(support, (tuple, list)):
        for end in support:
            if isinstance(end, Tensor) and plain(end, "support").numel() != 1:
                raise InputError(f"support (a, b) must be two numbers, got {tuple(end.shape)}")
    return support


def _numbers(support: Any) -> float | tuple[float, float]:
    """Return the support, checked, as numbers."""
    if isinstance(support, (tuple, list)):
        support = tuple(float(end.detach()) if isinstance(end, Tensor) else end for end in support)
    return check_support(support)


def _weights(weights: Any, columns: Tensor) -> Tensor:
    """Return the weights, exactly divided to below 2; see `problem.check_weights`."""
    if isinstance(weights, Tensor):
        plain(weights, "weights")
        if not weights.is_floating_point():
            weights = weights.to(torch.float64)
    else:
        weights = torch.as_tensor(check_weights(weights, tuple(columns.shape)).astype(np.float64))
    shares = weights.detach().to(columns.device)
    if shares.shape not in (columns.shape, columns.shape[:1]):
        raise InputError(
            f"weights must have shape {tuple(columns.shape[:1])} or {tuple(columns.shape)}, "
            f"as x has, got {tuple(shares.shape)}"
        )
    ends = torch.stack(torch.aminmax(shares)).to(torch.float64)
    check_weights(ends, (2,))
    return shares / torch_moments.power_of_two(ends[1])


# Solving


def _on_device(
    columns: Tensor, order: int, shares: Tensor | None, settings: dict[str, Any]
) -> TensorDensity:
    """Fit the columns where they are, and on the CPU those that are not solved there."""
    omit = settings["nan_policy"] == "omit"
    given = torch_moments.from_samples(columns, order, settings["support"], omit, shares)
    wide = columns.dtype == torch.float64 or not columns.is_floating_point()
    density = _solve(given, torch.float64 if wide else torch.float32)
    left = _unsolved(density)
    if len(left) == 0:
        return density
    part = None if shares is None else shares[:, left] if shares.ndim == 2 else shares
    return _filled(density, left, _on_cpu(columns[:, left], order, "auto", part, settings))


def _solve(given: TensorStandardised, dtype: torch.dtype) -> TensorDensity:
    """Solve the columns that have a density with the kernel of torch; leave NaN in the others."""
    with torch.no_grad():
        solvable = given.status == Status.OK
        found = Minimum.empty(given.problem)
        if bool(solvable.all()):
            found = torch_kernel.minimise_columns(given.problem, dtype)
        elif bool(solvable.any()):
            rows = solvable.nonzero()[:, 0]
            found.write(rows, torch_kernel.minimise_columns(given.problem[rows], dtype))
    ends = {
        name: torch.where(solvable, getattr(given.problem, name), math.nan)
        for name in ("lower", "upper", "data_lower", "data_upper")
    }
    numbers = {
        f.name: getattr(found, f.name) for f in fields(found) if f.name not in ("solved", "targets")
    }
    solution = TensorSolution(
        **numbers,
        **ends,
        coefficients_low=torch.zeros_like(found.coefficients),
        # What is not solved stands as REGULARISED until another solver has had it.
        status=torch.where(solvable & ~found.solved, Status.REGULARISED, given.status),
        epsilon=torch.where(solvable, torch.zeros_like(given.loc), math.nan),
    )
    return TensorDensity(solution, given.loc, given.scale)


def _unsolved(density: TensorDensity) -> Tensor:
    """Return the columns that were not solved, or whose solution has a spike that panels missed."""
    status = density.solution.status
    unsolved = status == Status.REGULARISED
    known = replace(density.solution, status=status.masked_fill(unsolved, Status.INVALID))
    spiked = TensorDensity(known, density.loc, density.scale)
    missed = spiked.hard
    if not bool(unsolved.any()) and len(missed) == 0:
        density._tables.update(spiked._tables)
    return torch.cat([unsolved.nonzero()[:, 0], missed]).unique()


def _on_cpu(
    columns: Tensor, order: int, backend: str, shares: Tensor | None, settings: dict[str, Any]
) -> TensorDensity:
    """Fit the columns on the CPU."""
    weights = None if shares is None else to_numpy(shares)
    density = arrays.fit(to_numpy(columns), order, backend=backend, weights=weights, **settings)
    return _as_tensors(density, columns.device)


def _moments_on_cpu(raw: Tensor, ends: tuple[float, float], backend: str) -> TensorDensity:
    return _as_tensors(arrays.fit_moments(to_numpy(raw), ends, backend=backend), raw.device)


def _as_tensors(density: Density, device: torch.device) -> TensorDensity:
    """Return a `Density` on a device."""
    loc, scale = (
        torch.as_tensor(np.array(part), device=device) for part in (density.loc, density.scale)
    )
    return TensorDensity(TensorSolution.from_numpy(density.solution, device), loc, scale)


def _filled(density: TensorDensity, columns: Tensor, part: TensorDensity) -> TensorDensity:
    """Return the density with `part` in some of the columns."""
    new = {}
    for f in fields(density.solution):
        own, other = getattr(density.solution, f.name), getattr(part.solution, f.name)
        new[f.name] = own.index_copy(0, columns, other.to(own.dtype))
    loc = density.loc.index_copy(0, columns, part.loc)
    scale = density.scale.index_copy(0, columns, part.scale)
    return TensorDensity(TensorSolution(**new), loc, scale)


# The graph


def _attached(value: Tensor, graph: Tensor) -> Tensor:
    """Return the value with the gradient of the graph, whose own value may be less exact."""
    return value + (graph - graph.detach())


def _with_graph(
    density: TensorDensity, x: Tensor, support: Any, shares: Tensor | None
) -> TensorDensity:
    """Return the density as a function of x, and of the ends of the support that are tensors."""
    if not (torch.is_grad_enabled() and (x.requires_grad or _has_graph(support))):
        return density
    exact = density.differentiable
    loc, scale = torch.where(exact, density.loc, 0.0), torch.where(exact, density.scale, 1.0)
    finite = x.isfinite()
    if shares is not None or not bool(finite.all()):
        ones = torch.ones_like(x, dtype=torch.float64)
        given = ones if shares is None else (shares if shares.ndim == 2 else shares[:, None])
        kept = finite * given.to(torch.float64)
        shares = kept / kept.sum(dim=0).clamp_min(torch.finfo(torch.float64).tiny)
        x = torch.where(finite, x, 0.0)
    moments = SampleMeans.apply(x, loc, scale, shares, _safe(density.solution.moments, exact, 0.0))
    if isinstance(support, tuple):
        ends = [_end(end, loc, scale) for end in support]
    else:
        used = None if shares is None else shares > 0
        low = x.amin(dim=0) if used is None else torch.where(used, x, math.inf).amin(dim=0)
        high = x.amax(dim=0) if used is None else torch.where(used, x, -math.inf).amax(dim=0)
        low, high = ((torch.where(exact, v, 0.0) - loc) / scale for v in (low, high))
        beyond = (support - 1) / 2 * (high - low)
        ends = [low - beyond, high + beyond]
    return _attach(density, moments, ends, exact)


def _with_graph_of_moments(density: TensorDensity, raw: Tensor, support: Any) -> TensorDensity:
    """Return the density as a function of the raw moments (k, d) and of the ends."""
    if not (torch.is_grad_enabled() and (raw.requires_grad or _has_graph(support))):
        return density
    exact = density.differentiable
    loc, scale = torch.where(exact, density.loc, 0.0), torch.where(exact, density.scale, 1.0)
    rows = torch_moments.hermite_of_monomials(loc, scale, density.order)[:, :, 1:]
    graph = (rows @ raw.T[:, :, None])[:, :, 0]
    moments = _attached(_safe(density.solution.moments, exact, 0.0), graph)
    return _attach(density, moments, [_end(end, loc, scale) for end in support], exact)


def _end(end: Any, loc: Tensor, scale: Tensor) -> Tensor:
    """Return an end of the support in z."""
    moved = end.to(loc).reshape(()) if isinstance(end, Tensor) else end
    return (moved - loc) / scale


def _safe(values: Tensor, exact: Tensor, instead: float) -> Tensor:
    return torch.where(exact[:, None] if values.ndim == 2 else exact, values, instead)


def _attach(
    density: TensorDensity, moments: Tensor, ends: list[Tensor], exact: Tensor
) -> TensorDensity:
    """Return the density as a function of its moments and ends, where it is OK."""
    solution = density.solution
    lower = torch.where(
        exact, _attached(_safe(solution.lower, exact, -1.0), ends[0]), solution.lower
    )
    upper = torch.where(
        exact, _attached(_safe(solution.upper, exact, 1.0), ends[1]), solution.upper
    )
    multipliers = Optimum.apply(moments, lower, upper, density.table, exact)
    solution = replace(
        solution,
        coefficients=torch.where(exact[:, None], multipliers, solution.coefficients),
        moments=torch.where(exact[:, None], moments, solution.moments),
        lower=lower,
        upper=upper,
    )
    return replace(density, solution=solution)
