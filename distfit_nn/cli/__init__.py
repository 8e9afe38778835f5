"""The program `distfit-nn`: parse, call, exit code.

Data go to standard output, progress and messages to standard error. Exit codes: 0 fine, 1 a check
failed, 2 bad usage or bad input, 130 interrupted (143 by SIGTERM). Heavy modules are imported by
the commands that use them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from distfit_nn.cli.console import ReaderGone, say
from distfit_nn.cli.program import NAME, app, usage_text
from distfit_nn.cli.stopping import Interrupted
from distfit_nn.errors import DistfitError

__all__ = ["app", "main"]

FINE, BAD, INTERRUPTED = 0, 2, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a name gets escapes
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        code = _run(arguments)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    """Run the program and return its exit code; what goes wrong is one line on standard error."""
    try:
        # Without `standalone_mode` typer returns the code of `typer.Exit` and raises the rest.
        code = app(
            args=None if arguments is None else list(arguments),
            prog_name=NAME,
            standalone_mode=False,
        )
        if code == INTERRUPTED:  # so typer ends a KeyboardInterrupt, or by its `Abort`
            raise KeyboardInterrupt
        return code if isinstance(code, int) else FINE
    except ReaderGone:
        return FINE
    except DistfitError as error:
        say(f"{NAME}: {error}")
        return BAD
    except Interrupted as stop:
        say(f"{NAME}: {stop}")
        return stop.code
    except (KeyboardInterrupt, typer.Abort):
        say(f"{NAME}: interrupted")
        return INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # not one of typer's errors of usage
            raise
        say(f"{NAME}: {usage_text(error)}")
        return BAD


def _show_warning(message: Warning | str, *_rest: Any, **_more: Any) -> None:
    """Show a warning as one line, as all that goes to standard error."""
    say(f"{NAME}: warning: {message}")
