"""Run every script in the order of the thesis, then write the page.

What was run before is kept, so the same command goes on after a stop. A script that fails is named
at the end, and the others run all the same.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab.chapters import SCRIPTS

HOME = Path(__file__).parent


def main(arguments: Sequence[str]) -> int:
    """Run all with the same arguments; return 0, or 1 if one failed."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__, "Arguments are passed on to each script; of any of them:", sep="\n")
        return subprocess.run([sys.executable, HOME / "tables.py", "--help"]).returncode
    failed = []
    for place, name in enumerate((*SCRIPTS, "page"), 1):
        print(f"== {name} ({place} of {len(SCRIPTS) + 1})", file=sys.stderr, flush=True)
        start = time.monotonic()
        code = subprocess.run([sys.executable, HOME / f"{name}.py", *arguments]).returncode
        print(f"== {name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        if code == 130:  # Ctrl-C is meant for all
            return code
        if code:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
