"""convert_norms: what takes a norm's place keeps what carries over, and the way back is exact."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import distfit_nn.nn as dnn
from distfit_nn.errors import InputError
from distfit_nn.nn.base import ColumnNorm, Statistics, moved


class Plain1d(ColumnNorm):
    """Batch norm, as a layer of this package: what it must keep is known exactly."""

    DIMS: ClassVar[tuple[int, ...]] = (2, 3)

    def __init__(self, *args: Any, gain: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gain = gain
        size = self.num_features if self.track_running_stats else None
        like = {"device": kwargs.get("device"), "dtype": kwargs.get("dtype")}
        for name, fill in (("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, None if size is None else torch.full((size,), fill, **like))

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Statistics]:
        mean, var = x.detach().mean((0, 2)), x.detach().var((0, 2))
        return F.batch_norm(x, None, None, *self.line(x.dtype), True, 0.0, self.eps), (mean, var)

    def _track(self, statistics: Statistics, rate: Any, rows: int) -> None:
        moved(self.running_mean, statistics[0], rate)
        moved(self.running_var, statistics[1], rate)

    def _of_running(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean.to(x.dtype), self.running_var.to(x.dtype)
        return F.batch_norm(x, mean, var, *self.line(x.dtype), False, 0.0, self.eps)

    def _start(self) -> None:
        self.running_mean.zero_()
        self.running_var.fill_(1.0)


class Plain2d(Plain1d):
    DIMS: ClassVar[tuple[int, ...]] = (4,)


class Started1d(Plain1d):
    """One that keeps other statistics and is told where to start."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("table", torch.zeros(2))

    def _start_from(self, mean: Tensor, var: Tensor) -> None:
        self.started = (mean.clone(), var.clone())


class Broken1d(Plain1d):
    """One that cannot have 3 features."""

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        super().__init__(num_features, **kwargs)
        if num_features == 3:
            raise InputError("num_features must not be 3")


class OwnNorm(nn.BatchNorm1d):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class Named(nn.BatchNorm1d):
    """A mere name for BatchNorm1d."""


class Net(nn.Module):
    """Norms in every kind of place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.alias = self.bn
        self.lists = nn.ModuleList([nn.BatchNorm1d(5, momentum=None), nn.Linear(5, 5)])
        self.dicts = nn.ModuleDict({"a": nn.Sequential(Named(5, eps=1e-3), nn.ReLU())})
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.alias(self.bn(self.conv(x)).relu()).mean((2, 3))
        return self.dicts["a"](self.lists[1](self.lists[0](self.head(h))))


def trained(model: nn.Module, *shape: int) -> nn.Module:
    """Return a model whose norms have seen something, in eval mode."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            model.train()(1.5 * torch.randn(shape) + 0.5)
    return model.eval()


def test_every_norm_of_a_model_is_exchanged_and_computes_the_same() -> None:
    model = trained(Net(), 8, 1, 6, 6)
    before = copy.deepcopy(model)
    parameters = list(model.parameters())
    done = dnn.convert_norms(model, Plain2d)
    assert [row.names for row in done.rows] == [("bn", "alias"), ("lists.0",), ("dicts.a.0",)]
    assert [row.target for row in done.rows] == ["Plain2d", "Plain1d", "Plain1d"]
    assert len(done) == 3
    assert done.model is model
    assert model.bn is model.alias
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert set(model.state_dict()) == set(before.state_dict())
    assert model.lists[0].momentum is None
    assert model.dicts["a"][0].eps == 1e-3
    x = torch.randn(7, 1, 6, 6)
    torch.testing.assert_close(model(x), before(x), rtol=0, atol=0)
    torch.testing.assert_close(model.train()(x), before.train()(x))
    for name, value in before.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)


def test_the_way_back_gives_the_same_classes_outputs_and_keys() -> None:
    model = trained(Net(), 8, 1, 6, 6)
    before = copy.deepcopy(model)
    dnn.convert_norms(model, Plain1d)
    done = dnn.convert_norms(model, nn.BatchNorm2d)
    assert [row.target for row in done.rows] == ["BatchNorm2d", "BatchNorm1d", "BatchNorm1d"]
    x = torch.randn(7, 1, 6, 6)
    torch.testing.assert_close(model(x), before(x), rtol=0, atol=0)
    assert list(model.state_dict()) == list(before.state_dict())
    before.load_state_dict(model.state_dict())


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_mode_dtype_and_gradients_asked_for_are_kept(mode: bool, dtype: torch.dtype) -> None:
    norm = nn.BatchNorm1d(4, dtype=dtype)
    norm.bias.requires_grad_(False)
    model = nn.Sequential(norm).train(mode)
    model[0].training = not mode  # its own mode, not the model's
    dnn.convert_norms(model, Plain1d)
    assert model.training is mode
    assert model[0].training is not mode
    assert model[0].weight is norm.weight
    assert not model[0].bias.requires_grad
    assert model[0].weight.requires_grad
    assert {b.dtype for n, b in model.named_buffers() if "running" in n} == {dtype}


