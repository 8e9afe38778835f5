"""How a recording begins and ends, also badly: lock and hooks are given back, errors not hidden."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import distfit_nn as dn
from distfit_nn.capture import recorder
from distfit_nn.capture.store import Store, StoreWriter
from distfit_nn.capture.watch import Watcher
from distfit_nn.errors import FileError, InputError, SiteError
from tests.capture.test_recorder import clean, mlp, recorded, table


@pytest.fixture
def x() -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


def attach_half(watcher: Watcher) -> None:
    watcher._handles.append(watcher._model.register_forward_hook(lambda *_: None))
    raise RuntimeError("half")


@pytest.mark.parametrize(
    ("place", "failing"),
    [
        ("distfit_nn.capture.watch.Watcher.attach", attach_half),
        ("distfit_nn.capture.models.uncompiled", lambda: 1 / 0),
    ],
)
def test_a_failing_start_gives_lock_and_hooks_back(tmp_path, x, monkeypatch, place, failing):
    model = mlp()
    with monkeypatch.context() as patch:
        patch.setattr(place, failing)
        with pytest.raises((RuntimeError, ZeroDivisionError)), dn.record(model, tmp_path / "s"):
            pass
    assert clean(model)
    with dn.record(model, tmp_path / "s"):
        model(x)
    assert len(recorded(tmp_path / "s")) == 2


def test_the_lock_refuses_a_second_recording_and_harms_neither(tmp_path, x):
    one, other = mlp(), mlp()
    with dn.record(one, tmp_path / "s"):
        one(x)
        with (
            pytest.raises(FileError, match="is being written by another recording"),
            dn.record(other, tmp_path / "s", mode="a"),
        ):
            pass
        assert clean(other)
        one(x)
    assert sorted({step for *_, step in recorded(tmp_path / "s")}) == [0, 1]


def run(model: nn.Module, passes: list[Tensor], error: type[BaseException] | None = None) -> None:
    for each in passes:
        model(each)
    if error is not None:
        raise error("mine")


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_full_disk_does_not_hide_the_error_before_it(tmp_path, x, monkeypatch, kind):
    model = mlp()
    with monkeypatch.context() as patch:
        patch.setattr("distfit_nn.capture.store.os.replace", full)
        with pytest.raises(kind, match="mine") as caught, dn.record(model, tmp_path / "s"):
            run(model, [x], kind)
    (note,) = caught.value.__notes__
    assert "could not be closed" in note
    assert "No space left" in note
    assert clean(model)
    StoreWriter(tmp_path / "s", "a").close()  # the lock is free


def test_samples_that_cannot_be_stored_do_not_hide_the_error_before_them(tmp_path):
    """The last pass is held, so that its values are converted at the end only."""
    model = nn.Sequential(nn.ReLU())
    values = torch.full((2, 3), 1e6)
    with (
        pytest.raises(ValueError, match="mine") as caught,
        dn.record(model, tmp_path / "s", every=2, dtype="float16"),
    ):
        run(model, [values / 1e6, values], ValueError)
    assert "too large for float16" in caught.value.__notes__[0]
    assert len(recorded(tmp_path / "s")) == 1
    with (
        pytest.raises(InputError, match="too large for float16"),
        dn.record(model, tmp_path / "t", every=2, dtype="float16"),
    ):
        run(model, [values / 1e6, values])
    assert len(recorded(tmp_path / "t")) == 1
    assert clean(model)


class NormThenReLU(nn.Module):
    """The tensor that the norm gives is what the ReLU gets; a change in place comes between."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.norm, self.change = nn.LayerNorm(4), change

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        self.change(y)
        return torch.relu_(y)


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("change", [lambda _: None, lambda y: y.mul_(3), lambda y: y[:, 0].add_(1)])
def test_one_tensor_at_two_sites_is_sampled_once_unless_it_changed(
    tmp_path, x, monkeypatch, context, change
):
    model = NormThenReLU(change)
    sampled = []
    real = recorder.Sampler.table

    def counted(*arguments: Any) -> Any:
        sampled.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(recorder.Sampler, "table", counted)
    with context(), dn.record(model, tmp_path / "s", ["pre_activation", "norm"], rows=3):
        model(x)
    found = {site: values for (_, site, _), values in recorded(tmp_path / "s").items()}
    chosen = [table(x).tolist().index(row.tolist()) for row in found["norm_input"]]
    with torch.no_grad():
        out = model.norm(x)
        np.testing.assert_array_equal(found["norm_output"], table(out)[chosen])
        change(out)
        np.testing.assert_array_equal(found["pre_activation"], table(out)[chosen])
    changed = not torch.equal(out, model.norm(x))
    # A tensor of inference mode does not tell whether it was written to.
    assert len(sampled) == 3 if changed or context is torch.inference_mode else len(sampled) == 2


def as_ranks(monkeypatch: pytest.MonkeyPatch, path: Path, sites: Any, mode: str = "x") -> None:
    """Record as two processes that work together would, one after the other."""
    x = torch.ones(2, 4)
    for rank in (1, 0):
        monkeypatch.setattr(recorder, "_rank", lambda rank=rank: (rank, 2))
        model = mlp().eval()
        with dn.record(model, path, sites, mode=mode):
            model(x)


def test_ranks_that_had_nothing_to_write_are_not_missing(tmp_path, monkeypatch):
    """The parameters are written by the first rank alone."""
    as_ranks(monkeypatch, tmp_path / "s", "weights")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Store(tmp_path / "s")
    assert len(found) == 6
    assert found.missing == ()
    told = dn.verify(tmp_path / "s")
    assert (told.ok, told.entries, told.strays) == (True, 6, ())


def test_a_rank_replaces_its_store_with_nothing(tmp_path, monkeypatch):
    as_ranks(monkeypatch, tmp_path / "s", "pre_activation")
    as_ranks(monkeypatch, tmp_path / "s", "weights", "w")
    found = Store(tmp_path / "s")
    assert {record.site for record in found.records} == {"weights"}
    told = dn.verify(tmp_path / "s")
    assert (told.ok, told.strays) == (True, ())


def test_a_rank_that_failed_before_it_wrote_is_missing(tmp_path, monkeypatch):
    as_ranks(monkeypatch, tmp_path / "s", "weights")
    monkeypatch.setattr(recorder, "_rank", lambda: (1, 2))
    (tmp_path / "s" / "rank-00001" / "manifest.json").unlink()
    with pytest.raises(ZeroDivisionError), dn.record(mlp(), tmp_path / "s", "weights"):
        raise ZeroDivisionError
    with pytest.warns(UserWarning, match="rank-00001 has no manifest"):
        Store(tmp_path / "s")
    assert not dn.verify(tmp_path / "s").ok


def test_the_number_of_ranks_is_in_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "_rank", lambda: (0, 3))
    model = mlp().eval()
    with dn.record(model, tmp_path / "s"):
        model(torch.ones(2, 4))
    with pytest.warns(UserWarning, match="rank-00001, rank-00002 not there"):
        Store(tmp_path / "s")


def test_nothing_at_all_in_any_rank_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "_rank", lambda: (0, 1))
    with pytest.raises(SiteError, match="no forward pass"), dn.record(mlp(), tmp_path / "s"):
        pass
    with pytest.raises(FileError, match="is empty: no rank has entries"):
        Store(tmp_path / "s")
