"""What the learnable maps do, beside what the slides and the blog say of them."""

from __future__ import annotations

from typing import Any

from lab.comparison import PANELS
from lab.findings import Finding
from lab.maps.shifts import FIXED

BOTH = {"at": "thesis_rate", "best": "best_rate"}
NEARLY = 2.0  # points of accuracy behind batch norm
WIDE = (50.0, 200.0)  # ends of the values that count as "-100 to 100"
CENTRED = 0.5  # of a standard deviation


def all_of(numbers: dict[str, Any]) -> list[Finding]:
    """Return the findings of maps.py."""
    return [make(numbers) for make in (differentiability, gain, shape, learning, ranges)]


def differentiability(numbers: dict[str, Any]) -> Finding:
    """Return whether the maps are twice differentiable, and whether it matters."""
    zero = numbers["at_zero"]
    smooth = all(
        zero[layer]["1"]["limits"]["right"] == zero[layer]["1"]["limits"]["left"] for layer in FIXED
    )
    return Finding(
        claim="The maps are steep around 0, flatter farther out and at least twice differentiable.",
        source="slides, Learnable Transformations",
        holds=smooth,
        condition="away from 0; at 0 only with exponents above 2, and then they are flat there",
        text=(
            "Slope at 0 and second derivative to the left and to the right of it, sqrt-shift with "
            "a = 20: {s1} and {l1}, {r1} for the exponent 1 it starts with; {s05} and {l05}, {r05} "
            "for 0.5; {s2} and {l2}, {r2} for 2; {s3} and {l3}, {r3} for 3. For the log-shift with "
            "a, b = 3, 5 and an exponent of 1: {s} and {l}, {r}. Training by first derivatives "
            "asks for no second one, and does not avoid the kink: of the sqrt-shifts learned at "
            ".007, the third layer has {below:.0%} with an exponent below 1, which makes the slope "
            "at 0 infinite (exponents from 5% to 95%: {low:.3f} to {high:.3f})."
        ),
        numbers={
            **{
                f"{name[0]}{word}": f"at_zero/SqrtShift/{key}/limits/{name}"
                for word, key in (("05", "0.5"), ("1", "1"), ("2", "2"), ("3", "3"))
                for name in ("slope", "left", "right")
            },
            **{name[0]: f"at_zero/LogShift/1/limits/{name}" for name in ("slope", "left", "right")},
            "below": "learned/thesis_rate/SqrtShift/parameters/-1/exponent_below_1",
            "low": "learned/thesis_rate/SqrtShift/parameters/-1/b/low",
            "high": "learned/thesis_rate/SqrtShift/parameters/-1/b/high",
        },
        figure="maps",
    )


def _means(layers: dict[str, str]) -> dict[str, str]:
    """Return paths to the mean accuracy of layers, at .007 and at the best rates."""
    return {
        f"{short}_{word}": f"{panel}/{layer}/mean"
        for short, panel in BOTH.items()
        for word, layer in layers.items()
    }


def gain(numbers: dict[str, Any]) -> Finding:
    """Return whether a large gain at the start is needed."""

    def needed(panel: str) -> bool:
        norm = numbers[panel]["BatchNorm"]["mean"] - NEARLY
        return all(
            numbers[panel][f"{layer}, gain 1"]["mean"] < norm <= numbers[panel][layer]["mean"]
            for layer in FIXED
        )

    return Finding(
        claim="Log-shift and sqrt-shift train nearly as well as batch norm, but only if their gain "
        "is large at the start.",
        source="ours",
        holds=all(needed(panel) for panel in PANELS),
        condition="at a rate of .007" if needed("thesis_rate") else "",
        text=(
            "Test accuracy after {mark:,} samples at .007: none {at_none:.1f}%, batch norm "
            "{at_norm:.1f}%; log-shift {at_log1:.1f}% with a = b = c = 1 and {at_log:.1f}% with "
            "3, 5, 1; sqrt-shift {at_sqrt1:.1f}% with a = b = 1 and {at_sqrt:.1f}% with 20, 1. "
            "Each at its best rate: {best_none:.1f}%, {best_norm:.1f}%; {best_log1:.1f}% and "
            "{best_log:.1f}%; {best_sqrt1:.1f}% and {best_sqrt:.1f}%. Nearly as well is to mean: "
            f"at most {NEARLY:g} points behind."
        ),
        numbers={
            "mark": "mark",
            **_means(
                {
                    "none": "Regular",
                    "norm": "BatchNorm",
                    "log1": "LogShift, gain 1",
                    "log": "LogShift",
                    "sqrt1": "SqrtShift, gain 1",
                    "sqrt": "SqrtShift",
                }
            ),
        },
        figure="maps_starts",
    )


