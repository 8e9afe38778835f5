"""`check`: whether the units of a recording keep within limits: a gate for continuous integration.

What can be limited stands in one table, `RULES`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from distfit_nn._checks import number_between, one_of, whole_number
from distfit_nn._files import plain
from distfit_nn._selection import findings_of, matching
from distfit_nn._writers import json_text, plural, records
from distfit_nn.capture.readers import Source
from distfit_nn.errors import InputError
from distfit_nn.stats.findings import Findings

FORMAT, VERSION = "distfit_nn.check", 1
_INFINITE = float("inf")
_PLACE = ["layer", "site", "step"]
_VIOLATION = ["rule", *_PLACE, "unit", "value", "limit", "units"]
_UNMEASURED = ["rule", *_PLACE, "unit"]


class Rule(NamedTuple):
    """Something of a recording that a limit can be set to.

    Attributes
    ----------
    column : str
        Of the table of units, or a figure that `_figure` makes of it.
    least, most : float
        Between which limits make sense.
    share : bool
        Whether the limit is to the share of a layer's units of this verdict, not to each unit.
    needs : str or None
        Column, or figure as above, that is NaN where the verdict could not be reached; None for
        `column` itself.
    shape : bool
        Whether it is of the shape alone: a constant unit has none, and keeps within any limit.
    words : str
    """

    column: str
    least: float
    most: float
    share: bool
    needs: str | None
    shape: bool
    words: str


RULES = {
    "max_kl": Rule("kl", 0.0, _INFINITE, False, None, False, "KL from N(0,1) of a unit, nats"),
    "max_kl_shape": Rule(
        "kl_shape", 0.0, _INFINITE, False, None, True, "what no affine map removes of it, nats"
    ),
    "max_outlier": Rule(
        "outlier_ratio", 0.0, _INFINITE, False, None, True, "largest magnitude over the median unit"
    ),
    "max_kurtosis": Rule("kurtosis", -2.0, _INFINITE, False, None, True, "excess kurtosis"),
    "max_abs": Rule("max_abs", 0.0, _INFINITE, False, None, False, "largest magnitude of a unit"),
    "max_zero": Rule("zero_fraction", 0.0, 1.0, False, None, False, "share of zeros in a unit"),
    "max_nan": Rule("nan_count", 0.0, _INFINITE, False, None, False, "NaN values of a unit"),
    "max_inf": Rule("inf_count", 0.0, _INFINITE, False, None, False, "infinite values of a unit"),
    "max_dead": Rule("dead", 0.0, 1.0, True, "mean", False, "share of dead units"),
    "max_saturated": Rule("saturated", 0.0, 1.0, True, "single", False, "share of saturated units"),
    "max_heavy_tailed": Rule(
        "heavy_tailed", 0.0, 1.0, True, "tail_index", True, "share of heavy-tailed units"
    ),
    "max_bimodal": Rule("bimodal", 0.0, 1.0, True, "modality", True, "share of bimodal units"),
    "max_far": Rule("far", 0.0, 1.0, True, "far_kl", True, "share of units far from N(0,1)"),
}


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What `check` found; it is true if all limits are kept.

    Attributes
    ----------
    source : str
        Where the values came from.
    violations : DataFrame
        What is above its limit, worst first (by how many times the limit, or infinitely where that
        is 0): rule, layer, site, step, unit (missing where the rule is about a layer), value,
        limit, and units, the numbers of the offending units.
    checked : DataFrame
        A row for each rule: rule, limit, words, recordings, units, unmeasured (units), violations.
    unmeasured : DataFrame
        Units for which a rule has no figure: rule, layer, site, step, unit.
    policy : {"fail", "pass"}
        What such units count as.
    """

    source: str
    violations: pd.DataFrame
    checked: pd.DataFrame
    unmeasured: pd.DataFrame
    policy: str

    @property
    def passed(self) -> bool:
        """Whether nothing is above its limit, nor, unless these pass, without a figure."""
        return self.violations.empty and (self.policy == "pass" or self.unmeasured.empty)

    def __bool__(self) -> bool:
        return self.passed

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data.

        What JSON has no numbers for becomes None: an infinite value, a missing unit.
        """
        violations = [
            {**row, "units": list(units)}
            for row, units in zip(
                records(self.violations.drop(columns="units")),
                self.violations["units"],
                strict=True,
            )
        ]
        return {
            "format": FORMAT,
            "version": VERSION,
            "source": self.source,
            "passed": self.passed,
            "policy": self.policy,
            "checked": records(self.checked),
            "violations": [{key: _json(value) for key, value in row.items()} for row in violations],
            "unmeasured": records(self.unmeasured),
        }

    def to_json(self, path: Any = None) -> Any:
        """Return `to_dict` as strict JSON, or write it to `path` and return that."""
        return json_text(self.to_dict(), path)

    def __repr__(self) -> str:
        word = "passed" if self.passed else "failed"
        broken = ", ".join(self.violations["rule"].unique())
        beyond = plural(len(self.violations), "violation") + f" of {broken}" * bool(broken)
        unknown = ", ".join(self.unmeasured["rule"].unique())
        missing = f", {len(self.unmeasured)} unmeasured ({self.policy}) for {unknown}"
        return f"<CheckResult of {self.source}: {word}, {beyond}{missing * bool(unknown)}>"


def check(
    source: Findings | Source,
    *,
    max_kl: float | None = None,
    max_kl_shape: float | None = None,
    max_dead: float | None = None,
    max_saturated: float | None = None,
    max_heavy_tailed: float | None = None,
    max_bimodal: float | None = None,
    max_far: float | None = None,
    max_outlier: float | None = None,
    max_kurtosis: float | None = None,
    max_abs: float | None = None,
    max_nan: int | None = None,
    max_inf: int | None = None,
    max_zero: float | None = None,
    layers: str | Iterable[str] | None = None,
    site: str | Iterable[str] | None = None,
    step: str | int = "last",
    unmeasured: str = "fail",
) -> CheckResult:
    """Check the units of a recording against limits; the result is true if all are kept.

    A limit is kept by what equals it.

    Parameters
    ----------
    source : Analysis, or whatever `analyze` takes
    max_kl : float, optional
        To each unit's KL from N(0, 1), in nats: kl_maxent, or kl_gaussian where there is no density
        to trust; infinite for a constant unit.
    max_kl_shape : float, optional
        To each unit's kl_shape, in nats.
    max_dead, max_saturated, max_heavy_tailed, max_bimodal, max_far : float, optional
        To the share of a layer's units of this verdict, from 0 to 1.
    max_outlier, max_kurtosis, max_abs : float, optional
        To each unit's outlier_ratio, excess kurtosis, largest finite magnitude.
    max_nan, max_inf : int, optional
        To how many NaN, or infinite, values a unit has.
    max_zero : float, optional
        To the share of zeros among a unit's finite values.
    layers, site : str or iterable of str, optional
        Only layers, and sites, that match one of these, with wildcards. Default: all.
    step : "last", "all" or int, default "last"
        Of each layer and site.
    unmeasured : {"fail", "pass"}, default "fail"
        What a unit counts as for which a rule has no figure: one without finite values, or too few
        for a density, a tail, modes or a verdict of far; and for `max_saturated`,
        `max_heavy_tailed` and `max_bimodal` one of which only summaries were recorded. They are
        listed in any case. For rules about shape alone constant units are no such: they have none,
        and keep within limits.

    Returns
    -------
    CheckResult

    Raises
    ------
    InputError
        No limit is given, or one that makes no sense; a pattern or step that matches nothing; or as
        `analyze` raises.
    FileError
        As `analyze` raises.

    Examples
    --------
    >>> import numpy as np
    >>> import distfit_nn as dn
    >>> x = np.random.default_rng(0).normal([0.0, 3.0], 1.0, (500, 2))
    >>> result = dn.check({"fc1": x}, max_kl=0.5, max_dead=0)
    >>> result.passed, result.violations[["rule", "layer", "unit"]].values.tolist()
    (False, [['max_kl', 'fc1', 1]])
    """
    given = {
        **{"max_kl": max_kl, "max_kl_shape": max_kl_shape, "max_dead": max_dead},
        **{"max_saturated": max_saturated, "max_heavy_tailed": max_heavy_tailed},
        **{"max_bimodal": max_bimodal, "max_far": max_far, "max_outlier": max_outlier},
        **{"max_kurtosis": max_kurtosis, "max_abs": max_abs, "max_nan": max_nan},
        **{"max_inf": max_inf, "max_zero": max_zero},
    }
    limits = _limits(given)
    policy = one_of(unmeasured, ("fail", "pass"), "unmeasured")
    if not isinstance(step, str):
        step = whole_number(step, "step")
    elif step not in ("last", "all"):
        raise InputError(f'step must be "last", "all" or a whole number, got {step!r}')
    findings = findings_of(source)
    units = _chosen(findings, layers, site, step)
    judged = [_judged(name, limit, units) for name, limit in limits.items()]
    bad = pd.concat([one.violations for one in judged], ignore_index=True)
    return CheckResult(
        findings.source,
        _worst_first(bad),
        pd.DataFrame([one.row for one in judged]),
        pd.concat([one.unmeasured for one in judged], ignore_index=True),
        policy,
    )


def _limits(given: dict[str, Any]) -> dict[str, float]:
    """Return the limits that are given, checked."""
    limits: dict[str, float] = {}
    for name, rule in RULES.items():
        limit = given[name]
        if limit is None:
            continue
        if name in ("max_nan", "max_inf"):
            limits[name] = whole_number(limit, name)
        else:
            limits[name] = number_between(limit, name, rule.least, rule.most)
    if not limits:
        raise InputError(f"at least one limit must be given, among {', '.join(RULES)}")
    return limits


def _chosen(findings: Findings, layers: Any, site: Any, step: str | int) -> pd.DataFrame:
    """Return the rows of the table of units that are to be checked, with the fits' order."""
    parts = [(recording.layer, recording.site, recording) for recording in findings.recordings]
    names = matching(layers, (layer for layer, _, _ in parts), "layers")
    sites = matching(site, (where for layer, where, _ in parts if layer in names), "site")
    parts = [part for part in parts if part[0] in names and part[1] in sites]
    last: dict[tuple[str, str], int] = {}
    for layer, where, recording in parts:
        last[layer, where] = max(recording.step, last.get((layer, where), recording.step))
    kept = [
        recording
        for layer, where, recording in parts
        if step == "all" or recording.step == (last[layer, where] if step == "last" else step)
    ]
    if not kept:
        steps = sorted({recording.step for _, _, recording in parts})
        listed = ", ".join(map(str, steps[:8])) + (", ..." if len(steps) > 8 else "")
        raise InputError(f"step must be one that was recorded, got {step}; there are {listed}")
    units = pd.concat([recording.units for recording in kept], ignore_index=True)
    return units.assign(order=findings.order)


