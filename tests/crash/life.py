"""What runs in forked children: one attempt of a job at its life, a reader beside it, the look at what is left.

The process that forks has imported everything and compiled every kernel, but runs nothing itself: no thread of polars
or Arrow has started there, and no SQLite file is open, so that a child is as good as a new process.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import windrow as wr
from tests.crash import disk
from tests.crash.events import Expected, Model
from tests.crash.mutations import MUTATIONS
from tests.crash.pipeline import Recorder, lay_input, make_job
from tests.crash.verify import COLUMNS, open_made, read_topic, verify
from windrow.progress import faults

ENDED, FAILED, FENCED, CRASHED = 0, 1, 3, 137


class Injected(Exception):
    """An error at a fault point."""


@dataclass(frozen=True)
class Attempt:
    """One process that runs the job of `root` until it ends, or dies at the `arrival`-th reach of `point`."""

    root: Path
    number: int
    seed: int
    workers: int
    point: str | None = None
    arrival: int = 1
    raises: bool = False  # an error instead of death: the same process goes on from the last commit
    mutation: str | None = None
    epoch_rows: int = 60


def roots(root: Path) -> list[Path]:
    """The folders that a power cut may change."""
    return [root / name / part for name in ("main", "other") for part in ("data", "state")] + [root / "files"]


def fork(work: Callable[[], int], errors: Path) -> int:
    """Run `work` in a child, whose exit status is what it gives; errors go to a file."""
    pid = os.fork()
    if not pid:
        _child(work, errors)
    return pid


def _child(work: Callable[[], int], errors: Path) -> NoReturn:
    status = FAILED
    try:
        status = work()
    except wr.FencedError:
        status = FENCED
    except BaseException:
        errors.write_text(traceback.format_exc())
    finally:
        os._exit(status)


def prepare(root: Path, model: Model) -> int:
    """Lay a life's input out."""
    lay_input(root, model.events)
    disk.note_all(root / "syncs", roots(root))
    return ENDED


def attempt(a: Attempt) -> int:
    """Run the job; what it reached is noted when it ends."""
    counts: Counter[str] = Counter()
    disk.watch(a.root / "syncs")
    _small_steps(random.Random(a.seed))
    fault = faults.At(a.point, _fail if a.raises else faults.crash, a.arrival) if a.point else None

    def handler(point: str) -> None:
        counts[point] += 1
        if fault is not None:
            fault(point)

    faults.install(handler)
    if a.mutation:
        MUTATIONS[a.mutation].apply()
    recorder = Recorder(a.root / "calls", a.number)
    job = make_job(a.root, workers=a.workers, epoch_rows=a.epoch_rows, record=recorder.record)
    try:
        job.run()
    except Injected:
        recorder.attempt += 500
        job.run()
    with contextlib.suppress(Injected):  # closing reaches points too, when everything is committed
        job.close()
    (a.root / f"reached.{a.number}").write_text(json.dumps([counts["epoch.planned"], counts]))
    return ENDED


def _fail() -> None:
    raise Injected


def _small_steps(chance: random.Random) -> None:
    """Small files and early snapshots, so that a short life sees many of both."""
    from windrow.runtime import snapshots

    wr.Log.__init__.__kwdefaults__["segment_bytes"] = chance.choice((3_000, 12_000, 1 << 20))
    snapshots._LEAST_BYTES = chance.choice((0, 2_000, 1 << 20))
    snapshots._MOST_DELTAS = chance.choice((2, 5, 200))


def look(root: Path, model: Model) -> int:
    """Verify; the verdict goes to a file."""
    (root / "verdict").write_text(json.dumps(asdict(verify(root, model))))
    return ENDED


def read_along(root: Path, model: Model) -> int:
    """Poll the outputs until told to stop: they must only ever grow, by rows that belong there, each once."""
    want = model.complete()
    seen: dict[tuple[str, str], list[dict[str, Any]]] = {}
    polls = 0
    problems: list[str] = []
    while not problems:
        stopping = (root / "stop").exists()
        for name in ("main", "other"):
            log = open_made(root / name, read_only=True)
            if log is not None:
                problems += _poll(log, name, want, seen, full=stopping or polls % 16 == 0)
        polls += 1
        if stopping:
            break
        time.sleep(0.004)
    (root / "reader").write_text(json.dumps({"polls": polls, "problems": problems}))
    return ENDED


def _poll(
    log: wr.Log, name: str, want: Expected, seen: dict[tuple[str, str], list[dict[str, Any]]], *, full: bool
) -> list[str]:
    problems = []
    with log:
        for info in log.topics():
            if info.name not in COLUMNS:
                continue
            for partition in range(info.partitions):
                before = seen.setdefault((name, f"{info.name}/{partition}"), [])
                start = 0 if full else len(before)
                rows = list(read_topic(log, info.name, partition, start))
                if full and rows[: len(before)] != before:
                    problems.append(f"reader: {info.name}[{partition}] was {len(before)} rows, which are others now")
                seen[name, f"{info.name}/{partition}"] = before[:start] + rows
            columns = COLUMNS[info.name]
            here = [r for (n, t), rows in seen.items() if n == name and t.split("/")[0] == info.name for r in rows]
            extra = Counter(tuple(row[c] for c in columns) for row in here) - getattr(want, info.name)
            if extra:
                problems.append(f"reader: {info.name} showed rows that must not be there: {list(extra)[:3]}")
    return problems
