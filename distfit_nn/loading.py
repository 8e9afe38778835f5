"""Objects that a command line names as ``MODULE:NAME``, and the errors of the code behind them.

Nothing here imports torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from distfit_nn.errors import DistfitError, FileError, InputError

LONGEST = 300  # characters of another one's message
_PLACES = ("stdlib", "platstdlib", "purelib", "platlib")
_WATCHER = (os.path.join("capture", "watch.py"), "__torch_function__")  # each call passes it
_LIBRARIES = tuple(
    os.path.realpath(path) + os.sep
    for path in (*map(sysconfig.get_path, _PLACES), os.path.dirname(__file__))
)


def load_object(text: str, *, debug: bool = False) -> Any:
    """Return what ``MODULE:NAME`` names.

    Parameters
    ----------
    text : str
        MODULE is a module that can be imported, from the current directory first as ``python -m``
        does (``nets.mine``), or a path (``nets/mine.py``), whose folder its own imports then see
        first. NAME is a name in it, or names joined by dots.
    debug : bool, default False
        Print the traceback of an error in the module to standard error.

    Raises
    ------
    InputError
        The text has another form, there is no such module or name, or importing it fails: one
        sentence that says where.
    FileError
        There is no such file.

    Examples
    --------
    >>> load_object("math:tau")
    6.283185307179586
    """
    module_name, colon, name = text.rpartition(":")
    if not colon or not module_name or not all(part.isidentifier() for part in name.split(".")):
        raise InputError(f"must be MODULE:NAME, as net.py:model or nets.mine:model, got {text!r}")
    with user_code(f"importing {module_name}", debug):
        module = _module(module_name)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise InputError(f"{module_name} has no {name!r}{_hint(part, dir(found))}") from None
    return found


@contextmanager
def user_code(what: str, debug: bool = False) -> Iterator[None]:
    """Turn an exception of somebody else's code into an `InputError` of one line.

    The line names `what` was done, the exception, and where that code raised it: the innermost
    line that is in no library, if there is one, else the innermost one. A bug of this package stays
    what it is; what the block itself calls is not of this package. With `debug` the whole traceback
    goes to standard error before.
    """
    try:
        yield
    except DistfitError:
        raise
    except (Exception, SystemExit) as error:
        if _is_ours(error):
            raise
        if debug:
            traceback.print_exception(error)
        raise InputError(f"{what}: {_told(error)}{_place(error)}") from error


def _module(name: str) -> ModuleType:
    if name.endswith(".py") or os.sep in name:
        return _from_file(Path(name))
    _search_first(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # it is there, but lacks something itself
        raise InputError(
            f"there is no module {error.name!r} in the current directory, nor is it installed"
        ) from None


def _from_file(path: Path) -> ModuleType:
    """Return the module of a file, imported once."""
    path = path.resolve()
    if not path.is_file():
        raise FileError(f"{path}: there is no such file")
    _search_first(str(path.parent))
    name = path.stem
    there = sys.modules.get(name)
    if there is not None and getattr(there, "__file__", None) != str(path):
        name = f"_distfit_nn_{name}"  # another module has that name
        there = sys.modules.get(name)
    if there is not None and getattr(there, "__file__", None) == str(path):
        return there
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileError(f"{path}: is no Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, as an import does
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _search_first(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _hint(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _told(error: BaseException) -> str:
    """Return the kind of an exception and its message, on one line and not too long."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r})"
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    text = " ".join(f"{type(error).__name__}: {message}".split()).removesuffix(":")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _place(error: BaseException) -> str:
    """Return where an exception was raised, in parentheses: a file and a line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({_short(error.filename)}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    others = [frame for frame in frames if not _is_package(frame.filename)]
    own = [frame for frame in others if not _is_library(frame.filename)] or others
    return f" ({_short(own[-1].filename)}:{own[-1].lineno})" if own else ""


def _is_ours(error: BaseException) -> bool:
    """Return whether an exception was raised in this package, which is a bug of it.

    What compiled code raises has no frame of its own: it seems to come from where it was called.
    """
    frames = list(traceback.extract_tb(error.__traceback__)[2:])  # behind `user_code` and its block
    while frames and _passes_on(frames[-1]):
        frames.pop()
    return bool(frames) and _is_package(frames[-1].filename)


def _passes_on(frame: traceback.FrameSummary) -> bool:
    """Return whether a frame is where the watcher passes a call of the user's model on to torch."""
    file, function = _WATCHER
    return frame.name == function and os.path.realpath(frame.filename) == os.path.join(
        _LIBRARIES[-1], file
    )


def _is_package(filename: str) -> bool:
    return os.path.realpath(filename).startswith(_LIBRARIES[-1])


def _is_library(filename: str) -> bool:
    return filename.startswith("<") or os.path.realpath(filename).startswith(_LIBRARIES)


def _short(filename: str) -> str:
    """Return a path as seen from the current directory, where it is below it."""
    try:
        return str(Path(filename).resolve().relative_to(Path.cwd()))
    except ValueError:
        return filename
