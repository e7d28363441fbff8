"""Runs of a program from topic to topic: how fast it catches up, how it recovers from kill -9, how late results are."""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from confluent_kafka import Producer

from benchmarks.peers.kafka.topics import Input, Reader, Rows, new_topic
from benchmarks.suite.processes import Meter, Usage, kill_tree

_numbers = itertools.count()
_IDLE_S, _SESSION_S = 20.0, 20.0
#: topics and the name of a job, "final" or "current", ms between commits, a folder for state -> the command
Command = Callable[[str, str, str, str, str, int, Path], Sequence[str | Path]]


class RunError(Exception):
    """A program did not come to its end; says how it ended."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """`seconds` from the start of the process to the last row; `missing` and `other` rows against what is expected."""

    seconds: float
    first_s: float
    cpu_seconds: float
    peak_rss_mb: float
    rows: Rows
    records: int
    missing: int
    other: int
    again: int  # records of rows that had been there
    recovery_s: float | None = None  # from kill -9 to the next row that a reader sees

    @property
    def right(self) -> bool:
        return not self.missing and not self.other


class Started:
    """A program at work on fresh topics; killed with all its processes at the end of the block."""

    def __init__(
        self,
        bootstrap: str,
        source: str,
        command: Command,
        mode: str,
        commit_ms: int,
        folder: Path,
        cores: list[int],
        expected: Rows | None = None,
    ) -> None:
        self.name = f"run-{time.time_ns() // 1_000_000}-{next(_numbers)}"
        new_topic(bootstrap, self.name)
        self._folder = folder / self.name
        self._folder.mkdir(parents=True)
        made = command(bootstrap, source, self.name, f"job-{self.name}", mode, commit_ms, self._folder)
        self._command = ["taskset", "-c", ",".join(map(str, cores)), *map(str, made)]
        self.reader = Reader(bootstrap, self.name, expected)
        self.log = self._folder / "log"
        self.start()

    def start(self) -> None:
        """Start the process; again after it was killed."""
        self.started_s = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self._folder,
                start_new_session=True,
            )  # fmt: skip

    def check(self) -> None:
        if self.process.poll() is not None:
            raise RunError(f"it ended with code {self.process.returncode}: {self.tail()}")

    def tail(self) -> str:
        return self.log.read_text(errors="replace").strip()[-600:]

    def kill(self) -> None:
        kill_tree(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.reader.close()


def catch_up(
    bootstrap: str,
    given: Input,
    command: Command,
    folder: Path,
    cores: list[int],
    timeout_s: float,
    *,
    commit_ms: int = 1_000,
    kill: bool = False,
    quiet_s: float = 12.0,
) -> CaughtUp:
    """Read a stored topic to its end. With `kill`, kill -9 once half of the rows are there, and start again at once.

    What is there is looked at when the time is over or no further row comes for 20 s (after kill -9: 40 s, and
    `quiet_s` once it is back). Raises `RunError` when the program ends by itself.
    """
    usage = Usage()
    recovery_s: float | None = None
    killed_s = 0.0
    with Started(bootstrap, given.topic, command, "final", commit_ms, folder, cores, given.expected) as run:
        idle_s = _IDLE_S  # after kill -9 the group waits for the dead member's session to end
        begun_s, deadline_s = run.started_s, time.monotonic() + timeout_s
        meter = Meter(run.process.pid)
        usage = meter.__enter__()
        try:
            results = run.reader.results
            while time.monotonic() < deadline_s and results.right < len(given.expected):
                found = run.reader.poll(0.05)
                run.check()
                if killed_s and recovery_s is None and found and results.last_s > killed_s:
                    recovery_s, idle_s = results.last_s - killed_s, quiet_s
                if results.first_s and time.monotonic() - max(results.last_s, run.started_s) > idle_s:
                    break
                if kill and not killed_s and len(results.rows) >= len(given.expected) // 2:
                    run.kill()
                    while run.reader.poll(0.3):  # what it had committed
                        pass
                    killed_s = time.monotonic()
                    run.start()
                    idle_s += _SESSION_S
        finally:
            meter.__exit__()
        seconds, first_s = results.last_s - begun_s, (results.first_s or begun_s) - begun_s
        run.reader.poll(0.5)
    other = sum(given.expected.get(key) != row for key, row in results.rows.items())
    missing = len(given.expected) - len(results.rows) + sum(key not in given.expected for key in results.rows)
    return CaughtUp(
        seconds, first_s, usage.cpu_seconds, usage.peak_rss_mb, results.rows, results.count, missing, other,
        results.count - len(results.rows), recovery_s,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Late:
    """From when an event was due to be sent until a reader saw a row that has it; in ms, over all events."""

    events: int
    p50: float
    p99: float
    p999: float


def latency(
    bootstrap: str,
    source: str,
    command: Command,
    folder: Path,
    cores: list[int],
    *,
    rate: int,
    seconds: float,
    keys: int = 1_000,
    commit_ms: int = 100,
    settle_s: float = 5.0,
) -> Late:
    """Events of `keys` auctions at a fixed rate; each carries the time it was due as its price, so that the largest
    price of a row tells which events it has. The first `settle_s` do not count; over once a row with each auction's
    last event is there, or 5 s after that was sent. Raises `RunError`."""
    sent: list[tuple[int, int]] = []  # auction, due in us since the begin
    stop = threading.Event()
    with Started(bootstrap, source, command, "current", commit_ms, folder, cores) as run:
        _wait_for_a_row(bootstrap, source, run)
        begun = time.time()
        sender = threading.Thread(
            target=_send, args=(bootstrap, source, rate, keys, begun, seconds + settle_s, sent, stop), daemon=True
        )
        sender.start()
        seen: dict[int, list[tuple[int, int]]] = {}  # auction -> (largest due, when seen), both in us
        end_s = begun + settle_s + seconds + 5
        while time.time() < end_s and not (not sender.is_alive() and _all_seen(sent, seen)):
            for row in run.reader.poll(0.005):
                now_us = int((time.time() - begun) * 1e6)
                history = seen.setdefault(row["auction"], [])
                if not history or row["top"] > history[-1][0]:
                    history.append((row["top"], now_us))
            run.check()
        stop.set()
        sender.join(10)
    return _percentiles(sent, seen, int(settle_s * 1e6), int((settle_s + seconds) * 1e6))


def _all_seen(sent: list[tuple[int, int]], seen: dict[int, list[tuple[int, int]]]) -> bool:
    return all(auction in seen and seen[auction][-1][0] >= due_us for auction, due_us in dict(sent).items())


def _wait_for_a_row(bootstrap: str, source: str, run: Started) -> None:
    """Engines take their time to start: one event a second until a row comes back."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    deadline_s = time.monotonic() + 90
    while time.monotonic() < deadline_s:
        _produce(producer, source, 1, 0, time.time())
        producer.flush(5)
        if run.reader.poll(1.0):
            return
        run.check()
    raise RunError(f"no row within 90 s: {run.tail()}")


