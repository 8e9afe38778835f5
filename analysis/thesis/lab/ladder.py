"""Learning rates by a ladder: a few at first, then on in the direction where it still gets better.

So no layer is held back because its best rate lies outside of what was tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lab import script, training
from lab.data import Source
from lab.runs import Task
from lab.training import Setting

LADDER = (0.002, 0.007, 0.02, 0.07, 0.2, 0.7, 2.0)


class Chosen(NamedTuple):
    """The best rate of each layer, and the validation accuracy of all that were tried."""

    best: dict[str, float]
    tried: dict[str, dict[str, float]]  # of a layer, by rate


def climbed(
    lab: script.Script, task: Task, bases: Sequence[Setting], first: Sequence[float], source: Source
) -> Chosen:
    """Try the `first` rates of the ladder for each layer, and the next one while the end is best.

    The task's result has a "validation_accuracy", the last entry of which counts.
    """
    runs: dict[Setting, dict[str, Any]] = {}
    todo = training.sweep(bases, first)
    while todo:
        runs.update(zip(todo, lab.each(task, todo, source), strict=True))
        best = training.best_rates(runs.items())
        beside = training.sweep(bases, LADDER)
        todo = [s for s in beside if s not in runs and _is_next(s.rate, best[s.layer])]
        todo = [] if lab.quick else todo
    tried: dict[str, dict[str, float]] = {base.layer: {} for base in bases}
    for setting in sorted(runs, key=lambda setting: setting.rate):
        accuracy = runs[setting]["validation_accuracy"][-1]
        tried[setting.layer][f"{setting.rate:g}"] = accuracy
    return Chosen(best, tried)


def _is_next(rate: float, best: float) -> bool:
    """Return whether a rate is one step on the ladder from the best one."""
    return abs(LADDER.index(rate) - LADDER.index(best)) == 1
