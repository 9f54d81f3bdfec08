"""The next scan is read while the present one is worked on."""

import threading

from ichjax.errors import InputError
from ichjax.prefetch import one_ahead


def test_the_next_is_read_while_one_is_worked_on_and_no_more():
    begun, second_begun = [], threading.Event()

    def read(item):
        begun.append(item)
        if item == 1:
            second_begun.set()
        if item == 2:
            raise InputError("two is bad")
        return item * 10

    got = []
    for i, result in enumerate(one_ahead(read, range(5))):
        if i == 0:
            assert second_begun.wait(10)
        assert len(begun) <= i + 2
        try:
            got.append(result())
        except InputError as error:
            got.append(str(error))
    assert got == [0, 10, "two is bad", 30, 40]
    assert begun == [0, 1, 2, 3, 4]
    assert list(one_ahead(read, [])) == []


def test_interrupted_at_the_second_scan_nothing_more_is_read():
    begun = []
    reads = one_ahead(begun.append, range(5))
    next(reads), next(reads)
    reads.close()
    assert max(begun) <= 2
