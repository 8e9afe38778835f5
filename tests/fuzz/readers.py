"""Fuzz the readers and the parser of manifests.

    python -m tests.fuzz.readers --runs 20000 --kind .npy

breaks small valid files, and reads them. Whatever is in a file, reading it either gives tables of
real numbers or raises `FileError` or `InputError`, of one short line that names the file, in less
than two seconds of computing. Where atheris is installed, ``--coverage`` lets it choose what to
break by which lines are reached. The process ends with 1, and the input is kept, where anything
else happens.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np

from distfit_nn.capture.manifest import parse_manifest
from distfit_nn.capture.readers import read
from distfit_nn.errors import FileError, InputError
from distfit_nn.streaming import Settings, summarise_stored
from tests.fuzz import seeds
from tests.fuzz.mutate import inside, mutated
from tests.stores import resealed

SECONDS = 2.0  # of computing that a small file may take, however busy the machine is
LONGEST = 300  # characters of a message, beside the name of the file


class Defect(Exception):
    """Reading did what it must never do."""


def check_file(path: Path) -> str:
    """Read a file; return "read" or what its error says; raise `Defect` for anything else."""
    return _checked(path, lambda: _read_all(path))


def check_manifest(content: bytes) -> str:
    """Parse the text of a manifest, and again with its checksum put right; as `check_file`."""
    path = Path("run", seeds.MANIFEST)
    _checked(path, lambda: parse_manifest(content, path))
    mended = resealed(content)
    return _checked(path, lambda: parse_manifest(mended, path))


def _checked(path: Path, act: Callable[[], object]) -> str:
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            act()
        told = "read"
    except (FileError, InputError) as error:
        told = str(error)
        _check_message(path, told)
        if error.__context__ is not None and not error.__suppress_context__:
            raise Defect(f"an error with a cause that is shown: {told}") from error
    except Exception as error:
        raise Defect(f"{type(error).__name__}: {error}") from error
    seconds = time.process_time() - start
    if seconds > SECONDS:
        raise Defect(f"it took {seconds:.1f} s: {told}")
    return told.replace(str(path), "FILE")


def _check_message(path: Path, told: str) -> None:
    if "\n" in told or len(told) > LONGEST + len(str(path)) or path.name not in told:
        raise Defect(f"the message is not one short line with the name of the file: {told!r}")
    told.encode()  # it can be printed


def _read_all(path: Path) -> None:
    for entry in read(path):
        rows = 0
        if entry.summaries:
            summarise_stored(entry, Settings())
            continue
        for part in entry.parts():
            for chunk in part.chunks():
                if chunk.shape[1] != entry.units or chunk.dtype.kind not in "fiub":
                    raise Defect(f"a chunk is {chunk.shape} {chunk.dtype}")
                rows += len(chunk)
                np.isfinite(chunk).sum()
        if rows != entry.rows or rows == 0 or entry.units == 0 or entry.rows_seen < 1:
            raise Defect(f"an entry has {rows} rows of {entry.rows}, {entry.units} units")


def fuzz(name: str, runs: int, seed: int, folder: Path) -> Counter[str]:
    """Break the file of a name so many times; return how often each outcome was."""
    rng = random.Random(f"{name} {seed}")
    files = seeds.seeds() | {seeds.MANIFEST: seeds.manifest()}
    found: Counter[str] = Counter()
    others = tuple(files.values())
    for _ in range(runs):
        whole = rng.random() < 0.5
        content = mutated(files[name], rng, others) if whole else inside(files[name], rng)
        found[check(name, content, folder)[:60]] += 1
    return found


def check(name: str, content: bytes, folder: Path) -> str:
    """Check what is read from `content` in a file of that name; keep it where it fails."""
    path = folder / name
    path.write_bytes(content)  # before it is read: it is there even if the process dies
    return check_manifest(content) if name == seeds.MANIFEST else check_file(path)


def fuzz_store(runs: int, seed: int, folder: Path) -> Counter[str]:
    """Break files of a store, and read it as a whole."""
    rng = random.Random(f"store {seed}")
    files = seeds.store()
    found: Counter[str] = Counter()
    store = folder / "run"
    store.mkdir(exist_ok=True)
    for _ in range(runs):
        broken = rng.choice((seeds.MANIFEST, rng.choice(sorted(files))))
        for name, content in files.items():
            (store / name).write_bytes(_broken(content, rng) if name == broken else content)
        found[check_file(store)[:60]] += 1
    return found


def _broken(content: bytes, rng: random.Random) -> bytes:
    return inside(content, rng) if rng.random() < 0.7 else mutated(content, rng)


def coverage(name: str, runs: int, folder: Path) -> None:
    """Let atheris break the file of a name; it ends the process."""
    import atheris

    def one(content: bytes) -> None:
        check(name, content, folder)

    def mutator(content: bytes, size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        way = rng.randrange(3)
        if way == 0:
            return atheris.Mutate(content, size)
        try:
            return (inside if way == 1 else mutated)(content, rng)[:size]
        except Exception:  # it is no archive any more
            return mutated(content, rng)[:size]

    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "seed").write_bytes((seeds.seeds() | {seeds.MANIFEST: seeds.manifest()})[name])
    for module in [m for n, m in sys.modules.items() if n.startswith("distfit_nn.capture")]:
        instrument(atheris, module)
    flags = [
        f"-runs={runs}",
        "-max_len=20000",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one, custom_mutator=mutator)
    atheris.Fuzz()


def instrument(atheris: ModuleType, module: ModuleType) -> None:
    """Have atheris see which lines of the functions of a module are reached."""
    for value in list(vars(module).values()):
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            atheris.instrument_func(value)


def main() -> int:
    """Run what the command line says; return the status of the process."""
    parser = argparse.ArgumentParser(description="Fuzz the readers and the parser of manifests.")
    parser.add_argument("--runs", type=int, default=1000, help="of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default="", help="part of the name of a file; 'store' for one")
    parser.add_argument("--coverage", action="store_true", help="with atheris; one kind only")
    given = parser.parse_args()
    faulthandler.enable()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    names = [name for name in (*seeds.seeds(), seeds.MANIFEST) if given.kind in name]
    if given.coverage:
        coverage(names[0], given.runs, folder)
    acts = {name: partial(fuzz, name, given.runs, given.seed, folder) for name in names}
    if given.kind in "store":
        acts["store"] = partial(fuzz_store, given.runs, given.seed, folder)
    passed = [report(name, act, folder) for name, act in acts.items()]
    return int(not all(passed))


def report(name: str, act: Callable[[], Counter[str]], folder: Path) -> bool:
    """Print what came of a run; return whether all was well."""
    print(f"{name}: ", end="", flush=True)
    start = time.monotonic()
    try:
        found = act()
    except Defect as defect:
        print(f"{defect}; the input is in {folder}")
        return False
    read_all = found.pop("read", 0)
    print(f"{read_all} read, {found.total()} refused in {time.monotonic() - start:.1f} s")
    for told, count in found.most_common(4):
        print(f"    {count:6} {told}")
    return True


if __name__ == "__main__":
    sys.exit(main())
