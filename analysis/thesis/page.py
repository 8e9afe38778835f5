"""Write the page of all results, index.html, and the conclusions, conclusions.md.

Claim, figure and verdict stand side by side; each number is a link to the results it is of.
Conclusions are written where all scripts have results of the full setting: their words were chosen
for its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab import page, runs, script
from lab.chapters import SCRIPTS
from lab.errors import LabError


def main(arguments: Sequence[str] | None = None) -> None:
    """Read all results of a folder, and write both pages beside them."""
    lab = script.begin(__file__, __doc__, arguments)
    records = page.read(lab.output)
    if not records:
        raise LabError(f"{lab.output} has no results: run all.py, or one of the scripts")
    runs.replaced(lab.output / "index.html", page.html(records))
    print(lab.output / "index.html")
    quick = any(record["settings"]["quick"] for record in records.values())
    if not quick and len(records) == len(SCRIPTS):
        runs.replaced(lab.output / "conclusions.md", page.conclusions(records))
        print(lab.output / "conclusions.md")


if __name__ == "__main__":
    script.run(main)
