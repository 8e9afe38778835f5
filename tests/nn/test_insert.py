"""insert_norms: a layer before every ReLU, be it a module, a function, or one module many times."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import distfit_nn.nn as dnn
from distfit_nn.errors import InputError
from tests.nn.test_convert import Plain1d, Plain2d

MODULES = (Plain1d, Plain2d)


class Functional(nn.Module):
    """The forms of a ReLU that are no module, and one module twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 5)
        self.third, self.last = nn.Linear(5, 5), nn.Linear(5, 2)
        self.unused = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.ones(5))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        h = F.relu(self.first(x)) * self.scale
        h = h if shift is None else h + shift
        h = self.relu(self.second(h).relu())
        h = F.dropout(h, 0.5, training=self.training)
        h = self.relu(self.third(h))
        return self.last(torch.relu(h + 1.0))


class Block(nn.Module):
    """A block of a residual network, with one ReLU for two calls."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.two(self.relu(self.one(x))) + x)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        h.relu_()
        return self.last(h)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.first(x)) if x.sum() > 0 else self.first(x)


def inputs_of_relus(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Return what each ReLU of a pass gets."""
    seen: list[Tensor] = []

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            if getattr(func, "__name__", "").strip("_") == "relu":
                seen.append(args[0].detach().clone())
            return func(*args, **(kwargs or {}))

    with Mode():
        model(x)
    return [x for i, x in enumerate(seen) if i == 0 or not torch.equal(x, seen[i - 1])]


def normal_columns(x: Tensor) -> bool:
    """Tell whether each feature has mean 0 and variance 1, but for eps."""
    dims = [d for d in range(x.ndim) if d != 1]
    mean, var = x.mean(dims), x.var(dims, correction=0)
    return bool((mean.abs() < 1e-5).all() and ((var - 1).abs() < 0.01).all())


def test_relu_modules_are_replaced_in_place_and_all_other_names_stay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 5), nn.ReLU()
    )
    before, keys = copy.deepcopy(model), list(model.state_dict())
    relu = model[1]
    example = torch.randn(9, 1, 6, 6)
    done = dnn.insert_norms(model.train(), Plain2d, example, momentum=None)
    assert done.model is model
    assert [(row.names, row.target) for row in done.rows] == [
        (("1",), "Plain2d"),
        (("4",), "Plain1d"),
    ]
    assert done.rows[0].new == ("weight", "bias")
    assert model[1].relu is relu
    assert model[1].norm.momentum is None
    assert [key for key in model.state_dict() if "norm" not in key] == keys
    assert all(module.training for module in model.modules())
    seen = inputs_of_relus(model, 5 * example + 3)
    assert len(seen) == 2
    assert all(map(normal_columns, seen))
    assert not torch.allclose(model(example), before(example))


def test_functions_and_a_module_of_several_calls_are_normed_by_a_graph() -> None:
    torch.manual_seed(0)
    model = Functional().train()
    state, example = copy.deepcopy(model.state_dict()), torch.randn(40, 6)
    done = dnn.insert_norms(model, Plain2d, example)
    names = ["relu:0", "relu:1", "relu:0", "relu:1", "relu:2"]
    assert len(done) == 5
    assert len({row.names for row in done.rows}) == 5, names
    assert done.model is not model
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert not any(isinstance(m, MODULES) for m in model.modules())
    own = dict(done.model.named_parameters())
    assert all(own[name] is parameter for name, parameter in model.named_parameters())
    assert [name for name in done.model.state_dict() if "norm" not in name] == list(state)
    seen = inputs_of_relus(done.model, example)
    assert len(seen) == 5
    assert all(map(normal_columns, seen))


def test_a_graph_goes_on_to_follow_the_mode() -> None:
    torch.manual_seed(0)
    graph = dnn.insert_norms(Functional(), Plain1d, torch.randn(40, 6)).model
    x = torch.randn(40, 6)
    graph.eval()
    assert torch.equal(graph(x), graph(x))
    graph.train()
    assert not torch.equal(graph(x), graph(x))
    assert not graph.unused.weight.requires_grad_(False).requires_grad
    twin = copy.deepcopy(graph).eval()
    assert torch.equal(twin(x), graph.eval()(x))


def test_a_residual_block_keeps_its_names() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), Block(), Block())
    x = torch.randn(5, 1, 8, 8)
    done = dnn.insert_norms(model, Plain1d, x)
    assert [row.names[0] for row in done.rows] == [
        "1",
        "2.relu:0",
        "2.relu:1",
        "3.relu:0",
        "3.relu:1",
    ]
    assert all(row.target == "Plain2d" for row in done.rows)
    assert [k for k in done.model.state_dict() if "norm" not in k] == list(model.state_dict())
    seen = inputs_of_relus(done.model, x)
    assert len(seen) == 5
    assert all(map(normal_columns, seen))


