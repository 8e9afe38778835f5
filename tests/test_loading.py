"""``MODULE:NAME``, and whose line an error comes from."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from distfit_nn.capture.recorder import record
from distfit_nn.errors import FileError, InputError
from distfit_nn.loading import load_object, user_code


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_modules_packages_and_files(here):
    (here / "pack").mkdir()
    (here / "pack" / "inner.py").write_text("import mate_of_inner\nclass A:\n    b = 5\n")
    (here / "mate_of_inner.py").write_text("x = 1\n")
    assert load_object("pack.inner:A.b") == 5
    assert load_object("pack/inner.py:A.b") == 5
    assert load_object("mate_of_inner:x") == 1


def test_a_file_is_run_once_and_finds_its_neighbours(here):
    (here / "deep").mkdir()
    (here / "deep" / "one_of_two.py").write_text("import two_of_two as t\na = []\nb = t.y\n")
    (here / "deep" / "two_of_two.py").write_text("y = 2\n")
    assert load_object("deep/one_of_two.py:a") is load_object("deep/one_of_two.py:a")
    assert load_object("deep/one_of_two.py:b") == 2


def test_a_file_may_have_the_name_of_a_module(here):
    (here / "json.py").write_text("mine = True\n")
    import json

    assert load_object("json.py:mine") is True
    assert sys.modules["json"] is json


def test_dataclasses_of_a_file_work(here):
    (here / "with_data.py").write_text(
        "from __future__ import annotations\nimport dataclasses\n"
        "@dataclasses.dataclass\nclass D:\n    x: int = 3\n"
    )
    assert load_object("with_data.py:D")().x == 3


@pytest.mark.parametrize("text", ["", "net", ":x", "net:", "net:a b", "net:a..b", "net:1"])
def test_other_forms(text):
    with pytest.raises(InputError, match="must be MODULE:NAME"):
        load_object(text)


def test_what_is_not_there(here):
    (here / "there_is.py").write_text("value = 1\n")
    with pytest.raises(InputError, match="there is no module 'there_is_not'"):
        load_object("there_is_not:x")
    with pytest.raises(FileError, match="no such file"):
        load_object("there_is_not.py:x")
    with pytest.raises(InputError, match="did you mean 'value'"):
        load_object("there_is:valu")
    with pytest.raises(InputError, match=r"there is no module 'there_is\.more'"):
        load_object("there_is.more:x")


def test_a_module_that_failed_is_not_kept(here):
    (here / "fails.py").write_text("raise KeyError('k')\n")
    for _ in range(2):
        with pytest.raises(InputError, match=r"importing fails.py: KeyError: 'k' \(fails.py:1\)"):
            load_object("fails.py:x")
    (here / "fails.py").write_text("x = 1  # mended\n")
    assert load_object("fails.py:x") == 1


def test_a_long_message_is_cut_and_a_bug_of_ours_is_none_of_theirs():
    with pytest.raises(InputError) as caught, user_code("doing"):
        raise ValueError("word " * 1000)
    assert len(str(caught.value)) < 500
    with pytest.raises(KeyboardInterrupt), user_code("doing"):
        raise KeyboardInterrupt
    from distfit_nn import streaming

    with pytest.raises(AttributeError), user_code("doing"):
        streaming.summarise_entry(None, None)


def test_what_compiled_code_raises_is_not_of_the_watcher_that_passes_calls_on(here, monkeypatch):
    model = nn.Sequential(nn.Linear(20, 4), nn.ReLU())
    with (
        pytest.raises(InputError, match=r"mat1 and mat2.*\(.*test_loading\.py:\d+\)$"),
        record(model, here / "theirs"),
        user_code("doing"),
    ):
        model(torch.randn(5, 7))
    monkeypatch.setattr("distfit_nn.capture.watch.first_tensor", ord)  # as a bug of ours would be
    with (
        pytest.raises(TypeError, match="ord"),
        record(model, here / "ours"),
        user_code("doing"),
    ):
        model(torch.randn(5, 20))


def test_what_the_block_itself_calls_is_theirs():
    with pytest.raises(InputError, match="doing: ValueError: invalid literal"), user_code("doing"):
        int("x")
