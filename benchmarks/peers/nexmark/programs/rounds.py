"""How a program of the comparison runs its queries: each a few times with results dropped, then once more over a small
set of events, whose result is written and checked.

The standard library alone, since it runs in every engine's own environment. The program is called with one argument, a
JSON object with `cores`; every line of its input is a query to run, a JSON object with: query, source ("json",
"parquet", "memory"), kinds, data and small (folders of events), first (folder for the first round, where the engine
warms up), rounds (those after it), out (folder for the checked result), scratch, cores, counts (events by kind). It
prints a JSON object a line, the last one of a query with `done`. A query that fails leaves the next ones alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What is asked for now; before the first query the cores alone.
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


def rounds(
    run: Callable[[Path, Path | None], None], *, warm: bool = True, prepare: Callable[[Path], None] | None = None
) -> None:
    """`run(data, out)` runs the query over a folder of events; results are dropped when `out` is None.

    `warm=False`: an engine that has nothing to warm up. `prepare(data)` comes before each run, outside of the clock:
    events for a source in memory are made there.
    """
    with os.fdopen(os.dup(0)) as tasks, Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)  # what the engine starts must not read our tasks
        say(ready=time.time())
        for text in tasks:
            TASK.clear()
            TASK.update(json.loads(text))
            try:
                _task(run, warm, prepare or _nothing)
            except Cannot as reason:
                say(cannot=str(reason))
            except Exception as error:
                traceback.print_exc()
                say(failed=f"{type(error).__name__}: {error}"[-600:])
            say(done=True)


def _nothing(data: Path) -> None:
    del data


def _task(run: Callable[[Path, Path | None], None], warm: bool, prepare: Callable[[Path], None]) -> None:
    data, first, small, out = (Path(TASK[name]) for name in ("data", "first", "small", "out"))
    for number in range(1 + (TASK["rounds"] if warm else 0)):
        chosen = data if number or not warm else first
        prepare(chosen)
        cpu, begun = cpu_seconds(), time.perf_counter()
        run(chosen, None)
        seconds = time.perf_counter() - begun
        say(round=number, seconds=seconds, cpu=cpu_seconds() - cpu)
    out.mkdir(parents=True, exist_ok=True)
    prepare(small)
    run(small, out)
    say(checked=True)


def files(data: Path, kind: str, lanes: int | None = None, ending: str | None = None) -> list[str]:
    """The files of a kind: as many lanes as there are cores, or so many."""
    form = ending or TASK["source"]
    return sorted(map(str, (data / f"lanes{lanes or TASK['cores']}" / f"{kind}-{form}").glob(f"*.{form}")))
