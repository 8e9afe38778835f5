"""What every public docstring of `stats` says: arguments, results, bad columns, errors, source."""

from __future__ import annotations

import inspect
import re

import pytest

from distfit_nn import stats
from tests.stats.faces import OTHERS, STATISTICS

FUNCTIONS = {name.split()[0] for name in STATISTICS} | OTHERS
# Short forms of `moments` and `sketch`, which tell it of both.
SHORT = {"skewness", "kurtosis", "moments", "sketch"}


def parts(name: str) -> dict[str, str]:
    """Return the sections of the docstring of a public name, by their headings."""
    text = inspect.getdoc(getattr(stats, name)) or ""
    pieces = re.split(r"^(\w+)\n-+\n", text, flags=re.MULTILINE)
    return {"Summary": pieces[0]} | dict(zip(pieces[1::2], pieces[2::2], strict=True))


@pytest.mark.parametrize("name", sorted(FUNCTIONS - SHORT))
def test_function_has_all_sections(name: str) -> None:
    found = parts(name)
    assert {"Parameters", "Returns", "Raises", "References"} <= found.keys()
    assert "InputError" in found["Raises"]
    for argument in inspect.signature(getattr(stats, name)).parameters:
        assert re.search(rf"\b{argument}\b", found["Parameters"]), argument


@pytest.mark.parametrize("name", sorted({n.split()[0] for n in STATISTICS} - SHORT | {"drift"}))
def test_function_says_what_bad_columns_give(name: str) -> None:
    text = parts(name)["Returns"]
    rules = re.findall(r"^ *={5,} .*$", text, flags=re.MULTILINE)
    assert len(rules) == 3, "one table: a rule above the head, one below, one at the end"
    assert "inf" in text
    assert "left out" in text


@pytest.mark.parametrize("name", [n for n in stats.__all__ if inspect.isclass(getattr(stats, n))])
def test_results_name_their_fields(name: str) -> None:
    kind = getattr(stats, name)
    text = inspect.getdoc(kind) or ""
    fields = getattr(kind, "_fields", None) or tuple(getattr(kind, "__dataclass_fields__", ()))
    for field in fields:
        assert field.startswith("_") or re.search(rf"\b{field}\b", text), field
