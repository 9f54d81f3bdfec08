"""Reads ahead: a thread reads the next scans or batches while the caller works on the current one."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
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


def ahead_in_thread(items: Iterable[Item], count: int) -> Generator[Item]:
    """Yields the items of an iterable that a thread iterates, up to `count` items ahead of the caller.

    An error of the iterable is raised where its item is due. The thread has ended when this iterator is exhausted,
    closed or has raised an error.
    """
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        pending = deque(thread.submit(next, iterator, end) for _ in range(count))
        while (item := pending.popleft().result()) is not end:
            pending.append(thread.submit(next, iterator, end))
            yield item  # type: ignore[misc]
