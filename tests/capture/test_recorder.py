"""The recorder: what it stores is what a pass by hand gives, and the model does not notice it."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

import distfit_nn as dn
from distfit_nn.capture.readers import read
from distfit_nn.capture.store import Store, StoreWriter
from distfit_nn.errors import FileError, InputError, SiteError
from tests import tolerances


def recorded(path: Path) -> dict[tuple[str, str, int], np.ndarray]:
    return {(entry.layer, entry.site, entry.step): entry.values for entry in read(path)}


def table(tensor: Tensor, axis: int = -1) -> np.ndarray:
    """The slow way to (rows, units)."""
    columns = [unit.detach().reshape(-1).numpy() for unit in tensor.unbind(axis)]
    return np.stack(columns, axis=1)


def clean(model: nn.Module) -> bool:
    """Whether no hook and no mode is left."""
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    extra = [len(m._forward_hooks_always_called) for m in model.modules()]
    extra += [len(m._forward_pre_hooks_with_kwargs) for m in model.modules()]
    return sum(hooks) + sum(extra) == 0 and not _get_current_function_mode_stack()


def mlp(activation: type[nn.Module] = nn.ReLU, **options: Any) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), activation(**options), nn.Linear(6, 3), activation()
    )


class Function(nn.Module):
    """A linear layer, then any function of it."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(4, 5)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.fc(x))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


FUNCTIONS = {
    "relu": [
        *[F.relu, torch.relu, Tensor.relu, torch.relu_, Tensor.relu_, F.relu_, torch.ops.aten.relu],
        *[lambda x: F.relu(x, inplace=True), lambda x: F.relu(input=x), lambda x: x.relu()],
    ],
    "gelu": [F.gelu, lambda x: F.gelu(x, approximate="tanh")],
    "silu": [F.silu, lambda x: F.silu(x, inplace=True)],
    "leaky_relu": [F.leaky_relu, F.leaky_relu_],
    "elu": [F.elu, F.elu_],
    "tanh": [torch.tanh, Tensor.tanh, torch.tanh_, Tensor.tanh_, F.tanh],
    "sigmoid": [torch.sigmoid, Tensor.sigmoid_, F.sigmoid],
    "log_sigmoid": [F.logsigmoid],
    **{name: [getattr(F, name)] for name in ("mish", "hardswish", "softplus", "selu", "celu")},
    **{name: [getattr(F, name)] for name in ("relu6", "hardtanh", "softsign", "tanhshrink")},
}
FORMS = [(name, function) for name, functions in FUNCTIONS.items() for function in functions]


@pytest.mark.parametrize(("name", "function"), FORMS)
def test_every_form_of_a_function_gives_its_input_before_it_is_overwritten(
    tmp_path, x, name, function
):
    model = Function(function)
    expected = table(model.fc(x))
    with dn.record(model, tmp_path / "s"), torch.no_grad():
        model(x)
    assert list(recorded(tmp_path / "s")) == [(name, "pre_activation", 0)]
    np.testing.assert_array_equal(recorded(tmp_path / "s")[name, "pre_activation", 0], expected)
    assert next(iter(Store(tmp_path / "s").records)).activation == name


MODULES = [nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU]
MODULES += [nn.SELU, nn.CELU, nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Softplus, nn.Softsign]
MODULES += [nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh]


@pytest.mark.parametrize("kind", MODULES)
def test_every_activation_module_is_recorded_under_its_own_name(tmp_path, x, kind):
    model = mlp(kind).eval()
    hidden = model[:2](x)
    expected = [table(hidden), table(model[2:4](hidden))]
    with dn.record(model, tmp_path / "s"):
        model(x)
    found = recorded(tmp_path / "s")
    assert list(found) == [("2", "pre_activation", 0), ("4", "pre_activation", 0)]
    for values, wanted in zip(found.values(), expected, strict=True):
        np.testing.assert_array_equal(values, wanted)


