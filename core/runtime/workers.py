"""The threads that epochs are worked on: shared by all engines of a process, and kept until it ends.

A thread that ends leaves its malloc arena, with what was freed in it, to whichever thread comes next: with new threads
for every job, memory that one had was not found by the other (q20 from memory, two threads: 1.2 M page faults in ten
runs, and 190,000 with threads that stay).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, ParamSpec, TypeVar

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

#: More than any process wants at the same time: an engine is held to its own number, and threads are made when needed.
_MOST_THREADS = 4_096
_lock = threading.Lock()
_threads: tuple[int, ThreadPoolExecutor] | None = None  # of this process: a fork has none of them


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_background(action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
    """Have `action` done by one of the process's threads."""
    global _threads
    with _lock:
        if _threads is None or _threads[0] != os.getpid():
            _threads = os.getpid(), ThreadPoolExecutor(_MOST_THREADS, "windrow")
        return _threads[1].submit(action, *args, **kwargs)


class Workers:
    """So many threads that do the same to many things: the one that asks, and others of the process."""

    def __init__(self, count: int) -> None:
        self.count = count

    def each(self, action: Callable[[T], R], items: Sequence[T], *, side_by_side: bool = True) -> list[R]:
        """`action` of every item; results in the order of `items`.

        Items are begun in their order. After an error no more are begun, and when all that were have ended, the error
        of the first one of them is raised: it is the same one each time.
        """
        if self.count < 2 or len(items) < 2 or not side_by_side:
            return [action(item) for item in items]
        round_ = _Round(action, items)
        helpers = [in_background(round_.work) for _ in range(min(self.count, len(items)) - 1)]
        try:
            round_.work()
        finally:
            round_.stop()
            for helper in helpers:
                if not helper.cancel():  # one that has not begun is not waited for
                    helper.result()
        return round_.results()


class _Round(Generic[T, R]):
    """Items that are being worked on by several threads."""

    def __init__(self, action: Callable[[T], R], items: Sequence[T]) -> None:
        self._action = action
        self._items = items
        self._begun = 0
        self._lock = threading.Lock()
        self._made: list[Any] = [None] * len(items)
        self._errors: dict[int, BaseException] = {}

    def work(self) -> None:
        while (number := self._next()) is not None:
            try:
                self._made[number] = self._action(self._items[number])
            except BaseException as error:
                self._errors[number] = error
                self.stop()

    def _next(self) -> int | None:
        with self._lock:
            if self._begun >= len(self._items):
                return None
            self._begun += 1
            return self._begun - 1

    def stop(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._begun = len(self._items)

    def results(self) -> list[R]:
        if self._errors:
            raise self._errors[min(self._errors)]
        return self._made