def _produce(producer: Producer, topic: str, auction: int, price: int, when: float) -> None:
    whole = time.gmtime(when)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", whole) + f".{int(when % 1 * 1e6):06d}"
    bid = {
        "auction": auction, "bidder": price % 997, "price": price, "channel": "Google", "dateTime": stamp,
        "url": "https://www.nexmark.com/item.htm?query=1", "extra": "x" * 60,
    }  # fmt: skip
    producer.produce(topic, orjson.dumps(bid), auction.to_bytes(8, "big"), timestamp=int(when * 1_000))


def _send(
    bootstrap: str, topic: str, rate: int, keys: int, begun: float, seconds: float, sent: list[tuple[int, int]],
    stop: threading.Event,
) -> None:  # fmt: skip
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, "queue.buffering.max.messages": 1_000_000})
    auctions = np.random.default_rng(1).integers(1, keys + 1, int(rate * seconds) + 1).tolist()
    number = 0
    while not stop.is_set() and number < rate * seconds:
        until = min(int((time.time() - begun) * rate), int(rate * seconds))
        for n in range(number, until):
            due_us = int(n * 1e6 / rate)
            _produce(producer, topic, auctions[n], due_us, begun + due_us / 1e6)
            sent.append((auctions[n], due_us))
        number = max(until, number)
        producer.poll(0)
        time.sleep(0.001)
    producer.flush(30)


def _percentiles(
    sent: list[tuple[int, int]], seen: dict[int, list[tuple[int, int]]], from_us: int, until_us: int
) -> Late:
    late: list[float] = []
    tops = {auction: [top for top, _ in history] for auction, history in seen.items()}
    for auction, due_us in sent:
        if from_us <= due_us < until_us:
            at = bisect_left(tops.get(auction, []), due_us)
            found = at < len(tops.get(auction, []))
            late.append((seen[auction][at][1] - due_us) / 1e3 if found else float("inf"))
    p50, p99, p999 = np.percentile(late, [50, 99, 99.9]).tolist() if late else (float("inf"),) * 3
    return Late(len(late), p50, p99, p999)


__all__ = ["CaughtUp", "Command", "Late", "RunError", "catch_up", "latency"]
