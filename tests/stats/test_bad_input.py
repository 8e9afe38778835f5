"""Bad input as a table: what every public statistic says of columns that have no answer, or none
that a single number can be. A public function without a row fails `test_every_function_has_a_row`.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch

from distfit_nn import stats
from tests import tolerances
from tests.stats.faces import COLUMNS, NORMAL, OTHERS, STATISTICS, call, fields

RNG = np.random.default_rng(20170511)

# What the docstrings' tables say. num: a finite number other than 0.
TABLE = """
statistic                       field            none one  two  equal three constant halves missing
anderson_darling                statistic        nan  nan  num  nan   num   nan      num    nan
anderson_darling                pvalue           nan  nan  nan  nan   nan   nan      num    nan
ashman_d                        value            nan  nan  nan  nan   num   nan      nan    nan
atoms                           share            0    0    0    0     0     0        0      0
atoms                           value_share      nan  1    0.5  1     num   1        0.5    nan
atoms                           levels           0    1    2    1     3     1        2      0
bimodality_coefficient          value            nan  nan  nan  nan   nan   nan      num    nan
classify                        dip              nan  nan  nan  nan   nan   nan      nan    nan
classify                        modes            -1   -1   -1   -1    -1    -1       -1     -1
critical_bandwidth_test         statistic        nan  0    num  0     num   0        num    nan
critical_bandwidth_test         pvalue           nan  1    num  1     num   1        num    nan
critical_bandwidth_test         relative         nan  nan  num  nan   num   nan      num    nan
critical_bandwidth_test two     statistic        nan  0    num  0     num   0        num    nan
dagostino                       statistic        nan  nan  nan  nan   nan   nan      num    nan
dagostino                       skewness         nan  nan  0    nan   num   nan      0      nan
dip_test                        statistic        nan  0    0.25 0     num   0        0.25   nan
dip_test                        pvalue           nan  1    1    1     1     1        num    nan
dip_test spread                 statistic        nan  0    0.25 0     num   0        0.25   nan
dip_test apart                  statistic        nan  0    0.25 0     num   0        0.25   nan
distances                       wasserstein_1    nan  num  num  num   num   num      num    nan
distances                       chance_2         nan  num  num  num   num   num      num    nan
distances sample                wasserstein_1    nan  num  num  num   num   num      num    nan
distances sample                chance_2         nan  nan  nan  nan   nan   nan      nan    nan
distances law                   wasserstein_1    nan  1    1    1.5   num   2.5      0.25   nan
distinct_values                 distinct         0    1    2    1     3     1        2      0
distinct_values                 entropy          nan  nan  inf  1     inf   1        num    nan
distinct_values                 simpson          nan  nan  inf  1     inf   1        num    nan
distinct_values                 step             nan  nan  1    nan   1     nan      1      nan
energy_distance                 statistic        nan  num  num  num   num   num      num    nan
entropy                         value            nan  nan  nan  nan   num   nan      nan    nan
entropy gaussian                value            nan  -inf num  -inf  num   -inf     num    nan
entropy maxent                  value            nan  nan  nan  nan   nan   nan      nan    nan
entropy neighbours              value            nan  nan  num  nan   num   nan      nan    nan
find_modes                      modes            0    0    0    0     1     0        0      0
find_modes bandwidth            modes            0    0    0    0     1     0        0      0
find_modes maxent               modes            0    0    0    0     0     0        0      0
find_modes silverman            modes            0    0    0    0     1     0        0      0
health                          constant         0    0    0    1     0     1        0      0
health                          dead             0    0    0    1     0     1        0      0
health                          saturated        0    0    0    0     0     0        0      0
health                          max_abs          nan  1.5  2    2     4     3        1      nan
health                          zero_share       nan  0    0    0     0     0        0.5    nan
health                          tail_index       nan  nan  nan  nan   nan   nan      nan    nan
health                          effective_simpson nan nan  inf  1     inf   1        num    nan
health                          grid_step        nan  nan  1    nan   1     nan      1      nan
health tanh                     saturated        0    0    0    0     0     1        0      0
health relu                     dead             0    0    0    1     0     1        0      0
jarque_bera                     statistic        nan  nan  nan  nan   nan   nan      num    nan
jarque_bera                     pvalue           nan  nan  nan  nan   nan   nan      num    nan
jarque_bera                     kurtosis         nan  nan  -2   nan   -1.5  nan      -2     nan
jensen_shannon                  statistic        nan  nan  nan  nan   nan   nan      nan    nan
jensen_shannon sample           statistic        nan  nan  nan  nan   nan   nan      nan    nan
kl_estimate                     statistic        nan  nan  nan  nan   num   nan      nan    nan
kl_estimate                     high             nan  nan  nan  nan   num   nan      nan    nan
kl_estimate gaussian            statistic        nan  inf  num  inf   num   inf      num    nan
kl_estimate gaussian            high             nan  nan  num  nan   num   nan      num    nan
kl_estimate maxent              statistic        nan  nan  nan  nan   nan   nan      nan    nan
kl_estimate neighbours          statistic        nan  nan  num  nan   num   nan      nan    nan
kl_to_standard_normal           value            nan  inf  num  inf   num   inf      num    nan
kl_to_standard_normal maxent    value            nan  nan  nan  nan   nan   nan      nan    nan
kl_to_standard_normal spacings  value            nan  nan  nan  nan   num   nan      nan    nan
kolmogorov_smirnov              statistic        nan  num  num  num   num   num      0.5    nan
kolmogorov_smirnov              pvalue           nan  num  num  num   num   num      num    nan
kolmogorov_smirnov sample       statistic        nan  num  num  num   num   1        0.5    nan
kurtosis                        value            nan  nan  -2   nan   -1.5  nan      -2     nan
l_moments                       l1               nan  1.5  1.5  2     num   3        0.5    nan
l_moments                       l2               nan  nan  0.5  0     1     0        num    nan
l_moments                       ratios           nan  nan  nan  nan   nan   nan      num    nan
lilliefors                      statistic        nan  nan  num  nan   num   nan      num    nan
lilliefors                      pvalue           nan  nan  nan  nan   nan   nan      num    nan
mixture_test                    statistic        nan  nan  nan  nan   num   nan      nan    nan
mixture_test                    pvalue           nan  nan  nan  nan   num   nan      nan    nan
mixture_test                    bimodal          0    0    0    0     1     0        0      0
mixture_test spread             valley           nan  nan  nan  nan   num   nan      nan    nan
moments                         mean             nan  1.5  1.5  2     num   3        0.5    nan
moments                         std              nan  0    0.5  0     num   0        0.5    nan
moments                         skewness         nan  nan  0    nan   num   nan      0      nan
normality_tests                 jarque_bera.pvalue nan nan nan  nan   nan   nan      num    nan
normality_tests                 dagostino.qvalue nan  nan  nan  nan   nan   nan      num    nan
normality_tests                 shapiro_wilk.pvalue nan nan nan nan   num   nan      num    nan
relu_signature                  present          0    0    0    0     0     0        0      0
relu_signature                  modes            0    0    0    0     0     0        0      0
relu_signature                  depth            nan  nan  nan  nan   nan   nan      nan    nan
shapiro_wilk                    statistic        nan  nan  nan  nan   num   nan      num    nan
shapiro_wilk                    pvalue           nan  nan  nan  nan   num   nan      num    nan
sketch                          minimum          nan  1.5  1    2     1     3        0      nan
sketch                          median           nan  1.5  1    2     2     3        0      nan
skewness                        value            nan  nan  0    nan   num   nan      0      nan
split_divergence                location         nan  num  num  2     num   4.5      0.125  nan
split_divergence                scale            nan  inf  num  inf   num   inf      num    nan
split_divergence                shape            nan  nan  nan  nan   nan   nan      nan    nan
split_divergence neighbours     shape            nan  nan  num  nan   num   nan      nan    nan
tail_index                      both             nan  nan  nan  nan   nan   nan      nan    nan
tail_index                      heavy            0    0    0    0     0     0        0      0
two_component_mixture           statistic        nan  nan  nan  nan   num   nan      nan    nan
two_component_mixture           converged        0    0    0    0     1     0        0      0
two_component_mixture spread    ashman_d         nan  nan  nan  nan   num   nan      nan    nan
wasserstein                     statistic        nan  num  num  num   num   num      num    nan
wasserstein                     chance           nan  num  num  num   num   num      num    nan
wasserstein two                 statistic        nan  num  num  num   num   num      num    nan
"""


def table() -> list[Any]:
    """Return one parameter set for each cell: statistic, field, column, word."""
    head, *lines = TABLE.strip().splitlines()
    columns = head.split()[2:]
    cells = []
    for line in lines:
        name, words = line[:32].strip(), line[32:].split()
        for column, word in zip(columns, words[1:], strict=True):
            identity = f"{name}-{words[0]}-{column}"
            cells.append(pytest.param(name, words[0], column, word, id=identity))
    return cells


# Columns that are no more than hard to compute with: whatever is said of them must be sound.
HARD: dict[str, tuple[Any, Any]] = {
    **{name: (np.array(column), 0) for name, column in COLUMNS.items()},
    "(0, 3)": (np.empty((0, 3)), 0),
    "(5, 0)": (np.empty((5, 0)), 0),
    "infinite": (np.concatenate([[math.inf, -math.inf], NORMAL]), 0),
    "huge": (1e300 * NORMAL, 0),
    "largest": (np.array([1.7e308, -1.7e308, 1e308, 0.0, 1.0, 2.0] * 4), 0),
    "tiny": (1e-300 * NORMAL, 0),
    "subnormal": (5e-324 * np.rint(1e3 * NORMAL), 0),
    "outlier": (np.concatenate([NORMAL, [1e12]]), 0),
    "negative zeros": (np.array([-0.0] * 20 + [0.0] * 20 + [1.0]), 0),
    "ints": (RNG.integers(-9, 9, 40), 0),
    "int64 at its ends": (np.array([-(2**63), 2**63 - 1, 0, 5, 7] * 5), 0),
    "bools": (RNG.random(40) < 0.4, 0),
    "float16": (np.float16(6e4 + 32 * RNG.integers(-50, 50, 40)), 0),
    "long double": (np.append(NORMAL.astype(np.longdouble), np.longdouble("1e400")), 0),
    "bfloat16": (torch.as_tensor(NORMAL).bfloat16(), 0),
    "all axes": (NORMAL.reshape(4, 5), None),
    "three axes": (RNG.normal(size=(20, 2, 3)), (0, 2)),
    "kept table": (RNG.normal(size=(2, 15, 3)), 1),
    "mixed": (np.column_stack([NORMAL, np.full(20, math.nan), np.ones(20), 1e300 * NORMAL]), 0),
}
LEADING = {"weights": (2,), "means": (2,), "stds": (2,), "ratios": (2,)}


def plain(x: Any) -> np.ndarray:
    """Return x as float64, what is not finite there as NaN."""
    with np.errstate(over="ignore"):
        values = x.double().numpy() if isinstance(x, torch.Tensor) else np.asarray(x, np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def kept_shape(name: str, x: Any, axis: Any) -> tuple[int, ...]:
    shape = np.isnan(plain(x)).any(axis=axis).shape
    return (math.prod(shape),) if name == "sketch" or ("modes" in name and shape) else shape


def same(got: dict[str, Any], want: dict[str, Any], without: tuple[str, ...] = ()) -> None:
    """Assert that two results are the same, but for the order in which sums are taken."""
    assert got.keys() == want.keys()
    for name in got.keys() - set(without):
        a, b = np.asarray(got[name]), np.asarray(want[name])
        if a.dtype.kind == "f":
            np.testing.assert_allclose(
                a, b, rtol=tolerances.REORDERED, atol=tolerances.REORDERED, err_msg=name
            )
        else:
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_every_function_has_a_row() -> None:
    public = {name for name in stats.__all__ if inspect.isfunction(getattr(stats, name))}
    assert public == {name.split()[0] for name in STATISTICS} | OTHERS
    assert {cell.values[0] for cell in table()} == set(STATISTICS)


@pytest.mark.parametrize(("name", "field", "column", "word"), table())
def test_as_the_docstring_says(name: str, field: str, column: str, word: str) -> None:
    found = np.ravel(fields(call(name, COLUMNS[column]))[field])[-1]
    if word == "num":
        assert np.isfinite(found)
        assert found != 0
    else:
        want = float(word)
        assert found == pytest.approx(want, abs=tolerances.FEW_ROUNDINGS, nan_ok=True)


VERDICTS = {
    **{"none": "empty", "missing": "empty", "two": "discrete", "three": "discrete"},
    **{"one": "constant", "equal": "constant", "constant": "constant", "halves": "discrete"},
}


@pytest.mark.parametrize("column", COLUMNS)
def test_verdicts(column: str) -> None:
    assert call("classify", COLUMNS[column]).verdict == VERDICTS[column]


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("case", HARD)
def test_sound_whatever_comes(name: str, case: str) -> None:
    x, axis = HARD[case]
    found = fields(call(name, x, axis))
    kept = kept_shape(name, x, axis)
    for field, values in found.items():
        assert np.shape(values) == (*LEADING.get(field, ()), *kept), field
        if field.endswith(("pvalue", "qvalue")):
            told = np.asarray(values)[~np.isnan(values)]
            assert np.all((told > 0) & (told <= 1)), field
    for field in [field for field in found if field.split(".")[-1] == "n"]:
        want = np.count_nonzero(~np.isnan(plain(x)), axis=axis)
        np.testing.assert_array_equal(found[field], np.reshape(want, kept))
        assert np.asarray(found[field]).dtype.kind == "i" or not np.size(want)
    for field in [field for field in found if field.endswith("qvalue")]:
        p = found[field.replace("qvalue", "pvalue")]
        assert np.all((found[field] >= p) | np.isnan(p))


@pytest.mark.parametrize("name", STATISTICS)
def test_what_is_not_finite_is_left_out(name: str) -> None:
    x = np.full(27, math.nan)
    x[[3, 11]] = math.inf, -math.inf
    x[np.setdiff1d(np.arange(27), [0, 3, 7, 11, 12, 20, 26])] = NORMAL
    same(fields(call(name, x)), fields(call(name, NORMAL)), ("nan_share", "inf_share"))


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("case", ["ints", "bools", "float16", "long double", "bfloat16"])
def test_any_type_reads_as_float64(name: str, case: str) -> None:
    x = HARD[case][0]
    same(fields(call(name, x)), fields(call(name, plain(x))), ("nan_share", "inf_share"))


@pytest.mark.parametrize("name", STATISTICS)
def test_any_layout_reads_alike(name: str) -> None:
    cube = RNG.normal(size=(8, 2, 3, 5))
    cube[0, 1] = 0.0
    want = fields(call(name, cube.transpose(0, 2, 1, 3).reshape(24, 2, 5)))
    every_other = np.repeat(cube, 2, axis=3)[..., ::2]
    for x in (cube, np.asfortranarray(cube), every_other, cube[::-1, :, ::-1], torch.tensor(cube)):
        same(fields(call(name, x, (0, 2))), want)
    same(fields(call(name, cube, (-2, -4))), want)


@pytest.mark.parametrize("name", STATISTICS)
def test_a_bad_column_leaves_its_neighbours_alone(name: str) -> None:
    x, axis = HARD["mixed"]
    found, alone = fields(call(name, x, axis)), fields(call(name, NORMAL))
    first = {key: np.asarray(values)[..., 0] for key, values in found.items()}
    if name == "sketch":
        alone = {key: values[0] for key, values in alone.items()}
    together = [key for key in found if key.endswith("qvalue")]  # those of all columns
    same(first, alone, (*together, "verdict", "evidence", "outlier", "outlier_ratio"))
