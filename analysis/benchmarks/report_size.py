"""How large the report of a large network is, how long it takes to make and to open.

    python analysis/benchmarks/report_size.py

Limits that are asked for: 10 layers of 4,096 units at 20 steps stay below 5 MB and open in 2 s. The
networks are made up: the tables, histograms and densities of some hundred units are repeated until
there are as many as asked for, so that only the report is measured. Opening is timed in a headless
Chromium, where there is one: `load_s` from the start of the navigation to the end of the load
event, by the browser's own clock, and `picture_s` the time of a process that also takes a picture
of the page, less that for an empty page.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import statistics
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import machine
import numpy as np
import pandas as pd

from distfit_nn.analysis import Analysis
from distfit_nn.report import build
from distfit_nn.stats.summary import Place, Recording, summarise

LIMITS = {"bytes": 5_000_000, "open_s": 2.0}
BASE = 64
NETWORKS = {
    "10 layers x 4,096 units x 20 steps": (10, 4096, 20),
    "10 layers x 100,000 units": (10, 100_000, 1),
    "1,000 layers x 64 units": (1000, 64, 1),
    "1 unit": (1, 1, 1),
}
PROBE = (
    "addEventListener('load',()=>setTimeout(()=>{document.documentElement.dataset.opened="
    "performance.getEntriesByType('navigation')[0].loadEventEnd}))"
)


def main() -> None:
    """Measure every network and write the figures."""
    figures = {}
    for name, shape in NETWORKS.items():
        made = network(*shape)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.html"
            taken = machine.seconds(lambda: build.write(made, path))  # noqa: B023
            figures[name] = {
                "bytes": path.stat().st_size,
                "build_s": round(taken, 2),
                **opening(path),
            }
        print(name, figures[name])
    machine.write("report_size", {"limits": LIMITS, **figures})


def network(layers: int, units: int, steps: int) -> Analysis:
    """Return an analysis of so many units in each layer at each step."""
    rng = np.random.default_rng(0)
    parts = [_few(rng, step, units) for step in range(steps)]
    found = [
        _tiled(parts[step], f"blocks.{layer}.mlp.norm", 1000 * step, units, ends=(0, steps - 1))
        for layer in range(layers)
        for step in range(steps)
    ]
    return Analysis("made up", 6, "2026-01-01T12:00:00+00:00", tuple(found))


def _few(rng: np.random.Generator, step: int, units: int) -> Recording:
    x = rng.standard_normal((1000, min(BASE, units)))
    x[:, 0] = rng.standard_t(1.5, len(x))
    x[:, -1] += (2 + step / 10) * rng.choice([-1, 1], len(x))
    x[:, x.shape[1] // 2] *= 12
    return summarise(x, Place("layer", "pre_activation", step, "relu"))


def _tiled(few: Recording, layer: str, step: int, units: int, ends: tuple[int, int]) -> Recording:
    """Return a recording of `units` units that repeats those of `few`."""
    which = np.arange(units) % len(few.units)
    table: pd.DataFrame = few.units.iloc[which].reset_index(drop=True)
    table = table.assign(layer=layer, step=step, unit=np.arange(units))
    bars = few.histogram
    histogram = replace(
        bars,
        edges=bars.edges[:, which],
        counts=bars.counts[:, which],
        below=bars.below[which],
        above=bars.above[which],
        n=bars.n[which],
    )
    keep = few.sample is not None and step // 1000 in ends and units <= 4096
    return replace(
        few,
        layer=layer,
        step=step,
        units=table,
        histogram=histogram,
        density=few.density[which],
        sample=few.sample[:, which] if keep and few.sample is not None else None,
    )


def opening(path: Path, repeats: int = 3) -> dict[str, float]:
    """Return how long the page takes to open; nothing without a browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        return {}
    probed = path.with_name("probed.html")
    probed.write_text(with_probe(path.read_text("utf-8")), "utf-8")
    blank = path.with_name("blank.html")
    blank.write_text("<!DOCTYPE html><title>blank</title>", "utf-8")
    loads = []
    for _ in range(repeats):
        dom = _browse(browser, probed, "--dump-dom")
        loads.append(float(re.findall(r'data-opened="([\d.]+)"', dom)[0]) / 1000)
    picture = f"--screenshot={path.with_name('page.png')}"
    times = machine.interleaved(
        {
            "page": lambda: _browse(browser, path, picture),
            "blank": lambda: _browse(browser, blank, picture),
        },
        repeats=repeats,
    )
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return {
        "load_s": round(statistics.median(loads), 3),
        "picture_s": round(medians["page"] - medians["blank"], 3),
    }


def with_probe(page: str) -> str:
    """Return the page with a script that tells when it was loaded, permitted by its hash."""
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    return page.replace("</head>", f"<script>{PROBE}</script></head>", 1)


def _browse(browser: str, path: Path, action: str) -> str:
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--window-size=1280,900",
    )
    profile = f"--user-data-dir={path.parent / 'profile'}"
    done = subprocess.run(
        [browser, *flags, profile, action, path.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


if __name__ == "__main__":
    main()
