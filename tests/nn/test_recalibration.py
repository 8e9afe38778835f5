"""recalibrate and batch_statistics: only running statistics change, or not even these."""

from __future__ import annotations

import copy
from collections import UserDict
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import distfit_nn.nn as dnn
from distfit_nn.errors import InputError
from tests.nn.test_convert import Plain1d

NORMS = [nn.BatchNorm1d, Plain1d, dnn.CopulaNorm1d, dnn.MomentNorm1d, dnn.TrimmedNorm1d]
norms = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.__name__)


def network(norm: Any) -> nn.Sequential:
    """Return a network that was trained a little, dropout included, in eval mode."""
    torch.manual_seed(1)
    model = nn.Sequential(norm(4), nn.Linear(4, 6), nn.Dropout(0.5), norm(6), nn.ReLU())
    with torch.no_grad():
        for _ in range(4):
            model(torch.randn(64, 4))
    return model.eval()


def batches(count: int = 5, rows: int = 64) -> list[Tensor]:
    torch.manual_seed(2)
    return [3 * torch.randn(rows, 4) + 10 for _ in range(count)]


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, its = one.state_dict(), other.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(mine[n], its[n]) for n in mine)


@norms
def test_statistics_become_those_of_the_data_and_nothing_else_changes(norm: Any) -> None:
    model = network(norm)
    before, data = copy.deepcopy(model), batches()
    model[3].train()
    modes = [module.training for module in model.modules()]
    generator = torch.get_rng_state()
    assert dnn.recalibrate(model, data) == 320
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in model.modules()] == modes
    assert all(map(torch.equal, model.parameters(), before.parameters()))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert {model[0].momentum, model[3].momentum} == {0.1}
    assert int(model[0].num_batches_tracked) == len(data)
    y = model[0](torch.cat(data))
    assert y.mean(0).abs().max() < 0.1
    assert (y.std(0) - 1).abs().max() < 0.25
    assert not same(model, before)


def test_the_mean_over_batches_is_that_of_momentum_none() -> None:
    model, other = network(nn.BatchNorm1d), network(nn.BatchNorm1d)
    data = batches()
    for norm in (other[0], other[3]):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for x in data:
            other(x)
    dnn.recalibrate(model, iter(data))
    assert same(model, other)
    torch.testing.assert_close(model[0].running_mean, torch.stack(data).mean((0, 1)))


@norms
def test_momentum_lets_statistics_move_on(norm: Any) -> None:
    model = network(norm)
    before = copy.deepcopy(model)
    dnn.recalibrate(model, batches(), momentum=0.0)
    model[0].num_batches_tracked.copy_(before[0].num_batches_tracked)
    model[3].num_batches_tracked.copy_(before[3].num_batches_tracked)
    assert same(model, before)
    dnn.recalibrate(model, batches(), momentum=0.25)
    whole = copy.deepcopy(before)
    dnn.recalibrate(whole, batches())
    x = torch.cat(batches())
    old, half, new = (m[0](x).mean() for m in (before, model, whole))
    assert old > half > new


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: (x, torch.zeros(len(x))),
        lambda x: [x],
        lambda x: {"x": x, "label": torch.zeros(len(x))},
        lambda x: UserDict(x=x),
    ],
)
def test_kinds_of_batches(wrap: Any) -> None:
    model, plain = network(nn.BatchNorm1d), network(nn.BatchNorm1d)
    dnn.recalibrate(model, [wrap(x) for x in batches()])
    dnn.recalibrate(plain, batches())
    assert same(model, plain)


def test_a_forward_of_the_callers_own() -> None:
    model, plain = network(nn.BatchNorm1d), network(nn.BatchNorm1d)
    data = [{"label": torch.zeros(64), "features": x} for x in batches()]
    rows = dnn.recalibrate(model, data, forward=lambda model, batch: model(batch["features"]))
    assert rows == 320
    dnn.recalibrate(plain, batches())
    assert same(model, plain)


