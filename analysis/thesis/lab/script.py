"""The command line that all scripts share."""

from __future__ import annotations

import argparse
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # figures go to files

from lab import data, runs
from lab.data import Source
from lab.errors import LabError
from lab.results import Clock, Results

HOME = Path(__file__).resolve().parents[1]
BUILD = HOME.parents[1] / "build" / "thesis"


@dataclass(frozen=True)
class Script:
    """What the command line said to one script."""

    name: str
    quick: bool
    seeds: int
    jobs: int
    given: tuple[Path, ...]  # --data
    output: Path
    overwrite: bool
    kept: Path  # where runs are kept
    clock: Clock = field(default_factory=Clock)

    def source(self, name: str) -> Source:
        """Return a data set, "mnist" or "cifar10"; in the quick setting the digits for any."""
        return data.find("digits" if self.quick else name, self.given)

    def each(
        self, task: runs.Task, settings: Sequence[Any], source: Source | None = None
    ) -> list[dict[str, Any]]:
        """Return task(setting, source) of each setting, in their order; see `runs.each`."""
        start = time.monotonic()
        found = runs.each(task, settings, source, jobs=self.jobs, folder=self.kept)
        self.clock.waited += time.monotonic() - start
        self.clock.computed += sum(run.seconds for run in found)
        return [run.result for run in found]

    def results(self, title: str, settings: Mapping[str, Any], *sources: Source) -> Results:
        """Return the results to write, before the long part: other ones are not replaced."""
        data = {source.name: source.digest for source in sources}
        settings = {"quick": self.quick, "seeds": self.seeds, "data": data, **settings}
        return Results(self.name, title, settings, self.output, self.overwrite, self.clock)


def begin(
    file: str,
    doc: str | None,
    arguments: Sequence[str] | None,
    *,
    seeds: int = 5,
    quick_seeds: int = 2,
) -> Script:
    """Parse the command line of the script `file`, whose docstring is `doc`."""
    parser = argparse.ArgumentParser(
        prog=Path(file).name,
        description=inspect.cleandoc(doc or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="under a minute, on scikit-learn's digits"
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="files, or folders with them: .npz with MNIST and CIFAR-10 (without: fetched from "
        "OpenML), movies.csv for real_table",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="default: the results beside the scripts, with --quick build/thesis/quick",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace results of other settings"
    )
    parser.add_argument(
        "--seeds", type=int, metavar="N", help=f"default: {seeds}, with --quick {quick_seeds}"
    )
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="default: %(default)s"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=BUILD / "runs",
        metavar="FOLDER",
        help="where runs are kept, to go on from (default: build/thesis/runs)",
    )
    said = parser.parse_args(arguments)
    for path in said.data:
        if not path.exists():
            parser.error(f"--data: there is no file or folder {path}")
    for name in ("seeds", "jobs"):
        value = getattr(said, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    default = BUILD / "quick" if said.quick else HOME / "results"
    return Script(
        name=Path(file).stem,
        quick=said.quick,
        seeds=said.seeds or (quick_seeds if said.quick else seeds),
        jobs=said.jobs,
        given=tuple(said.data),
        output=said.output or default,
        overwrite=said.overwrite,
        kept=said.runs,
    )


def run(main: Callable[[], None]) -> None:
    """Call a script's main; what a person can mend is one line and exit code 2.

    A polite kill ends a script as Ctrl-C does, and its processes with it.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except LabError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; what was run is kept, and the same command goes on", file=sys.stderr)
        sys.exit(130)
