"""Loops that do nothing but use the machine: what the ceilings are measured with."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

Words = np.ndarray[tuple[int], np.dtype[np.int64]]
_MASK62 = (1 << 62) - 1


@njit(nogil=True)
def read_words(words: Words, passes: int) -> int:
    """The sum of all words, in four chains of vectors; so many times."""
    total = 0
    for turn in range(passes):
        part = turn
        for i in range(words.size):
            part += words[i]
        total ^= part
    return total


@njit(nogil=True)
def copy_words(words: Words, out: Words, passes: int) -> None:
    for turn in range(passes):
        for i in range(words.size):
            out[i] = words[i] ^ turn


@njit(nogil=True)
def gather_words(words: Words, places: np.ndarray[tuple[int], np.dtype[np.uint64]], passes: int) -> int:
    """Sum of words at random places; the processor may have many on their way at once."""
    total = 0
    for _ in range(passes):
        for i in range(places.size):
            total += words[places[i]]
    return total


@njit(nogil=True)
def chase(following: Words, steps: int) -> int:
    """One random load after the other, each needing the last."""
    at = 0
    for _ in range(steps):
        at = following[at]
    return at


@njit(nogil=True)
def multiply_chain(steps: int, factor: int, other: int) -> int:
    """A multiplication (3 cycles) and an exclusive or (1), each needing the last: 4 cycles a step today.
    Nothing that a compiler could take together."""
    value = 1
    for _ in range(steps):
        value = (value * factor) ^ other
    return value


@njit(nogil=True)
def random_keys(first: int, out: Words) -> None:
    """Different random-looking 62-bit keys for first, first + 1, ...: each step of the mix can be undone."""
    for i in range(out.size):
        x = (first + i) & _MASK62
        for _ in range(3):
            x = (x * 3935559000370003845) & _MASK62
            x ^= x >> 31
        out[i] = x


def on_all(threads: int, action: Callable[[int], Any]) -> float:
    """Seconds that `action(number)` takes in so many threads at once; they start together."""
    gate = threading.Barrier(threads + 1)

    def work(number: int) -> None:
        gate.wait()
        action(number)

    started = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    gate.wait()
    begun = time.perf_counter()
    for thread in started:
        thread.join()
    return time.perf_counter() - begun


def repeated(runs: int, action: Callable[[], float]) -> tuple[float, ...]:
    """What `action` gives each time, after one time that does not count."""
    action()
    return tuple(action() for _ in range(runs))


def gigahertz() -> float:
    """The clock of a core at work, from a chain whose cycles are known; the best of five."""
    steps = 20_000_000
    factors = (6364136223846793005, 1442695040888963407)
    multiply_chain(1000, *factors)
    best = 1e9
    for _ in range(5):
        begun = time.thread_time()
        multiply_chain(steps, *factors)
        best = min(best, time.thread_time() - begun)
    return 4 * steps / best / 1e9


def loopback(size: int, chunk: int) -> float:
    """Seconds to send `size` bytes over TCP to a thread of this process, in pieces of `chunk`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def receive() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                into = memoryview(bytearray(chunk))
                while connection.recv_into(into):
                    pass

        receiver = threading.Thread(target=receive)
        receiver.start()
        piece = bytes(chunk)
        begun = time.perf_counter()
        with socket.create_connection(server.getsockname(), timeout=10) as sender:
            for _ in range(size // chunk):
                sender.sendall(piece)
        receiver.join()
        return time.perf_counter() - begun


def synced_appends(path: Path, size: int, runs: int, sync: Callable[[int], None]) -> Sequence[float]:
    """Seconds of each append of `size` bytes to a file with a sync after it."""
    piece, times = bytes(size), []
    with path.open("wb", buffering=0) as file:
        for _ in range(runs):
            begun = time.perf_counter()
            file.write(piece)
            sync(file.fileno())
            times.append(time.perf_counter() - begun)
    return times
