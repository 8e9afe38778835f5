"""What was not recorded is told: passes, modules, layers; and what need not run is no miss."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

import distfit_nn as dn
from distfit_nn.capture.store import Store
from distfit_nn.errors import SiteError
from tests.capture.test_recorder import clean, mlp

OUTSIDE = "ran outside a call of the model itself"


@pytest.fixture
def x() -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


class Functional(nn.Module):
    """No module of it but a linear layer: nothing to hook."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(x))


def steps(path: Path) -> list[int]:
    return sorted({record.step for record in Store(path).records})


def told(record: pytest.WarningsRecorder | list[Any]) -> list[str]:
    return [str(each.message) for each in record]


def hidden(model: nn.Module, x: Tensor) -> None:
    model(x)
    for _ in range(2):
        torch.func.vmap(lambda row: model(row[None])[0])(x)


def test_a_pass_whose_tensors_vmap_hides_is_told(tmp_path, x):
    model = mlp().eval()
    with (
        pytest.warns(UserWarning, match="recorded nothing in 2 of 3 passes") as seen,
        dn.record(model, tmp_path / "s"),
    ):
        hidden(model, x)
    (message,) = told(seen)
    assert "'pre_activation'" in message
    assert "first at step 1 (not recorded: '2': torch.func.vmap" in message
    assert seen[0].filename == __file__
    assert steps(tmp_path / "s") == [0]


def cut(recorder: Any, model: nn.Module, x: Tensor) -> None:
    for short in (False, False, True):
        model(x, short=short)
        recorder.step = 0


def test_a_word_that_a_pass_did_not_reach_is_told_and_parameters_need_one_pass(tmp_path, x):
    model = mlp().eval()
    model.forward = lambda x, short=False: model[0](x) if short else nn.Sequential.forward(model, x)
    with (
        pytest.warns(UserWarning, match=r"'norm' recorded nothing in 1 of 3") as seen,
        dn.record(model, tmp_path / "s", ["norm", "0", "weights"]) as recorder,
    ):
        cut(recorder, model, x)
    assert len(seen) == 1


def direct(model: nn.Module, x: Tensor) -> None:
    model(x)
    model.forward(x)


@pytest.mark.parametrize("model", [mlp(), Functional()], ids=["modules", "functional"])
def test_forward_called_directly_is_told(tmp_path, x, model):
    model.eval()
    with pytest.warns(UserWarning, match=OUTSIDE) as seen, dn.record(model, tmp_path / "s"):
        direct(model, x)
    assert len(seen) == 1
    assert "call the model" in str(seen[0].message)
    assert steps(tmp_path / "s") == [0]
    assert clean(model)
    with (
        pytest.raises(SiteError, match=f"no forward pass.*{OUTSIDE}"),
        dn.record(model, tmp_path / "t"),
    ):
        model.forward(x)


class Partly(nn.Module):
    """A function of it runs under vmap; another has a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(torch.func.vmap(F.gelu)(x)) * torch.sigmoid(x.new_ones(()))


def test_functions_within_a_model_that_vmap_hides_are_told(tmp_path, x):
    model = Partly()
    with (
        pytest.warns(UserWarning, match=r"1 layer that ran recorded nothing .*'gelu': torch.func"),
        dn.record(model, tmp_path / "s"),
    ):
        model(x)
    assert {record.layer for record in Store(tmp_path / "s").records} == {"act"}


class Checkpointed(nn.Module):
    """Runs a part again in the backward pass."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.inner = parametrizations.weight_norm(nn.Linear(4, 4))
        self.act, self.reentrant = nn.ReLU(), reentrant

    def part(self, x: Tensor) -> Tensor:
        return self.act(self.inner(x))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.part, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_and_parametrizations_are_no_calls_of_parts(tmp_path, x, reentrant):
    model = Checkpointed(reentrant)
    with warnings.catch_warnings(), dn.record(model, tmp_path / "s", every=2, last=False):
        warnings.simplefilter("error")
        for _ in range(3):
            model(x.requires_grad_()).sum().backward()
            model.inner.weight.norm().item()
    assert steps(tmp_path / "s") == [0, 2]


def stance() -> str:
    from torch._dynamo import eval_frame

    return eval_frame._stance.stance


@pytest.mark.parametrize("first", [0, 1])
def test_the_stance_of_compilers_is_what_it_was_in_whatever_order_recordings_end(
    tmp_path, x, first
):
    model = mlp().eval()
    recorders = [dn.record(model, tmp_path / name) for name in "ab"]
    with torch.compiler.set_stance("eager_on_recompile"):
        for recorder in recorders:
            recorder.__enter__()
        model(x)
        recorders[first].__exit__(None, None, None)
        assert stance() == "force_eager"
        recorders[1 - first].__exit__(None, None, None)
        assert stance() == "eager_on_recompile"


