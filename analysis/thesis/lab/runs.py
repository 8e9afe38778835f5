"""Runs in processes, kept on disk one by one, so that what was stopped goes on where it was."""

from __future__ import annotations

import dis
import hashlib
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from multiprocessing import get_context
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch

import distfit_nn
from lab.data import Source
from lab.errors import LabError

Task = Callable[[Any, Any], dict[str, Any]]

HOME = Path(__file__).resolve().parents[1]
MEASURED = ("copula", "maxent", "nn", "stats", "targets", "transforms")  # parts of the package


@dataclass(frozen=True)
class Run:
    """What a task returned, and how long it took when it was run."""

    result: dict[str, Any]
    seconds: float


def each(
    task: Task, settings: Sequence[Any], source: Source | None, *, jobs: int, folder: Path
) -> list[Run]:
    """Return task(setting, source) of each setting, a dataclass; what was run before is read.

    The task is a function of a module, and returns what JSON can hold. A run is known by its
    setting, by its data, and by the source text of the task, of all that it calls here, and of the
    package: whatever changes these runs anew.
    """
    made(folder)
    paths = [folder / f"{key(task, setting, source)}.json" for setting in settings]
    found = {path: run for path in dict.fromkeys(paths) if (run := _kept(path)) is not None}
    todo = {
        path: setting for path, setting in zip(paths, settings, strict=True) if path not in found
    }
    if found:
        total = len(found) + len(todo)
        print(f"{_name(task)}: {len(found)} of {total} runs are kept", file=sys.stderr)
    telling = _varied(list(todo.values()))
    start = time.monotonic()
    for done, (path, run) in enumerate(_computed(task, todo, source, jobs), 1):
        record = {"task": _name(task), "setting": asdict(todo[path]), **asdict(run)}
        text = json.dumps(record)
        replaced(path, text)
        found[path] = _run(text)  # as JSON has it, whether it is kept or new
        left = (time.monotonic() - start) / done * (len(todo) - done)
        print(
            f"{_name(task)}: {done} of {len(todo)}, about {left / 60:.1f} min left: "
            + ", ".join(f"{name} {record['setting'][name]}" for name in telling),
            file=sys.stderr,
            flush=True,
        )
    return [found[path] for path in paths]


def made(folder: Path) -> None:
    """Make a folder if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{folder} cannot be a folder to write to: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise LabError(f"{folder} cannot be written to")


def _kept(path: Path) -> Run | None:
    """Return a run that was kept; None if there is none, or only a damaged one."""
    if not path.exists():
        return None
    try:
        return _run(path.read_text("utf-8"))
    except (ValueError, KeyError, TypeError):
        print(f"{path} is damaged: it is run again", file=sys.stderr)
        return None


def _run(text: str) -> Run:
    record = json.loads(text)
    return Run(record["result"], record["seconds"])


def _varied(settings: Sequence[Any]) -> list[str]:
    """Return which fields are not the same in all settings."""
    described = [asdict(setting) for setting in settings]
    return [
        name
        for name in (described[0] if described else ())
        if any(other[name] != described[0][name] for other in described)
    ]


def replaced(path: Path, text: str) -> None:
    """Write a file under another name, then give it its own."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


def key(task: Task, setting: Any, source: Source | None) -> str:
    """Return what a run is known by."""
    parts = (
        asdict(setting),
        source and (source.name, source.digest),
        source_text(task),
        _package_digest(),
        torch.__version__,
    )
    text = json.dumps(parts, sort_keys=True)
    return f"{_name(task)}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


@cache  # once a process: files may be edited while it runs what it has read
def source_text(function: Any) -> str:
    """Return the source of a function and of what it calls in this folder, and its constants."""
    found: dict[str, str] = {}
    stack = [function]
    while stack:
        one = stack.pop()
        name = f"{Path(inspect.getfile(one)).stem}.{one.__qualname__}"
        if name in found:
            continue
        found[name] = inspect.getsource(one)
        functions = [one] if isinstance(one, FunctionType) else list(vars(one).values())
        for each in functions:
            if isinstance(each, FunctionType):
                for used, wrapped in _globals(each.__code__, each.__globals__):
                    value = inspect.unwrap(wrapped) if callable(wrapped) else wrapped
                    if _constant(value):
                        found[f"{name}:{used}"] = repr(value)
                    elif isinstance(value, (FunctionType, type)) and _here(value):
                        stack.append(value)
    return "\n".join(found[name] for name in sorted(found))


def _globals(code: CodeType, names: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the global names that code reads, and what modules of this folder give it."""
    for name in dict.fromkeys(_read_by(code)):
        value = names.get(name)
        if isinstance(value, ModuleType) and _here(value):
            yield from ((each, getattr(value, each, None)) for each in code.co_names)
        elif value is not None:
            yield name, value
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant, names)


def _read_by(code: CodeType) -> Iterator[str]:
    """Yield the globals that code reads; `co_names` has the names of attributes, too."""
    for step in dis.get_instructions(code):
        if step.opname == "LOAD_GLOBAL":
            yield step.argval


def _constant(value: Any) -> bool:
    """Return whether a global is a number, a word, or a tuple of such."""
    if isinstance(value, tuple):
        return all(map(_constant, value))
    return isinstance(value, (int, float, str))


def _here(thing: Any) -> bool:
    """Return whether something is defined in this folder."""
    try:
        return Path(inspect.getfile(thing)).resolve().is_relative_to(HOME)
    except (TypeError, OSError):  # built in
        return False


@lru_cache(maxsize=1)
def _package_digest() -> str:
    root = Path(distfit_nn.__file__).parent
    digest = hashlib.sha256()
    for part in MEASURED:
        for path in sorted((root / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _name(task: Task) -> str:
    return f"{Path(inspect.getfile(task)).stem}.{task.__qualname__}"


def _computed(
    task: Task, todo: dict[Path, Any], source: Source | None, jobs: int
) -> Iterator[tuple[Path, Run]]:
    """Yield each result as it comes, from this process or from several."""
    jobs = min(jobs, len(todo))
    if jobs <= 1:
        _one_thread()
        yield from ((path, _timed(task, setting, source)) for path, setting in todo.items())
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _one_thread) as pool:
        futures = {
            pool.submit(_timed, task, setting, source): path for path, setting in todo.items()
        }
        try:
            yield from ((futures[future], future.result()) for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


def _timed(task: Task, setting: Any, source: Source | None) -> Run:
    start = time.monotonic()
    result = task(setting, source)
    return Run(result, round(time.monotonic() - start, 2))


def _one_thread() -> None:
    """Let a run have one thread: as many run at once as there are processes."""
    torch.set_num_threads(1)
