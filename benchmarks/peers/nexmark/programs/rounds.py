"""How a program of the comparison runs: once cold, then warm, then a small run whose results are written and checked.

The standard library alone, since it runs in every engine's own environment. The program is called with one argument,
a JSON object: query, source ("json", "parquet", "memory"), data and small (folders of events), out (folder for the
checked result), rounds (warm ones), cores, counts (events by kind). It prints a JSON object a line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TASK: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].startswith("{") else {}
_TICKS = os.sysconf("SC_CLK_TCK")
_START = time.time()


class Cannot(Exception):
    """The engine has no way to say this query; why."""


def say(**what: Any) -> None:
    print("@@" + json.dumps(what), flush=True)


def cpu_seconds() -> float:
    """User and system time of this process and of all below it, those that have ended too."""
    parents, used = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        used[pid] = sum(map(int, fields[11:15])) / _TICKS
    own = os.getpid()
    used[own] = time.process_time() + sum(os.times()[2:4])  # finer than the kernel's ticks
    total, known = 0.0, [own]
    while known:
        pid = known.pop()
        total += used.get(pid, 0.0)
        known += [child for child, parent in parents.items() if parent == pid]
    return total


def rounds(run: Callable[[Path, Path | None], None], *, warm: bool = True) -> None:
    """`run(data, out)` runs the query over a folder of events; results are dropped when `out` is None.

    `warm=False`: an engine that has nothing to warm up, or can run only once in a process.
    """
    data, small, out = (Path(TASK[name]) for name in ("data", "small", "out"))
    try:
        say(ready=time.time())
        for number in range(1 + (TASK["rounds"] if warm else 0)):
            cpu, begun = cpu_seconds(), time.perf_counter()
            run(data, None)
            seconds = time.perf_counter() - begun
            say(round=number, seconds=seconds, cpu=cpu_seconds() - cpu)
        out.mkdir(parents=True, exist_ok=True)
        run(small, out)
        say(checked=True)
    except Cannot as reason:
        say(cannot=str(reason))


def files(data: Path, kind: str, lanes: int | None = None, ending: str | None = None) -> list[str]:
    """The files of a kind: as many lanes as there are cores, or so many."""
    form = ending or TASK["source"]
    return sorted(map(str, (data / f"lanes{lanes or TASK['cores']}" / f"{kind}-{form}").glob(f"*.{form}")))
