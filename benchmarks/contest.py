"""Contestants measured in turn: each lives in a process of its own and waits while another runs.

So no library's threads, memory or settings touch another's, and what else the machine does hits all of them alike: a
ratio of the same round survives a noisy machine.
"""

import contextlib
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence

from tqdm import tqdm

ROOT = pathlib.Path(__file__).parents[1]
OURS = "ichjax"  # its label
PATCH_SIDE, PATCH_STRIDE = 128, 64  # in pixels: 49 patches of a slice of 512 x 512


class Contestant:
    """A process that has prepared one piece of work and does it once a round."""

    def __init__(self, label: str, work: str, *, environ: Mapping[str, str] | None = None, **options):
        """Starts the process; `ready` waits for it.

        Args:
          label: as the table calls it.
          work: 'benchmarks.MODULE:FUNCTION'. FUNCTION(**options) prepares and warms up, and returns a function
            without arguments: it does the work, waits for its end, and returns a dict of what it has to say, or None.
          environ: variables of this process alone.
          options: of FUNCTION, ready for JSON.
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
        """Waits until it is warmed up; returns what its work said the first time."""
        return self._answer()

    def run(self) -> tuple[float, dict]:
        """One round: (seconds, what the work said)."""
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


@contextlib.contextmanager
def contest(contestants: Sequence[Contestant]) -> Iterator[None]:
    """Ends all processes, whatever happens."""
    try:
        yield
    finally:
        for one in contestants:
            with contextlib.suppress(Exception):
                one.close()


def measure(contestants: Sequence[Contestant], *, rounds: int, name: str = "rounds") -> dict[str, dict]:
    """Runs all in turn, every second round in the opposite order.

    Returns:
      {label: {'seconds': [rounds], 'said': the last answer}}.
    """
    with contest(contestants):
        found = {one.label: {"seconds": [], "said": one.ready()} for one in contestants}
        for number in tqdm(range(rounds), desc=name, leave=False):
            for one in contestants[:: -1 if number % 2 else 1]:
                seconds, said = one.run()
                found[one.label]["seconds"].append(seconds)
                found[one.label]["said"] = said
    return found


def ratio(found: Mapping[str, Mapping], ours: str, theirs: str) -> float:
    """Median over the rounds of (seconds of theirs / seconds of ours): how many times as fast ours is."""
    pairs = zip(found[theirs]["seconds"], found[ours]["seconds"], strict=True)
    return statistics.median(their / our for their, our in pairs)


def summary(seconds: Sequence[float], amount: float = 1.0) -> dict[str, float]:
    """{'median', 'least', 'most'} of `amount` a second over the rounds."""
    rates = sorted(amount / one for one in seconds)
    return {"median": statistics.median(rates), "least": rates[0], "most": rates[-1]}


def _serve() -> None:
    """A contestant's side: prepares, says so, and works whenever it is told to."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to stderr

    def say(answer: dict) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        module, _, function = sys.argv[1].partition(":")
        work = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
        say(work() or {})
        for _ in sys.stdin:
            started = time.perf_counter()
            said = work() or {}
            say({"seconds": time.perf_counter() - started, **said})
    except Exception as error:
        traceback.print_exc()
        say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    _serve()
