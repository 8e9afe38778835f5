"""A model and its data, as a user names them on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from distfit_nn._checks import to_numpy
from distfit_nn.errors import InputError
from distfit_nn.loading import load_object, user_code

Inputs = Literal["auto", "first", "all"]


class Network(NamedTuple):
    """A model where it is to run, and how it takes a batch."""

    model: nn.Module
    device: torch.device
    inputs: Inputs
    name: str = "the model"

    def arguments(self, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments that `batch` makes for the model, on its device.

        A mapping gives arguments by name. Of a tuple or list the first item is the input and the
        rest are targets (``"first"``), all are inputs (``"all"``), or so many are as the model's
        forward has parameters without a default (``"auto"``). Anything else is the one input.
        """
        batch = _moved(batch, self.device)
        if isinstance(batch, dict):
            return (), batch
        if not isinstance(batch, tuple):
            return (batch,), {}
        if not batch:
            raise InputError("a batch must hold an input, got an empty tuple")
        taken = {"auto": _required(self.model), "first": 1, "all": len(batch)}[self.inputs]
        return batch[:taken], {}

    def mask(self, batch: Any, key: str, number: int) -> torch.Tensor:
        """Return the mask, of bool, that the batch of this number holds under `key`."""
        if not isinstance(batch, Mapping):
            kind = type(batch).__name__
            raise InputError(f"--mask is for batches that are dicts, batch {number} is a {kind}")
        if key not in batch:
            raise InputError(
                f"--mask must be a key of batch {number}, one of "
                f"{', '.join(map(repr, batch))}; got {key!r}"
            )
        mask = to_numpy(batch[key], f"{key!r} of batch {number}")
        if not np.isin(mask, (0, 1)).all():
            raise InputError(f"{key!r} of batch {number} must be 1 and 0, or True and False")
        return torch.as_tensor(mask.astype(bool))

    def run(self, batch: Any, number: int, debug: bool = False) -> None:
        """Run the model on the batch of this number, without gradients."""
        positional, named = self.arguments(batch)
        with user_code(f"running {self.name} on batch {number}", debug), torch.no_grad():
            self.model(*positional, **named)

    def example(self, loader: str | None, shape: tuple[int, ...] | None, debug: bool) -> Any:
        """Return the first batch of a loader, or random numbers of a shape, or None."""
        if shape is not None:
            return torch.rand(shape, device=self.device)
        if loader is None:
            return None
        for batch in guarded(batches(loader, debug=debug), loader, debug):
            positional, named = self.arguments(batch)
            return named or positional
        raise InputError(f"{loader} has no batches")


def network(
    factory: str,
    *,
    device: str | None = None,
    train: bool = False,
    inputs: Inputs = "auto",
    seed: int = 0,
    debug: bool = False,
) -> Network:
    """Make the model that ``MODULE:FACTORY`` names.

    torch's own generator is seeded first, so that random weights are the same in every run.

    Raises
    ------
    InputError
        There is no such thing, it is no model and makes none, or the device is not there.
    """
    torch.manual_seed(seed)  # for what the module makes when it is imported
    found = load_object(factory, debug=debug)
    torch.manual_seed(seed)
    made = _called(factory, found, nn.Module, debug)
    if not isinstance(made, nn.Module):
        raise InputError(
            f"{factory} must be a torch.nn.Module or return one, got {type(made).__name__}"
        )
    if device is not None:
        try:
            made = made.to(device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"the model cannot go to device {device!r}: {reason}") from None
    return Network(made.train(train), _device(made), inputs, factory)


def batches(loader: str, *, debug: bool = False) -> Iterable[Any]:
    """Return the batches that ``MODULE:LOADER`` names; a single one where it is no series.

    Raises
    ------
    InputError
        There is no such thing, or it is no iterable of batches and returns none.
    """
    single = (torch.Tensor, np.ndarray, Mapping)
    made = _called(loader, load_object(loader, debug=debug), (*single, Iterable), debug)
    if isinstance(made, single):
        return [made]
    if isinstance(made, torch.utils.data.Dataset) and not hasattr(made, "__iter__"):
        raise InputError(
            f"{loader} is a Dataset, which has rows and no batches: wrap it in a DataLoader"
        )
    if isinstance(made, (str, bytes)) or not isinstance(made, Iterable):
        raise InputError(
            f"{loader} must be an iterable of batches or return one, got {type(made).__name__}"
        )
    return made


def guarded(batches: Iterable[Any], what: str, debug: bool = False) -> Iterator[Any]:
    """Yield the batches; an error of the code that makes them is one line."""
    with user_code(f"reading {what}", debug):
        iterator = iter(batches)
    while True:
        with user_code(f"reading {what}", debug):
            try:
                batch = next(iterator)
            except StopIteration:
                return
        yield batch


def count(batches: Iterable[Any], steps: int | None) -> int | None:
    """Return how many batches there will be, where that is known."""
    try:
        known = len(batches)  # type: ignore[arg-type]
    except Exception:  # generators have no length, a DataLoader over an IterableDataset neither
        return steps
    return known if steps is None else min(known, steps)


def _called(text: str, found: Any, done: Any, debug: bool) -> Any:
    """Return what is named, or what it returns if it is a function rather than the thing itself."""
    is_thing = isinstance(found, done) and not isinstance(found, type)
    if is_thing or not callable(found):
        return found
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise InputError(f"{text} must be callable without arguments: {error}") from None
    except ValueError:  # some of C have no signature
        pass
    with user_code(f"calling {text}", debug):
        return found()


def _device(model: nn.Module) -> torch.device:
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def _moved(value: Any, device: torch.device) -> Any:
    """Return a batch on a device; arrays become tensors, lists tuples, any mapping a dict."""
    if isinstance(value, np.ndarray):
        try:
            value = torch.as_tensor(value)
        except TypeError as error:
            raise InputError(f"a batch must hold tensors: {error}") from None
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: _moved(item, device) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(_moved(item, device) for item in value)
    return value


def _required(model: nn.Module) -> int:
    """Return how many inputs the forward of `model` cannot do without, at least 1."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return 1
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in by_place and p.default is p.empty]
    return max(len(needed), 1)
