"""`check`, `verify` and `suggest` pass or fail as they should."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from distfit_nn import gate
from distfit_nn.cli.config import options
from distfit_nn.cli.program import app


@pytest.fixture
def shifted(tmp_path, rng):
    """Unit 2 has KL 4.5 nat from N(0,1), unit 3 is dead."""
    path = tmp_path / "acts.npy"
    np.save(path, rng.normal(size=(400, 4)) * [1, 1, 1, 0] + [0, 0, 3, 1])
    return path


def test_what_is_within_its_limits_passes(call, shifted):
    code, out, err = call("check", shifted, "--max-nan", 0, "--max-dead", 0.5, "-q")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("--max-nan 0 (NaN values of a unit): 4 units of 1 ")
    assert out.splitlines()[-1] == "passed"


def test_what_is_beyond_is_printed_and_fails(call, shifted):
    code, out, err = call("check", shifted, "--max-kl", 0.5, "--max-dead", 0.1, "-q")
    lines = [line.split() for line in out.splitlines()]
    assert (code, err) == (1, "")
    assert lines[0][:6] == ["rule", "layer", "site", "step", "unit", "value"]
    assert {(line[0], line[4], line[-1]) for line in lines[1:4]} == {
        ("max_kl", "2", "2"),
        ("max_kl", "3", "3"),
        ("max_dead", "-", "3"),
    }
    assert out.splitlines()[-1] == "failed"
    code, out, _ = call("check", shifted, "--max-kl", 0.5, "--json", "-q")
    result = json.loads(out)
    assert (code, result["passed"]) == (1, False)
    assert {row["unit"] for row in result["violations"]} == {2, 3}


def test_parts_of_a_store(call, small_store):
    arguments = ["check", small_store, "-q", "--max-far", 0.1, "--json"]
    names = ["--layers", "norm2", "--layers", "*3", "--site", "*_input", "--step", 0]
    code, out, _ = call(*arguments, *names)
    assert code == 1
    assert {(row["layer"], row["site"], row["step"]) for row in json.loads(out)["violations"]} == {
        ("norm2", "norm_input", 0),
        ("norm3", "norm_input", 0),
    }
    assert call(*arguments, "--site", "norm_output")[0] == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "a limit is missing"),
        (["--max-kl", -1], "max_kl must be a number from 0"),
        (["--max-dead", 2], "max_dead must be a number from 0 to 1"),
        (["--max-nan", 0, "--layers", "nothing"], "layers must match what was recorded"),
        (["--max-nan", 0, "--step", "first"], "step must be"),
        (["--max-k", 1], "did you mean --max-kl?"),
    ],
)
def test_wrong_limits_are_one_line_and_exit_2(call, shifted, wrong, said):
    code, out, err = call("check", shifted, "-q", *wrong)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_every_limit_of_the_library_is_an_option():
    import typer

    command = typer.main.get_command(app).commands["check"]
    found = {option.name for option in options(command)}
    assert {name for name in found if name.startswith("max_")} == set(gate.RULES)


def test_verify(call, tmp_path, sample_store):
    code, out, err = call("verify", sample_store)
    assert (code, err) == (0, "")
    assert out == f"{sample_store}: whole (18 tensors in 1 shard, 3.6 MB)\n"
    store = tmp_path / "run"
    shutil.copytree(sample_store, store)
    shard = next(store.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-8])
    code, out, err = call("verify", store)
    assert (code, err) == (1, "")
    assert shard.name in out.splitlines()[0]
    assert out.splitlines()[-1].startswith(f"{store}: damaged, ")
    code, out, _ = call("verify", store, "--json")
    assert (code, json.loads(out)["ok"]) == (1, False)
    code, out, err = call("verify", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_suggest(call, tmp_path, rng):
    np.save(tmp_path / "x.npy", rng.lognormal(size=(500, 2)))
    code, out, err = call("suggest", tmp_path / "x.npy", "-q", "--csv", tmp_path / "u.csv")
    assert (code, err) == (0, "")
    header, row = out.splitlines()
    assert header.split()[:5] == ["layer", "site", "step", "units", "suggestion"]
    assert row.split()[4] == "log_shift"
    assert len((tmp_path / "u.csv").read_text().splitlines()) == 3