def test_what_follows_a_relu_in_place_gets_its_output() -> None:
    torch.manual_seed(0)
    model = InPlace()
    x = torch.randn(50, 3)
    graph = dnn.insert_norms(model, Plain1d, x).model.train()
    hidden = model.first(x)
    normed = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(graph(x), model.last(normed.relu()))


def test_features_last_by_the_layer_before_or_by_the_argument() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU())
    x = torch.randn(3, 7, 6)
    twin = copy.deepcopy(model)
    dnn.insert_norms(model, Plain1d, x)
    assert model[1].norm.feature_dim == -1
    assert model[1].norm.num_features == 5
    dnn.insert_norms(twin, Plain1d, x, feature_dim=1)
    assert twin[1].norm.feature_dim == 1
    assert twin[1].norm.num_features == 7


def test_names_and_relus_behind_a_norm() -> None:
    def make() -> nn.Sequential:
        layers = [nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(4, 4), nn.ReLU())

    x = torch.randn(8, 4)
    model = make()
    done = dnn.insert_norms(model, Plain1d, x, exclude="6")
    assert [row.names[0] for row in done.converted] == ["1"]
    assert [row.note for row in done.left] == ["it gets the output of BatchNorm1d", "not asked for"]
    model = make()
    done = dnn.insert_norms(model, Plain1d, x, names=["6"])
    assert [row.names[0] for row in done.converted] == ["6"]
    graph = dnn.insert_norms(Functional(), Plain1d, torch.randn(8, 6), exclude="relu:2").model
    assert len([m for m in graph.modules() if isinstance(m, Plain1d)]) == 4


def test_a_run_on_the_example_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model.append(nn.ReLU(inplace=True))
    model[1].eval()
    modes = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    example = torch.randn(8, 4)
    given, generator = example.clone(), torch.get_rng_state()
    dnn.insert_norms(model, Plain1d, example, names="4", exclude=())
    assert [m.training for n, m in model.named_modules() if n not in ("4.norm", "4.relu")] == modes
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    assert torch.equal(example, given)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("model", "example", "options", "message"),
    [
        (nn.Linear(3, 3), torch.ones(4, 3), {}, "must call a ReLU on the example, got none"),
        (Branching(), torch.ones(4, 3), {}, "model cannot be traced"),
        (nn.Sequential(nn.ReLU()), torch.ones(4, 3), {"names": "9"}, "names must match a ReLU"),
        (nn.Sequential(nn.ReLU()), torch.ones(4, 3), {"gamma": 1}, "options must be among"),
        (nn.Sequential(nn.ReLU()), torch.ones(4, 3), {"dtype": 1}, "options must be among"),
        (nn.Sequential(nn.ReLU()), torch.ones(4, 3), {"feature_dim": 2}, "feature_dim must be"),
        (nn.Sequential(nn.ReLU()), torch.ones(3), {}, "must suit the input of each ReLU"),
        (nn.Sequential(nn.ReLU()), torch.ones(1, 2, 3, 4, 5), {}, "must suit the input of each"),
        (nn.ReLU(), torch.ones(4, 3), {}, "model must be more than a ReLU"),
        ("model", torch.ones(4, 3), {}, "model must be a torch.nn.Module"),
    ],
)
def test_errors_name_the_rule_and_leave_the_model(
    model: Any, example: Tensor, options: dict[str, Any], message: str
) -> None:
    before = repr(model)
    with pytest.raises(InputError, match=message):
        dnn.insert_norms(model, Plain1d, example, **options)
    assert repr(model) == before


def test_a_module_with_hooks_is_not_traced_through() -> None:
    model = nn.Sequential(Block())
    model[0].register_forward_hook(lambda *_args: None)
    with pytest.raises(InputError, match="'0' would lose its hooks"):
        dnn.insert_norms(model, Plain2d, torch.randn(2, 4, 5, 5))


def test_the_activation_of_a_fused_transformer_layer() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.ReLU(), batch_first=True).eval()
    calls: list[Any] = []
    done = dnn.insert_norms(layer, Plain1d, torch.randn(2, 3, 8))
    assert done.rows[0].names == ("activation",)
    norm = layer.activation.norm
    norm.forward = lambda x: calls.append(x) or Plain1d.forward(norm, x)
    with torch.no_grad():
        layer(torch.randn(2, 3, 8))
    assert len(calls) == 1
