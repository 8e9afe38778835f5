"""Unit axes: wherever a model moves its units, each recorded column is one unit.

The layers here give each unit a value of its own, the same at all positions: where the recorder
found the units, every column is constant, and the columns are the units' values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import distfit_nn as dn
from distfit_nn.capture.axes import UnitAxes, _moved, _reshaped
from distfit_nn.capture.readers import read
from distfit_nn.errors import InputError


def marked(layer: nn.Module) -> nn.Module:
    """Make unit k of `layer` give k + 1 wherever it is."""
    with torch.no_grad():
        layer.weight.zero_()
        units, *others = layer.bias.shape
        layer.bias.copy_(torch.arange(1.0, units + 1).view(-1, *[1] * len(others)))
    return layer


class After(nn.Module):
    """A layer, and a function of its output."""

    def __init__(self, layer: nn.Module, function: Any) -> None:
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer(x))


def values_of(path: Path, model: nn.Module, *inputs: Tensor, **options: Any) -> np.ndarray:
    """What the last activation took in."""
    with dn.record(model, path, **options), torch.no_grad():
        model(*inputs)
    return list(read(path))[-1].values


def check_units(values: np.ndarray, expected: Any) -> None:
    np.testing.assert_array_equal(values, np.broadcast_to(expected, values.shape))


LINEAR = (nn.Linear(3, 6), (2, 5, 3))  # gives (2, 5, 6)
DEEP = (nn.Linear(3, 6), (2, 4, 5, 3))  # gives (2, 4, 5, 6)
CONV1 = (nn.Conv1d(3, 6, 1), (2, 3, 5))  # gives (2, 6, 5)
CONV2 = (nn.Conv2d(3, 6, 1), (2, 3, 4, 5))  # gives (2, 6, 4, 5)
LAYER_NORM = (nn.LayerNorm([6, 4, 5]), (2, 6, 4, 5))

MOVES = [
    (LINEAR, lambda x: x.permute(0, 2, 1)),
    (LINEAR, lambda x: torch.permute(input=x, dims=(2, 0, 1))),
    (LINEAR, lambda x: x.transpose(1, 2)),
    (LINEAR, lambda x: x.transpose_(1, 2)),
    (LINEAR, lambda x: torch.transpose(x, dim0=-1, dim1=0)),
    (LINEAR, lambda x: x.swapaxes(1, 2)),
    (LINEAR, lambda x: torch.swapdims(x, 1, 2)),
    (LINEAR, lambda x: x.movedim(-1, 0)),
    (LINEAR, lambda x: torch.moveaxis(x, (2, 1), (0, 2))),
    (LINEAR, lambda x: x.mT),
    (LINEAR, lambda x: x.mH),
    (LINEAR, lambda x: x.adjoint()),
    (LINEAR, lambda x: torch.ops.aten.permute.default(x, [0, 2, 1])),
    (LINEAR, lambda x: x.transpose(1, 2).contiguous() * 1),
    (CONV1, lambda x: x.transpose(1, 2)),
    (CONV1, lambda x: x),
    (CONV1, lambda x: x.mean(0) * 0 + x),
    (CONV1, lambda x: x.reshape(12, 5).reshape(2, 6, 5) * 0 + x),
    (CONV2, lambda x: x.permute(0, 2, 3, 1)),
    (CONV2, lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2)),
    (CONV2, lambda x: x.flatten(2)),
    (CONV2, lambda x: x.flatten(2).transpose(1, 2)),
    (CONV2, lambda x: x.reshape(2, 6, 20).mT),
    (CONV2, lambda x: x.view(1, 2, 6, 4, 5)),
    (CONV2, lambda x: x[:, :, None]),
    (CONV2, lambda x: x[:, :, 1:]),
    (CONV2, lambda x: x.unsqueeze(1)),
    (CONV2, lambda x: x.unsqueeze_(1).add_(0)),
    (CONV2, lambda x: x.unsqueeze(0).squeeze(0)),
    (CONV2, lambda x: x.mean(-1)),
    (CONV2, lambda x: F.avg_pool2d(x, 2)),
    (CONV2, lambda x: torch.cat([x, x], dim=2)),
    (DEEP, lambda x: x),
    (DEEP, lambda x: x.flatten(1, 2)),
    (DEEP, lambda x: x.view(2, 2, 2, 5, 6).permute(0, 1, 3, 2, 4).reshape(-1, 10, 6)),
    (DEEP, lambda x: x.movedim(-1, 1).unflatten(2, (2, 2))),
    (LAYER_NORM, lambda x: x),
    (LAYER_NORM, lambda x: x.permute(0, 2, 3, 1)),
]


@pytest.mark.parametrize(("layer", "function"), MOVES)
def test_units_are_found_wherever_they_are_moved(tmp_path, layer, function):
    module, shape = layer
    model = After(marked(module), lambda x: F.relu(function(x)))
    check_units(values_of(tmp_path / "s", model, torch.randn(shape)), np.arange(1.0, 7))


def test_the_transpose_of_more_than_two_axes(tmp_path):
    model = After(marked(nn.Linear(3, 6)), lambda x: F.relu(x.T))
    with pytest.warns(UserWarning, match="use of `x.T`"):
        model(torch.zeros(2, 5, 3))  # torch warns once
    check_units(values_of(tmp_path / "s", model, torch.zeros(2, 5, 3)), np.arange(1.0, 7))


def test_a_divided_axis_leaves_its_last_part(tmp_path):
    """The heads of an attention: the units of a head, over all heads."""
    model = After(marked(nn.Linear(3, 6)), lambda x: F.relu(x.view(2, 5, 3, 2).transpose(1, 2)))
    values = values_of(tmp_path / "s", model, torch.zeros(2, 5, 3))
    assert values.shape == (30, 2)
    np.testing.assert_array_equal(values[:, 1], values[:, 0] + 1)


@pytest.mark.parametrize(("shape", "axis"), [((12, 4, 5), 2), ((1, 12, 2, 2, 5), 1)])
def test_a_merged_axis_is_lost(tmp_path, shape, axis):
    model = After(marked(nn.Conv2d(3, 6, 1)), lambda x: F.relu(x.reshape(shape)))
    values = values_of(tmp_path / "s", model, torch.zeros(2, 3, 4, 5))
    assert values.shape[1] == shape[axis]


class ConvNeXt(nn.Module):
    """A block that works with its channels last and ends with them first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide, self.narrow = nn.Linear(channels, 16), nn.Linear(16, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        h = self.narrow(F.gelu(self.wide(h)))
        return F.relu(x + h.permute(0, 3, 1, 2))


def test_a_convnext_block(tmp_path):
    block, x = ConvNeXt(8), torch.randn(3, 8, 12, 12)
    y = block(x).detach()
    values = values_of(tmp_path / "s", block, x)
    assert values.shape == (432, 8)
    np.testing.assert_array_equal(np.maximum(values, 0), y.movedim(1, -1).reshape(-1, 8))


class Attention(nn.Module):
    """One head by hand: what transposes the keys says nothing of the other tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (marked(nn.Linear(3, 6)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), dim=-1)
        return F.relu(torch.round(weights @ self.v(x)))


def test_each_tensor_has_its_own_units(tmp_path):
    values = values_of(tmp_path / "s", Attention(), torch.randn(2, 5, 3))
    check_units(values, np.arange(1.0, 7))


def test_a_layer_norm_over_several_axes_has_its_units_on_the_first(tmp_path):
    norm = nn.LayerNorm([6, 8, 8])
    model = nn.Sequential(nn.Conv2d(3, 6, 1), norm, nn.ReLU())
    x = torch.randn(4, 3, 8, 8)
    with dn.record(model, tmp_path / "s", ["norm", "pre_activation"]):
        model(x)
    before = model[0](x)
    expected = {"norm_input": before, "norm_output": norm(before), "pre_activation": norm(before)}
    for entry in read(tmp_path / "s"):
        table = expected[entry.site].detach().movedim(1, -1).reshape(-1, 6)
        np.testing.assert_array_equal(entry.values, table)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_where_a_permutation_puts_an_axis(data):
    ndim = data.draw(st.integers(1, 6))
    order = data.draw(st.permutations(range(ndim)))
    axis = data.draw(st.integers(-ndim, ndim - 1))
    x = torch.empty(*range(2, ndim + 2))
    place = _moved(torch.permute, (x, order), {}, ndim, axis)
    assert x.permute(order).shape[place] == x.shape[axis]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_where_a_reshape_puts_an_axis(data):
    """Against a tensor that holds its own indices along the axis."""
    sides = st.sampled_from([1, 2, 3, 4, 6])
    old = tuple(data.draw(st.lists(sides, min_size=1, max_size=4)))
    axis = data.draw(st.integers(-len(old), len(old) - 1))
    pieces = [part for size in old for part in {4: (2, 2), 6: (2, 3)}.get(size, (size,))]
    new: list[int] = []
    for piece in pieces:
        if new and data.draw(st.booleans()):
            new[-1] *= piece
        else:
            new.append(piece)
    place = _reshaped(old, axis, tuple(new))
    if place is None:
        return
    size = old[axis]
    index = np.arange(size).reshape([-1 if a == axis % len(old) else 1 for a in range(len(old))])
    found = np.moveaxis(np.broadcast_to(index, old).reshape(new), place, -1).reshape(-1, new[place])
    # each column holds one unit, or those that are alike but for the other part of their axis
    np.testing.assert_array_equal(found % new[place], found[:1] % new[place] + 0 * found)
    assert len(set(found[0])) == new[place]


def test_an_axis_that_a_reshape_keeps_is_never_lost():
    for axis, new in ((1, (2, 6, 20)), (1, (2, 1, 6, 4, 5)), (3, (48, 5)), (0, (2, 120))):
        place = _reshaped((2, 6, 4, 5), axis, new)
        assert place is not None
        assert new[place] == (2, 6, 4, 5)[axis]
    assert _reshaped((3, 1, 4, 5), 1, (3, 1, 20)) == 1


def test_functions_of_other_libraries_do_no_harm():
    """They may bear the name of one of torch's and take other arguments."""

    def layer_norm(x: Tensor) -> Tensor:
        return x

    def transpose(x: Tensor) -> Tensor:
        return x[:, 3].reshape(4, 4, 4)

    axes, x = UnitAxes(), torch.zeros(4, 4, 4, 4)
    axes.follow(layer_norm, (x,), {}, x)
    assert axes.of(x) == -1
    y = transpose(x)
    axes.follow(transpose, (x,), {}, y)
    assert axes.of(y) == -1
    ragged = torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(4, 3)])
    axes.follow(F.linear, (ragged,), {}, ragged)


