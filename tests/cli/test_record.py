"""`record` and `sites`: a user's model and data, errors in them, and an end by a signal."""

from __future__ import annotations

import json
import os
import signal

import pytest

import distfit_nn as dn
from distfit_nn.capture.store import Store
from tests.cli.cases import start


def steps_of(path):
    return sorted({record.step for record in Store(path).records})


def test_a_model_is_recorded_and_the_path_is_printed(home, call):
    code, out, err = call("record", "net.py:model", "--data", "net.py:batches", "-o", "run")
    assert (code, out) == (0, "run\n")
    assert err.splitlines()[0] == "made"  # what the user's code prints is no data
    assert err.splitlines()[1].startswith("ran 5 steps in ")
    assert err.splitlines()[2].startswith("the store has 5 steps of 1 layer, ")
    assert steps_of("run") == [0, 1, 2, 3, 4]
    assert not dn.analyze("run").layers["dead"].any()


def test_options_reach_the_recorder(home, call):
    options = ["--every", 2, "--rows", 8, "--dtype", "float16", "--steps", 4, "--sites", "norm"]
    options += ["--no-last"]
    code, out, _ = call(
        "record", "net:model", "--data", "net:batches", "-o", "run", "-q", "--json", *options
    )
    content = json.loads(out)
    assert (code, content["steps"], content["passes"], content["store"]) == (0, 2, 4, "run")
    records = Store("run").records
    assert {(record.rows, record.dtype) for record in records} == {(8, "float16")}
    assert {record.site for record in records} == {"norm_input", "norm_output"}
    assert steps_of("run") == [0, 2]


def test_modes(home, call):
    arguments = ["record", "net:instance", "--data", "net:tensor", "-o", "run", "-q"]
    assert call(*arguments)[0] == 0
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is a store already" in err
    assert call(*arguments, "--mode", "a", "--first-step", 7)[0] == 0
    assert steps_of("run") == [0, 7]
    assert call(*arguments, "--mode", "w")[0] == 0
    assert steps_of("run") == [0]


@pytest.mark.parametrize(
    ("factory", "data"),
    [("net:Two", "net:batches"), ("net:Named", "net:named"), ("net:instance", "net:tensor")],
)
def test_forms_of_batches(home, call, factory, data):
    assert call("record", factory, "--data", data, "-o", "run", "-q")[0] == 0


def test_a_model_is_as_it_was_seeded(home, call):
    stores = []
    for name in ("a", "b", "c"):
        seed = 1 if name == "c" else 0
        call("record", "net:model", "--data", "net:batches", "-o", name, "-q", "--seed", seed)
        store = Store(name)
        stores.append(store.load(store.records[0]))
    assert (stores[0] == stores[1]).all()
    assert (stores[0] != stores[2]).any()


def test_eval_is_the_default(home, call):
    (home / "mode.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x):\n"
        "        print('training', self.training, 'grad', x.requires_grad)\n"
        "        return x.relu()\n"
    )
    arguments = ["record", "mode:Net", "--data", "net:tensor", "-q", "-o", "run", "--mode", "w"]
    assert "training False" in call(*arguments)[2]
    assert "training True" in call(*arguments, "--train")[2]


@pytest.mark.parametrize(
    ("factory", "data", "said"),
    [
        ("net", "net:batches", "must be MODULE:NAME"),
        ("nett:model", "net:batches", "there is no module 'nett'"),
        ("nett.py:model", "net:batches", "nett.py: there is no such file"),
        ("net:modle", "net:batches", "net has no 'modle'; did you mean 'model'?"),
        ("net:tensor", "net:batches", "must be a torch.nn.Module or return one, got Tensor"),
        ("net:needing", "net:batches", "callable without arguments: missing a required"),
        ("net:leaving", "net:batches", "it called sys.exit(0) (net.py:"),
        ("net:Odd", "net:batches", "running net:Odd on batch 0: ValueError: not today (net.py:"),
        ("net:Two", "net:tensor", "forward() missing 1 required positional argument: 'y'"),
        ("net:model", "net:failing", "RuntimeError: the disk is gone (net.py:"),
        ("net:model", "net:misfit", "running net:model on batch 0: RuntimeError: mat1 and mat2"),
        ("net:Picky", "net:misfit", "cannot be multiplied (5x7 and 4x3) (net.py:"),
        ("net:model", "net:compiled", "reading net:compiled: TypeError: relu()"),
        ("net:model", "net:words", "a batch must hold tensors: can't convert np.ndarray"),
        ("net:model", "net:Two", "must be an iterable of batches or return one, got Two"),
        ("net:model", "net:rows", "is a Dataset, which has rows and no batches"),
        ("wrong:model", "net:batches", "(wrong.py:2)"),
        ("lacking:model", "net:batches", "No module named 'nothing_such' (lacking.py:1)"),
    ],
)
def test_an_error_of_the_user_is_one_line_that_says_where(home, call, factory, data, said):
    (home / "wrong.py").write_text("x = 1\ny = = 2\n")
    (home / "lacking.py").write_text("import nothing_such\n")
    code, out, err = call("record", factory, "--data", data, "-o", "run", "-q")
    err = err.removeprefix("made\n")
    assert (code, out) == (2, "")
    assert err.startswith("distfit-nn: ")
    assert err.count("\n") == 1, err
    assert said in err


