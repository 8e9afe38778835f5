"""The learnable maps of the lab: their derivatives at 0, their starts, and choosing a rate."""

from __future__ import annotations

import pytest
import torch

import distfit_nn.nn as dnn


@pytest.mark.parametrize(
    ("layer", "gains", "slope", "bend"),
    [("SqrtShift", {"a": 20.0}, 20.0, 2 * 20.0**2), ("LogShift", {"a": 3.0, "b": 5.0}, 15.0, 75.0)],
)
def test_derivatives_at_zero_are_those_of_the_formula(
    layer: str, gains: dict[str, float], slope: float, bend: float
) -> None:
    from lab.maps import shifts

    found = shifts.at_zero(layer, 1.0, **gains)
    assert found["slope"][-1] == pytest.approx(slope, rel=1e-3)
    assert found["right"][-1] == pytest.approx(-bend, rel=1e-3)
    assert found["left"][-1] == pytest.approx(bend, rel=1e-3)


@pytest.mark.parametrize(
    ("exponent", "slope", "bend"),
    [(0.5, "infinite", "infinite"), (1.5, "0", "infinite"), (3.0, "0", "0")],
)
def test_limits_at_zero(exponent: float, slope: str, bend: str) -> None:
    from lab.maps import shifts

    limits = shifts.at_zero("SqrtShift", exponent, a=20.0)["limits"]
    assert limits == {"slope": slope, "right": bend, "left": bend}


def test_a_learned_curve_is_what_the_layer_does() -> None:
    from lab.maps import shifts

    layer = dnn.LogShift(4)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn(4, generator=torch.Generator().manual_seed(0)) / 5)
    found = {name: getattr(layer, name).tolist() for name in shifts.PARAMETERS["LogShift"]}
    x = torch.linspace(-2, 2, 9)
    expected = layer(x[:, None].expand(-1, 4)).detach()
    assert torch.allclose(shifts.learned_curves("LogShift", found, x), expected, rtol=1e-5)


@pytest.mark.parametrize("gain", [1, 4, 60])
def test_maps_start_with_the_slope_of_their_name(gain: int) -> None:
    from lab import networks

    x = torch.tensor([[1e-4]], requires_grad=True)
    networks.LAYERS[f"LogShift, gain {gain}"](1)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(gain, rel=1e-2)


def test_a_line_has_a_gain_and_learns_it() -> None:
    from lab.starts import Line

    line = Line(2, 4.0)
    assert line(torch.ones(1, 2)).tolist() == [[4.0, 4.0]]
    assert len(list(line.parameters())) == 2


def test_the_best_rate_is_that_of_the_highest_accuracy() -> None:
    from lab import comparison

    assert comparison.best({"A": {"0.007": 90.0, "0.07": 95.0}}) == {"A": 0.07}


def test_each_setting_meets_each_seed() -> None:
    from lab import comparison
    from lab.training import Setting

    found = comparison.over_seeds([Setting("A", 0.1, 100), Setting("B", 0.2, 100)], 2)
    assert [(each.layer, each.seed) for each in found] == [("A", 0), ("A", 1), ("B", 0), ("B", 1)]
