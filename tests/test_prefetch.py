"""Prefetching: the next item is read while the current one is processed."""

import threading

from ichjax.errors import InputError
from ichjax.prefetch import one_ahead


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
