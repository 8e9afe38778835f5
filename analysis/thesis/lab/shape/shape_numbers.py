"""What the runs of `shapes.watch` say together: shares of units, and pools, over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lab.training import spread

Levels = Sequence[Mapping[str, Any]]  # of one network, or the same level of several

VERDICTS = ("unimodal", "undecided", "bimodal")  # all others are told together
SIDES = ("pre", "post")
KL = ("location", "scale", "shape")


def over_seeds(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return for each mark what the networks, one a seed, have in common."""
    return [_mark(marks) for marks in zip(*runs, strict=True)]


def _mark(marks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    networks = [mark["levels"] for mark in marks]
    return {
        "seen": marks[0]["seen"],
        "accuracy": spread([mark["accuracy"] for mark in marks]),
        "all": units(networks),
        "levels": [
            {**units([[level] for level in same]), **_kl(same), "pool": _pools(same)}
            for same in zip(*networks, strict=True)
        ],
    }


def units(networks: Sequence[Levels]) -> dict[str, Any]:
    """Return shares of all units of each network, in %: mean, standard deviation, and each."""
    sides = sides_of(networks[0])

    def share(side: str, *names: str) -> dict[str, Any]:
        shares = []
        for levels in networks:
            counts = [level[side] for level in levels]
            for name in names:
                counts = [count.get(name, 0) for count in counts]
            shares.append(100 * sum(counts) / sum(level["pre"]["units"] for level in levels))
        return spread(shares)

    verdicts = {name: share("pre", "verdicts", name) for name in VERDICTS}
    others = [
        100 - sum(verdicts[name]["seeds"][seed] for name in VERDICTS)
        for seed in range(len(networks))
    ]
    return {
        "verdicts": {**verdicts, "other": spread(others)},
        "two_modes": share("pre", "two_modes"),
        "high_coefficient": share("pre", "high_coefficient"),
        "signature": {side: share(side, "signature") for side in sides},
    }


def sides_of(levels: Levels) -> tuple[str, ...]:
    """Return "pre" and, where there is a norm, "post"."""
    return tuple(side for side in SIDES if side in levels[0])


def _kl(same: Levels) -> dict[str, Any]:
    """Return the parts of the median unit's divergence, mean over seeds."""
    return {
        "kl": {side: mean_parts([level[side]["kl"] for level in same]) for side in sides_of(same)}
    }


def mean_parts(each: Sequence[Mapping[str, Any]], names: Sequence[str] = KL) -> dict[str, Any]:
    """Return the mean of each part over those where it is known; None where it never is."""
    known = {name: [one[name] for one in each if one[name] is not None] for name in names}
    return {name: statistics.fmean(found) if found else None for name, found in known.items()}


def _pools(same: Levels) -> dict[str, Any]:
    found = {}
    for side in sides_of(same):
        pools = [level[side]["pool"] for level in same]
        found[side] = {
            "pools": len(pools),
            "bimodal": sum(pool["verdict"] == "bimodal" for pool in pools),
            "signature": sum(pool["signature"] for pool in pools),
            "dip": spread([pool["dip"] for pool in pools]),
            "skewness": spread([pool["skewness"]["total"] for pool in pools]),
            "kurtosis": spread([pool["kurtosis"]["total"] for pool in pools]),
            "highest_mode": spread([pool["highest_mode"] for pool in pools]),
            "kl": mean_parts([pool["kl"] for pool in pools]),
        }
    return found


def affine(networks: Sequence[Levels]) -> dict[str, Any]:
    """Return over all units how far anything that no affine map changes differs after the norm."""
    every = [level["affine"] for levels in networks for level in levels if "affine" in level]
    largest = {
        name: max((one[name] or 0.0 for one in every), default=0.0)
        for name in ("dip", "skewness", "kl_shape")
    }
    counts = {name: sum(one[name] for one in every) for name in ("units", "verdicts")}
    return {**counts, **largest}


def coefficient(networks: Sequence[Levels]) -> dict[str, Any]:
    """Return how many units have a bimodality coefficient above 5/9, and what the dip says."""
    sums = {
        name: sum(level["pre"][name] for levels in networks for level in levels)
        for name in ("units", "high_coefficient", "high_coefficient_bimodal")
    }
    high, both = sums["high_coefficient"], sums["high_coefficient_bimodal"]
    bimodal = sum(
        level["pre"]["verdicts"].get("bimodal", 0) for levels in networks for level in levels
    )
    return {
        **sums,
        "bimodal": bimodal,
        "not_bimodal_percent": 100 * (high - both) / high if high else 0.0,
        "missed_percent": 100 * (bimodal - both) / bimodal if bimodal else 0.0,
    }


def points(networks: Sequence[Levels]) -> dict[str, list[Any]]:
    """Return skewness, coefficient and verdict of every unit that has them."""
    found: dict[str, list[Any]] = {"skewness": [], "coefficient": [], "verdict": []}
    for levels in networks:
        for level in levels:
            each = level["pre"]["each"]
            for skewness, value, verdict in zip(
                each["skewness"], each["bimodality_coefficient"], each["verdict"], strict=True
            ):
                if skewness is not None and value is not None:
                    found["skewness"].append(float(f"{skewness:.3g}"))
                    found["coefficient"].append(float(f"{value:.3g}"))
                    found["verdict"].append(verdict)
    return found


def pool_counts(marks: Sequence[Mapping[str, Any]], side: str = "post") -> dict[str, int]:
    """Return how many pools there are on one side at these marks, bimodal ones, and the thesis'."""
    every = [level["pool"][side] for mark in marks for level in mark["levels"]]
    return {name: sum(one[name] for one in every) for name in ("pools", "bimodal", "signature")}
