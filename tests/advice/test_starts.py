"""What `Suggestions.start` puts into shifts: the fit that `suggest` measured, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import distfit_nn as dn
from distfit_nn.errors import InputError
from distfit_nn.nn import LogShift, MomentNorm1d, SqrtShift

ROWS, UNITS, FRESH = 500, 3, 4000


def _heavy(rows: int, seed: int) -> np.ndarray:
    """Return cubes of normal values at three scales, which shifts make nearly normal."""
    z = np.random.default_rng(seed).normal(size=(rows, UNITS))
    return (z**3 * [0.01, 1.0, 300.0]).astype(np.float32)


@pytest.fixture(scope="module")
def found() -> dn.Suggestions:
    return dn.suggest({"norm": _heavy(ROWS, 0)})


def _model(layer: type[nn.Module], norm: nn.Module | None = None) -> nn.Sequential:
    model = nn.Sequential()
    model.add_module("norm", norm or nn.BatchNorm1d(UNITS))
    dn.nn.convert_norms(model, layer)
    return model.eval()


def _output(model: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize(("layer", "word"), [(LogShift, "log_shift"), (SqrtShift, "sqrt_shift")])
def test_a_started_shift_gives_the_divergence_that_was_promised(
    found: dn.Suggestions, layer: type[nn.Module], word: str
) -> None:
    """In eval, on rows of the same law that neither has seen; as new it is far from that."""
    kl, error = (found.units[f"{what}_{word}"].to_numpy() for what in ("kl", "error"))
    model, fresh = _model(layer), _heavy(FRESH, 1)
    before = dn.stats.kl_estimate(_output(model, fresh))
    assert found.start(model) == {"norm": UNITS}
    after = dn.stats.kl_estimate(_output(model, fresh))
    assert np.all(after.low <= kl + 1.96 * error)
    assert np.all(after.high >= kl - 1.96 * error)
    assert np.all(before.low > kl + 1.96 * error)


def test_the_parameters_are_those_of_the_table_and_the_line_standardises(
    found: dn.Suggestions,
) -> None:
    """Gain and exponent as `units` has them, in order; the norm's own line comes after."""
    norm = nn.BatchNorm1d(UNITS)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 3.0, -1.0]))
    model = _model(SqrtShift, norm)
    weight, bias = (part.detach().clone().numpy() for part in (model.norm.weight, model.norm.bias))
    found.start(model)
    for name in ("a", "b"):
        expected = found.units[f"sqrt_shift_{name}"].to_numpy()
        np.testing.assert_allclose(getattr(model.norm, name).numpy(), expected, rtol=1e-5)
    y = _output(model, _heavy(ROWS, 0))
    np.testing.assert_allclose(y.mean(0), bias, atol=1e-5)
    np.testing.assert_allclose(y.std(0), np.abs(weight), rtol=1e-5)
    logs = _model(LogShift)
    found.start(logs)
    np.testing.assert_allclose(logs.norm.c.numpy(), found.units["log_shift_c"], rtol=1e-5)
    np.testing.assert_array_equal(logs.norm.a.numpy(), 1.0)


def test_units_without_a_fit_and_other_layers_stay_as_they_are() -> None:
    """A constant unit keeps its start; of units that were chosen each gets its own."""
    x = _heavy(ROWS, 0)
    x[:, 1] = 2.0
    some = dn.suggest({"norm": x}, units=[1, 2])
    model, new = _model(LogShift), LogShift(UNITS)
    assert some.start(model) == {"norm": 1}
    for name in ("a", "b", "c", "weight", "bias"):
        np.testing.assert_array_equal(
            getattr(model.norm, name)[:2].detach(), getattr(new, name)[:2].detach()
        )
    assert model.norm.b[2] == pytest.approx(some.units["log_shift_b"][1], rel=1e-5)
    assert some.start(_model(MomentNorm1d)) == {}
    with pytest.warns(UserWarning, match="no units were judged at the input of norm"):
        assert dn.suggest({"other": x}, units=2).start(_model(LogShift)) == {}


@pytest.mark.slow
def test_only_what_enters_counts(tmp_path: object) -> None:
    """What leaves a norm says nothing of a shift in its place, unless the user names it."""
    model = nn.Sequential()
    model.add_module("linear", nn.Linear(UNITS, UNITS))
    model.add_module("norm", nn.BatchNorm1d(UNITS))
    with dn.record(model, f"{tmp_path}/run", sites=["linear", "norm"]), torch.no_grad():
        model(torch.from_numpy(_heavy(ROWS, 0)))
    analysis = dn.analyze(f"{tmp_path}/run")
    everything = dn.suggest(analysis, layers="norm", site="*put")
    assert sorted(everything.layers["site"]) == ["norm_input", "norm_output"]
    leaving = dn.suggest(analysis, layers="norm", site="norm_output")
    dn.nn.convert_norms(model, LogShift)
    with pytest.warns(UserWarning, match="no units were judged at the input of norm"):
        assert leaving.start(model) == {}
    inputs = everything.units.query("site == 'norm_input'")
    assert everything.start(model) == {"norm": UNITS}
    np.testing.assert_allclose(model.norm.b.numpy(), inputs["log_shift_b"], rtol=1e-5)
    named = dn.suggest(analysis, site="output", layers="linear")
    model.norm.reset_parameters()
    assert named.start(model, {"linear": "norm"}) == {"norm": UNITS}
    np.testing.assert_allclose(model.norm.b.numpy(), inputs["log_shift_b"], rtol=1e-5)


def test_what_cannot_be_started_is_an_error_and_stays_as_it_is(found: dn.Suggestions) -> None:
    """Started twice, shared, too narrow, named wrongly."""
    model = _model(LogShift)
    found.start(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match="'norm' was trained, or started before"):
        found.start(model)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    shared = nn.Sequential()
    shared.add_module("norm", LogShift(UNITS, shared=True))
    with pytest.raises(InputError, match="'norm' is shared"):
        found.start(shared)
    narrow = nn.Sequential()
    narrow.add_module("norm", LogShift(UNITS - 1))
    with pytest.raises(InputError, match=f"has {UNITS - 1}, and unit {UNITS - 1} was recorded"):
        found.start(narrow)
    for names in ({"nowhere": "norm"}, {"norm": "nowhere"}):
        with pytest.raises(InputError, match="names must"):
            found.start(_model(LogShift), names)


def test_without_a_line_and_in_half_precision(found: dn.Suggestions) -> None:
    """Gains and exponents are set where there is no weight, and rounded to what the layer has."""
    bare = nn.Sequential()
    bare.add_module("norm", SqrtShift(UNITS, affine=False, learnable=False, dtype=torch.bfloat16))
    found.start(bare)
    near = {"rtol": float(torch.finfo(torch.bfloat16).eps) * 16}  # of logarithms up to 8
    np.testing.assert_allclose(bare.norm.a.float().numpy(), found.units["sqrt_shift_a"], **near)