def test_an_in_place_module_after_a_norm(tmp_path, x):
    """The norm's output is seen before the in-place ReLU overwrites it."""
    model = mlp(nn.ReLU, inplace=True)
    before = model[0](x)
    after = F.batch_norm(before, None, None, training=True)
    with dn.record(model, tmp_path / "s", ["norm", "pre_activation"]):
        model(x)
    found = recorded(tmp_path / "s")
    np.testing.assert_array_equal(found["1", "norm_input", 0], table(before))
    np.testing.assert_array_equal(found["1", "norm_output", 0], table(after))
    np.testing.assert_array_equal(found["2", "pre_activation", 0], table(after))
    assert (found["2", "pre_activation", 0] < 0).any()


class Reused(nn.Module):
    """One ReLU and one block used twice, and a functional call at the root."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(4, 4)
        self.act = nn.ReLU()
        self.block = Function(torch.tanh)
        self.block.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.fc(x))
        x = self.act(self.fc(x))
        return torch.relu(self.block(self.block(x)))


def test_each_call_of_what_is_reused_has_its_own_index(tmp_path, x):
    model = Reused()
    with dn.record(model, tmp_path / "s", ["pre_activation", "fc"]):
        y = model(x)
    records = Store(tmp_path / "s").records
    told = [(r.layer, r.call) for r in records if r.site == "pre_activation"]
    blocks = [("block.tanh", 0), ("block.tanh#1", 1)]
    assert told == [("act", 0), ("act#1", 1), *blocks, ("relu", 0)]
    inputs = [(r.layer, r.call) for r in records if r.site == "input"]
    assert inputs == [("fc", 0), ("fc#1", 1)]
    found = recorded(tmp_path / "s")
    one = model.fc(x)
    two = model.fc(one.relu())
    np.testing.assert_array_equal(found["act", "pre_activation", 0], table(one))
    np.testing.assert_array_equal(found["act#1", "pre_activation", 0], table(two))
    np.testing.assert_array_equal(found["fc#1", "input", 0], table(one.relu()))
    np.testing.assert_array_equal(found["fc#1", "output", 0], table(two))
    last = found["relu", "pre_activation", 0]
    np.testing.assert_array_equal(np.maximum(last, 0), y.detach().numpy())


@pytest.mark.parametrize("axis", ["first", "last"])
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("rows", [None, 7])
def test_more_axes_become_rows_and_units(tmp_path, axis, contiguous, rows):
    torch.manual_seed(0)
    if axis == "first":
        model = nn.Sequential(nn.Conv2d(3, 5, 2), nn.ReLU())
        x = torch.randn(2, 3, 4, 6)
        x = x if contiguous else x.to(memory_format=torch.channels_last)
    else:
        model = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
        x = torch.randn(2, 3, 4, 3)
        x = x if contiguous else x.transpose(1, 2)
    hidden = model[0](x)
    with dn.record(model, tmp_path / "s", ["pre_activation", "0"], rows=rows):
        model(x)
    (record, values), (_, before), (_, output) = [
        next(pair for pair in Store(tmp_path / "s") if pair[0].site == site)
        for site in ("pre_activation", "input", "output")
    ]
    expected = table(hidden, 1 if axis == "first" else -1)
    assert record.rows_seen == len(expected)
    assert before.shape[1] == 3
    np.testing.assert_array_equal(values, output)
    if rows is None:
        np.testing.assert_array_equal(values, expected)
    else:
        places = [np.flatnonzero((expected == row).all(axis=1)).item() for row in values]
        assert len(places) == rows
        assert places == sorted(set(places))


class Axes(nn.Module):
    """Convolution, permutation, linear layer: the layer that ran last decides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 1)
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(torch.tanh(x)))
        x = self.fc(x.transpose(1, 2))
        return torch.sigmoid(x.sum(dim=(1, 2))) + torch.sigmoid(x).mean()


