"""The future work's own mathematics: mixtures, the ladder of rates, the sum over all pairs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import integrate

import distfit_nn.nn as dnn

MIXTURE = {"weights": [[0.6, 0.4]], "means": [[-0.7, 1.5]], "scales": [[0.3, 0.8]]}


def test_moments_of_mixtures_are_those_of_their_density() -> None:
    from lab.copula import mixtures

    grid = np.linspace(-8, 10, 20001)
    density = mixtures.densities(MIXTURE, grid)[0]
    mean = integrate.trapezoid(grid * density, grid)
    second, third = (integrate.trapezoid((grid - mean) ** k * density, grid) for k in (2, 3))
    found = [float(part[0]) for part in mixtures.moments(MIXTURE)]
    assert found == pytest.approx([mean, second**0.5, third / second**1.5], abs=1e-6)


@pytest.mark.parametrize(("second", "count"), [(1.5, 2), (-0.6, 1)])
def test_peaks_are_counted(second: float, count: int) -> None:
    from lab.copula import mixtures

    parameters = MIXTURE | {"means": [[-0.7, second]]}
    density = mixtures.densities(parameters, np.linspace(-8, 8, 1601))
    assert mixtures.peaks(density).tolist() == [count]


def test_the_mixtures_of_a_network_are_found_by_layer() -> None:
    from lab import networks
    from lab.copula import mixtures

    model = networks.mlp((1, 2, 2), networks.LAYERS["Copula, learned"], width=5)
    found = mixtures.of(model)
    assert list(found) == ["norm1", "norm2", "norm3"]
    assert np.shape(found["norm1"]["means"]) == (5, 2)
    assert mixtures.of(networks.mlp((1, 2, 2), networks.LAYERS["Copula"], width=5)) == {}


@pytest.mark.parametrize(
    ("quick", "best", "tried"),
    [
        (False, 0.007, {"0.002", "0.007", "0.02", "0.07"}),
        (False, 2.0, {"0.02", "0.07", "0.2", "0.7", "2"}),
        (True, 2.0, {"0.02", "0.07"}),
    ],
)
def test_the_ladder_is_climbed_to_a_rate_between_others(
    quick: bool, best: float, tried: set[str]
) -> None:
    from lab import ladder
    from lab.training import Setting

    def each(task, settings, _source):
        return [{"validation_accuracy": [task(setting.rate)]} for setting in settings]

    lab = SimpleNamespace(quick=quick, each=each)
    base = Setting("Copula", 0.0, 100)
    found = ladder.climbed(lab, lambda r: -abs(np.log(r / best)), [base], (0.02, 0.07), None)
    assert found.best == {"Copula": 0.07 if quick else best}
    assert set(found.tried["Copula"]) == tried


def test_the_sum_over_all_pairs_is_what_the_layer_does() -> None:
    from lab.copula import feature_maps

    x = torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    layer = dnn.CopulaNorm2d(2, strength=feature_maps.STRENGTH)
    for channel in (0, 1):
        ours = layer(x)[:, channel].flatten()
        torch.testing.assert_close(
            ours, feature_maps.pairwise(x[:, channel].flatten()), rtol=0, atol=1e-4
        )


def test_bytes_kept_are_counted_once() -> None:
    from lab.copula import feature_maps

    x = torch.randn(7, 3, requires_grad=True)
    assert feature_maps.kept_bytes(torch.sigmoid, x) == 7 * 3 * 4  # its output alone
    assert feature_maps.kept_bytes(lambda x: x * x, x) == 7 * 3 * 4  # x twice
