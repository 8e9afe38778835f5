"""Every unit, to be sorted and searched on the page: which are kept there, and how.

The page holds them as packed columns (see `packed`) beside a script that it permits by hash. Who
runs no script, and who prints, gets a table of the most remarkable units of each layer instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from distfit_nn.report import packed
from distfit_nn.report.numbers import count, number, plural
from distfit_nn.report.select import (
    Layer,
    Layers,
    clean,
    remarkable,
    sentence,
    site_label,
    site_word,
    unit_label,
)
from distfit_nn.report.verdict import FLAGS

if TYPE_CHECKING:
    import pandas as pd

    from distfit_nn.stats.summary import Recording

BUDGET = 2_400_000  # bytes for the units; the rest of the page takes at most as much again
BARS = 16
_GROUP_BYTES, _NAME_BYTES = 260, 40
_MOST_GROUPS = 2000
_NAME, _LAYER_NAME = 24, 80  # characters

COLUMNS = (
    ("kl_maxent", "KL"),
    ("kl_shape", "Shape part"),
    ("mean", "Mean"),
    ("std", "Std"),
    ("skewness", "Skewness"),
    ("kurtosis", "Kurtosis"),
    ("tail_index", "Tail index"),
    ("dip", "Dip"),
    ("dip_qvalue", "q of dip"),
    ("outlier_ratio", "Magnitude"),
    ("zero_fraction", "Zeros"),
    ("missing", "Not finite"),
)
SHAPES = ("empty", "constant", "atom", "discrete", "undecided", "bimodal", "unimodal")


@dataclass(frozen=True)
class Kept:
    """Some units of one recording: rows of its table of units, all where `rows` is None."""

    layer: Layer
    recording: Recording
    rows: NDArray[np.int64] | None = None

    @property
    def units(self) -> pd.DataFrame:
        """The table of these units."""
        table = self.recording.units
        return table if self.rows is None else table.iloc[self.rows]


@dataclass(frozen=True)
class StaticRow:
    """One unit in the table for those who run no script."""

    unit: str
    whole: str
    anchor: str
    layer: str
    sketch: Markup
    numbers: Sequence[str]
    verdicts: str


@dataclass(frozen=True)
class Explorer:
    """What the page needs: data for the script, a note on what is kept, and the static table."""

    data: Markup
    note: str
    lead: str
    flags: Sequence[tuple[str, str]]
    columns: Sequence[tuple[str, str]]
    rows: Sequence[StaticRow]


def explorer(
    layers: Layers,
    shown: Sequence[Layer],
    pictures: Mapping[int, Iterable[int]],
    room: int = BUDGET,
) -> Explorer | None:
    """Return the explorer of `layers`; None without any unit.

    Parameters
    ----------
    layers : Layers
    shown : sequence of Layer
        Those whose most remarkable units are in the static table.
    pictures : mapping
        Place of a layer to the rows of its units that have a picture on the page.
    room : int
        Bytes that the page has left.
    """
    if not layers or not len(layers.last):
        return None
    kept, with_bars, note = choose(layers, min(BUDGET, room))
    static = [row for layer in shown for row in _static_rows(layer, pictures.get(layer.place, ()))]
    return Explorer(
        data=_script_safe(_content(kept, with_bars, pictures)),
        note=note,
        lead=f"The most remarkable units of {plural(len(shown), 'layer')}, at the last step.",
        flags=[(flag, FLAGS[flag]) for flag in FLAGS if layers.last[flag].any()],
        columns=COLUMNS,
        rows=static,
    )


def choose(layers: Layers, budget: int = BUDGET) -> tuple[list[Kept], bool, str]:
    """Return which units are kept, whether with bars, and what the page says of that.

    The first of these that fits `budget`: all sites and steps; the last step of all sites; that of
    the main sites, with bars or without; of these the units with a verdict, then those by KL.
    """
    every = [Kept(layer, r) for layer in layers for site in layer.recordings.values() for r in site]
    last = [Kept(layer, layer.last(site)) for layer in layers for site in layer.recordings]
    main = [Kept(layer, layer.last(layer.main)) for layer in layers]
    total = plural(sum(len(k.recording.units) for k in main), "unit")
    steps = any(len(layer.steps) > 1 for layer in layers)
    at_last = f"All {total} at the last step" if steps else f"All {total}"
    others = "; other steps are in the maps and in the tables of `to_csv`" if steps else ""
    both = ", at every site" if len(last) > len(main) else ""
    whole = f"All {total}{both}{' and step' if both else ', at every step'}."
    if _cost(every, bars=True) <= budget:
        return every, True, whole if steps or both else f"All {total}."
    if _cost(last, bars=True) <= budget:
        return last, True, f"{at_last}{both}{others}."
    feeding = f"{at_last}, where they feed the nonlinearity{others}"
    if _cost(main, bars=True) <= budget:
        return main, True, f"{feeding}."
    if _cost(main, bars=False) <= budget:
        return main, False, f"{feeding}; without sketches, to keep this page small."
    some = _most_remarkable(layers, budget)
    size = sum(len(k.units) for k in some)
    return some, False, (
        f"{count(size)} of {total} at the last step: those with a verdict first, then the farthest "
        "from N(0,1). All of them are in the table of `to_csv`."
    )  # fmt: skip


def _cost(kept: Sequence[Kept], *, bars: bool) -> int:
    """Return about how many bytes these take on the page."""
    if len(kept) > _MOST_GROUPS:
        return 1 << 60
    each = 3 * len(COLUMNS) + 2 + BARS * bars
    return sum(
        _GROUP_BYTES
        + len(k.units) * (each + _NAME_BYTES * bool(k.recording.units["name"].notna().any()))
        for k in kept
    )


def _most_remarkable(layers: Layers, budget: int) -> list[Kept]:
    units = layers.last
    verdicts = units[list(FLAGS)].to_numpy(dtype=bool).any(axis=1)
    kl = np.nan_to_num(units["kl_maxent"].to_numpy(dtype=float), nan=-1.0)
    order = np.lexsort((-kl, ~verdicts))
    each = 3 * len(COLUMNS) + 2 + 6 + _NAME_BYTES * bool(units["name"].notna().any())
    order = order[: max(1, (budget - _MOST_GROUPS * _GROUP_BYTES) // each)]
    place, row = units["place"].to_numpy()[order], units["row"].to_numpy()[order]
    places = list(dict.fromkeys(place.tolist()))[:_MOST_GROUPS]
    ordered = np.lexsort((row, place))
    place, row = place[ordered], row[ordered]
    starts, ends = (np.searchsorted(place, sorted(places), side) for side in ("left", "right"))
    return [
        Kept(layers[p - 1], layers[p - 1].last(layers[p - 1].main), row[start:end])
        for p, start, end in zip(sorted(places), starts, ends, strict=True)
    ]


# The data for the script


def _content(
    kept: Sequence[Kept], bars: bool, pictures: Mapping[int, Iterable[int]]
) -> dict[str, Any]:
    places = {k.layer.place: None for k in kept}
    sites = list(dict.fromkeys(k.recording.site for k in kept))
    index = {place: i for i, place in enumerate(places)}
    names = {k.layer.place: clean(k.layer.name, _LAYER_NAME) for k in kept}
    return {
        "columns": COLUMNS,
        "flags": list(FLAGS.items()),
        "shapes": SHAPES,
        "bars": BARS if bars else 0,
        "layers": [names[place] for place in places],
        "places": list(places),
        "sites": [sentence(site_label(site)) for site in sites],
        "short": [site_word(site) for site in sites],
        "groups": [
            _group(k, index[k.layer.place], sites.index(k.recording.site), bars, pictures)
            for k in kept
        ],
    }


def _group(
    kept: Kept, layer: int, site: int, bars: bool, pictures: Mapping[int, Iterable[int]]
) -> dict[str, Any]:
    units, recording = kept.units, kept.recording
    is_main = recording is kept.layer.last(kept.layer.main)
    drawn = set(pictures.get(kept.layer.place, ())) if is_main else set()
    rows = np.arange(len(units)) if kept.rows is None else kept.rows
    group: dict[str, Any] = {
        "layer": layer,
        "site": site,
        "step": recording.step,
        "main": recording.site == kept.layer.main,
        "last": recording is kept.layer.last(recording.site),
        "size": len(units),
        "rows": recording.rows,
        "flags": packed.flags(units[list(FLAGS)].to_numpy(dtype=bool)),
        "shapes": packed.levels([SHAPES.index(shape) for shape in units["shape"]]),
        "values": packed.numbers(np.concatenate(_values(units))),
        "drawn": [[i, int(row)] for i, row in enumerate(rows.tolist()) if row in drawn],
    }
    numbered = units["unit"].to_numpy()
    if not np.array_equal(numbered, np.arange(len(units))):
        group["ids"] = [int(unit) for unit in numbered]
    if units["name"].notna().any():
        group["names"] = [_own_name(name) for name in units["name"]]
    if bars:
        group["bars"] = packed.bars(recording.histogram.counts[:, rows], BARS)
    return group


def _values(units: pd.DataFrame) -> list[np.ndarray]:
    found = {name: units[name].to_numpy(dtype=float) for name, _ in COLUMNS if name != "missing"}
    found["missing"] = (units["nan_count"] + units["inf_count"]).to_numpy(dtype=float)
    mean = found["mean"]  # rounding noise of what was centred is shown as 0
    found["mean"] = np.where(np.abs(mean) < 1e-9 * found["std"], 0.0, mean)
    return [found[name] for name, _ in COLUMNS]


def _own_name(name: Any) -> str:
    return clean(name, _NAME) if isinstance(name, str) and name.strip() else ""


def _script_safe(content: dict[str, Any]) -> Markup:
    """Return strict JSON that no parser of HTML takes for anything else."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (nothing is left that could end the element)