class _Judged(NamedTuple):
    row: dict[str, Any]
    violations: pd.DataFrame
    unmeasured: pd.DataFrame


def _judged(name: str, limit: float, units: pd.DataFrame) -> _Judged:
    """Judge all units, or all layers, by one rule."""
    rule = RULES[name]
    figures = _figure(rule.column, units)
    unknown = np.isnan(figures if rule.needs is None else _figure(rule.needs, units))
    if rule.shape:
        unknown &= ~units["constant"].to_numpy(bool)
    by = _shares if rule.share else _units
    violations = by(units, figures, limit).assign(rule=name, limit=limit)[_VIOLATION]
    missing = units.loc[unknown, [*_PLACE, "unit"]].assign(rule=name)[_UNMEASURED]
    row = {
        "rule": name,
        "limit": limit,
        "words": rule.words,
        "recordings": len(units.groupby(_PLACE, sort=False)),
        "units": len(units),
        "unmeasured": int(unknown.sum()),
        "violations": len(violations),
    }
    return _Judged(row, violations, missing)


def _figure(column: str, units: pd.DataFrame) -> NDArray[np.float64]:
    """Return a column of the table of units, or what is made of some, as numbers."""
    if column == "kl":
        fitted, gaussian = (np.asarray(units[c], float) for c in ("kl_maxent", "kl_gaussian"))
        return np.where(np.isnan(fitted), gaussian, fitted)
    if column == "far_kl":  # of which the verdict is made, where there are values enough for one
        return np.where(units["n"] >= units["order"] + 2, _figure("kl", units), np.nan)
    if column == "max_abs":
        return np.maximum(*(np.abs(np.asarray(units[c], float)) for c in ("min", "max")))
    if column == "single":  # values, of which the verdict is made
        return np.where(units["sampled"] > 0, 1.0, np.nan)
    if column == "modality":  # a dip, unless what is there has no modes
        unseen = (units["shape"] == "undecided") & units["dip"].isna() | (units["shape"] == "empty")
        return np.where(unseen, np.nan, 1.0)
    return np.asarray(units[column], np.float64)


