"""The copula scripts' own mathematics: the worked example, soft ranks, stand-ins, leads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ndtri


def test_five_numbers_by_hand() -> None:
    import copula_example

    steps = copula_example.example()
    assert steps["sort_index"].tolist() == [3, 0, 1, 4, 2]
    np.testing.assert_allclose(steps["score"], ndtri([0.7, 0.1, 0.3, 0.9, 0.5]), rtol=1e-14)
    apart = np.abs(steps["soft_rank"]["30"] - (steps["sort_index"] + 0.5))
    assert apart.max() < 1e-6
    others = [1 / (1 + np.exp(-(2.1 - x))) for x in (-0.4, 0.7, 5.3, 1.2)]
    assert steps["soft_rank"]["1"][0] == pytest.approx(0.5 + sum(others), rel=1e-14)


def test_the_count_of_positive_differences_is_the_sort_index_but_for_ties() -> None:
    from copula_example import positive, sort_index

    assert positive(np.array([3.0, 1.0, 2.0])).tolist() == [2, 0, 1]
    tied = np.array([1.0, 0.0, 1.0])
    assert positive(tied).tolist() == [1, 0, 1]
    assert sort_index(tied).tolist() == [1, 0, 2]


def test_the_direct_sum_is_the_soft_rank() -> None:
    from lab.copula import soft

    import distfit_nn as dn

    x = np.random.default_rng(0).standard_normal((40, 3))
    summed = soft.direct(torch.from_numpy(x), 40).numpy()
    np.testing.assert_allclose(summed, dn.copula.soft_rank(x, soft.SPEED_STRENGTH), rtol=1e-9)


def test_vanishing_gradients_are_counted() -> None:
    from lab.copula import soft

    x = np.random.default_rng(0).standard_normal((100, 2))
    g = torch.ones(100, 2, dtype=torch.float64)
    slopes = torch.tensor(np.where(x > 0, 1.0, 1e-3))
    found = soft.steepness(lambda leaf: slopes * leaf, x, g)
    assert found["vanishing"] == pytest.approx(100 * np.mean(x <= 0))
    assert found["gradient_99"] == 1.0


@pytest.mark.slow
def test_a_line_stands_for_the_transform_of_normal_columns_and_not_of_skewed_ones() -> None:
    from lab.copula import soft, stand_ins

    found = {
        kind: stand_ins.shapes(soft.Columns(kind, 4000, 0, 0), None) for kind in ("normal", "gamma")
    }
    assert found["normal"]["r2"] > 0.99 > 0.9 > found["gamma"]["r2"]
    for errors in found.values():
        assert errors["rms_table"] < errors["rms_line"]


def test_what_is_the_true_transform_has_no_error() -> None:
    from lab.copula import stand_ins

    import distfit_nn as dn

    true = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    out = dict.fromkeys(("true", "line", "table", "running_table", "batch"), true)
    out["line"] = true + 0.5
    norm = dn.nn.CopulaNorm1d(3)
    found = stand_ins.unit_errors(norm, out)
    assert found["rms_table"] == found["flips_table"] == [0.0] * 3
    np.testing.assert_allclose(found["rms_line"], 0.5, rtol=1e-4)
    np.testing.assert_allclose(found["strength"], 5.0, rtol=1e-4)
    expected = 1 - 0.25 / true.var(0, unbiased=False)
    np.testing.assert_allclose(found["r2"], expected, atol=1e-4)
    between = ((true < 0) & (true + 0.5 > 0)).double().mean(0)
    np.testing.assert_allclose(found["flips_line"], between, atol=1e-5)


def table(**curves: dict[str, list[list[float]]]) -> dict[str, Any]:
    return {
        layer: {curve: {"seeds": runs} for curve, runs in each.items()}
        for layer, each in curves.items()
    }


def test_a_lower_loss_and_a_higher_accuracy_are_a_lead() -> None:
    import copula_convergence as script

    runs = {"test_accuracy": [[80.0, 90.0], [81.0, 91.0]], "train_loss": [[0.5, 0.3], [0.5, 0.2]]}
    worse = {"test_accuracy": [[70.0, 89.0], [71.0, 90.1]], "train_loss": [[0.7, 0.5], [0.7, 0.4]]}
    both = {"Copula": runs, "BatchNorm": worse, "Regular": worse, script.WEAK: worse}
    found = script.leads(table(**both))["BatchNorm"]
    assert found["test_accuracy"]["all_marks"]["mean"] == pytest.approx(5.475)
    assert found["test_accuracy"]["last_mark"]["mean"] == pytest.approx(0.95)
    assert found["train_loss"]["all_marks"]["mean"] == pytest.approx(0.2)
    assert found["train_loss"]["all_marks"]["verdict"] == "ahead"
    leads = {panel: script.leads(table(**both)) for panel in script.PANELS}
    assert script.where({"lead": leads}, "BatchNorm")[0] == "at a rate of .007"
