"""Lines for the user: above a progress bar, from the first process alone; durations in words."""

import sys

from tqdm import tqdm

from ichjax import hosts


def say(text: str) -> None:
    """Prints a line, above a progress bar if there is one; of several processes the first one speaks."""
    if hosts.is_first():
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def duration(seconds: float) -> str:
    """A time as a person says it: '8 s', '3.5 min', '2.1 h'."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
