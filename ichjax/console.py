"""Terminal output: lines above a progress bar, printed by the first process only; durations in words."""

import sys

from tqdm import tqdm

from ichjax import hosts


def say(text: str) -> None:
    """Prints a line, above a progress bar if there is one; only the first of several processes prints."""
    if hosts.is_first():
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def duration(seconds: float) -> str:
    """A duration for people: '8 s', '3.5 min', '2.1 h'."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
