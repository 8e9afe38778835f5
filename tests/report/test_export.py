"""Figures as files: which, under which names, with an index; whole or not at all."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import matplotlib.image as mpimg
import matplotlib.pyplot as plt
import numpy as np
import pytest

from distfit_nn.errors import FileError, InputError
from distfit_nn.report import build
from distfit_nn.report.export import _slug, write_figures
from tests.report.cases import analysis_of

HOSTILE = "../../<script>$x_1$\0" + "y" * 10**6


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(0)
    return analysis_of({(HOSTILE, "values", step): rng.normal(size=(80, 3)) for step in (0, 5)})


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "new" / "folder"
    settings, figures = dict(mpl.rcParams), plt.get_fignums()
    told = []
    paths = small.to_figures(folder, dpi=40, progress=lambda *at: told.append(at))
    assert told == [(k, len(told)) for k in range(1, len(told) + 1)]
    assert 2 * len(told) == len(paths) - 1
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == figures
    return folder, paths


def test_paths_are_all_there_is(written):
    folder, paths = written
    assert sorted(folder.iterdir()) == sorted(paths)
    assert paths[-1].name == "index.json"
    assert not [path for path in folder.parent.iterdir() if path != folder]
    assert all(re.fullmatch(r"\d{3}-[a-z0-9-]+\.(png|svg)", path.name) for path in paths[:-1])
    assert max(len(path.name) for path in paths) < 100


def test_the_index_says_what_each_is(written, small):
    folder, paths = written
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert (index["format"], index["version"], index["source"]) == (
        "distfit_nn.figures",
        1,
        "made up",
    )
    listed = [name for figure in index["figures"] for name in figure["files"]]
    assert listed == [path.name for path in paths[:-1]]
    assert all(figure["alt"] for figure in index["figures"])
    assert {"Drift", "Dip"} <= {figure[k] for figure in index["figures"] for k in ("part", "title")}
    assert all(len(figure["layer"]) <= 400 for figure in index["figures"])
    page = build.render(small)
    assert all(
        figure["alt"][:20] in page for figure in index["figures"] if "<" not in figure["alt"]
    )


def test_images_are_whole_on_white_and_have_no_placeholder(written):
    _, paths = written
    for path in paths[:-1]:
        if path.suffix == ".png":
            image = mpimg.imread(path)
            assert image.shape[1] > 100
            assert np.all(image[0, -1, :3] == 1)
            assert np.ptp(image[..., :3]) > 0.3  # something is drawn
        else:
            text = path.read_text(encoding="utf-8")
            ET.fromstring(text)  # noqa: S314 (made here)
            assert not re.search("#0[0147ad]0[258be]0[369cf]|#101112|#131415", text)
            assert "<script" not in text


def test_formats_and_resolution(small, tmp_path):
    paths = write_figures(small, tmp_path, formats=["pdf"], dpi=20)
    assert {path.suffix for path in paths} == {".pdf", ".json"}
    assert paths[0].read_bytes()[:5] == b"%PDF-"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ("gif",)}, "formats must be one of 'png', 'svg', 'pdf', got 'gif'"),
        ({"formats": ()}, "formats must name at least one"),
        ({"dpi": 0}, "dpi must be"),
        ({"dpi": 1e9}, "dpi must be"),
    ],
)
def test_options_are_checked_before_anything_is_written(small, tmp_path, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        write_figures(small, tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(small, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(FileError, match="cannot write"):
        write_figures(small, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"


def test_two_runs_write_the_same_of_one_unit(tmp_path):
    """Few figures, so that it is fast; those of several units and steps are told apart below."""
    one = analysis_of({("fc", "values", 0): np.random.default_rng(3).normal(size=(40, 1))})
    runs = [write_figures(one, tmp_path / name, dpi=40, formats="svg") for name in ("a", "b")]
    assert len(runs[0]) > 1
    first, second = ([(path.name, path.read_bytes()) for path in run] for run in runs)
    assert first == second


@pytest.mark.slow
def test_two_runs_write_the_same(small, written, tmp_path):
    _, first = written
    again = write_figures(small, tmp_path, dpi=40, formats="svg")
    known = {path.name: path.read_bytes() for path in first}
    assert all(known[path.name] == path.read_bytes() for path in again[:-1])


@pytest.mark.parametrize(
    "name", ["", "..", "/", "CON", "a/../b", "\0", "Ünïcode 层", "-" * 999, "x" * 10**6]
)
def test_slugs_are_safe(name):
    slug = _slug(name)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert len(slug) <= 40
