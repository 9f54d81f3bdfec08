"""Paired measurements: contestants run in alternating rounds, each in a process of its own.

No library's threads, memory or settings affect another's. Other load on the machine hits all contestants of a round
alike, so the ratio within a round is robust on a noisy machine.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tqdm import tqdm

from benchmarks.process import ROOT

OURS = "ichjax"  # our label
PATCH_SIDE, PATCH_STRIDE = 128, 64  # in pixels: 49 patches per slice of 512 x 512
SHARED_GPU = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def share_gpu() -> None:
    """Lets this process and its contestants share a GPU's memory; call it before JAX uses a device."""
    for name, value in SHARED_GPU.items():
        os.environ.setdefault(name, value)


class Contestant:
    """A process that prepares some work once and then does it once per round."""

    def __init__(self, label: str, work: str, *, environ: Mapping[str, str] | None = None, **options: object) -> None:
        """Starts the process; `ready` waits for it.

        Args:
          label: its name in the table.
          work: 'benchmarks.MODULE:FUNCTION'. FUNCTION(**options) prepares and warms up, and returns a function without
            arguments that does the work, waits for the device, and returns a JSON-ready dict of facts, or None.
          environ: environment variables of this process alone.
          options: of FUNCTION, JSON-ready.
        """
        self.label = label
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contest", work, json.dumps(options)],
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> dict:
        """Waits for the first, unmeasured round and returns its facts."""
        return self._answer()

    def run(self) -> tuple[float, dict]:
        """Runs one round: (seconds, facts)."""
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._answer()
        return answer.pop("seconds"), answer

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _answer(self) -> dict:
        for line in self._process.stdout:
            if line.startswith("{"):
                answer = json.loads(line)
                if "error" in answer:
                    raise RuntimeError(f"{self.label}: {answer['error']}")
                return answer
        raise RuntimeError(f"{self.label}: its process ended with status {self._process.wait()}")


@dataclasses.dataclass
class Measurement:
    """The seconds of each round of a contestant, and the facts that its work returned last."""

    facts: dict
    seconds: list[float] = dataclasses.field(default_factory=list)


class Rate(NamedTuple):
    """An amount per second: median, minimum and maximum over the rounds."""

    median: float
    least: float
    most: float


def measure(
    contestants: Iterable[Contestant], *, rounds: int, name: str = "rounds", alone: bool = False
) -> dict[str, Measurement]:
    """Runs all contestants in each round, in reverse order in every second round; returns {label: measurement}.

    Args:
      contestants: taken one by one, so a generator starts them here.
      rounds: of each.
      name: for the progress bar.
      alone: each is ready before the next is taken. A GPU's compiler times kernels to choose among them, and chooses
        badly while other programs compute.

    Raises:
      RuntimeError: a contestant failed. All processes are ended in any case.
    """
    started: list[Contestant] = []
    measured: dict[str, Measurement] = {}
    try:
        for one in contestants:
            started.append(one)
            if alone:
                measured[one.label] = Measurement(one.ready())
        for one in () if alone else started:
            measured[one.label] = Measurement(one.ready())
        for number in tqdm(range(rounds), desc=name, leave=False):
            for one in started[:: -1 if number % 2 else 1]:
                seconds, measured[one.label].facts = one.run()
                measured[one.label].seconds.append(seconds)
    finally:
        for one in started:
            with contextlib.suppress(Exception):
                one.close()
    return measured


def ratio(measured: Mapping[str, Measurement], ours: str, theirs: str) -> float:
    """Median over the rounds of (seconds of theirs / seconds of ours): how many times as fast ours is."""
    pairs = zip(measured[theirs].seconds, measured[ours].seconds, strict=True)
    return statistics.median(their / our for their, our in pairs)


def rate(seconds: Sequence[float], amount: float = 1.0) -> Rate:
    """Rate of an `amount` per round."""
    rates = sorted(amount / one for one in seconds)
    return Rate(statistics.median(rates), rates[0], rates[-1])


def scan_row(measured: Mapping[str, Measurement], label: str) -> dict[str, str | float]:
    """A contestant's table row where a round is one scan; 'least' and 'most' are seconds."""
    scans = rate(measured[label].seconds)
    return {
        "who": label,
        "seconds a scan": 1 / scans.median,
        "least": 1 / scans.most,
        "most": 1 / scans.least,
        "ichjax is times as fast": ratio(measured, OURS, label),
    }


def _serve() -> None:
    """The contestant's process: prepares, runs once, and then once for each line on stdin."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to stderr

    def send(answer: dict) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        module, _, function = sys.argv[1].partition(":")
        work = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
        send(work() or {})
        for _ in sys.stdin:
            started = time.perf_counter()
            facts = work() or {}
            send({"seconds": time.perf_counter() - started, **facts})
    except Exception as error:
        traceback.print_exc()
        send({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    _serve()