def test_unit_axis_overrides_the_rules(tmp_path):
    model = After(nn.Linear(3, 6), lambda x: F.relu(x).mean(1).relu())
    x = torch.randn(2, 5, 3)
    hidden = model.layer(x).detach().numpy()
    for axis in (0, 1, -2, np.int64(2)):
        path = tmp_path / str(axis)
        with dn.record(model, path, unit_axis=axis):
            model(x)
        cube, flat = (entry.values for entry in read(path))
        size = hidden.shape[axis]
        np.testing.assert_array_equal(cube, np.moveaxis(hidden, axis, -1).reshape(-1, size))
        assert flat.shape == (2, 6)  # two axes are rows and units already
    with (
        pytest.raises(InputError, match=r"layer 'relu' has shape \(2, 5, 6\), it has no axis 3"),
        dn.record(model, tmp_path / "s", unit_axis=3),
    ):
        model(x)
    for bad in (1.0, "1", True, (1,)):
        with pytest.raises(InputError, match="unit_axis must be a whole number"):
            dn.record(model, tmp_path / "t", unit_axis=bad)


@pytest.mark.parametrize("shape", [(3, 9, 5), (2, 3, 9, 5)])
def test_an_image_alone_has_its_channels_first(tmp_path, shape):
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
    with dn.record(model, tmp_path / "s"):
        model(torch.randn(shape))
    (entry,) = read(tmp_path / "s")
    assert entry.values.shape == (torch.Size(shape).numel() // 3, 6)
