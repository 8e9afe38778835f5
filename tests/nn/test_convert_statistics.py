"""convert_norms: where running statistics go, their dtype, and what stands for them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import distfit_nn.nn as dnn
from tests import tolerances
from tests.nn.test_convert import Net, Started1d, trained


def test_other_statistics_start_from_mean_and_variance() -> None:
    model = trained(nn.Sequential(nn.BatchNorm1d(3)), 8, 3)
    mean, var = model[0].running_mean.clone(), model[0].running_var.clone()
    done = dnn.convert_norms(model, Started1d)
    assert torch.equal(model[0].started[0], mean)
    assert torch.equal(model[0].started[1], var)
    assert "starts from a normal law" in done.rows[0].note
    assert "running_mean" not in done.rows[0].kept
    fresh = nn.Sequential(nn.BatchNorm1d(3))
    dnn.convert_norms(fresh, Started1d)
    assert not hasattr(fresh[0], "started")


EXACT = [
    (dnn.KLNorm2d, {}),
    (dnn.KLNorm2d, {"form": "closed"}),
    (dnn.MomentNorm2d, {"order": 2}),
    (dnn.MomentNorm1d, {}),
    (dnn.CopulaNorm2d, {}),
    (dnn.CopulaNorm2d, {"test_phase": "linear"}),
]


@pytest.mark.parametrize(("layer", "options"), EXACT)
def test_our_layers_start_where_batch_norm_was(layer: Any, options: dict[str, Any]) -> None:
    model = trained(Net(), 8, 1, 6, 6)
    for norm in (model.bn, model.lists[0], model.dicts["a"][0]):
        norm.eps = 1e-8  # some layers have none
    before = copy.deepcopy(model)
    x = torch.randn(9, 1, 6, 6)
    dnn.convert_norms(model, layer, **options)
    torch.testing.assert_close(model(x), before(x), rtol=0, atol=tolerances.TABLE_OF_A_LINE)
    done = dnn.convert_norms(model, nn.BatchNorm1d)
    assert set(model.state_dict()) == set(before.state_dict())
    if not done.rows[0].note:
        torch.testing.assert_close(model(x), before(x))


BARE = {"affine": False, "dtype": torch.float64}


@pytest.mark.parametrize(
    ("norm", "layer"),
    [
        (nn.BatchNorm1d(3, **BARE), dnn.CopulaNorm1d),
        (nn.BatchNorm1d(3, **BARE), dnn.LogShift),
        (nn.BatchNorm1d(3, **BARE, track_running_stats=False), dnn.KLNorm1d),
        (nn.BatchNorm1d(3, **BARE, track_running_stats=False), dnn.MLENorm1d),
        (nn.BatchNorm1d(3, **BARE, track_running_stats=False), dnn.CopulaNorm1d),
    ],
)
def test_device_and_dtype_stay_without_an_affine_part(norm: nn.Module, layer: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 3, dtype=torch.float64), norm)
    keys, x = list(model.state_dict()), torch.randn(5, 3, dtype=torch.float64)
    for kind in (layer, nn.BatchNorm1d):
        assert len(dnn.convert_norms(model, kind)) == 1
        tensors = [t for t in model.state_dict().values() if t.is_floating_point()]
        assert {t.dtype for t in tensors} == {torch.float64}
        assert model.eval()(x).dtype == torch.float64
    assert list(model.state_dict()) == keys
    assert model[1].track_running_stats is norm.track_running_stats


@pytest.mark.parametrize("layer", [dnn.KLNorm1d, dnn.MLENorm1d])
@pytest.mark.parametrize("tracks", [False, True])
def test_whether_statistics_are_tracked_is_known_on_the_way_back(layer: Any, tracks: bool) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=tracks))
    done = dnn.convert_norms(model, layer)
    if not tracks:
        assert done.rows[0].note == "starts from the first batch in training"
    model.train()(torch.randn(8, 3))
    done = dnn.convert_norms(model, nn.BatchNorm1d)
    assert model[0].track_running_stats is tracks
    assert isinstance(model[0].running_mean, Tensor) is tracks
    assert done.rows[0].note == ("" if tracks else "no running statistics any more")


def test_mean_and_variance_come_from_the_table_of_a_copula_norm() -> None:
    torch.manual_seed(4)
    scale = torch.tensor([3.0, 1.0, 2e-3])
    x = torch.randn(40_000, 3)
    x[:, 1] = torch.distributions.Gamma(2.0, 1.0).sample((len(x),))
    x = x * scale + torch.tensor([10.0, 0.0, -1.0])
    model = nn.Sequential(dnn.CopulaNorm1d(3))
    for batch in x.split(1000):
        model(batch)
    done = dnn.convert_norms(model, nn.BatchNorm1d)
    mean, std = x.mean(0), x.std(0)
    assert ((model[0].running_mean - mean) / std).abs().max() < tolerances.MEAN_OF_TABLE
    assert (model[0].running_var / std.square() - 1).abs().max() < tolerances.VAR_OF_TABLE
    assert "about those of its table" in done.rows[0].note


def test_a_copula_norm_without_training_gives_back_what_it_was_given() -> None:
    model = trained(nn.Sequential(nn.BatchNorm1d(3)), 8, 3)
    before = copy.deepcopy(model)
    dnn.convert_norms(model, dnn.CopulaNorm1d)
    dnn.convert_norms(model, nn.BatchNorm1d)
    for name, value in before.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)


def test_statistics_of_the_central_90_percent_are_said_to_be_such() -> None:
    model = trained(nn.Sequential(nn.BatchNorm1d(3)), 8, 3)
    done = dnn.convert_norms(model, dnn.TrimmedNorm1d)
    assert done.rows[0].note.endswith("were those of all values, are of the central 90% now")
    done = dnn.convert_norms(model, nn.BatchNorm1d)
    assert done.rows[0].note.endswith("were those of the central 90%, are of all values now")
