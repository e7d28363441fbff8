"""Laws of the threads that epochs are worked on: order, errors, and what is waited for."""

from __future__ import annotations

import os
import threading
import time

import pytest

from windrow.runtime.workers import Workers, in_background


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_stand_in_the_order_of_the_items(count: int) -> None:
    def slower_first(number: int) -> int:
        time.sleep(0.002 * (8 - number))
        return number * number

    assert Workers(count).each(slower_first, range(8)) == [number * number for number in range(8)]


def test_no_more_threads_than_were_asked_for_work_at_the_same_time() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def count(_: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.005)
        with lock:
            now[0] -= 1

    Workers(3).each(count, range(12))
    assert most[0] == 3


def test_the_error_of_the_first_item_that_failed_is_raised_and_nothing_more_begun() -> None:
    """Item 1 fails after item 2 has: items are begun in order, so it is known that 1 is the first."""
    second_failed, begun = threading.Event(), []

    def fail(number: int) -> None:
        begun.append(number)
        if number == 1:
            assert second_failed.wait(5)
            raise ValueError("item 1")
        if number == 2:
            second_failed.set()
            raise ValueError("item 2")
        time.sleep(0.02)

    with pytest.raises(ValueError, match="item 1"):
        Workers(3).each(fail, range(100))
    assert sorted(begun) == list(range(len(begun)))
    assert len(begun) < 10


def test_threads_that_are_all_busy_elsewhere_are_not_waited_for() -> None:
    """Each of the outer ones asks for helpers of its own, and does the work itself where none comes."""

    def outer(number: int) -> list[int]:
        return Workers(2).each(lambda inner: number + inner, range(4))

    assert Workers(4).each(outer, range(8)) == [[n, n + 1, n + 2, n + 3] for n in range(8)]


def test_threads_stay_for_the_next_job() -> None:
    names: set[str] = set()

    def note(_: int) -> None:
        names.add(threading.current_thread().name)
        time.sleep(0.001)

    for _ in range(20):
        Workers(2).each(note, range(4))
    assert len(names) <= 1 + threading.active_count()
    assert in_background(threading.current_thread).result(5).is_alive()


def test_a_fork_has_threads_of_its_own() -> None:
    Workers(2).each(lambda n: n, range(4))
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        made = sum(Workers(2).each(lambda n: n, range(10))) if in_background(int).result(5) == 0 else -1
        os.write(writing, str(made).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.read() == "45"
    assert os.waitpid(child, 0)[1] == 0