def test_the_last_layer_decides_the_unit_axis(tmp_path):
    with dn.record(Axes(), tmp_path / "s") as recorder:
        recorder._model(torch.randn(5, 2, 7))
    shapes = {layer: values.shape for (layer, _, _), values in recorded(tmp_path / "s").items()}
    assert shapes == {"tanh": (10, 7), "relu": (35, 3), "sigmoid": (5, 1), "sigmoid#1": (35, 4)}
    with dn.record(Function(torch.tanh), tmp_path / "t", ["pre_activation", "fc"]) as recorder:
        recorder._model(torch.randn(2, 3, 5, 4))
    model = nn.Sequential(nn.Tanh())
    with dn.record(model, tmp_path / "u"):
        model(torch.randn(2, 3, 5, 4))
    assert recorded(tmp_path / "u")["0", "pre_activation", 0].shape == (40, 3)


@pytest.mark.parametrize(
    ("norm", "shape", "axis"),
    [
        *[(nn.BatchNorm1d(3), (4, 3), 1), (nn.BatchNorm1d(3), (4, 3, 5), 1)],
        *[(nn.BatchNorm2d(3), (4, 3, 2, 2), 1), (nn.BatchNorm3d(3), (2, 3, 2, 2, 2), 1)],
        *[(nn.GroupNorm(3, 3), (4, 3, 5), 1), (nn.InstanceNorm1d(3), (4, 3, 5), 1)],
        *[(nn.LayerNorm(3), (4, 5, 3), -1), (nn.RMSNorm(3), (4, 5, 3), -1)],
    ],
)
def test_norms_give_their_input_and_output(tmp_path, norm, shape, axis):
    x = torch.randn(shape) * 3 + 1
    expected = norm(x)
    with dn.record(norm, tmp_path / "s", "norm"):
        norm(x)
    found = recorded(tmp_path / "s")
    name = type(norm).__name__
    assert list(found) == [(name, "norm_input", 0), (name, "norm_output", 0)]
    np.testing.assert_array_equal(found[name, "norm_input", 0], table(x, axis))
    np.testing.assert_array_equal(found[name, "norm_output", 0], table(expected, axis))


def test_every_and_step(tmp_path, x):
    model = mlp()
    with dn.record(model, tmp_path / "a", every=3, first_step=2) as recorder:
        for _ in range(8):
            model(x)
        assert recorder.step == 10
    assert sorted({step for *_, step in recorded(tmp_path / "a")}) == [2, 5, 8, 9]
    with dn.record(model, tmp_path / "b") as recorder:
        for samples in (0, 25_000, 25_000):
            recorder.step = samples
            model(x)
        assert recorder.step == 25_001
    found = recorded(tmp_path / "b")
    assert found["2", "pre_activation", 0].shape == (8, 6)
    assert found["2", "pre_activation", 25_000].shape == (16, 6)
    with dn.record(model, tmp_path / "b", mode="a", first_step=7):
        model(x)
    assert sorted({step for *_, step in recorded(tmp_path / "b")}) == [0, 7, 25_000]


@pytest.mark.parametrize("value", [-1, 1.5, None, "3", True])
def test_a_bad_step(tmp_path, x, value):
    model = mlp()
    with dn.record(model, tmp_path / "s") as recorder:
        model(x)
        with pytest.raises(InputError, match="step must be a whole number"):
            recorder.step = value


