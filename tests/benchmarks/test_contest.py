"""Rounds of a contest: alternating, and on a GPU each contestant ready before the next is started."""

import pytest

from benchmarks import contest


class Recorder:
    """A contestant that takes 1 s, or fails, and writes down what happens to it."""

    def __init__(self, label, events, *, seconds=1.0, fails=False):
        self.label, self._events, self._seconds, self._fails = label, events, seconds, fails
        events.append(f"start {label}")

    def ready(self):
        self._events.append(f"ready {self.label}")
        if self._fails:
            raise RuntimeError(f"{self.label}: failed")
        return {}

    def run(self):
        self._events.append(f"run {self.label}")
        return self._seconds, {"round": len(self._events)}

    def close(self):
        self._events.append(f"close {self.label}")


@pytest.mark.parametrize(
    ("alone", "first"),
    [(False, "start a, start b, ready a, ready b"), (True, "start a, ready a, start b, ready b")],
)
def test_contestants_are_prepared_together_or_one_by_one_and_take_turns(alone, first):
    events = []
    contestants = (Recorder(label, events, seconds=seconds) for label, seconds in (("a", 1.0), ("b", 3.0)))
    measured = contest.measure(contestants, rounds=2, alone=alone)
    assert ", ".join(events) == f"{first}, run a, run b, run b, run a, close a, close b"
    assert measured["b"].seconds == [3.0, 3.0]
    assert contest.ratio(measured, "a", "b") == 3.0


def test_if_one_fails_all_that_were_started_are_ended():
    events = []
    contestants = (Recorder(label, events, fails=label == "b") for label in "abc")
    with pytest.raises(RuntimeError, match="b: failed"):
        contest.measure(contestants, rounds=1, alone=True)
    assert events[-2:] == ["close a", "close b"]
    assert "start c" not in events
