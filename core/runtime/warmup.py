"""Compile all kernels ahead of time, on several cores.

numba compiles under one lock, so a second core helps only from a second process: workers compile into the cache on
disk, from which this process then loads. A worker is this module run as a program: it reads names of kernels, one a
line, and answers each when it is compiled.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from windrow import kernels
from windrow.kernels import _compile
from windrow.kernels._compile import Kernel

#: Called with the name of a kernel that is ready, how many are, and how many there are in all.
Progress = Callable[[str, int, int], None]

_MOST_WORKERS = 3  # beside this process: there is not enough to do for more


def warm_up(progress: Progress | None = None, modules: Sequence[str] | None = None, workers: int | None = None) -> int:
    """Make every kernel (of these `modules`, without their package; default all) ready to run in this process.

    Kernels that are not in the cache are compiled by this process and by `workers` more (default: one for each further
    core, up to three). `progress` is called by one thread at a time. Returns how many kernels had to be compiled.
    """
    todo = load_kernels(modules)
    cold = sorted((name for name, kernel in todo.items() if not kernel.is_cached()), key=_effort, reverse=True)
    told = _Told(progress, len(todo))
    if len(cold) > 1:
        _compile_together(cold, told, _spare_cores() if workers is None else workers)
    for name, kernel in todo.items():
        kernel.compile()
        told.ready(name)
    return len(cold)


def load_kernels(modules: Sequence[str] | None = None) -> dict[str, Kernel]:
    """Import the kernel modules; their kernels by registry name, in alphabetical order."""
    names = [each.name for each in pkgutil.iter_modules(kernels.__path__)] if modules is None else modules
    for name in names:
        importlib.import_module(f"{kernels.__name__}.{name}")
    return {name: kernel for name, kernel in sorted(_compile.registry.items()) if name.partition(".")[0] in names}


def _effort(name: str) -> int:
    """A guess at how long a kernel compiles. The long ones go first, so that none is begun when all others are done."""
    return len(_compile.registry[name].py_func.__code__.co_code)


def _spare_cores() -> int:
    return min(_MOST_WORKERS, len(os.sched_getaffinity(0)) - 1) if sys.executable else 0


class _Told:
    """Reports each kernel once."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def ready(self, name: str) -> None:
        with self._lock:
            if name not in self._names:
                self._names.add(name)
                if self._progress is not None:
                    self._progress(name, len(self._names), self._total)


def _compile_together(names: Sequence[str], told: _Told, workers: int) -> None:
    """Compile these here and in workers, each taking the next one when it is free. What a worker fails at is left."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    feeders = [threading.Thread(target=_feed_worker, args=(waiting, told), daemon=True) for _ in range(workers)]
    for feeder in feeders:
        feeder.start()
    while (mine := _next(waiting)) is not None:
        _compile.registry[mine].compile()
        told.ready(mine)
    for feeder in feeders:
        feeder.join()


def _next(waiting: queue.SimpleQueue[str]) -> str | None:
    try:
        return waiting.get_nowait()
    except queue.Empty:
        return None


def _feed_worker(waiting: queue.SimpleQueue[str], told: _Told) -> None:
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        try:
            if worker.stdout.readline() != "started\n":
                return
            while (name := _next(waiting)) is not None:
                worker.stdin.write(name + "\n")
                worker.stdin.flush()
                if worker.stdout.readline() != name + "\n":
                    return  # the caller compiles it itself, and there meets what went wrong
                told.ready(name)
        except BrokenPipeError:
            return


def _work() -> None:
    """Compile what stdin names until it ends."""
    _say("started")
    for line in sys.stdin:
        name = line.strip()
        module = name.partition(".")[0]
        importlib.import_module(f"{kernels.__name__}.{module}")
        _compile.registry[name].compile()
        _say(name)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _work()