def test_sampled_rows_are_uniform_aligned_and_repeatable(tmp_path):
    model = nn.Sequential(nn.BatchNorm1d(1), nn.ReLU()).eval()
    x = torch.arange(40.0)[:, None]
    passes = 200
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        with dn.record(model, tmp_path / name, "norm", rows=10, seed=seed) as recorder:
            for step in range(passes if name == "a" else 2):
                recorder.step = step // 2
                model(x)
    found, again, other = (recorded(tmp_path / name) for name in "abc")
    for key, values in again.items():
        np.testing.assert_array_equal(values, found[key])
    assert not np.array_equal(other["0", "norm_input", 0], again["0", "norm_input", 0])
    first = found["0", "norm_input", 0][:, 0]
    assert not np.array_equal(first[:10], first[10:])  # two passes of one step
    counts = np.zeros(40)
    for (_, site, step), values in found.items():
        if site == "norm_input":
            np.testing.assert_allclose(
                values / np.sqrt(1 + model[0].eps),
                found["0", "norm_output", step],
                rtol=tolerances.batch_norm_error(np.float32),
            )
            counts += np.bincount(values[:, 0].astype(int), minlength=40)
    assert counts.sum() == 10 * passes
    # each count is binomial(passes, 1/4); five standard deviations for forty counts
    assert np.abs(counts - passes / 4).max() < 5 * np.sqrt(passes * 3 / 16)


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("float16", np.float16), ("float32", np.float32), ("float64", np.float64), (None, None)],
)
@pytest.mark.parametrize("own", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(tmp_path, x, dtype, stored, own):
    model = mlp().to(own).eval()
    x = x.to(own)
    hidden = model[1](model[0](x)).detach()
    with dn.record(model, tmp_path / "s", dtype=dtype):
        model(x)
    values = recorded(tmp_path / "s")["2", "pre_activation", 0]
    exact = {torch.float16: np.float16, torch.float64: np.float64}.get(own, np.float32)
    assert values.dtype == (stored or exact)
    expected = hidden.double().numpy().astype(values.dtype)
    np.testing.assert_array_equal(values, expected)


def test_overflow_is_an_error_but_infinity_is_data(tmp_path):
    model = nn.Sequential(nn.ReLU())
    with (
        pytest.raises(InputError, match=r"layer '0': 70000 is too large for float16"),
        dn.record(model, tmp_path / "a", dtype="float16"),
    ):
        model(torch.tensor([[1.0, 70_000.0]]))
    assert clean(model)
    values = torch.tensor([[float("inf"), -float("inf"), float("nan"), 65_504.0]])
    with dn.record(model, tmp_path / "b", dtype="float16"):
        model(values)
    np.testing.assert_array_equal(recorded(tmp_path / "b")["0", "pre_activation", 0], values)


def test_what_is_saved_does_not_change_later(tmp_path):
    model = nn.Sequential(nn.ReLU())
    x = torch.ones(3, 2)
    with dn.record(model, tmp_path / "s", ["0", "pre_activation"]), torch.inference_mode():
        model(x)
        x.fill_(7)
    for values in recorded(tmp_path / "s").values():
        np.testing.assert_array_equal(values, np.ones((3, 2)))


CONTEXTS = {
    "plain": torch.enable_grad,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("inplace", [True, False])
def test_outputs_and_gradients_are_the_same_to_the_bit(tmp_path, x, context, training, inplace):
    plain = mlp(nn.ReLU, inplace=inplace).train(training)
    watched = copy.deepcopy(plain)
    results = []
    for model in (plain, watched):
        value = x.clone().requires_grad_()
        with CONTEXTS[context]():
            if model is watched:
                with dn.record(model, tmp_path / "s", ["pre_activation", "norm", "*"], rows=3):
                    y = model(value)
            else:
                y = model(value)
        if y.requires_grad:
            y.square().sum().backward()
        grads = [p.grad for p in model.parameters()]
        results.append([y, value.grad, *grads, *model.buffers()])
    for one, two in zip(*results, strict=True):
        assert (one is None) == (two is None)
        assert one is None or torch.equal(one, two)
    assert results[0][0].grad_fn is None or results[0][0].dtype == results[1][0].dtype
    assert clean(watched)


class Broken(nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.fc, self.act, self.error = nn.Linear(4, 4), nn.ReLU(), error

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.fc(x))
        if self.error is not None:
            raise self.error
        return self.act(x)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_forward_leaves_nothing_behind(tmp_path, x, kind):
    model = nn.Sequential(Broken(kind("stop")), nn.ReLU())
    with pytest.raises(kind, match="stop"), dn.record(model, tmp_path / "s"):
        model(x)
    assert clean(model)
    assert list(recorded(tmp_path / "s")) == [("0.act", "pre_activation", 0)]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_recording_goes_on_after_an_error_that_is_caught(tmp_path, x, kind):
    model = nn.Sequential(Broken(kind("stop")))
    with dn.record(model, tmp_path / "s") as recorder:
        recorder.step = 10
        with pytest.raises(kind):
            model(x)
        assert recorder.step == (11 if kind is ValueError else 10)
        assert len(_get_current_function_mode_stack()) == (0 if kind is ValueError else 1)
        torch.relu(x)  # no part of any pass
        model[0].act(x)
        model[0].error = None
        recorder.step = 20
        model(x)
        assert recorder.step == 21
    told = [(layer, step) for layer, _, step in recorded(tmp_path / "s")]
    assert told == [("0.act", 10), ("0.act", 20), ("0.act#1", 20)]
    assert clean(model)


class Catching(nn.Module):
    """A part that gives up on a part of its own and goes on."""

    def __init__(self, part: nn.Module, error: type[BaseException]) -> None:
        super().__init__()
        self.part, self.error = part, error

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.part(x)
        except self.error:
            return x


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_that_the_model_catches(tmp_path, x, kind):
    model = Function(torch.relu)
    model.fc = Catching(Broken(kind("stop")), kind)
    with dn.record(model, tmp_path / "s") as recorder:
        model(x)
        model(x)
        assert recorder.step == 2
    told = [(layer, step) for layer, _, step in recorded(tmp_path / "s")]
    assert told == [(name, step) for step in (0, 1) for name in ("fc.part.act", "relu")]
    assert clean(model)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_body_keeps_what_was_recorded(tmp_path, x, kind):
    model = mlp()

    def body() -> None:
        model(x)
        raise kind("mine")

    with pytest.raises(kind, match="mine"), dn.record(model, tmp_path / "s", "norm"):
        body()
    assert clean(model)
    assert len(recorded(tmp_path / "s")) == 2
    with pytest.raises(kind, match="mine"), dn.record(model, tmp_path / "t"):
        raise kind("mine")
    assert clean(model)


def test_an_error_in_a_hook_of_someone_else(tmp_path, x):
    model = mlp()

    def fail(*_: Any) -> None:
        raise ValueError("theirs")

    handle = model[3].register_forward_pre_hook(fail)
    with dn.record(model, tmp_path / "s", ["pre_activation", "norm", "3", "4"]) as recorder:
        with pytest.raises(ValueError, match="theirs"):
            model(x)
        handle.remove()
        model(x)
        assert recorder.step == 2
    assert clean(model)
    assert recorded(tmp_path / "s")["3", "input", 1].shape == (8, 6)


def test_a_hook_of_someone_else_is_heeded_and_kept(tmp_path, x):
    model = mlp()
    pre = model[0].register_forward_pre_hook(lambda _, args: (args[0] + 1,))
    post = model[0].register_forward_hook(lambda *args: args[-1] * 2)
    with dn.record(model, tmp_path / "s", "0"):
        model(x)
    found = recorded(tmp_path / "s")
    np.testing.assert_array_equal(found["0", "input", 0], table(x + 1))
    np.testing.assert_array_equal(found["0", "output", 0], table(model[0](x)))
    assert (len(model[0]._forward_hooks), len(model[0]._forward_pre_hooks)) == (1, 1)
    pre.remove()
    post.remove()
    assert clean(model)


def test_a_site_that_never_fires_is_an_error(tmp_path, x):
    model = Reused()
    model.spare = nn.Linear(4, 4)
    with (
        pytest.raises(SiteError, match=r"'spare' was asked for but nothing was recorded"),
        dn.record(model, tmp_path / "s", ["pre_activation", "spare"]),
    ):
        model(x)
    assert len(recorded(tmp_path / "s")) == 5
    with (
        pytest.raises(SiteError, match=r"'pre_activation' was asked for but nothing"),
        dn.record(nn.Sequential(nn.Linear(4, 4)), tmp_path / "t") as recorder,
    ):
        recorder._model(x)
    assert clean(model)


def test_a_site_that_sees_no_real_numbers_is_an_error_that_says_so(tmp_path):
    model = nn.Sequential(nn.Identity(), nn.Embedding(3, 2))
    tokens = torch.tensor([[0, 1], [2, 0]])
    with (
        pytest.raises(SiteError, match=r"'0' was asked for.*'0': it holds int64, not real numbers"),
        dn.record(model, tmp_path / "a", "0"),
    ):
        model(tokens)
    with dn.record(model, tmp_path / "b", "1"):
        model(tokens)
    assert {key: v.shape for key, v in recorded(tmp_path / "b").items()} == {
        ("1", "output", 0): (4, 2)
    }


def test_an_idle_layer_is_an_error(tmp_path, x):
    model = Reused()
    model.spare = nn.Sequential(nn.LayerNorm(4), nn.ReLU())
    said = r"'pre_activation' has 2 layers, of which 1 .*: spare\.1"
    with pytest.raises(SiteError, match=said), dn.record(model, tmp_path / "e"):
        model(x)
    assert recorded(tmp_path / "e")  # what was recorded is in the store
    with (
        pytest.warns(UserWarning, match=said),
        dn.record(model, tmp_path / "s", missing="warn"),
    ):
        model(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with dn.record(Reused(), tmp_path / "t") as recorder:
            recorder._model(x)


def test_no_pass_at_all_is_an_error(tmp_path, x):
    model = mlp()
    with (
        pytest.raises(SiteError, match=r"no forward pass of the model ran"),
        dn.record(model, tmp_path / "a"),
    ):
        model[0](x)  # a part of it alone is no pass of the model
    assert clean(model)


@pytest.mark.slow
def test_a_killed_recording_keeps_the_passes_that_ended_in_time(tmp_path):
    """Each pass here ends after a flush is due, but the last is killed before its end."""
    code = (
        "import os, signal, sys, torch, distfit_nn as dn\n"
        "from distfit_nn.capture import store\n"
        "store.FLUSH_SECONDS = -1.0\n"
        "model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())\n"
        "with dn.record(model, sys.argv[1]):\n"
        "    model(torch.zeros(2, 4))\n"
        "    model(torch.zeros(2, 4))\n"
        "    store.FLUSH_SECONDS = 60.0\n"
        "    model(torch.zeros(2, 4))\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=False)
    assert done.returncode != 0
    assert [step for *_, step in recorded(tmp_path / "s")] == [0, 1]


def test_a_module_whose_name_is_no_text(tmp_path):
    model = nn.Sequential()
    model.add_module("\ud800", nn.ReLU())
    with pytest.raises(InputError, match=r"the name of a module must be valid Unicode text"):
        dn.record(model, tmp_path / "s")


def test_a_full_disk_is_told_and_leaves_no_hooks(tmp_path, x, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    model = mlp()
    monkeypatch.setattr("distfit_nn.capture.store.os.replace", full)
    with (
        pytest.raises(FileError, match=r"shard-00000\.safetensors: .*No space left"),
        dn.record(model, tmp_path / "s"),
    ):
        model(x)
    assert clean(model)


class Recursive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor, depth: int = 2) -> Tensor:
        x = torch.relu(self.fc(x))
        return self(x, depth - 1) if depth else x


@pytest.mark.parametrize("every", [1, 2])
def test_a_model_that_calls_itself_makes_one_step(tmp_path, x, every):
    model = Recursive()
    with dn.record(model, tmp_path / "s", every=every) as recorder:
        model(x)
        model(x)
        model(x)
        assert recorder.step == 3
    told = [(layer, step) for layer, _, step in recorded(tmp_path / "s")]
    steps = range(0, 3, every)
    assert told == [(name, step) for step in steps for name in ("relu", "relu#1", "relu#2")]


def test_two_models_at_once_and_a_model_within_a_model(tmp_path, x):
    outer, other = nn.Sequential(Reused(), nn.ReLU()), mlp()
    inner = outer[0]
    with (
        dn.record(outer, tmp_path / "outer"),
        dn.record(inner, tmp_path / "inner"),
        dn.record(other, tmp_path / "other"),
        dn.record(other, tmp_path / "again", "norm"),
    ):
        other(outer(x))
        other(inner(x))
    outside, inside = recorded(tmp_path / "outer"), recorded(tmp_path / "inner")
    assert len(outside) == 6
    assert len(inside) == 10
    for (layer, site, step), values in inside.items():
        if step == 0:
            np.testing.assert_array_equal(values, outside[f"0.{layer}", site, 0])
    assert len(recorded(tmp_path / "other")) == 4
    assert len(recorded(tmp_path / "again")) == 4
    assert clean(outer)
    assert clean(other)


def test_a_copy_made_while_recording_is_not_recorded(tmp_path, x):
    model = mlp()
    with dn.record(model, tmp_path / "s") as recorder:
        model(x)
        twin = copy.deepcopy(model)
        twin(x)
        assert recorder.step == 1
    twin(x)
    assert len(recorded(tmp_path / "s")) == 2


def test_a_recomputation_in_the_backward_pass_is_not_recorded_again(tmp_path, x):
    from torch.utils.checkpoint import checkpoint

    block = mlp()
    model = Function(lambda x: checkpoint(block, x, use_reentrant=False))
    model.fc, model.block = nn.Linear(4, 4), block
    with dn.record(model, tmp_path / "s", ["pre_activation", "norm"]):
        model(x).sum().backward()
    assert all(record.call == 0 for record in Store(tmp_path / "s").records)
    assert len(Store(tmp_path / "s")) == 4


def test_a_transformer_layer(tmp_path):
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu").eval()
    x = torch.randn(2, 5, 8)
    with dn.record(model, tmp_path / "s", ["pre_activation", "norm", "linear*"]), torch.no_grad():
        model(x)
    found = recorded(tmp_path / "s")
    assert found["gelu", "pre_activation", 0].shape == (10, 16)
    np.testing.assert_array_equal(found["gelu", "pre_activation", 0], found["linear1", "output", 0])
    assert found["norm1", "norm_input", 0].shape == (10, 8)
    assert clean(model)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"every": 0}, "every must be a whole number of at least 1, got 0"),
        ({"every": 1.5}, "every must be"),
        ({"rows": 0}, "rows must be"),
        ({"rows": True}, "rows must be"),
        ({"first_step": -1}, "first_step must be a whole number of at least 0, got -1"),
        ({"seed": None}, "seed must be"),
        ({"mode": "r"}, "mode must be one of 'x', 'a', 'w', got 'r'"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"dtype": torch.bfloat16}, "dtype must be one of"),
        ({"sites": []}, "sites must be"),
    ],
)
def test_bad_arguments(tmp_path, options, problem):
    with pytest.raises(InputError, match=problem):
        dn.record(mlp(), tmp_path / "s", **options)
    with pytest.raises(InputError, match=r"model must be a torch\.nn\.Module, got function"):
        dn.record(lambda x: x, tmp_path / "s", **options)
    with pytest.raises(InputError, match="path must be the path of a folder, got 3"):
        dn.record(mlp(), 3)
    assert not (tmp_path / "s").exists()


