"""The job that the tests of groups run, in threads and in processes of their own, and what must come out of it."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

import windrow as wr
from tests.kafka.lines import fresh, left_open
from tests.kafka.test_exactly_once import SCHEMA, expected, latest, read
from windrow.io.kafka.client import Cluster
from windrow.progress.faults import install

PARTITIONS = 6
TOTALS = wr.schema(key="int64", n="int64", total="int64")
#: The shortest session that brokers allow, so that a member that dies is missed soon.
QUICK = {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 300}
ROOT = Path(__file__).parents[3]


class Work:
    """A topic that is filled while the job runs, and the job over it."""

    def __init__(self, broker: str, seed: int = 1) -> None:
        self.broker = broker
        self.name, self.source, self.target = fresh("group"), fresh("in"), fresh("out")
        self._dice = random.Random(seed)
        self._written: list[pa.Table] = []
        self.fill(0)

    def fill(self, count: int, *, partitions: int = PARTITIONS) -> None:
        """Write so many rows more, keyed as the Java client would."""
        keys = [self._dice.randrange(200) for _ in range(count)]
        values = [self._dice.randrange(1_000) for _ in range(count)]
        rows = pa.table({"key": pa.array(keys, pa.int64()), "value": pa.array(values, pa.int64())})
        self._written.append(rows)
        sink = wr.from_arrow(rows, name="rows").write_kafka(
            self.broker, self.source, key="key", create=True, partitions=partitions
        )
        wr.job(sink, name=fresh("fill")).run()

    def job(self, *, instance: str | None = None, kafka: dict[str, Any] | None = None, **options: Any) -> wr.Job:
        """Totals by key as upserts, without an end."""
        stream = wr.read_kafka(
            self.broker, self.source, schema=SCHEMA, partitioned_by="key", kafka={**QUICK, **(kafka or {})}
        )
        totals = stream.group_by("key").agg(n=wr.count(), total=wr.sum("value"))
        sink = totals.write_kafka(self.broker, self.target, create=True, partitions=3)
        limits = options.pop("limits", wr.Limits(epoch_rows=200, interval_ms=20))
        return wr.job(sink, name=self.name, group=True, instance=instance, limits=limits, **options)

    def check(self) -> None:
        """Wait for the last result; then nothing is lost, nothing is there twice, and nothing lies open."""
        wanted = expected(pa.concat_tables(self._written))
        await_(lambda: latest(read(self.broker, self.target, TOTALS)) == wanted, 60, "all results")
        counts: dict[int, int] = {}
        for row in read(self.broker, self.target, TOTALS):
            assert row["n"] > counts.get(row["key"], 0), (row, counts[row["key"]])
            counts[row["key"]] = row["n"]
        names = [self.target, f"{self.name}-ledger", f"{self.name}-changelog"]
        cluster = Cluster(self.broker)
        try:
            assert left_open(cluster, names, self.name) == []
        finally:
            cluster.close()


class Thread:
    """An instance in a thread of this process."""

    def __init__(self, job: wr.Job, on_progress: Callable[[Any], None] | None = None) -> None:
        self.job = job
        self._on_progress = on_progress
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self.job:
                self.job.run(on_progress=self._on_progress)
        except BaseException as error:
            self.error = error

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def partitions(self) -> list[int]:
        """Those whose state is here, running."""
        runner: Any = self.job._runner
        parts = {} if runner is None else dict(runner._parts)
        return sorted(number for number, part in parts.items() if part._open and not part.closed)

    def stop(self) -> None:
        self.job.stop()
        self._thread.join(60)
        assert self.ended


class Process:
    """An instance in a process of its own."""

    def __init__(self, work: Work, log: Path, *, die_at: str = "", **options: Any) -> None:
        said = json.dumps({"broker": work.broker, "names": [work.name, work.source, work.target], **options})
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.kafka.groups.job", said],
                cwd=ROOT,
                stdout=out,
                stderr=out,
                env={**os.environ, "WINDROW_CRASH_AT": die_at},
            )

    def partitions(self) -> list[int]:
        lines = [line for line in self._log.read_text().splitlines() if line.startswith("partitions ")]
        return [] if not lines else list(map(int, lines[-1].split()[1:]))

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def said(self) -> str:
        return self._log.read_text()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self) -> None:
        self.signal(signal.SIGTERM)
        assert self._process.wait(60) == 0, self.said()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)


@contextmanager
def ending(*members: Thread | Process) -> Iterator[None]:
    """Whatever happens, leave nothing that runs."""
    try:
        yield
    finally:
        for member in members:
            if isinstance(member, Process) and not member.ended:
                member.kill()
            elif isinstance(member, Thread) and not member.ended:
                member.stop()


def await_(true: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def main() -> None:
    """What `Process` runs: an instance that says on a line which partitions it works on whenever they change."""
    said = json.loads(sys.argv[1])
    work = Work.__new__(Work)
    work.broker, (work.name, work.source, work.target) = said.pop("broker"), said.pop("names")
    point, sleep_s = said.pop("sleep_at", ""), said.pop("sleep_s", 0)
    if point:
        install(lambda reached: time.sleep(sleep_s) if reached == point else None)
    job = work.job(**said)
    shown: list[int] = [-1]

    def show(progress: Any) -> None:
        runner: Any = job._runner
        now = sorted(n for n, part in runner._parts.items() if part._open and not part.closed)
        if now != shown:
            shown[:] = now
            print("partitions", *now, flush=True)

    logging.basicConfig(level=logging.WARNING)
    with job:
        job.run(on_progress=show)


if __name__ == "__main__":
    main()