def test_an_error_says_what_is_kept_and_debug_shows_all(home, call):
    arguments = ["record", "net:instance", "--data", "net:failing", "-q", "-o", "run"]
    code, _, err = call(*arguments)
    assert code == 2
    assert err.endswith("; run holds 1 step\n")
    assert steps_of("run") == [0]
    _, _, err = call(*arguments, "--mode", "w", "--debug")
    assert "Traceback" in err
    assert "in failing" in err


def test_a_site_that_never_fires_is_an_error(home, call):
    code, _, err = call("record", "net:instance", "--data", "net:tensor", "-q", "--sites", "norm")
    assert code == 2
    assert "norm" in err


def test_a_mask_leaves_padding_out(home, call):
    arguments = ["record", "net:Tokens", "--data", "net:padded", "-o", "run", "-q", "--mode", "w"]
    net = (home / "net.py").read_text().replace(', "odd": 2 * mask}', "}")
    (home / "net.py").write_text(net)
    assert call(*arguments, "--mask", "attention_mask")[0] == 0
    assert [record.rows for record in Store("run").records] == [8 * 2, 8 * 5]
    assert call(*arguments)[0] == 0
    assert [record.rows for record in Store("run").records] == [8 * 5, 8 * 5]


@pytest.mark.parametrize(
    ("data", "mask", "said"),
    [
        ("net:batches", "attention_mask", "for batches that are dicts, batch 0 is a tuple"),
        ("net:padded", "mask", "key of batch 0, one of 'pixels', 'attention_mask', 'odd'; got"),
        ("net:padded", "odd", "'odd' of batch 0 must be 1 and 0, or True and False"),
    ],
)
def test_a_wrong_mask_is_one_line(home, call, data, mask, said):
    code, out, err = call("record", "net:Tokens", "--data", data, "-q", "--mask", mask)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_sites_lists_what_would_be_recorded(home, call):
    code, out, _ = call("sites", "net:model", "--shape", "8,4", "--json", "-s", "norm")
    assert code == 0
    rows = json.loads(out)["sites"]
    assert [(row["site"], row["rows"], row["units"]) for row in rows] == [
        ("norm_input", 8, 3),
        ("norm_output", 8, 3),
    ]
    code, out, _ = call("sites", "net:Two", "--data", "net:batches")
    assert (code, len(out.splitlines())) == (0, 2)
    assert call("sites", "net:model")[0] == 0
    for wrong in (["--shape", "3,x"], ["--shape", "0"], ["--shape", "2,4", "--data", "net:named"]):
        code, out, _ = call("sites", "net:model", *wrong)
        assert (code, out) == (2, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_batch_is_made(home, call, number, code):
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    data = f"net:ending_{int(number)}"
    ended, out, err = call("record", "net:instance", "--data", data, "-o", "run", "-q")
    assert (ended, out) == (code, "")
    assert err == "distfit-nn: interrupted; run holds 3 steps\n"
    assert steps_of("run") == [0, 1, 2]
    assert dn.verify("run").ok
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_whole_store(home, number, code):
    process = start("record", "net:instance", "--data", "net:slow", "-o", "run", cwd=home)
    assert process.stderr.readline() == "fed\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    steps = steps_of(home / "run")
    assert steps == list(range(len(steps)))
    assert len(steps) >= 20
    assert err.splitlines()[-1] == f"distfit-nn: interrupted; run holds {len(steps)} steps"
    assert dn.verify(home / "run").ok


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_workers_of_a_loader(home, number, code):
    """Ctrl-C in a terminal reaches the workers of a DataLoader, too."""
    arguments = ["record", "net:instance", "--data", "net:workers", "-o", "run", "-q"]
    process = start(*arguments, cwd=home, start_new_session=True)
    assert process.stderr.readline() == "fed\n"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    steps = steps_of(home / "run")
    assert (process.returncode, out) == (code, "")
    assert "Interrupted" not in err  # it was raised in the main process only
    assert f"distfit-nn: interrupted; run holds {len(steps)} steps" in err.splitlines()


@pytest.mark.slow
def test_a_signal_before_the_first_step(home):
    (home / "late.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    process = start("record", "late:model", "--data", "net:slow", cwd=home)
    assert process.stderr.readline() == "here\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (143, "", "distfit-nn: interrupted\n")
    assert not (home / "run").exists()
