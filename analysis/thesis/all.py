"""Run every script in the order of the thesis, then write the page.

What was run before is kept, so the same command goes on after a stop. A script that fails is named
at the end, and the others run all the same.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from lab import script
from lab.chapters import SCRIPTS

HOME = Path(__file__).parent


def main() -> None:
    """Run all with the arguments given; the exit code is 1 if one failed."""
    arguments = sys.argv[1:]
    script.begin(__file__, __doc__, arguments)  # refuses what all of them would refuse
    failed = []
    for place, name in enumerate((*SCRIPTS, "page"), 1):
        print(f"== {name} ({place} of {len(SCRIPTS) + 1})", file=sys.stderr, flush=True)
        start = time.monotonic()
        if code(name, arguments):
            failed.append(name)
        print(f"== {name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        sys.exit(1)


def code(name: str, arguments: list[str]) -> int:
    """Return the exit code of a script; one that is stopped ends before this does."""
    running = subprocess.Popen([sys.executable, HOME / f"{name}.py", *arguments])
    try:
        return running.wait()
    except KeyboardInterrupt:
        running.terminate()  # it may have had the signal already, or not
        running.wait()
        raise


if __name__ == "__main__":
    script.run(main)
