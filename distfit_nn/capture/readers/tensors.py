"""Files of tensors: .safetensors by its header, .pt and .pth without unpickling any object."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from distfit_nn.capture import files, slabs
from distfit_nn.capture.manifest import file_error
from distfit_nn.capture.readers import archives, limits
from distfit_nn.capture.readers.found import Found
from distfit_nn.capture.slabs import MOST_LAYERS

# How torch's older files begin, and what its messages say, many lines long, in our words.
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_OBJECTS = "it holds Python objects other than tensors, which are never loaded"
_TORCH_PROBLEMS = {
    **dict.fromkeys(("GLOBAL", "Unsupported class", "unrecognized function"), _OBJECTS),
    "TorchScript": "it holds a compiled program, which is never loaded",
    "allocate memory": "it does not fit into memory",
}
_DEEPEST = 100  # nested lists and dicts
_MOST_LEAVES = 10 * MOST_LAYERS


def read_safetensors(path: Path | str) -> Iterator[Found]:
    """Yield the tensors of a .safetensors file, on a disk or behind a URL."""
    for name, array in slabs.safetensors(path).items():
        if array.shape:
            yield Found(name, array)


def read_torch(path: Path) -> Iterator[Found]:
    """Yield the tensors of a file that torch.save wrote."""
    import torch

    content = _load(path)
    if isinstance(content, torch.Tensor):
        found = [Found(path.stem, content)]
    else:
        tensors = islice(_tensors(content), MOST_LAYERS + 1)
        found = [Found(".".join(keys), tensor) for keys, tensor in tensors]
    limits.check_layers(len(found))
    size = sum(one.values.numel() * one.values.element_size() for one in found)
    limits.check_growth(size, path.stat().st_size, "it")  # views may be larger than what they show
    yield from found


def _tensors(content: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the tensors that have axes, with the keys that lead there."""
    import torch

    for number, (keys, value) in enumerate(_leaves(content, ())):
        if number == _MOST_LEAVES:
            raise ValueError(f"it holds more than {_MOST_LEAVES:,} objects")
        if isinstance(value, torch.Tensor) and value.ndim:
            yield keys, value


def _load(path: Path) -> Any:
    """Return what `path` holds; torch's own messages advise to load it unsafely."""
    import torch

    start = files.start(path)
    if not start.startswith((archives.STARTS[0], _LEGACY_TORCH)):
        raise file_error(path, "cannot be read as .pt: it is no file that torch.save wrote")
    try:
        if start.startswith(archives.STARTS[0]):
            with archives.opened(path):
                pass  # its members are as large as they say
        with warnings.catch_warnings():  # what matters of a damaged file is its error
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        problems = (problem for sign, problem in _TORCH_PROBLEMS.items() if sign in str(error))
        problem = next(problems, "it is damaged, or no file that torch.save wrote")
        raise file_error(path, f"cannot be read as .pt: {problem}") from None


def _leaves(content: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what nested mappings, lists and tuples hold, with the keys that lead there."""
    if len(keys) > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    if isinstance(content, Mapping):
        items = iter(content.items())
    elif isinstance(content, (list, tuple)):
        items = enumerate(content)
    else:
        yield keys, content
        return
    for key, value in items:
        yield from _leaves(value, (*keys, str(key)))