@norms
def test_an_error_on_the_way_leaves_all_as_it_was(norm: Any) -> None:
    def breaking() -> Iterator[Tensor]:
        yield from batches(2)
        raise OSError("the sensor is gone")

    model = network(norm)
    before = copy.deepcopy(model)
    x = torch.randn(9, 4)
    y = model(x)
    with pytest.raises(OSError, match="sensor"):
        dnn.recalibrate(model, breaking())
    assert same(model, before)
    assert torch.equal(model(x), y)
    assert not any(module.training for module in model.modules())
    assert model[0].momentum == 0.1
    assert not model[0]._forward_pre_hooks


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm is not Plain1d])
def test_a_batch_of_one_row_is_passed_through(norm: Any) -> None:
    model, other = network(norm), network(norm)
    data = batches()
    dnn.recalibrate(model, [*data, data[0][:1]])
    dnn.recalibrate(other, data)
    for name, value in other.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(model.state_dict()[name], value)


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm is not Plain1d])
@pytest.mark.parametrize(
    "useless", [torch.ones(1, 4), torch.full((8, 4), torch.nan)], ids=["one row", "NaN"]
)
def test_a_norm_that_no_batch_moved_is_an_error(norm: Any, useless: Tensor) -> None:
    model = network(norm)
    before = copy.deepcopy(model)
    with pytest.raises(InputError, match=r"rows with finite values.* of 0, 3"):
        dnn.recalibrate(model, [useless, useless])
    assert same(model, before)
    if norm is nn.BatchNorm1d or len(useless) == 1:
        with pytest.raises(InputError, match="statistics of 0, 3"):
            dnn.recalibrate(model, [useless], momentum=0.1)
        assert same(model, before)
    x = batches(1)[0]
    assert torch.equal(model(x), before(x))
    assert not model[0]._forward_pre_hooks
    assert dnn.recalibrate(model, [useless[:1].nan_to_num(), *batches()]) == 321


@norms
def test_a_norm_that_is_not_called_keeps_its_statistics(norm: Any) -> None:
    model = network(norm)
    before = copy.deepcopy(model)
    dnn.recalibrate(model, batches(), forward=lambda model, x: model[0](x))
    assert not same(model[0], before[0])
    assert same(model[3], before[3])
    assert not model[3]._forward_pre_hooks
    after = copy.deepcopy(model)
    with pytest.raises(InputError, match="model must call a norm"):
        dnn.recalibrate(model, batches(), forward=lambda model, x: model[1](x))
    assert same(model, after)


def test_statistics_that_are_those_of_the_data_already_may_move_on() -> None:
    model = nn.BatchNorm1d(2)
    dnn.recalibrate(model, [torch.ones(4, 2)])
    assert dnn.recalibrate(model, [torch.ones(4, 2)], momentum=0.5) == 4


@pytest.mark.parametrize(
    ("model", "loader", "options", "message"),
    [
        (nn.BatchNorm1d(4), [], {}, "loader must give at least one row"),
        (nn.BatchNorm1d(4), torch.ones(3, 4), {}, "loader must give batches, got a tensor"),
        (nn.BatchNorm1d(4), [["text"]], {}, "loader must give tensors, .* got str"),
        (nn.BatchNorm1d(4), [()], {}, "loader must give tensors"),
        (nn.BatchNorm1d(4), [torch.ones(3, 4)], {"momentum": 2}, "momentum must be a number"),
        (nn.Linear(4, 4), [torch.ones(3, 4)], {}, "model must have a norm with running stat"),
        (dnn.LogShift(4), [torch.ones(3, 4)], {}, "model must have a norm with running stat"),
        (
            nn.BatchNorm1d(4, track_running_stats=False),
            [torch.ones(3, 4)],
            {},
            "model must have a norm with running stat",
        ),
    ],
)
def test_errors_name_the_rule(model: Any, loader: Any, options: Any, message: str) -> None:
    before = copy.deepcopy(model)
    with pytest.raises(InputError, match=message):
        dnn.recalibrate(model, loader, **options)
    assert same(model, before)


@norms
@pytest.mark.parametrize("training", [False, True])
def test_batch_statistics(norm: Any, training: bool) -> None:
    model = network(norm)
    model[2].p = 0.0
    before = copy.deepcopy(model)
    expected = copy.deepcopy(model).train()
    x = batches(1)[0]
    running = before(x)
    model.train(training)
    with dnn.batch_statistics(model) as given:
        assert given is model
        y = model(x)
        assert torch.equal(model.eval()(x), y)  # whatever the mode is set to
        assert torch.equal(model.train()(x), y)
    torch.testing.assert_close(y, expected(x))
    assert not torch.allclose(y, running)
    assert same(model, before)
    assert torch.equal(model.eval()(x), running)


def test_batch_statistics_end_with_an_error() -> None:
    model = network(nn.BatchNorm1d)
    before = copy.deepcopy(model)
    with pytest.raises(KeyError), dnn.batch_statistics(model):
        raise KeyError
    assert same(model, before)
    assert model[0].track_running_stats


def test_gradients_flow_in_batch_statistics() -> None:
    model = network(nn.BatchNorm1d)
    with dnn.batch_statistics(model):
        model(batches(1)[0]).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