def test_norms_without_parameters_or_statistics() -> None:
    model = nn.Sequential(
        nn.BatchNorm1d(3, affine=False),
        nn.BatchNorm1d(3, track_running_stats=False),
        nn.BatchNorm1d(3, bias=False),
    )
    before = copy.deepcopy(model)
    dnn.convert_norms(model, Plain1d)
    bare, own, half = model
    assert bare.weight is None
    assert not bare.affine
    assert own.num_batches_tracked is None
    assert half.bias is None
    assert half.weight is not None
    x = torch.randn(9, 3)
    torch.testing.assert_close(model(x), before(x))
    torch.testing.assert_close(model.eval()(x), before.eval()(x))
    dnn.convert_norms(model, nn.BatchNorm1d)
    assert list(model.state_dict()) == list(before.state_dict())


def test_all_hooks_go_along_and_their_handles_still_remove_them() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    calls: list[str] = []

    def note(word: str) -> Any:
        return lambda *_args, **_kwargs: calls.append(word)

    norm = model[1]
    handles = [
        norm.register_forward_pre_hook(note("pre")),
        norm.register_forward_pre_hook(note("pre, kwargs"), with_kwargs=True),
        norm.register_forward_hook(note("forward")),
        norm.register_forward_hook(note("always"), always_call=True, with_kwargs=True),
        norm.register_full_backward_pre_hook(note("backward pre")),
        norm.register_full_backward_hook(note("backward")),
        norm.register_state_dict_pre_hook(note("saving")),
        norm.register_state_dict_post_hook(note("saved")),
        norm.register_load_state_dict_pre_hook(note("loading")),
        norm.register_load_state_dict_post_hook(note("loaded")),
    ]
    modules: list[nn.Module] = []
    norm.register_load_state_dict_pre_hook(lambda module, *_args: modules.append(module))
    done = dnn.convert_norms(model, Plain1d)
    assert "hooks" in done.rows[0].kept
    del norm
    model(torch.randn(4, 3)).sum().backward()
    model.load_state_dict(model.state_dict())
    words = ["pre", "pre, kwargs", "forward", "always", "backward pre", "backward"]
    assert calls == [*words, "saving", "saved", "loading", "loaded"]
    assert modules == [model[1]]
    with pytest.raises(InputError):
        model[1](torch.ones(4))
    assert calls[-1] == "always"
    calls.clear()
    for handle in handles:
        handle.remove()
    model(torch.randn(4, 3)).sum().backward()
    model.load_state_dict(model.state_dict())
    assert calls == []


def test_a_model_that_is_a_norm_is_given_back_as_another() -> None:
    norm = nn.BatchNorm1d(3)
    done = dnn.convert_norms(norm, Plain1d)
    assert type(done.model) is Plain1d
    assert done.model.weight is norm.weight
    assert "(the model): BatchNorm1d -> Plain1d" in str(done)


def test_sync_batch_norm_becomes_a_synchronised_layer_of_any_dimensions_and_back() -> None:
    model = nn.Sequential(nn.SyncBatchNorm(3)).eval()
    dnn.convert_norms(model, Plain2d)
    assert model[0].sync
    for shape in ((4, 3), (4, 3, 5), (4, 3, 2, 2), (4, 3, 2, 2, 2)):
        assert model(torch.randn(shape)).shape == shape
    dnn.convert_norms(model, nn.BatchNorm2d)
    assert type(model[0]) is nn.SyncBatchNorm


def test_layer_norms_are_converted_where_asked_for_and_back() -> None:
    model = nn.Sequential(nn.LayerNorm(6), nn.LayerNorm((2, 6)), nn.LayerNorm(6, bias=False))
    before = copy.deepcopy(model)
    assert len(dnn.convert_norms(model, Plain2d)) == 0
    weight = model[0].weight
    done = dnn.convert_norms(model, Plain2d, layer_norms=True)
    assert [row.target for row in done.rows] == ["Plain1d", None, "Plain1d"]
    assert "several dimensions" in done.left[0].note
    assert model[0].weight is weight
    assert model[0].feature_dim == -1
    assert model[2].bias is None
    x = torch.randn(3, 2, 6)
    flat = x.reshape(6, 6)
    torch.testing.assert_close(
        model[0](x).reshape(6, 6), (flat - flat.mean(0)) / (flat.var(0, correction=0) + 1e-5).sqrt()
    )
    with pytest.warns(UserWarning, match="its features are last, which BatchNorm does not know"):
        assert len(dnn.convert_norms(model, nn.BatchNorm1d)) == 0
    assert len(dnn.convert_norms(model, nn.LayerNorm)) == 2
    torch.testing.assert_close(model(x), before(x), rtol=0, atol=0)