# The table for those who run no script


def _static_rows(layer: Layer, drawn: Iterable[int], most: int = 4) -> list[StaticRow]:
    recording = layer.last(layer.main)
    rows = [row for row, _ in remarkable(recording.units, most)]
    units = recording.units.iloc[rows]
    values = np.column_stack(_values(units)) if rows else np.empty((0, 0))
    text = packed.bars(recording.histogram.counts[:, rows], BARS) if rows else ""
    drawn = set(drawn)
    found = []
    for i, row in enumerate(rows):
        name, whole = unit_label(units.iloc[i])
        found.append(
            StaticRow(
                unit=name,
                whole=whole,
                anchor=f"unit-{layer.place}-{row}" if row in drawn else "",
                layer=clean(layer.name, 40),
                sketch=sketch(text[BARS * i : BARS * (i + 1)]),
                numbers=[number(float(value)) for value in values[i]],
                verdicts=", ".join(FLAGS[flag] for flag in FLAGS if units.iloc[i][flag]),
            )
        )
    return found


def sketch(bars: str) -> Markup:
    """Return a histogram as small as a word, from `packed.bars`; the script draws the same."""
    heights = [packed.ALPHABET.index(letter) for letter in bars]
    outline = "".join(f"V{63 - height}h4" for height in heights)
    return Markup(  # noqa: S704 (numbers only)
        f'<svg class="sketch" viewBox="0 0 {4 * len(bars)} 63" preserveAspectRatio="none" '
        f'aria-hidden="true" focusable="false"><path d="M0 63{outline}V63z"/></svg>'
    )
