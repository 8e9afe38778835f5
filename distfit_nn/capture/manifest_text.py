"""The text of a manifest, as a writer makes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from distfit_nn.capture.manifest import FORMAT, VERSION, Manifest, Record, Shard
from distfit_nn.capture.seal import sealed


def manifest_text(
    head: Manifest, unit_sets: Iterable[Sequence[int]], shards: Iterable[Shard], lines: list[str]
) -> bytes:
    """Return the text of a manifest, with its checksum; each of `lines` is the JSON of an entry."""
    fields = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": head.written_by,
        "model": head.model,
        "rank": head.rank,
        "ranks": head.ranks,
    }
    told = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
    told += [
        _listed("unit_sets", [json.dumps(list(numbers)) for numbers in unit_sets]),
        _listed("shards", [json.dumps(shard._asdict()) for shard in shards]),
        _listed("entries", lines),
    ]
    return sealed(("{\n" + ",\n".join(told) + ",\n").encode())


def entry_text(record: Record, unit_set: int | None) -> str:
    """Return the JSON of an entry."""
    fields = record._asdict()
    del fields["ids"]
    return json.dumps({**fields, "unit_set": unit_set}, separators=(",", ":"))


def _listed(name: str, items: list[str]) -> str:
    inner = "\n" + ",\n".join(items) + "\n" if items else ""
    return f'"{name}": [{inner}]'