@pytest.mark.parametrize("padding", [False, True])
def test_a_fused_transformer_layer_calls_what_was_put_in(padding: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    dnn.convert_norms(model, Plain1d, layer_norms=True)
    norms = [module for module in model.modules() if isinstance(module, Plain1d)]
    calls: list[Any] = []
    for norm in norms:  # not by hooks, for which torch takes the long way round
        norm.forward = lambda x, norm=norm: calls.append(norm) or Plain1d.forward(norm, x)
    mask = torch.tensor([[False] * 3, [False, False, True]]) if padding else None
    with torch.no_grad():
        model(torch.randn(2, 3, 8), src_key_padding_mask=mask)
    assert calls == norms
    assert len(norms) == 4
    dnn.convert_norms(model, nn.LayerNorm)
    assert all(m.activation_relu_or_gelu == 1 for m in model.layers)


def test_what_cannot_be_converted_is_left_and_reported() -> None:
    model = nn.ModuleDict(
        {
            "three": nn.BatchNorm3d(2),
            "lazy": nn.LazyBatchNorm1d(),
            "parametrized": parametrizations.weight_norm(nn.BatchNorm1d(2), dim=None),
            "own": OwnNorm(2),
            "child": nn.BatchNorm1d(2),
            "buffer": nn.BatchNorm1d(2),
            "pruned": prune.identity(nn.BatchNorm1d(2), "weight"),
            "good": nn.BatchNorm1d(2),
        }
    )
    model["child"].add_module("more", nn.ReLU())
    model["buffer"].register_buffer("more", torch.ones(2))
    before = dict(model.named_modules())
    done = dnn.convert_norms(model, Plain1d)
    assert [row.names[0] for row in done.converted] == ["good"]
    assert [row.names[0] for row in done.left] == [name for name in model if name != "good"]
    assert all(row.note for row in done.left)
    assert all(module is before[name] for name, module in model.named_modules() if name != "good")


def test_layers_of_several_forms_remember_theirs() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm3d(3))
    dnn.convert_norms(model, dnn.LogShift)
    with pytest.raises(InputError, match="2 or 3 dimensions"):
        model[0](torch.randn(2, 3, 4, 4))
    dnn.convert_norms(model, nn.BatchNorm2d)
    assert [type(norm) for norm in model] == [nn.BatchNorm1d, nn.BatchNorm3d]


def test_an_eps_above_that_of_the_layer_is_mentioned() -> None:
    def note(layer: Any, **options: Any) -> str:
        return dnn.convert_norms(nn.Sequential(nn.BatchNorm1d(3)), layer, **options).rows[0].note

    assert "eps is that of the norm, 1e-05, by default 1e-10" in note(dnn.CopulaNorm1d)
    assert "below 3e-3 are flattened" in note(dnn.CopulaNorm1d)
    assert "eps" not in note(dnn.CopulaNorm1d, eps=1e-10)
    assert "eps" not in note(dnn.MomentNorm1d)


def test_to_convert_nothing_is_not_silent() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    with pytest.warns(UserWarning, match="no norm was converted, 2 left: MLENorm1d has no form"):
        done = dnn.convert_norms(model, dnn.MLENorm1d)
    assert str(done).startswith(
        "0 converted, 2 left: the model is as it was\n  0: BatchNorm2d left"
    )


def test_options_and_names() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    done = dnn.convert_norms(model, Plain1d, names="[01]", eps=0.5, momentum=None, gain=3.0)
    assert len(done.rows) == 2
    assert (model[1].eps, model[1].momentum, model[1].gain) == (0.5, None, 3.0)
    assert type(model[2]) is nn.BatchNorm1d


def test_an_error_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(3))
    before = list(model)
    with pytest.raises(InputError, match="must not be 3"):
        dnn.convert_norms(model, Broken1d)
    assert list(model) == before


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        (Plain1d(3), {}, "layer must be a layer class"),
        (nn.ReLU, {}, "layer must be a layer class"),
        (ColumnNorm, {}, "layer must be a layer class"),
        (nn.LazyBatchNorm1d, {}, "must not be lazy"),
        (Plain1d, {"strength": 3.0}, r"options must be among .*got 'strength'"),
        (Plain1d, {"num_features": 3}, "got 'num_features'"),
        (Plain1d, {"names": "nothing*"}, r"names must match a norm, got 'nothing\*'"),
        (Plain1d, {"momentum": 2.0}, "momentum must be a number"),
    ],
)
def test_errors_name_the_rule(layer: Any, options: dict[str, Any], message: str) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    with pytest.raises(InputError, match=message):
        dnn.convert_norms(model, layer, **options)
    assert type(model[0]) is nn.BatchNorm1d
    with pytest.raises(InputError, match="model must be"):
        dnn.convert_norms(torch.jit.script(model), Plain1d)


def test_the_result_as_text_and_table() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm3d(3))
    done = dnn.convert_norms(model, Plain1d)
    lines = str(done).splitlines()
    assert lines[0] == "1 converted, 1 left"
    assert lines[1].startswith("  0: BatchNorm1d -> Plain1d; kept weight, bias, running_mean")
    assert lines[2].startswith("  1: BatchNorm3d left: Plain1d has no form for 3 dimensions")
    table = done.to_frame()
    assert list(table["names"]) == ["0", "1"]
    assert list(table["target"].isna()) == [False, True]
