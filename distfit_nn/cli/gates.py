"""Commands that pass or fail: check, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from distfit_nn.cli.analysing import Work, analysed
from distfit_nn.cli.console import CHECK_COLUMNS, ascii_json, one_line, print_out, print_table, say
from distfit_nn.cli.options import (
    MEMORY_LIMIT,
    AsJson,
    Layers,
    Mask,
    MemoryLimit,
    Order,
    Quiet,
    Site,
    Source,
    Store,
    UnitAxis,
)
from distfit_nn.cli.progress import counted, size
from distfit_nn.errors import InputError

if TYPE_CHECKING:
    from distfit_nn.gate import CheckResult

FAILED = 1


def _limit(help: str) -> Any:
    return typer.Option(help=help, metavar="LIMIT")


MaxKl = Annotated[float | None, _limit("KL of a unit from N(0,1), nat.")]
MaxKlShape = Annotated[float | None, _limit("The part of it that is shape, nat.")]
MaxOutlier = Annotated[float | None, _limit("Largest magnitude of a unit over the median unit's.")]
MaxKurtosis = Annotated[float | None, _limit("Excess kurtosis of a unit.")]
MaxAbs = Annotated[float | None, _limit("Largest magnitude of a unit.")]
MaxZero = Annotated[float | None, _limit("Share of zeros in a unit, 0 to 1.")]
MaxNan = Annotated[int | None, _limit("NaN values of a unit.")]
MaxInf = Annotated[int | None, _limit("Infinite values of a unit.")]
MaxDead = Annotated[float | None, _limit("Share of dead units in a layer, 0 to 1.")]
MaxSaturated = Annotated[float | None, _limit("Share of saturated units in a layer.")]
MaxHeavyTailed = Annotated[float | None, _limit("Share of heavy-tailed units in a layer.")]
MaxBimodal = Annotated[float | None, _limit("Share of bimodal units in a layer.")]
MaxFar = Annotated[float | None, _limit("Share of units of a layer that are far from N(0,1).")]
Step = Annotated[str, typer.Option(metavar="STEP", help="last, all, or a number.")]
Unmeasured = Annotated[
    Literal["fail", "pass"],
    typer.Option(help="What units count as for which a limit has no figure."),
]


def check(
    source: Source,
    max_kl: MaxKl = None,
    max_kl_shape: MaxKlShape = None,
    max_outlier: MaxOutlier = None,
    max_kurtosis: MaxKurtosis = None,
    max_abs: MaxAbs = None,
    max_zero: MaxZero = None,
    max_nan: MaxNan = None,
    max_inf: MaxInf = None,
    max_dead: MaxDead = None,
    max_saturated: MaxSaturated = None,
    max_heavy_tailed: MaxHeavyTailed = None,
    max_bimodal: MaxBimodal = None,
    max_far: MaxFar = None,
    layers: Layers = None,
    site: Site = None,
    step: Step = "last",
    unmeasured: Unmeasured = "fail",
    order: Order = 6,
    unit_axis: UnitAxis = None,
    mask: Mask = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check units against limits; exit with 1 if any is beyond.

    Prints what is beyond its limit, worst first, and what was checked. At least one limit must be
    given, here or in [tool.distfit_nn.check] of a pyproject.toml.

    \b
    Example:
      distfit-nn check run/ --max-kl 0.5 --max-dead 0.1 --max-outlier 20
    """
    from distfit_nn import gate

    limits: dict[str, Any] = {
        **{"max_kl": max_kl, "max_kl_shape": max_kl_shape, "max_outlier": max_outlier},
        **{"max_kurtosis": max_kurtosis, "max_abs": max_abs, "max_zero": max_zero},
        **{"max_nan": max_nan, "max_inf": max_inf, "max_dead": max_dead, "max_far": max_far},
        **{"max_saturated": max_saturated, "max_heavy_tailed": max_heavy_tailed},
        "max_bimodal": max_bimodal,
    }
    if all(limit is None for limit in limits.values()):
        raise InputError("a limit is missing, as --max-kl 0.5 (see distfit-nn check --help)")
    analysis = analysed(source, Work(order, unit_axis, memory_limit, mask=mask), quiet)
    result = gate.check(
        analysis,
        **limits,
        layers=layers,
        site=site,
        step=int(step) if step.isdecimal() else step,
        unmeasured=unmeasured,
    )
    if as_json:
        print_out(ascii_json(result.to_dict()))
    else:
        _print_check(result)
    if not result.passed:
        raise typer.Exit(FAILED)


def _print_check(result: CheckResult) -> None:
    """Print what is beyond its limit, then what was checked."""
    if not result.violations.empty:
        units = [", ".join(map(str, numbers)) for numbers in result.violations["units"]]
        print_table(result.violations.assign(units=units), CHECK_COLUMNS)
    for row in result.checked.to_dict(orient="records"):
        bad, missing = row["violations"], row["unmeasured"]
        found = f"{bad} beyond" if bad else "all within"
        unknown = f", {missing} units without a figure" if missing else ""
        print_out(
            f"{_option(row['rule'])} {row['limit']:g} ({row['words']}): {row['units']} units of "
            f"{counted(row['recordings'], 'recording')}, {found}{unknown}"
        )
    print_out("passed" if result.passed else "failed")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def verify(store: Store, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Check every checksum of a store; exit with 1 if it is damaged.

    \b
    Example:
      distfit-nn verify run/
    """
    from distfit_nn.capture.verify import verify as verify_store

    found = verify_store(store)
    if as_json:
        content = {
            "format": "distfit_nn.verification",
            "version": 1,
            "store": str(store),
            "ok": found.ok,
            "problems": list(found.problems),
            "strays": list(found.strays),
            "unchecked": list(found.unchecked),
            "shards": found.shards,
            "entries": found.entries,
            "bytes": found.bytes,
        }
        print_out(ascii_json(content))
    else:
        for problem in found.problems:
            print_out(one_line(problem))
        for stray in () if quiet else found.strays:
            say(f"{stray}: is no part of the store (harmless)")
        word = "whole" if found.ok else f"damaged, {counted(len(found.problems), 'problem')}"
        amount = f"{counted(found.entries, 'tensor')} in {counted(found.shards, 'shard')}"
        print_out(one_line(f"{store}: {word} ({amount}, {size(found.bytes)})"))
    if not found.ok:
        raise typer.Exit(FAILED)
