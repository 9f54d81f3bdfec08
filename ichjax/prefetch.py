"""Reads ahead: a thread reads the next scan while the caller works on the current one."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_ahead(read: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Callable[[], Result]]:
    """Yields, for each item, a function that returns the result of `read` or raises its error.

    Only one item is read ahead, to bound memory.
    """
    with ThreadPoolExecutor(1) as reader:
        pending = [reader.submit(read, item) for item in items[:1]]
        for i in range(len(items)):
            current = pending.pop()
            current.exception()  # waits: two reads at a time would hold one more scan
            pending += [reader.submit(read, item) for item in items[i + 1 : i + 2]]
            yield current.result
