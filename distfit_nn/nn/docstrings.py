"""Docstrings of layers that are kin: what they have in common is written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

ORDER = (
    "Parameters",
    "Shape",
    "Attributes",
    "Raises",
    "Notes",
    "References",
    "Examples",
)

Kind = TypeVar("Kind", bound=type)


def completed_by(other: type, *, summary: bool = True) -> Callable[[Kind], Kind]:
    """Return a decorator that gives a class the sections of another's docstring that it lacks.

    With `summary`, what stands between the first line and the sections is such a part, too.
    """

    def complete(kind: Kind) -> Kind:
        if kind.__doc__ and other.__doc__:  # python -OO takes them away
            own, lent = sections(kind.__doc__), sections(other.__doc__)
            first, more = own.pop(""), lent.pop("").partition("\n\n")[2]
            parts = [first, more] if summary and more else [first]
            named = lent | own
            parts += [
                f"{name}\n{'-' * len(name)}\n{named[name]}" for name in ORDER if name in named
            ]
            kind.__doc__ = "\n\n".join(parts) + "\n"
        return kind

    return complete


def sections(text: str) -> dict[str, str]:
    """Return the sections of a docstring by name; what stands before them has the name ""."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    lines = inspect.cleandoc(text).split("\n")
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line in ORDER and below == "-" * len(line):
            name = line
            found[name] = []
        elif not (name and line == "-" * len(name)):
            found[name].append(line)
    return {name: "\n".join(part).strip("\n") for name, part in found.items()}
