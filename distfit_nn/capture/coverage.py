"""Was all recorded that was asked for? What never fired is an error, never silence."""

from __future__ import annotations

import warnings

from distfit_nn.capture.sites import Plan
from distfit_nn.errors import SiteError


class Coverage:
    """Note what is recorded, and tell at the end what was not.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self._expected = plan.expected
        self._seen: dict[str, set[str]] = {word: set() for word in plan.wanted}
        self._skipped: dict[str, str] = {}

    @property
    def reasons(self) -> dict[str, str]:
        """For each layer that was reached but cannot be recorded: why."""
        return dict(self._skipped)

    def saw(self, word: str, layer: str) -> None:
        """Note that a layer was recorded which `word` asks for."""
        self._seen[word].add(layer)

    def skipped(self, layer: str, reason: str) -> None:
        """Note why a tensor was not recorded."""
        self._skipped[layer] = reason

    def idle(self, word: str) -> list[str]:
        """Return the layers that `word` expects and that recorded nothing."""
        return [layer for layer in self._expected.get(word, ()) if layer not in self._seen[word]]

    def finish(
        self, passes: int, unused_mask: tuple[int, ...] | None, missing: str, *, stacklevel: int
    ) -> None:
        """Raise `SiteError` for what was asked for and never recorded.

        Parameters
        ----------
        passes : int
            Forward passes that ran.
        unused_mask : tuple of int or None
            Shape of a mask that no tensor had.
        missing : {"error", "warn"}
            What to do about single layers.
        stacklevel : int
            Of a warning.
        """
        if passes == 0:
            raise SiteError("no forward pass of the model ran in the with-block")
        for word, seen in self._seen.items():
            if not seen:
                raise SiteError(f"{word!r} was asked for but nothing was recorded{self._why()}")
        if unused_mask is not None:
            raise SiteError(
                f"a mask of shape {unused_mask} was set, but the rows of no recorded tensor have "
                "it: nothing was masked"
            )
        for word, layers in self._expected.items():
            idle = self.idle(word)
            if not idle:
                continue
            problem = (
                f"{word!r} has {len(layers)} layers, of which {len(idle)} recorded nothing: "
                f"{', '.join(idle[:5])}{', ...' if idle[5:] else ''}{self._why()}"
            )
            if missing == "error":
                raise SiteError(f'{problem} (missing="warn" makes this a warning)')
            warnings.warn(problem, stacklevel=stacklevel)

    def _why(self) -> str:
        reasons = [f"{layer!r}: {reason}" for layer, reason in self._skipped.items()]
        return f" (not recorded: {'; '.join(reasons[:5])})" if reasons else ""
