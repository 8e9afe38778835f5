"""Which calls of a model are recorded, and under which names.

Four kinds of sites exist. ``"pre_activation"`` is the input of every call of an activation, by a
module (`torch.nn.ReLU`) or not (``torch.relu(x)``, ``x.relu_()``, ``F.gelu(x)``); ``"norm"`` the
input and the output of every normalisation layer: torch's own, and any module without children
whose class name ends in Norm, Norm1d, Norm2d or Norm3d; ``"weights"`` every parameter, under its
own name; a module's name, in which ``*``, ``?`` and ``[...]`` match as in `fnmatch`, the input and
the output of that module. A name that no module has but a parameter does is that parameter. A
function of a module's name and the module that tells whether it is wanted, and a class of modules,
stand for the names of what they find. The three words win over modules that bear them as names
(``"[n]orm"`` finds a module that is called norm).

Activation functions are known by name, so that all their forms are seen: function, method, in
place; softmax, its logarithm and glu are among them. Modules that are an activation as a whole are
torch's, and those without children whose class is called so (``QuickGELU``,
``NewGELUActivation``), whatever arithmetic they do: such a call is recorded once. A fused kernel
that computes its activation within shows nothing: `torch.nn.LSTM`, the softmax in
`torch.nn.functional.scaled_dot_product_attention` and in `torch.nn.MultiheadAttention`. Neither
does one that is spelt out in arithmetic, such as ``x.clamp(min=0)``. A norm that is a
function, such as `torch.nn.functional.layer_norm`, and a module that only contains a norm, are no
layers of ``"norm"``. Name the module instead.

Containers that are never called (`torch.nn.ModuleList`) are not found. Of what a name with
wildcards, a function or a class finds, layers that never run are warned of; of a plain name or one
of the words they are an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from torch import nn

from distfit_nn.capture import models, weights
from distfit_nn.capture.kinds import (
    activation_name,
    activation_of,
    bare_name,
    is_activation,
    is_norm,
    unit_axis_of,
)
from distfit_nn.capture.models import layer_name
from distfit_nn.capture.tensors import first_tensor, tensors, why_not
from distfit_nn.errors import InputError, SiteError

__all__ = [
    "WORDS",
    "Plan",
    "Sites",
    "activation_of",
    "bare_name",
    "first_tensor",
    "is_activation",
    "is_norm",
    "layer_name",
    "resolve",
    "site_names",
    "tensors",
    "unit_axis_of",
    "why_not",
]

WORDS = ("pre_activation", "norm", "weights")

Predicate: TypeAlias = Callable[[str, nn.Module], object]
Site: TypeAlias = str | Predicate | type[nn.Module]
Sites: TypeAlias = Site | Iterable[Site]


@dataclass(frozen=True)
class Plan:
    """What is to be recorded of one model.

    Attributes
    ----------
    wanted : tuple of str
        The words and patterns that were asked for, and names for functions and classes.
    modules : dict of str to tuple of str
        For each module by its path: what of `wanted` asks for its input and output.
    expected : dict of str to tuple of str
        For each of `wanted`: the layers that a forward pass is likely to reach.
    activation_modules : dict of str to str
        For each module that is an activation as a whole, by its path: which one. What it calls is
        not looked at.
    weights : dict of str to tuple of str
        For each parameter by its name: what of `wanted` asks for it.
    patterns : frozenset of str
        Those of `wanted` that choose: names with wildcards, functions and classes. Some of what
        they find may never run.
    """

    wanted: tuple[str, ...]
    modules: dict[str, tuple[str, ...]]
    expected: dict[str, tuple[str, ...]]
    activation_modules: dict[str, str] = field(default_factory=dict)
    weights: dict[str, tuple[str, ...]] = field(default_factory=dict)
    patterns: frozenset[str] = frozenset()

    @property
    def activations(self) -> bool:
        """Whether the inputs of activation functions are recorded."""
        return "pre_activation" in self.wanted


def resolve(model: nn.Module, sites: Sites) -> Plan:
    """Find the modules and parameters of `model` that `sites` asks for.

    Parameters
    ----------
    model : torch.nn.Module
    sites : str, callable (str, Module) -> bool, class of modules, or iterable of these
        ``"pre_activation"``, ``"norm"``, ``"weights"`` and names of modules with wildcards. A
        function is asked of every module, the model itself included, whose name is ``""``.
        Containers that are never called, such as `torch.nn.ModuleList`, are passed over.

    Raises
    ------
    InputError
        `sites` is empty or holds something else.
    SiteError
        A name, function or class matches nothing in the model, or there is no normalisation layer
        for ``"norm"`` or no parameter for ``"weights"``.
    """
    wanted = _as_wanted(sites)
    paths = dict(models.parts(model))
    named = weights.recordable(model)
    modules: dict[str, tuple[str, ...]] = {}
    chosen: dict[str, tuple[str, ...]] = {}
    expected: dict[str, tuple[str, ...]] = {}
    activations: dict[str, str] = {}
    for label, site in wanted.items():
        if site == "pre_activation":
            activations = _activations(paths)
            found = [p for p, module in paths.items() if p in activations or is_activation(module)]
        elif site != "weights":
            found = _modules(model, paths, site)
            for path in found:
                modules[path] = (*modules.get(path, ()), label)
        if site == "weights" or (isinstance(site, str) and site not in WORDS and not found):
            found = [n for n in named if site == "weights" or fnmatchcase(n, str(site))]
            for name in found:
                chosen[name] = (*chosen.get(name, ()), label)
            expected[label] = tuple(found)
        else:
            expected[label] = tuple(layer_name(model, path) for path in found)
        if not found and site != "pre_activation":
            raise SiteError(_no_match(model, label))
    patterns = frozenset(label for label, site in wanted.items() if _chooses(site))
    return Plan(tuple(wanted), modules, expected, activations, chosen, patterns)


def site_names(word: str) -> tuple[str, str]:
    """Return the names under which the input and output of a module are stored."""
    return ("norm_input", "norm_output") if word == "norm" else ("input", "output")


def _as_wanted(sites: Any) -> dict[str, Site]:
    """Return what is asked for, each under a name that no other has."""
    single = isinstance(sites, str) or callable(sites)
    try:
        listed = [sites] if single else list(sites)
    except TypeError:
        listed = []
    if not listed or not all(_is_site(site) for site in listed):
        raise InputError(
            f"sites must be {', '.join(map(repr, WORDS))}, a module's name, a function of a name "
            f"and a module, a class of modules, or a list of these, got {sites!r}"
        )
    wanted: dict[str, Site] = {}
    for site in dict.fromkeys(listed):
        label = site if isinstance(site, str) else _label(site)
        number = 2
        while label in wanted:
            label = f"{_label(site)} {number}"
            number += 1
        wanted[label] = site
    return wanted


def _is_site(site: Any) -> bool:
    if isinstance(site, str):
        return site != ""
    if isinstance(site, type):
        return issubclass(site, nn.Module)
    return callable(site) and not isinstance(site, nn.Module)


def _chooses(site: Site) -> bool:
    return not isinstance(site, str) or any(mark in site for mark in "*?[")


def _label(site: Any) -> str:
    """Return a name for a class or function that is no name of a module."""
    if isinstance(site, type):
        return f"class {site.__name__}"
    return f"function {getattr(site, '__name__', type(site).__name__)}"


def _activations(paths: dict[str, nn.Module]) -> dict[str, str]:
    known = {path: activation_name(module) for path, module in paths.items()}
    return {path: name for path, name in known.items() if name is not None}


def _modules(model: nn.Module, paths: dict[str, nn.Module], site: Site) -> list[str]:
    """Return the paths of the modules that `site` asks for."""
    if site == "norm":
        return [path for path, module in paths.items() if is_norm(module)]
    if isinstance(site, str):
        found = _matching(model, paths, site)
    elif isinstance(site, type):
        found = [path for path, module in paths.items() if isinstance(module, site)]
    else:
        found = [path for path, module in paths.items() if site(path, module)]
    return [path for path in found if models.is_called(paths[path])]


def _matching(model: nn.Module, paths: dict[str, nn.Module], pattern: str) -> list[str]:
    """Return the paths that match; a module with several names is found by any of them."""
    first = {id(module): path for path, module in paths.items()}
    names = models.parts(model, unique=False)
    found = [first[id(module)] for name, module in names if name and fnmatchcase(name, pattern)]
    return list(dict.fromkeys(found))


def _no_match(model: nn.Module, word: str) -> str:
    if word == "norm":
        return (
            "sites asks for 'norm', but the model has no normalisation layer that is known "
            "(torch's, or of a class called ...Norm, without children): name the module instead "
            "(sites='blocks.*.ada'); functions such as F.layer_norm are not seen"
        )
    if word == "weights":
        return "sites asks for 'weights', but the model has no parameter of one axis or more"
    found = dict(models.parts(model, unique=False))
    if word in found and not models.is_called(found[word]):
        kind = type(found[word]).__name__
        return f"sites asks for {word!r}, a {kind}, which is never called; ask for '{word}.*'"
    names = [name for name, _ in models.parts(model) if name]
    near = get_close_matches(word, (*WORDS, *names), n=5)
    hint = f"near misses: {', '.join(near)}" if near else f"it has {len(names)} named modules"
    return f"sites asks for {word!r}, which is no site and matches no module of the model; {hint}"
