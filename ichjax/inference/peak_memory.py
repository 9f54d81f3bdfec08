"""Peak memory of this process, as the operating system counts it."""

import contextlib
import pathlib
import resource
import sys

STATUS, CLEAR = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")


def reset() -> None:
    """Starts a new measurement, on Linux; elsewhere `peak_mb` stays that of the whole process.

    See proc(5): 5 written to clear_refs sets the peak to the present resident memory.
    """
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")


def peak_mb() -> float:
    """The largest resident memory since `reset`, or since the process began, in MB (10^6 bytes)."""
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
