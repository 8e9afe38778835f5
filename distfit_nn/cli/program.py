"""The commands of the program, in the order that its help has them, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from distfit_nn.cli import config as configuration
from distfit_nn.cli.console import print_out, say
from distfit_nn.cli.gates import check, verify
from distfit_nn.cli.measuring import analyze, compare, fit, suggest
from distfit_nn.cli.recording import record, sites
from distfit_nn.cli.reporting import demo, report
from distfit_nn.cli.settings import config as config_command
from distfit_nn.errors import DistfitError, InputError

NAME = "distfit-nn"
HELP, ASKED = ("-h", "--help"), f"{__name__}.asked"

COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Begin here": (demo, record, report),
    "Look closer": (sites, analyze, suggest, compare, fit),
    "Pass or fail": (check, verify),
    "Set up": (config_command,),
}


class Grouped(TyperGroup):
    """The program, whose help lists commands under headings."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, and note whether its help is asked for."""
        found = super().resolve_command(ctx, args)
        ctx.meta[ASKED] = not set(HELP).isdisjoint(args)
        return found

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, each under its heading."""
        width = max(len(name) for name in self.list_commands(ctx))
        for heading, functions in COMMANDS.items():
            commands = [self.commands[function.__name__] for function in functions]
            rows = [
                (f"{command.name:{width}}", command.get_short_help_str(formatter.width))
                for command in commands
            ]
            with formatter.section(heading):
                formatter.write_dl(rows)


app = typer.Typer(
    name=NAME,
    cls=Grouped,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": list(HELP)},
)
for _functions in COMMANDS.values():
    for _function in _functions:
        app.command()(_function)


def _show(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print_out(version("distfit-nn"))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def program(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Take defaults from this file, not from the next pyproject.toml."
        ),
    ] = None,
    no_config: Annotated[
        bool, typer.Option("--no-config", help="Take no defaults from a file.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Show, measure and fit how the activations of neural networks are distributed.

    \b
    A tour of a minute:
      distfit-nn demo

    \b
    Your own network, whose file net.py has a function model() and a function batches():
      distfit-nn record net.py:model --data net.py:batches --output run/
      distfit-nn report run/ --output report.html
    """
    if context.invoked_subcommand is None:
        raise InputError("a command is missing (see distfit-nn --help)")
    if config is not None and no_config:
        raise InputError("--config and --no-config exclude each other")
    context.obj = configuration.Config() if no_config else _config(context, config)
    context.default_map = context.obj.default_map()


def _config(context: typer.Context, path: Path | None) -> configuration.Config:
    """Return what the file sets, or the next one; a wrong one keeps nobody from reading help."""
    try:
        path = path or configuration.find(Path.cwd())
        commands = context.command.commands  # type: ignore[attr-defined]
        return configuration.load(path, commands) if path else configuration.Config()
    except DistfitError as error:
        if not context.meta[ASKED]:
            raise
        say(f"{NAME}: warning: {error}")
        return configuration.Config()


def usage_text(error: Any) -> str:
    """Return the one line that says how the program was called wrongly, and where help is."""
    close = getattr(error, "possibilities", None)
    if close:
        text = f"{error.message}; did you mean {close[0]}?"
    else:
        text = error.format_message().replace("Value error, ", "")
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    if context is None:
        return f"{text} (see {NAME} --help)"
    if parameter is not None and parameter.name in (context.default_map or {}):
        source = context.get_parameter_source(parameter.name)
        if source is not None and source.name == "DEFAULT_MAP":
            text += f" (set in {context.find_root().obj.path})"
    return f"{text} (see {context.command_path} --help)"
