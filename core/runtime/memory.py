"""What a process does with memory while jobs run in it: malloc keeps what is freed, the garbage collector is spared."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading

import pyarrow as pa

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # parameters of glibc's mallopt
_HEAP_BYTES = 64 << 20  # of a thread's arena, which consists of several

_lock = threading.Lock()
_running = 0  # engines that spare the collector
_frozen = False  # by us


def spare_collector() -> None:
    """Keep what is alive now out of garbage collection, in the whole process, until `collect_again` is called as often.

    A full collection goes through every object there is, and numba alone brings hundreds of thousands: it stops all
    threads for 60 ms on an idle machine, 200 on a busy one, in the middle of some epoch. What is made from now on is
    collected as ever. Nothing is changed when the program has called ``gc.freeze`` itself.
    """
    global _running, _frozen
    with _lock:
        _running += 1
        if _running == 1 and not gc.get_freeze_count():
            gc.freeze()
            _frozen = True


def collect_again() -> None:
    """Undo `spare_collector`, when it is the last one: what has become garbage in between is found."""
    global _running, _frozen
    with _lock:
        _running -= 1
        if _running == 0 and _frozen:
            gc.unfreeze()
            _frozen = False


def keep_freed_memory(bytes_: int = 256 << 20) -> bool:
    """Let malloc keep up to `bytes_` of freed memory at the top of the heap, for the whole process.

    numpy's arrays come from malloc. glibc returns large ones to the system as soon as they are freed, so that the next
    batch pays a page fault for every 4 KB: a gather of three int64 columns of 65 536 rows needed 2.4 ns a value instead
    of 1.1. Arrow's memory comes from malloc then, too, unless ARROW_DEFAULT_MEMORY_POOL says otherwise: its own pool
    hands pages back after 10 ms, which is less than an epoch (join_stream with 10 M keys: 6.2 s of processor time
    instead of 3.8). The heaps of other threads' arenas are handed back whole, unless as much as one is to be kept on
    top. Returns False where the C library is another one; nothing is changed then.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    # blocks below the second threshold come from the heap; above 32 MB glibc refuses to be told so
    wanted = {_TRIM_THRESHOLD: bytes_, _TOP_PAD: _HEAP_BYTES, _MMAP_THRESHOLD: 32 << 20}
    done = [mallopt(parameter, value) for parameter, value in wanted.items()]
    kept = all(done)
    if kept and not os.environ.get("ARROW_DEFAULT_MEMORY_POOL"):
        pa.set_memory_pool(pa.system_memory_pool())
    return kept