def _units(units: pd.DataFrame, figures: NDArray[np.float64], limit: float) -> pd.DataFrame:
    """Return the units whose figure is above the limit."""
    above = figures > limit
    table = units.loc[above, [*_PLACE, "unit"]].assign(value=figures[above])
    table["units"] = pd.Series([(unit,) for unit in table["unit"].tolist()], table.index, object)
    return table.astype({"unit": "Int64"})


def _shares(units: pd.DataFrame, figures: NDArray[np.float64], limit: float) -> pd.DataFrame:
    """Return the layers in which the share of such units is above the limit."""
    rows = []
    for place, group in units.groupby(_PLACE, sort=False):
        flagged = figures[group.index] > 0
        share = float(flagged.mean())
        if share > limit:
            offenders = tuple(group["unit"].to_numpy()[flagged].tolist())
            rows.append((*place, pd.NA, share, offenders))
    table = pd.DataFrame(rows, columns=[*_PLACE, "unit", "value", "units"])
    return table.astype({"unit": "Int64", "value": np.float64})


def _worst_first(violations: pd.DataFrame) -> pd.DataFrame:
    """Return violations by how many times their limit they are above it, then by their value."""
    value = np.asarray(violations["value"], np.float64)
    limit = np.asarray(violations["limit"], np.float64)
    with np.errstate(all="ignore"):
        excess = np.where(limit == 0, np.inf, (value - limit) / np.abs(limit))
    order = np.lexsort((-value, -excess))
    return violations.iloc[order].reset_index(drop=True)


def _json(value: Any) -> Any:
    return None if value is pd.NA else plain(value)
