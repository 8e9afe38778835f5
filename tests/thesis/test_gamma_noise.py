"""Ghost batches, the noise of statistics, opting out, rounding: what the scripts compute."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Run as the scripts do, in one thread, from a fixed seed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def test_a_group_as_large_as_the_batch_is_batch_norm() -> None:
    from lab.noise.ghost import GhostNorm

    x = torch.randn(24, 5) * 3 + 1
    ours, torchs = GhostNorm(5, 24), nn.BatchNorm1d(5)
    torch.testing.assert_close(ours(x), torchs(x))


def test_each_group_has_its_own_statistics() -> None:
    from lab.noise.ghost import GhostNorm

    x = torch.randn(24, 5)
    apart = torch.cat([nn.BatchNorm1d(5)(part) for part in x.split(8)])
    torch.testing.assert_close(GhostNorm(5, 8)(x), apart)


def test_settled_statistics_make_the_test_phase_that_of_the_whole_set() -> None:
    from lab.data import Split
    from lab.noise.ghost import network, settle

    split = Split(torch.randn(32, 1, 3, 3), torch.zeros(32, dtype=torch.long))
    model = network(9, 32)
    in_training = model.train()(split.pixels)
    settle(model, split)
    torch.testing.assert_close(model.eval()(split.pixels), in_training)


def test_the_noise_of_statistics_follows_theory() -> None:
    from lab.noise.noise import statistics_noise

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 50, generator=generator, dtype=torch.float64)
    x[:, ::2].exponential_(generator=generator)
    found = statistics_noise(x, 20, 400, generator)
    assert found["mean_theory"] == pytest.approx(1 / math.sqrt(20))
    # 50 standard deviations of 400 draws: each off by 1/sqrt(800), with heavy tails by more.
    assert found["ratio_mean"] == pytest.approx(1, abs=0.03)
    assert found["ratio_variance"] == pytest.approx(1, abs=0.06)


def test_outputs_of_a_crowd_have_no_noise_among_themselves() -> None:
    from lab.noise.noise import output_noise

    x = torch.randn(64, 4)
    generator = torch.Generator().manual_seed(0)
    noise = [output_noise(nn.BatchNorm1d(4), x, k, 20, generator) for k in (8, 32, 64)]
    assert all(more > less for more, less in pairwise(noise))
    assert noise[-1] < 1e-5


def test_gamma_and_beta_give_the_input_back_and_shaped_layers_do_not() -> None:
    from lab.noise.optout import EXACT, SHAPED, recovered

    found = recovered()
    assert all(found[name] < 1e-10 for name in EXACT)
    assert all(0.01 < found[name] < 0.5 for name in SHAPED)


def test_training_ends_at_the_noise_of_the_batch() -> None:
    from lab.noise.optout import OptOut, opted_out

    found = opted_out(OptOut("BatchNorm", "sgd", 0.05, 0, 300), None)
    assert found["training"]["normal"] == pytest.approx(1.5 / 50, rel=0.15)
    assert found["test"]["normal"] < 0.01


def test_a_share_of_the_labels_is_wrong() -> None:
    from lab.data import Split
    from stress import flipped

    split = Split(torch.zeros(1_000, 1, 1, 1), torch.arange(1_000) % 10)
    wrong = flipped(split, 0.4, 3)
    assert (wrong.labels != split.labels).sum() == 400
    assert set(wrong.labels.tolist()) == set(range(10))
    assert torch.equal(wrong.labels, flipped(split, 0.4, 3).labels)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_rounding_is_to_the_nearest_of_so_many_values(bits: int) -> None:
    from quantisation import ends, rounded

    x = torch.randn(200, 6)
    for grain in ("tensor", "channel"):
        low, high = ends(x, grain, 1)
        y = rounded(x, low, high, bits)
        assert (y - x).abs().max() <= ((high - low) / (2**bits - 1) / 2).max() + 1e-5
        assert all(len(column.unique()) <= 2**bits for column in y.T)
    assert rounded(torch.tensor([9.0]), torch.tensor(0.0), torch.tensor(1.0), bits) == 1
    assert torch.equal(ends(x, "channel", 0)[1], x.amax(1, keepdim=True))


def test_differences_are_paired_and_have_students_interval() -> None:
    from lab.paired import difference
    from scipy import stats

    theirs = [90.0, 80.0, 70.0, 60.0, 50.0]
    ours = [91.0, 81.1, 70.9, 61.2, 50.8]
    found = difference(ours, theirs)
    oracle = stats.ttest_rel(ours, theirs).confidence_interval(0.99)
    assert (found["low"], found["high"]) == pytest.approx((oracle.low, oracle.high))
    assert found["verdict"] == "ahead"
    assert difference(theirs, ours)["verdict"] == "behind"
    assert difference([1.0, 2.0], [2.0, 1.0])["verdict"] == "tie"
    assert difference([1.0], [0.0])["verdict"] == "tie"
