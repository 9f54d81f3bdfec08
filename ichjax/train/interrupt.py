"""Ctrl-C and preemption: the step is finished and saved before the process leaves."""

import signal
import threading

from ichjax import hosts
from ichjax.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TOGETHER = 16  # dispatches between two times that several processes ask each other


class Watch:
    """While it is entered, a first SIGINT or SIGTERM only sets `asked`; a second one interrupts at once.

    A first one that nobody heeded is sent again when it is left, to whoever handles it outside.
    Signals reach the main thread alone, so in another one it watches nothing. One that this process was told to ignore,
    as a shell does for SIGINT when it starts a job in the background, stays ignored.
    """

    def __init__(self):
        self.asked: str | None = None  # the signal's name
        self._before: dict = {}

    def __enter__(self) -> "Watch":
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heeded}
        return self

    def __exit__(self, kind, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None and self.asked in signal.Signals.__members__:
            signal.raise_signal(signal.Signals[self.asked])

    def leave(self, dispatch: int) -> bool:
        """Whether to stop after this dispatch: the same answer in every process, so that all stop at one step."""
        if hosts.count() == 1:
            return self.asked is not None
        if dispatch % TOGETHER or not hosts.any_of(self.asked is not None):
            return False
        self.asked = self.asked or "a signal to another process"
        return True

    def _note(self, number: int, _frame) -> None:
        if self.asked:
            raise Interrupted(f"interrupted twice, by {signal.Signals(number).name}: what was not saved is lost")
        self.asked = signal.Signals(number).name
