"""What `record` may be asked for: more sites, fewer rows and units, the last pass, masks, sums."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import distfit_nn as dn
from distfit_nn.capture import outbox
from distfit_nn.capture.readers import read
from distfit_nn.capture.sampling import Sampler
from distfit_nn.capture.store import Store
from distfit_nn.errors import InputError, SiteError
from tests.capture.test_recorder import Function, clean, mlp, recorded, table


@pytest.fixture
def x() -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


class NewGELUActivation(nn.Module):
    """Computes its activation by arithmetic in which another known one takes part."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.045 * x**3)))


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class ClampReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_(min=0)


class SwiGLU(nn.Module):
    """Not an activation as a whole: its gate is."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x[:, :2]) * x[:, 2:4]


@pytest.mark.parametrize(
    ("kind", "activation"),
    [(NewGELUActivation, "gelu"), (QuickGELU, "gelu"), (ClampReLU, "clamprelu")],
)
def test_modules_that_are_activations_by_name_are_recorded_once(tmp_path, x, kind, activation):
    model = nn.Sequential(nn.Linear(4, 5), kind())
    expected = table(model[0](x))
    with dn.record(model, tmp_path / "s"), torch.no_grad():
        model(x)
    assert list(recorded(tmp_path / "s")) == [("1", "pre_activation", 0)]
    np.testing.assert_array_equal(recorded(tmp_path / "s")["1", "pre_activation", 0], expected)
    assert Store(tmp_path / "s").records[0].activation == activation


def test_a_gated_unit_is_recorded_at_its_gate(tmp_path, x):
    model = nn.Sequential(nn.Linear(4, 5), SwiGLU())
    with dn.record(model, tmp_path / "s"):
        model(x)
    found = recorded(tmp_path / "s")["1.silu", "pre_activation", 0]
    np.testing.assert_array_equal(found, table(model[0](x)[:, :2]))


@pytest.mark.parametrize(
    ("last", "name"),
    [(nn.Softmax(-1), "1"), (nn.LogSoftmax(-1), "1"), (nn.Softmin(-1), "1"), (nn.GLU(), "1")],
)
def test_softmax_and_its_kin_are_modules(tmp_path, x, last, name):
    model = nn.Sequential(nn.Linear(4, 6), last)
    with dn.record(model, tmp_path / "s"):
        model(x)
    np.testing.assert_array_equal(
        recorded(tmp_path / "s")[name, "pre_activation", 0], table(model[0](x))
    )


@pytest.mark.parametrize(
    "function",
    [
        *[lambda x: torch.softmax(x, -1), lambda x: x.softmax(-1), lambda x: F.softmax(x, dim=-1)],
        *[lambda x: torch.ops.aten._softmax.default(x, -1, False)],
    ],
)
def test_softmax_as_a_function(tmp_path, x, function):
    model = Function(function)
    with dn.record(model, tmp_path / "s"):
        model(x)
    found = recorded(tmp_path / "s")
    np.testing.assert_array_equal(found["softmax", "pre_activation", 0], table(model.fc(x)))


def test_the_scores_of_an_attention_have_a_unit_for_each_head(tmp_path):
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qk = nn.Linear(6, 12)

        def forward(self, x: Tensor) -> Tensor:
            q, k = self.qk(x).view(2, 5, 2, 3, 2).permute(2, 0, 3, 1, 4)
            return torch.softmax(q @ k.transpose(-1, -2) / 2, -1)

    with dn.record(Attention(), tmp_path / "s") as recorder:
        y = recorder._model(torch.randn(2, 5, 6))
    (entry,) = read(tmp_path / "s")
    assert entry.values.shape == (50, 3)
    probabilities = np.exp(entry.values.reshape(2, 5, 5, 3))
    expected = probabilities / probabilities.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(expected, y.movedim(1, -1).detach(), rtol=1e-5)


def weights_by_hand(module: nn.Module, weight: Tensor) -> np.ndarray:
    """For each output of a transposed convolution, the weights that lead to it, by its groups."""
    inputs, outputs = weight.shape[0] // module.groups, weight.shape[1]
    columns = [
        weight[g * inputs : (g + 1) * inputs, o].reshape(-1)
        for g in range(module.groups)
        for o in range(outputs)
    ]
    return torch.stack(columns, dim=1).detach().numpy()


def test_weights_have_a_column_for_each_output_once_a_step(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(6, 4, 3, groups=2), nn.BatchNorm2d(4)
    )
    model.add_module("table", nn.Embedding(7, 3))
    model.head = nn.Linear(3, 1)
    model.token = nn.Parameter(torch.randn(1, 2, 3))
    model.scale = nn.Parameter(torch.tensor(2.0))
    model.forward = lambda x: model[2](model[1](model[0](x)))
    with dn.record(model, tmp_path / "s", "weights") as recorder:
        for step in (0, 0, 3):
            recorder.step = step
            model(torch.randn(2, 4, 5, 5))
    found = recorded(tmp_path / "s")
    own = dict(model.named_parameters())
    assert set(found) == {(name, "weights", s) for name in own if name != "scale" for s in (0, 3)}
    np.testing.assert_array_equal(found["0.weight", "weights", 0], table(own["0.weight"], 0))
    by_hand = weights_by_hand(model[1], own["1.weight"])
    np.testing.assert_array_equal(found["1.weight", "weights", 3], by_hand)
    np.testing.assert_array_equal(found["2.weight", "weights", 0], table(own["2.weight"][:, None]))
    np.testing.assert_array_equal(found["table.weight", "weights", 0], own["table.weight"].detach())
    np.testing.assert_array_equal(found["head.weight", "weights", 0], table(own["head.weight"], 0))
    np.testing.assert_array_equal(found["token", "weights", 0], own["token"].detach()[0])


def test_a_pattern_may_name_parameters_and_weights_are_those_of_the_pass(tmp_path, x):
    model = mlp()
    with dn.record(model, tmp_path / "s", "*.bias") as recorder:
        model(x)
        with torch.no_grad():
            model[0].bias.add_(1)
        recorder.mask = None
        model(x)
    found = recorded(tmp_path / "s")
    assert {layer for layer, *_ in found} == {"0.bias", "1.bias", "3.bias"}
    before, after = (found["0.bias", "weights", step] for step in (0, 1))
    np.testing.assert_allclose(after - before, 1, rtol=1e-6)


def test_a_lazy_model_has_its_weights_recorded_when_they_exist(tmp_path, x):
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    with dn.record(model, tmp_path / "s", ["weights", "pre_activation"]):
        model(x)
    assert recorded(tmp_path / "s")["0.weight", "weights", 0].shape == (4, 3)


def test_predicates_and_classes(tmp_path, x):
    model = mlp()
    asked: list[str] = []

    def second(name: str, module: nn.Module) -> bool:
        asked.append(name)
        return isinstance(module, nn.Linear) and name == "3"

    with dn.record(model, tmp_path / "a", second):
        model(x)
    assert set(recorded(tmp_path / "a")) == {("3", "input", 0), ("3", "output", 0)}
    assert asked == ["", "0", "1", "2", "3", "4"]
    with dn.record(model, tmp_path / "b", ["norm", nn.Linear, second, lambda n, _: n == "2"]):
        model(x)
    layers = [layer for layer, *_ in recorded(tmp_path / "b")]
    assert sorted(set(layers)) == ["0", "1", "2", "3"]
    for sites in (lambda *_: False, nn.Conv2d):
        with pytest.raises(SiteError, match=r"asks for '(function|class)"):
            dn.record(model, tmp_path / "c", sites)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("passes", [1, 4, 6])
def test_the_first_and_the_last_pass_are_always_recorded(tmp_path, x, every, last, passes):
    model = mlp()
    with dn.record(model, tmp_path / "s", every=every, last=last) as recorder:
        recorder.step = 100  # on no grid of three
        for _ in range(passes):
            model(x + recorder.step)
    grid = {s for s in range(100, 100 + passes) if s % every == 0}
    expected = grid | {100} | ({99 + passes} if last else set())
    found = recorded(tmp_path / "s")
    assert {step for *_, step in found} == expected
    for (layer, _, step), values in found.items():
        if layer == "2":
            model.train()
            expected_values = table(model[1](model[0](x + step)))
            np.testing.assert_allclose(values, expected_values, rtol=1e-4, atol=1e-5)


def test_a_held_pass_is_stored_also_when_the_block_ends_with_an_error(tmp_path, x):
    model = mlp()

    def body() -> None:
        for _ in range(3):
            model(x)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), dn.record(model, tmp_path / "s", every=9):
        body()
    assert {step for *_, step in recorded(tmp_path / "s")} == {0, 2}


def test_a_share_of_rows(tmp_path):
    model = nn.Sequential(nn.ReLU())
    with dn.record(model, tmp_path / "s", rows=0.1):
        model(torch.randn(40, 3))
        model(torch.randn(4, 3))
    shapes = [entry.values.shape for entry in read(tmp_path / "s")]
    assert shapes == [(4, 3), (1, 3)]
    for bad in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(InputError, match="rows, as a share, must be a number above 0"):
            dn.record(model, tmp_path / "t", rows=bad)


@pytest.mark.parametrize("rows", [None, 5])
def test_units_are_the_same_at_all_steps_and_around_a_norm(tmp_path, rows):
    model = nn.Sequential(nn.Conv2d(3, 20, 1), nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 4, 1))
    images = [torch.randn(2, 3, 4, 4) for _ in range(3)]
    options: dict[str, Any] = {"units": 6, "rows": rows}
    with dn.record(model, tmp_path / "s", ["norm", "3"], seed=5, **options):
        for image in images:
            model(image)
    entries = list(read(tmp_path / "s"))
    wide = {entry.ids for entry in entries if entry.site != "output"}
    assert len(wide) == 1
    (ids,) = wide
    assert len(ids) == 6
    assert ids == tuple(sorted(set(ids)))
    assert all(entry.ids is None for entry in entries if entry.site == "output")
    first = next(entry for entry in entries if entry.site == "norm_input")
    if rows is None:
        np.testing.assert_array_equal(first.values, table(model[0](images[0]), 1)[:, list(ids)])
    with dn.record(model, tmp_path / "t", "norm", seed=6, **options):
        model(images[0])
    assert next(iter(read(tmp_path / "t"))).ids != ids
    with dn.record(model, tmp_path / "u", "norm", seed=5, **options):
        model(images[0])
    assert next(iter(read(tmp_path / "u"))).ids == ids


def test_the_mask_leaves_padding_out(tmp_path):
    layer = nn.Linear(3, 4)
    model = nn.Sequential(layer, nn.ReLU())
    x = torch.randn(2, 5, 3)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    with dn.record(model, tmp_path / "s") as recorder:
        recorder.mask = mask
        model(x)
        model(x[:, :4])  # of another shape: unaffected
        recorder.mask = None
        model(x)
        with pytest.raises(InputError, match="mask must be a tensor of bool"):
            recorder.mask = mask.long()
    entries = list(read(tmp_path / "s"))
    assert [entry.rows_seen for entry in entries] == [8, 8, 10]
    np.testing.assert_array_equal(entries[0].values, layer(x)[mask].detach())
    np.testing.assert_array_equal(entries[1].values, layer(x[:, :4]).flatten(0, 1).detach())
    with dn.record(model, tmp_path / "t", rows=4) as recorder:
        recorder.mask = mask
        model(x)
    (entry,) = read(tmp_path / "t")
    assert (len(entry.values), entry.rows_seen) == (4, 8)
    shown = {tuple(row) for row in layer(x)[mask].detach().numpy()}
    assert all(tuple(row) in shown for row in entry.values)


def test_a_mask_that_applies_to_nothing_or_leaves_nothing_is_an_error(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    for name, mask, said in (
        ("a", torch.ones(5, 2, dtype=torch.bool), r"mask of shape \(5, 2\) was set"),
        ("b", torch.zeros(2, 5, dtype=torch.bool), "the mask leaves none of its rows"),
    ):
        recorder = dn.record(model, tmp_path / name)
        recorder.mask = mask
        with pytest.raises(SiteError, match=said), recorder:
            model(torch.randn(2, 5, 3))


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6), (2, 6, 3, 2), (7,)])
@pytest.mark.parametrize("rows", [None, 3, 0.5])
@pytest.mark.parametrize("units", [None, 2])
def test_a_table_is_what_indexing_by_hand_gives(shape, rows, units):
    sampler = Sampler(rows, units, 0, None)
    tensor = torch.arange(float(np.prod(shape))).reshape(shape)
    axis = sampler.axis(tensor, 1, "")
    found = sampler.table(tensor, axis)
    whole = table(tensor if tensor.ndim > 1 else tensor[:, None], axis)
    assert found.rows_seen == len(whole)
    assert tuple(found.values.shape) == sampler.size(shape, axis)
    columns = list(found.ids) if found.ids is not None else slice(None)
    chosen = [
        np.flatnonzero((whole[:, columns] == row.numpy()).all(1)).item() for row in found.values
    ]
    assert chosen == sorted(set(chosen))
    again = sampler.table(tensor, axis).values
    assert torch.equal(again, found.values)
    assert found.copied == (rows is not None and len(whole) > len(found.values)) or units


@pytest.mark.slow
def test_summaries_keep_no_rows_and_are_those_of_the_rows(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU())
    batches = [torch.randn(50, 4) for _ in range(3)]
    for name, only in (("raw", False), ("sums", True)):
        with dn.record(model, tmp_path / name, "norm", summaries_only=only) as recorder:
            for batch, step in zip(batches, (0, 0, 1), strict=True):
                recorder.step = step
                model(batch)
    raw, sums = dn.analyze(tmp_path / "raw"), dn.analyze(tmp_path / "sums")
    columns = ["layer", "site", "step", "n", "mean", "std", "skewness", "kurtosis"]
    for (_, one), (_, other) in zip(
        raw.units[columns].iterrows(), sums.units[columns].iterrows(), strict=True
    ):
        assert list(one[:4]) == list(other[:4])
        np.testing.assert_allclose(
            one[4:].to_numpy(float), other[4:].to_numpy(float), rtol=1e-9, atol=1e-12
        )


class Slow(nn.Module):
    """Waits in its forward pass until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.go = threading.Event(), threading.Event()

    def forward(self, x: Tensor) -> Tensor:
        self.inside.set()
        assert self.go.wait(30)
        return torch.relu(x)


