"""A command in a process of its own, with what it cost."""

import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

ROOT = pathlib.Path(__file__).parents[1]


def ours(command: str, *words: str) -> list[str]:
    """`launch.py COMMAND`, with its arguments."""
    return [sys.executable, str(ROOT / "launch.py"), command, *words]


def run(
    command: Sequence[str],
    log: pathlib.Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    allow: Sequence[int] = (0,),
) -> dict[str, float]:
    """Runs a command and returns {'cpu_s', 'wall_s'}; CPU seconds hardly depend on what else the machine does.

    Args:
      command: the program and its arguments.
      log: file for its output; without one, it goes to the terminal.
      environ: environment variables of this process alone.
      allow: exit statuses that are no failure.

    Raises:
      RuntimeError: another exit status, with the last line of the log.
    """
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    # Unbuffered, so that the last line of a log is the last one printed: an error, and not what stdout held back.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})}
    if log is None:
        status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as file:
            status = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
            ).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status not in allow:
        lines = log.read_text(errors="replace").strip().splitlines() if log else []
        said, name = (lines or ["see above"])[-1], pathlib.Path(command[0]).name
        raise RuntimeError(f"{log or ' '.join(command[1:3])}: {name} ended with status {status}: {said}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": cpu, "wall_s": time.perf_counter() - started}
