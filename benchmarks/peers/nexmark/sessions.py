"""A program of the comparison at work: one process that runs query after query.

Starting a JVM and warming it up takes longer than most queries, and tells the same each time. A query that brings the
process down, or is not done in time, costs nothing but its own line: the next one gets a new process.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.suite.processes import Meter, kill_tree


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a query: what the program printed, `failed` says why there is no result."""

    parts: list[dict[str, Any]]
    failed: str
    peak_rss_mb: float  # of all its processes, while the query ran

    def all(self, name: str) -> list[Any]:
        return [part[name] for part in self.parts if name in part]


class Session:
    """The process; ended with all that it started by `close`, or when it fails."""

    def __init__(self, command: Sequence[str], cores: Sequence[int], env: Mapping[str, str], folder: Path) -> None:
        self._command = ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]
        self._env, self._folder = env, folder
        self._process: subprocess.Popen[str] | None = None

    @property
    def started(self) -> bool:
        """Whether it is at work, and warm from queries before."""
        return self._process is not None

    def ask(self, task: Mapping[str, Any], timeout_s: float) -> Said:
        """Run a query; `startup_s` is among what is said when the process was started for it."""
        begun, until = time.time(), time.monotonic() + timeout_s
        fresh = not self.started
        process = self._process or self._start()
        assert process.stdin is not None
        at, parts, failed = self._log().stat().st_size, [], ""
        with Meter(process.pid) as usage:
            try:
                process.stdin.write(json.dumps(task) + "\n")
                process.stdin.flush()
            except OSError:
                failed = "it had ended"
            while not failed and not (parts and "done" in parts[-1]):
                try:
                    text = self._lines.get(timeout=max(until - time.monotonic(), 0))
                except queue.Empty:
                    failed = f"not done after {timeout_s:.0f} s"
                else:
                    if text is None:
                        failed = self._told(at) or f"code {process.wait(10)}"
                    else:
                        parts.append(json.loads(text))
        own = next((part["failed"] for part in parts if "failed" in part), "")
        if failed:
            self.close()
        if fresh and (ready := [part["ready"] for part in parts if "ready" in part]):
            parts.append({"startup_s": round(ready[0] - begun, 3)})
        return Said(parts, failed or (own and (self._told(at) or own)), round(usage.peak_rss_mb, 1))

    def _start(self) -> subprocess.Popen[str]:
        with self._log().open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env={**os.environ, **self._env}, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True, errors="replace", start_new_session=True,
            )  # fmt: skip
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=_read, args=(self._process, self._lines), daemon=True)
        self._reader.start()
        return self._process

    def close(self) -> None:
        if self._process is not None:
            kill_tree(self._process.pid)
            self._process.wait(30)
            self._reader.join(10)
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):  # a task that could not be handed over
                    assert pipe is not None
                    pipe.close()
            self._process = None

    def _log(self) -> Path:
        path = self._folder / "said"
        path.touch()
        return path

    def _told(self, at: int) -> str:
        """The lines of its complaints since then that name an error, the last ones."""
        err = self._log().read_bytes()[at:].decode(errors="replace")
        lines = [line.strip() for line in err.splitlines() if "Error" in line or "Exception" in line]
        return " | ".join(line[:200] for line in lines[-3:]) or err.strip()[-400:]


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("@@"):
            lines.put(line[2:])
    lines.put(None)
