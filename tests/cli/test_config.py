"""Defaults from ``[tool.distfit_nn]`` of a pyproject.toml."""

from __future__ import annotations

import json

import pytest

TOML = """
[tool.distfit_nn]
quiet = true
order = 4

[tool.distfit_nn.check]
max-kl = 0.5
max_dead = 0.1
layers = ["acts"]

[tool.distfit_nn.record]
sites = "norm"
train = true
"""


def in_force(call, *options):
    code, out, err = call(*options, "config", "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(TOML)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    return tmp_path


def test_the_nearest_file_with_our_table_is_found(project, call):
    found = in_force(call)
    assert found["file"] == str(project / "pyproject.toml")
    check = found["commands"]["check"]
    assert check["max-kl"] == {"value": 0.5, "from": "[tool.distfit_nn.check]"}
    assert check["max-dead"]["value"] == 0.1
    assert check["order"] == {"value": 4, "from": "[tool.distfit_nn]"}
    assert check["max-far"] == {"value": None, "from": "default"}
    assert found["commands"]["record"]["sites"]["value"] == ["norm"]
    assert found["commands"]["record"]["train"]["value"] is True
    (project / "deep" / "pyproject.toml").write_text("[project]\n")  # none of ours: passed over
    assert in_force(call)["file"] == str(project / "pyproject.toml")
    (project / "deep" / "pyproject.toml").write_text("[tool.distfit_nn]\n")
    assert in_force(call)["file"] == str(project / "deep" / "pyproject.toml")


def test_it_holds_and_the_command_line_wins(project, call, array):
    code, out, err = call("check", array)  # far from a KL of 0.5, and quiet
    assert (code, err) == (0, "")
    assert "--max-kl 0.5 " in out
    assert "--max-dead 0.1 " in out
    code, out, _ = call("check", array, "--max-kl", 0)
    assert code == 1
    assert "--max-kl 0 " in out
    assert json.loads(call("analyze", array, "--json")[1])["order"] == 4
    assert json.loads(call("analyze", array, "--json", "--order", 2)[1])["order"] == 2


def test_no_config_and_another_file(project, call, array, tmp_path):
    assert call("--no-config", "check", array)[0] == 2  # no limit
    other = tmp_path / "other.toml"
    other.write_text("[tool.distfit_nn.check]\nmax-nan = 0\n")
    code, out, _ = call("--config", other, "check", array, "-q")
    assert code == 0
    assert "max-kl" not in out
    assert call("--config", other, "--no-config", "check", array)[0] == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.distfit_nn]\nmax-kll = 1", "[tool.distfit_nn] max-kll: there is no such option"),
        ("[tool.distfit_nn]\nmax-kll = 1", "did you mean 'max-kl'?"),
        ("[tool.distfit_nn.chekc]\nmax-kl = 1", "chekc: there is no such command; did you mean"),
        ("[tool.distfit_nn.fit]\nmax-kl = 1", "[tool.distfit_nn.fit] max-kl: there is no such"),
        ("[tool.distfit_nn.check]\nmax-kl = 'a'", "max-kl must be a number, got 'a'"),
        ("[tool.distfit_nn.check]\nmax-nan = 0.5", "max-nan must be a whole number, got 0.5"),
        ("[tool.distfit_nn.check]\nmax-nan = true", "max-nan must be a whole number, got True"),
        ("[tool.distfit_nn.check]\nlayers = [1]", "layers must be text or a list of texts"),
        ("[tool.distfit_nn]\nquiet = 1", "[tool.distfit_nn] quiet must be true or false, got 1"),
        ("[tool.distfit_nn.record]\nmode = 'z'", "mode must be one of 'x', 'a', 'w', got 'z'"),
        ("[tool.distfit_nn.record]\noutput = 3", "output must be text, got 3"),
        ("[tool]\ndistfit_nn = 3", "tool.distfit_nn must be a table, got 3"),
        ("[tool.distfit_nn", "is no TOML"),
        ("[tool.distfit_nn.demo]\nseed = -1", "(set in"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_file_and_key(tmp_path, monkeypatch, call, text, said):
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    code, out, err = call("demo")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert str(path) in err
    assert said in err


@pytest.mark.parametrize("text", ["[tool.distfit_nn", "[tool.distfit_nn]\nnonsense = 1"])
def test_a_wrong_file_keeps_nobody_from_reading_help(tmp_path, monkeypatch, call, text):
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert call("--help")[::2] == call("--version")[::2] == (0, "")
    for word in ("--help", "-h"):
        code, out, err = call("check", word)
        assert (code, err.count("\n")) == (0, 1)
        assert "--max-kl" in out
        assert err.startswith(f"distfit-nn: warning: {tmp_path / 'pyproject.toml'}: ")


def test_a_file_that_is_named_must_have_it(tmp_path, call):
    path = tmp_path / "pyproject.toml"
    assert "cannot be read" in call("--config", path, "config")[2]
    path.write_text("[project]\n")
    assert "has no table [tool.distfit_nn]" in call("--config", path, "config")[2]
    path.write_bytes(b"\xff")
    assert "is no TOML" in call("--config", path, "config")[2]


def test_config_of_one_command(project, call):
    code, out, _ = call("config", "check")
    assert code == 0
    assert "check max-kl = 0.5  ([tool.distfit_nn.check])" in out.splitlines()
    assert "record" not in out
    assert call("config", "nonsense")[0] == 2
