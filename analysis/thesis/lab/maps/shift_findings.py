"""What the learnable maps do, beside what the slides and the blog say of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.comparison import PANELS
from lab.findings import Finding
from lab.maps.shifts import FIXED

BOTH = {"at": "thesis_rate", "best": "best_rate"}
NEARLY = 2.0  # points of accuracy behind batch norm
MOST = 0.5  # of the units
OVER_LINE = "best over best line"
WORDS = {"log": "LogShift", "sqrt": "SqrtShift"}
FAMILIES = {**WORDS, "line": "Line"}


def all_of(numbers: dict[str, Any]) -> list[Finding]:
    """Return the findings of maps.py."""
    made = (differentiability, gain, shape, peaks, learning)
    return [*(make(numbers) for make in made), ranges()]


def told(cases: dict[tuple[str, str], bool]) -> str:
    """Return in words for which maps, and at which rates, a claim holds."""
    parts = []
    for panel, words in (("thesis_rate", "at a rate of .007"), ("best_rate", "at the best rates")):
        layers = [layer for layer in FIXED if cases[panel, layer]]
        if layers:
            parts.append(f"for {' and '.join(layers)} {words}")
    return "; ".join(parts)


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


def _gaps(name: str, panels: Mapping[str, str] = BOTH) -> dict[str, str]:
    """Return paths to mean and ends of a difference, for both maps."""
    return {
        f"{short}_{word}_{end}": f"gaps/{panel}/{layer}/{name}/{end}"
        for short, panel in panels.items()
        for word, layer in WORDS.items()
        for end in ("mean", "low", "high")
    }


def gain(numbers: dict[str, Any]) -> Finding:
    """Return whether a large gain at the start is needed."""

    def needed(panel: str) -> bool:
        norm = numbers[panel]["BatchNorm"]["mean"] - NEARLY
        return all(
            numbers[panel][f"{layer}, gain 1"]["mean"] < norm <= numbers[panel][layer]["mean"]
            for layer in FIXED
        )

    best = numbers["gaps"]["best_rate"]
    small_is_better = all(best[layer]["over gain 1"]["verdict"] == "behind" for layer in FIXED)
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
            "{best_log:.1f}%; {best_sqrt1:.1f}% and {best_sqrt:.1f}%. "
            + ("There a small gain is better than the large one. " if small_is_better else "")
            + "At the best rates the large gain less the small one is {best_log_mean:+.1f} points "
            "for the log-shift (99% interval {best_log_low:+.1f} to {best_log_high:+.1f}) and "
            "{best_sqrt_mean:+.1f} for the sqrt-shift ({best_sqrt_low:+.1f} to "
            "{best_sqrt_high:+.1f}). Nearly as well is to mean: "
            f"at most {NEARLY:g} points behind."
        ),
        numbers={
            "mark": "mark",
            **_gaps("over gain 1", {"best": "best_rate"}),
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
    verdicts = {
        (panel, layer): numbers["gaps"][panel][layer][OVER_LINE]["verdict"]
        for panel in PANELS
        for layer in FIXED
    }
    ahead = {case: verdict == "ahead" for case, verdict in verdicts.items()}
    found = set(verdicts.values())
    return Finding(
        claim="It is their shape, steep around 0 and flatter farther out, by which these maps "
        "speed up training.",
        source="slides, Learnable Transformations",
        holds=None if found == {"tie"} else found == {"ahead"},
        condition=told(ahead),
        text=(
            "A learned line y = w x + c for each feature has no shape. Line and maps each start "
            "with the best of the gains tried, by accuracy on images held back. Test accuracy "
            "after {mark:,} samples at .007: line {at_line:.1f}% (gain {at_line_gain}), log-shift "
            "{at_log:.1f}% ({at_log_gain}), sqrt-shift {at_sqrt:.1f}% ({at_sqrt_gain}), no layer "
            "{at_none:.1f}%; log-shift less line {at_log_mean:+.1f} points (99% interval "
            "{at_log_low:+.1f} to {at_log_high:+.1f}), sqrt-shift less line {at_sqrt_mean:+.1f} "
            "({at_sqrt_low:+.1f} to {at_sqrt_high:+.1f}). At the best rates: line "
            "{best_line:.1f}% ({best_line_gain}), log-shift {best_log:.1f}% ({best_log_gain}), "
            "sqrt-shift {best_sqrt:.1f}% ({best_sqrt_gain}), no layer {best_none:.1f}%; "
            "{best_log_mean:+.1f} ({best_log_low:+.1f} to {best_log_high:+.1f}) and "
            "{best_sqrt_mean:+.1f} ({best_sqrt_low:+.1f} to {best_sqrt_high:+.1f}). "
            + ("So the maps are no better than a line. " if "ahead" not in found else "")
            + "The claim holds where a map is ahead in a paired 99% interval over seeds."
        ),
        numbers={
            "mark": "mark",
            **_gaps(OVER_LINE),
            **_means({word: f"best {family}" for word, family in FAMILIES.items()}),
            **_means({"none": "Regular"}),
            **{
                f"{short}_{word}_gain": f"{panel}/best {family}/gain"
                for short, panel in BOTH.items()
                for word, family in FAMILIES.items()
            },
        },
        figure="maps_starts",
    )


def peaks(numbers: dict[str, Any]) -> Finding:
    """Return whether the maps make two peaks of one."""

    def made(panel: str, layer: str) -> bool:
        """Most units have two peaks behind the map, and did not have them before it."""
        third = numbers["learned"][panel][layer]["third"]
        before, after = (third[side]["bimodal_units"]["mean"] for side in ("before", "after"))
        return before < MOST < after

    cases = {(panel, layer): made(panel, layer) for panel in PANELS for layer in FIXED}
    return Finding(
        claim="The learnable maps give what follows them the shape with two peaks.",
        source="slides, Learnable Transformations",
        holds=all(cases.values()),
        condition=told(cases),
        text=(
            "Units of the third layer with two peaks, before and behind it, after {mark:,} samples "
            "at .007: log-shift {at_log_before:.0%} and {at_log_after:.0%}, sqrt-shift "
            "{at_sqrt_before:.0%} and {at_sqrt_after:.0%}, batch norm {at_norm_before:.0%} and "
            "{at_norm_after:.0%}; at the best rates {best_log_before:.0%} and "
            "{best_log_after:.0%}, {best_sqrt_before:.0%} and {best_sqrt_after:.0%}, "
            "{best_norm_before:.0%} and {best_norm_after:.0%}. Means over seeds, by the dip test, "
            "corrected for the number of units. The claim holds where most units have two peaks "
            "behind the map, and most do not before it."
        ),
        numbers={
            "mark": "marks/-1",
            **{
                f"{short}_{word}_{side}": f"learned/{panel}/{layer}/third/{side}/bimodal_units/mean"
                for short, panel in BOTH.items()
                for word, layer in {**WORDS, "norm": "BatchNorm"}.items()
                for side in ("before", "after")
            },
        },
        figure="maps_values",
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


def ranges() -> Finding:
    """Return how far the values behind a sqrt-shift reach, and how they are before it."""
    path = "learned/{}/{}/third/{}/{}/mean".format
    return Finding(
        claim="Before the sqrt-shift of the third layer the values are roughly centred with a "
        "single peak; behind it they range from -100 to 100, unlike those of batch norm.",
        source="blog",
        holds=None,
        text=(
            "The range is not reproduced with our start. All units of the third layer together, "
            "after the last mark, means over seeds, at .007 and at the best rate of {rate:g}: "
            "behind the sqrt-shift the values range from {min_at:.0f} to {max_at:.0f} and from "
            "{min_best:.0f} to {max_best:.0f}, behind batch norm from {norm_min_at:.0f} to "
            "{norm_max_at:.0f} and from {norm_min_best:.0f} to {norm_max_best:.0f}. Before the "
            "sqrt-shift the mean is {off_at:.2f} and {off_best:.2f} standard deviations from 0, "
            "with a single peak by the dip in {one_at} and {one_best} of {seeds} runs. But the "
            "start sets the range: the gain is {start:g} at the start and has a median of "
            "{median_at:.1f} and {median_best:.1f} at the end. The blog names no start, so that "
            "this decides nothing."
        ),
        numbers={
            "rate": "learned/best_rate/SqrtShift/rate",
            "seeds": "seeds",
            "start": "learned/thesis_rate/SqrtShift/parameters/-1/a/start",
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
                f"{word}_{short}": f"learned/{panel}/SqrtShift/{rest}"
                for short, panel in BOTH.items()
                for word, rest in (
                    ("one", "third/before/one_peak"),
                    ("median", "parameters/-1/a/median"),
                )
            },
        },
        figure="maps_values",
    )