def test_two_threads_at_once_are_an_error_that_harms_neither_pass(tmp_path, x):
    model = Slow()
    with dn.record(model, tmp_path / "s"):
        thread = threading.Thread(target=model, args=(x,))
        thread.start()
        assert model.inside.wait(30)
        with pytest.raises(SiteError, match="runs in two threads at once"):
            model(x)
        model.go.set()
        thread.join()
        model(x)
    assert [step for *_, step in recorded(tmp_path / "s")] == [0, 1]
    assert clean(model)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_checkpoints_are_recorded_once_and_give_the_same_gradients(tmp_path, x, reentrant, whole):
    block = mlp()
    model = block if whole else nn.Sequential(nn.Linear(4, 4), block)

    def run() -> list[Tensor]:
        model.zero_grad()
        given = x.clone().requires_grad_()
        if whole:
            y = checkpoint(block, given, use_reentrant=reentrant)
        else:
            y = checkpoint(block, model[0](given), use_reentrant=reentrant)
        y.sum().backward()
        return [p.grad.clone() for p in block.parameters()]

    plain = run()
    watched = block
    with dn.record(watched, tmp_path / "s", ["pre_activation", "norm"]) as recorder:
        seen = run()
        assert recorder.step == 1
    assert all(map(torch.equal, plain, seen))
    assert len(Store(tmp_path / "s")) == 4


