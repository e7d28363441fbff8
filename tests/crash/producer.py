"""Producers and housekeeping that die: what was acknowledged is there, nothing is torn, what nobody needs goes.

A life is one log. Each process appends numbered events, says so in a file once the append has returned, lets retention
drop the oldest, and dies. A crash must keep every acknowledged event, and of the one append in flight all or nothing.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import windrow as wr
from tests.crash import disk, life
from windrow.progress import faults

POINTS = (
    "log.file.create", "log.write.before", "log.write.partial", "log.sync.before", "log.sync.after", "log.dir.after",
    "store.begin", "store.commit.before", "store.commit.after", "log.retention", "log.sweep",
)  # fmt: skip
_BATCH = 7


def produce(root: Path, seed: int, point: str, arrival: int) -> int:
    """Append, acknowledge, retain, until death."""
    chance = random.Random(seed)
    disk.watch(root / "syncs")
    faults.install(faults.At(point, faults.crash, arrival))
    acks = os.open(root / "acks", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    with wr.Log(root / "main", segment_bytes=chance.choice((300, 2_000))) as log:
        log.create_topic("numbers", partitions=1, retention_bytes=2_500, if_exists="ok")
        for _ in range(25):
            first = log.end_offset("numbers", 0)
            log.append("numbers", [b"%d" % (first + i) for i in range(_BATCH)], timestamps=0)
            os.write(acks, b"%d\n" % (first + _BATCH))
            if chance.random() < 0.3:
                log.apply_retention()
    return life.ENDED


def inspect(root: Path, *, sweep: bool) -> int:
    """Look at what is left; problems go to a file."""
    problems = []
    acks = (root / "acks").read_text().split() if (root / "acks").exists() else []
    acked = int(acks[-1]) if acks else 0
    with wr.Log(root / "main") as log:
        if "numbers" in [info.name for info in log.topics()]:
            problems += [str(problem) for problem in log.verify()]
            start, end = log.start_offset("numbers", 0), log.end_offset("numbers", 0)
            if end < acked or end % _BATCH:
                problems.append(f"{acked} events were acknowledged, {end} are there")
            values = []
            while start + len(values) < end:
                for batch in log.read("numbers", 0, start + len(values)):
                    values += [int(value) for value in batch.column("value").to_pylist()]
            if values != list(range(start, end)):
                problems.append(f"offsets {start} to {end} hold {values[:5]}...")
            if sweep:
                log.sweep()
                problems += _left_over(log, root)
    (root / "problems").write_text("\n".join(problems))
    return life.ENDED


def _left_over(log: wr.Log, root: Path) -> list[str]:
    """After a sweep every file in the folders is one that the index names."""
    with log.store.reading() as connection:
        named = {name for (name,) in connection.execute("SELECT name FROM files")}
    there = {f"{folder}/{path.name}" for folder in ("data", "state") for path in (root / "main" / folder).iterdir()}
    return [f"{name} is left, and nothing names it" for name in sorted(there - named)]