def test_a_store_that_is_there_is_an_error_before_anything_runs(tmp_path, x):
    model = mlp()
    with dn.record(model, tmp_path / "s"):
        model(x)
    with pytest.raises(FileError, match="is a store already"), dn.record(model, tmp_path / "s"):
        pytest.fail("the block must not run")
    assert clean(model)


def test_the_package_imports_torch_only_when_recording():
    code = (
        "import sys, distfit_nn\n"
        "assert 'torch' not in sys.modules\n"
        "distfit_nn.record\n"
        "assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class NormThenFunction(nn.Module):
    """Norms whose outputs go into a ReLU at once, after an operation, and nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.direct, self.scaled, self.last = (nn.LayerNorm(4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.direct(x))
        return self.last(torch.tanh(2 * self.scaled(x)))


@pytest.mark.parametrize("buffer_bytes", [1, 2**20])
def test_a_norm_knows_the_activation_it_feeds(tmp_path, x, monkeypatch, buffer_bytes):
    """Also where its entry was on disk before the activation ran."""

    class Writer(StoreWriter):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named, buffer_bytes=buffer_bytes)

    monkeypatch.setattr("distfit_nn.capture.recorder.StoreWriter", Writer)
    model = NormThenFunction()
    with dn.record(model, tmp_path / "s", sites="norm"):
        model(x)
        model(x)
    found = {(r.layer, r.site): r.activation for r in Store(tmp_path / "s").records}
    assert found.pop(("direct", "norm_output")) == "relu"
    assert set(found.values()) == {None}
    assert len(found) == 5
