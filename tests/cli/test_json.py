"""What ``--json`` prints obeys its schema, which names every key; docs/json.md says the same."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import typer

from distfit_nn.cli import schemas
from distfit_nn.cli.config import options
from distfit_nn.cli.program import app

COMMANDS = typer.main.get_command(app).commands


def closed(schema):
    """Return a schema that allows no keys but those that it names."""
    schema = copy.deepcopy(schema)
    parts = [schema]
    while parts:
        part = parts.pop()
        if "properties" in part:
            part["additionalProperties"] = False
            parts += part["properties"].values()
        parts += [part[key] for key in ("items", "additionalProperties") if part.get(key)]
    return schema


def check(command, out):
    """Raise unless `out` is strict JSON as the schema of `command` says."""
    content = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    jsonschema.validate(content, closed(schemas.load(command)))
    return content


@pytest.fixture
def odd(tmp_path, rng):
    """Units that have no shape: NaN, constant, infinite, few values."""
    x = rng.normal(size=(60, 6))
    x[:, 1], x[:, 2], x[3, 3], x[5:, 4] = np.nan, 1.0, np.inf, np.nan
    path = tmp_path / "odd.npy"
    np.save(path, x)
    return path


def test_every_command_has_a_schema_and_the_option():
    assert schemas.names() == sorted(COMMANDS)
    for name, command in COMMANDS.items():
        assert "json" in {option.key for option in options(command)}, name
        jsonschema.Draft202012Validator.check_schema(schemas.load(name))


def test_the_page_is_that_of_the_schemas():
    page = Path(__file__).parents[2] / "docs" / "json.md"
    assert page.read_text(encoding="utf-8") == schemas.markdown()


@pytest.mark.parametrize("command", ["analyze", "fit", "suggest"])
def test_tables_of_odd_units(call, odd, command):
    code, out, _ = call(command, odd, "--json", "-q")
    assert code == 0
    content = check(command, out)
    assert len(content["units"]) == 6


def test_analyze_of_steps(call, small_store):
    content = check("analyze", call("analyze", small_store, "--json", "-q")[1])
    assert len(content["drift"]) == 6
    claims = {claim["kind"]: claim for claim in content["claims"]}
    assert claims["normalisation"]["layer"] in ("norm1", "norm2", "norm3")
    assert claims["drift"]["certainty"] in ("open", "likely", "sure")
    assert "{}" in claims["drift"]["measure"]


@pytest.mark.slow
def test_analyze_of_the_sample(call, sample_store):
    content = check("analyze", call("analyze", sample_store, "--json", "-q")[1])
    assert len(content["drift"]) == 6
    assert content["claims"]


@pytest.mark.parametrize("extra", [[], ["--paired"]])
def test_compare(call, odd, tmp_path, extra):
    np.savez(tmp_path / "two.npz", a=np.load(odd), b=np.load(odd)[:, :2])
    np.savez(tmp_path / "more.npz", a=np.load(odd) + 1, b=np.load(odd)[:, :3])
    code, out, _ = call("compare", tmp_path / "two.npz", tmp_path / "more.npz", "--json", *extra)
    assert code == 0
    content = check("compare", out)
    assert len(content["unmatched"]) == 1


def test_check(call, odd):
    limits = ["--max-kl", 0.1, "--max-dead", 0.1, "--max-outlier", 0.5]
    content = check("check", call("check", odd, "--json", "-q", *limits)[1])
    assert content["violations"]
    assert content["unmeasured"]


def test_report(call, odd, tmp_path):
    arguments = ["-o", tmp_path / "r.html", "--figures", tmp_path / "figures"]
    content = check("report", call("report", odd, "--json", "-q", *arguments)[1])
    assert all(Path(path).is_file() for path in content["figures"])
    assert {Path(path).suffix for path in content["figures"]} >= {".png", ".svg"}


def test_the_rest(call, home, sample_store):
    check("verify", call("verify", sample_store, "--json")[1])
    check("config", call("config", "--json")[1])
    arguments = ["record", "net:model", "--data", "net:batches", "-q", "--json"]
    check("record", call(*arguments)[1])
    check("sites", call("sites", "net:model", "--json")[1])
    check("sites", call("sites", "net:model", "--json", "--shape", "9,4")[1])


def test_an_error_prints_no_json(call, tmp_path):
    code, out, err = call("analyze", tmp_path / "missing", "--json")
    assert (code, out, err.count("\n")) == (2, "", 1)
