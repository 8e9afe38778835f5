"""`dn.sites`: the table is what a recording then holds, and the model does not notice."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import distfit_nn as dn
from distfit_nn.capture.store import Store
from distfit_nn.errors import SiteError
from tests.capture.test_recorder import Reused, clean, mlp


class Restless(nn.Module):
    """Changes all that a pass can change: buffers, attributes, every random generator."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.act = nn.BatchNorm1d(4), nn.Dropout(), nn.ReLU(inplace=True)
        self.register_buffer("kept", torch.zeros(3))
        self.calls, self.seen = 0, []

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        self.calls += 1
        self.seen.append(self.calls)
        self.kept = self.kept + random.random() + np.random.rand()  # noqa: NPY002
        return self.act(self.drop(self.norm(x * scale)))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model, x = Restless().train(training), torch.randn(6, 4)
    model.norm.weight.grad = torch.ones(4)
    before = copy.deepcopy(model.state_dict())
    kept, states = model.kept, (torch.get_rng_state(), random.getstate())
    numpys = np.random.get_state()[1].copy()  # noqa: NPY002
    for example in (x, (x, 2.0), {"x": x, "scale": 3.0}):
        assert len(dn.sites(model, example, ["norm", "pre_activation"])) == 3
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert (model.calls, model.seen, model.kept is kept) == (0, [], True)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002
    assert model.training is model.norm.training is training
    assert torch.equal(model.norm.weight.grad, torch.ones(4))
    assert clean(model)


@pytest.mark.parametrize(
    "options", [{}, {"rows": 3}, {"rows": 0.5, "units": 2, "dtype": "float16"}]
)
@pytest.mark.parametrize("model", [mlp(), Reused()], ids=["mlp", "reused"])
def test_the_table_is_what_is_recorded(tmp_path, model, options):
    x, asked = torch.randn(8, 4), ["pre_activation", "weights", nn.Linear]
    told = dn.sites(model, x, asked, **options)
    with dn.record(model, tmp_path / "s", asked, **options):
        model(x)
    records = Store(tmp_path / "s").records
    names = ["layer", "site", "call", "activation", "rows", "units"]
    assert [tuple(line) for line in told[names].itertuples(index=False)] == [
        tuple(getattr(record, name) for name in names) for record in records
    ]
    sizes = [r.rows * r.units * np.dtype(r.dtype).itemsize for r in records]
    assert list(told["bytes"]) == sizes
    assert told["shape"].map(len).eq(told["unit_axis"].notna() + 1).all()


def test_without_an_example_it_tells_what_is_known():
    told = dn.sites(mlp(), sites=["pre_activation", "norm", "weights"])
    known = told.set_index(["layer", "site"])
    assert known.loc[("0.weight", "weights"), "shape"] == (6, 4)
    assert known.loc[("0.weight", "weights"), "bytes"] == 96
    assert known.loc[("2", "pre_activation"), "activation"] == "relu"
    assert known.loc[("1", "norm_output"), "module"] == "BatchNorm1d"
    assert known.loc[("1", "norm_output"), ["rows", "bytes"]].isna().all()


def test_what_is_not_reached_comes_last_and_what_cannot_be_recorded_is_told():
    model = nn.Sequential(nn.Embedding(5, 3), nn.ReLU())
    model.spare = nn.ReLU()
    model.forward = lambda x: model[1](model[0](x))
    told = dn.sites(model, torch.tensor([[1, 2]]), ["pre_activation", "0"])
    assert list(told["layer"]) == ["0", "1", "spare"]
    assert told["rows"].isna().tolist() == [False, False, True]
    assert told.attrs["not_recorded"] == {"0": "it holds int64, not real numbers"}


def test_a_lazy_model_stays_lazy_and_errors_are_those_of_record():
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    told = dn.sites(model, torch.zeros(2, 5), ["weights", "pre_activation"])
    assert told.set_index("layer").loc["0.weight", "shape"] == (3, 5)
    assert nn.parameter.is_lazy(model[0].weight)
    with pytest.raises(SiteError, match="no normalisation layer"):
        dn.sites(model, sites="norm")
