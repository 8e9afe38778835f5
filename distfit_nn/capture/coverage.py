"""Was all recorded that was asked for? What never fired is an error, never silence."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass, field

from distfit_nn._writers import plural
from distfit_nn.capture.sites import Plan
from distfit_nn.capture.tensors import SINGLE
from distfit_nn.errors import SiteError


class Coverage:
    """Note what is recorded, and tell at the end what was not.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._seen: dict[str, set[str]] = {word: set() for word in plan.wanted}
        self._skipped: dict[str, str] = {}
        # Parameters are recorded once a step, not in every pass.
        parameters = {word for words in plan.weights.values() for word in words}
        self._gaps = {word: _Gap() for word in plan.wanted if word not in parameters}
        self._passes = 0
        self.begin_pass()

    @property
    def reasons(self) -> dict[str, str]:
        """For each layer that was reached but cannot be recorded: why."""
        return dict(self._skipped)

    def begin_pass(self) -> None:
        """Note that a pass begins that is to be recorded."""
        self._now: set[str] = set()
        self._refused: dict[str, str] = {}

    def end_pass(self, step: int) -> None:
        """Note that it has ended, and what it did not record."""
        self._passes += 1
        for word, gap in self._gaps.items():
            if word not in self._now:
                gap.add(step, self._refused)

    def saw(self, word: str, layer: str) -> None:
        """Note that a layer was recorded which `word` asks for."""
        self._seen[word].add(layer)
        self._now.add(word)

    def skipped(self, layer: str, reason: str) -> None:
        """Note why a tensor was not recorded."""
        self._skipped[layer] = self._refused[layer] = reason

    def idle(self, word: str) -> list[str]:
        """Return the layers that `word` expects and that recorded nothing."""
        seen = self._seen[word]
        idle = [layer for layer in self._plan.expected.get(word, ()) if layer not in seen]
        if word != "pre_activation":
            return idle
        return [layer for layer in idle if self._function_of(layer) not in seen]

    def _function_of(self, layer: str) -> str:
        """Return the layer of an activation module if its owner calls the function itself."""
        owner, dot, _ = layer.rpartition(".")
        return f"{owner}{dot}{self._plan.activation_modules.get(layer)}"

    def finish(
        self,
        passes: int,
        unused_mask: tuple[int, ...] | None,
        missing: str,
        alone: Collection[str] = (),
        *,
        stacklevel: int,
    ) -> None:
        """Raise `SiteError` for what was asked for and never recorded; warn of single passes.

        Parameters
        ----------
        passes : int
            Forward passes that ran.
        unused_mask : tuple of int or None
            Shape of a mask that no tensor had.
        missing : {"error", "warn"}
            What to do about single layers; of those that a pattern found it is a warning anyway.
        alone : collection of str
            Layers that ran outside of the passes.
        stacklevel : int
            Of a warning.
        """
        outside = _outside(alone)
        if passes == 0:
            told = f"; {outside}" if outside else ""
            raise SiteError(f"no forward pass of the model ran in the with-block{told}")
        for problem in [*self._broken(), *([outside] if outside else [])]:
            warnings.warn(problem, stacklevel=stacklevel)
        for word, seen in self._seen.items():
            if not seen:
                raise SiteError(
                    f"{word!r} was asked for but nothing was recorded{_reasons(self._skipped)}"
                )
        if unused_mask is not None:
            raise SiteError(
                f"a mask of shape {unused_mask} was set, but the rows of no recorded tensor have "
                "it: nothing was masked"
            )
        for word, layers in self._plan.expected.items():
            idle = self.idle(word)
            if not idle:
                continue
            problem = (
                f"{word!r} has {len(layers)} layers, of which {len(idle)} recorded nothing: "
                f"{', '.join(idle[:5])}{', ...' if idle[5:] else ''}"
                f"{_reasons({name: why for name, why in self._skipped.items() if name in idle})}"
            )
            if missing == "error" and word not in self._plan.patterns:
                raise SiteError(f'{problem} (missing="warn" makes this a warning)')
            warnings.warn(problem, stacklevel=stacklevel)

    def _broken(self) -> list[str]:
        """Return a line for each word that some passes recorded and others did not, and for layers
        that nobody could expect, of functions, whose tensors could not be recorded.
        """
        known = set().union(*self._seen.values(), *self._plan.expected.values())
        lost = {
            layer: reason
            for layer, reason in self._skipped.items()
            if layer not in known and reason != SINGLE  # gates and temperatures are no activations
        }
        ran = plural(len(lost), "layer")
        told = [f"{ran} that ran recorded nothing{_reasons(lost)}"] if lost else []
        return told + [
            f"{word!r} recorded nothing in {gap.passes} of {self._passes} passes, first at step "
            f"{gap.step}{_reasons(gap.refused)}"
            for word, gap in self._gaps.items()
            if gap.passes and self._seen[word]
        ]


@dataclass
class _Gap:
    """Passes in which something recorded nothing, and the first of them."""

    passes: int = 0
    step: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def add(self, step: int, refused: dict[str, str]) -> None:
        if not self.passes:
            self.step, self.refused = step, dict(refused)
        self.passes += 1


def _reasons(skipped: dict[str, str]) -> str:
    reasons = [f"{layer!r}: {reason}" for layer, reason in skipped.items()]
    return f" (not recorded: {'; '.join(reasons[:5])})" if reasons else ""


def _outside(alone: Collection[str]) -> str:
    if not alone:
        return ""
    some = ", ".join(map(repr, list(alone)[:3]))
    return (
        f"modules of the model ran outside a call of the model itself ({some}"
        f"{', ...' if len(alone) > 3 else ''}): model.forward(x), or a part called alone, is not "
        "recorded: call the model"
    )
