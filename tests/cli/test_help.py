"""Help, hints, completion: at once, with an example of each command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from distfit_nn.capture.readers import kinds
from distfit_nn.cli.program import COMMANDS, app
from tests.cli.cases import ROOT

NAMES = sorted(typer.main.get_command(app).commands)


def test_help_begins_with_what_a_newcomer_needs(call):
    code, out, err = call("--help")
    assert (code, err) == (0, "")
    places = [out.index(word) for word in ("distfit-nn demo", "distfit-nn record", *COMMANDS)]
    assert places == sorted(places)
    assert "..." not in out.replace("[ARGS]...", "")  # no sentence is cut


@pytest.mark.parametrize("name", NAMES)
def test_help_of_each_command_has_an_example(call, name):
    code, out, err = call(name, "--help")
    assert (code, err) == (0, "")
    example = out[out.index("Example") :]
    assert f"distfit-nn {name}" in example or "[tool.distfit_nn]" in example
    assert "--json" in out


def test_a_source_is_of_any_kind_that_is_read(call):
    out = call("analyze", "--help")[1]
    said = out[out.index("SOURCE", out.index("Arguments")) : out.index("Options:")]
    words = set(said.replace("(", " ").replace(")", " ").replace(",", " ").split())
    assert set(kinds.FILES) <= {word.rstrip(".;") for word in words}
    behind = " ".join(said[said.index("URL:") :].split())
    assert [name for name, kind in kinds.FILES.items() if kind.urls and name in behind] == [
        name for name, kind in kinds.FILES.items() if kind.urls
    ]
    assert "folder" in said
    assert kinds.tensorboard.SIGN in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analyse"], "Did you mean 'analyze'?"),
        (["reprot", "x"], "Did you mean 'report'?"),
        (["analyze", "x", "--oder", "3"], "did you mean --order?"),
        (["record", "x:y", "--data", "x:z", "--mode", "new"], "'new' is not one of 'x', 'a', 'w'"),
        (["check"], "Missing argument 'SOURCE'"),
    ],
)
def test_typos_get_a_suggestion(call, arguments, said):
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert "--help)" in err


@pytest.mark.parametrize(
    ("words", "wanted", "unwanted"),
    [
        ("distfit-nn ", NAMES, []),
        ("distfit-nn ver", ["verify"], ["analyze"]),
        ("distfit-nn check run --max-k", ["--max-kl", "--max-kurtosis"], ["--max-dead"]),
        ("distfit-nn record x:y --mode ", ["x", "a", "w"], []),
    ],
)
def test_completion(words, wanted, unwanted):
    parts = words.split(" ")
    asked = {
        "_DISTFIT_NN_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(parts) - 1),
        "PYTHONPATH": str(ROOT),
    }
    code = (
        "import contextlib, sys\nfrom distfit_nn import cli\n"
        "with contextlib.suppress(SystemExit): cli.main([])\n"
        "print(*{'torch', 'numba', 'pandas', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | asked
    )
    found = done.stdout.split()
    assert set(wanted) <= set(found)
    assert not set(unwanted) & set(found)
    assert done.stderr == "\n"  # and nothing heavy was imported


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(shell):
    asked = {"_DISTFIT_NN_COMPLETE": f"source_{shell}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "distfit_nn.cli"],
        capture_output=True,
        text=True,
        env=os.environ | asked,
    )
    assert "_DISTFIT_NN_COMPLETE" in done.stdout
    assert "distfit-nn" in done.stdout
