"""Reading ahead: the next scan is read while the present one is worked on."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Read = TypeVar("Item"), TypeVar("Read")


def one_ahead(read: Callable[[Item], Read], items: Sequence[Item]) -> Iterator[Callable[[], Read]]:
    """For each item a function that gives what `read` made of it, or raises what `read` raised.

    A thread reads the next item, and no more, while the caller works on the present one.
    """
    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(read, item) for item in items[:1]]
        for i in range(len(items)):
            present = ahead.pop()
            present.exception()  # waits: two reads would hold one scan more
            ahead += [reader.submit(read, item) for item in items[i + 1 : i + 2]]
            yield present.result
