"""The command that shows the configuration in force."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from distfit_nn.cli.config import Config, options
from distfit_nn.cli.console import ascii_json, one_line, print_out
from distfit_nn.cli.options import AsJson
from distfit_nn.errors import InputError


def config(
    context: typer.Context,
    command: Annotated[
        str | None, typer.Argument(metavar="COMMAND", help="Only the options of this command.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the options in force, and which come from a pyproject.toml.

    Keys of [tool.distfit_nn] hold for every command that has such an option, those of
    [tool.distfit_nn.COMMAND] for that one; the command line wins. Paths are as if typed.

    \b
    Example (of pyproject.toml):
      [tool.distfit_nn]
      quiet = true
      [tool.distfit_nn.check]
      max-kl = 0.5
    """
    root = context.find_root()
    commands: dict[str, Any] = root.command.commands  # type: ignore[attr-defined]
    if command is not None and command not in commands:
        raise InputError(f"there is no command {command!r} (see distfit-nn --help)")
    found: Config = root.obj
    in_force = {
        name: _values(commands[name], found, name) for name in commands if command in (None, name)
    }
    path = None if found.path is None else str(found.path)
    if as_json:
        content = {"format": "distfit_nn.config", "version": 1, "file": path, "commands": in_force}
        print_out(ascii_json(content))
        return
    print_out(f"file: {path or 'none'}")
    for name, values in in_force.items():
        for key, one in values.items():
            print_out(one_line(f"{name} {key} = {one['value']!r}  ({one['from']})"))


def _values(command: Any, found: Config, name: str) -> dict[str, dict[str, Any]]:
    """Return the value of each option of a command, and where it is from."""
    settings = found.settings.get(name, {})
    values: dict[str, dict[str, Any]] = {}
    for option in options(command):
        setting = settings.get(option.name)
        values[option.key] = {
            "value": _plain(option.default) if setting is None else setting.value,
            "from": "default" if setting is None else setting.table,
        }
    return values


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, list)) else str(value)