def shape(numbers: dict[str, Any]) -> Finding:
    """Return whether the shape of the maps does what a gain alone does not."""
    ahead = {
        panel: [
            layer
            for layer in FIXED
            if numbers["gaps"][panel][layer]["over the line"]["verdict"] == "ahead"
        ]
        for panel in PANELS
    }
    words = {"thesis_rate": "at a rate of .007", "best_rate": "at the best rates"}
    return Finding(
        claim="It is their shape, steep around 0 and flatter farther out, by which these maps "
        "speed up training.",
        source="slides, Learnable Transformations",
        holds=all(len(layers) == len(FIXED) for layers in ahead.values()),
        condition="; ".join(
            f"for {' and '.join(layers)} {words[panel]}"
            for panel, layers in ahead.items()
            if layers
        ),
        text=(
            "A learned line y = w x + c for each feature has no shape. Started with the best of "
            "the gains tried it reaches a test accuracy of {at_line:.1f}% after {mark:,} samples "
            "at .007, the log-shift {at_log:.1f}%, the sqrt-shift {at_sqrt:.1f}%, no layer "
            "{at_none:.1f}%; at the best rates {best_line:.1f}%, {best_log:.1f}%, "
            "{best_sqrt:.1f}% and {best_none:.1f}%. The two peaks are there: of the units of the "
            "third layer {before:.0%} have them before a sqrt-shift trained at .007, {after:.0%} "
            "behind it (dip test, corrected for their number), behind batch norm {norm:.0%}. The "
            "claim holds where a map is ahead of the line in a paired 99% interval over seeds."
        ),
        numbers={
            "mark": "mark",
            **{
                word: f"learned/thesis_rate/{layer}/third/{side}/bimodal_units/mean"
                for word, layer, side in (
                    ("before", "SqrtShift", "before"),
                    ("after", "SqrtShift", "after"),
                    ("norm", "BatchNorm", "after"),
                )
            },
            **_means(
                {
                    "line": "best line",
                    "log": "LogShift",
                    "sqrt": "SqrtShift",
                    "none": "Regular",
                }
            ),
        },
        figure="maps_starts",
    )


def learning(numbers: dict[str, Any]) -> Finding:
    """Return whether it matters that the maps are learned."""
    gaps = numbers["gaps"]
    ahead = {
        panel: all(gaps[panel][layer]["over fixed"]["verdict"] == "ahead" for layer in FIXED)
        for panel in PANELS
    }
    return Finding(
        claim="That the maps are learned enables them to change, and to train better.",
        source="blog",
        holds=all(ahead.values()),
        condition="at a rate of .007"
        if ahead["thesis_rate"]
        else "at the best rates"
        if ahead["best_rate"]
        else "",
        text=(
            "Test accuracy after {mark:,} samples, gains and exponents fixed against learned: at "
            ".007 log-shift {at_logf:.2f}% and {at_log:.2f}%, sqrt-shift {at_sqrtf:.2f}% and "
            "{at_sqrt:.2f}%; at the best rates {best_logf:.2f}% and {best_log:.2f}%, "
            "{best_sqrtf:.2f}% and {best_sqrt:.2f}%. The learned sqrt-shifts of the third layer "
            "have moved from a gain of {start:g} to a median of {median:.1f} (5% to 95%: "
            "{low:.1f} to {high:.1f}) at {rate:g}. The claim holds where both maps are ahead in "
            "paired 99% intervals over seeds."
        ),
        numbers={
            "mark": "mark",
            **_means(
                {
                    "logf": FIXED["LogShift"],
                    "log": "LogShift",
                    "sqrtf": FIXED["SqrtShift"],
                    "sqrt": "SqrtShift",
                }
            ),
            "rate": "learned/best_rate/SqrtShift/rate",
            **{
                name: f"learned/best_rate/SqrtShift/parameters/-1/a/{name}"
                for name in ("start", "median", "low", "high")
            },
        },
        figure="maps_learned",
    )


def ranges(numbers: dict[str, Any]) -> Finding:
    """Return how far the values behind a sqrt-shift reach, and how they are before it."""

    def seen(panel: str) -> bool:
        found = numbers["learned"][panel]["SqrtShift"]["third"]
        before = found["before"]
        centred = before["offset"]["mean"] <= CENTRED
        return (
            WIDE[0] <= found["after"]["reach"]["mean"] <= WIDE[1]
            and centred
            and before["one_peak"] == len(before["offset"]["seeds"])
        )

    found = {panel: seen(panel) for panel in PANELS}
    words = {"thesis_rate": "at a rate of .007", "best_rate": "at the best rate"}
    path = "learned/{}/{}/third/{}/{}/mean".format
    return Finding(
        claim="Before the sqrt-shift of the third layer the values are roughly centred with a "
        "single peak; behind it they range from -100 to 100, unlike those of batch norm.",
        source="blog",
        holds=all(found.values()),
        condition=next((words[panel] for panel, holds in found.items() if holds), ""),
        text=(
            "All units of the third layer together, after the last mark, means over seeds, at .007 "
            "and at the best rate of {rate:g}: before it the mean is {off_at:.2f} and "
            "{off_best:.2f} standard deviations from 0, with a single peak by the dip in {one_at} "
            "and {one_best} of {seeds} runs; behind it the values range from {min_at:.0f} to "
            "{max_at:.0f} and from {min_best:.0f} to {max_best:.0f}, behind batch norm from "
            "{norm_min_at:.0f} to {norm_max_at:.0f} and from {norm_min_best:.0f} to "
            "{norm_max_best:.0f}. The claim is taken to hold where they reach "
            f"{WIDE[0]:g} to {WIDE[1]:g}, with a mean within {CENTRED:g} deviations and a single "
            "peak in all runs before."
        ),
        numbers={
            "rate": "learned/best_rate/SqrtShift/rate",
            "seeds": "seeds",
            **{
                key: path(panel, layer, side, measure)
                for short, panel in BOTH.items()
                for key, layer, side, measure in (
                    (f"off_{short}", "SqrtShift", "before", "offset"),
                    (f"min_{short}", "SqrtShift", "after", "min"),
                    (f"max_{short}", "SqrtShift", "after", "max"),
                    (f"norm_min_{short}", "BatchNorm", "after", "min"),
                    (f"norm_max_{short}", "BatchNorm", "after", "max"),
                )
            },
            **{
                f"one_{short}": f"learned/{panel}/SqrtShift/third/before/one_peak"
                for short, panel in BOTH.items()
            },
        },
        figure="maps_values",
    )
