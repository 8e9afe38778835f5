"""The rules of a manifest's fields, checked a whole column at a time: a million entries in seconds.

A rule is asked about a list of values. Where it says no, the values are asked one by one for the
first that is to blame.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from distfit_nn.errors import InputError

DTYPES = {"float16": 2, "float32": 4, "float64": 8}  # name to bytes of a value
KINDS = ("values", "summary")
SHARD_NAME = re.compile(r"shard-\d{5,18}\.safetensors", re.ASCII)
MOST = 2**63 - 1
SHA256_WORDS = "64 hexadecimal digits, null where 'version' is 1"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Rule(NamedTuple):
    """Whether values may stand in a field, and the words for what may."""

    holds: Callable[[Sequence[Any]], bool]
    words: str


def columns(items: Any, where: str, rules: dict[str, Rule]) -> dict[str, list[Any]]:
    """Return each field of a list of objects as a list of values, which obey its rule.

    Raises
    ------
    InputError
        It is no list, an item is no object, or a field is missing or breaks its rule.
    """
    if not isinstance(items, list):
        raise InputError(f"{where!r} must be a list, got {type(items).__name__}")
    if not set(map(type, items)) <= {dict}:
        i = next(i for i, item in enumerate(items) if type(item) is not dict)
        raise InputError(f"{where}[{i}] must be an object, got {type(items[i]).__name__}")
    found = {}
    for name, rule in rules.items():
        try:
            values = list(map(itemgetter(name), items))
        except KeyError:
            i = next(i for i, item in enumerate(items) if name not in item)
            raise InputError(f"{where}[{i}] has no {name!r}") from None
        check(values, f"{where}[{{}}]: {name!r}", rule)
        found[name] = values
    return found


def check(values: Sequence[Any], where: str, rule: Rule) -> None:
    """Raise `InputError` with the place (in the braces of `where`) of the first wrong value."""
    if not rule.holds(values):
        i = next((i for i, value in enumerate(values) if not rule.holds([value])), 0)
        raise InputError(f"{where.format(i)} must be {rule.words}, got {reprlib.repr(values[i])}")


def _types(values: Sequence[Any]) -> set[type]:
    return set(map(type, values))


def _are_texts(values: Sequence[Any]) -> bool:
    if not _types(values) <= {str}:
        return False
    try:
        "".join(set(values)).encode()
    except UnicodeEncodeError:  # a lone surrogate is no character
        return False
    return True


def _are_texts_or_null(values: Sequence[Any]) -> bool:
    return _are_texts([value for value in values if value is not None])


def _from(least: int) -> Callable[[Sequence[Any]], bool]:
    def hold(values: Sequence[Any]) -> bool:
        if not _types(values) <= {int}:  # a bool is none
            return False
        return not values or (min(values) >= least and max(values) <= MOST)

    return hold


def _or_null(holds: Callable[[Sequence[Any]], bool]) -> Callable[[Sequence[Any]], bool]:
    return lambda values: holds([value for value in values if value is not None])


def _one_of(choices: tuple[str | None, ...]) -> Callable[[Sequence[Any]], bool]:
    def hold(values: Sequence[Any]) -> bool:
        return _types(values) <= {str, type(None)} and set(values) <= set(choices)

    return hold


def _match(pattern: re.Pattern[str]) -> Callable[[Sequence[Any]], bool]:
    def hold(values: Sequence[Any]) -> bool:
        return _types(values) <= {str} and all(map(pattern.fullmatch, values))

    return hold


def _are_versions(values: Sequence[Any]) -> bool:
    return _types(values) <= {int} and set(values) <= {1, 2}


def _are_unit_sets(values: Sequence[Any]) -> bool:
    """Whether each is a list of different numbers of units."""
    if not _types(values) <= {list}:
        return False
    numbers = _from(0)
    return all(value and numbers(value) and len(set(value)) == len(value) for value in values)


TEXT = Rule(_are_texts, "valid text")
COUNT = Rule(_from(0), "a whole number of at least 0")
COUNT_OR_NULL = Rule(_or_null(_from(0)), "null or a whole number of at least 0")
POSITIVE = Rule(_from(1), "a whole number of at least 1")
POSITIVE_OR_NULL = Rule(_or_null(_from(1)), "null or a whole number of at least 1")
UNIT_SETS = Rule(_are_unit_sets, "a list of one or more different whole numbers of at least 0")
SHARDS_1 = {
    "file": Rule(_match(SHARD_NAME), "a name like 'shard-00000.safetensors'"),
    "bytes": POSITIVE,
}
SHARDS = {
    **SHARDS_1,
    "sha256": Rule(_or_null(_match(_SHA256)), SHA256_WORDS),
    "version": Rule(_are_versions, "1 or 2"),
}
ENTRIES_1 = {
    "shard": COUNT,
    "key": TEXT,
    "layer": TEXT,
    "site": TEXT,
    "step": COUNT,
    "call": COUNT,
    "activation": Rule(_are_texts_or_null, "valid text or null"),
    "rows": POSITIVE,
    "units": POSITIVE,
    "rows_seen": POSITIVE,
    "dtype": Rule(_one_of(tuple(DTYPES)), " or ".join(DTYPES)),
}
ENTRIES = {
    "kind": Rule(_one_of(KINDS), " or ".join(KINDS)),
    **ENTRIES_1,
    "dtype": Rule(_one_of((*DTYPES, None)), f"{' or '.join(DTYPES)}, null for a summary"),
    "unit_set": COUNT_OR_NULL,
}
