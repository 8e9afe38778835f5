"""Sites: every form of an activation is known, names are found, and units are on the right axis."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distfit_nn.capture import sites
from distfit_nn.errors import InputError, SiteError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))] * 2)
        self.norm = nn.Identity()


class LlamaRMSNorm(nn.Module):
    """A norm that torch does not know."""


class PreNorm(nn.Module):
    """Not a norm, but a wrapper of one."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LayerNorm(2)


def test_plan_of_each_word():
    plan = sites.resolve(Net(), "pre_activation")
    assert plan.activations
    assert plan.modules == {}
    assert plan.expected == {"pre_activation": ("stem.2",)}
    plan = sites.resolve(Net(), "norm")
    assert not plan.activations
    assert plan.modules == {"stem.1": ("norm",), "blocks.0.1": ("norm",)}
    plan = sites.resolve(Net(), ["stem.*", "norm", "stem.1"])
    assert plan.wanted == ("stem.*", "norm", "stem.1")
    assert plan.modules["stem.1"] == ("stem.*", "norm", "stem.1")
    assert set(plan.modules) == {"stem.0", "stem.1", "stem.2", "blocks.0.1"}


def test_a_shared_module_is_found_by_any_of_its_names():
    assert sites.resolve(Net(), "blocks.1.0").modules == {"blocks.0.0": ("blocks.1.0",)}
    assert set(sites.resolve(Net(), "blocks.*.0").modules) == {"blocks.0.0"}
    assert sites.resolve(Net(), "[n]orm").modules == {"norm": ("[n]orm",)}


@pytest.mark.parametrize(
    ("module", "norm"),
    [
        *[(nn.BatchNorm1d(2), True), (nn.BatchNorm3d(2), True), (nn.SyncBatchNorm(2), True)],
        *[(nn.GroupNorm(1, 2), True), (nn.InstanceNorm2d(2), True), (nn.RMSNorm(2), True)],
        *[(nn.LazyBatchNorm1d(), True), (nn.LocalResponseNorm(2), True), (LlamaRMSNorm(), True)],
        *[(PreNorm(), False), (nn.Linear(1, 1), False), (nn.ReLU(), False)],
    ],
)
def test_norms_are_known_by_type_or_name(module, norm):
    assert sites.is_norm(module) is norm


def test_a_parametrised_weight_is_no_norm():
    model = torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    with pytest.raises(SiteError, match="no normalisation layer"):
        sites.resolve(model, "norm")


def test_an_unknown_name_is_an_error_that_lists_near_misses():
    with pytest.raises(SiteError, match=r"'pre_activations'.*near misses: pre_activation"):
        sites.resolve(Net(), "pre_activations")
    with pytest.raises(SiteError, match=r"'stem\.9'.*near misses: .*stem\.2"):
        sites.resolve(Net(), ["norm", "stem.9"])
    with pytest.raises(SiteError, match="it has 9 named modules"):
        sites.resolve(Net(), "encoder/*/fc")


@pytest.mark.parametrize(
    "value",
    [None, 3, [], (), "", [""], ["norm", None], [3], [["norm"]], int, nn.ReLU(), [nn.ReLU()]],
)
def test_sites_that_are_no_words(value):
    with pytest.raises(
        InputError, match="sites must be 'pre_activation', 'norm', 'weights', a module's name"
    ):
        sites.resolve(Net(), value)


FORMS = [
    *[(F.relu, "relu"), (torch.relu, "relu"), (torch.relu_, "relu"), (F.relu_, "relu")],
    *[(torch.Tensor.relu, "relu"), (torch.Tensor.relu_, "relu"), (torch.ops.aten.relu, "relu")],
    *[(torch.ops.aten.relu.default, "relu"), (F.gelu, "gelu"), (F.silu, "silu")],
    *[(F.leaky_relu, "leaky_relu"), (F.leaky_relu_, "leaky_relu"), (torch.tanh, "tanh")],
    *[(torch.Tensor.tanh_, "tanh"), (torch.sigmoid, "sigmoid"), (F.logsigmoid, "log_sigmoid")],
    *[(F.threshold_, "threshold"), (F._threshold, "threshold"), (F.rrelu_, "rrelu")],
    *[(torch.special.expit, "special_expit"), (F.elu_, "elu"), (F.selu_, "selu")],
    *[(torch.softmax, "softmax"), (F.log_softmax, "log_softmax"), (F.softmin, "softmin")],
    *[(torch.Tensor.softmax, "softmax"), (torch.ops.aten._softmax.default, "softmax")],
    *[(torch.special.log_softmax, "special_log_softmax"), (F.glu, "glu")],
]


@pytest.mark.parametrize(("function", "name"), FORMS)
def test_activations_are_known_in_every_form(function, name):
    assert sites.activation_of(function) == name


@pytest.mark.parametrize(
    "function",
    [torch.exp, F.cross_entropy, F.linear, torch.clamp, torch.Tensor.add_, print, object()],
)
def test_other_functions_are_no_activations(function):
    assert sites.activation_of(function) is None


def test_unit_axes_of_modules():
    images, words = torch.zeros(2, 3, 4, 5), torch.zeros(2, 7, 3)
    assert sites.unit_axis_of(nn.Conv2d(3, 3, 1), images) == 1
    assert sites.unit_axis_of(nn.GroupNorm(1, 3), images) == 1
    assert sites.unit_axis_of(nn.LocalResponseNorm(2), images) is None
    assert sites.unit_axis_of(nn.LayerNorm(3), words) == -1
    assert sites.unit_axis_of(nn.LayerNorm(3), images) == 1
    assert sites.unit_axis_of(nn.LayerNorm([3, 4, 5]), images) == -3
    assert sites.unit_axis_of(nn.RMSNorm([7, 3]), words) == -2
    assert sites.unit_axis_of(nn.Linear(3, 3), words) == -1
    assert sites.unit_axis_of(nn.ReLU(), words) is None


@pytest.mark.parametrize(
    ("function", "name"),
    [
        *[
            (torch.relu_, "relu"),
            (torch.ops.aten.relu.default, "relu"),
            (F._threshold, "threshold"),
        ],
        *[(torch.Tensor.T.__get__, "T"), (torch.Tensor.mT.__get__, "mT"), (object(), "")],
        *[(torch.Tensor.__getitem__, "getitem"), (torch.Tensor.transpose_, "transpose")],
    ],
)
def test_bare_names(function, name):
    assert sites.bare_name(function) == name


def test_first_tensor():
    x, y = torch.zeros(1), torch.zeros(2)
    assert sites.first_tensor((None, {"a": 3, "b": [x]}, y)) is x
    assert sites.first_tensor(((), {})) is None
    assert sites.first_tensor(np.zeros(3)) is None


def test_what_cannot_be_recorded():
    assert sites.why_not(torch.zeros(2)) is None
    assert sites.why_not(torch.zeros(2, dtype=torch.bfloat16)) is None
    assert "int64" in sites.why_not(torch.zeros(2, dtype=torch.int64))
    assert "complex64" in sites.why_not(torch.zeros(2, dtype=torch.complex64))
    assert sites.why_not(torch.tensor(1.0)) == "it is a single number"
    assert sites.why_not(torch.zeros(0, 3)) == "it is empty"