def test_a_batch_of_models_and_a_gradient_by_function(tmp_path, x):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    with pytest.raises(SiteError, match=r"torch\.func\.vmap"), dn.record(model, tmp_path / "a"):
        torch.func.vmap(model)(x)
    assert clean(model)
    own = dict(model.named_parameters())
    double = {name: 2 * value for name, value in own.items()}
    with dn.record(model, tmp_path / "b", ["pre_activation", "weights"]):
        torch.func.grad(lambda p: torch.func.functional_call(model, p, x).sum())(double)
    found = recorded(tmp_path / "b")
    np.testing.assert_allclose(found["1", "pre_activation", 0], 2 * table(model[0](x)), rtol=1e-5)
    np.testing.assert_array_equal(found["0.weight", "weights", 0], 2 * table(own["0.weight"], 0))


REASONS = {
    "complex64": (lambda x: x.to(torch.complex64), "it holds complex64"),
    "sparse": (lambda x: x.to_sparse(), "it is sparse"),
    "meta": (lambda x: x.to("meta"), "no values"),
    "quantised": (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "it is quantised"),
    "nested": (lambda x: torch.nested.nested_tensor([x, x[:2]]), "it is a nested tensor"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REASONS)
def test_tensors_that_cannot_be_recorded_are_named(tmp_path, x, kind):
    make, reason = REASONS[kind]
    model = nn.Sequential(nn.Identity())
    with (
        pytest.raises(SiteError, match=f"'0': {reason}|'0': it .*{reason}"),
        dn.record(model, tmp_path / "s", "0"),
    ):
        model(make(x))


def test_eight_bits_are_recorded_exactly(tmp_path, x):
    model = nn.Sequential(nn.Identity())
    small = x.to(torch.float8_e4m3fn)
    with dn.record(model, tmp_path / "s", "0", rows=5):
        model(small)
    values = recorded(tmp_path / "s")["0", "input", 0]
    assert values.dtype == np.float32
    assert np.isin(values, small.float().numpy()).all()


def test_models_that_no_hook_sees_are_refused(tmp_path, x):
    with pytest.raises(SiteError, match=r"DataParallel.*record its \.module"):
        dn.record(nn.DataParallel(mlp()), tmp_path / "s")
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        scripted = torch.jit.trace(mlp().eval(), x)
    with pytest.raises(SiteError, match=r"its module '0' is compiled by torch\.jit"):
        dn.record(nn.Sequential(scripted), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_copies_under_way_are_written_after_the_next_pass():
    written: list[str] = []

    class Batch(outbox._Batch):
        pending = False

        @property
        def under_way(self) -> bool:
            return bool(self.samples) and not self.pending

        def wait(self) -> None:
            self.pending = True
            log.append(f"wait {len(self.samples)}")

    log: list[str] = []
    box = outbox.Outbox(lambda sample: (log.append("write"), written.append(sample.layer))[0])
    box._current, box._sent, box._held = (Batch(box.arena) for _ in range(3))
    original, outbox._Batch = outbox._Batch, Batch
    try:
        for name, keep in (("a", True), ("b", False), ("c", True), ("d", False)):
            box.begin(keep)
            box.add(outbox.Sample(torch.zeros(1, 1), name, "", 0, 0, None, 1, None))
            before = list(written)
            box.end()
            assert name not in written
            assert before == {"a": [], "b": [], "c": ["a"], "d": ["a"]}[name]
        box.close()
    finally:
        outbox._Batch = original
    assert written == ["a", "c", "d"]
    position = [i for i, entry in enumerate(log) if entry == "write"]
    assert all("wait 1" in log[:i] for i in position)


def test_a_pass_beyond_the_limit_is_written_in_its_midst(tmp_path, x, monkeypatch):
    monkeypatch.setattr(outbox, "LIMIT", 100)
    model = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())
    sizes: list[int] = []
    with dn.record(model, tmp_path / "s", ["norm", "pre_activation"]) as recorder:
        write = recorder._outbox._write
        recorder._outbox._write = lambda s: (sizes.append(len(recorder._samples)), write(s))[0]
        model(x)
    assert sizes[0] < 3
    told = {r.site: r.activation for r in Store(tmp_path / "s").records}
    assert told["norm_output"] == "relu"


def test_held_memory_is_that_of_one_pass(tmp_path, x):
    model = nn.Sequential(nn.ReLU())
    with dn.record(model, tmp_path / "s", every=1000) as recorder:
        model(x)
        model(x)
        (held,) = recorder._outbox._held.samples
        kept = weakref.ref(held.values)
        del held
        model(x)
        assert kept() is None


def names(path: Path) -> list[str]:
    return [record.layer for record in Store(path).records]


def compiled_before(model: nn.Module, x: Tensor) -> Any:
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    return compiled


def compiled_in_place(model: nn.Module, x: Tensor) -> Any:
    model.compile(backend="eager")
    model(x)
    return model


def compiled_part(model: nn.Module, x: Tensor) -> Any:
    model[0] = torch.compile(model[0], backend="eager")
    model[2].compile(backend="eager")
    model(x)
    return model


def compiled_around(model: nn.Module, x: Tensor) -> Any:
    function = torch.compile(lambda x: model(x), backend="eager")
    function(x)
    return function


@pytest.mark.slow
@pytest.mark.parametrize(
    "compiled", [compiled_before, compiled_in_place, compiled_part, compiled_around]
)
def test_compiled_models_are_recorded_as_they_were_written(tmp_path, x, compiled):
    model = mlp().eval()
    expected = [table(model[:2](x)), table(model[:4](x))]
    call = compiled(model, x)
    with dn.record(call if isinstance(call, nn.Module) else model, tmp_path / "s"):
        call(x)
    found = recorded(tmp_path / "s")
    assert list(found) == [("2", "pre_activation", 0), ("4", "pre_activation", 0)]
    for values, wanted in zip(found.values(), expected, strict=True):
        np.testing.assert_array_equal(values, wanted)
    with dn.record(model, tmp_path / "t", "0"):
        torch.compile(model, backend="eager")(x)
    assert names(tmp_path / "t") == ["0", "0"]
    assert clean(model)
    seen: list[Any] = []
    torch.compile(model[4], backend=lambda g, _: (seen.append(g), g.forward)[1])(torch.ones(2, 3))
    assert seen  # outside the block it compiles again


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_graphs_and_exported_programs(tmp_path, x):
    model = mlp().eval()
    expected = table(model[:2](x))
    with dn.record(torch.fx.symbolic_trace(model), tmp_path / "a") as recorder:
        recorder._model(x)
    np.testing.assert_array_equal(recorded(tmp_path / "a")["2", "pre_activation", 0], expected)
    program = torch.export.export(model, (x,))
    with pytest.raises(InputError, match=r"ExportedProgram; use \.module\(\)"):
        dn.record(program, tmp_path / "b")
    with dn.record(program.module(), tmp_path / "b") as recorder:
        recorder._model(x)
    found = recorded(tmp_path / "b")
    assert [layer for layer, *_ in found] == ["relu", "relu#1"]
    np.testing.assert_allclose(found["relu", "pre_activation", 0], expected, rtol=1e-5)


@pytest.mark.parametrize("rows", [3, 0.1])
def test_weights_are_kept_whole(tmp_path, rows):
    """The choice of rows is about what passes through the model, not about what it is made of."""
    model = nn.Sequential(nn.Linear(20, 5), nn.ReLU())
    with dn.record(model, tmp_path / "run", ["weights", "pre_activation"], rows=rows):
        model(torch.ones(30, 20))
    kept = {record.layer: (record.rows, values) for record, values in Store(tmp_path / "run")}
    assert kept["1"][0] == 3
    np.testing.assert_array_equal(kept["0.weight"][1], model[0].weight.detach().numpy().T)
    listed = dn.sites(model, torch.ones(30, 20), ["weights"], rows=rows).set_index("layer")
    assert listed["rows"].to_dict() == {"0.weight": 20, "0.bias": 5}
