"""Ctrl-C and preemption: finish and save the current step before the process exits."""

import signal
import threading
from types import FrameType
from typing import Any

from ichjax import hosts
from ichjax.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SYNC_INTERVAL = 16  # dispatches between checks for signals to other processes


class Watch:
    """Context manager in which a first SIGINT or SIGTERM only sets `received`, and a second one interrupts at once.

    On exit, a first signal that was not acted upon is raised again for the outer handler. Python delivers signals to
    the main thread only, so this does nothing in other threads. A signal that the process ignores, such as SIGINT of a
    shell's background job, stays ignored.
    """

    def __init__(self) -> None:
        self.received: str | None = None  # name of the signal
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Watch":
        if threading.current_thread() is threading.main_thread():
            handled = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._handlers = {number: signal.signal(number, self._receive) for number in handled}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if kind is None and self.received is not None and self.received in signal.Signals.__members__:
            signal.raise_signal(signal.Signals[self.received])

    def should_stop(self, dispatches: int) -> bool:
        """Whether to stop after this many dispatches: the same answer in every process, so that all stop together."""
        if hosts.count() == 1:
            return self.received is not None
        if dispatches % SYNC_INTERVAL or not hosts.any_of(self.received is not None):
            return False
        self.received = self.received or "a signal to another process"
        return True

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received:
            raise Interrupted(f"interrupted twice, by {signal.Signals(number).name}: unsaved progress is lost")
        self.received = signal.Signals(number).name
