"""JSON Schemas of what each command prints with ``--json``, and the page that documents them.

The files beside this one are the schemas, by command. ``python -m distfit_nn.cli.schemas`` prints
docs/json.md, which a test compares with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

_INTRODUCTION = """\
# JSON

<!-- Written by `python -m distfit_nn.cli.schemas`; edit the schemas in distfit_nn/cli/schemas. -->

With `--json` every command prints one object to standard output: strict JSON in ASCII. What JSON
has no number for (NaN, infinity) is null; so is a number that is missing. `format` and `version`
name the object; a version changes when a key goes or changes its meaning, while new keys may come
at any time: ignore those that you do not know. An error prints no JSON: it is one line on standard
error and the exit code (0 fine, 1 a check failed, 2 bad usage or bad input, 130 interrupted). With
exit code 1, `check` and `verify` print their object as they do with 0.

Each table below is a JSON Schema (draft 2020-12) in `distfit_nn/cli/schemas/`, by command;
`distfit_nn.cli.schemas.load("analyze")` returns it. A description begins with the unit, where there
is one; shares and probabilities are from 0 to 1. `layers[]` stands for each object of the list.
"""


def names() -> list[str]:
    """Return the commands that have a schema, in the order of the alphabet."""
    return sorted(
        path.name.removesuffix(".json")
        for path in files(__package__).iterdir()
        if path.name.endswith(".json")
    )


def load(command: str) -> dict[str, Any]:
    """Return the schema of what a command prints."""
    text = files(__package__).joinpath(f"{command}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def markdown() -> str:
    """Return the page that documents all schemas."""
    parts = [_INTRODUCTION]
    for name in names():
        schema = load(name)
        rows = "\n".join(_rows(schema, ""))
        parts.append(
            f"## distfit-nn {name}\n\n{schema['description']}\n\n"
            f"| key | type | meaning |\n|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def _rows(schema: dict[str, Any], prefix: str) -> Iterator[str]:
    """Yield a row of the table for each key of an object, and of the objects within."""
    keys = list(schema.get("properties", {}).items())
    inner = schema.get("additionalProperties")
    if isinstance(inner, dict):
        keys.append(("*", inner))
    for key, value in keys:
        name = f"{prefix}{key}"
        text = value.get("description", "").replace("|", "\\|")
        yield f"| `{name}` | {_type(value)} | {text} |"
        yield from _rows(value, f"{name}.")
        if "items" in value:
            yield from _rows(value["items"], f"{name}[].")


def _type(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "array" in kinds and "items" in schema and "properties" not in schema["items"]:
        kinds = [f"array of {_type(schema['items'])}", *kinds[1:]]
    return " or ".join(kinds)
