"""Prefetching: the next item is read while the current one is processed."""

import itertools
import threading

import pytest

from ichjax.errors import InputError
from ichjax.prefetch import ahead_in_thread, one_ahead


def test_one_item_is_read_ahead_and_no_more():
    started, second_started = [], threading.Event()

    def read(item):
        started.append(item)
        if item == 1:
            second_started.set()
        if item == 2:
            raise InputError("two is bad")
        return item * 10

    results = []
    for i, result in enumerate(one_ahead(read, range(5))):
        if i == 0:
            assert second_started.wait(10)
        assert len(started) <= i + 2
        try:
            results.append(result())
        except InputError as error:
            results.append(str(error))
    assert results == [0, 10, "two is bad", 30, 40]
    assert started == [0, 1, 2, 3, 4]
    assert list(one_ahead(read, [])) == []


def test_nothing_more_is_read_after_the_iterator_is_closed():
    started = []
    reads = one_ahead(started.append, range(5))
    next(reads), next(reads)
    reads.close()
    assert max(started) <= 2


@pytest.fixture
def items():
    """items(n, broken): 0 to n - 1, of which the one numbered `broken` raises; `items.threads` are who iterated."""

    def make(count, broken=None):
        for i in range(count):
            make.threads.append(threading.current_thread())
            if i == broken:
                raise InputError(f"{i} is bad")
            yield i

    make.threads = []
    return make


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_thread_gives_the_same_items_in_the_same_order(items, count):
    assert list(ahead_in_thread(items(count), 2)) == list(range(count))
    assert threading.main_thread() not in items.threads
    assert not any(thread.is_alive() for thread in items.threads)


def test_a_thread_reads_as_far_ahead_as_it_may_and_ends_when_the_iterator_is_closed(items):
    ahead = ahead_in_thread(items(100), 2)
    assert not items.threads  # nothing is read before the first item is needed
    assert list(itertools.islice(ahead, 3)) == [0, 1, 2]
    ahead.close()
    assert len(items.threads) <= 5
    assert not any(thread.is_alive() for thread in items.threads)


def test_an_error_in_the_thread_is_raised_where_its_item_is_due(items):
    ahead = ahead_in_thread(items(5, broken=1), 2)
    assert next(ahead) == 0
    with pytest.raises(InputError, match="1 is bad"):
        next(ahead)
    assert not any(thread.is_alive() for thread in items.threads)


def test_an_interrupt_of_the_caller_ends_the_thread(items):
    def interrupted():
        for _ in ahead_in_thread(items(5), 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not any(thread.is_alive() for thread in items.threads)
