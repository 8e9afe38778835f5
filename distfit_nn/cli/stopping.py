"""An end in good order: SIGINT (Ctrl-C) and SIGTERM while something is written."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from distfit_nn.cli.console import say

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal ended the work; no `Exception`, so that nobody's code takes it for an error.

    Attributes
    ----------
    code : int
        The exit code: 128 and the signal's number.
    """

    def __init__(self, number: int, text: str = "interrupted") -> None:
        super().__init__(text)
        self.number, self.code = number, 128 + number


class Stopping:
    """Raises `Interrupted` when a signal comes; within `hold` only where `each` waits or passes on.

    A second signal is not held up.
    """

    def __init__(self) -> None:
        self._held, self._came = False, 0
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let what is done here be finished first."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self._check()

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items; a signal ends the waiting for the next one at once."""
        iterator = iter(items)
        while True:
            self._check()
            self._held = False
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._held = True
            yield item

    def _check(self) -> None:
        if self._came:
            raise Interrupted(self._came)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            _end_worker(number)
            return
        if self._held and not self._came:
            self._came = number
            say("stopping after this step (once more: at once)")
            return
        self._came = number
        raise Interrupted(number)


def _end_worker(number: int) -> None:
    """Do in a forked process, such as a DataLoader's worker, what a signal does without us.

    Ctrl-C reaches it, too; to end it is then the business of the process that it works for.
    """
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
