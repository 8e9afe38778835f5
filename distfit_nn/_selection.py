"""Which recordings of an analysis a question is about."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from distfit_nn.capture.readers import Source
from distfit_nn.errors import InputError
from distfit_nn.stats.findings import Findings


def findings_of(source: Findings | Source) -> Findings:
    """Return an analysis as it is; analyze anything else."""
    if isinstance(source, Findings):
        return source
    from distfit_nn.analysis import analyze

    return analyze(source)


def matching(patterns: Any, known: Iterable[str], what: str) -> set[str]:
    """Return which names match one of the patterns; each of these must match one.

    Raises
    ------
    InputError
        `patterns` is neither None (for all) nor text nor several, or one of them matches nothing.
    """
    names = list(dict.fromkeys(known))
    if patterns is None:
        return set(names)
    if not isinstance(patterns, Iterable):
        raise InputError(f"{what} must be names, with wildcards, got {patterns!r}")
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    if not wanted:
        raise InputError(f"{what} must name at least one, got none")
    found: set[str] = set()
    for pattern in wanted:
        hits = {n for n in names if isinstance(pattern, str) and fnmatchcase(n, pattern)}
        if not hits:
            listed = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
            raise InputError(
                f"{what} must match what was recorded, got {pattern!r}; there are {listed}"
            )
        found |= hits
    return found
