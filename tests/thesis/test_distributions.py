"""Pools taken apart, flat positions, and what is told of units before and after a norm."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray

ROUNDING = 1e-9  # float64, sums of some thousand values


@pytest.fixture
def layer() -> NDArray[np.float64]:
    """Units of other means, scales and shapes, and one that is constant."""
    rng = np.random.default_rng(1)
    values = rng.normal(rng.normal(size=20), rng.uniform(0.2, 2.0, 20), (2000, 20))
    values[:, :5] = rng.exponential(rng.uniform(0.5, 2.0, 5), (2000, 5))
    values[:, 7] = 0.3
    return values


def test_parts_add_up_to_the_moments_of_the_pool(layer: NDArray[np.float64]) -> None:
    from lab.shape import pools

    skewness, kurtosis = pools.skewness_parts(layer), pools.kurtosis_parts(layer)
    every = layer.ravel()
    assert skewness["total"] == pytest.approx(scipy.stats.skew(every), rel=ROUNDING)
    assert kurtosis["total"] == pytest.approx(scipy.stats.kurtosis(every), rel=ROUNDING)


def test_normal_units_of_other_scales_have_heavy_tails_by_their_scales_alone() -> None:
    from lab.shape import pools

    std = np.array([0.5, 2.0])
    grid = scipy.stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None] * std
    parts = pools.kurtosis_parts(grid)
    expected = 3 * (std**4).mean() / (std**2).mean() ** 2 - 3
    assert parts["scales"] == pytest.approx(expected, rel=0.01)  # of the grid's cut tails
    assert abs(parts["shapes"]) + abs(parts["means"]) + abs(parts["both"]) < 0.01


def test_what_a_pool_hides_is_the_information_of_a_value_on_its_unit() -> None:
    from lab.shape import pools

    rng = np.random.default_rng(2)
    apart = rng.normal([-50.0, 50.0], 1.0, (4000, 2))  # the value tells the unit: log 2 nats
    alike = rng.normal(0.0, 1.0, (4000, 2))
    found = pools.divergence_parts(apart)
    assert found["hidden"] == pytest.approx(np.log(2), abs=0.05)  # of entropies by spacings
    assert found["units"] - found["pool"] == pytest.approx(found["hidden"], rel=ROUNDING)
    assert abs(pools.divergence_parts(alike)["hidden"]) < 0.05


def test_flat_positions_of_both_convolutions() -> None:
    from lab.shape import shapes

    pixels = torch.full((1, 1, 12, 12), -0.4)
    pixels[0, 0, 0, 0] = 1.0
    first, second = shapes.flat_positions(pixels)
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[1:11, 1:11] = True  # the edge sees the padding
    expected[1, 1] = False  # and this one the pixel
    assert torch.equal(first[0], expected)
    assert second[0].nonzero().tolist() == [[row, column] for row in (2, 3) for column in (2, 3)]


def test_a_flat_position_of_the_second_convolution_has_one_value_a_channel() -> None:
    from lab import networks
    from lab.shape import shapes

    torch.manual_seed(0)
    pixels = torch.full((2, 1, 16, 16), -0.4, dtype=torch.float64)
    pixels[:, :, 2:4, 2:4] = 1.0
    model = networks.convnet((1, 16, 16), networks.LAYERS_2D["BatchNorm"]).double().eval()
    with torch.no_grad():
        second = model[:5](pixels).movedim(1, -1)[shapes.flat_positions(pixels)[1]]
    assert len(second) > 1
    assert torch.allclose(second, second[0], rtol=0, atol=1e-12)


def test_made_layers_mislead_as_the_finding_says() -> None:
    import pooling

    made = {name: pooling.made_numbers(values) for name, values in pooling.made().items()}
    assert made["one mode"]["bimodal_units"] < pooling.SOME
    assert made["one mode"]["pool"]["verdict"] == "bimodal"
    assert made["one mode"]["pool"]["signature"]
    assert made["one mode"]["standardised"] == "unimodal"
    assert made["two modes"]["bimodal_units"] > 100 - pooling.SOME
    assert made["two modes"]["pool"]["verdict"] == "unimodal"