class Nested(nn.Module):
    """Containers, and a module that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.ModuleDict({"fc": nn.Linear(4, 4)})])
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(4))])
        self.spare = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks[0]["fc"](x) * self.scales[0]


def test_containers_are_never_missed_nor_listed(tmp_path, x):
    model = Nested()
    assert set(dn.sites(model, x, "*")["layer"]) == {"blocks.0.fc", "spare"}
    with warnings.catch_warnings(), dn.record(model, tmp_path / "s", ["blocks*", "scales*"]):
        warnings.simplefilter("error")
        model(x)
    assert {record.layer for record in Store(tmp_path / "s").records} == {"blocks.0.fc", "scales.0"}
    with pytest.raises(SiteError, match=r"'blocks', a ModuleList, .* never called.*'blocks\.\*'"):
        dn.record(model, tmp_path / "t", "blocks")
    with pytest.raises(SiteError, match="class ModuleList"):
        dn.record(model, tmp_path / "t", nn.ModuleList)


@pytest.mark.parametrize("sites", ["*", "[bs]*", nn.Linear, lambda name, _: "." in name or name])
def test_what_a_pattern_found_and_never_ran_is_a_warning(tmp_path, x, sites):
    model = Nested()
    with (
        pytest.warns(UserWarning, match="has 2 layers, of which 1 recorded nothing: spare$"),
        dn.record(model, tmp_path / "s", sites),
    ):
        model(x)
    with (
        pytest.raises(SiteError, match="'spare' was asked for but nothing"),
        dn.record(model, tmp_path / "t", ["*", "spare"]),
    ):
        model(x)
    with (
        pytest.raises(SiteError, match=r"'spa\*' was asked for but nothing"),
        dn.record(model, tmp_path / "u", "spa*"),
    ):
        model(x)


class Elsewhere(nn.Module):
    """Holds an activation module, and calls the function itself."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.act, self.function = nn.SiLU(), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_an_activation_module_whose_owner_calls_its_function_is_no_miss(tmp_path, x):
    for name, model in {"top": Elsewhere(F.silu), "in": nn.Sequential(Elsewhere(F.silu))}.items():
        with warnings.catch_warnings(), dn.record(model, tmp_path / name):
            warnings.simplefilter("error")
            model(x)
        assert len(dn.sites(model, x)) == 1
    other = Elsewhere(F.relu)
    with (
        pytest.raises(SiteError, match="1 layers, of which 1 recorded nothing: act"),
        dn.record(other, tmp_path / "other"),
    ):
        other(x)


def test_a_network_without_known_norms_is_told_what_to_do():
    for asked in ("norm", ["pre_activation", "norm"]):
        with pytest.raises(SiteError, match=r"name the module instead \(sites='blocks\.\*\.ada'\)"):
            dn.sites(Functional(), sites=asked)


class Interrupted(nn.Module):
    """As a user would press Ctrl-C in the midst of a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor, stop: type[BaseException] | None = None) -> Tensor:
        y = self.first(x)
        if stop is not None:
            raise stop
        return self.second(y)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, ValueError])
@pytest.mark.parametrize("every", [1, 2])
def test_a_pass_that_was_broken_off_is_a_step_of_its_own(tmp_path, x, kind, every):
    model = Interrupted()
    with dn.record(model, tmp_path / "s", every=every, last=False) as recorder:
        model(x)
        for _ in range(2):
            with pytest.raises(kind):
                model(x, kind)
        model(x)
        with pytest.raises(kind):
            model(x, kind)
        recorder.step = 20
        model(x)
    found = {(record.layer, record.step) for record in Store(tmp_path / "s").records}
    whole, broken = {0, 3, 20}, {1, 2, 4}
    ran = {s for s in whole | broken if s % every == 0}
    assert found == {("first", s) for s in ran} | {("second", s) for s in ran & whole}


def test_a_store_that_is_added_to_goes_on_with_the_next_step(tmp_path, x):
    model, path = mlp().eval(), tmp_path / "s"

    def record(**options: Any) -> list[int]:
        with dn.record(model, path, mode="a", **options):
            model(x)
            model(x)
        return steps(path)

    assert record() == [0, 1]
    assert record() == [0, 1, 2, 3]
    assert record(first_step=9) == [0, 1, 2, 3, 9, 10]
    assert record(every=2, last=False) == [0, 1, 2, 3, 9, 10, 11]
    assert record(first_step=0)[-1] == 11
    with dn.record(model, path, mode="w"):
        model(x)
    assert steps(path) == [0]
