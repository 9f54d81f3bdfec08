"""A training budget in CPU seconds with a cap on wall-clock time, and nnU-Net's learning rate that follows it.

Standard library only: it is also imported in nnU-Net's own environment.
"""

import math
import time
from collections.abc import Callable

POLY_EXPONENT = 0.9  # of nnU-Net's schedule


class Budget:
    """A budget that starts when it is made, and ends when the CPU seconds or the wall-clock seconds are used up."""

    def __init__(
        self,
        cpu_s: float,
        wall_s: float,
        *,
        cpu_clock: Callable[[], float] = time.process_time,
        wall_clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Args:
        cpu_s: CPU seconds of this process, all its threads together; infinite for none.
        wall_s: wall-clock seconds.
        cpu_clock, wall_clock: what they are measured with, in seconds.

        Raises:
          ValueError: a limit is not above 0.
        """
        if not (cpu_s > 0 and wall_s > 0):
            raise ValueError(f"a budget of {cpu_s} CPU seconds and {wall_s} seconds; expected both above 0")
        self._limits = (cpu_s, wall_s)
        self._clocks = (cpu_clock, wall_clock)
        self._started = self.now()

    def now(self) -> tuple[float, float]:
        """(CPU seconds, wall-clock seconds) since the clocks' own zero."""
        return self._clocks[0](), self._clocks[1]()

    def used(self) -> tuple[float, float]:
        """(CPU seconds, wall-clock seconds) since the start."""
        cpu, wall = self.now()
        return cpu - self._started[0], wall - self._started[1]

    def fraction(self) -> float:
        """The used fraction of the scarcer of the two, 1 or more at the end."""
        return max(used / limit for used, limit in zip(self.used(), self._limits, strict=True))


def limits(minutes: float, *, cores: int, cap: float, device: str) -> tuple[float, float]:
    """(CPU seconds, wall-clock seconds) of a training budget.

    Args:
      minutes: of all cores on a CPU, of the device on a GPU.
      cores: of the CPU.
      cap: on a CPU, how many times the minutes the training may last, as other load slows it or a core is idle.
      device: 'cpu' or 'cuda'; on a GPU, CPU seconds say nothing and only the wall clock counts.
    """
    if device == "cpu":
        return 60.0 * minutes * cores, 60.0 * minutes * cap
    return math.inf, 60.0 * minutes


def poly_rate(initial: float, fraction: float) -> float:
    """nnU-Net's polynomial learning rate, with the used fraction of the budget in place of that of the epochs."""
    return initial * (1.0 - min(fraction, 1.0)) ** POLY_EXPONENT
