"""Defaults of options from the table ``[tool.distfit_nn]`` of a pyproject.toml.

A key is an option's name without its dashes. Keys of the table itself hold for every command that
has such an option, those of ``[tool.distfit_nn.COMMAND]`` for that command; the command line wins.
"""

from __future__ import annotations

import tomllib
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from distfit_nn.errors import FileError, InputError

FILE, TABLE = "pyproject.toml", "distfit_nn"


@dataclass(frozen=True)
class Setting:
    """A value in force instead of an option's own default, and the table that it is from.

    `given` is the value as typer takes it: as if typed.
    """

    value: Any
    given: Any
    table: str


@dataclass(frozen=True)
class Config:
    """What a file sets.

    Attributes
    ----------
    path : pathlib.Path or None
        The file; None where there is none.
    settings : dict
        For each command, its parameters by name.
    """

    path: Path | None = None
    settings: dict[str, dict[str, Setting]] = field(default_factory=dict)

    def default_map(self) -> dict[str, dict[str, Any]]:
        """Return the defaults of each command's parameters, as typer takes them."""
        return {
            command: {name: setting.given for name, setting in settings.items()}
            for command, settings in self.settings.items()
        }


@dataclass(frozen=True)
class Option:
    """An option of a command: its parameter's name, its key in a file, and its type."""

    name: str
    key: str
    kind: Any
    default: Any


def options(command: Any) -> Iterator[Option]:
    """Yield the options of a typer command."""
    hints = get_type_hints(command.callback)
    for parameter in command.params:
        if parameter.param_type_name == "option" and parameter.name in hints:
            key = max(parameter.opts, key=len).removeprefix("--")
            yield Option(parameter.name, key, _bare(hints[parameter.name]), parameter.default)


def find(start: Path) -> Path | None:
    """Return the first pyproject.toml with our table in `start` or the folders above it."""
    for folder in (start, *start.parents):
        path = folder / FILE
        if path.is_file() and _table(path) is not None:
            return path
    return None


def load(path: Path, commands: dict[str, Any]) -> Config:
    """Read the settings that `path` has for `commands`.

    Raises
    ------
    FileError
        The file cannot be read, is no TOML, or has no table ``[tool.distfit_nn]``.
    InputError
        No option bears the name of a key, or a value is of another type than the option's.
    """
    table = _table(path)
    if table is None:
        raise FileError(f"{path}: has no table [tool.{TABLE}]")
    known = {name: {one.key: one for one in options(command)} for name, command in commands.items()}
    settings: dict[str, dict[str, Setting]] = {name: {} for name in commands}
    for key, value in table.items():
        if not isinstance(value, dict):
            _set_all(settings, known, key, value, path)
    for name, values in table.items():
        if isinstance(values, dict):
            _set_some(settings, known, name, values, path)
    return Config(path, settings)


def _set_all(
    settings: dict[str, dict[str, Setting]],
    known: dict[str, dict[str, Option]],
    key: str,
    value: Any,
    path: Path,
) -> None:
    """Set an option of every command that has it."""
    where = f"[tool.{TABLE}]"
    word = key.replace("_", "-")
    having = [name for name, found in known.items() if word in found]
    if not having:
        names = {one for found in known.values() for one in found}
        raise InputError(f"{path}: {where} {_unknown(key, 'option', names)}")
    for name in having:
        option = known[name][word]
        settings[name][option.name] = _setting(value, option, path, where)


def _set_some(
    settings: dict[str, dict[str, Setting]],
    known: dict[str, dict[str, Option]],
    name: str,
    values: dict[str, Any],
    path: Path,
) -> None:
    """Set options of one command."""
    if name not in known:
        raise InputError(f"{path}: [tool.{TABLE}] {_unknown(name, 'command', known)}")
    where = f"[tool.{TABLE}.{name}]"
    for key, value in values.items():
        option = known[name].get(key.replace("_", "-"))
        if option is None:
            raise InputError(f"{path}: {where} {_unknown(key, 'option', known[name])}")
        settings[name][option.name] = _setting(value, option, path, where)


def _table(path: Path) -> dict[str, Any] | None:
    """Return our table of a file; None if it has none."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: is no TOML: {error} (--no-config passes it over)") from None
    tools = content.get("tool", {})
    table = tools.get(TABLE) if isinstance(tools, dict) else None
    if table is not None and not isinstance(table, dict):
        raise InputError(f"{path}: tool.{TABLE} must be a table, got {table!r}")
    return table


def _unknown(word: str, what: str, known: Any) -> str:
    close = get_close_matches(word.replace("_", "-"), list(known), 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{word}: there is no such {what}{hint}"


def _bare(hint: Any) -> Any:
    """Return a type without its "or None"."""
    if get_origin(hint) in (types.UnionType, Union):
        rest = [one for one in get_args(hint) if one is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint


def _setting(value: Any, option: Option, path: Path, where: str) -> Setting:
    """Return the setting that a value makes, if it is of the option's type."""
    kind, wanted = option.kind, ""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is bool:
        wanted = "" if isinstance(value, bool) else "true or false"
    elif kind is int:
        wanted = "" if number and isinstance(value, int) else "a whole number"
    elif kind is float:
        wanted = "" if number else "a number"
    elif kind == list[str]:
        value = [value] if isinstance(value, str) else value
        texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
        wanted = "" if texts and value else "text or a list of texts"
    elif get_origin(kind) is Literal:
        choices = get_args(kind)
        known = isinstance(value, str) and value in choices
        wanted = "" if known else f"one of {', '.join(map(repr, choices))}"
    else:
        wanted = "" if isinstance(value, str) else "text"
    if wanted:
        raise InputError(f"{path}: {where} {option.key} must be {wanted}, got {value!r}")
    return Setting(value, value if isinstance(value, (bool, list)) else str(value), where)
