"""Running an engine as a process: pinned, with a time limit, and with what its whole tree of processes used.

CPU time comes from the kernel's accounting of the tree (children that ended are in their parent's sums); memory from a
sample every 50 ms of all of its processes together. Both are of the engine alone when the broker or the producer of
events is not among its children.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_SAMPLE_S = 0.05
#: Every process of a step carries this variable, so that those which left their parent are found as well.
MARK = "WINDROW_BENCH_STEP"


@dataclass(slots=True)
class Usage:
    """What a tree of processes has used so far."""

    cpu_seconds: float = 0.0
    rss_mb: float = 0.0  # now
    peak_rss_mb: float = 0.0
    _seen: dict[int, float] = field(default_factory=dict)  # cpu seconds by process, those that ended too

    def sample(self, root: int) -> None:
        """Look at the tree below process `root` once."""
        rss = 0
        for process in _tree(root):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                with process.oneshot():
                    times = process.cpu_times()
                    # A child that is about to be another program has its parent's memory for a moment.
                    if process.pid == root or process.pid in self._seen:
                        rss += process.memory_info().rss
                # A process's children_* hold what its ended children used; those that we saw are not counted twice.
                own = times.user + times.system
                self._seen[process.pid] = max(self._seen.get(process.pid, 0.0), own)
        self.rss_mb = rss / 1e6
        self.peak_rss_mb = max(self.peak_rss_mb, self.rss_mb)
        self.cpu_seconds = sum(self._seen.values())


def _tree(root: int) -> list[psutil.Process]:
    try:
        top = psutil.Process(root)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class Meter:
    """Samples a tree of processes in a thread while it is open: ``with Meter(pid) as usage: ...``.

    For a part of a process's life (a warm repetition), take ``usage.cpu_seconds`` before and after.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._usage = Usage()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Usage:
        self._usage.sample(self._root)
        self._thread.start()
        return self._usage

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._usage.sample(self._root)

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self._usage.sample(self._root)


@dataclass(frozen=True, slots=True)
class Done:
    """A process that has ended."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_rss_mb: float
    out: str
    err: str
    timed_out: bool


def run(
    command: Sequence[str | Path],
    *,
    timeout: float,
    cores: Sequence[int] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Done:
    """Run `command` to its end on these cores (all when None); kill its whole tree after `timeout` seconds.

    `env` is added to this process's. CPU time is exact: the kernel's sums over the process and its ended children,
    which is everything as long as it waits for them.
    """
    start, before = time.monotonic(), os.times()
    process = popen(command, cores=cores, env=env, cwd=cwd)
    timed_out = False
    with Meter(process.pid) as usage:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            kill_tree(process.pid)
            out, err = process.communicate()
    after = os.times()
    waited = after.children_user + after.children_system - before.children_user - before.children_system
    seconds = time.monotonic() - start
    cpu = max(usage.cpu_seconds, waited)
    return Done(process.returncode, seconds, cpu, usage.peak_rss_mb, out, err, timed_out)


def popen(
    command: Sequence[str | Path],
    *,
    cores: Sequence[int] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[str]:
    """Start `command` on these cores, in a session of its own, its output in pipes as text."""
    pinned = ["taskset", "-c", ",".join(map(str, cores))] if cores else []
    return subprocess.Popen(
        [*pinned, *map(str, command)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def kill_tree(root: int, sig: signal.Signals = signal.SIGKILL) -> None:
    """Send `sig` to process `root` and everything below it."""
    for process in reversed(_tree(root)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(sig)


def kill_marked(mark: str) -> int:
    """Kill the processes that carry this mark, wherever they hang by now; how many there were."""
    found = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                process.kill()
                found += 1
    return found
